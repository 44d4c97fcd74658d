"""The fused loops as operators of torch, ``lavalike::scan`` and ``lavalike::scan_backward``, one
pair for every neuron, and what calls them.

torch.compile, torch.export, fake tensors, torch.jit.trace, transforms of torch.func and selective
checkpointing see these two. Which neuron an operator computes is told by its key, a hash of the
traced code: compiled graphs and exported files keep it on disk, and another process finds the same
neuron by it, or says that it has none. A plain call has nothing of this: it runs the loops in a
Function of its own (:class:`Scan`), since the dispatcher costs as much as a small scan.

Tensors: ``xs`` (time, *shape), one of length 1 is the same in every step; ``firsts`` (neurons),
states before the first step in the outputs' unit, an empty one is zeros; ``params`` (neurons) or
(); ``kept``, states of every SEGMENT-th step as kernels count them; ``steps`` -1: as many as the
first of xs has; ``first`` -1: nobody asks for t; ``record``: names, joined by commas.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lavalike.dynamics import Dynamics
from lavalike.dynamics.dynamics import ALIVE
from lavalike.errors import InputError, LavalikeError
from lavalike.fused import cpu, memory
from lavalike.fused.ambient import alone, special, stored, unreadable
from lavalike.fused.arithmetic import Training, a_step_late
from lavalike.fused.llvm import WORDS
from lavalike.fused.trace import Traced, bound, traced

Tensors = list[torch.Tensor]
STORAGE = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16"}
FORM = 1  # of the operators' arguments and results; a key holds it


# -- neurons ---------------------------------------------------------------------------------------


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


@dataclass(frozen=True, eq=False)
class Spec:
    """A neuron as an operator's key names it: its code, and a training of the same key."""

    made: Traced
    training: Training
    key: str

    @property
    def dynamics(self) -> Dynamics:
        return self.made.dynamics

    def unit(self, numbers: Sequence[float]) -> float:
        """What kernels count a state of 1 as."""
        if self.training.arithmetic != "grid":
            return 1.0
        return float(numbers[self.made.numbers.index("scale")])

    def wide(self, steps: int, first: int) -> bool:
        """Whether it is computed in float64 whatever the inputs are: their arithmetic has it, or
        float32 does not hold t."""
        return self.training.arithmetic != "float" or (first >= 0 and first + steps > 1 << 23)

    def real(self, x: torch.Tensor, steps: int, first: int) -> torch.dtype:
        """What states are computed in."""
        wide = x.dtype == torch.float64 or self.wide(steps, first)
        return torch.float64 if wide else torch.float32

    def cut(self, values: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
        """(inputs, states, parameters)"""
        n = len(self.dynamics.inputs)
        m = n + len(self.dynamics.states)
        return values[:n], values[n:m], values[m : m + len(self.made.parameters)]


_specs: dict[str, Spec] = {}


def spec(dynamics: Dynamics, training: Training) -> Spec:
    """The neuron, findable by its key from now on."""
    return _spec(code(dynamics, training), _ByKey(training))


@functools.cache
def _spec(made: Traced, training: _ByKey) -> Spec:
    t, d = training.training, made.dynamics
    text = repr(
        (
            *(FORM, d.inputs, d.outputs, d.states, made.parameters, made.numbers, t.arithmetic),
            *(made.forward, made.backward, made.counted),
        )
    )
    surrogate = type(t.surrogate)
    fields = (
        d.name,
        d.step.__module__,
        surrogate.__module__,
        surrogate.__qualname__,
        t.reset_grad,
        t.arithmetic,
        str(int(t.relative)),
        hashlib.sha256(text.encode()).hexdigest()[:32],
    )
    key = "/".join(map(str, fields))
    return _specs.setdefault(key, Spec(made, t, key))


def find(key: str) -> Spec:
    """The neuron of ``key``; InputError where this process has none."""
    found = _specs.get(key)
    return _resolved(key) if found is None else found


def _resolved(key: str) -> Spec:
    """The neuron of a key that another process has made: one of the library, whose module is
    imported, or one that is declared here already."""
    parts = key.split("/")
    if len(parts) == 8:
        name, module, where, kind, reset_grad, arithmetic, relative, _ = parts
        for m in (module, where):
            if m.split(".")[0] == "lavalike":  # no other: a file would say what is imported
                try:
                    importlib.import_module(m)
                except ModuleNotFoundError:
                    break
        surrogate: Any = sys.modules.get(where)
        for attribute in kind.split("."):
            surrogate = getattr(surrogate, attribute, None)
        training = _of_kind(surrogate, reset_grad, arithmetic, relative == "1")
        if training is not None:
            for dynamics in [*ALIVE.values()]:
                if dynamics.name == name and dynamics.step.__module__ == module:
                    made = spec(dynamics, training)
                    if made.key == key:
                        return made
        told = f"neuron {name!r} of {module} with surrogate {kind} of {where}"
    else:
        told = "neuron"
    raise InputError(
        f"lavalike::scan: no {told} in this process that computes what the key {key!r} stands for; import the module that "
        "declares it and call such a neuron once before the graph is loaded, or make the graph anew (a neuron that has "
        "changed since, or another version of lavalike or torch, has another key)"
    )


def _of_kind(cls: Any, reset_grad: str, arithmetic: str, relative: bool) -> Training | None:
    """A training of a surrogate class, whose numbers do not count; None where more than numbers
    tells its kind."""
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        return None
    try:
        made: Any = cls(**{f.name: 1.0 for f in dataclasses.fields(cls)})
        return Training(made, reset_grad, arithmetic, relative=relative)
    except (LavalikeError, TypeError, ValueError):
        return None


@dataclass(frozen=True)
class Handle:
    """What torch.compile sees of a neuron. ``whole``: computed in integers, or with messages that
    are rounded; ``timed``: its step asks for t; ``number``: of its step in :func:`written_out`."""

    key: str
    parameters: tuple[str, ...]
    numbers: tuple[float, ...]
    counted: int
    whole: bool
    timed: bool
    number: int


_steps: list[tuple[Dynamics, Training, Callable[..., Any]]] = []


@functools.cache
def _handle(dynamics: Dynamics, training: Training) -> Handle:
    made = spec(dynamics, training)
    _steps.append((dynamics, training, bound(dynamics, training, training.numbers)))
    return Handle(
        made.key,
        made.made.parameters,
        tuple(training.numbers.values()),
        made.made.counted,
        training.arithmetic != "float",
        "t" in dynamics.arguments,
        len(_steps) - 1,
    )


def handle(dynamics: Dynamics, training: Training) -> Handle:
    """The neuron for torch.compile, which asks once and keeps the answer for as long as both
    objects are the same."""
    torch.compiler.allow_in_graph(written_out)  # a step's own code is not read again
    return _handle(dynamics, training)


# torch.compiler.assume_constant_result, which would load the whole compiler
handle._dynamo_marked_constant = True  # type: ignore[attr-defined]  # a mark on the function


def written_out(
    number: int,
    record: str,
    shift: bool,
    steps: int,
    first: int,
    xs: Tensors,
    firsts: list[torch.Tensor | None],
    params: Tensors,
) -> Tensors:
    """[*outputs, *recorded, *states] of a neuron in floating point, as torch.compile finds it
    written out in torch's own operations."""
    dynamics, _, step = _steps[number]
    x = xs[0]
    wide = x.dtype == torch.float64 or (first >= 0 and first + steps > 1 << 23)
    work = torch.float64 if wide else torch.float32
    names = tuple(record.split(",") if record else ())
    names_of = dynamics.constant_names
    return loop(step, dynamics, names_of, 1.0, work, xs, firsts, params, names, shift, steps, first)


# -- the loops -------------------------------------------------------------------------------------


def engine_of(device: torch.device) -> Any:
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


@dataclass(frozen=True, eq=False)
class Call:
    """What a scan is besides its tensors. ``last``: time is the last axis of inputs and outputs,
    which no operator does."""

    spec: Spec
    numbers: Sequence[float]
    record: tuple[str, ...]
    shift: bool
    steps: int
    first: int
    last: bool = False

    @property
    def rest(self) -> tuple[Any, ...]:
        """As the operators take it."""
        return (
            list(self.numbers),
            self.spec.key,
            ",".join(self.record),
            self.shift,
            self.steps,
            self.first,
        )

    def count(self, x: torch.Tensor) -> int:
        return x.shape[-1 if self.last else 0] if self.steps < 0 else self.steps

    def width(self, x: torch.Tensor) -> int:
        """How many neurons an input has."""
        return math.prod(x.shape[:-1] if self.last else x.shape[1:])

    @property
    def visible(self) -> int:
        """How many results have gradients: outputs, recorded states and last states."""
        d = self.spec.dynamics
        return len(d.outputs) + len(self.record) + len(d.states)

    def variant(self, xs: Sequence[torch.Tensor], params: Sequence[torch.Tensor]) -> cpu.Variant:
        s, steps = self.spec, self.count(xs[0])
        return cpu.Variant(
            STORAGE[xs[0].dtype],
            s.wide(steps, self.first),
            s.training.arithmetic == "grid",
            self.record,
            frozenset(p for p, v in zip(s.made.parameters, params, strict=True) if v.dim()),
            shift=self.shift,
            held=frozenset(
                n
                for n, v in zip(s.dynamics.inputs, xs, strict=True)
                if v.shape[-1 if self.last else 0] != steps
            ),
            last=self.last,
        )

    def values(self, params: Sequence[torch.Tensor], real: torch.dtype) -> dict[str, Any]:
        """Parameters and numbers as kernels take them; one value on the CPU is a number, on a GPU
        it stays where it is."""
        made = self.spec.made
        out: dict[str, Any] = dict(zip(made.numbers, self.numbers, strict=True))
        out["t"] = float(max(self.first, 0))
        for name, value in zip(made.parameters, params, strict=True):
            out[f"p_{name}"] = (
                value.to(real).contiguous()
                if value.dim() or value.device.type != "cpu"
                else float(value)
            )
        return out


def _call(
    numbers: Sequence[float], key: str, record: str, shift: bool, steps: int, first: int
) -> Call:
    return Call(find(key), numbers, tuple(record.split(",") if record else ()), shift, steps, first)


def outside(x: torch.Tensor) -> torch.dtype:
    """The dtype of states that inputs like ``x`` leave."""
    return torch.float32 if x.dtype == torch.bfloat16 else x.dtype


def forward(
    call: Call,
    xs: Sequence[torch.Tensor],
    firsts: Sequence[torch.Tensor | None],
    params: Sequence[torch.Tensor],
    keeps: bool,
) -> Tensors:
    """[*outputs, *recorded, *states, how many values left 24 bits], and with ``keeps`` what
    backward needs besides the arguments."""
    made, d = call.spec.made, call.spec.dynamics
    xs = [memory.laid(v, call.last) for v in xs]
    x = xs[0]
    steps, width, engine = call.count(x), call.width(x), engine_of(x.device)
    variant = call.variant(xs, params)
    real, unit = _real(variant), call.spec.unit(call.numbers)
    ys = [
        memory.empty((*x.shape[:-1], steps), x.dtype) if call.last else _room(x, steps, call.shift)
        for _ in d.outputs
    ]
    rs = [_room(x, steps, False) for _ in call.record]
    state = [
        x.new_zeros(width, dtype=real)
        if s is None
        else s.to(real, copy=True).contiguous()
        if unit == 1
        else s.to(real) * unit
        for s in firsts
    ]
    kept = (
        [x.new_empty(-(-steps // engine.SEGMENT) * width, dtype=real) for _ in state]
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
        **call.values(params, real),
        **{f"gp_n{j}": row for j, row in enumerate(over)},
    }
    engine.launch(made, variant, "training" if keeps else "forward", given, steps, width)
    low = outside(x)
    state = [(s if unit == 1 else s / unit).to(low) for s in state]
    count = torch.stack(over).sum().long() if over else x.new_zeros((), dtype=torch.int64)
    return [*(ys if call.last else (y[:steps] for y in ys)), *rs, *state, count, *kept]


def backward(
    call: Call,
    xs: Sequence[torch.Tensor],
    dtypes: Sequence[torch.dtype],
    kept: Sequence[torch.Tensor],
    params: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor | None],
    wanted: Sequence[bool],
) -> Tensors:
    """[*of inputs, *of first states (in ``dtypes``), *of those parameters that are ``wanted``] of
    the gradients of outputs, recorded states and last states, None is zeros."""
    made, d = call.spec.made, call.spec.dynamics
    xs = [memory.laid(v, call.last) for v in xs]
    x = xs[0]
    steps, width, engine = call.count(x), call.width(x), engine_of(x.device)
    trained = tuple(p for p, w in zip(made.parameters, wanted, strict=True) if w)
    names = (*d.outputs, *call.record)
    gys = {
        n: memory.laid(g.to(x.dtype), call.last)
        for n, g in zip(names, grads[: len(names)], strict=True)
        if g is not None
    }
    variant = dataclasses.replace(
        call.variant(xs, params), trained=frozenset(trained), given=frozenset(gys)
    )
    real, unit = _real(variant), call.spec.unit(call.numbers)
    # a state is unit times its value: its gradient the value's over unit
    gs = [
        x.new_zeros(width, dtype=real)
        if g is None
        else g.reshape(-1).to(real, copy=True)
        if unit == 1
        else g.reshape(-1).to(real) / unit
        for g in grads[len(names) :]
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
        **_named("c_", d.states, [k.contiguous() for k in kept]),
        **{("gy_" if n in d.outputs else "gr_") + n: g for n, g in gys.items()},
        **{f"gp_{p}": g for p, g in gps.items()},
        **call.values(params, real),
    }
    engine.launch(made, variant, "backward", given, steps, width)
    firsts = [(g if unit == 1 else g * unit).to(t) for g, t in zip(gs, dtypes, strict=True)]
    of = [
        (gps[p] if p in variant.per_neuron else gps[p].sum()).to(v.dtype)
        for p, v in zip(made.parameters, params, strict=True)
        if p in gps
    ]
    return [*gxs, *firsts, *of]


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


def loop(
    step: Callable[..., Any],
    dynamics: Dynamics,
    names: Sequence[str],
    unit: float,
    work: torch.dtype,
    xs: Sequence[torch.Tensor],
    firsts: Sequence[torch.Tensor | None],
    params: Sequence[torch.Tensor],
    record: Sequence[str],
    shift: bool,
    steps: int,
    first: int,
) -> Tensors:
    """[*outputs, *recorded, *states] in torch's own operations: what second derivatives are taken
    of, and what one step is where it is compiled with what is around it."""
    x = xs[0]
    shape = x.shape[1:]
    states = {
        s: torch.zeros(shape, dtype=work, device=x.device)
        if v is None
        else v.to(work).reshape(shape)
        if unit == 1
        else v.to(work).reshape(shape) * unit
        for s, v in zip(dynamics.states, firsts, strict=True)
    }
    parameters = {
        p: v.to(device=x.device, dtype=work).reshape(shape) if v.dim() else v.to(x.device, work)
        for p, v in zip(names, params, strict=True)
    }
    # a number becomes one a neuron, as the step of a neuron has them
    parameters = {p: v if v.dim() else v.expand(shape) for p, v in parameters.items()}
    rows: dict[str, list[torch.Tensor]] = {n: [] for n in (*dynamics.outputs, *record)}
    moving = [v.to(work).expand(steps, *shape) for v in xs]
    for k in range(steps):
        now = {n: v[k] for n, v in zip(dynamics.inputs, moving, strict=True)}
        t = None if first < 0 else x.new_full((), first + k, dtype=torch.float64)
        out, states = step(now, states, parameters, t)
        for n in dynamics.outputs:
            rows[n].append(out[n])
        for s in record:
            rows[s].append(states[s] if unit == 1 else states[s] / unit)
    ys = {n: torch.stack(r).to(x.dtype) for n, r in rows.items()}
    if shift:
        ys |= {n: a_step_late(ys[n]) for n in dynamics.outputs}
    low = outside(x)
    last = [(states[s] if unit == 1 else states[s] / unit).to(low) for s in dynamics.states]
    return [*ys.values(), *(s.reshape(-1) for s in last)]


# -- a plain call ----------------------------------------------------------------------------------


class Scan(torch.autograd.Function):
    """The loops for a plain call that wants gradients: one allocation and no dispatcher."""

    @staticmethod
    def forward(ctx: Any, call: Call, *values: Any) -> Any:
        xs, firsts, params = call.spec.cut(values)
        out = forward(call, xs, firsts, params, True)
        n = call.visible + 1
        ctx.call, ctx.dtypes = call, [None if s is None else s.dtype for s in firsts]
        # second derivatives follow to the states that have gradients; of others the loops keep the
        # values
        followed = [
            s if w else None
            for s, w in zip(firsts, call.spec.cut(ctx.needs_input_grad[1:])[1], strict=True)
        ]
        ctx.save_for_backward(*xs, *followed, *params, *out[n:])
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(out[n - 1])
        return tuple(out[:n])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> Any:
        call: Call = ctx.call
        if unreadable():
            raise InputError(
                f"{call.spec.dynamics.name}: backward of a compiled loop reads memory, which fake and traced tensors have not; "
                "compute forward in the same mode, or within lavalike.fused.plain_loops()"
            )
        saved = ctx.saved_tensors
        xs, firsts, params = call.spec.cut(saved)
        kept = saved[len(xs) + len(firsts) + len(params) :]
        wanted = call.spec.cut(ctx.needs_input_grad[1:])
        given = grads[: call.visible]
        low = outside(xs[0])
        if torch.is_grad_enabled() or special():
            out = _again(call, xs, firsts, kept, params, given, wanted[2])
        else:
            dtypes = [low if t is None else t for t in ctx.dtypes]
            out = backward(call, xs, dtypes, kept, params, given, wanted[2])
        n, m = len(xs), len(xs) + len(firsts)
        of_params = iter(out[m:])
        return (
            None,
            *out[:n],
            *(g if w else None for g, w in zip(out[n:m], wanted[1], strict=True)),
            *(next(of_params) if w else None for w in wanted[2]),
        )


def _again(
    call: Call,
    xs: Sequence[torch.Tensor],
    firsts: Sequence[torch.Tensor | None],
    kept: Sequence[torch.Tensor],
    params: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor | None],
    wanted: Sequence[bool],
) -> Sequence[torch.Tensor]:
    """What :func:`backward` returns, to be differentiated again."""
    last = call.last
    if last:
        call = dataclasses.replace(call, last=False)
        xs = [x.movedim(-1, 0) for x in xs]
        n = len(call.spec.dynamics.outputs)
        grads = [g.movedim(-1, 0) if k < n and g is not None else g for k, g in enumerate(grads)]
    width, unit = call.width(xs[0]), call.spec.unit(call.numbers)
    firsts = [
        k.detach()[:width] / unit if s is None else s for s, k in zip(firsts, kept, strict=True)
    ]
    given = tuple(g is not None for g in grads)
    some = [g for g in grads if g is not None]
    out = Back.apply(
        torch.ops.lavalike.scan_backward.default,
        call,
        given,
        tuple(wanted),
        *xs,
        *firsts,
        *kept,
        *params,
        *some,
    )
    return [g.movedim(0, -1) if last and k < len(xs) else g for k, g in enumerate(out)]


def run(call: Call, values: Sequence[torch.Tensor | None]) -> Sequence[torch.Tensor]:
    """[*outputs, *recorded, *states, count] of inputs, first states (None is zeros) and parameters,
    by the operators where anything is to see them."""
    xs, firsts, params = call.spec.cut(values)
    if not special() and all(v is None or stored(v) for v in values):
        if torch.is_grad_enabled() and any(v is not None and v.requires_grad for v in values):
            return Scan.apply(call, *values)
        return forward(call, xs, firsts, params, False)
    empty = [_nothing(xs[0]) if s is None else s for s in firsts]
    op = torch.ops.lavalike.scan.default
    if torch._C._functorch.peek_interpreter_stack() is not None:
        # a Function above the dispatcher, which the transforms ask how it is transformed
        return Operator.apply(op, call, *xs, *empty, *params)[: call.visible + 1]
    return op(list(xs), empty, list(params), *call.rest, False)


def _nothing(x: torch.Tensor) -> torch.Tensor:
    """For a state that is zeros."""
    return torch.empty(0, dtype=outside(x), device=x.device)


# -- the operators ---------------------------------------------------------------------------------

LIBRARY = torch.library.Library("lavalike", "DEF")
_MORE = "float[] numbers, str key, str record, bool shift, SymInt steps, SymInt first"
TAGS = (torch.Tag.pt2_compliant_tag,)
LIBRARY.define(
    f"scan(Tensor[] xs, Tensor[] firsts, Tensor[] params, {_MORE}, bool keeps) -> Tensor[]",
    tags=TAGS,
)
LIBRARY.define(
    "scan_backward(Tensor[] xs, Tensor[] firsts, Tensor[] kept, Tensor[] params, Tensor[] grads, bool[] given, "
    f"bool[] wanted, {_MORE}) -> Tensor[]",
    tags=TAGS,
)


def _given(firsts: Sequence[torch.Tensor]) -> list[torch.Tensor | None]:
    return [s if s.numel() else None for s in firsts]


def _values(params: Tensors) -> Tensors:
    """Parameters as numbers may be read of: behind autograd's key they may still have a history."""
    return [p.detach() for p in params]


def _scan(xs: Tensors, firsts: Tensors, params: Tensors, *rest: Any) -> Tensors:
    return forward(_call(*rest[:-1]), xs, _given(firsts), _values(params), rest[-1])


def _scan_fake(xs: Tensors, firsts: Tensors, params: Tensors, *rest: Any) -> Tensors:
    call, x = _call(*rest[:-1]), xs[0]
    d, steps, shape = call.spec.dynamics, call.count(x), x.shape[1:]
    width, segment = math.prod(shape), _segment(x)
    real = call.spec.real(x, steps, call.first)
    return [
        *(x.new_empty((steps, *shape)) for _ in (*d.outputs, *call.record)),
        *(x.new_empty((width,), dtype=outside(x)) for _ in d.states),
        x.new_empty((), dtype=torch.int64),
        *(
            x.new_empty((-(-steps // segment) * width,), dtype=real)
            for _ in (d.states if rest[-1] else ())
        ),
    ]


def _segment(x: torch.Tensor) -> int:
    return int(engine_of(x.device).SEGMENT) if x.device.type == "cuda" else cpu.SEGMENT


def _scan_backward(
    xs: Tensors,
    firsts: Tensors,
    kept: Tensors,
    params: Tensors,
    grads: Tensors,
    given: Sequence[bool],
    wanted: Sequence[bool],
    *rest: Any,
) -> Tensors:
    low = outside(xs[0])
    dtypes = [s.dtype if s.numel() else low for s in firsts]
    some = iter(grads)
    each = [next(some) if g else None for g in given]
    return backward(_call(*rest), xs, dtypes, kept, _values(params), each, wanted)


def _scan_backward_fake(
    xs: Tensors,
    firsts: Tensors,
    kept: Tensors,
    params: Tensors,
    grads: Tensors,
    given: Sequence[bool],
    wanted: Sequence[bool],
    *rest: Any,
) -> Tensors:
    x = xs[0]
    width, low = math.prod(x.shape[1:]), outside(x)
    return [
        *(torch.empty_like(v, memory_format=torch.contiguous_format) for v in xs),
        *(x.new_empty((width,), dtype=s.dtype if s.numel() else low) for s in firsts),
        *(torch.empty_like(p) for p, w in zip(params, wanted, strict=True) if w),
    ]


class Operator(torch.autograd.Function):
    """``lavalike::scan`` with gradients, under whatever transforms; its results are followed by
    what is kept."""

    @staticmethod
    def forward(run: Callable[..., Tensors], call: Call, *values: Any) -> Any:
        xs, firsts, params = call.spec.cut(values)
        return tuple(run(list(xs), list(firsts), list(params), *call.rest, True))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _, call, *values = inputs
        ctx.call, n = call, call.visible
        ctx.save_for_backward(*values, *output[n + 1 :])
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*output[n:])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> Any:
        call: Call = ctx.call
        saved = ctx.saved_tensors  # asked for once: checkpoints compute them again
        xs, firsts, params = call.spec.cut(saved)
        m = len(xs) + len(firsts)
        kept = saved[m + len(params) :]
        needs = ctx.needs_input_grad[2:]
        wanted, each = tuple(needs[m:]), grads[: call.visible]
        out = Back.apply(
            torch.ops.lavalike.scan_backward.default,
            call,
            tuple(g is not None for g in each),
            wanted,
            *xs,
            *firsts,
            *kept,
            *params,
            *(g for g in each if g is not None),
        )
        of_params = iter(out[m:])
        return (
            None,
            None,
            *(g if w else None for g, w in zip(out[:m], needs[:m], strict=True)),
            *(next(of_params) if w else None for w in wanted),
        )

    @staticmethod
    def vmap(info: Any, dims: tuple[Any, ...], run: Any, call: Call, *values: Any) -> Any:
        b = _Batch(info.batch_size, call, values, dims[2:])
        out = Operator.apply(run, call, *b.xs, *b.firsts, *b.params(()))
        n, m = call.visible - len(call.spec.dynamics.states), call.visible
        states = (s.reshape(b.size, b.width) for s in out[n:m])
        kept = (k.reshape(-1, b.size, b.width) for k in out[m + 1 :])
        results = (*out[:n], *states, out[m], *kept)
        # overflows are those of all
        return results, (*[1] * n, *[0] * (m - n), None, *[1] * (len(results) - m - 1))


class Back(torch.autograd.Function):
    """``lavalike::scan_backward``, differentiable as the plain loop is."""

    @staticmethod
    def forward(
        run: Callable[..., Tensors],
        call: Call,
        given: tuple[bool, ...],
        wanted: tuple[bool, ...],
        *values: Any,
    ) -> Any:
        xs, firsts, kept, params, grads = _apart(call, values)
        return tuple(run(xs, firsts, kept, params, grads, list(given), list(wanted), *call.rest))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _, ctx.call, ctx.given, ctx.wanted, *values = inputs
        ctx.save_for_backward(*values)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor | None) -> Any:
        call: Call = ctx.call
        xs, firsts, kept, params, grads = _apart(call, ctx.saved_tensors)
        free = [i for i, s in enumerate(firsts) if s.numel()]  # others are no variables
        trained = [i for i, w in enumerate(ctx.wanted) if w]
        n, s = len(xs), call.spec
        work = s.real(xs[0], call.count(xs[0]), call.first)
        step = bound(
            s.dynamics,
            s.training,
            {
                k: torch.full((), v, dtype=work, device=xs[0].device)
                for k, v in zip(s.made.numbers, call.numbers, strict=True)
            },
        )

        def plain(*u: torch.Tensor) -> tuple[torch.Tensor, ...]:
            states: list[torch.Tensor | None] = [None] * len(firsts)
            for i, v in zip(free, u[n:], strict=False):
                states[i] = v
            now = list(params)
            for i, v in zip(trained, u[n + len(free) :], strict=True):
                now[i] = v
            out = loop(
                step,
                s.dynamics,
                s.made.parameters,
                s.unit(call.numbers),
                work,
                u[:n],
                states,
                now,
                call.record,
                call.shift,
                call.count(xs[0]),
                call.first,
            )
            return tuple(y for y, g in zip(out, ctx.given, strict=True) if g)

        variables = [*xs, *(firsts[i] for i in free), *(params[i] for i in trained)]
        k = len(variables)

        def once(*v: torch.Tensor) -> tuple[torch.Tensor, ...]:
            ys, vjp = torch.func.vjp(plain, *v[:k])[:2]
            return vjp(
                tuple(g.to(y.dtype).reshape(y.shape) for g, y in zip(v[k:], ys, strict=True))
            )

        like, vjp = torch.func.vjp(once, *variables, *grads)[:2]
        told = [
            *cotangents[:n],
            *(cotangents[n + i] for i in free),
            *cotangents[n + len(firsts) :],
        ]
        found = list(
            vjp(
                tuple(
                    torch.zeros_like(y) if c is None else c.to(y.dtype).reshape(y.shape)
                    for c, y in zip(told, like, strict=True)
                )
            )
        )
        of_firsts: list[Any] = [None] * len(firsts)
        for j, i in enumerate(free):
            of_firsts[i] = found[n + j]
        of_params: list[Any] = [None] * len(params)
        for j, i in enumerate(trained):
            of_params[i] = found[n + len(free) + j]
        # parameters that are not trained have no gradient from here either
        return (
            *[None] * 4,
            *found[:n],
            *of_firsts,
            *[None] * len(kept),
            *of_params,
            *found[k:],
        )

    @staticmethod
    def vmap(
        info: Any,
        dims: tuple[Any, ...],
        run: Any,
        call: Call,
        given: tuple[bool, ...],
        wanted: tuple[bool, ...],
        *values: Any,
    ) -> Any:
        xs, firsts, kept, params, grads = _apart(call, values)
        dx, df, dk, dp, dg = _apart(call, dims[4:])
        b = _Batch(info.batch_size, call, (*xs, *firsts, *params), (*dx, *df, *dp))
        n = call.visible - len(call.spec.dynamics.states)
        timed = sum(given[:n])
        gs = [
            b.spread(g, d, 1) if k < timed else b.spread(g, d, 0).reshape(-1)
            for k, (g, d) in enumerate(zip(grads, dg, strict=True))
        ]
        ks = [
            b.spread(k.reshape(-1, b.width), None, 1).reshape(-1)
            if d is None
            else k.movedim(d, 0).reshape(b.size, -1, b.width).movedim(0, 1).reshape(-1)
            for k, d in zip(kept, dk, strict=True)
        ]
        out = Back.apply(run, call, given, wanted, *b.xs, *b.firsts, *ks, *b.params(wanted), *gs)
        m, w = len(xs), len(xs) + len(firsts)
        shared = [
            p.dim() == (d is not None) for p, d, q in zip(params, dp, wanted, strict=True) if q
        ]
        of_params = [
            g.reshape(b.size, b.width).sum(1) if one else g.reshape(b.size, b.width)
            for g, one in zip(out[w:], shared, strict=True)
        ]
        of_firsts = [g.reshape(b.size, -1) for g in out[m:w]]
        results = (*out[:m], *of_firsts, *of_params)
        return results, (*[1] * m, *[0] * (len(results) - m))


def _apart(call: Call, values: Sequence[Any]) -> list[list[Any]]:
    """(inputs, first states, kept, parameters, gradients)"""
    d = call.spec.dynamics
    sizes = len(d.inputs), len(d.states), len(d.states), len(call.spec.made.parameters)
    out, at = [], 0
    for n in sizes:
        out.append(list(values[at : at + n]))
        at += n
    return [*out, list(values[at:])]


class _Batch:
    """A batch of scans as one: its axis follows time's and stands before the neurons'."""

    def __init__(
        self, size: int, call: Call, values: Sequence[torch.Tensor], dims: Sequence[int | None]
    ) -> None:
        self.size = size
        xs, firsts, self._params = call.spec.cut(values)
        dx, df, self._dims = call.spec.cut(dims)
        x, d = next(iter(zip(xs, dx, strict=True)))
        self.width = math.prod((x if d is None else x.movedim(d, 0)[0]).shape[1:])
        self.xs = [self.spread(v, d, 1) for v, d in zip(xs, dx, strict=True)]
        self.firsts = [
            self.spread(v, d, 0).reshape(-1) if v.numel() else v.reshape(-1)
            for v, d in zip(firsts, df, strict=True)
        ]

    def spread(self, v: torch.Tensor, d: int | None, at: int) -> torch.Tensor:
        """``v`` with the batch's axis ``at``."""
        if d is not None:
            return v.movedim(d, at)
        return v.unsqueeze(at).expand(*v.shape[:at], self.size, *v.shape[at:])

    def params(self, wanted: Sequence[bool]) -> Tensors:
        """One a neuron of the batch where it differs in it, or its gradient is ``wanted`` of
        each."""
        out = []
        for k, (v, d) in enumerate(zip(self._params, self._dims, strict=True)):
            if d is None and not v.dim() and not any(wanted[k : k + 1]):
                out.append(v)
                continue
            each = self.spread(v, d, 0)
            if each.dim() == 1:
                each = each.unsqueeze(1).expand(self.size, self.width)
            out.append(each.reshape(-1))
        return out


def below(op: Any, keyset: Any) -> Callable[..., Any]:
    """``op`` behind the dispatcher's key of autograd."""

    def run(*args: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return op.redispatch(keyset & torch._C._after_autograd_keyset, *args)

    return run


def _differentiable(*values: Sequence[torch.Tensor]) -> bool:
    return torch.is_grad_enabled() and any(v.requires_grad for vs in values for v in vs)


def _scan_autograd(
    keyset: Any, xs: Tensors, firsts: Tensors, params: Tensors, *rest: Any
) -> Tensors:
    run = below(torch.ops.lavalike.scan.default, keyset)
    if rest[-1] or not _differentiable(xs, firsts, params):
        return run(xs, firsts, params, *rest)
    call = _call(*rest[:-1])
    return list(Operator.apply(run, call, *xs, *firsts, *params)[: call.visible + 1])


def _scan_backward_autograd(
    keyset: Any,
    xs: Tensors,
    firsts: Tensors,
    kept: Tensors,
    params: Tensors,
    grads: Tensors,
    given: Sequence[bool],
    wanted: Sequence[bool],
    *rest: Any,
) -> Tensors:
    run = below(torch.ops.lavalike.scan_backward.default, keyset)
    if not _differentiable(xs, firsts, params, grads):
        return run(xs, firsts, kept, params, grads, given, wanted, *rest)
    values = (*xs, *firsts, *kept, *params, *grads)
    return list(Back.apply(run, _call(*rest), tuple(given), tuple(wanted), *values))


def _vmapped(function: Any, lists: int) -> Callable[..., Any]:
    """The rule of an operator that a transform meets below the Function."""

    def rule(info: Any, dims: tuple[Any, ...], *args: Any) -> Any:
        values = [v for vs in args[:lists] for v in vs]
        flat = [d for ds in dims[:lists] for d in ds]
        if function is Operator:
            keeps, call = args[-1], _call(*args[lists:-1])
            op = torch.ops.lavalike.scan.default
            out, at = Operator.vmap(info, (None, None, *flat), op, call, *values)
            n = len(out) if keeps else call.visible + 1
        else:
            given, wanted, *rest = args[lists:]
            op = torch.ops.lavalike.scan_backward.default
            out, at = Back.vmap(
                info,
                (*[None] * 4, *flat),
                op,
                _call(*rest),
                tuple(given),
                tuple(wanted),
                *values,
            )
            n = len(out)
        return list(out[:n]), list(at[:n])

    return rule


def _register() -> None:
    kernels: Mapping[str, tuple[Any, Any, Any, Any]] = {
        "scan": (_scan, _scan_fake, _scan_autograd, _vmapped(Operator, 3)),
        "scan_backward": (
            _scan_backward,
            _scan_backward_fake,
            _scan_backward_autograd,
            _vmapped(Back, 5),
        ),
    }
    for name, (kernel, fake, differentiated, vmapped) in kernels.items():
        LIBRARY.impl(name, kernel, "CompositeExplicitAutograd")
        LIBRARY.impl(name, differentiated, "Autograd", with_keyset=True)
        torch.library.register_fake(f"lavalike::{name}", fake, lib=LIBRARY)
        torch.library.register_vmap(f"lavalike::{name}", vmapped, lib=LIBRARY)


_register()
