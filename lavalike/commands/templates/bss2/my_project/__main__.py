"""python -m my_project: train in the loop, and on which chip."""

import torch

from lavalike import bss2
from my_project.network import INPUTS, accuracy, network, train


def main() -> None:
    torch.manual_seed(0)
    chip, net = bss2.Chip(seed=3), network()
    print(f"before training: {accuracy(net, chip):.1%}")
    train(net, chip)
    print(f"on the chip it was trained with: {accuracy(net, chip):.1%}")
    print(f"on another: {accuracy(net, bss2.Chip(seed=4)):.1%}")
    print(bss2.place(net, (INPUTS,)))


if __name__ == "__main__":
    main()
