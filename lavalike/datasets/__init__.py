"""Data sets to train on, read from files or rendered, with the transforms their images go
through."""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as e:
    raise ModuleNotFoundError(
        "lavalike.datasets needs torch: pip install 'lavalike[torch]'", name="torch"
    ) from e

from lavalike.datasets import operations as operations, transforms as transforms
from lavalike.datasets.events import (
    NMNIST as NMNIST,
    SHD as SHD,
    SSC as SSC,
    DVSGesture as DVSGesture,
    MovingShapes as MovingShapes,
)
from lavalike.datasets.har import HAR as HAR
from lavalike.datasets.imdd import (
    ECOC as ECOC,
    LCD as LCD,
    LMMSE as LMMSE,
    SSMF as SSMF,
    Link as Link,
    ReceptiveFields as ReceptiveFields,
    bit_error_rate as bit_error_rate,
)
from lavalike.datasets.mnist import MNIST as MNIST, mnist_sample as mnist_sample
from lavalike.datasets.operations import compare_ops as compare_ops
from lavalike.datasets.pilotnet import (
    PilotNetDataset as PilotNetDataset,
    SyntheticDrive as SyntheticDrive,
)
from lavalike.datasets.yinyang import (
    YinYangDataset as YinYangDataset,
    yin_yang as yin_yang,
    yin_yang_class as yin_yang_class,
)
