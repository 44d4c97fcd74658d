"""Lava's networks: lavalike's, made of the library's processes under Lava's names."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from lavalike import networks as core
from lavalike.arguments import did_you_mean
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


def _leave(cls: type, further: Mapping[str, Any]) -> None:
    """Leave a program's further keywords, of chips mostly, as Lava's networks do; what looks like a
    slip is told."""
    known = inspect.signature(cls.__init__).parameters  # type: ignore[misc]  # of that very class
    for name in further:
        if near := did_you_mean(name, known):
            warnings.warn(
                f"{cls.__name__}: no argument {name!r}{near}; it is left, as in Lava", stacklevel=3
            )


class Network(core.Network):
    __doc__ = core.Network.__doc__
    library: Any = _LIBRARY  # type: ignore[misc]  # a property there

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
        _leave(type(self), kwargs)
        self.loihi2 = loihi2  # where a chip would be adapted to; there is none


class OutputVec(core.OutputVec, Network):
    __doc__ = core.OutputVec.__doc__

    def __init__(
        self,
        shape: Any,
        buffer: int = 1,
        loihi2: bool = False,
        num_message_bits: int = 24,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(shape, buffer)
        _leave(type(self), kwargs)
        self.outport_plug.name = name or self.outport_plug.name
        self.loihi2, self.num_message_bits = loihi2, num_message_bits

    def get_data(self) -> np.ndarray:
        """What was received, as the 24 bits of a message."""
        return (self.outport_plug.data.get().astype(np.int32) << 8) >> 8


class LIFVec(core.LIFVec, AlgebraicVector):
    __doc__ = core.LIFVec.__doc__


class _Threshold:
    """One with a threshold."""

    def __init__(self, shape: Any, vth: Any = 10, exp: int = 0, **kwargs: Any) -> None:
        super().__init__(shape, vth, exp)  # type: ignore[call-arg]  # of the class it is mixed into
        _leave(type(self), kwargs)


class GradedVec(_Threshold, core.GradedVec, AlgebraicVector):
    __doc__ = core.GradedVec.__doc__


class ProductVec(_Threshold, core.ProductVec, AlgebraicVector):
    __doc__ = core.ProductVec.__doc__


class _Graded:
    """Weights that are cut when they are compiled, with a warning, as all of Lava's."""

    exp: int

    def __init__(self, weights: Any, exp: int = 7, **kwargs: Any) -> None:
        super().__init__(weights, exp)  # type: ignore[call-arg]  # of the class it is mixed into
        _leave(type(self), kwargs)

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
        _leave(type(self), kwargs)


class ResFireVec(core.ResFireVec, AlgebraicVector):
    __doc__ = core.ResFireVec.__doc__

    def __init__(self, **kwargs: Any) -> None:
        known = inspect.signature(core.ResFireVec.__init__).parameters
        super().__init__(**{n: v for n, v in kwargs.items() if n in known})
        _leave(core.ResFireVec, {n: v for n, v in kwargs.items() if n not in known})
