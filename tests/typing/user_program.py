"""A user's program as a type checker sees it. `python -m mypy` checks that each name has the type
that is said here; it also runs."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import numpy as np

import lavalike as lv
from lavalike.proc import LIF, Dense, SigmaDelta
from netx.hdf5 import Network


class Net(lv.AbstractProcess):
    """A layer of a user's own."""

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__()
        self.inp = lv.InPort((weights.shape[1],))
        self.dense = Dense(weights=weights, num_message_bits=8)
        self.lif = LIF(shape=(weights.shape[0],), du=0.5, dv=0.1, vth=1.0)
        self.out = lv.OutPort(self.lif.shape)
        self.inp.connect(self.dense.s_in)
        self.dense.a_out.connect(self.lif.a_in)
        self.lif.s_out.connect(self.out)


def neurons() -> None:
    lif = LIF(shape=(3,), vth=1.0)
    assert_type(lif, LIF)
    assert_type(lif.a_in, lv.InPort)
    assert_type(lif.s_out, lv.OutPort)
    assert_type(lif.v, lv.Var)
    assert_type(lif.vth, lv.Var)
    assert_type(lif.shape, tuple[int, ...])
    assert_type(SigmaDelta(shape=(3,), vth=0.5).s_out, lv.OutPort)


def connections() -> None:
    dense = Dense(weights=np.ones((2, 3)))
    assert_type(dense.s_in, lv.InPort)
    assert_type(dense.a_out, lv.OutPort)
    assert_type(dense.weights, lv.Var)


def runs(net: Net) -> np.ndarray:
    inputs = {"inp": np.ones((3, 10))}
    rec = lv.simulate(
        net, inputs, record=[net.lif.v, "lif.u"], config=lv.RunConfig(precision="floating_pt")
    )
    assert_type(rec, lv.Recording)
    assert_type(lv.simulate(net, {net.inp: np.ones((3, 10))}), lv.Recording)
    with net as same:
        assert_type(same, Net)
        same.run(lv.RunSteps(10), lv.RunConfig(backend="numba"))
        same.lif.v.set(0.5)
        voltage = same.lif.v.get()
    assert_type(voltage, np.ndarray)
    return np.asarray(rec["out"])


def files(path: Path) -> np.ndarray:
    net = Network(net_config=path)
    assert_type(net.inp, lv.InPort)
    assert_type(net.out, lv.OutPort)
    return net.decode(lv.simulate(net, {"inp": np.zeros((*net.inp.shape, 4))})["out"])


if __name__ == "__main__":
    neurons()
    connections()
    print(runs(Net(np.ones((2, 3)))).shape)
