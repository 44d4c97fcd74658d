"""Synapses on a chip that learn: correlation sensors, and what a plasticity processor (PPU) makes
of them at the end of each epoch.

At "ideal" a LearningDense is what numba computes. At "quantised" and "emulated" each synapse has
two sensors of 8 bits, one for spikes that arrived before the neuron fired (causal), one for those
that arrived after it (anticausal). A pair of a spike and the nearest before it on the other side
adds ``amplitude * exp(-distance / tau)``; the PPU reads the sensors when an epoch ends, takes the
rule's products from them, rounds at random to the 6 bits of a weight, and resets the sensors. So
``c * x1 * y0`` is the causal sensor times a number, ``c * x0 * y1`` the anticausal one; a rule that
wants more of a synapse is refused. Pairs are counted where the spike arrives, a step after it was
sent, and numbers make up for that step. Not modelled: how long the PPU takes, and how sensors bend
where they are full.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lavalike.backends.bss2.emulated import Placed
from lavalike.backends.bss2.spiking import Network, Projection
from lavalike.bss2.chip import Chip, facts
from lavalike.bss2.errors import RoutingError
from lavalike.compiler.flat import Node
from lavalike.dynamics.weights import ends
from lavalike.errors import GraphError, RuleError
from lavalike.learning import LearningRule
from lavalike.learning.parse import Factor, Product
from lavalike.learning.reference import Learning
from lavalike.proc import LearningDense
from lavalike.proc.learning import TAGS, rule_of

AMPLITUDE = facts.CORRELATION["amplitude"].high  # of a pair, so that one is told from none [chosen]
CAUSAL, ANTICAUSAL, PLAIN = 0, 1, None
Values = Mapping[str, np.ndarray]  # of Vars by name


@dataclass(frozen=True)
class Term:
    """A product of a rule on the chip: ``number`` times what a ``sensor`` says, if it asks one,
    times ``factors``, in every ``every``-th epoch."""

    sensor: int | None
    number: float
    factors: tuple[Factor, ...]
    every: int


class Plastic:
    """A :class:`lavalike.proc.LearningDense` of a spiking part, ``process``, which learns by
    ``rule``."""

    def __init__(self, node: Node, net: Network, chip: Chip, dt: float, batch: int) -> None:
        assert isinstance(node.process, LearningDense)
        self.node, self.process, self.dt = node, node.process, dt
        self.read()
        if batch > 1:
            raise GraphError(
                f"{self.process.path}: learns on a chip, which has one set of weights, in a batch of {batch}; run the samples one after "
                "another"
            )
        self.low, self.high = ends(self.process.sign_mode)

    def read(self) -> None:
        """Take the rule as its Vars are by now."""
        self.rule = rule_of(self.process, {v.name: v.value for v in self.process.vars})

    def steps(self, done: int) -> int:
        """To the end of the epoch, after ``done`` steps."""
        return self.rule.epoch - done % self.rule.epoch

    def learn(
        self, first: int, pre: np.ndarray, post: np.ndarray, received: Values, values: Values
    ) -> Values:
        """A stretch of steps after ``first`` have been done, which lies in one epoch: spikes
        (steps, in) and (steps, out), the received traces (steps, out) by name, the Vars' values;
        the new values of those that it changes."""
        raise NotImplementedError

    def on(self, placed: Placed, gain: float) -> None:
        """The part lies on the chip like this from now on; ``gain``: what its neurons multiply
        weights with."""

    def state(self) -> Any:
        """What it knows beside the Vars."""

    def restore(self, state: Any) -> None: ...


class Exact(Plastic):
    """At "ideal": the rule itself."""

    def learn(
        self, first: int, pre: np.ndarray, post: np.ndarray, received: Values, values: Values
    ) -> Values:
        d, t = (values.get(TAGS[tag], 0.0) for tag in ("d", "t"))
        now = Learning(self.rule, values["weights"], d, t, low=self.low, high=self.high)
        now.step = first
        now.traces |= {n: np.array(values[n], float) for n in self.rule.traces}
        now.tx[:], now.ty[:] = values["tx"], values["ty"]
        for k in range(len(pre)):
            now.spike(pre[k], post[k], **{n: x[k] for n, x in received.items()})
        new = {"weights": now.synapses["w"], "tx": now.tx, "ty": now.ty}
        new |= {n: now.traces[n] for n in self.rule.traces}
        return new | {n: now.synapses[t] for t, n in TAGS.items() if t in self.rule.variables}


class Sensed(Plastic):
    """At "quantised" and "emulated": the chip's sensors and six bits."""

    def __init__(self, node: Node, net: Network, chip: Chip, dt: float, batch: int) -> None:
        super().__init__(node, net, chip, dt, batch)
        self.chip, self.x = chip, self._projection(net)
        n_out, n_in = self.process.weights.shape
        self.sums = np.zeros((2, n_out, n_in))  # LSB
        self.since = (np.full(n_in, np.inf), np.full(n_out, np.inf))  # steps since the last spike
        self.arriving = np.zeros(n_in, bool)  # sent in the last step
        self.sizes = self.taus = self.sums

    def read(self) -> None:
        super().read()
        path, rule = self.process.path, self.rule
        self.terms = tuple(term(p, rule, path) for p in _products(rule, path))
        self.tau = np.ones(2)  # of the two sensors, in steps
        for sensor, names in ((CAUSAL, ("x1", "x2")), (ANTICAUSAL, ("y1", "y2", "y3"))):
            self._time(sensor, names, self.dt)

    def _projection(self, net: Network) -> Projection:
        """The synapses; GraphError where the neurons that they learn from are not those that they
        are on."""
        path = self.process.path
        onto = [x for x in net.projections if x.synapse is self.node]
        target = onto[0].target
        heard = [t.source for t in self.node.inputs["s_in_bap"]]
        whole = all(t.src is None and t.dst is None for t in self.node.inputs["s_in_bap"])
        if len(onto) != 1 or len(target.membranes) != 1 or onto[0].term.src is not None:
            raise GraphError(
                f"{path}: synapses of a chip learn on one population of neurons with one membrane each; give each population a "
                "LearningDense of its own"
            )
        wanted = target.process.s_out
        if any(t.sensor is not None for t in self.terms) and (heard != [wanted] or not whole):
            raise GraphError(
                f"{path}: on a chip a synapse sees the spikes of its own neuron, {wanted.path}; connect that, and nothing else, to s_in_bap"
            )
        return onto[0]

    def _time(self, sensor: int, names: tuple[str, ...], dt: float) -> None:
        used = {
            f.name
            for p in self.rule.products["w"]
            for f in p.factors
            if f.name in names and f.name not in self.rule.received
        }
        if len(used) > 1:
            raise RuleError(
                f"{self.process.path}: reads {' and '.join(sorted(used))}, and a chip's synapse has one sensor for both; use one of them"
            )
        r = facts.CORRELATION["tau"]
        for name in used:
            tau = self.rule.traces[name].tau
            if not r.low * (1 - 1e-9) <= tau * dt <= r.high * (1 + 1e-9):
                remedy = (
                    f"RunConfig(dt=...) of {r.low / tau:.2g} to {r.high / tau:.2g} s brings it there"
                    if tau
                    else "choose one"
                )
                raise RoutingError(
                    f"{self.process.path}: the tau of {name}, {tau:g} steps of {dt:.3g} s, is {tau * dt:.3g} s, outside the "
                    f"{r.low:.2g}..{r.high:.2g} s of the chip's correlation sensors; {remedy}"
                )
            self.tau[sensor] = tau

    def on(self, placed: Placed, gain: float) -> None:
        spread = placed.sensors(self.x)
        self.sizes = AMPLITUDE * spread[0]
        self.taus = self.tau[:, None, None] * spread[1]
        self.lsb = placed.lsb[self.x.target] / (
            (gain or 1.0) * 2.0 ** float(self.process.weight_exp.value[0])
        )

    def learn(
        self, first: int, pre: np.ndarray, post: np.ndarray, received: Values, values: Values
    ) -> Values:
        for sent, fired in zip(pre != 0, post != 0, strict=True):
            self._step(sent, fired)
        done = first + len(pre)
        if done % self.rule.epoch:
            return {}
        now = {n: x[-1] for n, x in received.items()}
        return {"weights": self._update(values["weights"], now, done // self.rule.epoch)}

    def _step(self, sent: np.ndarray, fired: np.ndarray) -> None:
        """What the step's spikes leave in the sensors: those that arrive first, then the
        neurons'."""
        came, (since_pre, since_post) = self.arriving, self.since
        since_pre += 1
        since_post += 1
        since_pre[came] = 0
        if came.any():
            self.sums[ANTICAUSAL][:, came] += self.sizes[ANTICAUSAL][:, came] * np.exp(
                -since_post[:, None] / self.taus[ANTICAUSAL][:, came]
            )
        if fired.any():
            self.sums[CAUSAL][fired] += self.sizes[CAUSAL][fired] * np.exp(
                -since_pre / self.taus[CAUSAL][fired]
            )
            since_post[fired] = 0
        self.arriving = sent

    def _update(self, w: np.ndarray, received: Values, epoch: int) -> np.ndarray:
        """The PPU's turn: from the sensors' bits to the weights', in the units of the graph."""
        noise = self.chip.noise.cadc if self.chip.emulated else 0.0
        read = self.sums + noise * torch.randn(self.sums.shape, dtype=torch.float64).numpy()
        bits = np.clip(np.rint(read), 0, facts.CORRELATION_MAX) / AMPLITUDE
        self.sums = np.zeros_like(self.sums)
        change = np.zeros_like(w)
        for t in self.terms:
            if epoch % t.every:
                continue
            product: Any = t.number * (1.0 if t.sensor is None else bits[t.sensor])
            for f in t.factors:
                value = (w if f.name == "w" else received[f.name][:, None]) + float(f.add)
                product = product * (np.sign(value) if f.sign else value)
            change = change + product
        drawn = torch.rand(w.shape, dtype=torch.float64).numpy()
        whole = np.rint(w / self.lsb) + np.floor(change / self.lsb + drawn)
        most = facts.WEIGHT_MAX
        return np.clip(whole, -most if self.low else 0, most if self.high else 0) * self.lsb

    def state(self) -> Any:
        return self.sums.copy(), tuple(s.copy() for s in self.since), self.arriving.copy()

    def restore(self, state: Any) -> None:
        sums, since, arriving = state
        self.sums, self.arriving = sums.copy(), arriving.copy()
        self.since = (since[0].copy(), since[1].copy())


def plastic(node: Node, net: Network, chip: Chip, dt: float, batch: int) -> Plastic:
    """``node`` as the chip's level has it learn."""
    return (Exact if chip.level == "ideal" else Sensed)(node, net, chip, dt, batch)


def _products(rule: LearningRule, path: str) -> tuple[Product, ...]:
    for target in rule.products.keys() - {"w"}:
        raise RuleError(
            f"{path}: d{target}: synapses of a chip have a weight and no tags; leave it out, or run with backend='numba'"
        )
    return rule.products["w"]


def term(p: Product, rule: LearningRule, path: str) -> Term:
    """What a product is on the chip; RuleError for one that a synapse's two sensors do not tell."""
    own = [f for f in p.factors if f.name in rule.traces and f.name not in rule.received]
    rest = tuple(f for f in p.factors if f not in own)
    plain = all(f.name == "w" or f.name in rule.received for f in rest)
    number = float(p.number.value)
    if plain and not own and p.gate.startswith("u"):
        return Term(PLAIN, number, rest, p.every)
    if plain and len(own) == 1 and not own[0].add and not own[0].sign:
        trace = rule.traces[own[0].name]
        # sensors see a spike a step after it was sent
        late = math.exp(1 / trace.tau) if trace.tau else math.inf
        number *= trace.impulse
        if p.gate == "y0" and own[0].name[0] == "x":
            return Term(CAUSAL, number / late, rest, p.every)
        if p.gate == "x0" and own[0].name[0] == "y":
            return Term(ANTICAUSAL, number * late, rest, p.every)
    raise RuleError(
        f"{path}: {p}: a chip's synapse tells x1 * y0 and x0 * y1, each a trace of its own as it is; a product is a number times one of "
        "them or times uk, and w or received traces. Write it so, or run with backend='numba'"
    )
