"""Data sets to train on, read from files or rendered, with the transforms their images go through."""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as e:
    raise ModuleNotFoundError("lavalike.datasets needs torch: pip install 'lavalike[torch]'", name="torch") from e

from lavalike.datasets import operations as operations, transforms as transforms
from lavalike.datasets.mnist import MNIST as MNIST, mnist_sample as mnist_sample
from lavalike.datasets.operations import compare_ops as compare_ops
from lavalike.datasets.pilotnet import PilotNetDataset as PilotNetDataset, SyntheticDrive as SyntheticDrive
