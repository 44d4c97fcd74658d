"""A neuron's step and its gradient as straight-line code, traced by torch's own make_fx over
torch.func.vjp.

The result is printed as loops: :mod:`lavalike.fused.cpu`, and :mod:`lavalike.fused.triton` for
CUDA. An operation of torch's goes by its name; which of them there are is said by the tables of
those who print them, ``WORDS`` in :mod:`lavalike.fused.llvm` and in triton.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lavalike.dynamics import Dynamics
from lavalike.dynamics.dynamics import bind
from lavalike.errors import InputError
from lavalike.fused.arithmetic import Training, straight

Operand = str | float | bool

ALIASES = {
    "detach",
    "alias",
    "clone",
    "view",
    "_unsafe_view",
    "expand",
    "contiguous",
    "lift_fresh_copy",
    "view_as",
    "positive",
}
FILLS = {
    "zeros_like": 0.0,
    "ones_like": 1.0,
    "new_zeros": 0.0,
    "new_ones": 1.0,
    "zeros": 0.0,
    "ones": 1.0,
}
# what arithmetic of truth values is
TRUTH = {
    "add": "logical_or",
    "mul": "logical_and",
    "maximum": "logical_or",
    "minimum": "logical_and",
}
# of where a tensor lies, which a number does not
PLACES = {"dtype", "layout", "device", "pin_memory", "memory_format"}


@dataclass(frozen=True)
class Op:
    """``name = op(*args)``; ``real``: a number, else a truth value. An argument is a name or a
    constant."""

    name: str
    op: str
    args: tuple[Operand, ...]
    real: bool


@dataclass(frozen=True)
class Code:
    """Straight-line code: ``ops`` on the named ``arguments``; ``results`` are names or
    constants."""

    arguments: tuple[str, ...]
    ops: tuple[Op, ...]
    results: tuple[Operand, ...]


def trace(
    function: Callable[..., Any], arguments: tuple[str, ...], who: str, words: Collection[str]
) -> Code:
    """The code of ``function``, called with one-dimensional tensors for ``arguments``; InputError
    for an operation not in ``words``."""
    from torch.fx.experimental.proxy_tensor import (
        make_fx,
    )  # takes a second: only where something is compiled

    samples = [torch.full((2,), 0.5, dtype=torch.float64) for _ in arguments]
    try:
        module = make_fx(function)(*samples)
    except (AttributeError, RuntimeError, TypeError, ValueError) as e:
        raise InputError(f"{who}: its step cannot be traced: {e}") from e
    return _code(module, arguments, who, words)


def _code(
    module: torch.fx.GraphModule, arguments: tuple[str, ...], who: str, words: Collection[str]
) -> Code:
    names: dict[Any, Operand] = {}
    real: dict[str, bool] = dict.fromkeys(arguments, True)
    ops: list[Op] = []
    results: tuple[Operand, ...] = ()
    known: dict[tuple[Any, ...], str] = {}
    placeholders = iter(arguments)

    def operand(value: Any) -> Operand:
        if isinstance(value, torch.fx.Node):
            return names[value]
        if not isinstance(value, bool | int | float):
            raise InputError(f"{who}: {node.target} of {value} is not supported in a step")
        return value if isinstance(value, bool) else float(value)

    def emit(op: str, args: tuple[Operand, ...], is_real: bool) -> str:
        # truth values in arithmetic count 0 and 1
        if op not in ("where", "real") and not op.startswith("logical_"):
            args = tuple(
                emit("real", (a,), True) if isinstance(a, str) and not real[a] else a for a in args
            )
        key = op, args, is_real  # True and 1.0 are one key, and not one kind
        if key not in known:
            known[key] = name = f"op_{len(ops)}_"
            real[name] = is_real
            ops.append(Op(name, op, args, is_real))
        return known[key]

    for node in module.graph.nodes:
        if node.op == "placeholder":
            names[node] = next(placeholders)
        elif node.op == "get_attr":
            value = getattr(module, node.target)
            if value.numel() != 1:
                raise InputError(
                    f"{who}: a constant of shape {tuple(value.shape)} in the step; make it a parameter"
                )
            names[node] = value.item()
        elif node.op == "output":
            results = tuple(0.0 if r is None else operand(r) for r in _flat(node.args[0]))
        else:
            op = node.target.__name__.split(".")[0].rstrip("_")
            args = node.args
            if op in ALIASES:
                names[node] = names[args[0]]
            elif op == "masked_fill":
                names[node] = emit(
                    "where",
                    (operand(args[1]), operand(args[2]), operand(args[0])),
                    node.meta["val"].dtype != torch.bool,
                )
            elif op in FILLS:
                names[node] = FILLS[op]
            elif op in ("full_like", "full", "new_full"):
                names[node] = operand(args[-1])
            elif op == "scalar_tensor":
                names[node] = operand(args[0])
            elif op == "to_copy" or op == "_to_copy":
                source = operand(args[0])
                kind = node.meta["val"].dtype
                wanted = kind != torch.bool
                is_number = not isinstance(source, str) or real[source]
                if wanted and is_number and not kind.is_floating_point:
                    names[node] = emit("trunc", (source,), True)
                elif wanted == is_number:
                    names[node] = source
                else:
                    names[node] = (
                        emit("real", (source,), True)
                        if wanted
                        else emit("ne", (source, 0.0), False)
                    )
            else:
                op = op.replace("bitwise_", "logical_")
                if op not in words:
                    raise InputError(
                        f"{who}: {node.target} is not supported in a step; write it element-wise with "
                        f"{', '.join(sorted(words))}, or give it an entry in lavalike.fused.llvm.WORDS"
                    )
                more = {k: v for k, v in node.kwargs.items() if k not in PLACES and v is not None}
                value = node.meta.get("val")
                if more.pop("alpha", 1) != 1 or more or not isinstance(value, torch.Tensor):
                    raise InputError(
                        f"{who}: {node.target} with {dict(node.kwargs)} is not supported in a step"
                    )
                operands = tuple(operand(a) for a in args)
                is_real = value.dtype != torch.bool
                op = op if is_real else TRUTH.get(op, op)
                names[node] = _simple(op, operands) or emit(op, operands, is_real)
        if node.op == "call_function" and node.target.__name__.split(".")[0].endswith("_"):
            names[node.args[0]] = names[node]  # changed in place
    return used(Code(arguments, tuple(ops), results))


def _simple(op: str, args: tuple[Operand, ...]) -> str | None:
    """The operand that ``op`` returns unchanged, if it plainly does."""
    a, *b = args
    if (
        b
        and isinstance(a, str)
        and (op, b[0]) in (("mul", 1.0), ("div", 1.0), ("add", 0.0), ("sub", 0.0))
    ):
        return a
    if b and isinstance(b[0], str) and (op, a) in (("mul", 1.0), ("add", 0.0)):
        return b[0]
    return None


def _flat(value: Any) -> list[Any]:
    return [x for v in value for x in _flat(v)] if isinstance(value, tuple | list) else [value]


def used(code: Code, results: tuple[Operand, ...] | None = None) -> Code:
    """``code`` without what its results do not need."""
    results = code.results if results is None else results
    needed = {r for r in results if isinstance(r, str)}
    ops = []
    for op in reversed(code.ops):
        if op.name in needed:
            ops.append(op)
            needed |= {a for a in op.args if isinstance(a, str)}
    return Code(code.arguments, tuple(reversed(ops)), results)


@dataclass(frozen=True, eq=False)
class Traced:
    """A neuron ready for printing; made once for each, so that kernels are found by its identity.

    ``forward``: (inputs, states, parameters, numbers, t if asked for) ->
    (outputs, states, counted).
    ``backward``: the same and the cotangents of outputs and states ->
    (gradients of inputs, states, parameters).
    """

    dynamics: Dynamics
    parameters: tuple[str, ...]
    numbers: tuple[str, ...]
    forward: Code
    backward: Code
    counted: int

    def gradients(self, outputs: frozenset[str], parameters: frozenset[str]) -> Code:
        """The backward code where only ``outputs`` have cotangents and only ``parameters`` want
        gradients."""
        d = self.dynamics
        absent = {
            f"g_{o}" for o in (*d.outputs, *(f"next_{s}" for s in d.states)) if o not in outputs
        }
        ops = [
            Op(o.name, o.op, tuple(0.0 if a in absent else a for a in o.args), o.real)
            for o in self.backward.ops
        ]
        kept = len(d.inputs) + len(d.states)
        wanted = [0.0 if r in absent else r for r in self.backward.results]
        results = (
            *wanted[:kept],
            *(r for p, r in zip(self.parameters, wanted[kept:], strict=True) if p in parameters),
        )
        return used(Code(self.backward.arguments, tuple(ops), results))


def bound(dynamics: Dynamics, training: Training, numbers: Mapping[str, Any]) -> Callable[..., Any]:
    """``step(inputs, states, parameters, t) -> (outputs, states)`` on tensors, all dicts by name
    but t, which is for neurons that ask for it; differentiable. ``numbers`` are the training's, as
    floats or as tensors of no axis.

    On the grid, inputs are brought to integers over ``scale`` and outputs back; states stay
    integers.
    """
    grid = training.arithmetic == "grid"
    names, inputs_of, outputs_of, states_of = (
        dynamics.arguments,
        dynamics.inputs,
        dynamics.outputs,
        dynamics.states,
    )
    graded, scale = dynamics.graded, numbers["scale"]
    function = bind(dynamics.step, training.words(numbers), _nameless)

    def step(
        inputs: Mapping[str, Any],
        states: Mapping[str, Any],
        parameters: Mapping[str, Any],
        t: Any = None,
    ) -> Any:
        if grid:
            inputs = {k: straight(x * scale, torch.trunc(x * scale)) for k, x in inputs.items()}
        known = {"t": t, **inputs, **states, **parameters}
        results = function(*[known[a] for a in names])
        results = results if isinstance(results, tuple) else (results,)
        like = known[(*inputs_of, *states_of)[0]]
        results = tuple(
            [
                r.to(like.dtype) if isinstance(r, torch.Tensor) else torch.full_like(like, r)
                for r in results
            ]
        )
        n = len(outputs_of)
        if len(results) != n + len(states_of):
            raise InputError(
                f"the step returns {len(results)} values; declared are {(*outputs_of, *states_of)}"
            )
        outputs = dict(zip(outputs_of, results[:n], strict=True))
        if grid:
            outputs = {k: y / scale if k in graded else y for k, y in outputs.items()}
        return outputs, dict(zip(states_of, results[n:], strict=True))

    return step


def _nameless(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` whose globals, a copy with words bound, do not say of which module they are:
    torch.compile would look the names up there, and find the words unbound."""
    if isinstance(function, types.FunctionType):
        names = function.__globals__
        module = sys.modules.get(names.get("__name__", ""))
        if module is not None and vars(module) is not names:
            del names["__name__"]
    return function


def steps(dynamics: Dynamics, training: Training) -> Callable[..., Any]:
    """:func:`bound` as ``step(inputs, states, parameters, numbers, t)``."""
    last: tuple[Any, Any] = (None, None)

    def step(
        inputs: Mapping[str, Any],
        states: Mapping[str, Any],
        parameters: Mapping[str, Any],
        numbers: Mapping[str, Any],
        t: Any = None,
    ) -> Any:
        nonlocal last
        held, function = last
        if held is not numbers:  # once for all steps of a loop
            function = bound(dynamics, training, numbers)
            last = numbers, function
        return function(inputs, states, parameters, t)

    return step


def accumulated(dynamics: Dynamics, training: Training) -> Callable[..., list[Any]]:
    """``counts(inputs, states, parameters, numbers, t)``: sizes of what must stay within 24 bits,
    in the unit of the deployed integers; in the arithmetic "fixed" the largest of the results in
    1/256, as they must stay within 32."""
    # a sum of messages counts in 1/scale of a weight, which counts in 1/64 of the scale
    grid = training.arithmetic == "grid"
    step = steps(dynamics, training)

    def counts(
        inputs: Mapping[str, Any],
        states: Mapping[str, Any],
        parameters: Mapping[str, Any],
        numbers: Mapping[str, Any],
        t: Any = None,
    ) -> list[Any]:
        if training.arithmetic == "float":
            return []
        if training.arithmetic == "fixed":
            outputs, new = step(inputs, states, parameters, numbers, t)
            # -2**31 is within, 2**31 is not
            sizes = [
                torch.abs(x + 0.5) - 0.5
                for x in (*inputs.values(), *outputs.values(), *new.values())
            ]
            return [functools.reduce(torch.maximum, sizes) / 256]
        words = training.words(numbers)
        unit = 1.0 if grid or training.whole else numbers["scale"] * numbers["scale"] / 64
        known = {
            "t": t,
            **{k: torch.trunc(x * numbers["scale"]) if grid else x for k, x in inputs.items()},
            **states,
            **parameters,
        }
        out = []
        for function in dynamics.accumulators:
            names = function.__code__.co_varnames[: function.__code__.co_argcount]
            out.append(torch.abs(bind(function, words)(*(known[n] for n in names))) * unit)
        return out

    return counts


def traced(dynamics: Dynamics, training: Training, words: Collection[str]) -> Traced:
    """Trace forward and backward of ``dynamics`` once, in the operations ``words`` of torch's;
    InputError for another."""
    who = dynamics.name
    step = steps(dynamics, training)
    parameters, numbers = dynamics.constant_names, tuple(training.numbers)
    groups = (dynamics.inputs, dynamics.states, parameters, numbers)
    timed = ("t",) if "t" in dynamics.arguments else ()
    given = (*(n for g in groups for n in g), *timed)
    taken = sorted({n for g in groups[:-1] for n in g} & {*numbers})
    if taken:
        raise InputError(
            f"{who}: {taken} are names of training's own numbers, {numbers}; rename them in the step"
        )
    counts = accumulated(dynamics, training)

    def split(values: tuple[Any, ...]) -> list[Any]:
        known = dict(zip(given, values, strict=False))
        return [*({n: known[n] for n in g} for g in groups), known.get("t")]

    def forward(*values: Any) -> Any:
        known = split(values)
        outputs, new = step(*known)
        return (*outputs.values(), *new.values(), *counts(*known))

    differentiable = len(dynamics.inputs) + len(dynamics.states) + len(parameters)

    def backward(*values: Any) -> Any:
        numbs = values[differentiable : len(given)]

        def plain(*free: Any) -> Any:
            outputs, new = step(*split((*free, *numbs)))
            return (*outputs.values(), *new.values())

        vjp = torch.func.vjp(plain, *values[:differentiable])[1]
        return vjp(tuple(values[len(given) :]))

    cotangents = tuple(
        f"g_{o}" for o in (*dynamics.outputs, *(f"next_{s}" for s in dynamics.states))
    )
    code = trace(forward, given, who, words)
    counted = len(code.results) - len(dynamics.outputs) - len(dynamics.states)
    return Traced(
        dynamics,
        parameters,
        numbers,
        code,
        trace(backward, given + cotangents, who, words),
        counted,
    )
