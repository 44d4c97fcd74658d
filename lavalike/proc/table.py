"""The table of docs/neurons.md: ``python -m lavalike.proc.table > docs/neurons.md``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from lavalike import proc
from lavalike.dynamics.compartments import COMPARTMENT
from lavalike.dynamics.parameter import Parameter
from lavalike.proc.neuron import Neuron, declaration

HEAD = """# Neurons and what their parameters mean

Made from their declarations by `python -m lavalike.proc.table`; a test compares. In fixed point a "decay" or "loss" (what a step leaves,
what it takes) counts in 1/4096, a "state" in the unit of thresholds, a "message" in that of the ports. `key`: in a .net file;
`slayer`: in its neurons; `chip`: what it is on BrainScaleS-2.
"""
COLUMNS = ("parameter", "default", "range", "counts", "key", "slayer", "chip", "")


def compartment() -> str:
    """What is declared of a compartment, which is no process by itself."""
    return "\n".join(
        (
            "## Compartment\n",
            "Of a MultiCompartment, whose Vars are called ``du_soma`` and so on; ``vth`` is its argument ``threshold``.\n",
            *lines(COMPARTMENT),
            "",
        )
    )


def neurons() -> list[type[Neuron]]:
    """The library's neuron processes."""
    found = [getattr(proc, n) for n in dir(proc)]
    return [c for c in found if isinstance(c, type) and issubclass(c, Neuron) and c is not Neuron]


def lines(parameters: Sequence[Parameter]) -> list[str]:
    """Of the table."""
    out = [COLUMNS, ("---",) * len(COLUMNS), *rows(parameters)]
    return [f"| {' | '.join(line)} |" for line in out]


def rows(parameters: Sequence[Parameter]) -> Iterator[tuple[str, ...]]:
    for p in parameters:
        default = "" if p.default is None else f"{p.default:g}"
        yield (
            f"`{p.name}`",
            default,
            span(p),
            p.counts or "number",
            p.key,
            p.training,
            p.tau,
            p.doc,
        )


def span(p: Parameter) -> str:
    """Its limits in floating point."""
    low, high = (
        f"{v:.3g}" if math.isfinite(v) else ""
        for v in (p.low, p.high if p.high < 2**31 else math.inf)
    )
    if 0 < p.low < 1e-300:
        low = "above 0"
    return f"{low}..{high}" if low or high else ""


def page() -> str:
    out = [HEAD]
    for cls in neurons():
        out.append(f"## {cls.__name__}\n\n{(cls.__doc__ or '').split('Args:')[0].strip()}\n")
        if parameters := declaration(cls).parameters:
            out.append("\n".join(lines(parameters)) + "\n")
    out.append(compartment())
    return "\n".join(out)


if __name__ == "__main__":
    print(page(), end="")
