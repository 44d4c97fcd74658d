"""Counting what a run did: events and synaptic operations, against the multiply-accumulates of a dense network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lavalike.proc import Conv, ConvTranspose, Sparse
from lavalike.process import AbstractProcess


@dataclass(frozen=True)
class Operations:
    """Per step and sample, averages: ``events`` non-zero messages into a connection, ``synops`` weights they
    touched, ``macs`` products a dense network of the same shape computes."""

    events: float
    synops: float
    macs: int


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


def count(connection: AbstractProcess, messages: np.ndarray) -> Operations:
    """Operations of ``connection`` for the messages ``(..., *s_in.shape, time)`` it received."""
    shape = connection.s_in.shape  # type: ignore[attr-defined]
    active = (np.asarray(messages) != 0).reshape(-1, *shape, messages.shape[-1])
    per_input = active.mean((0, -1))
    fan = fan_out(connection)
    return Operations(float(per_input.sum()), float((per_input * fan).sum()), int(fan.sum()))
