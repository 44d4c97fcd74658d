"""Surrogate gradients by snnTorch's names.

Each call gives a :class:`~lavalike.fused.surrogate.Surrogate` for ``spike_grad=``: called with
``x = U - threshold`` it spikes (1 where x > 0) and has ``derivative(x)`` backward. They are finite
for every finite x, keep the dtype, and are equal and hashable by value. Defaults are snnTorch's:
``atan(alpha=2.0)``, ``fast_sigmoid(slope=25)``, ``sigmoid(slope=25)``, ``triangular(threshold=1)``,
``SFS(slope=25, B=1)``, ``LSO(slope=0.1)``.
"""

from __future__ import annotations

from lavalike.arguments import arguments, real
from lavalike.fused.surrogate import (
    Atan as atan,
    Boxcar as boxcar,
    Custom as custom_surrogate,
    Exponential as slayer_exponential,
    FastSigmoid as fast_sigmoid,
    LeakyStep as LSO,
    Sigmoid as sigmoid,
    SparseFastSigmoid as SFS,
    StraightThrough as straight_through_estimator,
    Surrogate as Surrogate,
    Triangular as triangular,
    as_surrogate as as_surrogate,
)

__all__ = [
    "Surrogate",
    "as_surrogate",
    "atan",
    "fast_sigmoid",
    "sigmoid",
    "straight_through_estimator",
    "triangular",
    "boxcar",
    "slayer_exponential",
    "heaviside",
    "spike_rate_escape",
    "SFS",
    "LSO",
    "custom_surrogate",
]


def heaviside() -> LSO:
    """1 where x > 0, else 0: the spike itself."""
    return LSO(0.0)


@arguments(beta=real(above=0), slope=real(above=0))
def spike_rate_escape(beta: float = 1.0, slope: float = 25.0) -> slayer_exponential:
    """``slope exp(-beta |x|)`` (the escape rate of Gerstner and Kistler 2002); snnTorch centres it
    one unit above the threshold."""
    return slayer_exponential(tau=1 / beta, scale=2 * slope / beta)
