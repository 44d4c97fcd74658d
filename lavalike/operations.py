"""Counting what a run did: events and synaptic operations, against the multiply-accumulates of a
dense network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lavalike.arguments import arguments, instance, numbers
from lavalike.errors import InputError
from lavalike.proc.connection import Connection

CONNECTION = instance(Connection, words="a lavalike.proc.Connection, which says its fan_out()")


@dataclass(frozen=True)
class Operations:
    """Per step and sample, averages: ``events`` non-zero messages into a connection, ``synops``
    weights they touched, ``macs`` products a dense network of the same shape computes.

    Example:
        >>> from lavalike.operations import count
        >>> dense = proc.Dense(weights=np.ones((4, 3)))
        >>> count(dense, np.eye(3)).synops  # a spike a step, four synapses each
        4.0
    """

    events: float
    synops: float
    macs: int


@arguments(connection=CONNECTION)
def fan_out(connection: Connection) -> np.ndarray:
    """How many synapses a message on each input of ``connection`` goes through, of the shape of its
    s_in."""
    fan = np.asarray(connection.fan_out())
    if fan.shape != connection.s_in.shape:
        raise InputError(
            f"{connection.path}: fan_out() gives shape {fan.shape}; expected that of s_in, {connection.s_in.shape}"
        )
    return fan


@arguments(connection=CONNECTION, messages=numbers())
def count(connection: Connection, messages: np.ndarray) -> Operations:
    """Operations of ``connection`` for the messages ``(..., *s_in.shape, time)`` it received;
    InputError for another shape."""
    shape = connection.s_in.shape
    array = np.asarray(messages)
    if array.ndim <= len(shape) or array.shape[-1 - len(shape) : -1] != shape or not array.size:
        raise InputError(
            f"count: messages have shape {array.shape}; expected (..., {', '.join(map(str, shape))}, time), none of them 0"
        )
    active = (array != 0).reshape(-1, *shape, array.shape[-1])
    per_input = active.mean((0, -1))
    fan = fan_out(connection)
    return Operations(float(per_input.sum()), float((per_input * fan).sum()), int(fan.sum()))
