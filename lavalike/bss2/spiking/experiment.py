"""An experiment: the calls of one pass through a model, which
:func:`lavalike.bss2.spiking.run` computes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lavalike.arguments import FLAG, FUNCTION, arguments, instance, is_real, optional
from lavalike.bss2.chip import Chip, current_chip
from lavalike.bss2.spiking.execution_instance import ExecutionInstance as ExecutionInstance
from lavalike.errors import InputError, InputTypeError

if TYPE_CHECKING:
    from lavalike.bss2.hxtorch.handover import HandedOver
    from lavalike.bss2.spiking.emulate import Emulation, Outcome
    from lavalike.bss2.spiking.handle import Handle
    from lavalike.bss2.spiking.module import HXModule


class LayerCall(NamedTuple):
    """One call of a layer."""

    module: HXModule
    inputs: tuple[Handle, ...]
    outputs: tuple[Handle, ...]


def upstream(inputs: Iterable[Handle], made: Mapping[int, LayerCall]) -> Iterator[LayerCall]:
    """The calls that ``inputs`` come of, directly or by others, each once; ``made``: the call that
    made a handle, by the handle's id."""
    todo, seen = list(inputs), set()
    while todo:
        before = made.get(id(todo.pop()))
        if before is not None and id(before) not in seen:
            seen.add(id(before))
            todo += before.inputs
            yield before


class Calls:
    """What is registered for the next run, as hxtorch's module manager shows it.

    Attributes:
        nodes: layer to its node's number.
        graph: a networkx.MultiDiGraph of those nodes. An edge carries the ``handle`` that passes
            along it; what comes from outside, and what nobody takes yet, has a node of its own,
            ``("outside", k)``.
    """

    def __init__(self, calls: Sequence[LayerCall]) -> None:
        self._calls = tuple(calls)

    @property
    def nodes(self) -> dict[HXModule, int]:
        return {call.module: k for k, call in enumerate(self._calls)}

    @property
    def graph(self) -> Any:
        import networkx  # type: ignore[import-untyped]  # it comes with torch

        graph = networkx.MultiDiGraph()
        made = {id(h): k for k, call in enumerate(self._calls) for h in call.outputs}
        taken: set[int] = set()
        outside = itertools.count()
        for k, call in enumerate(self._calls):
            graph.add_node(k)
            for h in call.inputs:
                taken.add(id(h))
                graph.add_edge(made.get(id(h), ("outside", next(outside))), k, handle=h)
        for k, call in enumerate(self._calls):
            for h in call.outputs:
                if id(h) not in taken:
                    graph.add_edge(k, ("outside", next(outside)), handle=h)
        return graph


class Experiment:
    """What is run together.

    Example:
        >>> experiment = bss2.spiking.Experiment(dt=1e-6, chip=bss2.Chip(seed=3))
        >>> bss2.spiking.LIF(10, experiment).size
        10

    Args:
        mock: simulate the model in floating point. Without it the current chip is taken
            (:func:`lavalike.bss2.use`, ``init_hardware``) at its level; at "ideal" that is the
            same. Default False.
        dt: of the simulation and of the grid that spikes and membranes of a chip are brought to, s.
            Default 1e-6.
        hw_routing_func: of a real chip, handed to hxtorch; an emulated one refuses it, simulation
            has no use for it. Default None.
        chip: the chip to take instead of the current one.

    Attributes:
        inter_batch_entry_wait: between two samples on the chip, FPGA cycles of 8 ns, as in hxtorch;
            for the time on chip. Default 0.
        default_execution_instance: its calibration holds for layers that name no instance; where
            those lie the placement chooses.
        outcome: of the last run on a chip: scales, placement, events, saturation
            (:class:`lavalike.bss2.spiking.emulate.Outcome`).
    """

    @arguments(mock=FLAG, hw_routing_func=optional(FUNCTION), chip=optional(instance(Chip)))
    def __init__(
        self,
        mock: bool = False,
        dt: float = 1e-6,
        hw_routing_func: Any = None,
        *,
        chip: Chip | None = None,
    ) -> None:
        if not is_real(dt) or not 0 < dt < 1:
            raise (InputError if is_real(dt) else InputTypeError)(
                f"Experiment: dt is the length of a step in s, got {dt!r}"
            )
        self.mock, self.dt = mock, dt
        self.hw_routing_func = hw_routing_func
        self.inter_batch_entry_wait = 0
        self.default_execution_instance = ExecutionInstance(name="default")
        self.outcome: Outcome | None = None
        self._chip = chip
        self._nodes: list[LayerCall] = []
        self._passed: list[tuple[HXModule, tuple[int | None, ...]]] = []
        self._names: Counter[str] = Counter()
        self._emulation: Emulation | None = None
        self.handed_over: HandedOver | None = None  # what hxtorch was given, at level "hardware"

    @property
    def chip(self) -> Chip | None:
        """What it runs on; None: simulated. NoChipError where there is none."""
        if self.mock:
            return None
        return current_chip() if self._chip is None else self._chip

    def name_of(self, module: HXModule) -> str:
        """A name for a new layer."""
        kind = type(module).__name__
        self._names[kind] += 1
        return f"{kind} {self._names[kind]}"

    @property
    def modules(self) -> Calls:
        """What was called since the last run."""
        return Calls(self._nodes)

    @property
    def passed(self) -> list[tuple[HXModule, tuple[int | None, ...]]]:
        """The layers of the last run in the order of their calls, each with the places in it of
        those that it heard, None for what came from outside."""
        return self._passed

    def connect(
        self,
        module: HXModule,
        input_handles: Handle | tuple[Handle, ...],
        output_handle: Handle | tuple[Handle, ...],
    ) -> None:
        """Register a call; what a layer does when it is called."""
        handles = (h if isinstance(h, tuple) else (h,) for h in (input_handles, output_handle))
        self._nodes.append(LayerCall(module, *handles))

    def again(self, module: HXModule, inputs: tuple[Handle, ...]) -> Handle | None:
        """More inputs of a layer that was called in this pass already: they arrive together, and
        the handle is the same. None where it was not called, or would hear itself."""
        made = {id(h): n for n in self._nodes for h in n.outputs}
        for k, node in enumerate(self._nodes):
            if node.module is module and len(node.outputs) == 1:
                if any(n is node for n in upstream(inputs, made)):
                    return None
                self._nodes[k] = node._replace(inputs=(*node.inputs, *inputs))
                return node.outputs[0]
        return None

    def disconnect(self, modules: list[HXModule]) -> list[LayerCall]:
        """Take the calls of ``modules`` out again and return them, in the order of ``modules``."""
        taken = [n for m in modules for n in self._nodes if n.module is m]
        self._nodes = [n for n in self._nodes if n.module not in modules]
        return taken

    def clear(self) -> None:
        """Forget the calls that have not been run."""
        made = {id(h): k for k, call in enumerate(self._nodes) for h in call.outputs}
        self._passed = [(c.module, tuple(made.get(id(h)) for h in c.inputs)) for c in self._nodes]
        self._nodes = []

    def emulation(self, chip: Chip) -> Emulation:
        """What stays from run to run on ``chip``: placement and fitted scales."""
        from lavalike.bss2.spiking.emulate import Emulation

        if self._emulation is None or self._emulation.chip != chip or self._emulation.dt != self.dt:
            self._emulation = Emulation(chip, self.dt)
        return self._emulation

    def fit_scales(self) -> None:
        """Fit the scales between model and chip anew in the next run."""
        self._emulation = None
