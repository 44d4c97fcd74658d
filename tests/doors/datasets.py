"""Data sets and their transforms."""

import functools

import numpy as np
import torch

from lavalike import datasets, events, slayer
from tests.doors import table
from tests.doors.table import FOLDER, NAN, NUMBERS, PATH, TENSOR, also, bad, optional, row

# a bool is no number here, and 2.0 no flag
COUNT, INTEGER = also(table.COUNT, True), also(table.INTEGER, True)
REAL, POSITIVE, NOT_NEGATIVE = (
    also(b, True, 1j) for b in (table.REAL, table.POSITIVE, table.NOT_NEGATIVE)
)
FLAG, CHOICE = also(table.FLAG, 2.0), also(table.CHOICE, None)


class Net(torch.nn.Module):
    """A network that has been called, as compare_ops wants it."""

    def __init__(self):
        super().__init__()
        params = {"threshold": 0.1}
        self.blocks = torch.nn.ModuleList(
            [slayer.block.sigma_delta.Input(params), slayer.block.sigma_delta.Dense(params, 4, 3)]
        )
        x = torch.ones(1, 4, 3)
        for block in self.blocks:
            x = block(x)


def drive():
    """A folder with a recorded drive, as far as it is read before an item is asked for."""
    folder = FOLDER / "driving_dataset"
    folder.mkdir(exist_ok=True)
    (folder / "data.txt").write_text("".join(f"{n}.jpg {n}.5\n" for n in range(20)))
    return {"path": FOLDER, "sequence": 2}


@functools.cache
def event_set():
    """A folder that is each of the event data sets, of one sample."""
    root = FOLDER / "events"
    for part in ("Train", "Test"):
        (root / part / "3").mkdir(parents=True, exist_ok=True)
        (root / part / "3" / "00001.bin").write_bytes(bytes(5))
    one = [(events.Event([3], None, [0], [0.0]), 1)]
    for name in ("shd_train", "shd_test", "ssc_train", "ssc_valid", "ssc_test"):
        events.write_spike_file(root / f"{name}.h5", one)
    for part in ("train", "test"):
        (root / f"trials_to_{part}.txt").write_text("user01_lab.aedat\n")
    (root / "user01_lab_labels.csv").write_text("class,startTime_usec,endTime_usec\n1,0,9\n")
    return {"root": root}


TRANSFORM = bad(3, "x", [])
SEED = also(INTEGER, values=(-1,))
LINK = datasets.Link(block=100)
SAMPLE = LINK.sample(100)
DRIVE = {"sequence": COUNT, "train": FLAG, "visualize": FLAG, "transform": TRANSFORM}
FEATURES = also(TENSOR, 3, [1.0])
NOT_NAN = also(FEATURES, values=(torch.tensor([[NAN]]),))
ROWS = [
    row(
        "lavalike.datasets.MNIST",
        lambda: {"root": mnist()},
        root=also(PATH, values=("nowhere",)),
        train=FLAG,
        transform=TRANSFORM,
    ),
    row("lavalike.datasets.mnist_sample", {}, train=FLAG, transform=TRANSFORM),
    row(
        "lavalike.datasets.YinYangDataset",
        {"size": 10},
        r_small=POSITIVE,
        r_big=POSITIVE,
        size=COUNT,
        seed=also(SEED, values=(2**32,)),
    ),
    row("lavalike.datasets.yin_yang", {"size": 10}, size=COUNT, seed=SEED),
    row(
        "lavalike.datasets.yin_yang_class",
        {"x": np.array([0.5]), "y": np.array([0.5])},
        x=NUMBERS,
        y=NUMBERS,
        r_small=POSITIVE,
        r_big=POSITIVE,
    ),
    row(
        "lavalike.datasets.HAR",
        {"windows": 2},
        path=optional(PATH),
        train=FLAG,
        windows=COUNT,
        seed=SEED,
    ),
    row("lavalike.datasets.NMNIST", event_set, root=PATH, train=FLAG, sort=FLAG),
    row("lavalike.datasets.DVSGesture", event_set, root=PATH, train=FLAG, sort=FLAG),
    row("lavalike.datasets.SHD", event_set, root=PATH, train=FLAG, sort=FLAG),
    row("lavalike.datasets.SSC", event_set, root=PATH, part=CHOICE, sort=FLAG),
    row(
        "lavalike.datasets.MovingShapes",
        {"samples": 1, "size": 12, "duration": 5.0},
        train=FLAG,
        samples=optional(COUNT),
        size=also(COUNT, values=(11,)),
        duration=also(POSITIVE, values=(4.0,)),
        camera=bad(3, "x"),
        seed=SEED,
    ),
    row(
        "lavalike.datasets.Link",
        {},
        baud=POSITIVE,
        wavelength=POSITIVE,
        dispersion=REAL,
        length=NOT_NEGATIVE,
        taps=also(COUNT, values=(2,)),
        alphabet=bad(3, "x", None, values=((1.0,), (1.0, NAN), (1, 2, 3), (1, 2, 4, 3))),
        bias=REAL,
        roll_off=bad("1", None, values=(-0.1, 0.0, 1.5, NAN)),
        oversampling=also(COUNT, values=(1,)),
        block=COUNT,
    ),
    row(
        "lavalike.datasets.Link.sample",
        {"symbols": 5},
        lambda: LINK,
        symbols=COUNT,
        noise_db=REAL,
        seed=SEED,
    ),
    row(
        "lavalike.datasets.LMMSE.fit",
        {"sample": SAMPLE},
        sample=bad((1, 2, 3), None, values=(LINK.sample(5),)),
        link=bad("LCD", None),
        decision=also(CHOICE, values=("nearst",)),
    ),
    row(
        "lavalike.datasets.LMMSE.__call__",
        {"features": SAMPLE.features},
        lambda: datasets.LMMSE.fit(SAMPLE),
        features=FEATURES,
    ),
    row(
        "lavalike.datasets.ReceptiveFields",
        {},
        neurons=COUNT,
        low=REAL,
        high=REAL,
        scale=POSITIVE,
        cutoff=also(POSITIVE, values=(1e-4,)),
        window=POSITIVE,
        dt=POSITIVE,
    ),
    *(
        row(
            f"lavalike.datasets.ReceptiveFields.{name}",
            {"features": SAMPLE.features},
            datasets.ReceptiveFields,
            features=NOT_NAN,
        )
        for name in ("times", "__call__")
    ),
    row(
        "lavalike.datasets.bit_error_rate",
        {"decided": SAMPLE.symbols, "sent": SAMPLE.symbols},
        decided=also(FEATURES, values=(SAMPLE.symbols[:3], SAMPLE.symbols + 9, SAMPLE.symbols / 2)),
        sent=also(FEATURES, values=(SAMPLE.symbols[:3], SAMPLE.symbols + 9)),
    ),
    row(
        "lavalike.datasets.PilotNetDataset",
        drive,
        path=also(PATH, values=("nowhere",)),
        **DRIVE,
        extract=FLAG,
    ),
    row(
        "lavalike.datasets.SyntheticDrive",
        {"sequences": 2, "cache": False},
        **DRIVE,
        sequences=also(COUNT, values=(1,)),
        size=bad(3, "x", None, values=((0, 3), (33, 4))),
        seed=SEED,
        speed=POSITIVE,
        cache=FLAG,
    ),
    row(
        "lavalike.datasets.compare_ops",
        lambda: {"net": Net(), "counts": [1.0, 1.0]},
        net=bad(3, None),
        counts=bad(3, "x", None, values=([NAN, 1], [-1, 1], [1.0])),
        mse=bad("1", values=(NAN, -1.0)),
    ),
    row(
        "lavalike.datasets.transforms.Compose", {"transforms": [abs]}, transforms=bad(3, [3], None)
    ),
    row(
        "lavalike.datasets.transforms.Grayscale",
        {},
        num_output_channels=bad("1", 1.5, None, values=(2,)),
    ),
    row(
        "lavalike.datasets.transforms.Normalize",
        {"mean": [0.5], "std": [0.5]},
        mean=bad("a", None, values=([NAN], [0.5, 0.5], [])),
        std=bad("a", None, values=([0.0], [NAN], [0.5, 0.5])),
    ),
    row(
        "lavalike.datasets.transforms.Resize",
        {"size": 3},
        size=bad("3", 1.5, None, values=(0, (0, 3), (1, 2, 3))),
        antialias=FLAG,
    ),
]
EXEMPT = {
    "lavalike.datasets.LMMSE": "made by its fit, from data",
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
