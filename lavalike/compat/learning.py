"""Lava's Python models of neurons and connections that a program's own learning models begin with.

Their arithmetic is lavalike's: a neuron's equations are those of :mod:`lavalike.dynamics.lif`,
learning is the reference by whole arrays that the compiled kernels are held to
(:mod:`lavalike.learning.reference`). The library's own processes are computed by kernels.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from lavalike.compat.pymodel import LavaPyType, PyInPort, PyLoihiProcessModel, PyOutPort
from lavalike.compat.rules import TARGETS, GradedSpikeCfg
from lavalike.dynamics import lif
from lavalike.dynamics.dynamics import bind
from lavalike.dynamics.weights import RANGE, SignMode, ends, fixed_weights
from lavalike.learning.reference import Learning
from lavalike.learning.rule import TRACES
from lavalike.proc.learning import GRADED, TAGS

LARGEST = 2**lif.STATE_BITS
FIXED: dict[str, Any] = {
    "leak": lambda x, k: np.sign(x) * (np.abs(np.int64(x) * k) >> 12),
    "wrap": lambda x: np.where(
        x > LARGEST, x - 2 * LARGEST, np.where(x <= -LARGEST, x + 2 * LARGEST, x)
    ),
    "clip": lambda x: np.clip(x, 1 - LARGEST, LARGEST - 1),
}
fixed_current, fixed_membrane = bind(lif.current, FIXED), bind(lif.membrane, FIXED)

_IN, _OUT = PyInPort.VEC_DENSE, PyOutPort.VEC_DENSE


class _Lif(PyLoihiProcessModel):
    s_out_buff: Any

    def spiking_activation(self) -> Any:
        """Which neurons spike; a program's model says it."""
        raise NotImplementedError(
            f"{type(self).__name__}: spiking_activation(self) says which neurons spike"
        )

    def subthr_dynamics(self, activation_in: Any) -> None:
        """Current and voltage of a step."""
        raise NotImplementedError

    def reset_voltage(self, spike_vector: Any) -> None:
        """What a spike leaves of the voltage."""
        self.v: Any
        self.v[spike_vector] = 0

    def run_spk(self) -> None:
        self.subthr_dynamics(activation_in=self.a_in.recv())
        self.s_out_buff = self.spiking_activation()
        self.reset_voltage(spike_vector=self.s_out_buff)
        self.s_out.send(self.s_out_buff)


class AbstractPyLifModelFloat(_Lif):
    """A LIF in floating point; a subclass says ``spiking_activation``."""

    a_in = LavaPyType(_IN, float)
    s_out: Any = None
    u: Any = LavaPyType(np.ndarray, float)
    v: Any = LavaPyType(np.ndarray, float)
    bias_mant: Any = LavaPyType(np.ndarray, float)
    bias_exp: Any = LavaPyType(np.ndarray, float)
    du: Any = LavaPyType(float, float)
    dv: Any = LavaPyType(float, float)

    def subthr_dynamics(self, activation_in: Any) -> None:
        self.u[:] = lif.current(activation_in, self.u, 1 - self.du, 1)
        self.v[:] = lif.membrane(self.u, self.v, 1 - self.dv, self.bias_mant)


class AbstractPyLifModelFixed(_Lif):
    """A LIF in Loihi's integers; a subclass says ``spiking_activation`` and ``scale_threshold``."""

    a_in = LavaPyType(_IN, np.int16)
    s_out: Any = None
    u: Any = LavaPyType(np.ndarray, np.int32)
    v: Any = LavaPyType(np.ndarray, np.int32)
    du: Any = LavaPyType(int, np.uint16)
    dv: Any = LavaPyType(int, np.uint16)
    bias_mant: Any = LavaPyType(np.ndarray, np.int16)
    bias_exp: Any = LavaPyType(np.ndarray, np.int16)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.ds_offset, self.dm_offset = 1, 0
        self.isbiasscaled = self.isthrscaled = False
        self.effective_bias: Any = 0
        self.uv_bitwidth, self.max_uv_val = lif.STATE_BITS + 1, LARGEST
        self.decay_shift, self.decay_unity = 12, 1 << 12
        self.vth_shift = self.act_shift = 6

    def scale_bias(self) -> None:
        """``effective_bias`` from mantissa and exponent."""
        mant, exp = self.bias_mant.astype(np.int32), np.asarray(self.bias_exp, np.int32)
        self.effective_bias = np.where(
            exp >= 0, mant << np.maximum(exp, 0), mant >> np.maximum(-exp, 0)
        )
        self.isbiasscaled = True

    def scale_threshold(self) -> None:
        """The threshold in the unit of the voltage; a program's model says it."""
        raise NotImplementedError(
            f"{type(self).__name__}: scale_threshold(self) scales the threshold once"
        )

    def subthr_dynamics(self, activation_in: Any) -> None:
        keep_u = self.decay_unity - (self.du + self.ds_offset)
        keep_v = self.decay_unity - (self.dv + self.dm_offset)
        gain = 1 << self.act_shift
        current = fixed_current(np.int64(activation_in), self.u, keep_u, gain)
        self.u[:] = FIXED["wrap"](current)
        self.v[:] = fixed_membrane(self.u, self.v, keep_v, self.effective_bias)

    def run_spk(self) -> None:
        self.scale_bias()
        if not self.isthrscaled:
            self.scale_threshold()
        super().run_spk()


class LearningNeuronModel(PyLoihiProcessModel):
    """A neuron that sends traces; a subclass says ``run_spk``."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._shape = proc_params["shape"]
        self._learning_rule = proc_params["learning_rule"]


class LearningNeuronModelFloat(LearningNeuronModel):
    """In floating point."""

    a_third_factor_in: Any = LavaPyType(_IN, float)
    s_out_bap: Any = LavaPyType(_OUT, bool)
    s_out_y1: Any = LavaPyType(_OUT, float)
    s_out_y2: Any = LavaPyType(_OUT, float)
    s_out_y3: Any = LavaPyType(_OUT, float)
    y1: Any = LavaPyType(np.ndarray, float)
    y2: Any = LavaPyType(np.ndarray, float)
    y3: Any = LavaPyType(np.ndarray, float)


class LearningNeuronModelFixed(LearningNeuronModel):
    """In integers."""

    a_third_factor_in: Any = LavaPyType(_IN, np.int32)
    s_out_bap: Any = LavaPyType(_OUT, bool)
    s_out_y1: Any = LavaPyType(_OUT, np.int32)
    s_out_y2: Any = LavaPyType(_OUT, np.int32)
    s_out_y3: Any = LavaPyType(_OUT, np.int32)
    y1: Any = LavaPyType(np.ndarray, np.int32)
    y2: Any = LavaPyType(np.ndarray, np.int32)
    y3: Any = LavaPyType(np.ndarray, np.int32)


# -- connections -----------------------------------------------------------------------------------


class AbstractLearningConnection:
    """Base of models of connections that learn."""


class PyLearningConnection(AbstractLearningConnection, PyLoihiProcessModel):
    """A connection that learns: ``recv_traces(s_in)`` in ``run_spk`` takes a step's spikes and
    traces, ``run_lrn`` learns at the end of an epoch, into the Vars of
    :class:`LearningConnectionProcess` and ``weights``."""

    _fixed = False
    s_in_bap: Any = LavaPyType(_IN, bool)
    x0: Any = LavaPyType(np.ndarray, bool)
    tx: Any = LavaPyType(np.ndarray, int)
    y0: Any = LavaPyType(np.ndarray, bool)
    ty: Any = LavaPyType(np.ndarray, int)
    weights: Any

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self._learning_rule = copy.copy(proc_params["learning_rule"])  # its own: Vars change it
        self._shape = proc_params["shape"]
        self._graded_spike_cfg = proc_params.get(
            "graded_spike_cfg", GradedSpikeCfg.USE_REGULAR_IMPULSE
        )
        self.sign_mode = SignMode(proc_params.get("sign_mode", SignMode.MIXED))
        self._learning: Learning | None = None

    @property
    def _kind(self) -> type:
        return np.int64 if self._fixed else np.float64

    def _engine(self) -> Learning:
        """The reference, with traces as the Vars are by now."""
        if self._learning is None:
            low, high = RANGE[self.sign_mode] if self._fixed else ends(self.sign_mode)
            self._learning = Learning(
                self._learning_rule.core, np.zeros(self._shape), fixed=self._fixed, low=low, high=high,
                graded=GRADED[self._graded_spike_cfg],
            )  # fmt: skip
        learning = self._learning
        learning.traces = {n: np.array(getattr(self, n), self._kind) for n in TRACES}
        learning.tx, learning.ty = np.array(self.tx, np.int64), np.array(self.ty, np.int64)
        return learning

    def _taken(self, learning: Learning) -> None:
        """Let the Vars of traces be as the reference has them."""
        for name in TRACES:
            setattr(self, name, learning.traces[name])
        self.tx, self.ty = learning.tx, learning.ty
        self.x0, self.y0 = learning.tx > 0, learning.ty > 0

    def on_var_update(self) -> None:
        rule = self._learning_rule
        for name in TRACES:
            for key in ("tau", "impulse"):
                setattr(rule, f"{name}_{key}", float(np.ravel(getattr(self, f"{name}_{key}"))[0]))
        for target in TARGETS:
            setattr(rule, f"{target}_str", str(np.ravel(getattr(self, target))[0]) or None)
        if self._learning is not None:
            self._learning.become(rule.core)

    def recv_traces(self, s_in: Any) -> None:
        """Take what arrived on ``s_in`` and what the outputs send."""
        received = self._learning_rule.received
        bap = self.s_in_bap.recv().astype(bool)
        y = {n: getattr(self, f"s_in_{n}").recv() for n in TRACES[2:]} if received else {}
        learning = self._engine()
        learning.step = self.time_step - 1
        learning.hear(np.asarray(s_in), bap, **y)
        self._taken(learning)

    def lrn_guard(self) -> bool:
        return self.time_step % self._learning_rule.t_epoch == 0

    def run_lrn(self) -> None:
        learning = self._engine()
        learning.step = self.time_step
        learning.synapses = {
            v: np.asarray(getattr(self, n)).astype(self._kind) for v, n in _SYNAPTIC.items()
        }
        learning.learn()
        for variable, name in _SYNAPTIC.items():
            setattr(self, name, learning.synapses[variable])
        self._taken(learning)


_SYNAPTIC = {"w": "weights", **TAGS}


class LearningConnectionModelFloat(PyLearningConnection):
    """In floating point."""

    s_in_y1, s_in_y2, s_in_y3 = (LavaPyType(_IN, float) for _ in range(3))
    x1, x2, y1, y2, y3, tag_1, tag_2 = (LavaPyType(np.ndarray, float) for _ in range(7))


class LearningConnectionModelBitApproximate(PyLearningConnection):
    """In Loihi's integers with stochastic rounding."""

    _fixed = True
    s_in_y1, s_in_y2, s_in_y3 = (LavaPyType(_IN, np.int32) for _ in range(3))
    x1, x2, y1, y2, y3, tag_1, tag_2 = (LavaPyType(np.ndarray, int) for _ in range(7))


class AbstractPyDenseModelFloat(PyLoihiProcessModel):
    """A matrix of weights in floating point: sends what it accumulated in the step before."""

    s_in: Any = LavaPyType(_IN, float)
    a_out: Any = LavaPyType(_OUT, float)
    a_buff: Any = LavaPyType(np.ndarray, float)
    weights: Any = LavaPyType(np.ndarray, float)
    num_message_bits: Any = LavaPyType(np.ndarray, int)

    def _heard(self) -> Any:
        self.a_out.send(self.a_buff)
        s_in = self.s_in.recv()
        return s_in if np.ravel(self.num_message_bits)[0] > 0 else s_in.astype(bool)

    def run_spk(self) -> None:
        s_in = self._heard()
        self.a_buff = self.weights @ s_in
        if isinstance(self, PyLearningConnection):
            self.recv_traces(s_in)


class AbstractPyDenseModelBitAcc(AbstractPyDenseModelFloat):
    """The same in integers."""

    s_in: Any = LavaPyType(_IN, int)
    a_out: Any = LavaPyType(_OUT, np.int32)
    a_buff: Any = LavaPyType(np.ndarray, np.int32)
    weights: Any = LavaPyType(np.ndarray, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.num_weight_bits = proc_params.get("num_weight_bits", 8)
        self.weight_exp = proc_params.get("weight_exp", 0)
        self.weights_set = False

    def run_spk(self) -> None:
        if not self.weights_set:
            mode = SignMode(self.proc_params.get("sign_mode", SignMode.MIXED))
            whole = fixed_weights(self.weights, self.num_weight_bits, mode)
            self.weights = whole.astype(np.int64)
            self.weights_set = True
        s_in = self._heard()
        total, exp = self.weights.astype(np.int64) @ s_in.astype(np.int64), self.weight_exp
        self.a_buff = total << exp if exp > 0 else total >> -exp
        if isinstance(self, PyLearningConnection):
            self.recv_traces(s_in)
