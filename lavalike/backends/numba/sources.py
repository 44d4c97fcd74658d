"""Models of sources and sinks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

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
