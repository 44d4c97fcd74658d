"""Programs in Lava's words, which :mod:`benchmarks.beside_lava` runs on Lava and, unmodified, on
lavalike.

    python lava_programs.py NAME SIZE STEPS

prints the microseconds of a step, of five runs of so many the fastest, and a sum of states after
the first ten, which both must have.
"""

import itertools
import sys
import time

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.dense.process import Dense
from lava.proc.lif.process import LIF


class Source(AbstractProcess):
    def __init__(self, shape):
        super().__init__(shape=shape)
        self.out = OutPort(shape=shape)
        self.k = Var(shape=shape, init=0)


class Hop(AbstractProcess):
    def __init__(self, shape):
        super().__init__(shape=shape)
        self.inp = InPort(shape=shape)
        self.out = OutPort(shape=shape)


class Sink(AbstractProcess):
    def __init__(self, shape):
        super().__init__(shape=shape)
        self.inp = InPort(shape=shape)
        self.total = Var(shape=shape, init=0)


class Environment(AbstractProcess):
    """Answers each step with what it heard in the one before."""

    def __init__(self, shape):
        super().__init__(shape=shape)
        self.inp = InPort(shape=shape)
        self.out = OutPort(shape=shape)
        self.held = Var(shape=shape, init=0)


@implements(proc=Source, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class SourceModel(PyLoihiProcessModel):
    out = LavaPyType(PyOutPort.VEC_DENSE, float)
    k = LavaPyType(np.ndarray, float)

    def run_spk(self):
        self.k += 1
        self.out.send(self.k)


@implements(proc=Hop, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class HopModel(PyLoihiProcessModel):
    inp = LavaPyType(PyInPort.VEC_DENSE, float)
    out = LavaPyType(PyOutPort.VEC_DENSE, float)

    def run_spk(self):
        self.out.send(self.inp.recv())


@implements(proc=Sink, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class SinkModel(PyLoihiProcessModel):
    inp = LavaPyType(PyInPort.VEC_DENSE, float)
    total = LavaPyType(np.ndarray, float)

    def run_spk(self):
        self.total += self.inp.recv()


@implements(proc=Environment, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class EnvironmentModel(PyLoihiProcessModel):
    inp = LavaPyType(PyInPort.VEC_DENSE, float)
    out = LavaPyType(PyOutPort.VEC_DENSE, float)
    held = LavaPyType(np.ndarray, float)

    def run_spk(self):
        self.out.send(self.held)
        self.held[:] = self.inp.recv()


def recurrent(n):
    """LIF and Dense in a loop, some of the neurons active."""
    rng = np.random.default_rng(0)
    lif = LIF(shape=(n,), du=0.5, dv=0.1, vth=1.0, bias_mant=0.12)
    dense = Dense(weights=rng.normal(size=(n, n)) * 0.1 / np.sqrt(n))
    lif.s_out.connect(dense.s_in)
    dense.a_out.connect(lif.a_in)
    return lif, lif.v


def hops(n):
    """A source, so many models that hand on what they receive, a sink."""
    parts = [Source((10,)), *(Hop((10,)) for _ in range(n)), Sink((10,))]
    for a, b in itertools.pairwise(parts):
        a.out.connect(b.inp)
    return parts[0], parts[-1].total


def chain(n):
    """LIF and Dense in turn, so many of each: the first and the last."""
    first, before = None, None
    for _ in range(n):
        lif = LIF(shape=(10,), du=0.5, dv=0.1, vth=1.0, bias_mant=0.2)
        dense = Dense(weights=np.eye(10))
        lif.s_out.connect(dense.s_in)
        if before is not None:
            before.a_out.connect(lif.a_in)
        first, before = first or lif, dense
    return first, before


def layers(n):
    first, _ = chain(n)
    return first, first.v


def loop(n):
    """A chain, and an environment in Python that closes the loop."""
    first, last = chain(n)
    environment = Environment((10,))
    last.a_out.connect(environment.inp)
    environment.out.connect(first.a_in)
    return first, first.v


def stdp(n):
    """Plastic synapses from n to n neurons, of which the sending ones fire at random."""
    from lava.proc.dense.process import LearningDense
    from lava.proc.io.source import RingBuffer
    from lava.proc.learning_rules.stdp_learning_rule import STDPLoihi

    rng = np.random.default_rng(0)
    spikes = (rng.random((n, 100)) < 0.02).astype(int)
    rule = STDPLoihi(learning_rate=1, A_plus=-2, A_minus=1, tau_plus=10, tau_minus=10, t_epoch=1)
    source = RingBuffer(data=spikes)
    dense = LearningDense(weights=rng.random((n, n)) * 10, learning_rule=rule)
    lif = LIF(shape=(n,), du=1.0, dv=0.2, vth=5.0 * np.sqrt(n), bias_mant=0.1)
    source.s_out.connect(dense.s_in)
    dense.a_out.connect(lif.a_in)
    lif.s_out.connect(dense.s_in_bap)
    return lif, dense.weights


def main(name, n, steps):
    process, var = globals()[name](int(n))
    config = Loihi2SimCfg(select_tag="floating_pt")
    process.run(condition=RunSteps(num_steps=10), run_cfg=config)
    total = float(np.sum(var.get()))
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        process.run(condition=RunSteps(num_steps=int(steps)), run_cfg=config)
        best = min(best, time.perf_counter() - began)
    process.stop()
    print(f"{best / int(steps) * 1e6:.6g} {total:.12g}")


if __name__ == "__main__":
    main(*sys.argv[1:])
