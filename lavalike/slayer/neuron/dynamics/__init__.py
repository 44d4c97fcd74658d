"""States over time as functions: a neuron's step without the neuron (equations:
:mod:`lavalike.dynamics`, in Loihi's integers).

Inputs are (batch, channel, ..., time), states (batch, channel, ...) or one number for all. Inputs,
states and thresholds count in multiples of ``1 / w_scale``, to which they are rounded toward zero;
decays in 1/4096, one, or one a channel, rounded down. All are differentiable; a reset is not (the
gradient passes, as in lava-dl). ``debug``: the plain torch loop computes it too, and a RunError
tells where the two differ.
"""

from lavalike.slayer.neuron.dynamics import (
    adaptive_phase_th as adaptive_phase_th,
    adaptive_resonator as adaptive_resonator,
    adaptive_threshold as adaptive_threshold,
    leaky_integrator as leaky_integrator,
    resonator as resonator,
)
