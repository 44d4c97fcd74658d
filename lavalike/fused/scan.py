"""A neuron over time on tensors: the fused loops as one differentiable call, and the plain loop
they are derived from.

Tensors are time-major: inputs ``(time, *shape)``; states ``shape``; a parameter is one number or
broadcasts to ``shape``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch

from lavalike.arguments import (
    FLAG,
    MAPPING,
    TEXT,
    arguments,
    did_you_mean,
    instance,
    integer,
    optional,
    sequence,
)
from lavalike.dynamics import Dynamics
from lavalike.errors import InputError, InputTypeError
from lavalike.fused import cpu, eventprop
from lavalike.fused.ambient import forwards, special, stored
from lavalike.fused.arithmetic import Training, a_step_late, in_full
from lavalike.fused.operators import (
    STORAGE,
    Call,
    code as code,
    engine_of,
    handle,
    outside,
    run,
    spec,
    written_out,
)
from lavalike.fused.trace import accumulated, steps as stepper

Tensors = dict[str, torch.Tensor]

_plain: ContextVar[bool] = ContextVar("plain", default=False)
_lock = threading.Lock()
_within = 0  # how many threads are in plain_loops: what torch.compile can look at, and guards


@contextmanager
def plain_loops() -> Iterator[None]:
    """Within, :func:`scan` is :func:`reference`, the plain torch loop: to step through, to compare
    with, and for devices without compiled loops (these there are for the CPU and CUDA).

    What torch.compile or torch.export sees within is that loop too, written out step by step.
    """
    global _within
    token = _plain.set(True)
    with _lock:
        _within += 1
    try:
        yield
    finally:
        with _lock:
            _within -= 1
        _plain.reset(token)


def plain() -> bool:
    """Whether loops are plain ones here, for which no step is traced."""
    return _plain.get()


@dataclass(frozen=True)
class Result:
    """Of a scan: ``outputs`` by name, ``(time, *shape)`` each, recorded states among them;
    ``states`` after the last step; ``overflows``, how many values left 24 bits (on the grid; a
    tensor of one number)."""

    outputs: Tensors
    states: Tensors
    overflows: torch.Tensor


_RULES = {
    "dynamics": instance(Dynamics, words="a lavalike.Dynamics"),
    "training": instance(Training),
    "inputs": MAPPING,
    "parameters": MAPPING,
    "states": optional(MAPPING),
    "record": sequence(TEXT),
    "shift": FLAG,
    "steps": optional(integer(1)),
    "first": optional(integer(1)),
}


def _look(
    door: str,
    dynamics: Dynamics,
    inputs: Mapping[str, Any],
    states: Mapping[str, Any] | None,
    record: Sequence[str],
    shift: bool,
    steps: int | None,
) -> None:
    """InputError for names that ``dynamics`` has not, and for what would otherwise run and do
    nothing."""
    for argument, some, known, all_of in (
        ("inputs", inputs, dynamics.inputs, True),
        ("states", states or (), dynamics.states, False),
    ):
        for name in some:
            if name not in known:
                raise InputTypeError(
                    f"{door}: {argument} of {dynamics.name} are {known}, got {name!r}{did_you_mean(name, known)}"
                )
        if all_of and len(some) < len(known):
            raise InputTypeError(
                f"{door}: {argument} of {dynamics.name} are {known}, got {tuple(some)}"
            )
    if record:
        _RULES["record"].check(door, "record", record)
        for name in record:
            if name not in dynamics.states:
                raise InputError(
                    f"{door}: record names states of {dynamics.name}, {dynamics.states}, got {name!r}"
                    f"{did_you_mean(name, dynamics.states)}"
                )
    if shift is not True and shift is not False:
        FLAG.check(door, "shift", shift)
    if steps is not None:
        _RULES["steps"].check(door, "steps", steps)


def _timed(door: str, dynamics: Dynamics, first: int | None) -> None:
    """InputError where ``dynamics`` asks for t and nobody tells it."""
    if first is not None:
        _RULES["first"].check(door, "first", first)
    if first is not None and "t" not in dynamics.arguments:
        raise InputError(
            f"{door}: first is t in the first step, and {dynamics.name} does not ask for t; leave it out"
        )
    if first is None and "t" in dynamics.arguments:
        raise InputError(
            f"{dynamics.name}: a step that depends on the time step t cannot be trained unless first tells it"
        )


def _needed(
    door: str, dynamics: Dynamics, names: Sequence[str], parameters: Mapping[str, Any]
) -> None:
    """InputError for missing parameters; InputTypeError where another is there that nothing
    takes."""
    missing = [p for p in names if p not in parameters]
    if missing:
        unknown = [p for p in parameters if p not in dynamics.constant_names]
        got = f", got {unknown[0]!r}{did_you_mean(unknown[0], names)}" if unknown else ""
        raise (InputTypeError if unknown else InputError)(
            f"{door}: parameters of {dynamics.name}: no value for {missing}{got}"
        )


@arguments(late=True, **_RULES)
def scan(
    dynamics: Dynamics,
    training: Training,
    inputs: Mapping[str, torch.Tensor],
    parameters: Mapping[str, torch.Tensor | float],
    states: Mapping[str, torch.Tensor] | None = None,
    record: Sequence[str] = (),
    shift: bool = False,
    steps: int | None = None,
    first: int | None = None,
) -> Result:
    """Run ``dynamics`` over all steps in fused loops. Pure: nothing is kept between calls.

    torch.compile, torch.export, torch.jit.trace, make_fx, fake and meta tensors and the transforms
    of torch.func see one operator, ``lavalike::scan``; forward-mode differentiation sees
    :func:`reference`. Compiled with what is around it, one step of a neuron in floating point is
    torch's own operations. A second derivative is that of :func:`reference`.

    Args:
        inputs: by name, ``(time, *shape)``, all alike; float32, float64 or bfloat16 on the CPU.
        parameters: the step's constants by name.
        states: before the first step, by name, in the outputs' unit. Default 0.
        record: states to return for every step as well.
        shift: outputs one step late, after a step of zeros; the last one is lost.
        steps: how many. Default: as many as the inputs have; an input of one step is the same in
            all of them.
        first: ``t`` in the first step, of a neuron that asks for it, which on a GPU is the plain
            loop. Default: nobody asks.

    Raises InputError (InputTypeError for a wrong kind, an unknown input, state or parameter).
    """
    _look("scan", dynamics, inputs, states, record, shift, steps)
    if _has_times(dynamics, training, inputs, parameters, states):
        _timed("scan", dynamics, first)
        return _by_times(scan, dynamics, training, inputs, parameters, states, record, shift, steps)
    x = next(iter(inputs.values()))
    shape = x.shape[1:]
    count = max([v.shape[0] for v in inputs.values()]) if steps is None else steps
    for name, v in inputs.items():
        if v.shape[1:] != shape or v.shape[0] not in (1, count) or v.dtype != x.dtype:
            raise InputError(
                f"{dynamics.name}: input {name} has shape {tuple(v.shape)}, {v.dtype}; expected {(count, *shape)}, {x.dtype}"
            )
    if count == 0 or 0 in shape:
        raise InputError(
            f"{dynamics.name}: input has shape {tuple(x.shape)}, {count} steps; none may be 0"
        )
    if x.dtype not in STORAGE:
        raise InputError(
            f"{dynamics.name}: input has dtype {x.dtype}; expected float32, float64 or bfloat16"
        )
    if torch.onnx.is_in_onnx_export() and special():
        _to_onnx(dynamics)
    if torch.compiler.is_compiling():
        return _compiled(
            dynamics, training, inputs, parameters, states or {}, record, shift, count, first
        )
    _timed("scan", dynamics, first)
    given = {s: torch.as_tensor(v) for s, v in (states or {}).items()}
    _needed("scan", dynamics, dynamics.constant_names, parameters)
    kinds: dict[str, Mapping[str, Any]] = {"input": inputs, "state": given, "parameter": parameters}
    for kind, named in kinds.items():
        for name, value in named.items():
            # one number may stay on the CPU
            if (
                isinstance(value, torch.Tensor)
                and value.device != x.device
                and (value.dim() or not stored(value))
            ):
                raise InputError(
                    f"{dynamics.name}: {kind} {name} is on {value.device}, the input on {x.device}; they must be "
                    "on one device"
                )
    values = [_flat(in_full(parameters[p]), shape) for p in dynamics.constant_names]
    if _plain.get() or forwards() or (first is not None and x.device.type != "cpu"):
        return reference(
            dynamics, training, inputs, parameters, states, record, shift, steps, first
        )
    if stored(x):
        engine_of(x.device)
    before = [given[s].expand(shape).reshape(-1) if s in given else None for s in dynamics.states]
    xs = _every(inputs, dynamics.inputs, count)
    last = (
        x.device.type == "cpu"
        and not shift
        and not record
        # tensors whose time lies innermost are read as they are
        and not special()
        and _lies_last(xs)
    )
    call = Call(
        spec(dynamics, training),
        tuple(training.numbers.values()),
        tuple(record),
        bool(shift),
        _count(xs, count),
        -1 if first is None else first,
        last,
    )
    out = run(call, [*(v.movedim(0, -1) if last else v for v in xs), *before, *values])
    return _result(dynamics, record, out, shape, last)


def _to_onnx(dynamics: Dynamics) -> None:
    """InputError unless loops are written out, which every way to ONNX can read."""
    # a context variable is nothing torch.compile can look at
    if not (_within if torch.compiler.is_compiling() else _plain.get()):
        raise InputError(
            f"{dynamics.name}: ONNX has no operator for a neuron over time; export within lavalike.fused.plain_loops(), which "
            "writes out each step, or use torch.export"
        )


def _compiled(
    dynamics: Dynamics,
    training: Training,
    inputs: Mapping[str, torch.Tensor],
    parameters: Mapping[str, Any],
    states: Mapping[str, torch.Tensor],
    record: Sequence[str],
    shift: bool,
    count: int,
    first: int | None,
) -> Result:
    """:func:`scan` as torch.compile and torch.export read it: one operator, or, of one step, what
    it consists of."""
    x = inputs[dynamics.inputs[0]]
    shape = x.shape[1:]
    made = handle(dynamics, training)
    for name in made.parameters:
        if name not in parameters:
            raise InputError(f"scan: parameters of {dynamics.name}: no value for {name}")
    if made.timed != (first is not None):
        raise InputError(
            f"{dynamics.name}: first is t in the first step, of a step that asks for t"
        )
    values = [_flat(in_full(parameters[p]), shape) for p in made.parameters]
    before = [states[s].expand(shape).reshape(-1) if s in states else None for s in dynamics.states]
    start = -1 if first is None else first
    if _within and made.counted:
        raise InputError(
            f"{dynamics.name}: plain_loops() under torch.compile is for neurons in floating point, this one computes in "
            "integers and counts what leaves 24 bits; leave one of the two away"
        )
    xs = _every(inputs, dynamics.inputs, count)
    if not made.whole and (_within or count == 1):
        out = written_out(
            made.number, ",".join(record), bool(shift), count, start, xs, before, values
        )
        return _result(dynamics, record, [*out, x.new_zeros((), dtype=torch.int64)], shape, False)
    empty = [torch.empty(0, dtype=outside(x), device=x.device) if s is None else s for s in before]
    out = torch.ops.lavalike.scan.default(
        xs,
        empty,
        values,
        list(made.numbers),
        made.key,
        ",".join(record),
        bool(shift),
        _count(xs, count),
        start,
        False,
    )
    return _result(dynamics, record, out, shape, False)


def _every(
    inputs: Mapping[str, torch.Tensor], names: Sequence[str], count: int
) -> list[torch.Tensor]:
    """Inputs in order; the GPU's kernels read every step of each."""
    xs = [inputs[n] for n in names]
    return [
        v.expand(count, *v.shape[1:]) if v.device.type != "cpu" and v.shape[0] != count else v
        for v in xs
    ]


def _count(xs: Sequence[torch.Tensor], count: int) -> int:
    """The number of steps; -1, as many as there are, keeps a trace open to other lengths."""
    return -1 if all(v.shape[0] == count for v in xs) else count


def _lies_last(xs: Sequence[torch.Tensor]) -> bool:
    moving = [v for v in xs if v.shape[0] > 1]
    return bool(moving) and all(map(_innermost, moving))


def _result(
    dynamics: Dynamics, record: Sequence[str], out: Sequence[torch.Tensor], shape: Any, last: bool
) -> Result:
    n, k = len(dynamics.outputs) + len(record), len(dynamics.states)
    rows = [y.movedim(-1, 0) for y in out[:n]] if last else out[:n]
    outputs = dict(zip((*dynamics.outputs, *record), rows, strict=True))
    final = dict(zip(dynamics.states, [y.reshape(shape) for y in out[n : n + k]], strict=True))
    return Result(outputs, final, out[n + k])


def _has_times(
    dynamics: Dynamics,
    training: Training,
    inputs: Mapping[str, torch.Tensor],
    parameters: Mapping[str, torch.Tensor | float],
    states: Mapping[str, torch.Tensor] | None,
) -> bool:
    """Whether EventProp's gradient is to be kept ready; else a scan is the plain one."""
    if training.gradient != "eventprop" or not eventprop.replaced(dynamics):
        return False
    return eventprop.asked(
        dynamics, (*inputs.values(), *parameters.values(), *(states or {}).values())
    )


def _by_times(
    run: Callable[..., Result],
    dynamics: Dynamics,
    training: Training,
    inputs: Mapping[str, torch.Tensor],
    parameters: Mapping[str, torch.Tensor | float],
    *rest: Any,
) -> Result:
    """``run``, :func:`scan` or :func:`reference`, with EventProp's gradient."""
    _needed("scan", dynamics, dynamics.constant_names, parameters)
    made = eventprop.outside if torch.compiler.is_dynamo_compiling() else eventprop.scan
    return Result(*made(run, dynamics, training, inputs, parameters, *rest))


def _innermost(x: torch.Tensor) -> bool:
    """Whether time, x's first axis, lies innermost in memory."""
    return not x.is_contiguous() and x.movedim(0, -1).is_contiguous()


def _flat(value: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    if value.numel() == 1:
        return value.reshape(())
    try:
        return value.expand(shape).reshape(-1)
    except RuntimeError:
        raise InputError(
            f"a parameter of shape {tuple(value.shape)} does not broadcast to neurons of shape {tuple(shape)}"
        ) from None


@arguments(late=True, **_RULES)
def reference(
    dynamics: Dynamics,
    training: Training,
    inputs: Mapping[str, torch.Tensor],
    parameters: Mapping[str, torch.Tensor | float],
    states: Mapping[str, torch.Tensor] | None = None,
    record: Sequence[str] = (),
    shift: bool = False,
    steps: int | None = None,
    first: int | None = None,
) -> Result:
    """What :func:`scan` computes, as a plain torch loop with autograd: linear in time, for tests
    and for people to read."""
    _look("reference", dynamics, inputs, states, record, shift, steps)
    _timed("reference", dynamics, first)
    if _has_times(dynamics, training, inputs, parameters, states):
        return _by_times(
            reference, dynamics, training, inputs, parameters, states, record, shift, steps
        )
    _needed("reference", dynamics, dynamics.constant_names, parameters)
    x = next(iter(inputs.values()))
    unit = training.scale if training.arithmetic == "grid" else 1.0
    work = torch.float64 if training.arithmetic != "float" else x.dtype
    shape = x.shape[1:]
    numbers = {n: x.new_full((), v, dtype=work) for n, v in training.numbers.items()}
    step, counts = stepper(dynamics, training), accumulated(dynamics, training)
    count = max(len(v) for v in inputs.values()) if steps is None else steps

    def whole(value: Any) -> torch.Tensor:
        """One a neuron, on x's device."""
        tensor = (
            value.to(x.device, work)
            if isinstance(value, torch.Tensor)
            else x.new_full((), float(value), dtype=work)
        )
        return tensor.reshape(()).expand(shape) if tensor.numel() == 1 else tensor.expand(shape)

    state = {s: whole((states or {}).get(s, 0.0)) * unit for s in dynamics.states}
    params = {p: whole(parameters[p]) for p in dynamics.constant_names}
    rows: dict[str, list[torch.Tensor]] = {n: [] for n in (*dynamics.outputs, *record)}
    over = x.new_zeros((), dtype=torch.int64)
    rows_of = zip(
        *(inputs[n].to(work).expand(count, *shape).unbind(0) for n in dynamics.inputs), strict=True
    )
    for t, now in enumerate(rows_of, first or 0):
        time = x.new_full((), t, dtype=torch.float64)
        named = dict(zip(dynamics.inputs, now, strict=True))
        for value in counts(named, state, params, numbers, time):
            over = over + (value.detach() >= cpu.LIMIT).sum()
        out, state = step(named, state, params, numbers, time)
        for n in dynamics.outputs:
            rows[n].append(out[n])
        for s in record:
            rows[s].append(state[s] / unit)
    outputs = {n: torch.stack(r).to(x.dtype) if r else torch.empty_like(x) for n, r in rows.items()}
    if shift:
        outputs |= {n: a_step_late(y) for n, y in outputs.items() if n in dynamics.outputs}
    return Result(outputs, {s: (v / unit).to(x.dtype) for s, v in state.items()}, over)
