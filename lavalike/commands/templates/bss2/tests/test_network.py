"""The network learns on an emulated chip."""

import torch

from lavalike import bss2
from my_project.network import CLASSES, accuracy, network, train


def test_it_learns_in_the_loop():
    torch.manual_seed(0)
    chip, net = bss2.Chip(seed=3), network()
    train(net, chip)
    assert accuracy(net, chip) > 1.5 / CLASSES
