"""A whole network into one .net file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import nn

from lavalike.errors import ExportError
from lavalike.slayer.block.base import Block
from netx import writer


def export_hdf5(network: nn.Module | Iterable[nn.Module], path: str | Path, input_shape: tuple[int, ...] | None = None) -> Path:
    """Write ``network`` as a .net file that netx loads and that computes, in fixed_pt, the same bits.

    Args:
        network: a sequence of blocks, or a module that has one as ``blocks``.
        path: written beside itself first and renamed, so that a file is complete or not there.
        input_shape: of one message; needed only where a block was never called.

    Raises:
        ExportError: naming the layer that cannot be exported faithfully; nothing is written then.
    """
    blocks = list(getattr(network, "blocks", network))  # type: ignore[arg-type]
    for k, block in enumerate(blocks):
        if not isinstance(block, Block):
            raise ExportError(f"layer {k}: {type(block).__name__} is no slayer block; a .net file holds blocks only")
    path = Path(path)
    with writer.atomic_file(path) as file:
        layers = file.create_group("layer")
        shape = tuple(input_shape) if input_shape is not None else None
        for k, block in enumerate(blocks):
            block.export_hdf5(layers.create_group(str(k)), shape)
            shape = block.shape
        writer.sign(file)
    return path
