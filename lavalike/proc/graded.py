"""Neurons that send numbers: sums, products and what a vector is normalised with. Equations and
what their parameters mean: :mod:`lavalike.dynamics.graded`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavalike.dynamics import graded
from lavalike.proc.neuron import Neuron, declared
from lavalike.process import InPort, OutPort, Var


class GradedVec(Neuron):
    """Sends the sum of its inputs where it is beyond the threshold:
    ``s_out = a_in where |a_in| > vth, else 0``. Nothing is kept: v is added to the next input, and
    0 after every step.

    Example:
        >>> vec = proc.GradedVec(shape=(3,), vth=1)
        >>> lv.simulate(vec, {"a_in": np.array([[0.5], [2.0], [-3.0]])})["s_out"].T
        array([[ 0.,  2., -3.]], dtype=float32)
    """

    dynamics = graded.GRADED_VEC
    a_in: InPort
    s_out: OutPort
    v: Var
    vth: Var
    exp: Var

    @declared(graded.GRADED_VEC)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        v: Any = 0,
        vth: Any = 1,
        exp: int = 0,
        name: str | None = None,
    ) -> None: ...


class GradedReluVec(GradedVec):
    """Sends the sum of its inputs where it is above the threshold:
    ``s_out = a_in where a_in > vth, else 0``. Nothing is kept.

    Example:
        >>> vec = proc.GradedReluVec(shape=(3,), vth=1)
        >>> lv.simulate(vec, {"a_in": np.array([[0.5], [2.0], [-3.0]])})["s_out"].T
        array([[0., 2., 0.]], dtype=float32)
    """

    dynamics = graded.GRADED_RELU_VEC


class ProdNeuron(Neuron):
    """Sends the product of its two inputs where it is beyond the threshold:
    ``p = a_in1 a_in2; s_out = p where |p| > vth, else 0``. v stays as it is.

    Example:
        >>> product = proc.ProdNeuron(shape=(2,), vth=1)
        >>> x, y = np.array([[2.0], [3.0]]), np.array([[4.0], [0.1]])
        >>> lv.simulate(product, {"a_in1": x, "a_in2": y})["s_out"].T
        array([[8., 0.]], dtype=float32)
    """

    dynamics = graded.PROD_NEURON
    a_in1: InPort
    a_in2: InPort
    s_out: OutPort
    v: Var
    vth: Var
    exp: Var

    @declared(graded.PROD_NEURON)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        v: Any = 0,
        vth: Any = 1,
        exp: int = 0,
        name: str | None = None,
    ) -> None: ...


class NormVecDelay(Neuron):
    """A vector on its way to be normalised: ``s2_out[t] = a_in1[t]^2`` goes to who knows the norm,
    and what that answers scales the input of the step before:
    ``p = a_in1[t-1] a_in2[t]; s_out = p where |p| > vth, else 0``. v is the input of the last step,
    v2 of the one before.

    Example:
        >>> vec = proc.NormVecDelay(shape=(2,), vth=0.1)
        >>> x = np.array([[3.0, 3.0], [4.0, 4.0]])
        >>> rec = lv.simulate(vec, {"a_in1": x, "a_in2": np.full((2, 2), 0.2)})
        >>> rec["s2_out"][:, 0], rec["s_out"][:, 1]
        (array([ 9., 16.], dtype=float32), array([0.6, 0.8], dtype=float32))
    """

    dynamics = graded.NORM_VEC_DELAY
    a_in1: InPort
    a_in2: InPort
    s_out: OutPort
    s2_out: OutPort
    v: Var
    v2: Var
    vth: Var
    exp: Var

    @declared(graded.NORM_VEC_DELAY)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        v: Any = 0,
        v2: Any = 0,
        vth: Any = 1,
        exp: int = 0,
        name: str | None = None,
    ) -> None: ...


class InvSqrt(Neuron):
    """Sends ``1 / sqrt(a_in)``. In floating_pt infinity where the input is 0; in fixed_pt, where
    both count in 2**-fp_base, 0, and RunError for an input that is negative or beyond 24 bits.

    Example:
        >>> lv.simulate(proc.InvSqrt(shape=(2,)), {"a_in": np.array([[4.0], [25.0]])})["s_out"].T
        array([[0.5, 0.2]], dtype=float32)
    """

    dynamics = graded.INV_SQRT
    a_in: InPort
    s_out: OutPort
    fp_base: Var

    @declared(graded.INV_SQRT)
    def __init__(
        self, *, shape: int | Sequence[int], fp_base: int = 12, name: str | None = None
    ) -> None: ...
