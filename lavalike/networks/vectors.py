"""Vectors and matrices of the library's processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from lavalike.arguments import arguments, integer
from lavalike.dynamics.weights import RANGE, SignMode
from lavalike.errors import VarError
from lavalike.networks.algebra import AlgebraicMatrix, AlgebraicVector, Network, NetworkList
from lavalike.proc.parameters import array
from lavalike.process import Var

_EXP = integer(0, 30)


class InputVec(AlgebraicVector):
    """Sends columns of an array, a step each, again and again.

    Example:
        >>> x = networks.InputVec([[1.0, 3.0], [2.0, 4.0]])
        >>> w, y = networks.GradedDense(np.array([[0.5, 0.25]])), networks.OutputVec((1,), buffer=3)
        >>> y << w @ x
        OutputVec(RingBuffer)
        >>> y.run(lv.RunSteps(3))
        >>> y.get_data()
        array([[0. , 1. , 2.5]], dtype=float32)

    Args:
        vec: (n, steps), or (steps,) of one number a step.
        exp: what is sent is ``vec * 2**exp``. Default 0.
    """

    @arguments(error=VarError, exp=_EXP)
    def __init__(self, vec: Any, exp: int = 0) -> None:
        data = np.atleast_2d(array("InputVec: vec", vec)) * 2**exp
        if not np.isfinite(data).all():
            raise VarError("InputVec: vec has NaN or infinite values")
        self.shape, self.exp = data.shape, exp
        self.main = self.inport_plug = self.library.io.source.RingBuffer(data=data)
        self.out_port = self.inport_plug.s_out

    def __lshift__(self, other: Any) -> Self:
        self._refuse("<<", other, "an InputVec only sends; a vector that receives")


class OutputVec(Network):
    """Keeps what it receives.

    Example:
        >>> x, y = networks.InputVec([[1.0, 3.0]]), networks.OutputVec((1,), buffer=2)
        >>> y << x
        OutputVec(RingBuffer)
        >>> y.run(lv.RunSteps(2))
        >>> y.get_data()
        array([[1., 3.]], dtype=float32)

    Args:
        shape: of one message.
        buffer: of so many steps; then it begins anew. Default 1.
    """

    @arguments(error=VarError, buffer=integer(1))
    def __init__(self, shape: int | Sequence[int], buffer: int = 1) -> None:
        sink = self.library.io.sink.RingBuffer(shape=shape, buffer=buffer)
        self.main = self.outport_plug = sink
        self.in_port = sink.a_in
        self.shape, self.buffer = self.in_port.shape, buffer

    def get_data(self) -> np.ndarray:
        """What was received, ``(*shape, buffer)``; whole numbers as the 24 bits of a message."""
        data = Var.get(self.outport_plug.data)
        return (data.astype(np.int32) << 8) >> 8 if data.dtype.kind in "iu" else data


class LIFVec(AlgebraicVector):
    """A :class:`lavalike.proc.LIF` as a vector.

    Example:
        >>> x, w = networks.InputVec([[1.0]]), networks.GradedDense(np.array([[1.0]]))
        >>> lif = networks.LIFVec(shape=(1,), du=1, dv=0, vth=1.5)
        >>> lif << w @ x
        LIFVec(LIF)
        >>> lif.run(lv.RunSteps(3))
        >>> lif.main.v.get()
        array([0.], dtype=float32)

    Args:
        kwargs: as of LIF.
    """

    def __init__(self, **kwargs: Any) -> None:
        self.main = self.library.LIF(**kwargs)
        self.in_port, self.out_port = self.main.a_in, self.main.s_out
        self.shape = self.out_port.shape


class GradedVec(AlgebraicVector):
    """Sends what it receives where that is beyond the threshold: :class:`lavalike.proc.GradedVec`.

    Example:
        >>> x, w = networks.InputVec([[20.0]]), networks.GradedDense(np.array([[1.0]]))
        >>> vec, y = networks.GradedVec((1,), vth=10), networks.OutputVec((1,), buffer=3)
        >>> vec << w @ x
        GradedVec(GradedVec)
        >>> y << vec
        OutputVec(RingBuffer)
        >>> y.run(lv.RunSteps(3))
        >>> y.get_data()
        array([[ 0., 20., 20.]], dtype=float32)

    Args:
        shape: of one message.
        vth: threshold. Default 10.
        exp: fractional bits of the messages, for a product of two. Default 0.
    """

    @arguments(error=VarError, exp=_EXP)
    def __init__(self, shape: int | Sequence[int], vth: Any = 10, exp: int = 0) -> None:
        self.main = self.library.GradedVec(shape=shape, vth=vth, exp=exp)
        self.in_port, self.out_port = self.main.a_in, self.main.s_out
        self.shape, self.vth, self.exp = self.out_port.shape, vth, exp

    def __mul__(self, other: Any) -> AlgebraicMatrix:
        """The element-wise product, ``(x * y) / 2**exp`` of x; one step on the way to it, one from
        it."""
        if not isinstance(other, GradedVec):
            self._refuse("*", other, "a GradedVec")
        product = self.room.ProductVec(shape=self.shape, vth=1, exp=self.exp)
        product << (self, other)
        return self.room.GradedSparse.identity(self.out_port.size) @ product


class ProductVec(AlgebraicVector):
    """The element-wise product of two: ``product << (W @ x, V @ y)``.
    :class:`lavalike.proc.ProdNeuron`.

    Example:
        >>> x, w = networks.InputVec([[20.0]]), networks.GradedDense(np.array([[1.0]]))
        >>> product = networks.ProductVec((1,))
        >>> product << (w @ x, networks.GradedDense(np.array([[0.5]])) @ x)
        ProductVec(ProdNeuron)
        >>> product.run(lv.RunSteps(3))

    Args:
        shape: of one message.
        vth: what is not beyond it is not sent. Default 10.
        exp: fractional bits of the messages, by which a product is shifted right in fixed_pt.
            Default 0.
    """

    @arguments(error=VarError, exp=_EXP)
    def __init__(self, shape: int | Sequence[int], vth: Any = 10, exp: int = 0) -> None:
        self.main = self.library.ProdNeuron(shape=shape, vth=vth, exp=exp)
        self.in_port, self.in_port2 = self.main.a_in1, self.main.a_in2
        self.out_port = self.main.s_out
        self.shape, self.vth, self.exp = self.out_port.shape, vth, exp

    def __lshift__(self, other: Any) -> Self:
        """Receive the two factors."""
        return self._pair(other, (self.in_port, self.in_port2))


class _Graded(AlgebraicMatrix):
    """Weights of 8 bits that count in ``2**-exp``."""

    process: str

    @arguments(error=VarError, exp=_EXP)
    def __init__(self, weights: Any, exp: int = 7) -> None:
        self.exp = exp
        kwargs = {"num_message_bits": 24, "num_weight_bits": 8, "weight_exp": -exp}
        self.main = getattr(self.library, self.process)(weights=self._whole(weights), **kwargs)
        self.in_port, self.out_port = self.main.s_in, self.main.a_out
        self.shape = (self.out_port.size, self.in_port.size)

    def _whole(self, weights: Any) -> Any:
        """``weights`` in their unit, rounded to what 8 bits hold; VarError beyond."""
        name = f"{type(self).__name__}: weights"
        sparse = hasattr(weights, "tocsr")
        scaled: Any = (weights if sparse else array(name, weights)) * 2.0**self.exp
        least, largest = float(scaled.min()), float(scaled.max())
        mixed = least < 0 < largest
        low, high = RANGE[SignMode.MIXED] if mixed else (-255, 255)
        if not (least >= low and largest <= high):
            reach = largest if not largest <= high else least
            raise VarError(
                f"{name}: {reach / 2**self.exp:g} is {reach:g} in 1/{2**self.exp}, and 8 bits hold "
                f"{low}..{high}; an exp smaller than {self.exp} holds it"
            )
        if not mixed:
            return scaled.rint() if sparse else np.round(scaled)
        half = scaled / 2  # of mixed signs they are even
        return (half.rint().minimum(127) if sparse else np.minimum(np.round(half), 127)) * 2


class GradedDense(_Graded):
    """A :class:`lavalike.proc.Dense` as a matrix.

    Example:
        >>> w = networks.GradedDense(np.array([[0.5, 0.26]]))
        >>> w.main.weights.get() / 2**7  # 0.26 becomes the nearest multiple
        array([[0.5      , 0.2578125]])

    Args:
        weights: (out, in), real; rounded to multiples of ``2**-exp``, of which 8 bits are held.
        exp: fractional bits. Default 7: weights from -255/128 to 255/128; of mixed signs from -2 to
            254/128, to which the next larger ones are rounded.

    VarError for weights beyond 8 bits.
    """

    process = "Dense"


class GradedSparse(_Graded):
    """A :class:`lavalike.proc.Sparse` as a matrix.

    Example:
        >>> w = networks.GradedSparse(np.array([[0.5, 0.0], [0.0, 0.25]]))
        >>> w.main.weights.get() / 2**7
        array([0.5 , 0.25])

    Args:
        weights: (out, in), an array or a SciPy sparse matrix; as of :class:`GradedDense`.
        exp: fractional bits. Default 7.
    """

    process = "Sparse"

    @classmethod
    def identity(cls, size: int) -> Self:
        """Hands a vector on, one step later."""
        made = cls.__new__(cls)
        made.exp = 7
        at = np.arange(size)
        made.main = cls.library.Sparse(
            rows=at,
            cols=at,
            data=2**made.exp,
            shape=(size, size),
            num_message_bits=24,
            weight_exp=-made.exp,
        )
        made.in_port, made.out_port = made.main.s_in, made.main.a_out
        made.shape = (size, size)
        return made


class NormalizeNet(AlgebraicVector):
    """Divides a vector by its length: the sum of squares goes through a neuron that sends the
    inverse of its root, and comes back as the factor.

    Example:
        >>> x, w = networks.InputVec([[300], [400]]), networks.GradedDense(np.eye(2))
        >>> norm = networks.NormalizeNet((2,))
        >>> norm << w @ x
        NormalizeNet(NormVecDelay)
        >>> norm.run(lv.RunSteps(6), lv.RunConfig(precision="fixed_pt"))

    Args:
        shape: of one message, (n,).
        exp: fixed_pt: fractional bits of sum and root; a length of 1 is sent as ``2**(1.5 * exp)``.
            Default 12.
        vth: what is not beyond it is not sent. Default 1. It is made for fixed_pt: in floating_pt
            nothing is longer than 1, and the factor is infinite until a vector has arrived.

    The factor comes back two steps after its vector, and meets the vector of the step before: it is
    right for vectors that stay for some steps.
    """

    @arguments(error=VarError, exp=integer(0, 20))
    def __init__(self, shape: int | Sequence[int], exp: int = 12, vth: Any = 1) -> None:
        library = self.library
        self.main = library.NormVecDelay(shape=shape, vth=vth, exp=exp)
        self.in_port, self.out_port = self.main.a_in1, self.main.s_out
        self.shape, self.fpb = self.out_port.shape, exp
        self.vfp_dense, self.fpv_dense = (
            library.Dense(weights=np.ones(s, int), num_message_bits=24)
            for s in ((1, self.out_port.size), (self.out_port.size, 1))
        )
        self.fp_inv_neuron = library.InvSqrt(shape=(1,), fp_base=exp)
        self.main.s2_out.flatten().connect(self.vfp_dense.s_in)
        self.vfp_dense.a_out.connect(self.fp_inv_neuron.a_in)
        self.fp_inv_neuron.s_out.connect(self.fpv_dense.s_in)
        self.fpv_dense.a_out.reshape(self.shape).connect(self.main.a_in2)


class ResFireVec(AlgebraicVector):
    """Resonators as a vector: ``vec << W @ x``, or ``vec << (W @ x, V @ y)`` with an input for each
    of the two components. :class:`lavalike.proc.RFZero`.

    Example:
        >>> x, w = networks.InputVec([[1.0] + [0.0] * 99]), networks.GradedDense(np.array([[1.0]]))
        >>> resonators = networks.ResFireVec((1,), freqs=20, uth=0.1)
        >>> resonators << w @ x
        ResFireVec(RFZero)
        >>> resonators.run(lv.RunSteps(60))

    Args:
        shape: of one message. Default (1,).
        freqs: in Hz. Default 10.
        decay_tau: time constants in seconds. Default 1.
        dt: seconds of a step. Default 0.001.
        uth: threshold. Default 10.
    """

    @arguments(error=VarError)
    def __init__(
        self,
        shape: int | Sequence[int] = (1,),
        freqs: Any = 10.0,
        decay_tau: Any = 1.0,
        dt: Any = 0.001,
        uth: Any = 10,
    ) -> None:
        kwargs = {"freqs": freqs, "decay_tau": decay_tau, "dt": dt, "uth": uth}
        self.main = self.library.RFZero(shape=shape, **kwargs)
        self.in_port, self.in_port2 = self.main.u_in, self.main.v_in
        self.out_port = self.main.s_out
        self.shape, self.uth, self.dt = self.out_port.shape, uth, dt
        self.freqs, self.decay_tau = np.asarray(freqs), np.asarray(decay_tau)

    def __lshift__(self, other: Any) -> Self:
        """Receive one network, or one for each of the two components."""
        if isinstance(other, list | tuple) and not isinstance(other, NetworkList):
            return self._pair(other, (self.in_port, self.in_port2))
        return super().__lshift__(other)
