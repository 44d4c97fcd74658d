"""A whole network into one .net file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from torch import nn

from lavalike.errors import ExportError, LavalikeError
from lavalike.slayer.block.base import Block
from lavalike.slayer.neuron import sigma_delta
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
    found = [network] if isinstance(network, Block) else getattr(network, "blocks", network)
    if not isinstance(found, Iterable):
        raise ExportError(f"{type(network).__name__} is no sequence of slayer blocks and has none as .blocks")
    blocks = list(found)
    family = None
    for k, block in enumerate(blocks):
        if not isinstance(block, Block):
            raise ExportError(f"layer {k}: {type(block).__name__} is no slayer block; a .net file holds blocks only")
        if block.unit is None:
            continue
        graded = isinstance(block.unit, sigma_delta.Neuron)
        if family not in (None, graded):
            raise ExportError(f"layer {k}: {block.label} after blocks of another family: spikes and sigma-delta messages differ in scale")
        family = graded
    path = Path(path)
    with writer.atomic_file(path, _loads) as file:
        layers = file.create_group("layer")
        shape = tuple(input_shape) if input_shape is not None else None
        for k, block in enumerate(blocks):
            block.export_hdf5(layers.create_group(str(k)), shape)
            shape = block.shape
        writer.sign(file)
    return path


def _loads(path: Path) -> None:
    """What was written must load, before it takes its name."""
    from netx.hdf5 import Network

    try:
        Network(path)
    except LavalikeError as e:
        raise ExportError(f"the exported file would not load: {str(e).removeprefix(f'{path}: ')}") from e
