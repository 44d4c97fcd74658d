"""Rules ready to be used: pair STDP, and STDP that a reward gates."""

from __future__ import annotations

from lavalike.arguments import arguments, integer, real
from lavalike.errors import RuleError
from lavalike.learning.rule import LearningRule, Trace

PAIRS = {
    "a_plus": real(),
    "a_minus": real(),
    "tau_plus": real(0),
    "tau_minus": real(0),
    "impulse": real(0),
    "epoch": integer(1),
    "seed": integer(0),
}


def _of(number: float, rest: str) -> str:
    return f"({number!r}) * {rest}"


def _pairs(a_plus: float, a_minus: float) -> str:
    return f"{_of(a_plus, 'y0 * x1')} + {_of(a_minus, 'x0 * y1')}"


class STDP(LearningRule):
    """Spike-timing dependent plasticity of all pairs of spikes (Song, Miller and Abbott 2000,
    "Competitive Hebbian learning through spike-timing-dependent synaptic plasticity", Nature
    Neuroscience 3): ``dw = a_plus * y0 * x1 + a_minus * x0 * y1``.

    Args:
        a_plus: times the trace of the inputs, added where the output spikes. Default 0.01.
        a_minus: times the trace of the outputs, added where the input spikes. Default -0.012.
        tau_plus, tau_minus: time constants of these traces in steps. Default 20.
        impulse: what a trace grows by at a spike. Default 1; in fixed_pt 16, say, which rounds
            less.
        epoch, seed: see :class:`LearningRule`. In fixed_pt the amplitudes are a mantissa of -8..7
            times a power of two.

    Example::

        LearningDense(weights=np.full((3, 5), 0.2), learning_rule=STDP(a_plus=0.02, tau_plus=10))
    """

    @arguments(error=RuleError, **PAIRS)
    def __init__(
        self,
        *,
        a_plus: float = 0.01,
        a_minus: float = -0.012,
        tau_plus: float = 20,
        tau_minus: float = 20,
        impulse: float = 1,
        epoch: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(
            dw=_pairs(a_plus, a_minus),
            x1=Trace(impulse, tau_plus),
            y1=Trace(impulse, tau_minus),
            epoch=epoch,
            seed=seed,
        )


class RewardModulatedSTDP(LearningRule):
    """STDP that is not learnt at once: it leaves an eligibility in the tag ``t``, which decays, and
    of which a reward, the third factor ``y2``, makes weight (Frémaux and Gerstner 2016,
    "Neuromodulated spike-timing-dependent plasticity, and theory of three-factor learning rules",
    Frontiers in Neural Circuits 9): ``dt = a_plus * y0 * x1 + a_minus * x0 * y1 - decay * t; dw =
    rate * t * y2``.

    The reward arrives on the connection's port ``s_in_y2``, one an output: from whatever sends it,
    or through :class:`lavalike.proc.LearningLIF`.

    Args:
        a_plus, a_minus, tau_plus, tau_minus, impulse: see :class:`STDP`.
        rate: how much of the eligibility becomes weight in an epoch at a reward of 1. Default 1.
        eligibility_decay: what the eligibility loses in an epoch, 0..1, ``epoch / tau`` for a slow
            one. Default 0.05.
        epoch, seed: see :class:`LearningRule`. In fixed_pt numbers are a mantissa of -8..7 times a
            power of two.

    Example::

        dense = LearningDense(weights=w, learning_rule=RewardModulatedSTDP(tau_plus=10))
        reward.s_out.connect(dense.s_in_y2)
    """

    @arguments(error=RuleError, rate=real(), eligibility_decay=real(0, 1), **PAIRS)
    def __init__(
        self,
        *,
        a_plus: float = 0.01,
        a_minus: float = -0.012,
        tau_plus: float = 20,
        tau_minus: float = 20,
        impulse: float = 1,
        rate: float = 1,
        eligibility_decay: float = 0.05,
        epoch: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(
            dw=_of(rate, "u0 * t * y2"),
            dt=f"{_pairs(a_plus, a_minus)} - {_of(eligibility_decay, 'u0 * t')}",
            x1=Trace(impulse, tau_plus),
            y1=Trace(impulse, tau_minus),
            y2=Trace(received=True),
            epoch=epoch,
            seed=seed,
        )
