"""An experiment: the calls of one pass through a model, and :func:`run`, which computes them."""

from __future__ import annotations

from collections import Counter
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

from lavalike.arguments import (
    FLAG,
    FUNCTION,
    PATH,
    TEXT,
    arguments,
    finite,
    instance,
    is_real,
    optional,
)
from lavalike.bss2.chip import Chip, current_chip, facts
from lavalike.errors import InputError, InputTypeError, RunError

if TYPE_CHECKING:
    from lavalike.bss2.hxtorch.handover import HandedOver
    from lavalike.bss2.spiking.emulate import Emulation, Outcome
    from lavalike.bss2.spiking.handle import Handle
    from lavalike.bss2.spiking.module import HXModule


class ExecutionInstance:
    """A part of the network that is on a chip at a time. Layers of different instances run one
    after the other, their spikes recorded and replayed. Layers without one are placed
    automatically.

    Args:
        calib_path: of a calibration file (:class:`lavalike.bss2.Calibration`): what it left of the
            chip's patterns holds in this instance. A real chip's file (calix) on an emulated one:
            an EmulatedChipWarning, and the nominal calibration.
        calib_cache_dir, input_loopback: of a real chip, handed to hxtorch; an emulated one refuses
            them, simulation has no use for them. Defaults None, False.
        name: for messages and reports; one of its own. Default: a number.
    """

    @arguments(
        calib_path=optional(PATH),
        calib_cache_dir=optional(PATH),
        input_loopback=FLAG,
        name=optional(TEXT),
    )
    def __init__(
        self,
        calib_path: str | None = None,
        calib_cache_dir: str | None = None,
        input_loopback: bool = False,
        *,
        name: str | None = None,
    ) -> None:
        self.calib_path, self.calib_cache_dir, self.input_loopback = (
            calib_path,
            calib_cache_dir,
            input_loopback,
        )
        self.name = f"instance {id(self):x}" if name is None else name

    @arguments(path=PATH)
    def load_calib(self, path: str) -> None:
        """Take the calibration in the file ``path`` from the next run on; a wrong file is told
        there."""
        self.calib_path = path


class LayerCall(NamedTuple):
    """One call of a layer."""

    module: HXModule
    inputs: tuple[Handle, ...]
    outputs: tuple[Handle, ...]


class Experiment:
    """What is run together.

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

    def connect(
        self, module: HXModule, inputs: tuple[Handle, ...], outputs: tuple[Handle, ...]
    ) -> None:
        """Register a call; what a layer does when it is called."""
        self._nodes.append(LayerCall(module, inputs, outputs))

    def disconnect(self, modules: list[HXModule]) -> list[LayerCall]:
        """Take the calls of ``modules`` out again and return them, in the order of ``modules``."""
        taken = [n for m in modules for n in self._nodes if n.module is m]
        self._nodes = [n for n in self._nodes if n.module not in modules]
        return taken

    def clear(self) -> None:
        """Forget the calls that have not been run."""
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


@arguments(experiment=instance(Experiment))
def run(experiment: Experiment, runtime: int | None = None) -> None:
    """Compute all layers called since the last run and fill their handles.

    Args:
        experiment: of the layers.
        runtime: steps of dt, 1 or more; steps of the input beyond it are left out. In simulation
            the input's length counts. Default: the input's.

    Raises:
        InputError: (ValueError) runtime is no integer above 0, or layers call each other in a
            circle.
        RunError: nothing was called, or a handle is not connected.
        RoutingError, RangeError, RecordingError: what the chip cannot do.
    """
    called = experiment._nodes
    experiment.clear()
    nodes = _ordered(called)
    if isinstance(runtime, bool) or not isinstance(runtime, Integral | None):
        raise InputTypeError(
            f"run: runtime is a number of steps of dt ({experiment.dt:g} s), got {runtime!r}; round it to an int"
        )
    if runtime is not None and runtime <= 0:
        raise InputError(
            f"run: runtime is at least 1 step of dt ({experiment.dt:g} s), got {runtime}"
        )
    chip = experiment.chip
    if chip is not None and chip.level in ("quantised", "emulated"):
        wait = finite(
            experiment.inter_batch_entry_wait, "Experiment: inter_batch_entry_wait (FPGA cycles)", 0
        )
        experiment.outcome = experiment.emulation(chip).run(nodes, runtime, wait * facts.FPGA_CYCLE)
        return
    recorded: dict[HXModule, Any] = {}
    if chip is not None and chip.level == "hardware":
        from lavalike.bss2.hxtorch import hardware

        recorded = hardware.run_experiment(experiment, nodes, runtime)  # module: Recorded
    for node in nodes:
        if any(h.empty for h in node.outputs):  # what the chip's inputs needed is there already
            node.module.execute(node.inputs, node.outputs, recorded.get(node.module))


def _ordered(nodes: list[LayerCall]) -> list[LayerCall]:
    """Producers before consumers."""
    if not nodes:
        raise RunError(
            "run: no layer of the experiment was called since the last run; call the model on handles first"
        )
    made = {id(h): node for node in nodes for h in node.outputs}
    for node in nodes:
        for h in node.inputs:
            if h.empty and id(h) not in made:
                raise RunError(
                    f"{node.module.name}: its input, a {type(h).__name__} of {h._waits_for}, is not connected: what should fill "
                    f"it "
                    "belongs to another experiment, or to an earlier pass that was not run"
                )
    before: dict[int, set[int]] = {
        id(node): {id(made[id(h)]) for h in node.inputs if id(h) in made} for node in nodes
    }
    order: list[LayerCall] = []
    done: set[int] = set()
    while len(order) < len(nodes):
        ready = [n for n in nodes if id(n) not in done and before[id(n)] <= done]
        if not ready:
            stuck = ", ".join(n.module.name for n in nodes if id(n) not in done)
            raise InputError(
                f"run: {stuck} wait for each other; put layers that form a loop into one HXModuleWrapper"
            )
        order += ready
        done |= {id(n) for n in ready}
    _check_loops(order, made)
    return order


def _check_loops(order: list[LayerCall], made: dict[int, Any]) -> None:
    """A population or projection called twice is a loop, or two of what the chip has one of."""
    calls: dict[int, LayerCall] = {}
    for node in order:
        first = calls.setdefault(id(node.module), node)
        if first is not node and node.module.on_chip:
            kind = (
                "is its own input, a loop: put its layers into one HXModuleWrapper"
                if _reaches(node, first, made)
                else "was called twice in a pass: it has one source and one target; make a second layer"
            )
            raise InputError(f"{node.module.name} {kind}")


def _reaches(node: LayerCall, first: LayerCall, made: dict[int, LayerCall]) -> bool:
    todo = [node]
    while todo:
        n = todo.pop()
        if n is first:
            return True
        todo += [made[id(h)] for h in n.inputs if id(h) in made]
    return False
