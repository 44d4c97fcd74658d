"""A whole network into one file, .net or NIR."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from lavalike.arguments import ANY, PATH, SHAPE, Rule, arguments, optional, real
from lavalike.errors import ExportError, LavalikeError
from lavalike.slayer import probe
from lavalike.slayer.block.base import Block
from lavalike.slayer.neuron import sigma_delta
from netx import writer

if TYPE_CHECKING:
    from netx.nir import Graph

NETWORK = Rule(
    "a sequence of slayer blocks, or a module that has one as .blocks",
    lambda v: isinstance(v, nn.Module | Iterable) or hasattr(v, "blocks"),
)


@arguments(network=NETWORK, path=PATH, input_shape=optional(SHAPE), example=ANY, error=ExportError)
def export_hdf5(
    network: nn.Module | Iterable[nn.Module],
    path: str | Path,
    input_shape: tuple[int, ...] | int | None = None,
    example: Any = None,
) -> Path:
    """Write ``network`` as a .net file that netx loads and that computes, in fixed_pt, the same
    bits.

    A network with a ``forward`` is called once, in eval mode, and left as it was: what block k gets
    must be what block k-1 sent, and the result the last one's output, by itself or as the first of
    a tuple. A Sequential of blocks is that; so is a flattening between a map and a Dense block. A
    list of blocks, or a module without a forward, is taken as the chain it is.

    Args:
        network: a sequence of blocks, or a module that has one as ``blocks``.
        path: written beside itself first, brought to the disk and renamed, so that a file is
            complete or not there.
        input_shape: of one message; needed only where a block was never called and no ``example``
            tells it.
        example: what forward takes, where that is not one tensor (batch, *input_shape, time): a
            tensor, or a tuple of its arguments.

    Raises:
        ExportError: naming the layer that cannot be exported faithfully, or that forward does not
            use as the file would; nothing is written then.
    """
    found = [network] if isinstance(network, Block) else getattr(network, "blocks", network)
    if not isinstance(found, Iterable):
        raise ExportError(
            f"{type(network).__name__} is no sequence of slayer blocks and has none as .blocks"
        )
    blocks = list(found)
    family = None
    for k, block in enumerate(blocks):
        if not isinstance(block, Block):
            raise ExportError(
                f"layer {k}: {type(block).__name__} is no slayer block; a .net file holds blocks only"
            )
        if block.unit is None:
            continue
        graded = isinstance(block.unit, sigma_delta.Neuron)
        if family not in (None, graded):
            raise ExportError(
                f"layer {k}: {block.label} after blocks of another family: spikes and sigma-delta messages differ in scale"
            )
        family = graded
    shape = None if input_shape is None else tuple(int(n) for n in np.reshape(input_shape, -1))
    module = probe.own_forward(network)
    if module is None and example is not None:
        raise ExportError(
            f"example is what forward takes; {type(network).__name__} has none: give input_shape"
        )
    if module is not None and blocks:
        of_example = probe.check_chain(module, blocks, shape, example)
        shape = of_example if shape is None and example is not None else shape
    path = Path(path)
    with writer.atomic_file(path, _loads) as file:
        layers = file.create_group("layer")
        for k, block in enumerate(blocks):
            block.export_hdf5(layers.create_group(str(k)), shape)
            shape = block.shape
        writer.sign(file)
    return path


@arguments(
    network=NETWORK,
    path=optional(PATH),
    dt=real(above=0),
    input_shape=optional(SHAPE),
    example=ANY,
    error=ExportError,
)
def export_nir(
    network: nn.Module | Iterable[nn.Module],
    path: str | Path | None = None,
    dt: float = 1e-4,
    input_shape: tuple[int, ...] | int | None = None,
    example: Any = None,
) -> Graph:
    """``network`` as a NIR graph: what :func:`export_hdf5` writes, computed in floating_pt, with
    weights, thresholds and biases in the units of training.

    Decays and weights are those of the file, rounded as in training. States are not rounded, so a
    spike may differ where a voltage is within a rounding of its threshold; sigma-delta blocks and
    resonators are refused, as NIR has none.

    Args:
        network, input_shape, example: see :func:`export_hdf5`.
        path: of a file to write, ".nir". Default None: none.
        dt: seconds that a step stands for. Default 1e-4.

    Returns:
        The graph, see :func:`netx.nir.to_nir`: its column t is column ``t + lag`` of the trained
        output, ``lag = metadata["lavalike"]["lag"]`` (0 where it is not there).

    Raises:
        ExportError: naming the layer that cannot be exported faithfully.
        NirError: naming what NIR cannot say.
    """
    from netx.hdf5 import Network
    from netx.nir import to_nir, write

    with tempfile.TemporaryDirectory() as folder:
        loaded = Network(export_hdf5(network, Path(folder) / "net.net", input_shape, example))
    graph = to_nir(loaded, dt=dt)
    graph.metadata["lavalike"]["lag"] = graph.metadata["lavalike"].get("lag", 0) - loaded.lag
    if path is not None:
        write(path, graph)
    return graph


def _loads(path: Path) -> None:
    """What was written must load, before it takes its name."""
    from netx.hdf5 import Network

    try:
        Network(path)
    except LavalikeError as e:
        raise ExportError(
            f"the exported file would not load: {str(e).removeprefix(f'{path}: ')}"
        ) from e
