"""A trained network and its file, on the same input, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lavalike.arguments import (
    FLAG,
    PATH,
    Rule,
    arguments,
    as_numbers,
    either,
    instance,
    integer,
    optional,
)
from lavalike.errors import InputError, OverflowError24
from lavalike.model.config import RunConfig
from lavalike.proc import RF, DelayLine
from lavalike.progress import tracked
from netx.blocks.process import NetLayer
from netx.hdf5 import REALS, Network

if TYPE_CHECKING:
    import torch

    from lavalike.slayer.block.base import Block

STATE_SCALE = 4096  # of an integer state against the trained network's
SPIKE_RATE = 0.3  # of random input spikes


@dataclass(frozen=True)
class LayerAgreement:
    """One layer: ``same`` of ``values`` agree. ``overflows``: states of the trained layer that left
    24 bits."""

    layer: int
    label: str
    lag: int
    same: int
    values: int
    overflows: int

    @property
    def equal(self) -> bool:
        return self.same == self.values


@dataclass(frozen=True)
class Difference:
    """The first values that differ: the first layer that has any, its first step there, sample and
    neuron (N,) or (C, H, W). ``step`` counts columns of the trained network's output."""

    layer: int
    label: str
    step: int
    sample: int
    neuron: tuple[int, ...]
    trained: float
    loaded: float

    def __str__(self) -> str:
        place = f"layer {self.layer} ({self.label}), step {self.step}, sample {self.sample}, neuron {self.neuron}"
        return f"first difference: {place}: trained {self.trained:g}, loaded {self.loaded:g}"


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found. ``error`` is the overflow that ended the loaded network's run, if
    one did; then no layer was compared. ``whole`` compares what ``net(x)`` returned with the loaded
    network's output, None where the network has no forward of its own; ``problem`` says so where it
    returned something else altogether.

    Example:
        >>> params = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}
        >>> net = torch.nn.Sequential(slayer.block.cuba.Dense(params, 6, 2))
        >>> comparison = netx.compare(net, slayer.export_hdf5(net, "compared.net"))
        >>> bool(comparison)
        True
    """

    equal: bool
    first: Difference | None
    layers: list[LayerAgreement]
    error: str = ""
    whole: LayerAgreement | None = None
    problem: str = ""

    @property
    def overflows(self) -> int:
        return sum(x.overflows for x in self.layers)

    def __bool__(self) -> bool:
        return self.equal

    def __str__(self) -> str:
        from lavalike.text import table

        rows = [
            [
                str(x.layer) if x is not self.whole else "",
                x.label,
                str(x.lag),
                f"{x.same:,} of {x.values:,}",
                str(x.overflows),
            ]
            for x in (*self.layers, *([self.whole] if self.whole is not None else []))
        ]
        lines = [table(["layer", "block", "lag", "same", "overflows"], rows)]
        if self.error:
            lines.append(f"the loaded network stopped: {self.error}")
        if self.problem:
            lines.append(self.problem)
        lines.append(
            "equal" if self.equal else str(self.first) if self.first is not None else "not compared"
        )
        return "\n".join(lines)


NET = Rule(
    "a sequence of slayer blocks, or a module that has one as .blocks",
    lambda v: isinstance(v, Iterable) or hasattr(v, "blocks") or hasattr(v, "forward"),
)


@arguments(
    net=NET,
    file=either(PATH, instance(Network)),
    x=optional(REALS),
    steps=integer(1),
    config=optional(instance(RunConfig)),
    progress=FLAG,
)
def compare(
    net: Any,
    file: str | Path | Network,
    x: Any = None,
    steps: int = 16,
    config: RunConfig | None = None,
    progress: bool = False,
) -> Comparison:
    """Run a trained network and its file on the same input, and say where they first differ.

    Args:
        net: slayer blocks in a sequence, or a module that has them as ``blocks``. They are called
            one after the other, from rest, in eval mode and without gradients, and then ``net(x)``
            itself where it has a forward; what they are and keep is as before afterwards.
        file: of ``net``; or the Network loaded from it, whole.
        x: (batch, *shape, time), as ``net`` takes it. Values of layer k are compared in the columns
            that leave the loaded network within ``time``: the first ``time - lag``. Default: two
            random samples (seed 0) of ``steps`` columns and the lag; spikes, values within -1..1
            for an input layer, or their changes for a sigma-delta layer.
        config: of the loaded network. Default fixed_pt on numba, in which it is equal; others come
            close.
        progress: show on stderr how many blocks, then how many steps are done. Default False.

    Returns:
        A :class:`Comparison`; true where all is equal, a table when printed. Blocks that return a
        voltage (Affine) are compared with the states of their neurons.

    Raises:
        InputError: where the file has other layers than ``net``, ``x`` is too short, or ``net(x)``
            raises.
    """
    import torch

    from lavalike.runtime.simulate import simulate
    from lavalike.slayer import probe
    from lavalike.slayer.block.base import Block

    found = getattr(net, "blocks", net)
    if not isinstance(found, Iterable):
        raise InputError(
            f"compare: {type(net).__name__} is no sequence of slayer blocks and has none as .blocks"
        )
    blocks = list(found)
    for k, block in enumerate(blocks):
        if not isinstance(block, Block):
            raise InputError(f"compare: block {k} is a {type(block).__name__}, no slayer block")
    loaded = file if isinstance(file, Network) else Network(file)
    lag = max(layer.lag for layer in loaded.layers)
    inputs = torch.as_tensor(
        random_input(loaded, steps + lag) if x is None else as_numbers(x), dtype=torch.float32
    )
    if inputs.dim() < 3:
        raise InputError(
            f"compare: x has shape {tuple(inputs.shape)}; expected (batch, *shape, time)"
        )
    if inputs.shape[-1] <= lag:
        raise InputError(
            f"compare: x has {inputs.shape[-1]} steps; the last layer lags {lag}, so at least {lag + 1} are needed"
        )
    where = next((p.device for block in blocks for p in block.parameters()), inputs.device)
    module = probe.own_forward(net)
    with probe.untouched(module, blocks):
        run = tracked(blocks, "compare", "block") if progress else blocks
        trained = _trained(run, inputs.to(where))
        probe.from_rest(blocks)
        returned = None if module is None else _returned(module, inputs.to(where))
    if len(trained) != len(loaded):
        raise InputError(
            f"compare: {loaded.path_of_file} has {len(loaded)} layers, the network {len(trained)} blocks that make one"
        )
    for k, (block, y, _) in enumerate(trained):
        sent, stored = tuple(y.shape[2:-1]), loaded.layers[k].shape[::-1]
        if int(np.prod(sent)) != int(np.prod(stored)):
            raise InputError(
                f"compare: layer {k} ({block.label}) sends messages of shape {sent}, in {loaded.path_of_file} of {stored}"
            )
    targets = [_targets(layer) for layer in loaded.layers]
    try:
        rec = simulate(
            loaded,
            {"inp": loaded.encode(inputs.numpy())},
            config=config or RunConfig(precision="fixed_pt"),
            record=list(dict.fromkeys(t for group in targets for t in group)),
            progress=progress,
        )
    except OverflowError24 as e:
        return Comparison(
            False,
            None,
            [
                LayerAgreement(k, b.label, layer.lag, 0, 0, n)
                for k, (layer, (b, _, n)) in enumerate(zip(loaded.layers, trained, strict=True))
            ],
            str(e),
        )
    first, layers = None, []

    def agreement(
        k: int, layer: NetLayer, label: str, want: np.ndarray, overflows: int
    ) -> LayerAgreement:
        """Of (parts, batch, *shape, time) with what stands for it in the loaded network."""
        nonlocal first
        got = np.stack([_decoded(loaded, layer, rec[t]) for t in _targets(layer)]).reshape(
            *want.shape[:-1], -1
        )[..., layer.lag :]
        want = want[..., : got.shape[-1]]
        same = got == want
        if first is None and not same.all():
            # by step first, then by sample and neuron
            step, part, sample, *neuron = (
                int(i) for i in np.argwhere(~np.moveaxis(same, -1, 0))[0]
            )
            at = (part, sample, *neuron, step)
            first = Difference(
                k, label, step, sample, tuple(neuron), float(want[at]), float(got[at])
            )
        return LayerAgreement(k, label, layer.lag, int(same.sum()), same.size, overflows)

    for k, (layer, (block, want, overflows)) in enumerate(zip(loaded.layers, trained, strict=True)):
        layers.append(agreement(k, layer, block.label, want, overflows))
    whole, problem = None, ""
    if module is not None:
        label, want = f"{type(module).__name__}.forward", trained[-1][1]
        if isinstance(returned, dict):
            returned = next(
                (v for v in returned.values() if getattr(v, "shape", ()) == want.shape[1:]),
                returned,
            )
        parts = (
            returned
            if isinstance(returned, tuple | list) and len(want) > 1
            else [probe.result(returned)]
        )
        if all(
            isinstance(p, torch.Tensor)
            and p.numel() == want[0].size
            and p.shape[-1] == want.shape[-1]
            for p in parts
        ) and len(parts) == len(want):
            whole = agreement(
                len(layers), loaded.out_layer, label, np.stack([p.cpu().numpy() for p in parts]), 0
            )
        else:
            shapes = [
                tuple(p.shape) if isinstance(p, torch.Tensor) else type(p).__name__ for p in parts
            ]
            problem = f"{label} returns {', '.join(map(str, shapes))}, not the last block's output of {want.shape[1:]}"
    return Comparison(first is None and not problem, first, layers, whole=whole, problem=problem)


def random_input(loaded: Network, steps: int) -> np.ndarray:
    """Two samples of what the network takes, (2, \\*shape, steps), in its trained values."""
    rng = np.random.default_rng(0)
    shape = (2, *loaded.inp.shape[::-1], steps)
    if loaded.in_layer.kind == "input" or loaded.input_message_bits:
        values = np.round(rng.uniform(-1, 1, shape) * 64) / 64
        return values if loaded.in_layer.kind == "input" else np.diff(values, prepend=0)
    return (rng.random(shape) < SPIKE_RATE) * 1.0


def _trained(blocks: Iterable[Block], x: torch.Tensor) -> list[tuple[Block, np.ndarray, int]]:
    """(block, its output (parts, batch, *shape, time), states beyond 24 bits) of every block that
    makes a layer, from rest."""
    out = []
    for block in blocks:
        block.reset_state()
        neuron = block.unit
        before = 0 if neuron is None else int(neuron.overflows)
        # flattened in front of a dense layer, as a file does by itself
        y = block.deployed(
            x.flatten(1, -2) if block.kind.startswith("dense") and getattr(x, "ndim", 0) == 5 else x
        )
        y = y[0] if block.count_log else y
        if block.kind not in ("flatten", "input") or (block.kind == "input" and neuron is not None):
            overflows = 0 if neuron is None else int(neuron.overflows) - before
            out.append(
                (
                    block,
                    np.stack([p.cpu().numpy() for p in (y if isinstance(y, tuple) else (y,))]),
                    overflows,
                )
            )
        x = y
    return out


def _returned(module: Any, x: torch.Tensor) -> Any:
    try:
        return module(x)
    except Exception as e:  # forward is the user's own
        raise InputError(
            f"compare: {type(module).__name__}.forward raised {type(e).__name__} for x of {tuple(x.shape)}: {e}"
        ) from e


def _targets(layer: NetLayer) -> list[Any]:
    """What of the loaded layer stands for the block's output, one a part."""
    if layer.reads == "messages":
        return [layer.out]
    states = ("real", "imag") if isinstance(layer.neuron, RF) else ("v",)
    return [getattr(layer.neuron, name) for name in states]


def _decoded(loaded: Network, layer: NetLayer, y: np.ndarray) -> np.ndarray:
    y = loaded.decode(y, layer)
    if layer.reads == "messages":
        return y
    y = y / np.float32(STATE_SCALE)
    if layer.reads == "change":
        y = np.diff(y, prepend=np.float32(0))
    line = getattr(layer, "delay", None)
    if isinstance(line, DelayLine):  # behind the neuron; the block delays its state as well
        late = np.zeros_like(y)
        for c, d in enumerate(np.broadcast_to(line.delays.get(), layer.shape)):
            late[:, c, d:] = y[:, c, : y.shape[-1] - d]
        return late
    return y
