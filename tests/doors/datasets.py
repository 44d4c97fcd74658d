"""Data sets and their transforms."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from lavalike import slayer
from tests.doors.table import (
    COUNT,
    FLAG,
    INTEGER,
    NAN,
    NOT_NEGATIVE,
    NUMBERS,
    PATH,
    POSITIVE,
    REAL,
    TENSOR,
    bad,
    row,
)

FOLDER = Path(tempfile.mkdtemp())


class Net(torch.nn.Module):
    """A network that has been called, as compare_ops wants it."""

    def __init__(self):
        super().__init__()
        params = {"threshold": 0.1}
        self.blocks = torch.nn.ModuleList([slayer.block.sigma_delta.Input(params), slayer.block.sigma_delta.Dense(params, 4, 3)])
        x = torch.ones(1, 4, 3)
        for block in self.blocks:
            x = block(x)


TRANSFORM = bad(3, "x")
ROWS = [
    row("lavalike.datasets.MNIST", lambda: {"root": mnist()}, root=PATH, train=FLAG, transform=TRANSFORM),
    row("lavalike.datasets.mnist_sample", {}, train=FLAG, transform=TRANSFORM),
    row("lavalike.datasets.YinYangDataset", {"size": 10}, r_small=POSITIVE, r_big=POSITIVE, size=COUNT, seed=INTEGER),
    row("lavalike.datasets.yin_yang", {"size": 10}, size=COUNT, seed=INTEGER),
    row(
        "lavalike.datasets.yin_yang_class",
        {"x": np.array([0.5]), "y": np.array([0.5])},
        x=NUMBERS,
        y=NUMBERS,
        r_small=POSITIVE,
        r_big=POSITIVE,
    ),
    row("lavalike.datasets.HAR", {"windows": 2}, path=bad(3), train=FLAG, windows=COUNT, seed=INTEGER),
    row(
        "lavalike.datasets.Link",
        {},
        baud=POSITIVE,
        wavelength=POSITIVE,
        dispersion=REAL,
        length=NOT_NEGATIVE,
        taps=COUNT,
        alphabet=bad(3, "x", values=((1.0,), (1.0, NAN))),
        bias=REAL,
        roll_off=bad("1", None, values=(-0.1, 1.5, NAN)),
        oversampling=COUNT,
        block=COUNT,
    ),
    row(
        "lavalike.datasets.ReceptiveFields",
        {},
        neurons=COUNT,
        low=REAL,
        high=REAL,
        scale=POSITIVE,
        cutoff=POSITIVE,
        window=POSITIVE,
        dt=POSITIVE,
    ),
    row("lavalike.datasets.bit_error_rate", {"decided": torch.tensor([0, 1]), "sent": torch.tensor([0, 1])}, decided=TENSOR, sent=TENSOR),
    row(
        "lavalike.datasets.SyntheticDrive",
        {"sequences": 2, "cache": False},
        sequence=COUNT,
        train=FLAG,
        visualize=FLAG,
        transform=TRANSFORM,
        sequences=COUNT,
        size=bad(3, "x", values=((0, 3),)),
        seed=INTEGER,
        speed=POSITIVE,
        cache=FLAG,
    ),
    row(
        "lavalike.datasets.compare_ops",
        lambda: {"net": Net(), "counts": [1.0, 1.0]},
        net=bad(3, None),
        counts=bad(3, "x", None, values=([NAN, 1],)),
        mse=bad("1", values=(NAN,)),
    ),
    row("lavalike.datasets.transforms.Compose", {"transforms": [abs]}, transforms=bad(3, [3], None)),
    row("lavalike.datasets.transforms.Grayscale", {}, num_output_channels=bad("1", 1.5, None, values=(2,))),
    row(
        "lavalike.datasets.transforms.Normalize",
        {"mean": [0.5], "std": [0.5]},
        mean=bad("a", None, values=([NAN],)),
        std=bad("a", None, values=([0.0], [NAN])),
    ),
    row("lavalike.datasets.transforms.Resize", {"size": 3}, size=bad("3", 1.5, None, values=(0, (1, 2, 3))), antialias=FLAG),
]
EXEMPT = {
    "lavalike.datasets.LMMSE": "made by its fit, from data",
    "lavalike.datasets.PilotNetDataset": "needs the recorded drive; its arguments are SyntheticDrive's and a path",
    "lavalike.datasets.transforms.ToTensor": "takes no argument",
    "lavalike.datasets.transforms.image_array": "part of the transforms, which have rows",
}


def mnist():
    """A file of two digits a set, as the whole one is laid out."""
    path = FOLDER / "mnist.npz"
    if not path.exists():
        images, labels = np.zeros((2, 28, 28), np.uint8), np.zeros(2, np.uint8)
        np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    return path
