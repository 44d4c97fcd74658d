"""Counting what a run did: events and synaptic operations, against the multiply-accumulates of a dense network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lavalike.arguments import Rule, arguments, numbers
from lavalike.errors import InputError
from lavalike.proc import Conv, ConvTranspose, Sparse
from lavalike.process import AbstractProcess

CONNECTION = Rule("a connection, a process with s_in and a_out",
                  lambda v: isinstance(v, AbstractProcess) and hasattr(v, "s_in") and hasattr(v, "a_out"))


@dataclass(frozen=True)
class Operations:
    """Per step and sample, averages: ``events`` non-zero messages into a connection, ``synops`` weights they
    touched, ``macs`` products a dense network of the same shape computes."""

    events: float
    synops: float
    macs: int


@arguments(connection=CONNECTION)
def fan_out(connection: AbstractProcess) -> np.ndarray:
    """How many synapses a message on each input of ``connection`` goes through, of the shape of its s_in."""
    if isinstance(connection, Conv | ConvTranspose):
        return _conv_fan_out(connection)
    if isinstance(connection, Sparse):
        return np.bincount(connection.cols, minlength=connection.s_in.size)
    return np.full(connection.s_in.shape, connection.a_out.size)  # type: ignore[attr-defined]


def _conv_fan_out(conv: Conv | ConvTranspose) -> np.ndarray:
    along = [np.array([len(conv.taps(axis, x)) for x in range(conv.s_in.shape[axis])]) for axis in range(2)]
    plane = np.multiply.outer(*along) * (conv.a_out.shape[2] // conv.groups)
    return np.broadcast_to(plane[..., None], conv.s_in.shape)


@arguments(connection=CONNECTION, messages=numbers())
def count(connection: AbstractProcess, messages: np.ndarray) -> Operations:
    """Operations of ``connection`` for the messages ``(..., *s_in.shape, time)`` it received; InputError for another shape."""
    shape = connection.s_in.shape  # type: ignore[attr-defined]
    array = np.asarray(messages)
    if array.ndim <= len(shape) or array.shape[-1 - len(shape):-1] != shape or not array.size:
        raise InputError(f"count: messages have shape {array.shape}; expected (..., {', '.join(map(str, shape))}, time), none of them 0")
    active = (array != 0).reshape(-1, *shape, array.shape[-1])
    per_input = active.mean((0, -1))
    fan = fan_out(connection)
    return Operations(float(per_input.sum()), float((per_input * fan).sum()), int(fan.sum()))
