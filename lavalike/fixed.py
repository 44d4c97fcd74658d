"""``lv.to_fixed``: a floating_pt network in Loihi's whole numbers, by the ranges of a run.

A message of 1 is a power of two in fixed point, its *scale*. A spike's is 1; what a connection
sends has the scale of the neurons that it feeds: weights are ``w * scale_out / scale_in``, as
integers of 8 bits times ``2**weight_exp``. A neuron that counts what it receives in ``scale`` has
its thresholds in that, decays in 1/4096 and its states in 1/64 of it (:class:`lavalike.Parameter`
says which is what), one that sends numbers both in ``scale``. Scales are as large as the states' 24
bits allow for twice what the sample inputs brought.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from lavalike.arguments import MAPPING, arguments, instance, integer, optional
from lavalike.backends import get_backend
from lavalike.compiler.flat import Flat, Node, flatten
from lavalike.compiler.order import names
from lavalike.dynamics.delta import ENCODER
from lavalike.dynamics.parameter import DECAY, HELD, SCALE, Parameter
from lavalike.dynamics.weights import RANGE, SignMode, dropped, sign_mode_of
from lavalike.errors import FixedPointError, InputError, OverflowError24
from lavalike.model.config import RunConfig
from lavalike.proc import (
    ATRLIF,
    RF,
    Connection,
    Conv,
    ConvInTime,
    ConvTranspose,
    DelayDense,
    DelayLearningSparse,
    DelaySparse,
    Delta,
    Dense,
    GradedVec,
    InvSqrt,
    LearningDense,
    LearningSparse,
    NormVecDelay,
    ProdNeuron,
    Sigma,
    SigmaDelta,
    Sparse,
    io,
)
from lavalike.proc.dense import Delay, DelayLine
from lavalike.proc.neuron import Neuron, declaration
from lavalike.proc.spiker import Spiker
from lavalike.process import AbstractProcess, InPort, OutPort, Port, Var
from lavalike.runtime.simulate import Recording, find, simulate
from lavalike.text import table

FLOATING = RunConfig(seed=0)  # sources of random numbers send the same in both
FIXED = RunConfig(precision="fixed_pt", seed=0)
STATES = 2**22  # half of 24 bits: what comes later may be twice what was seen
MESSAGES = 2**15  # of 16 bits, what a sigma-delta neuron or an input sends
EXPONENTS = (-8, 7)  # of weights
STATE_EXP = 6
MANTISSA = 2**15  # of a bias
CONVOLUTIONS = (Conv, ConvTranspose)
SHIFTLESS = (*CONVOLUTIONS, ConvInTime)  # their weights have no exponent
WEIGHTED = (*SHIFTLESS, Dense, DelayDense, Sparse, DelaySparse)
LEARNING = (LearningDense, LearningSparse, DelayLearningSparse)
PASSING = (Delay, DelayLine)
GRADED = (GradedVec, ProdNeuron, InvSqrt)  # their messages and states have one scale
# why what has whole numbers of its own is not converted
UNCONVERTED: dict[type[AbstractProcess], str] = {
    **dict.fromkeys(
        LEARNING,
        "its rule counts in whole numbers of its own, traces of 7 bits and powers of two; give it those by hand",
    ),
    NormVecDelay: "its second port sends squares, which count in the square of a scale; give it fixed_pt's whole numbers by hand",
}
KNOWN = (
    *(Neuron, *WEIGHTED, *PASSING, Spiker, io.source.RingBuffer, io.source.Constant),
    *(io.source.Noise, io.source.Poisson, io.sink.RingBuffer),
)


@dataclass
class Row:
    """A process in fixed point.

    Attributes: ``path`` and ``kind`` of it; ``scale``, what 1 on its OutPort is; ``bits``, how many
    a weight, or a state of the float run at most, takes; ``exponent`` of weights; ``rounding``, the
    largest error of a number it is made with, relative to the largest of its kind; ``rates``, the
    means of what it sends, in floating point and in fixed point; ``error``, the root of the mean
    squared difference of what it sends relative to that of the float run; ``differs``, of what
    sends spikes, the share of them, over samples, steps and elements, that are others (0 in place
    of 1).
    """

    path: str
    kind: str
    scale: float = 1.0
    bits: int = 0
    exponent: int | None = None
    rounding: float = 0.0
    rates: tuple[float, float] = (0.0, 0.0)
    error: float = 0.0
    differs: float | None = None


@dataclass
class Fixed:
    """A network in whole numbers; made by :func:`lavalike.to_fixed`.

    Attributes: ``net``, a copy of the process that was given, connected as it is, to be run with
    ``RunConfig(precision="fixed_pt")``; ``rows``, a :class:`Row` for each process in the order of a
    step; ``scales``, what a message of 1 is, for each port of the copy that a neuron or connection
    sends or an input feeds. ``print(fixed)`` tells the errors layer by layer.

    Example:
        >>> lif = proc.LIF(shape=(3,), du=0.5, dv=0.1, vth=1.0)
        >>> fixed = lv.to_fixed(lif, {"a_in": np.random.rand(3, 50)})
        >>> config = lv.RunConfig(precision="fixed_pt")
        >>> lv.simulate(fixed.net, steps=5, config=config)["s_out"].shape
        (3, 5)
    """

    net: AbstractProcess
    rows: list[Row]
    scales: dict[Port, float]

    @arguments(inputs=MAPPING)
    def encode(self, inputs: Mapping[Any, Any]) -> dict[Any, np.ndarray]:
        """``inputs`` of the float network, as :func:`lavalike.simulate` takes them, in fixed
        point's whole numbers; :class:`lavalike.FixedPointError` for one that 24 bits do not
        hold."""
        out = {}
        for key, value in inputs.items():
            port = find(self.net, key.path if isinstance(key, Port) else key, InPort, "encode: ")
            scaled = np.round(np.asarray(value, float) * self.scales.get(port, 1.0))
            if np.abs(scaled).max(initial=0) >= 2**23:
                raise FixedPointError(
                    f"encode: inputs: {port.path}: {np.abs(value).max():g} is {np.abs(scaled).max():g} in fixed point, "
                    "beyond 24 bits; give to_fixed samples that reach so far"
                )
            out[port] = scaled.astype(np.int32)
        return out

    @arguments(recording=instance(Recording))
    def decode(self, recording: Recording, target: Any) -> np.ndarray:
        """What ``recording``, of a fixed_pt run of ``net``, holds of the port ``target`` (or its
        name), in the float network's units."""
        port = find(self.net, target, Port, "decode: target: ")
        if port not in self.scales:
            raise InputError(f"decode: target: {port.path} joins messages of several scales")
        return np.asarray(recording[port], float) / self.scales[port]

    def __str__(self) -> str:
        rows = [
            [
                r.path,
                r.kind,
                f"{r.scale:g}",
                str(r.bits or "-"),
                "-" if r.exponent is None else str(r.exponent),
                f"{r.rounding:.2g}",
                f"{r.rates[0]:.4g}",
                f"{r.rates[1]:.4g}",
                f"{r.error:.2g}",
                "-" if r.differs is None else f"{r.differs:.2%}",
            ]
            for r in self.rows
        ]
        head = [
            "process",
            "",
            "scale",
            "bits",
            "exp",
            "rounding",
            "mean",
            "fixed",
            "error",
            "differ",
        ]
        return table(head, rows)


@arguments(
    net=instance(AbstractProcess, words="a process"),
    sample_inputs=MAPPING,
    steps=optional(integer(1)),
)
def to_fixed(
    net: AbstractProcess, sample_inputs: Mapping[Any, Any], steps: int | None = None
) -> Fixed:
    """The network in Loihi's whole numbers, with scales from the ranges of a float run.

    It runs ``net`` on the samples in floating_pt, chooses scales, makes a copy whose
    parameters are whole numbers, runs that in fixed_pt on the same samples, and compares layer by
    layer. ``net`` stays as it is.

    Args:
        net: a process of a floating_pt network of LIFs, ALIFs, resonators, sigma-delta neurons,
            neurons that answer with numbers (GradedVec, ProdNeuron, InvSqrt, DeltaEncoder), neurons
            of one's own, whose states are 0, connections, delays, sources and sinks.
        sample_inputs: as the ``inputs`` of :func:`lavalike.simulate`; they should bring what later
            inputs bring, as scales leave a factor of two.
        steps: how many. Default: as many as the samples have.

    Returns:
        :class:`Fixed`: the copy, its scales, the errors.

    Raises:
        FixedPointError: what cannot be held, with layer, value and remedy: a decay below 1/8192, a
            threshold or weights that round to 0, a process without a fixed-point form or whose
            whole numbers do not follow from its parameters (learning), a state that leaves its 24
            bits.
        Whatever simulate raises.

    Example::

        fixed = lv.to_fixed(net, {"inp": samples})
        print(fixed)
        exact = lv.RunConfig(precision="fixed_pt")
        run = lv.simulate(fixed.net, fixed.encode({"inp": x}), config=exact)
        y = fixed.decode(run, "out")
    """
    return _Conversion(net, sample_inputs, steps).fixed


class _Conversion:
    """One call of :func:`to_fixed`."""

    def __init__(self, net: AbstractProcess, inputs: Mapping[Any, Any], steps: int | None) -> None:
        self.net = net
        fed = [find(net, key, InPort, "simulate: inputs: ") for key in inputs]
        self.flat = flatten(net, FLOATING, get_backend, fed)
        self.called = names(self.flat.nodes)
        self.twins = _twins(net)
        self.rows = {n: Row(self.called[n], type(n.process).__name__) for n in self.flat.nodes}
        for node in self.flat.nodes:
            self._check(node)
        sent = [p for n in self.flat.nodes for p in n.process.out_ports]
        computed = [n.process for n in self.flat.nodes if n.process.dynamics is not None]
        states = [v for p in computed for v in p.vars if v.role == "state"]
        recorded: list[Port | Var | str] = [*sent, *states]
        self.float = simulate(net, inputs, steps, FLOATING, recorded)
        self.samples = {find(net, k, InPort): np.asarray(x, float) for k, x in inputs.items()}
        self.scales = _Scales(self)
        for node in self.flat.nodes:
            self._convert(node)
        twin: AbstractProcess = self.twins[net]
        own = {self.twins[p]: 2.0**n for p, n in self.scales.found()}
        self.fixed = Fixed(twin, [*self.rows.values()], own)
        encoded = self.fixed.encode({self.twins[p]: x for p, x in self.samples.items()})
        try:
            made = simulate(twin, encoded, steps, FIXED, [self.twins[p] for p in sent])
        except OverflowError24 as e:
            raise FixedPointError(
                f"to_fixed: {e}: in fixed point it goes another way than in floating point; scale its weights and threshold down, or "
                "give samples that bring more"
            ) from e
        for port in sent:
            self._compare(port, made)

    def fail(self, node: Node, problem: str) -> NoReturn:
        raise FixedPointError(f"to_fixed: {self.called[node]}: {problem}")

    def largest(self, target: Port | Var) -> float:
        """The largest finite magnitude that ``target`` had in the float run, a Var before it
        too."""
        x = self.samples.get(target) if isinstance(target, InPort) else self.float[target]
        sizes = np.abs(np.zeros(0) if x is None else x)
        largest = float(sizes.max(initial=0.0, where=np.isfinite(sizes)))
        return (
            max(largest, float(np.abs(Var.get(target)).max()))
            if isinstance(target, Var)
            else largest
        )

    # -- what there is

    def _check(self, node: Node) -> None:
        process = node.process
        own = process.dynamics is not None and not process.dynamics.loihi
        unknown = not (isinstance(process, KNOWN) or own)
        if isinstance(process, Neuron) and not own:
            spikes = not declaration(type(process)).graded
            numbers = isinstance(process, (Sigma, Delta, SigmaDelta, *GRADED))
            unknown |= not (spikes or numbers or process.dynamics is ENCODER)
        for kind, why in UNCONVERTED.items():
            if isinstance(process, kind):
                self.fail(node, f"a {type(process).__name__} has no conversion: {why}")
        if (
            process.dynamics is not None
            and not process.dynamics.fixed
            and not isinstance(process, InvSqrt)  # whose fixed point is no equation
        ):
            self.fail(
                node,
                f"a {type(process).__name__} has no fixed-point form; take a neuron that has one, or keep it out of net",
            )
        if unknown:
            self.fail(
                node,
                f"a {type(process).__name__} has no conversion; keep it out of net, or give it fixed_pt's "
                "whole numbers by hand",
            )
        if process.proc_params.get("loihi_units"):
            self.fail(node, "its values are fixed_pt's whole numbers already; run it in fixed_pt")
        if isinstance(process, ATRLIF):
            theta, rest = (
                np.broadcast_to(Var.get(v), process.shape) for v in (process.theta, process.theta_0)
            )
            if not np.array_equal(theta, rest):
                bad = theta != rest
                self.fail(
                    node,
                    f"theta: holds {theta[bad].flat[0]:g}, theta_0 is {rest[bad].flat[0]:g}, and in fixed point theta begins there; "
                    "net.reset(), or set it to theta_0",
                )
        if own:
            for var in (v for v in process.vars if v.role == "state"):
                value = Var.get(var)
                if value.dtype.kind in "bif" and value.any():
                    self.fail(
                        node,
                        f"{var.name}: holds {value[value != 0].flat[0]:g}, and nothing says what a state of one's own counts in; it is "
                        "converted from 0: net.reset(), or set it in the copy",
                    )

    # -- what becomes of it

    def _convert(self, node: Node) -> None:
        process: Any = node.process
        twin, row = self.twins[process], self.rows[node]
        if process.out_ports:
            row.scale = 2.0 ** self.scales[process.out_ports[0]]
        if isinstance(process, Connection):
            self._weights(node, process, twin, row)
        elif isinstance(process, io.source.RingBuffer):
            twin.data.set(np.round(process.data.get() * row.scale))
        elif isinstance(process, io.source.Constant):
            twin.value.set(np.round(process.value.get() * row.scale))
        elif isinstance(process, io.source.Noise):
            for name in ("mean", "std"):
                getattr(twin, name).set(getattr(process, name).get() * row.scale)
        elif process.in_ports and process.dynamics is not None:
            self._neuron(node, process, twin, row)
        self._states(process, twin, row)

    def _states(self, process: Any, twin: Any, row: Row) -> None:
        """Give ``twin`` the states that ``process`` has, where they are not 0."""
        if isinstance(process, Connection | Delay | DelayLine):
            unit = row.scale  # what is on its way
        elif isinstance(process, Neuron):
            unit = 2.0 ** self.scales[process.in_ports[0]] * self.scales.inside(process)
        else:
            return
        for var in process.vars:
            value = Var.get(var)
            if var.role != "state" or value.dtype.kind not in "bif" or not value.any():
                continue
            if var.name == "num_message_bits" or (isinstance(process, ATRLIF) and var.name == "s"):
                continue  # no state, or the spikes that were sent last
            whole = np.round(value * unit)
            _note(row, whole / unit, value)
            getattr(twin, var.name).set(whole.astype(np.int64))

    def _weights(self, node: Node, process: Connection, twin: Any, row: Row) -> None:
        own, exponent, value = _weights_of(process)
        name = own.name
        wanted = value * 2.0 ** self.scales.gain(process)
        most = np.abs(wanted).max(initial=0.0)
        drop, (low, high) = 0, (-255, 255)
        if exponent is not None:
            mode = process.sign_mode if process.sign_mode else sign_mode_of(value)  # type: ignore[attr-defined]  # what has an exponent has a sign mode
            drop = dropped(process.num_weight_bits, SignMode(mode))  # type: ignore[attr-defined]  # and bits
            low, high = RANGE[SignMode(mode)]
        unit = 2**drop
        low, high = -(-low // unit) * unit, high // unit * unit
        exp = 0
        if exponent is not None and most:
            reach = [
                b for b in (-low if wanted.min() < 0 else 0, high if wanted.max() > 0 else 0) if b
            ]
            exp = max(math.ceil(math.log2(most / min(reach))), EXPONENTS[0])
        whole = np.clip(np.round(wanted / 2.0**exp / unit) * unit, low, high)
        if most and not whole.any():
            self.fail(
                node,
                f"{name}: at most {np.abs(value).max():g}, and all would be 0 where 1 is "
                f"{2.0 ** self.scales.gain(process):g}; scale them up, with the threshold of what they feed",
            )
        getattr(twin, name).set(whole.astype(np.int64))
        if exponent is not None:
            twin.weight_exp.set(exp)
            row.exponent = exp
        row.bits = int(np.abs(whole).max()).bit_length() if most else 0
        _note(row, whole * 2.0**exp, wanted)

    def _neuron(self, node: Node, process: AbstractProcess, twin: Any, row: Row) -> None:
        dynamics = process.dynamics
        assert dynamics is not None
        scale = 2.0 ** self.scales[process.in_ports[0]]
        twin.__dict__["proc_params"] = {**twin.proc_params, "checked": True}
        peak = max((self.largest(v) for v in process.vars if v.role == "state"), default=0.0)
        if not dynamics.loihi:
            twin.proc_params["scale"] = scale
            row.bits = int(peak * scale).bit_length()
            for p in dynamics.parameters:
                unit = p.unit_of(scale)
                self._rounded(
                    node, row, p, np.asarray(Var.get(getattr(process, p.name)), float), unit
                )
            return
        row.bits = int(peak * scale * self.scales.inside(process)).bit_length()
        state = scale
        if isinstance(process, SigmaDelta):
            state = scale / 2**STATE_EXP
        if isinstance(process, Delta):  # SigmaDelta is one
            twin.spike_exp.set(0)
            twin.state_exp.set(STATE_EXP)
        if isinstance(process, RF):
            twin.state_exp.set(STATE_EXP)
            twin.decay_bits.set(12)
        if isinstance(process, GRADED):
            self._base(node, process, twin)
        if dynamics is ENCODER:
            twin.spike_exp.set(0)
            bits = twin.num_bits.get()[0]
            if bits and scale != 1:
                self.fail(
                    node,
                    f"num_bits: {bits} bits hold whole numbers, and messages count in 1/{scale:g}; "
                    "leave num_bits out",
                )
        for p in dynamics.settings:
            var = getattr(process, p.name)
            value = np.asarray(Var.get(var), float)
            if p.name == "bias_mant":
                exp = self._bias(node, row, value, scale * SCALE, twin)
                twin.bias_exp.set(np.full(twin.bias_exp.shape, exp))
            elif isinstance(process, ATRLIF) and p.counts:
                self._fraction(node, row, p, value, scale, getattr(twin, p.name))
            elif p.counts not in ("", "step") and p.name not in ("cos_decay", "sin_decay"):
                whole = self._rounded(node, row, p, value, p.unit_of(state))
                if p.counts == "state" and np.abs(whole).max() >= HELD:
                    self.fail(
                        node,
                        f"{p.name}: {np.abs(value).max():g} is {np.abs(whole).max():g} in fixed point, which holds {HELD - 1}; scale the "
                        "neuron's weights and threshold down",
                    )
                getattr(twin, p.name).set((whole - p.offset).astype(np.int64))

    def _base(self, node: Node, process: AbstractProcess, twin: Any) -> None:
        """Tell ``twin`` of how many fractional bits messages are, where something follows from
        it."""
        exponent, (name, most) = self.scales[process.in_ports[0]], _base(process)
        if 0 <= exponent <= most:
            getattr(twin, name).set(exponent)
        elif not isinstance(process, GradedVec):
            self.fail(
                node,
                f"{name}: messages reach so far that they count in {2.0**-exponent:g}, and have no fractional bits; scale them down",
            )

    def _fraction(
        self, node: Node, row: Row, p: Parameter, value: np.ndarray, scale: float, var: Any
    ) -> None:
        """Set ``var``, a parameter of an ATRLIF: decays are fractions in fixed point too, and
        thresholds are shifted there."""
        unit = p.unit_of(scale * SCALE)
        if p.name == "delta_i":  # which loses 1/4096 more, and keeps its fraction
            if (value * unit < 1).any():
                self.fail(
                    node,
                    f"delta_i: {value.min():g}, and fixed point loses 1/{DECAY} in every step at least; make it at least {1 / DECAY:g}",
                )
            var.set(value - 1 / unit)
            return
        whole = self._rounded(node, row, p, value, unit)
        var.set(whole / (DECAY if p.counts == "loss" else SCALE))

    def _bias(self, node: Node, row: Row, value: np.ndarray, unit: float, twin: Any) -> int:
        """Set the bias of ``twin``, in 1/``unit``; the exponent that its mantissa has."""
        wanted = value * unit
        most = np.abs(wanted).max(initial=0.0)
        exp = max(math.ceil(math.log2(most / (MANTISSA - 1))), 0) if most else 0
        whole = np.round(wanted / 2**exp)
        if most and not whole.any():
            self.fail(node, f"bias_mant: {most / unit:g} would be 0; make it larger, or 0")
        _note(row, whole * 2**exp, wanted)
        twin.bias_mant.set(whole.astype(np.int64))
        return exp

    def _rounded(
        self, node: Node, row: Row, p: Parameter, value: np.ndarray, unit: float
    ) -> np.ndarray:
        """``value`` in whole numbers of 1/``unit``; what would be 0 and is not cannot be held."""
        if not p.counts or p.counts == "step":
            if not p.counts and not _whole(value):
                self.fail(
                    node,
                    f"{p.name}: {value[value != np.round(value)].flat[0]:g} is no whole number, and its Parameter does not say what "
                    "it counts in; declare counts='decay', 'loss' or 'state'",
                )
            return value
        whole = np.round(value * unit)
        gone = (whole == 0) & (value != 0)
        if gone.any():
            self.fail(
                node,
                f"{p.name}: {value[gone].flat[0]:g} would be 0 in fixed point, which counts it in 1/{unit:g}; make it at least "
                f"{1 / unit:g}, or 0"
                + (
                    ""
                    if p.counts != "state"
                    else ", or scale the neuron's weights and threshold up"
                ),
            )
        _note(row, whole / unit, value)
        return whole

    # -- how far apart they are

    def _compare(self, port: OutPort, made: Recording) -> None:
        node = self.flat.node_of(port.process)
        assert node is not None
        row = self.rows[node]
        expected = np.asarray(self.float[port], float)
        scale = 2.0 ** self.scales[port]
        got = np.asarray(made[self.twins[port]], float) / scale
        if not (held := np.isfinite(expected)).all():  # the root of 0 among them
            expected, got = expected[held], got[held]
        size = math.sqrt(float(np.mean(expected**2))) if expected.size else 0.0
        error = math.sqrt(float(np.mean((got - expected) ** 2))) if expected.size else 0.0
        row.rates = float(expected.mean()), float(got.mean())
        row.error = error / size if size else error
        if self.scales.spikes(node.process):
            row.differs = float(np.mean(got != expected))


class _Scales:
    """The scale of every port, as the exponent of two. Ports of one group have scales that differ
    by a power that is known."""

    def __init__(self, conversion: _Conversion) -> None:
        self.of = conversion
        self.into: dict[Port, tuple[Port, int]] = {}
        self.exponent: dict[Port, int] = {}
        flat = conversion.flat
        port: Port
        for node in flat.nodes:
            for port in node.process.in_ports:
                for term in node.inputs.get(port.name, ()):
                    self._join(node, term.source, port, 0)
            self._within(node)
        self.fixed: dict[Port, Node] = {}
        self.bounds: dict[Port, int] = {}
        for node in flat.nodes:
            self._limits(node)
        for fed in flat.stimuli:
            self._stimulus(fed)
        for port in self.fixed:
            root, by = self._root(port)
            self.exponent[root] = -by
        for port in [*self.into, *self.bounds]:
            root, _ = self._root(port)
            if root not in self.exponent:
                self.exponent[root] = min(
                    (
                        b - self._root(p)[1]
                        for p, b in self.bounds.items()
                        if self._root(p)[0] is root
                    ),
                    default=0,
                )
        self._fit_weights(flat)
        self._check(flat)

    def __getitem__(self, port: Port) -> int:
        root, by = self._root(port)
        return self.exponent.get(root, 0) + by

    def found(self) -> Iterator[tuple[Port, int]]:
        """The ports whose messages have one scale, those of containers among them."""
        flat = self.of.flat
        for port in (q for p in flat.processes for q in (*p.in_ports, *p.out_ports)):
            sources = {self[t.source] for t in flat.terms(port)} or {self[port]}
            if len(sources) == 1:
                yield port, sources.pop()

    def _root(self, port: Port) -> tuple[Port, int]:
        by = 0
        while port in self.into:
            port, more = self.into[port]
            by += more
        return port, by

    def _join(self, node: Node, a: Port, b: Port, by: int) -> None:
        """The scale of ``b`` is that of ``a`` times 2**by."""
        (x, at), (y, other) = self._root(a), self._root(b)
        if x is not y:
            self.into[y] = (x, at + by - other)
        elif at + by != other:
            self.of.fail(
                node,
                f"{b.path} and {a.path} cannot have one scale: they are connected on two ways, of which one changes it; put a connection "
                "with weights between them",
            )

    def _within(self, node: Node) -> None:
        process = node.process
        if isinstance(process, PASSING):
            self._join(node, process.in_ports[0], process.out_ports[0], 0)
        elif isinstance(process, SigmaDelta):
            self._join(node, process.out_ports[0], process.in_ports[0], STATE_EXP)
        elif isinstance(process, Delta | Sigma):
            self._join(node, process.in_ports[0], process.out_ports[0], 0)
        elif isinstance(process, Neuron) or process.dynamics is not None:
            assert process.dynamics is not None
            first, *others = process.in_ports
            graded = [p for p in process.out_ports if p.name in process.dynamics.graded]
            for port in (*others, *graded):
                self._join(node, first, port, 0)

    def inside(self, process: AbstractProcess) -> float:
        """What its states count in, against what its InPorts do."""
        if (
            isinstance(process, (Sigma, SigmaDelta, *GRADED))
            or process.dynamics is ENCODER
            or not (process.dynamics and process.dynamics.loihi)
        ):
            return 1.0
        return 2.0**STATE_EXP  # SCALE, which RF's state_exp is set to

    def gain(self, process: Connection) -> int:
        """The exponent by which weights are multiplied."""
        heard = self[process.in_ports[0]] if process.graded else 0
        return self[process.out_ports[0]] - heard

    def _bound(self, port: Port, largest: float, limit: float) -> None:
        """``largest`` times the scale of ``port`` stays within ``limit``."""
        if largest > 0:
            most = math.floor(math.log2(limit / largest))
            self.bounds[port] = min(self.bounds.get(port, most), most)

    def _limits(self, node: Node) -> None:
        process, largest = node.process, self.of.largest
        for port in process.out_ports:
            sends = (
                isinstance(process, (Delta, SigmaDelta, io.source.RingBuffer, *GRADED))
                or process.dynamics is ENCODER
            )
            self._bound(port, largest(port), MESSAGES if sends else STATES)
        if isinstance(process, Spiker | io.source.Poisson) or self.spikes(process):
            for port in process.out_ports:
                self._fix(node, port)
        if isinstance(process, io.source.RingBuffer):
            whole = _whole(Var.get(process.data))
            if whole and not self._feeds_neurons(process.s_out):
                self._fix(node, process.s_out)
        dynamics = process.dynamics
        if dynamics is None or not process.in_ports:
            return
        first, inside = process.in_ports[0], self.inside(process)
        if isinstance(process, ProdNeuron | InvSqrt):
            self.bounds[first] = min(self.bounds.get(first, 31), _base(process)[1])
        for var in process.vars:
            if var.role == "state":
                self._bound(first, largest(var), STATES / inside)
        shrunk = 2**STATE_EXP if isinstance(process, SigmaDelta) else 1
        for p in dynamics.parameters:
            if p.counts == "state" or p.name == "bias_mant":
                value = float(np.abs(Var.get(getattr(process, p.name))).max())
                own = HELD - 1 if dynamics.loihi else STATES
                self._bound(first, value, own * shrunk)

    def spikes(self, process: AbstractProcess) -> bool:
        if isinstance(process, Sigma | Delta | SigmaDelta) or process.dynamics is None:
            return False
        return not process.dynamics.graded

    def _fix(self, node: Node, port: Port) -> None:
        """The scale of ``port`` is 1."""
        root, by = self._root(port)
        for other, first in self.fixed.items():
            if self._root(other)[0] is root and self._root(other)[1] != by:
                self.of.fail(
                    node,
                    f"{port.path} and {self.of.called[first]}, which send spikes, reach one port; put a connection with weights between",
                )
        self.fixed[port] = node

    def _feeds_neurons(self, port: Port) -> bool:
        """Whether its scale is that of states."""
        root = self._root(port)[0]
        return any(
            self._root(p)[0] is root
            for n in self.of.flat.nodes
            if n.process.dynamics is not None
            for p in n.process.in_ports
        )

    def _stimulus(self, port: InPort) -> None:
        x = self.of.samples.get(port)
        if x is None:
            return
        self._bound(port, float(np.abs(x).max(initial=0)), MESSAGES)
        if _whole(x) and not self._feeds_neurons(port):
            hears = [
                n
                for n in self.of.flat.nodes
                if any(t.source is port for s in n.inputs.values() for t in s)
            ]
            if hears:
                self._fix(hears[0], port)

    def _fit_weights(self, flat: Flat) -> None:
        """Where a connection's weights would need a larger exponent than there is, what it feeds
        counts in less; where a smaller one, what it hears does."""
        owners = [n for n in flat.nodes if isinstance(n.process, Connection)]
        for _ in range(len(owners) + 1):
            changed = False
            for node in owners:
                process: Any = node.process
                _, exp, value = _weights_of(process)
                most = float(np.abs(value).max())
                if not most:
                    continue
                low, high = EXPONENTS if exp is not None else (0, 0)
                gain = self.gain(process) + math.log2(most)
                over = math.ceil(gain - math.log2(254.0) - high)
                under = math.ceil(math.log2(127.0) + low - gain)
                if over > 0:
                    changed |= self._lower(process.out_ports[0], over)
                elif under > 0 and process.graded:
                    changed |= self._lower(process.in_ports[0], under, process.out_ports[0])
            if not changed:
                return

    def _lower(self, port: Port, by: int, other: Port | None = None) -> bool:
        """Let ``port`` count in less, where its scale is free, and ``other`` does not follow it."""
        root = self._root(port)[0]
        if other is not None and self._root(other)[0] is root:
            return False
        if any(self._root(p)[0] is root for p in self.fixed):
            return False
        self.exponent[root] = self.exponent.get(root, 0) - by
        return True

    def _check(self, flat: Flat) -> None:
        """What is of scale 1 is held."""
        for node in flat.nodes:
            for port in (*node.process.in_ports, *node.process.out_ports):
                if port in self.bounds and self[port] > self.bounds[port]:
                    self.of.fail(
                        node,
                        f"{port.path}: values or states there reach {2.0 ** -self.bounds[port]:.3g} of what 24 bits hold where a spike is "
                        "1; scale them down",
                    )


def _weights_of(process: Any) -> tuple[Var, Var | None, np.ndarray]:
    """The weights of a connection, the exponent that they have in fixed point, and what they are in
    floating point."""
    own: Var = process.weight if isinstance(process, CONVOLUTIONS) else process.weights
    exponent: Var | None = None if isinstance(process, SHIFTLESS) else process.weight_exp
    value = np.asarray(Var.get(own), float)
    return own, exponent, value if exponent is None else value * 2.0 ** Var.get(exponent)[0]


def _note(row: Row, held: np.ndarray, wanted: np.ndarray) -> None:
    """Have ``row`` tell how far ``held`` is from what was ``wanted``."""
    most = np.abs(wanted).max(initial=0.0)
    if most:
        row.rounding = max(row.rounding, float(np.abs(held - wanted).max() / most))


def _base(process: Any) -> tuple[str, int]:
    """The parameter that says how many fractional bits messages have, and the most that it
    takes."""
    var = "fp_base" if isinstance(process, InvSqrt) else "exp"
    return var, next(int(p.high) for p in process.dynamics.parameters if p.name == var)


def _whole(x: np.ndarray) -> bool:
    return bool(np.array_equal(x, np.round(x)))


def _twins(net: AbstractProcess) -> dict[Any, Any]:
    """A copy of everything that ``net`` is connected to: part to part."""
    mine, others = (p._structure.root().parts()[0] for p in (net, copy.deepcopy(net)))
    return dict(zip(mine, others, strict=True))
