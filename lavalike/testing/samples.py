"""A small process of every kind in the library, in the numbers of either precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lavalike import proc
from lavalike.dynamics import Dynamics, Parameter
from lavalike.dynamics.ops import above, leak
from lavalike.learning import LearningRule, Trace
from lavalike.process import AbstractProcess, InPort, OutPort

Make = Callable[[bool], AbstractProcess]  # of whether it is in fixed_pt's integers
Precisions = tuple[Literal["floating_pt", "fixed_pt"], ...]
BOTH: Precisions = ("floating_pt", "fixed_pt")
FLOATING: Precisions = ("floating_pt",)
SHAPE = (4,)


@dataclass(frozen=True)
class Sample:
    """How a process is made, the precisions it has, and whether it is fed spikes or numbers."""

    make: Make
    precisions: Precisions = BOTH
    spikes: bool = False


def _leaky(a_in: Any, v: Any, beta: Any) -> Any:
    v = leak(v, beta) + a_in
    return above(v, 1.0), v


def _weights(fixed: bool, *shape: int) -> np.ndarray:
    g = np.random.default_rng(7)
    return g.integers(-12, 13, shape) * 2 if fixed else g.normal(size=shape)


def _decays(fixed: bool) -> dict[str, Any]:
    return (
        {"du": 1200, "dv": [400, 800, 1200, 1600]}
        if fixed
        else {"du": 0.3, "dv": [0.1, 0.2, 0.3, 0.4]}
    )


def _lif(kind: Callable[..., AbstractProcess], **more: Any) -> Make:
    def make(fixed: bool) -> AbstractProcess:
        bias: Any = [0, 3, 6, 9] if fixed else [0.0, 0.05, 0.1, 0.15]
        threshold: dict[str, Any] = {} if kind is proc.TernaryLIF else {"vth": 1 if fixed else 0.7}
        return kind(shape=SHAPE, **_decays(fixed), bias_mant=bias, **threshold, **more)

    return make


def _ternary(fixed: bool) -> AbstractProcess:
    return _lif(proc.TernaryLIF, vth_hi=1 if fixed else 0.6, vth_lo=-1 if fixed else -0.5)(fixed)


def _adaptation(fixed: bool) -> dict[str, Any]:
    return {
        "threshold_step": 1 if fixed else 0.2,
        "threshold_decay": 500 if fixed else 0.1,
        "refractory_decay": 900 if fixed else 0.2,
    }


def _alif(kind: Callable[..., AbstractProcess], **more: Any) -> Make:
    return lambda fixed: _lif(kind, **_adaptation(fixed), **more)(fixed)


def _resonator(kind: Callable[..., AbstractProcess], adapting: bool = False) -> Make:
    def make(fixed: bool) -> AbstractProcess:
        decay: dict[str, Any] = (
            {"cos_decay": 2000, "sin_decay": 3300, "decay_bits": 12}
            if fixed
            else {"period": 6, "alpha": 0.05}
        )
        return kind(
            shape=SHAPE,
            vth=20 if fixed else 0.4,
            **decay,
            **(_adaptation(fixed) if adapting else {}),
        )

    return make


def _delta(kind: Callable[..., AbstractProcess], bias: Any = None, **more: Any) -> Make:
    def make(fixed: bool) -> AbstractProcess:
        exponents = {"spike_exp": 2, "state_exp": 1} if fixed else {}
        own = {} if bias is None else {"bias": 5 if fixed else bias}
        return kind(shape=SHAPE, vth=20 if fixed else 0.6, **exponents, **own, **more)

    return make


def _atrlif(fixed: bool) -> AbstractProcess:
    return proc.ATRLIF(
        shape=SHAPE, theta_0=1 if fixed else 0.5, theta_step=0.75, bias_mant=3 if fixed else 0.1
    )


def _diagonal(*parts: float) -> dict[str, Any]:
    turns = np.exp(1j * np.arange(4)) if len(parts) > 1 else np.ones(4)
    return {n: size * turns for n, size in zip("abc", parts * 3, strict=False)}


def _sparse(fixed: bool) -> AbstractProcess:
    return proc.Sparse(
        weights=_weights(fixed, 3, 4) * (np.arange(12).reshape(3, 4) % 3 > 0), num_message_bits=8
    )


def _encoder(fixed: bool) -> AbstractProcess:
    return proc.DeltaEncoder(shape=SHAPE, vth=20 if fixed else 0.6, spike_exp=1, num_bits=6)


def _convolution(kind: Callable[..., AbstractProcess], **more: Any) -> Make:
    return lambda fixed: kind(
        weight=_weights(fixed, 4, 3, 2, 1),
        input_shape=(5, 6, 2),
        stride=(2, 1),
        padding=(1, 0),
        groups=2,
        num_message_bits=8,
        **more,
    )


def _own(fixed: bool) -> AbstractProcess:
    kind = proc.neuron_process(
        Dynamics(
            _leaky,
            inputs=("a_in",),
            outputs=("s_out",),
            states=("v",),
            parameters=(Parameter("beta", 0.3),),
        )
    )
    return kind(shape=SHAPE, beta=1200 if fixed else 0.3)


def _tree(fixed: bool) -> AbstractProcess:
    return proc.MultiCompartment(
        shape=SHAPE,
        tree={"soma": proc.Compartment(threshold=1.0), "tip": proc.Compartment("soma", g=0.2)},
    )


class Net(AbstractProcess):
    """Two layers, the first recurrent; two senders are summed, and ports joined and reshaped."""

    def __init__(self, fixed: bool) -> None:
        super().__init__()
        self.inp = InPort((3, 2))
        self.first = proc.Dense(weights=_weights(fixed, 4, 6), num_message_bits=8)
        self.back = proc.Dense(weights=_weights(fixed, 4, 4))
        self.hidden = _lif(proc.LIF)(fixed)
        self.second = proc.Dense(weights=_weights(fixed, 4, 8))
        self.last = _lif(proc.LIF)(fixed)
        self.out = OutPort((2, 2))
        hidden: Any = self.hidden
        last: Any = self.last
        self.inp.reshape((6,)).connect(self.first.s_in)
        self.first.a_out.connect(hidden.a_in)
        self.back.a_out.connect(hidden.a_in)
        hidden.s_out.connect(self.back.s_in)
        hidden.s_out.concat_with([last.s_out]).connect(self.second.s_in)
        self.second.a_out.connect(last.a_in)
        last.s_out.reshape((2, 2)).connect(self.out)


class Root(AbstractProcess):
    """The inverse root of 2 or 3: none is of 0."""

    def __init__(self, fixed: bool) -> None:
        super().__init__()
        self.a_in, self.s_out = InPort(SHAPE), OutPort(SHAPE)
        self.one = proc.io.source.Constant(shape=SHAPE, value=2)
        self.root = proc.InvSqrt(shape=SHAPE)
        self.a_in.connect(self.root.a_in)
        self.one.s_out.connect(self.root.a_in)
        self.root.s_out.connect(self.s_out)


class Layer(AbstractProcess):
    """Synapses that take spikes, and neurons."""

    def __init__(self, fixed: bool) -> None:
        super().__init__()
        self.s_in, self.s_out = InPort((6,)), OutPort((4,))
        self.dense = proc.Dense(weights=np.abs(_weights(fixed, 4, 6)))
        self.lif = proc.LIF(
            shape=SHAPE,
            du=1200 if fixed else 0.3,
            dv=400 if fixed else 0.1,
            vth=2 if fixed else 1.5,
        )
        self.s_in.connect(self.dense.s_in)
        self.dense.a_out.connect(self.lif.a_in)
        self.lif.s_out.connect(self.s_out)


def _learning(kind: Callable[..., AbstractProcess], **more: Any) -> Make:
    rule = LearningRule(
        dw="x0 * x1 - 2^-1 * u1 * (w - 2)", x1=Trace(impulse=4, tau=5), epoch=2, seed=1
    )
    return lambda fixed: kind(
        weights=_weights(fixed, 3, 4), learning_rule=rule, plastic_batch="per_sample", **more
    )


SAMPLES: dict[str, Sample] = {
    "LIF": Sample(_lif(proc.LIF)),
    "LIFLateBias": Sample(_lif(proc.LIFLateBias, bias_start=[0, 1, 4, 9])),
    "LIFReset": Sample(_lif(proc.LIFReset, reset_interval=5, reset_offset=2)),
    "LIFRefractory": Sample(_lif(proc.LIFRefractory, refractory_period=3)),
    "LearningLIF": Sample(_lif(proc.LearningLIF, y1_decay=0, y1_impulse=2)),
    "TernaryLIF": Sample(_ternary),
    "ALIF": Sample(_alif(proc.ALIF)),
    "ALIFLateBias": Sample(_alif(proc.ALIFLateBias, bias_start=3)),
    "ATRLIF": Sample(_atrlif),
    "RF": Sample(_resonator(proc.RF)),
    "RF_IZ": Sample(_resonator(proc.RF_IZ)),
    "ADRF": Sample(_resonator(proc.ADRF, adapting=True)),
    "ADRF_IZ": Sample(_resonator(proc.ADRF_IZ, adapting=True)),
    "RFZero": Sample(
        lambda fixed: proc.RFZero(shape=SHAPE, freqs=[20.0, 50.0, 90.0, 120.0], decay_tau=0.02)
    ),
    "Sigma": Sample(lambda fixed: proc.Sigma(shape=SHAPE)),
    "Delta": Sample(_delta(proc.Delta)),
    "Delta, cumulative": Sample(_delta(proc.Delta, cum_error=True)),
    "SigmaDelta": Sample(_delta(proc.SigmaDelta, bias=0.1)),
    "SigmaDelta, unit": Sample(_delta(proc.SigmaDelta, act_mode=proc.ActivationMode.UNIT)),
    "SigmaDelta, cumulative": Sample(_delta(proc.SigmaDelta, bias=0.1, cum_error=True)),
    "SigmaDelta, late": Sample(_delta(proc.SigmaDelta, bias=0.5, bias_start=3)),
    "DeltaEncoder": Sample(_encoder),
    "Spiker": Sample(lambda fixed: proc.Spiker(shape=SHAPE, period=[1, 2, 3, 5], payload=7)),
    "Receiver": Sample(lambda fixed: proc.Receiver(shape=SHAPE)),
    "GradedVec": Sample(lambda fixed: proc.GradedVec(shape=SHAPE, vth=20 if fixed else 0.6)),
    "GradedReluVec": Sample(
        lambda fixed: proc.GradedReluVec(shape=SHAPE, vth=20 if fixed else 0.6)
    ),
    "ProdNeuron": Sample(
        lambda fixed: proc.ProdNeuron(shape=SHAPE, vth=20 if fixed else 0.3, exp=3)
    ),
    "NormVecDelay": Sample(lambda fixed: proc.NormVecDelay(shape=SHAPE, vth=20 if fixed else 0.3)),
    "InvSqrt": Sample(Root, spikes=True),
    "S4d": Sample(lambda fixed: proc.S4d(shape=SHAPE, **_diagonal(0.9, 0.2, 1.1)), FLOATING),
    "SigmaS4dDelta": Sample(
        lambda fixed: proc.SigmaS4dDelta(shape=SHAPE, vth=0.2, **_diagonal(0.7)), FLOATING
    ),
    "SigmaS4dDeltaLayer": Sample(
        lambda fixed: proc.SigmaS4dDeltaLayer(shape=(2,), vth=0.2, d_states=2, **_diagonal(0.7)),
        FLOATING,
    ),
    "Dense": Sample(lambda fixed: proc.Dense(weights=_weights(fixed, 3, 4), num_message_bits=8)),
    "Dense, spikes": Sample(lambda fixed: proc.Dense(weights=_weights(fixed, 3, 4)), spikes=True),
    "Dense, delay 0": Sample(
        lambda fixed: proc.Dense(weights=_weights(fixed, 3, 4), num_message_bits=8, delay=0)
    ),
    "Sparse": Sample(_sparse),
    "LearningDense": Sample(_learning(proc.LearningDense), spikes=True),
    "LearningSparse": Sample(_learning(proc.LearningSparse), spikes=True),
    "DelayLearningSparse": Sample(
        _learning(proc.DelayLearningSparse, delays=np.arange(12).reshape(3, 4) % 4), spikes=True
    ),
    "DelayDense": Sample(
        lambda fixed: proc.DelayDense(
            weights=_weights(fixed, 3, 4),
            delays=np.arange(12).reshape(3, 4) % 4,
            num_message_bits=8,
        )
    ),
    "DelaySparse": Sample(
        lambda fixed: proc.DelaySparse(
            weights=_weights(fixed, 3, 4),
            delays=np.arange(12).reshape(3, 4) % 4,
            num_message_bits=8,
        )
    ),
    "ConvInTime": Sample(
        lambda fixed: proc.ConvInTime(weights=_weights(fixed, 3, 3, 4), num_message_bits=8)
    ),
    "Conv": Sample(_convolution(proc.Conv, dilation=(1, 2))),
    "ConvTranspose": Sample(
        lambda fixed: proc.ConvTranspose(
            weight=_weights(fixed, 2, 3, 2, 4), input_shape=(3, 4, 2), stride=2, num_message_bits=8
        )
    ),
    "Delay": Sample(lambda fixed: proc.Delay(shape=SHAPE)),
    "DelayLine": Sample(lambda fixed: proc.DelayLine(shape=SHAPE, delays=[0, 1, 2, 5])),
    "MultiCompartment": Sample(_tree, FLOATING),
    "neuron_process": Sample(_own),
    "source.RingBuffer": Sample(
        lambda fixed: proc.io.source.RingBuffer(data=_weights(fixed, 3, 5))
    ),
    "source.Constant": Sample(
        lambda fixed: proc.io.source.Constant(shape=SHAPE, value=5 if fixed else 0.5, start=3)
    ),
    "source.Noise": Sample(lambda fixed: proc.io.source.Noise(shape=SHAPE, std=20.0, seed=1)),
    "source.Poisson": Sample(lambda fixed: proc.io.source.Poisson(shape=SHAPE, rate=0.5, seed=1)),
    "sink.RingBuffer": Sample(lambda fixed: proc.io.sink.RingBuffer(shape=SHAPE, buffer=30)),
    "Layer": Sample(Layer, spikes=True),
    "Net": Sample(Net),
}
