"""Lava's networks: lavalike's, made of the library's processes under Lava's names."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np

from lavalike import networks as core
from lavalike.compat import library

_LIBRARY = SimpleNamespace(
    **{
        name: getattr(library, name)
        for name in ("LIF", "GradedVec", "ProdNeuron", "NormVecDelay", "InvSqrt", "RFZero")
    },
    Dense=library.Dense,
    Sparse=library.Sparse,
    io=SimpleNamespace(
        source=SimpleNamespace(RingBuffer=library.Source),
        sink=SimpleNamespace(RingBuffer=library.Sink),
    ),
)
NetworkList = core.NetworkList


class Network(core.Network):
    __doc__ = core.Network.__doc__
    library: Any = _LIBRARY  # type: ignore[misc]

    @property
    def room(self) -> Any:
        return sys.modules[__name__]


class AlgebraicVector(core.AlgebraicVector, Network):
    __doc__ = core.AlgebraicVector.__doc__


class AlgebraicMatrix(core.AlgebraicMatrix, Network):
    __doc__ = core.AlgebraicMatrix.__doc__


class InputVec(core.InputVec, AlgebraicVector):
    __doc__ = core.InputVec.__doc__

    def __init__(self, vec: Any, loihi2: bool = False, exp: int = 0, **kwargs: Any) -> None:
        super().__init__(vec, exp)
        self.loihi2 = loihi2  # where a chip would be adapted to; there is none


class OutputVec(core.OutputVec, Network):
    __doc__ = core.OutputVec.__doc__

    def __init__(
        self,
        shape: Any,
        buffer: int = 1,
        loihi2: bool = False,
        num_message_bits: int = 24,
        **kwargs: Any,
    ) -> None:
        super().__init__(shape, buffer)
        self.loihi2, self.num_message_bits = loihi2, num_message_bits

    def get_data(self) -> np.ndarray:
        """What was received, as the 24 bits of a message."""
        return (self.outport_plug.data.get().astype(np.int32) << 8) >> 8


class LIFVec(core.LIFVec, AlgebraicVector):
    __doc__ = core.LIFVec.__doc__


class _Loose:
    """Lava's take further keywords, and leave them."""

    def __init__(self, shape: Any, vth: Any = 10, exp: int = 0, **kwargs: Any) -> None:
        super().__init__(shape, vth, exp)  # type: ignore[call-arg]


class GradedVec(_Loose, core.GradedVec, AlgebraicVector):
    __doc__ = core.GradedVec.__doc__


class ProductVec(_Loose, core.ProductVec, AlgebraicVector):
    __doc__ = core.ProductVec.__doc__


class _Graded:
    """Weights that are cut when they are compiled, with a warning, as all of Lava's."""

    exp: int

    def __init__(self, weights: Any, exp: int = 7, **kwargs: Any) -> None:
        super().__init__(weights, exp)  # type: ignore[call-arg]

    def _whole(self, weights: Any) -> Any:
        return weights * 2**self.exp


class GradedDense(_Graded, core.GradedDense, AlgebraicMatrix):
    __doc__ = core.GradedDense.__doc__


class GradedSparse(_Graded, core.GradedSparse, AlgebraicMatrix):
    __doc__ = core.GradedSparse.__doc__


class NormalizeNet(core.NormalizeNet, AlgebraicVector):
    __doc__ = core.NormalizeNet.__doc__

    def __init__(self, shape: Any, exp: int = 12, **kwargs: Any) -> None:
        super().__init__(shape, exp)


class ResFireVec(core.ResFireVec, AlgebraicVector):
    __doc__ = core.ResFireVec.__doc__

    def __init__(self, **kwargs: Any) -> None:
        known = ("shape", "freqs", "decay_tau", "dt", "uth")
        super().__init__(**{n: kwargs[n] for n in known if n in kwargs})
