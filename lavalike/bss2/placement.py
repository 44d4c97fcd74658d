"""Which part of a network lies where: matrices cut into tiles, populations into neurons of joined
circuits.

Perceptron mode follows grenade, which partitions for hxtorch: K inputs are cut by 128 signed rows,
N outputs by 256 columns; two tiles, one a hemisphere, make an execution instance; instances follow
one another on one chip or are dealt to several. The weights of a tile stay for the whole batch,
each tile is read out and saturates on its own, and the rest is added digitally. Spiking mode joins
as many neighbouring circuits as a neuron's inputs need; see :mod:`lavalike.bss2.populations`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from lavalike.arguments import SHAPE, arguments, instance, integer, optional, real, sequence
from lavalike.bss2.chip import facts
from lavalike.bss2.errors import RangeError, RoutingError
from lavalike.bss2.populations import (
    Instance as Instance,
    PlacedPopulation as PlacedPopulation,
    Population as Population,
    circuits as circuits,
    lay_out,
    neurons_per_chip as neurons_per_chip,
)
from lavalike.bss2.tiles import CHIPS, Tile as Tile, tiles as tiles
from lavalike.errors import InputError, InputTypeError

if TYPE_CHECKING:
    import torch

    from lavalike.bss2.chip import Chip
    from lavalike.bss2.perceptron.trace import Observation
    from lavalike.bss2.report import Report, SpikeRecord

    Placeable = torch.nn.Linear | torch.nn.Conv1d | torch.nn.Conv2d


@dataclass(frozen=True)
class PlacedLayer:
    """A matrix product on the array. ``tiles`` count runs over the whole network; ``vectors`` is
    how often inputs are presented.

    ``weights``: held by each tile; an expanded convolution leaves cells free. ``clipped``: weights
    beyond +-63; ``rounding``: root mean square of what six bits take from the clipped weights, LSB.
    """

    name: str
    kind: str
    k: int
    n: int
    tiles: tuple[Tile, ...]
    vectors: int
    num_sends: int
    wait: int
    weights: tuple[int, ...]
    clipped: int
    rounding: float


@dataclass(frozen=True)
class Placement:
    """Where everything lies. Made by :func:`place` and :func:`place_populations`.

    Example:
        >>> placement = bss2.place(bss2.nn.Linear(784, 256), (784,))
        >>> placement.runs
        4
    """

    chips: int
    layers: tuple[PlacedLayer, ...] = ()
    populations: tuple[PlacedPopulation, ...] = ()
    instances: tuple[Instance, ...] = ()

    @property
    def tiles(self) -> list[Tile]:
        """Of all layers, in the order they run."""
        return [t for layer in self.layers for t in layer.tiles]

    @property
    def runs(self) -> int:
        """Rounds that follow one another."""
        return 1 + max((*(t.run for t in self.tiles), *(i.run for i in self.instances)), default=-1)

    def __getitem__(self, name: str) -> PlacedLayer | PlacedPopulation:
        """The layer or population of that name."""
        there: list[PlacedLayer | PlacedPopulation] = [*self.layers, *self.populations]
        for x in there:
            if x.name == name:
                return x
        raise InputError(
            f"nothing named {name!r} was placed; there are {', '.join(x.name for x in there)}"
        )

    @arguments(
        chip=optional(instance("lavalike.bss2.chip.Chip")),
        duration=optional(real(above=0)),
        samples=integer(1),
    )
    def report(
        self,
        records: Iterable[Observation | SpikeRecord] = (),
        chip: Chip | None = None,
        duration: float | None = None,
        samples: int = 1,
    ) -> Report:
        """What it takes, and what was measured in a run.

        Args:
            records: of ``perceptron.observe(model)`` or of a spiking run. What nobody measured is
                shown as "-".
            chip: names it and its noise. Default: the current one, if there is one.
            duration: of a spiking sample on the chip, s; with it the time on chip is known.
            samples: of spiking populations, one after another. Default 1.
        """
        from lavalike.bss2.report import report

        return report(self, list(records), chip, duration, samples)

    def __str__(self) -> str:
        return str(self.report())

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()


@arguments(input_shape=optional(SHAPE), chips=CHIPS, batch=integer(1))
def place(
    model: Any, input_shape: Sequence[int] | None = None, chips: int = 1, batch: int = 1
) -> Placement:
    """Place every dense and convolutional layer of a torch module, or a process graph; other layers
    (pooling, ...) are digital.

    Each layer is a product of its own: it begins on chip 0, hemisphere 0, when the one before has
    been read out. A layer that is called several times is placed as often ("fc", "fc#2").

    Args:
        model: with layers of :mod:`lavalike.bss2.perceptron.nn` or torch's Linear, Conv1d, Conv2d;
            or a process, whose graph is placed.
        input_shape: of one sample, without the batch axis; of torch modules.
        chips: how many share the work. Default 1.
        batch: samples, for the time on chip. Default 1.

    Raises:
        RoutingError: a layer that has no such form, or none at all; a population that does not fit.
        RangeError: weights that are not finite.
    """
    from lavalike.process import AbstractProcess

    if isinstance(model, AbstractProcess):
        from lavalike.model.registry import get_backend

        backend: Any = get_backend("bss2")  # which knows graphs; loaded where one is placed
        placed_graph: Placement = backend.place(model, chips)
        return placed_graph
    import torch

    if not isinstance(model, torch.nn.Module):
        raise InputTypeError(
            f"place: model is a torch.nn.Module or a process, got {type(model).__name__}"
        )
    if input_shape is None:
        raise InputTypeError(
            "place: input_shape, the shape of one sample without the batch axis, is needed for a torch module"
        )
    placed: list[PlacedLayer] = []
    run = 0
    for name, layer, shape, out in _dry_pass(
        model, tuple(int(n) for n in np.reshape(input_shape, -1))
    ):
        times = 1 + sum(p.name.split("#")[0] == name for p in placed)
        entry = _place_layer(
            name if times == 1 else f"{name}#{times}", layer, shape, out, chips, batch, run
        )
        placed.append(entry)
        run = entry.tiles[-1].run + 1
    if not placed:
        raise RoutingError(
            f"{type(model).__name__}: no dense or convolutional layer in it was called; there is nothing to place"
        )
    return Placement(chips, tuple(placed))


@arguments(populations=sequence(instance(Population)), chips=CHIPS)
def place_populations(populations: Sequence[Population], chips: int = 1) -> Placement:
    """Give every neuron its chip and circuits.

    Args:
        populations: in the order spikes run through them.
        chips: how many share the instances of one population. Default 1.

    Raises:
        RoutingError: what does not fit, with population, limit, what it has, remedy.
    """
    placed, instances = lay_out(populations, chips)
    return Placement(chips, populations=placed, instances=instances)


def _place_layer(
    name: str,
    layer: Placeable,
    shape: torch.Size,
    out: torch.Size,
    chips: int,
    batch: int,
    run: int,
) -> PlacedLayer:
    w = layer.weight.detach().double()
    if not bool(w.isfinite().all()):
        raise RangeError(
            f"layer {name!r}: weights are finite and within +-{facts.WEIGHT_MAX}, some are nan or infinite; correct them"
        )
    k, n = w[0].numel(), w.shape[0] * getattr(layer, "avg", 1)
    vectors = math.prod(shape[1:-1]) if w.ndim == 2 else math.prod(out[2 - w.ndim :])
    expansions = getattr(layer, "num_expansions", 1)
    used = np.ones((k, n), bool)
    if expansions > 1:
        expanded: Any = layer  # an ExpandedConv1d
        used = _diagonal(w.shape[0], w.shape[1], w.shape[2], expanded.stride[0], expansions)
        (k, n), vectors = used.shape, math.ceil(vectors / expansions)
    lying = tuple(replace(t, run=run + t.run) for t in tiles(k, n, name, chips))
    held = w.clamp(-facts.WEIGHT_MAX, facts.WEIGHT_MAX)
    return PlacedLayer(
        name,
        type(layer).__name__,
        k,
        n,
        lying,
        batch * vectors,
        getattr(layer, "num_sends", 1),
        getattr(layer, "wait_between_events", facts.DEFAULT_WAIT),
        tuple(
            int(used[t.rows.start : t.rows.stop, t.columns.start : t.columns.stop].sum())
            for t in lying
        ),
        int((w.abs() > facts.WEIGHT_MAX).sum()),
        float((held.round() - held).square().mean().sqrt()),
    )


def _diagonal(outs: int, channels: int, kernel: int, stride: int, expansions: int) -> np.ndarray:
    """Cells of an expanded convolution: in each channel's stretch of inputs, every copy of the
    kernel one stride further down."""
    used = np.zeros((channels, kernel + (expansions - 1) * stride, expansions, outs), bool)
    for e in range(expansions):
        used[:, e * stride : e * stride + kernel, e] = True
    return used.reshape(used.shape[0] * used.shape[1], -1)


def _dry_pass(
    model: torch.nn.Module, input_shape: tuple[int, ...]
) -> Iterator[tuple[str, Placeable, torch.Size, torch.Size]]:
    """Name, layer, input and output shape of each placeable call, in order; those layers compute
    nothing, the others run on zeros."""
    import torch

    layers = {
        name or type(m).__name__: m
        for name, m in model.named_modules()
        if _placeable(m, name or type(m).__name__)
    }
    calls: list[tuple[str, Placeable, torch.Size, torch.Size]] = []
    with (
        _standing_in(layers, calls),
        _evaluating(model),
        torch.no_grad(),
        torch.random.fork_rng(devices=[]),
    ):
        model(torch.zeros(1, *input_shape))
    yield from calls


def _placeable(m: torch.nn.Module, name: str) -> TypeGuard[Placeable]:
    """Whether ``m`` is a matrix product the array takes; RoutingError for those it does not."""
    import torch

    nn = torch.nn
    convolution = isinstance(m, nn.modules.conv._ConvNd)
    if convolution and not isinstance(m, nn.Conv1d | nn.Conv2d):
        raise RoutingError(
            f"layer {name!r}: {type(m).__name__} cannot be placed; Linear, Conv1d and Conv2d can. Write it as one of them"
        )
    if isinstance(m, nn.modules.conv._ConvNd) and (
        m.groups != 1 or any(d != 1 for d in m.dilation)
    ):
        raise RoutingError(
            f"layer {name!r}: a convolution on the chip has groups 1 and dilation 1, got groups {m.groups}, "
            f"dilation {m.dilation}; use a convolution for each group, or a kernel filled with zeros"
        )
    if isinstance(m, nn.RNNBase | nn.Bilinear | nn.MultiheadAttention):
        raise RoutingError(
            f"layer {name!r}: {type(m).__name__} cannot be placed; Linear, Conv1d and Conv2d can. Write it with them"
        )
    return convolution or isinstance(m, nn.Linear)


@contextmanager
def _standing_in(layers: Mapping[str, Placeable], calls: list) -> Iterator[None]:
    """Within, the layers only tell their shapes: no weight is transformed and no noise drawn by
    looking at a network."""
    import torch

    def stand_in(name: str, m: Placeable) -> Any:
        def forward(x: torch.Tensor) -> torch.Tensor:
            if isinstance(m, torch.nn.Linear):
                if x.shape[-1] != m.in_features:
                    raise InputError(
                        f"layer {name!r}: inputs have {m.in_features} features, got shape {tuple(x.shape)}; "
                        "correct input_shape"
                    )
                out = x.new_zeros((*x.shape[:-1], m.out_features))
            else:
                conv: Any = (
                    torch.nn.functional.conv1d
                    if isinstance(m, torch.nn.Conv1d)
                    else torch.nn.functional.conv2d
                )
                try:
                    shape = conv(x.to("meta"), m.weight.to("meta"), None, m.stride, m.padding).shape
                except RuntimeError as e:
                    raise InputError(
                        f"layer {name!r}: {type(m).__name__} does not take inputs of shape {tuple(x.shape)}: {e}; "
                        "correct input_shape"
                    ) from e
                out = x.new_zeros(shape)
            calls.append((name, m, x.shape, out.shape))
            return out

        return forward

    for name, m in layers.items():
        m.__dict__["forward"] = stand_in(name, m)
    try:
        yield
    finally:
        for m in layers.values():
            del m.__dict__["forward"]


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    training = {m: m.training for m in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for m, was in training.items():
            m.training = was
