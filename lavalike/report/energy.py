"""What a run would have cost in energy, by published numbers; with what was assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lavalike.report.measure import LayerFacts

# M. Horowitz, ISSCC 2014, figure 1.1.9: 45 nm, 0.9 V, pJ
ADD = {"float32": 0.9, "int32": 0.1}
MULTIPLY = {"float32": 3.7, "int32": 3.1}
HOROWITZ = (
    "M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014, "
    "doi:10.1109/ISSCC.2014.6757323: 45 nm, 0.9 V"
)
# M. Davies et al., IEEE Micro 38(1), 2018, table 2: simulated before silicon, 0.75 V, pJ
SYNOP, ACTIVE, INACTIVE, SPIKE = 23.6, 81.0, 52.0, 1.7
DAVIES = (
    "M. Davies et al., Loihi: a neuromorphic manycore processor with on-chip learning, "
    "IEEE Micro 38(1), 2018, doi:10.1109/MM.2018.112130359, table 2: simulated before silicon, "
    "14 nm, 0.75 V"
)


@dataclass(frozen=True)
class Estimate:
    """An energy a step and sample, in joules, of ``terms``: what, how many a step, pJ each."""

    name: str
    terms: tuple[tuple[str, float, float], ...]
    assumed: str
    source: str

    @property
    def joules(self) -> float:
        return 1e-12 * sum(count * each for _, count, each in self.terms)


def estimates(layers: Sequence[LayerFacts], whole: bool) -> list[Estimate]:
    """Of what was counted in ``layers``; ``whole``: computed in whole numbers.

    Nothing is assumed of BrainScaleS-2: its power is the mode's, whatever the activity, so
    :meth:`lavalike.bss2.placement.Placement.report` tells its time instead.
    """
    kind = "int32" if whole else "float32"
    add, product = ADD[kind], ADD[kind] + MULTIPLY[kind]
    adding = sum(x.synops or 0.0 for x in layers if not x.graded)
    graded = sum(x.synops or 0.0 for x in layers if x.graded)
    macs = float(sum(x.macs or 0 for x in layers))
    neurons = float(sum(x.neurons for x in layers))
    sent = sum(x.events or 0.0 for x in layers if x.neurons)
    memory = (
        "Arithmetic only: no reading of weights and states from memory, which costs more than the sums, "
        "no neurons' equations, no idle power."
    )
    return [
        Estimate(
            "arithmetic, by events",
            (
                (f"{kind} additions, one for each synapse that a spike goes through", adding, add),
                (f"{kind} products and additions, of messages with a value", graded, product),
            ),
            memory,
            HOROWITZ,
        ),
        Estimate(
            "arithmetic, dense network of the same shape",
            ((f"{kind} products and additions, all of them in each step", macs, product),),
            memory
            + " A network without spikes would run once for each input, not once for each step.",
            HOROWITZ,
        ),
        Estimate(
            "Loihi",
            (
                ("synaptic operations", adding + graded, SYNOP),
                ("updates of neurons that send", sent, ACTIVE),
                ("updates of neurons that do not", max(0.0, neurons - sent), INACTIVE),
                ("events within a tile", sent, SPIKE),
            ),
            "The least a synaptic operation takes; every message is counted as a spike within its tile, a neuron as active in the "
            "steps in which it sends; no way between tiles or chips, no idle power, no input and output, no host.",
            DAVIES,
        ),
    ]


def joules(value: float) -> str:
    """``1.23 nJ``."""
    for unit, name in ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ"), (1e-12, "pJ")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return "0 J" if not value else f"{value / 1e-12:.3g} pJ"
