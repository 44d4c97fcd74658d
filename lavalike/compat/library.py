"""The library's processes under Lava's names, and Lava's models of them as stand-ins: lavalike's
own models compute them."""

from __future__ import annotations

import enum
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from lavalike import proc
from lavalike.compat.model import AbstractPyProcessModel, register, stand_in
from lavalike.compat.process import Library, LogConfig
from lavalike.compat.refs import RefPort
from lavalike.compat.resources import CPU
from lavalike.compat.var import Var
from lavalike.dynamics.weights import RANGE, SignMode, sign_mode_of
from lavalike.errors import InputTypeError, VarError
from lavalike.proc.io import sink, source
from lavalike.proc.monitor import Monitor as CoreMonitor
from lavalike.process import InPort, Port
from lavalike.process.ports import as_shape
from lavalike.process.var import Var as CoreVar


def models(process: Any, floating: str, fixed: str, *tags: str) -> None:
    """Put Lava's models of ``process`` into its module, by their names, "" where there is none.
    ``tags``: further ones of the fixed_pt one."""
    for name, precision in ((floating, "floating_pt"), (fixed, "fixed_pt")):
        if name:
            made = stand_in(name, process, precision, [CPU])
            made.tags = [*made.tags, *(tags if precision == "fixed_pt" else ())]
            register(process, made)
            setattr(sys.modules[process.__module__], name, made)


class Chosen(Var):
    """What is chosen when the process is made."""

    def set(self, value: Any, idx: Any = None) -> None:
        raise VarError(f"{self.path}: is chosen when the process is made, and not set later")


def chosen(process: Any, name: str, value: Any) -> None:
    """Give ``process`` a Var of what it was made with, beside those that its model has."""
    var = Chosen(np.shape(value) or (1,), 0 if value is None else value, name=name)
    var.__dict__.update(raw=None, given=value)
    var.process = process
    process.__dict__[name] = var


class Fitted(Library):
    """What is cut to what fixed_pt holds where it runs in that, with a warning, as Lava cuts it."""

    fitted: str  # the Var

    def fit(self) -> None:
        """Cut the Var; it has not been compiled."""
        raise NotImplementedError

    def _cut(self, var: CoreVar, cut: np.ndarray, what: str) -> None:
        if not np.array_equal(cut, var.value):
            warnings.warn(
                f"{var.path}: fixed_pt holds {what}; {var.name} are cut to that, by at most "
                f"{np.abs(cut - var.value).max():g}",
                stacklevel=2,
            )
            var.value = cut


class Leaking(Fitted):
    """A LIF, whose du may be 4096 in fixed_pt, which lavalike's does not take."""

    fitted = "du"
    du: Any

    def fit(self) -> None:
        """Let du be 4095 where it is 4096, with a warning."""
        self.du.settle()
        if (self.du.value == 4096).any():
            warnings.warn(
                f"{self.du.path}: 4096 is taken for 4095: all of the current is lost from step to step; Lava goes on with -1/4096 of it",
                stacklevel=2,
            )
            self.du.value = np.minimum(self.du.value, 4095)


class LIF(Leaking, proc.LIF):
    __doc__ = proc.LIF.__doc__


class LIFReset(Leaking, proc.LIFReset):
    __doc__ = proc.LIFReset.__doc__


class LIFRefractory(Library, proc.LIFRefractory):
    __doc__ = proc.LIFRefractory.__doc__


class TernaryLIF(Leaking, proc.TernaryLIF):
    __doc__ = proc.TernaryLIF.__doc__

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if (self.vth_lo.value > self.vth_hi.value).any():
            raise VarError(f"{self.path}: vth_lo is at most vth_hi")


class Sigma(Library, proc.Sigma):
    __doc__ = proc.Sigma.__doc__


class Delta(Library, proc.Delta):
    __doc__ = proc.Delta.__doc__

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chosen(self, "cum_error", bool(self.proc_params["cum_error"]))


class SigmaDelta(Delta, proc.SigmaDelta):
    __doc__ = proc.SigmaDelta.__doc__


class Decay(Var):
    """A factor that follows from period and alpha."""

    @property  # type: ignore[misc]  # what it is made of is not changed
    def init(self) -> Any:
        owner: Any = self.process
        return self._of(owner.period.init, owner.alpha.init)

    def _of(self, period: Any, alpha: Any) -> Any:
        turn = np.cos if self.name == "cos_decay" else np.sin
        return (1 - np.asarray(alpha)) * turn(2 * np.pi / np.asarray(period))

    def get(self, idx: Any = None) -> Any:
        """What follows from period and alpha as they are."""
        owner: Any = self.process
        value = self._of(owner.period.get(), owner.alpha.get())
        return value if idx is None else np.asarray(value)[idx]


class RF(Library, proc.RF):
    __doc__ = proc.RF.__doc__

    def __init__(
        self,
        shape: Any,
        period: Any,
        alpha: Any,
        state_exp: int = 0,
        decay_bits: int = 0,
        vth: Any = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            shape=shape,
            period=period,
            alpha=alpha,
            state_exp=state_exp,
            decay_bits=decay_bits,
            vth=vth,
            **kwargs,
        )
        for factor in (self.cos_decay, self.sin_decay):
            if not factor.value.any():
                factor.__class__ = Decay


class RF_IZ(RF, proc.RF_IZ):
    __doc__ = proc.RF_IZ.__doc__


class Weighted(Fitted):
    """A connection: its weights are cut to what Loihi holds."""

    fitted = "weights"
    weights: Any
    weight_exp: Any
    sign_mode: SignMode

    def __init__(self, *args: Any, num_message_bits: int = 0, **kwargs: Any) -> None:
        whole = isinstance(num_message_bits, int | np.integer)
        bits = min(int(num_message_bits), 32) if whole else num_message_bits  # Lava takes any
        super().__init__(*args, num_message_bits=bits, **kwargs)
        given: Any = self.proc_params
        given.overwrite("num_message_bits", num_message_bits)

    def _settle(self) -> None:
        """Also a ``weight_exp`` that was changed in ``proc_params``, where Lava's models look for
        it."""
        given, made = self.proc_params.get("weight_exp", 0), self._made.kwargs.get("weight_exp", 0)
        if given != made and not self.weights.compiled:
            var: CoreVar = self.weight_exp
            var.value = np.full(var.shape, given)
        super()._settle()

    def fit(self) -> None:
        """Cut the weights: towards zero to whole numbers, and into the range of their signs."""
        self.weights.settle()
        var: CoreVar = self.weights
        mode = sign_mode_of(var.value) if self.sign_mode is SignMode.NULL else self.sign_mode
        cut = np.clip(np.trunc(var.value), *RANGE[mode])
        self._cut(var, cut, f"whole numbers in {RANGE[mode]}")


class AbstractPyDelayDenseModel(AbstractPyProcessModel):
    """Base of Lava's models of connections with delays, of which lavalike computes its own way."""

    @staticmethod
    def get_delay_wgts_mat(weights: Any, delays: Any, max_delay: int) -> Any:
        """Weights (out, in) as (out * (max_delay + 1), in): rows of the synapses of delay 0, then
        of delay 1, and so on."""
        given, lags = (
            x.toarray() if hasattr(x, "toarray") else np.asarray(x) for x in (weights, delays)
        )
        return np.vstack([np.where(lags == k, given, 0) for k in range(max_delay + 1)])


class AbstractPyDelaySparseModel(AbstractPyDelayDenseModel):
    """The same of sparse matrices."""


class Dense(Weighted, proc.Dense):
    __doc__ = proc.Dense.__doc__


class DelayDense(Weighted, proc.DelayDense):
    __doc__ = proc.DelayDense.__doc__


class SparseVar(Var):
    """The weights of a Sparse: a scipy.sparse.csr_matrix outside, the stored ones in their order
    inside."""

    def _matrix(self, data: np.ndarray) -> Any:
        from scipy.sparse import coo_matrix

        owner: Any = self.process
        shape = (owner.a_out.size, owner.s_in.size)
        return coo_matrix((data, (owner.rows, owner.cols)), shape=shape).tocsr()

    @property  # type: ignore[misc]  # what it is made of is not changed
    def init(self) -> Any:
        return self._matrix(self.value)

    def get(self, idx: Any = None) -> Any:
        """The matrix (out, in), float64."""
        matrix = self._matrix(self.value if self.binding is None else self.binding.read(self))
        matrix = matrix.astype(np.float64)
        return matrix if idx is None else matrix[idx]

    def set(self, value: Any, idx: Any = None) -> None:
        """Replace the stored weights by those of ``value``, a matrix with the same places."""
        if idx is not None or not hasattr(value, "tocsr"):
            super().set(value, idx)
            return
        owner: Any = self.process
        given = value.tocsr()
        old = self._matrix(np.ones(len(owner.rows)))
        if given.shape != old.shape or (given.astype(bool) != old.astype(bool)).nnz:
            raise VarError(
                f"{self.path}: a matrix {old.shape} with the same {old.nnz} places is expected, got {given.shape} with {given.nnz}"
            )
        super().set(np.asarray(given[owner.rows, owner.cols]).reshape(-1))


class Stored(Weighted):
    """One whose synapses are listed; the Vars ``listed`` have a value for each."""

    listed: tuple[str, ...] = ("weights",)

    def __setattr__(self, key: str, value: Any) -> None:
        super().__setattr__(key, value)
        if key in self.listed and type(value) is Var:
            value.__class__ = SparseVar


class Sparse(Stored, proc.Sparse):
    __doc__ = proc.Sparse.__doc__


class DelaySparse(Stored, proc.DelaySparse):
    __doc__ = proc.DelaySparse.__doc__


class _Pair(tuple[int, int]):
    """Two numbers that a convolution was made with, also as ``init``."""

    @property
    def init(self) -> tuple[int, ...]:
        return tuple(self)


class _One(int):
    """A number that a convolution was made with, also as ``init``."""

    @property
    def init(self) -> int:
        return int(self)


class Conv(Library, proc.Conv):
    __doc__ = proc.Conv.__doc__

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.padding, self.stride, self.dilation = map(
            _Pair, (self.padding, self.stride, self.dilation)
        )
        self.groups = _One(self.groups)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.a_out.shape

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.s_in.shape


class Source(Fitted, source.RingBuffer):
    __doc__ = source.RingBuffer.__doc__
    fitted = "data"

    def fit(self) -> None:
        """Cut the data towards zero, to whole numbers."""
        data: Any = self.data
        data.settle()
        self._cut(data, np.trunc(data.value), "whole numbers")


class Sink(Library, sink.RingBuffer):
    __doc__ = sink.RingBuffer.__doc__

    def __init__(self, *, shape: Sequence[int], buffer: int, **kwargs: Any) -> None:
        super().__init__(shape=shape, buffer=buffer, **kwargs)
        self.shape = shape


class Monitor(Library, CoreMonitor):
    __doc__ = CoreMonitor.__doc__

    def probe(self, target: Any, num_steps: int) -> None:
        """Record ``target``, a Var or an OutPort, for at most ``num_steps`` steps."""
        if isinstance(target, InPort) or not isinstance(target, Port | CoreVar):
            raise InputTypeError(
                f"{self.path}: probe takes a Var or an OutPort, got {target!r:.60}; an InPort's sum is that of the ports it hears"
            )
        super().probe(target, num_steps)
        reads = RefPort(target.shape)  # as Lava has it; what is recorded goes past it
        setattr(self, f"ref_port_{len(self._targets) - 1}", reads)

    def _observed(self) -> Any:
        """A process that is recorded, which runs in its place: a Monitor is connected to it by that
        alone."""
        for probe in self._targets:
            if probe.target.process is not None:
                return probe.target.process
        return super()

    def compile(self, *args: Any, **kwargs: Any) -> Any:
        return self._observed().compile(*args, **kwargs)

    def create_runtime(self, *args: Any, **kwargs: Any) -> None:
        self._observed().create_runtime(*args, **kwargs)

    def run(self, *args: Any, **kwargs: Any) -> None:
        self._observed().run(*args, **kwargs)

    def get_data(self) -> dict[str, dict[str, np.ndarray]]:
        """``{name of a process: {name of a Var or port: (steps, *shape)}}``."""
        out: dict[str, dict[str, Any]] = {}
        for probe in self._targets:
            owner: Any = probe.target.process
            out.setdefault(owner.name, {})[probe.target.name] = probe.data()
        return out

    def plot(self, ax: Any, target: Any, *args: Any, **kwargs: Any) -> None:
        """Draw what ``target`` was over the steps on ``ax``, matplotlib's."""
        data = self.get_data()[target.process.name][target.name]
        ax.plot(data.reshape(len(data), -1), *args, **kwargs)


class Compression(enum.IntEnum):
    """How a DeltaEncoder packs messages on their way to a chip; they are the same numbers."""

    DENSE = 0
    SPARSE = 1
    PACKED_4 = 2
    DELTA_SPARSE_8 = 3


class DeltaEncoder(Library, proc.DeltaEncoder):
    __doc__ = proc.DeltaEncoder.__doc__

    def __init__(
        self, *, compression: Compression = Compression.DENSE, num_bits: Any = None, **kwargs: Any
    ) -> None:
        compression = Compression(compression)
        bits = {Compression.PACKED_4: 4, Compression.DELTA_SPARSE_8: 8}.get(compression, num_bits)
        super().__init__(num_bits=bits, **kwargs)
        self.compression = compression


def _library(core: type) -> Any:
    return type(core.__name__, (Library, core), {"__doc__": core.__doc__, "__module__": __name__})


ATRLIF = _library(proc.ATRLIF)
RFZero = _library(proc.RFZero)
GradedVec, GradedReluVec = _library(proc.GradedVec), _library(proc.GradedReluVec)
ProdNeuron, NormVecDelay = _library(proc.ProdNeuron), _library(proc.NormVecDelay)
InvSqrt, ConvInTime = _library(proc.InvSqrt), _library(proc.ConvInTime)
Receiver = _library(proc.Receiver)


def _each(value: Any, shape: tuple[int, ...]) -> Any:
    """One a neuron, as Vars are in Lava; what does not fit as it is, for the process to refuse."""
    try:
        return np.broadcast_to(value, shape)
    except ValueError:
        return value


class Spiker(Library, proc.Spiker):
    __doc__ = proc.Spiker.__doc__

    def __init__(
        self,
        *,
        shape: Any = (1,),
        period: Any = 10,
        payload: Any = 1,
        name: str | None = None,
        log_config: LogConfig | None = None,
    ) -> None:
        size = as_shape(shape, "Spiker")
        super().__init__(
            shape=size,
            period=_each(period, size),
            payload=_each(payload, size),
            name=name,
            log_config=log_config,
        )

    @property
    def rate(self) -> CoreVar:
        return self.period


class S4d(Library, proc.S4d):
    __doc__ = proc.S4d.__doc__

    def __init__(self, *args: Any, s4_exp: int = 0, inp_exp: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        chosen(self, "s4_exp", s4_exp)  # of chips
        chosen(self, "inp_exp", inp_exp)


class SigmaS4dDelta(Library, proc.SigmaS4dDelta):
    __doc__ = proc.SigmaS4dDelta.__doc__

    def __init__(self, *, vth: Any, state_exp: int = 0, s4_exp: int = 0, **kwargs: Any) -> None:
        super().__init__(vth=vth * 2**state_exp, **kwargs)
        for name, value in (("state_exp", state_exp), ("s4_exp", s4_exp), ("spike_exp", 0)):
            chosen(self, name, value)
        chosen(self, "cum_error", False)
        chosen(self, "bias", 0)


class SigmaS4dDeltaLayer(Library, proc.SigmaS4dDeltaLayer):
    __doc__ = proc.SigmaS4dDeltaLayer.__doc__

    def __init__(
        self, *, vth: Any, state_exp: int = 0, s4_exp: int = 0, d_states: int = 1, **kwargs: Any
    ) -> None:
        super().__init__(vth=vth * 2**state_exp, d_states=d_states, **kwargs)
        chosen(self, "state_exp", state_exp)
        chosen(self, "S4_exp", s4_exp)
        chosen(
            self, "conn_weights", np.kron(np.eye(int(np.prod(kwargs["shape"]))), np.ones(d_states))
        )


models(LIF, "PyLifModelFloat", "PyLifModelBitAcc")
models(LIFReset, "PyLifResetModelFloat", "PyLifResetModelBitAcc")
models(LIFRefractory, "PyLifRefractoryModelFloat", "")
models(TernaryLIF, "PyTernLifModelFloat", "PyTernLifModelFixed")
models(Sigma, "PySigmaModelFloat", "PySigmaModelFixed")
models(Delta, "PyDeltaModelFloat", "PyDeltaModelFixed")
models(SigmaDelta, "PySigmaDeltaModelFloat", "PySigmaDeltaModelFixed")
models(RF, "PyRFModelFloat", "PyRFModelFixed")
models(RF_IZ, "PyRF_IZModelFloat", "PyRF_IZModelFixed")
models(Dense, "PyDenseModelFloat", "PyDenseModelBitAcc")
models(DelayDense, "PyDelayDenseModelFloat", "PyDelayDenseModelBitAcc")
models(Sparse, "PySparseModelFloat", "PySparseModelBitAcc")
models(DelaySparse, "PyDelaySparseModelFloat", "PyDelaySparseModelBitAcc")
models(Conv, "PyConvModelFloat", "PyConvModelFixed")
models(Source, "PySendModelFloat", "PySendModelFixed")
models(Sink, "PyReceiveModelFloat", "PyReceiveModelFixed")
models(Monitor, "PyMonitorModel", "")
models(ATRLIF, "PyATRLIFModelFloat", "PyATRLIFModelFixed")
models(RFZero, "", "PyRFZeroModelFixed")
models(GradedVec, "", "PyGradedVecModelFixed")
models(GradedReluVec, "", "PyGradedReluVecModelFixed")
models(ProdNeuron, "", "PyProdNeuronModelFixed")
models(NormVecDelay, "", "NormVecDelayModel")
models(InvSqrt, "InvSqrtModelFloat", "InvSqrtModelFP")
models(ConvInTime, "PyConvInTimeFloat", "PyConvInTimeFixed")
models(S4d, "S4dModel", "")
models(SigmaS4dDelta, "PySigmaS4dDeltaModelFloat", "")
models(SigmaS4dDeltaLayer, "SubDenseLayerModel", "")
models(DeltaEncoder, "PyDeltaEncoderModelDense", "PyDeltaEncoderModelSparse")
models(Spiker, "", "SpikerModel")
models(Receiver, "", "ReceiverModel")
