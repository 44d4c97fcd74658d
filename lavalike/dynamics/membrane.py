"""Neurons of the step style, in snnTorch's terms (Eshraghian et al. 2023; reference: training.md 1.1).

A neuron that ended a step above its threshold is reset at the beginning of the next: ``R = mem > vth``, then

    Leaky      mem' = beta mem + x - R vth                            (zero: beta (1 - R) mem + x)
    Synaptic   syn' = alpha syn + x;  mem' = beta mem + syn' - R vth  (zero: (1 - R) (beta mem + syn'))
    Alpha      exc' = alpha exc + x;  inh' = beta inh - x;  mem' = tau (exc' + inh') - R vth   (zero: (1 - R) of all three)
    Lapicque   mem' = beta mem + (1 - beta) resistance x - R vth      (zero: (1 - R) of it), beta = exp(-time_step / (R C)):
               the exact solution for an input constant over a step
    spk = mem' > vth

``_now`` forms are reset in the step they spike in, after the spike: ``R = mem' > vth`` of the mem' that has not been reset.
Elementwise recurrence adds ``V spk`` of the last step to x.
"""

from __future__ import annotations

from lavalike.dynamics.dynamics import Dynamics
from lavalike.dynamics.ops import above, leak, lower, reset


def leaky(a_in, mem, beta, vth):
    mem = lower(above(mem, vth), leak(mem, beta) + a_in, vth)
    return above(mem, vth), mem


def leaky_zero(a_in, mem, beta, vth):
    mem = reset(above(mem, vth), leak(mem, beta), 0) + a_in
    return above(mem, vth), mem


def leaky_none(a_in, mem, beta, vth):
    mem = leak(mem, beta) + a_in
    return above(mem, vth), mem


def leaky_now(a_in, mem, beta, vth):
    mem = leak(mem, beta) + a_in
    spk = above(mem, vth)
    return spk, lower(spk, mem, vth)


def leaky_zero_now(a_in, mem, beta, vth):
    mem = leak(mem, beta) + a_in
    spk = above(mem, vth)
    return spk, reset(spk, mem, 0)


def synaptic(a_in, syn, mem, alpha, beta, vth):
    syn = leak(syn, alpha) + a_in
    mem = lower(above(mem, vth), leak(mem, beta) + syn, vth)
    return above(mem, vth), syn, mem


def synaptic_zero(a_in, syn, mem, alpha, beta, vth):
    syn = leak(syn, alpha) + a_in
    mem = reset(above(mem, vth), leak(mem, beta) + syn, 0)
    return above(mem, vth), syn, mem


def synaptic_none(a_in, syn, mem, alpha, beta, vth):
    syn = leak(syn, alpha) + a_in
    mem = leak(mem, beta) + syn
    return above(mem, vth), syn, mem


def synaptic_now(a_in, syn, mem, alpha, beta, vth):
    syn = leak(syn, alpha) + a_in
    mem = leak(mem, beta) + syn
    spk = above(mem, vth)
    return spk, syn, lower(spk, mem, vth)


def synaptic_zero_now(a_in, syn, mem, alpha, beta, vth):
    syn = leak(syn, alpha) + a_in
    mem = leak(mem, beta) + syn
    spk = above(mem, vth)
    return spk, syn, reset(spk, mem, 0)


def alpha(a_in, syn_exc, syn_inh, mem, alpha, beta, tau, vth):
    r = above(mem, vth)
    syn_exc = leak(syn_exc, alpha) + a_in
    syn_inh = leak(syn_inh, beta) - a_in
    mem = lower(r, tau * (syn_exc + syn_inh), vth)
    return above(mem, vth), syn_exc, syn_inh, mem


def alpha_zero(a_in, syn_exc, syn_inh, mem, alpha, beta, tau, vth):
    r = above(mem, vth)
    syn_exc = leak(syn_exc, alpha) + a_in
    syn_inh = leak(syn_inh, beta) - a_in
    mem = reset(r, tau * (syn_exc + syn_inh), 0)
    return above(mem, vth), reset(r, syn_exc, 0), reset(r, syn_inh, 0), mem


def alpha_none(a_in, syn_exc, syn_inh, mem, alpha, beta, tau, vth):
    syn_exc = leak(syn_exc, alpha) + a_in
    syn_inh = leak(syn_inh, beta) - a_in
    mem = tau * (syn_exc + syn_inh)
    return above(mem, vth), syn_exc, syn_inh, mem


def lapicque(a_in, mem, beta, resistance, vth):
    mem = lower(above(mem, vth), leak(mem, beta) + (1 - beta) * resistance * a_in, vth)
    return above(mem, vth), mem


def lapicque_zero(a_in, mem, beta, resistance, vth):
    mem = reset(above(mem, vth), leak(mem, beta) + (1 - beta) * resistance * a_in, 0)
    return above(mem, vth), mem


def lapicque_none(a_in, mem, beta, resistance, vth):
    mem = leak(mem, beta) + (1 - beta) * resistance * a_in
    return above(mem, vth), mem


def rleaky(a_in, spk, mem, beta, V, vth):
    mem = lower(above(mem, vth), leak(mem, beta) + (a_in + V * spk), vth)
    spk = above(mem, vth)
    return spk, spk, mem


def rleaky_zero(a_in, spk, mem, beta, V, vth):
    mem = reset(above(mem, vth), leak(mem, beta) + (a_in + V * spk), 0)
    spk = above(mem, vth)
    return spk, spk, mem


def rleaky_none(a_in, spk, mem, beta, V, vth):
    mem = leak(mem, beta) + (a_in + V * spk)
    spk = above(mem, vth)
    return spk, spk, mem


def rleaky_now(a_in, spk, mem, beta, V, vth):
    mem = leak(mem, beta) + (a_in + V * spk)
    spk = above(mem, vth)
    return spk, spk, lower(spk, mem, vth)


def rleaky_zero_now(a_in, spk, mem, beta, V, vth):
    mem = leak(mem, beta) + (a_in + V * spk)
    spk = above(mem, vth)
    return spk, spk, reset(spk, mem, 0)


def rsynaptic(a_in, spk, syn, mem, alpha, beta, V, vth):
    syn = leak(syn, alpha) + (a_in + V * spk)
    mem = lower(above(mem, vth), leak(mem, beta) + syn, vth)
    spk = above(mem, vth)
    return spk, spk, syn, mem


def rsynaptic_zero(a_in, spk, syn, mem, alpha, beta, V, vth):
    syn = leak(syn, alpha) + (a_in + V * spk)
    mem = reset(above(mem, vth), leak(mem, beta) + syn, 0)
    spk = above(mem, vth)
    return spk, spk, syn, mem


def rsynaptic_none(a_in, spk, syn, mem, alpha, beta, V, vth):
    syn = leak(syn, alpha) + (a_in + V * spk)
    mem = leak(mem, beta) + syn
    spk = above(mem, vth)
    return spk, spk, syn, mem


def rsynaptic_now(a_in, spk, syn, mem, alpha, beta, V, vth):
    syn = leak(syn, alpha) + (a_in + V * spk)
    mem = leak(mem, beta) + syn
    spk = above(mem, vth)
    return spk, spk, syn, lower(spk, mem, vth)


def rsynaptic_zero_now(a_in, spk, syn, mem, alpha, beta, V, vth):
    syn = leak(syn, alpha) + (a_in + V * spk)
    mem = leak(mem, beta) + syn
    spk = above(mem, vth)
    return spk, spk, syn, reset(spk, mem, 0)


def _neuron(step, *states: str) -> Dynamics:
    return Dynamics(step, ("a_in",), ("s_out",), states, fixed=False)


def _kinds(subtract, zero, none, *states: str) -> dict[str, Dynamics]:
    return {"subtract": _neuron(subtract, *states), "zero": _neuron(zero, *states), "none": _neuron(none, *states)}


LEAKY = _kinds(leaky, leaky_zero, leaky_none, "mem")
LEAKY_NOW = _kinds(leaky_now, leaky_zero_now, leaky_none, "mem")
SYNAPTIC = _kinds(synaptic, synaptic_zero, synaptic_none, "syn", "mem")
SYNAPTIC_NOW = _kinds(synaptic_now, synaptic_zero_now, synaptic_none, "syn", "mem")
ALPHA = _kinds(alpha, alpha_zero, alpha_none, "syn_exc", "syn_inh", "mem")
LAPICQUE = _kinds(lapicque, lapicque_zero, lapicque_none, "mem")
RLEAKY = _kinds(rleaky, rleaky_zero, rleaky_none, "spk", "mem")
RLEAKY_NOW = _kinds(rleaky_now, rleaky_zero_now, rleaky_none, "spk", "mem")
RSYNAPTIC = _kinds(rsynaptic, rsynaptic_zero, rsynaptic_none, "spk", "syn", "mem")
RSYNAPTIC_NOW = _kinds(rsynaptic_now, rsynaptic_zero_now, rsynaptic_none, "spk", "syn", "mem")
