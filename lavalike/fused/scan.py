"""A neuron over time on tensors: the fused loops as one differentiable call, and the plain loop
they are derived from.

Tensors are time-major: inputs ``(time, *shape)``; states ``shape``; a parameter is one number or
broadcasts to ``shape``.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

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
from lavalike.fused import cpu, eventprop, memory
from lavalike.fused.ambient import alone, stored, transformed, unreadable
from lavalike.fused.arithmetic import Training
from lavalike.fused.llvm import WORDS
from lavalike.fused.trace import Traced, accumulated, steps as stepper, traced

Tensors = dict[str, torch.Tensor]
STORAGE = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16"}


_plain: ContextVar[bool] = ContextVar("plain", default=False)


@contextmanager
def plain_loops() -> Iterator[None]:
    """Within, :func:`scan` is :func:`reference`, the plain torch loop: to step through, to compare
    with, and for devices without compiled loops (these there are for the CPU and CUDA)."""
    token = _plain.set(True)
    try:
        yield
    finally:
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


@functools.cache
def _traced(dynamics: Dynamics, key: Any, training: _ByKey) -> Traced:
    return alone(traced, dynamics, training.training, WORDS)


class _ByKey:
    """A Training that is equal to another of the same key: code does not depend on numbers."""

    def __init__(self, training: Training) -> None:
        self.training = training

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByKey) and other.training.key == self.training.key

    def __hash__(self) -> int:
        return hash(self.training.key)


def code(dynamics: Dynamics, training: Training) -> Traced:
    """The traced neuron; traced once for all numbers, lengths, batches and widths."""
    return _traced(dynamics, training.key, _ByKey(training))


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

    Where no kernel can run (in a transform of torch.func, forward-mode differentiation, a trace, on
    fake or meta tensors) it is :func:`reference`, which these see through.

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
    _timed("scan", dynamics, first)
    if training.gradient == "eventprop":
        return _by_times(scan, dynamics, training, inputs, parameters, states, record, shift, steps)
    x = next(iter(inputs.values()))
    shape = x.shape[1:]
    steps = max(len(v) for v in inputs.values()) if steps is None else steps
    for name, v in inputs.items():
        if v.shape[1:] != shape or len(v) not in (1, steps) or v.dtype != x.dtype:
            raise InputError(
                f"{dynamics.name}: input {name} has shape {tuple(v.shape)}, {v.dtype}; expected {(steps, *shape)}, {x.dtype}"
            )
    if steps == 0 or 0 in shape:
        raise InputError(
            f"{dynamics.name}: input has shape {tuple(x.shape)}, {steps} steps; none may be 0"
        )
    if x.dtype not in STORAGE:
        raise InputError(
            f"{dynamics.name}: input has dtype {x.dtype}; expected float32, float64 or bfloat16"
        )
    given = {s: torch.as_tensor(v) for s, v in (states or {}).items()}
    tensors = (
        v
        for v in (*inputs.values(), *given.values(), *parameters.values())
        if isinstance(v, torch.Tensor)
    )
    plain = (
        _plain.get()
        or transformed()
        or (first is not None and x.device.type != "cpu")
        or not all(map(stored, tensors))
    )
    made = None if plain else code(dynamics, training)
    names = dynamics.constant_names if made is None else made.parameters
    _needed("scan", dynamics, names, parameters)
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
    values = [_flat(_tensor(parameters[p]), shape) for p in names]
    if made is None:
        return reference(
            dynamics, training, inputs, parameters, states, record, shift, steps, first
        )
    before = [given[s].expand(shape).reshape(-1) if s in given else None for s in dynamics.states]
    _engine(x.device)
    if x.device.type != "cpu":  # the GPU's kernels read every step
        inputs = {n: v.expand(steps, *shape) for n, v in inputs.items()}
    # tensors whose time lies innermost are read as they are
    moving = [v for v in inputs.values() if len(v) > 1]
    last = (
        x.device.type == "cpu"
        and not shift
        and not record
        and bool(moving)
        and all(map(_innermost, moving))
    )
    call = _Call(dynamics, training, made, tuple(record), shift, steps, first, last)
    taken: list[torch.Tensor | None] = [
        memory.laid(inputs[n].movedim(0, -1) if last else inputs[n], last) for n in dynamics.inputs
    ]
    taken += [*before, *values]
    if (
        not torch.is_grad_enabled()
    ):  # which a Function is not told: it would keep what only backward needs
        taken = [None if x is None else x.detach() for x in taken]
    out = _Scan.apply(call, *taken)
    n, k = len(dynamics.outputs) + len(record), len(dynamics.states)
    outputs = dict(
        zip(
            (*dynamics.outputs, *record),
            (y.movedim(-1, 0) for y in out[:n]) if last else out[:n],
            strict=True,
        )
    )
    final = {
        name: y.reshape(shape) for name, y in zip(dynamics.states, out[n : n + k], strict=True)
    }
    return Result(outputs, final, out[-1])


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
    plain = dataclasses.replace(training, gradient="surrogate")
    if not eventprop.replaced(dynamics):
        return run(dynamics, plain, inputs, parameters, *rest)
    return Result(*eventprop.scan(run, dynamics, plain, inputs, parameters, *rest))


def _innermost(x: torch.Tensor) -> bool:
    """Whether time, x's first axis, lies innermost in memory."""
    return not x.is_contiguous() and x.movedim(0, -1).is_contiguous()


def _tensor(value: Any) -> torch.Tensor:
    """A number in all its digits; torch's default would be float32."""
    return value if isinstance(value, torch.Tensor) else torch.as_tensor(value, dtype=torch.float64)


def _flat(value: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    if value.numel() == 1:
        return value.reshape(())
    try:
        return value.expand(shape).reshape(-1)
    except RuntimeError:
        raise InputError(
            f"a parameter of shape {tuple(value.shape)} does not broadcast to neurons of shape {tuple(shape)}"
        ) from None


def _engine(device: torch.device) -> Any:
    """What runs kernels on ``device``: ``launch``, ``SEGMENT``, ``blocks_of``."""
    if device.type == "cpu":
        return cpu
    if device.type != "cuda":
        raise InputError(
            f"tensors on {device}: compiled loops run on the CPU and on CUDA; move the tensors there, or call within "
            "lavalike.fused.plain_loops(), which runs on every device"
        )
    from lavalike.fused import triton

    return triton


@dataclass(frozen=True)
class _Call:
    """What a scan is besides its tensors."""

    dynamics: Dynamics
    training: Training
    made: Traced
    record: tuple[str, ...]
    shift: bool
    steps: int
    first: int | None
    last: bool  # time is the tensors' last axis

    def width(self, x: torch.Tensor) -> int:
        """How many neurons an input has."""
        return math.prod(x.shape[:-1] if self.last else x.shape[1:])

    @property
    def wide(self) -> bool:
        """Whether it is computed in float64 whatever the inputs are: their arithmetic has it, or
        float32 does not hold t."""
        return self.training.arithmetic != "float" or (
            self.first is not None and self.first + self.steps > 1 << 23
        )

    @property
    def unit(self) -> float:
        """What kernels count a state of 1 as."""
        return self.training.scale if self.training.arithmetic == "grid" else 1.0

    def split(self, values: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
        """(inputs, states, parameters)"""
        n, m = len(self.dynamics.inputs), len(self.dynamics.inputs) + len(self.dynamics.states)
        return values[:n], values[n:m], values[m:]

    def numbers(self, params: Sequence[torch.Tensor], real: torch.dtype) -> dict[str, Any]:
        """Parameters and numbers as kernels take them; one value on the CPU is a number, on a GPU
        it stays where it is."""
        out: dict[str, Any] = self.training.numbers | {"t": float(self.first or 0)}
        for name, value in zip(self.made.parameters, params, strict=True):
            out[f"p_{name}"] = (
                value.to(real).contiguous()
                if value.dim() or value.device.type != "cpu"
                else float(value)
            )
        return out


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, *values: Any) -> Any:
        made, d = call.made, call.dynamics
        xs, firsts, params = call.split(values)
        x = xs[0]
        engine, width = _engine(x.device), call.width(x)
        keeps = any(ctx.needs_input_grad)
        variant = cpu.Variant(
            STORAGE[x.dtype],
            call.wide,
            call.training.arithmetic == "grid",
            call.record,
            frozenset(p for p, v in zip(made.parameters, params, strict=True) if v.dim()),
            shift=call.shift,
            held=frozenset(
                n
                for n, v in zip(d.inputs, xs, strict=True)
                if v.shape[-1 if call.last else 0] != call.steps
            ),
            last=call.last,
        )
        real = _real(variant)
        ys = [
            memory.empty((*x.shape[:-1], call.steps), x.dtype)
            if call.last
            else _room(x, call.steps, call.shift)
            for _ in d.outputs
        ]
        rs = [_room(x, call.steps, False) for _ in call.record]
        state = [
            x.new_zeros(width, dtype=real)
            if s is None
            else s.to(real, copy=True)
            if call.unit == 1
            else s.to(real) * call.unit
            for s in firsts
        ]
        kept = (
            [x.new_empty(-(-call.steps // engine.SEGMENT) * width, dtype=real) for _ in state]
            if keeps
            else []
        )
        over = [
            x.new_zeros(engine.blocks_of(width, variant), dtype=torch.float64)
            for _ in range(made.counted)
        ]
        given = {
            **_named("x_", d.inputs, xs),
            **_named("y_", d.outputs, [y[1:] for y in ys] if call.shift else ys),
            **_named("r_", call.record, rs),
            **_named("s_", d.states, state),
            **_named("c_", d.states, kept),
            **call.numbers(params, real),
            **{f"gp_n{j}": row for j, row in enumerate(over)},
        }
        engine.launch(made, variant, "training" if keeps else "forward", given, call.steps, width)
        outside = torch.float32 if x.dtype == torch.bfloat16 else x.dtype
        state = [(s if call.unit == 1 else s / call.unit).to(outside) for s in state]
        ctx.setup = call, variant, [None if s is None else s.dtype for s in firsts]
        ctx.save_for_backward(*xs, *kept, *params)
        ctx.set_materialize_grads(False)
        count = torch.stack(over).sum().long() if over else x.new_zeros((), dtype=torch.int64)
        ctx.mark_non_differentiable(count)
        return (*(ys if call.last else (y[: call.steps] for y in ys)), *rs, *state, count)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor | None) -> Any:
        call, variant, dtypes = ctx.setup
        made, d = call.made, call.dynamics
        if unreadable():
            raise InputError(
                f"{d.name}: backward of a compiled loop reads memory, which fake and traced tensors have not; compute forward "
                "in the same mode, or within lavalike.fused.plain_loops()"
            )
        xs, kept, params = call.split(ctx.saved_tensors)
        x = xs[0]
        engine, width = _engine(x.device), call.width(x)
        wanted = call.split(ctx.needs_input_grad[1:])[2]
        trained = tuple(p for p, w in zip(made.parameters, wanted, strict=True) if w)
        names = (*d.outputs, *call.record)
        gys = {
            n: memory.laid(g.to(x.dtype), call.last)
            for n, g in zip(names, grads[: len(names)], strict=True)
            if g is not None
        }
        variant = dataclasses.replace(variant, trained=frozenset(trained), given=frozenset(gys))
        real = _real(variant)
        # a state is unit times its value: its gradient the value's over unit
        gs = [
            x.new_zeros(width, dtype=real)
            if g is None
            else g.reshape(-1).to(real, copy=True)
            if call.unit == 1
            else g.reshape(-1).to(real) / call.unit
            for g in grads[len(names) : len(names) + len(d.states)]
        ]
        gxs = [memory.empty_like(v) for v in xs]
        gps = {
            p: x.new_zeros(
                width if p in variant.per_neuron else engine.blocks_of(width, variant),
                dtype=torch.float64,
            )
            for p in trained
        }
        given = {
            **_named("x_", d.inputs, xs),
            **_named("gx_", d.inputs, gxs),
            **_named("gs_", d.states, gs),
            **_named("c_", d.states, kept),
            **{("gy_" if n in d.outputs else "gr_") + n: g for n, g in gys.items()},
            **{f"gp_{p}": g for p, g in gps.items()},
            **call.numbers(params, real),
        }
        engine.launch(made, variant, "backward", given, call.steps, width)
        firsts = [
            None if dtype is None else (g if call.unit == 1 else g * call.unit).to(dtype)
            for g, dtype in zip(gs, dtypes, strict=True)
        ]
        of_params = [
            None
            if p not in gps
            else (gps[p] if p in variant.per_neuron else gps[p].sum()).to(v.dtype)
            for p, v in zip(made.parameters, params, strict=True)
        ]
        return (None, *gxs, *firsts, *of_params)


def _real(variant: cpu.Variant) -> torch.dtype:
    return torch.float64 if variant.real == "float64" else torch.float32


def _room(x: torch.Tensor, steps: int, late: bool) -> torch.Tensor:
    """Room for the outputs of all steps; where they are a step late, one row more, zeros in the
    first."""
    shape = (steps + late, *x.shape[1:])
    y = memory.empty(shape, x.dtype) if x.device.type == "cpu" else x.new_empty(shape)
    if late:
        y[0] = 0
    return y


def _named(prefix: str, names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    return {prefix + n: v for n, v in zip(names, values, strict=False)}


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
    if training.gradient == "eventprop":
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
        outputs |= {
            n: torch.cat([torch.zeros_like(y[:1]), y[:-1]])
            for n, y in outputs.items()
            if n in dynamics.outputs
        }
    return Result(outputs, {s: (v / unit).to(x.dtype) for s, v in state.items()}, over)
