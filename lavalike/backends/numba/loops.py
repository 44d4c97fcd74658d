"""The loop over neurons that is generated around the step of a Dynamics, as source text, and what
it calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from lavalike.backends.numba.arithmetic import NARROW, TABLES
from lavalike.dynamics.dynamics import Dynamics, bind

OVERFLOW, WRAPPED = 1, 4  # a kernel's status, of those in kernels.py
ACCUMULATOR_LIMIT = 1 << 23
BLOCK = 256  # neurons that are looked at together
STILL = (
    "is"  # arguments of a loop; keywords, so that no name of a user's is the same: blocks at rest,
)
BITS = "in"  # and how many bits the values below which all that is computed fits in 32 bits have


def parts(
    dynamics: Dynamics, arithmetic: str, narrow: bool, compile: Callable[[Any], Any]
) -> dict[str, Any]:
    """The step and the accumulators of the dynamics under the names that its loop has for them."""
    tables = {"": TABLES[arithmetic]} | ({"_narrow": NARROW} if narrow else {})
    functions = {"_step": dynamics.step} | {
        f"_accumulator_{k}": f for k, f in enumerate(dynamics.accumulators)
    }
    # a constant of the equation may be called step
    return {
        prefix + name: bind(f, table, compile)
        for prefix, table in tables.items()
        for name, f in functions.items()
    }


def source(
    dynamics: Dynamics,
    kinds: dict[str, tuple[str, int]],
    arithmetic: str,
    checked: bool,
    narrow: bool,
) -> str:
    """``def loop(...)``: the dynamics' scalar step over every neuron. What is the user's is called
    ``x_name`` in it.

    ``narrow``: it goes block by block, and where all inputs and states of one are below 2**in, the
    argument, it computes in 32 bits. With an argument ``is`` it skips blocks that rest.
    """
    rests = STILL in kinds
    states = [n for n in (*dynamics.inputs, *dynamics.states) if kinds[n][1]]
    lines = [
        f"def loop({', '.join(map(_local, kinds))}):",
        "    bad = 0",
        "    wide = uint64(0)",
        f"    n = {_local(dynamics.outputs[0])}.size",
    ]
    if not (rests or narrow):
        lines += ["    for i in range(n):", *_body(dynamics, kinds, arithmetic, checked, 8)]
    else:
        if narrow:
            lines += [
                f"    narrow_{name} = int32({_local(name)})"
                for name in dynamics.constant_names
                if not kinds[name][1]
            ]
        lines += [
            f"    for block in range((n + {BLOCK - 1}) // {BLOCK}):",
            # unsigned: a signed index that might be negative keeps a loop from being vectorised
            f"        first = uint64(block * {BLOCK})",
            f"        last = uint64(min(block * {BLOCK} + {BLOCK}, n))",
        ]
        if rests:
            # a block whose inputs are zero, and that sent nothing when they last were, would
            # compute what stands there
            silent = " | ".join(f"({_local(name)}[i] != 0)" for name in dynamics.inputs) or "0"
            lines += [
                "        busy = 0",
                "        for i in range(first, last):",
                f"            busy += {silent}",
                "        if busy == 0 and still[block]:",
                "            continue",
            ]
        if narrow:
            far = " | ".join(f"int32({_local(name)}[i] + below)" for name in states) or "0"
            lines += [
                "        below = int32(1) << int32(bits)",
                "        far = int32(0)",
                "        for i in range(first, last):",
                f"            far |= {far}",
                "        if far >> int32(bits + 1) == 0:",
                "            for i in range(first, last):",
                *_body(dynamics, kinds, arithmetic, checked, 16, "narrow"),
                "        else:",
                "            for i in range(first, last):",
                *_body(dynamics, kinds, arithmetic, checked, 16),
            ]
        else:
            lines += [
                "        for i in range(first, last):",
                *_body(dynamics, kinds, arithmetic, checked, 12),
            ]
        if rests:
            sent = " | ".join(f"({_local(name)}[i] != 0)" for name in dynamics.outputs)
            lines += [
                "        if busy == 0:",
                "            for i in range(first, last):",
                f"                busy += {sent}",
                "        still[block] = busy == 0",
            ]
    lines.append(f"    return {OVERFLOW} if bad else {WRAPPED} if wide >> uint64(32) else 0")
    return "\n".join(lines) + "\n"


def _local(name: str) -> str:
    return {STILL: "still", BITS: "bits"}.get(name, f"x_{name}")


def _body(
    dynamics: Dynamics,
    kinds: dict[str, tuple[str, int]],
    arithmetic: str,
    checked: bool,
    indent: int,
    prefix: str = "",
) -> list[str]:
    """One neuron's step and checks."""

    def item(name: str) -> str:
        dtype, axes = kinds[name]
        if axes:
            one = f"{_local(name)}[i]"
            whole = arithmetic == "int32" and dtype != "float64"  # a constant may be a fraction
            return f"int64({one})" if whole and not prefix else one
        return f"{prefix}_{name}" if prefix and name in dynamics.constant_names else _local(name)

    def call(function: Any) -> str:
        return ", ".join(item(n) for n in inspect.signature(function).parameters)

    call_of = f"_{prefix}" if prefix else ""
    lines = []
    accumulators = dynamics.accumulators if checked else ()
    for k, f in enumerate(accumulators):
        lines.append(f"bad |= abs({call_of}_accumulator_{k}({call(f)})) >= {ACCUMULATOR_LIMIT}")
    lines.append(f"result = {call_of}_step({call(dynamics.step)})")
    results = [*dynamics.outputs, *dynamics.states]
    values = ["result"] if len(results) == 1 else [f"result[{k}]" for k in range(len(results))]
    # what stays within 24 bits, and what was proved to, int32 holds
    may_leave = arithmetic == "int32" and not accumulators and not prefix
    for name, value in zip(results, values, strict=True):
        lines.append(f"{_local(name)}[i] = {value}")
        if may_leave:  # bits above the 32nd: int32 does not hold it
            lines.append(f"wide |= uint64(int64({value}) + 2147483648)")
    return [" " * indent + line for line in lines]
