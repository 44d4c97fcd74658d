"""Image transforms with torchvision's names, arguments and semantics, without torchvision and
Pillow.

Images are arrays ``(height, width)`` or ``(height, width, channels)``, uint8 or floating point;
whatever numpy reads as such an array, a Pillow image for instance, is one too. ToTensor makes them
tensors ``(channels, height, width)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from lavalike.arguments import FLAG, Rule, arguments, is_integer, numbers
from lavalike.errors import InputError, InputTypeError

Transform = Callable[[Any], Any]
_SIZE = Rule(
    "(height, width) or one int, all >= 1",
    lambda v: is_integer(v) or (isinstance(v, Sequence) and all(map(is_integer, v))),
    lambda v: v >= 1 if is_integer(v) else len(v) in (1, 2) and min(v) >= 1,
)
_SEQUENCE = Rule(
    "a sequence of transforms", lambda v: isinstance(v, Sequence) and not isinstance(v, str | bytes)
)
_EACH = numbers(ndim=1, kinds="iuf")


def image_array(image: Any, name: str) -> np.ndarray:
    """``(height, width, channels)``, checked; ``name`` is who asks."""
    if isinstance(image, torch.Tensor):
        raise InputTypeError(
            f"{name}: got a tensor of shape {tuple(image.shape)}; an image (height, width, channels) is expected, "
            "so it stands before ToTensor"
        )
    try:
        array = np.asarray(image)
    except ValueError as e:
        raise InputTypeError(
            f"{name}: no image (height, width) or (height, width, channels): {e}"
        ) from None
    known = array.dtype == np.uint8 or array.dtype in (np.float32, np.float64)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.size == 0 or not known:
        raise (InputError if known else InputTypeError)(
            f"{name}: got {array.dtype} of shape {np.shape(image)}; expected a uint8, float32 or float64 image "
            "(height, width) or (height, width, channels), not empty"
        )
    return array


class Compose:
    """One transform after the other.

    Example:
        >>> steps = [datasets.transforms.Resize((4, 4)), datasets.transforms.ToTensor()]
        >>> datasets.transforms.Compose(steps)(np.zeros((8, 8, 3), np.uint8)).shape
        torch.Size([3, 4, 4])
    """

    @arguments(transforms=_SEQUENCE)
    def __init__(self, transforms: Sequence[Transform]) -> None:
        wrong = next((t for t in transforms if not callable(t)), None)
        if wrong is not None:
            raise InputTypeError(
                f"Compose: transforms are functions, and {wrong!r} is not callable"
            )
        self.transforms = list(transforms)

    def __call__(self, image: Any) -> Any:
        for transform in self.transforms:
            image = transform(image)
        return image


class Resize:
    """Bilinear interpolation to another size, of the image's dtype.

    Example:
        >>> datasets.transforms.Resize((4, 6))(np.zeros((8, 8, 3), np.uint8)).shape
        (4, 6, 3)

    Args:
        size: (height, width), or one int for the shorter edge, the other following in proportion.
        antialias: low-pass filter where the image shrinks, as Pillow always does. Default True.
    """

    @arguments(size=_SIZE, antialias=FLAG)
    def __init__(self, size: int | Sequence[int], antialias: bool = True) -> None:
        self.size, self.antialias = [int(v) for v in np.reshape(size, -1)], bool(antialias)

    def _target(self, height: int, width: int) -> tuple[int, int]:
        if len(self.size) == 2:
            return self.size[0], self.size[1]
        edge = self.size[0]
        return (
            (edge, int(edge * width / height))
            if height <= width
            else (int(edge * height / width), edge)
        )

    def __call__(self, image: Any) -> np.ndarray:
        array = image_array(image, "Resize")
        size = self._target(*array.shape[:2])
        if size == array.shape[:2]:
            return array
        x = torch.tensor(array.transpose(2, 0, 1))[None]
        real = x.float() if array.dtype == np.uint8 else x
        lying = (
            size[1] == 1
        )  # torch 2.13's antialias copies rows where the result is one column wide; one row it does right
        y = functional.interpolate(
            real.mT if lying else real,
            size[::-1] if lying else size,
            mode="bilinear",
            align_corners=False,
            antialias=self.antialias,
        )
        y = y.mT if lying else y
        if array.dtype == np.uint8:
            y = y.round().clamp(0, 255).to(torch.uint8)
        return y[0].permute(1, 2, 0).numpy()


class Grayscale:
    """Luminance ``0.299 R + 0.587 G + 0.114 B`` (ITU-R BT.601) of a colour image; a grey one stays.

    Example:
        >>> datasets.transforms.Grayscale()(np.zeros((8, 8, 3), np.uint8)).shape
        (8, 8, 1)

    Args:
        num_output_channels: 1, or 3 for three equal channels. Default 1.
    """

    @arguments(num_output_channels=Rule("1 or 3", is_integer, lambda v: v in (1, 3)))
    def __init__(self, num_output_channels: int = 1) -> None:
        self.num_output_channels = num_output_channels

    def __call__(self, image: Any) -> np.ndarray:
        array = image_array(image, "Grayscale")
        if array.shape[2] == 3:
            grey = array @ np.array([0.299, 0.587, 0.114])
            array = (grey.round() if array.dtype == np.uint8 else grey).astype(array.dtype)[
                :, :, None
            ]
        elif array.shape[2] != 1:
            raise InputError(
                f"Grayscale: the image has {array.shape[2]} channels; 1 or 3 are expected"
            )
        return np.repeat(array, self.num_output_channels, 2)


class ToTensor:
    """An image as a tensor ``(channels, height, width)``: uint8 becomes torch's default dtype in
    0..1, floats stay as they are.

    Example:
        >>> datasets.transforms.ToTensor()(np.zeros((8, 8, 3), np.uint8)).shape
        torch.Size([3, 8, 8])
    """

    def __call__(self, image: Any) -> torch.Tensor:
        array = image_array(image, "ToTensor")
        x = torch.tensor(array.transpose(2, 0, 1)).contiguous()
        return x.to(torch.get_default_dtype()).div_(255) if x.dtype == torch.uint8 else x


class Normalize:
    """``(x - mean) / std`` for each channel of a tensor ``(..., channels, height, width)``.

    Example:
        >>> datasets.transforms.Normalize((0.5,), (0.5,))(torch.ones(1, 2, 2)).max()
        tensor(1.)

    Args:
        mean, std: a number for each channel, std not 0.
    """

    @arguments(mean=_EACH, std=_EACH)
    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        if len(mean) != len(std) or len(mean) == 0:
            raise InputError(
                f"Normalize: mean has {len(mean)} values, std {len(std)}; one of each for every channel is expected"
            )
        self.mean, self.std = tuple(map(float, mean)), tuple(map(float, std))
        if 0 in self.std:
            raise InputError(f"Normalize: std {self.std} must be finite, std not 0")

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
            kind = str(tensor.dtype) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
            raise InputTypeError(
                f"Normalize: got {kind}; a floating point tensor is expected, so ToTensor stands before it"
            )
        if tensor.dim() < 3 or (len(self.mean) != 1 and tensor.shape[-3] != len(self.mean)):
            raise InputError(
                f"Normalize: tensor has shape {tuple(tensor.shape)}; expected (..., {len(self.mean)}, height, width)"
            )
        mean, std = (
            torch.tensor(v, dtype=tensor.dtype, device=tensor.device)[:, None, None]
            for v in (self.mean, self.std)
        )
        return (tensor - mean) / std
