"""Mistakes of a user's program that a type checker sees where they stand. Each line's ignore is
needed: mypy and pyright are errors about one that is not. It is checked only, never run."""

from __future__ import annotations

import numpy as np

import lavalike as lv
from lavalike.proc import LIF, Conv, Dense, Sparse


def neurons() -> None:
    lif = LIF(shape=(3,), tau=1.0)  # type: ignore[call-arg]
    LIF(vth=1.0)  # type: ignore[call-arg]
    LIF(shape="three")  # type: ignore[arg-type]
    print(lif.spikes_out)  # type: ignore[attr-defined]
    lif.v.set_value(1.0)  # type: ignore[attr-defined]


def connections() -> None:
    lif, dense = LIF(shape=(3,)), Dense(weights=np.ones((3, 3)))
    Dense(weight=np.ones((3, 3)))  # type: ignore[call-arg]
    Dense(weights=np.ones((3, 3)), num_message_bit=8)  # type: ignore[call-arg]
    Sparse(weights=np.ones((3, 3)), delay="1")  # type: ignore[arg-type]
    Conv(weight=np.ones((2, 3, 3, 1)), input_shape=(8, 8, 1), strides=2)  # type: ignore[call-arg]
    lif.s_out.connect(dense)  # type: ignore[arg-type]


def runs(net: lv.AbstractProcess) -> None:
    net.run(100)  # type: ignore[arg-type]
    lv.RunConfig(precision="fixed")  # type: ignore[arg-type]
    lv.RunConfig(backends="numba")  # type: ignore[call-arg]
    lv.simulate(net, {"inp": np.ones((3, 10))}, records=["out"])  # type: ignore[call-arg]
