"""Neurons of the step style, in snnTorch's terms (Eshraghian et al. 2023; reference: training.md
1.1).

A neuron that ended a step above its threshold is reset at the beginning of the next:
``R = mem > vth``, then

    Leaky      mem' = beta mem + x - R vth                            (zero: beta (1 - R) mem + x)
    Synaptic   syn' = alpha syn + x;  mem' = beta mem + syn' - R vth  (zero: (1 - R) (beta mem + syn'))
    Alpha      exc' = alpha exc + x;  inh' = beta inh - x;  mem' = tau (exc' + inh') - R vth   (zero: (1 - R) of all three)
    Lapicque   mem' = decay mem + gain x - R vth                      (zero: (1 - R) of it)
               Euler's step: decay = 1 - T / (R C), gain = T / C; the exact solution for an input constant over a
               step: decay = exp(-T / (R C)), gain = (1 - decay) R
    spk = mem' > vth

    Delta      mem' = beta mem + x;  spk = abs(mem' - mem) > delta     (never reset)

What is never reset at all is a sum over time, from which spikes follow afterwards, in all steps at once:

    integrator   mem' = beta mem + x;  rectified: positive(beta mem + x)
    associative  mem' = decay mem + x, with a decay of each step's own

``_now`` forms are reset in the step they spike in, after the spike: ``R = mem' > vth`` of the mem'
that has not been reset. Elementwise recurrence adds ``V spk`` of the last step to x.
"""  # noqa: W505

from __future__ import annotations

from lavalike.dynamics.dynamics import RESETS, Dynamics
from lavalike.dynamics.ops import above, absolute, clear, discharge, leak, positive, reset
from lavalike.dynamics.parameter import Parameter


def leaky(a_in, mem, beta, vth):
    mem = discharge(above(mem, vth), leak(mem, beta) + a_in, vth)
    return above(mem, vth), mem


def leaky_zero(a_in, mem, beta, vth):
    # the one whose input comes after its reset to zero
    mem = reset(above(mem, vth), leak(mem, beta), 0) + a_in
    return above(mem, vth), mem


def leaky_now(a_in, mem, beta, vth):
    mem = leak(mem, beta) + a_in
    spk = above(mem, vth)
    return spk, discharge(spk, mem, vth)


def synaptic(a_in, syn, mem, alpha, beta, vth):
    syn = leak(syn, alpha) + a_in
    mem = discharge(above(mem, vth), leak(mem, beta) + syn, vth)
    return above(mem, vth), syn, mem


def synaptic_now(a_in, syn, mem, alpha, beta, vth):
    syn = leak(syn, alpha) + a_in
    mem = leak(mem, beta) + syn
    spk = above(mem, vth)
    return spk, syn, discharge(spk, mem, vth)


def alpha(a_in, syn_exc, syn_inh, mem, alpha, beta, tau, vth):
    r = above(mem, vth)
    syn_exc = leak(syn_exc, alpha) + a_in
    syn_inh = leak(syn_inh, beta) - a_in
    mem = discharge(r, tau * (syn_exc + syn_inh), vth)
    return above(mem, vth), clear(r, syn_exc), clear(r, syn_inh), mem


def lapicque(a_in, mem, decay, gain, vth):
    mem = discharge(above(mem, vth), leak(mem, decay) + gain * a_in, vth)
    return above(mem, vth), mem


def delta(a_in, mem, mem_prev, beta, step):
    after = leak(mem, beta) + a_in
    return above(absolute(after - mem), step), after, mem


def integrator(a_in, mem, beta):
    mem = leak(mem, beta) + a_in
    return mem, mem


def rectified(a_in, mem, beta):
    mem = positive(leak(mem, beta) + a_in)
    return mem, mem


def associative(a_in, decay, mem):
    mem = decay * mem + a_in
    return mem, mem


def rleaky(a_in, spk, mem, beta, V, vth):
    mem = discharge(above(mem, vth), leak(mem, beta) + (a_in + V * spk), vth)
    spk = above(mem, vth)
    return spk, spk, mem


def rleaky_now(a_in, spk, mem, beta, V, vth):
    mem = leak(mem, beta) + (a_in + V * spk)
    spk = above(mem, vth)
    return spk, spk, discharge(spk, mem, vth)


def rsynaptic(a_in, spk, syn, mem, alpha, beta, V, vth):
    syn = leak(syn, alpha) + (a_in + V * spk)
    mem = discharge(above(mem, vth), leak(mem, beta) + syn, vth)
    spk = above(mem, vth)
    return spk, spk, syn, mem


def rsynaptic_now(a_in, spk, syn, mem, alpha, beta, V, vth):
    syn = leak(syn, alpha) + (a_in + V * spk)
    mem = leak(mem, beta) + syn
    spk = above(mem, vth)
    return spk, spk, syn, discharge(spk, mem, vth)


BETA = Parameter("beta", None, 0, 1, counts="decay", doc="decay of mem: the factor of a step")
ALPHA_ = Parameter(
    "alpha", None, 0, 1, counts="decay", doc="decay of the synaptic current: the factor of a step"
)
THRESHOLD = Parameter("vth", 1, counts="state", doc="threshold, strict")
RECURRENT = Parameter("V", 1, doc="what a neuron's own spike adds to its input in the next step")
DECAY = Parameter("decay", None, doc="what a step leaves of mem")
GAIN = Parameter("gain", 1, doc="what a step adds of the input")
STEP = Parameter(
    "step", 1, 0, counts="state", doc="change of mem in a step that is a spike, strict"
)
TAU = Parameter("tau", 1, doc="factor of mem, 1 where a spike's effect begins in its own step")


def _kinds(
    step, *states: str, parameters: tuple[Parameter, ...] = (BETA, THRESHOLD)
) -> dict[str, Dynamics]:
    """The neuron with each reset; ``leaky_zero`` and so on name their steps, here too, where
    pickles look for them."""
    made = {
        kind: Dynamics(
            leaky_zero if step is leaky and kind == "zero" else step,
            ("a_in",),
            ("s_out",),
            states,
            fixed=False,
            parameters=parameters,
            reset=kind,
        )
        for kind in RESETS
    }
    globals().update({d.step.__name__: d.step for d in made.values()})
    return made


LEAKY = _kinds(leaky, "mem")
LEAKY_NOW = _kinds(leaky_now, "mem")
SYNAPTIC = _kinds(synaptic, "syn", "mem", parameters=(ALPHA_, BETA, THRESHOLD))
SYNAPTIC_NOW = _kinds(synaptic_now, "syn", "mem", parameters=(ALPHA_, BETA, THRESHOLD))
ALPHA = _kinds(alpha, "syn_exc", "syn_inh", "mem", parameters=(ALPHA_, BETA, TAU, THRESHOLD))
LAPICQUE = _kinds(lapicque, "mem", parameters=(DECAY, GAIN, THRESHOLD))
RLEAKY = _kinds(rleaky, "spk", "mem", parameters=(BETA, RECURRENT, THRESHOLD))
RLEAKY_NOW = _kinds(rleaky_now, "spk", "mem", parameters=(BETA, RECURRENT, THRESHOLD))
RSYNAPTIC = _kinds(rsynaptic, "spk", "syn", "mem", parameters=(ALPHA_, BETA, RECURRENT, THRESHOLD))
RSYNAPTIC_NOW = _kinds(
    rsynaptic_now, "spk", "syn", "mem", parameters=(ALPHA_, BETA, RECURRENT, THRESHOLD)
)


def _summing(step, *inputs: str, parameters: tuple[Parameter, ...] = (BETA,)) -> Dynamics:
    return Dynamics(
        step,
        inputs,
        ("mem_out",),
        ("mem",),
        fixed=False,
        graded=("mem_out",),
        parameters=parameters,
    )


DELTA = Dynamics(
    delta, ("a_in",), ("s_out",), ("mem", "mem_prev"), fixed=False, parameters=(BETA, STEP)
)
INTEGRATOR = _summing(integrator, "a_in")
RECTIFIED = _summing(rectified, "a_in")
ASSOCIATIVE = _summing(associative, "a_in", "decay", parameters=())
