"""Models of sources and sinks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lavalike.backends.numba.draws import NOISE, philox
from lavalike.backends.numba.model import NumbaModel, held
from lavalike.dynamics import integral, within
from lavalike.model.model import implements
from lavalike.proc.io import sink, source
from lavalike.proc.spiker import Receiver


@implements(source.RingBuffer, backend="numba")
class SourceModel(NumbaModel):
    """s_out = data[(t - 1) % T]"""

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        data = integral("data", values["data"]) if self.config.fixed else values["data"]
        rows = np.moveaxis(data, -1, 0).reshape(data.shape[-1], -1)
        return {"rows": held("data", rows, self.message_dtype)}

    def step(t, s_out, rows):
        row = rows[(t - 1) % rows.shape[0]]
        out = s_out.reshape(-1)
        for i in range(row.size):
            out[i] = row[i]


@implements(source.Constant, backend="numba")
class ConstantModel(NumbaModel):
    """s_out = value in steps t > start"""

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        value = (
            within("value", integral("value", values["value"]), -(2**23), 2**23)
            if self.config.fixed
            else values["value"]
        )
        start = np.broadcast_to(integral("start", values["start"], 0, 2**62), value.shape)
        return {
            "level": held("value", value, self.message_dtype).reshape(-1),
            "after": np.ascontiguousarray(start, np.int64).reshape(-1),
        }

    def step(t, s_out, level, after):
        out = s_out.reshape(-1)
        for i in range(out.size):
            out[i] = level[i] if t > after[i] else 0


def _each(model: NumbaModel, value: np.ndarray) -> np.ndarray:
    """A number for each element of what a source sends."""
    return np.ascontiguousarray(
        np.broadcast_to(value, model.process.out_ports[0].shape), np.float64
    ).reshape(-1)


@implements(source.Noise, backend="numba")
class NoiseModel(NumbaModel):
    """s_out = mean + std * (a normal number), by pairs as Box and Muller make them"""

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        std = within("std", values["std"], 0, np.inf)
        if self.config.fixed:  # no number is 7 times std away: 32 bits hold it
            within("mean + 7 std", np.abs(values["mean"]) + 7 * std, 0, 2**31 - 1)
        fixed = int(self.config.fixed)
        return {"m": _each(self, values["mean"]), "d": _each(self, std), "fixed": fixed}

    def step(t, s_out, m, d, fixed, draws):
        out = s_out.reshape(-1)
        for block in range((out.size + 3) // 4):
            words = philox(draws, t, NOISE, block)
            for pair in range(2):
                size = math.sqrt(-2 * math.log((words[2 * pair] + 1) * 2.0**-32))
                angle = 2 * math.pi * (words[2 * pair + 1] * 2.0**-32)
                for k in range(2):
                    i = 4 * block + 2 * pair + k
                    if i < out.size:
                        x = m[i] + d[i] * size * (math.sin(angle) if k else math.cos(angle))
                        out[i] = math.floor(x + 0.5) if fixed else x


@implements(source.Poisson, backend="numba")
class PoissonModel(NumbaModel):
    """s_out = 1 where a word of 32 bits is less than rate"""

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return {"p": _each(self, within("rate", values["rate"], 0, 1)) * 2.0**32}

    def step(t, s_out, p, draws):
        out = s_out.reshape(-1)
        for block in range((out.size + 3) // 4):
            words = philox(draws, t, NOISE, block)
            for k in range(4):
                i = 4 * block + k
                if i < out.size:
                    out[i] = words[k] < p[i]


@implements(sink.RingBuffer, backend="numba")
class SinkModel(NumbaModel):
    """data[(t - 1) % buffer] = a_in"""

    def step(t, a_in, data):
        row = data[(t - 1) % data.shape[0]].reshape(-1)
        inp = a_in.reshape(-1)
        for i in range(row.size):
            row[i] = inp[i]


@implements(Receiver, backend="numba")
class ReceiverModel(NumbaModel):
    """payload = a_in"""

    def step(a_in, payload):
        out = payload.reshape(-1)
        inp = a_in.reshape(-1)
        for i in range(out.size):
            out[i] = inp[i]
