"""Neurons of a graph as populations of the chip: equations, parameters in the chip's terms, and the
ranges they must lie in.

A LIF's u and v are the chip's current and membrane with dt / c = 1:

    tau_syn = dt / du    tau_mem = dt / dv    leak = bias / dv    reset = 0    threshold = vth    refractory_time = period dt

What of a leak lies beyond the chip's range is a current: of synapse rows that a generator on the
chip drives in every step.

The chip's membrane takes the current of the step before, so the delay of one step that a connection
has in the graph is that of the chip's synapses: a spike of step t acts on the membrane in step t +
1 in both, and columns of outputs are the same.
"""  # noqa: W505

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch

from lavalike.bss2.chip import facts
from lavalike.bss2.errors import RoutingError
from lavalike.bss2.spiking.scales import Voltage
from lavalike.compiler.flat import Node
from lavalike.dynamics import Dynamics
from lavalike.dynamics.compartments import Branch, tree_dynamics
from lavalike.errors import GraphError, VarError
from lavalike.proc import MultiCompartment
from lavalike.process import Var
from lavalike.process.units import Units

Numbers = dict[str, np.ndarray]
SWING = 70.0  # LSB from reset to threshold: what hxtorch's Yin-Yang example takes
BASE = 80.0  # LSB of the reset
LEAST_SWING = 10.0  # LSB: twice and a half the default spread of thresholds [chosen]


@dataclass(frozen=True)
class Membrane:
    """One compartment: its InPort's name, its name in the equations, and whether it fires.
    Properties are names of states and constants."""

    port: str
    name: str
    fires: bool

    @property
    def seen(self) -> str:
        return f"seen_{self.name}"

    @property
    def fired(self) -> str:
        return f"fired_{self.name}"

    @property
    def source(self) -> str:
        return f"{self.name}_in"

    @property
    def current(self) -> str:
        return f"i_{self.name}"

    @property
    def voltage(self) -> str:
        return f"v_{self.name}"

    @property
    def keep(self) -> str:
        return f"keep_{self.name}"

    @property
    def rate(self) -> str:
        return f"dv_{self.name}"

    @property
    def leak(self) -> str:
        return f"leak_{self.name}"

    @property
    def threshold(self) -> str:
        return f"vth_{self.name}"

    @property
    def reset(self) -> str:
        return f"reset_{self.name}"


class ChipPopulation:
    """One neuron process on the chip.

    ``membranes``: one for each circuit of a neuron at least, the spiking one first; ``gain``: what
    a weight is multiplied with.
    """

    def __init__(self, node: Node, name: str) -> None:
        self.node, self.name = node, name
        # a neuron: it has an s_out, a dynamics and its parameters
        self.process = cast(Any, node.process)
        self.size: int = self.process.s_out.size
        self.compartments = isinstance(node.process, MultiCompartment)
        declared = self.process.dynamics.parameters
        self.late = any(p.onset for p in declared)
        self.refractory = (
            any(p.tau == "refractory_time" for p in declared) and not self.compartments
        )
        branches = (
            node.process.branches
            if isinstance(node.process, MultiCompartment)
            else (Branch("soma", None, True),)
        )
        self.branches = branches
        self.membranes = tuple(
            Membrane(f"{b.name}_in" if self.compartments else "a_in", b.name, b.fires)
            for b in branches
        )

        # of every time constant and period, the process's parameter and the chip's
        own = {p.tau: p for p in self.dynamics().parameters}
        self.timed = [(p, p if self.compartments else own[p.tau]) for p in declared if p.tau]

    def dynamics(self, recorded: bool = False) -> Dynamics:
        """Its equation in the chip's order; a LIF is a neuron of one compartment."""
        return tree_dynamics(self.branches, True, recorded)

    @property
    def voltages(self) -> dict[str, str]:
        """Vars that record a membrane, and the state each is."""
        return {m.voltage if self.compartments else "v": m.voltage for m in self.membranes}

    @property
    def fired(self) -> dict[str, str]:
        """Inputs of the recorded equation that tell when other compartments than the soma fired,
        and the output each is."""
        return {m.fired: f"spike_{m.name}" for m in self.membranes[1:] if m.fires}

    def state_vars(self, m: Membrane) -> tuple[Var, Var]:
        """The Vars of a membrane's current and voltage."""
        current, voltage = (m.current, m.voltage) if self.compartments else ("u", "v")
        return getattr(self.process, current), getattr(self.process, voltage)

    @property
    def holds(self) -> list[tuple[str, Var, int]]:
        """(state, Var, whether the Var is the step it ends in) of what counts how long a membrane
        is still held."""
        if self.refractory:
            return [("hold_soma", self.process.refractory_period_end, 1)]
        return [
            (f"hold_{m.name}", getattr(self.process, f"hold_{m.name}"), 0)
            for m in self.membranes
            if m.fires and self.compartments
        ]

    def derive(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
        """The equation's constants from the process's parameters (arrays or tensors), and the gain
        of its inputs; VarError."""
        try:
            c = self.process.dynamics.derive(values, Units.of(self.process.proc_params), False)
        except ValueError as e:
            raise VarError(f"{self.name}.{e}") from None
        if self.compartments:
            return c, 1.0
        timed = {
            q.tau: (q, c[p.argument] if p.counts == q.counts else 1 - c[p.argument])
            for p, q in self.timed
        }
        (m,), (_, rate), bias = self.membranes, timed["tau_mem"], c["bias"]
        if bool(((rate == 0) & (bias != 0)).any()):
            raise GraphError(
                f"{self.name}: a bias is the chip's leak potential times dv, and dv is 0; let the membrane leak, or leave out "
                "the bias"
            )
        none = rate == 0
        out = {
            "period_soma": 0.0,
            **{q.argument: value for q, value in timed.values()},
            m.leak: bias / (rate + none),
            m.threshold: c["vth"],
            m.reset: 0.0,
        }
        if self.late:
            out["bias_start"] = c["bias_start"]
        return out, c["gain"]

    # -- in the chip's ranges ----------------------------------------------------------------------

    def times(self, c: Numbers) -> list[tuple[str, str, np.ndarray]]:
        """(range, name in the graph, decay per step) of every time constant."""
        return [
            (
                p.tau,
                p.name,
                1 - np.asarray(c[q.argument]) if q.counts == "loss" else np.asarray(c[q.argument]),
            )
            for p, q in self.timed
            if p.tau != "refractory_time"
        ]

    def periods(self, c: Numbers) -> list[tuple[str, np.ndarray]]:
        """(name in the graph, steps) of every refractory period."""
        return [
            (p.name, np.asarray(c[q.argument])) for p, q in self.timed if p.tau == "refractory_time"
        ]

    def scale(self, c: Numbers) -> Voltage:
        """The graph's voltages in CADC LSB: the soma's reset at 80 and its threshold at 150, where
        the other resets and thresholds leave as much.

        RoutingError where they leave too little to tell reset and threshold apart.
        """
        firing = [m for m in self.membranes if m.fires]
        resets, thresholds = (
            np.concatenate([np.ravel(c[n]) for n in names])
            for names in zip(*((m.reset, m.threshold) for m in firing), strict=True)
        )
        reset, swing = (
            float(np.median(resets[:1])),
            float(np.median(thresholds[: np.size(c[self.membranes[0].threshold])]) - resets[0]),
        )
        held, fires = facts.RANGES["reset"], facts.RANGES["threshold"]
        low = min(resets.min(), thresholds.min())
        options = [
            (SWING, swing),
            (held.high - held.low, resets.max() - low),
            (fires.high - fires.low, thresholds.max() - low),
        ]
        unit = min((lsb / v for lsb, v in options if v > 0), default=1.0)
        soma = self.membranes[0]
        least = float(np.min(np.asarray(c[soma.threshold]) - np.asarray(c[soma.reset])))
        if least <= 0:
            raise RoutingError(
                f"{self.name}: the soma's threshold less its reset is {least:.4g} in one of the neurons; on the chip it has "
                "to be above 0. Raise the threshold"
            )
        if unit * least < LEAST_SWING:
            raise RoutingError(
                f"{self.name}: within the chip's {held.low:g}..{held.high:g} and {fires.low:g}..{fires.high:g} LSB, resets "
                f"{resets.min():.4g}..{resets.max():.4g} and thresholds {thresholds.min():.4g}..{thresholds.max():.4g} leave "
                f"{unit * least:.2g} LSB from the soma's reset to its threshold; at least {LEAST_SWING:g} are needed"
            )
        base = min(
            max(BASE - unit * reset, held.low - unit * low),
            held.high - unit * resets.max(),
            fires.high - unit * thresholds.max(),
        )
        return Voltage(0.0, float(base), float(unit))


def tensors(c: Mapping[str, Any], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Constants as the fused loops take them: one number, or one a neuron."""
    made = {
        n: v if isinstance(v, torch.Tensor) else torch.as_tensor(np.array(v)) for n, v in c.items()
    }
    return {n: v.to(dtype).reshape(() if v.numel() == 1 else -1) for n, v in made.items()}


def check_ranges(populations: list[tuple[ChipPopulation, Numbers]], dt: float) -> None:
    """RoutingError for time constants outside what the chip can be calibrated to, with the dt that
    would serve these populations, which run together; others of the graph may need another."""
    spans = [
        (facts.RANGES[kind].low * d.min(), facts.RANGES[kind].high * d.max())
        for p, c in populations
        for kind, _, d in p.times(c)
        if d.min() > 0
    ]
    which = ", ".join(p.name for p, _ in populations)
    low, high = max((s[0] for s in spans), default=0.0), min((s[1] for s in spans), default=0.0)
    for p, c in populations:
        for kind, name, decay in p.times(c):
            r = facts.RANGES[kind]
            for d in (decay.max(), decay.min()):
                tau = dt / d if d > 0 else np.inf
                if not r.low * (1 - 1e-9) <= tau <= r.high * (1 + 1e-9):
                    if d <= 0:
                        remedy = f"a {name} of 0 has no time constant; choose one above 0"
                    elif low <= high:
                        remedy = f"RunConfig(dt=...) between {low:.2g} and {high:.2g} s brings {which} into range"
                    else:
                        remedy = f"no dt brings {which} into range; change {name}"
                    raise RoutingError(
                        f"{p.name}: {kind} = dt / {name} = {dt:.3g} s / {d:.4g} = {tau:.3g} s is outside the chip's "
                        f"{r.low:.2g}..{r.high:.2g} s; {remedy}"
                    )
        r = facts.RANGES["refractory_time"]
        for name, period in p.periods(c):
            if period.max() * dt > r.high:
                raise RoutingError(
                    f"{p.name}: {name} of {period.max():g} steps is a refractory_time of {period.max() * dt:.3g} s, the "
                    f"chip's ends at {r.high:.2g} s; shorten it, or RunConfig(dt=...) up to {r.high / period.max():.2g} s"
                )
