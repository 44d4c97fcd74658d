"""Computing what was called: :func:`run`."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from lavalike.arguments import arguments, finite, instance
from lavalike.bss2.chip import facts
from lavalike.bss2.spiking.experiment import Experiment, LayerCall, upstream
from lavalike.bss2.spiking.module import BatchDropout, HXModule
from lavalike.errors import InputError, InputTypeError, RunError


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
    registered = experiment._nodes
    experiment.clear()
    nodes = _ordered(registered)
    for node in nodes:
        if isinstance(node.module, BatchDropout):
            node.module.check_followed(node.inputs)
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


def _check_loops(order: list[LayerCall], made: dict[int, LayerCall]) -> None:
    """A population or projection called twice is a loop, or two of what the chip has one of."""
    calls: dict[int, LayerCall] = {}
    for node in order:
        first = calls.setdefault(id(node.module), node)
        if first is not node and node.module.on_chip:
            kind = (
                "is its own input, a loop: put its layers into one HXModuleWrapper"
                if any(n is first for n in upstream(node.inputs, made))
                else "was called twice in a pass: it has one source and one target; make a second layer"
            )
            raise InputError(f"{node.module.name} {kind}")
