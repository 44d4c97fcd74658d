"""The network learns, and its file computes what it computes."""

import torch

import netx
from lavalike import slayer
from my_project.network import CLASSES, accuracy, network, train


def test_it_learns_and_its_file_is_equal(tmp_path):
    torch.manual_seed(0)
    net = network()
    train(net)
    assert accuracy(net) > 1.5 / CLASSES
    slayer.export_hdf5(net, tmp_path / "a.net")
    assert netx.compare(net, tmp_path / "a.net")
