"""What Python models cost: ``python -m benchmarks.numpy_models``. Microseconds a step, minima of
many stretches.

1. Python models only: a source, hops that hand on what they receive, a sink; and a step divided by
   the messages, which is one send, one recv and one call of a model.
2. Python -> Dense -> LIF -> Python, and the same with numba's RingBuffers at the ends.
3. A closed loop through Python: 101 processes, LIF and Dense in turn, whose last one Python answers
   in every step; and the same closed by a Dense.
4. A model that has to wait in every step (LIF and one that sends before it receives), and a guard
   that is true in no step.
5. LIF and Dense with a Reset and a Read that act in every 100th step: as rows of the compiled
   program, and as models in Python.
"""

from __future__ import annotations

import argparse
import itertools
import time

import numpy as np

import lavalike as lv
from lavalike.backends.numpy import library
from lavalike.proc import LIF, Dense, io

CONFIG = lv.RunConfig(dtype="float64")


class Source(lv.AbstractProcess):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.out, self.k = lv.OutPort((n,)), lv.Var((n,), 0.0)


@lv.implements(Source, backend="numpy")
class SourceModel(lv.NumpyModel):
    def run_spk(self) -> None:
        self.k += 1
        self.out.send(self.k)


class Hop(lv.AbstractProcess):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.inp, self.out = lv.InPort((n,)), lv.OutPort((n,))


@lv.implements(Hop, backend="numpy")
class HopModel(lv.NumpyModel):
    def run_spk(self) -> None:
        self.out.send(self.inp.recv())


class Guarded(Hop):
    """A Hop that never learns."""


@lv.implements(Guarded, backend="numpy")
class GuardedModel(HopModel):
    def post_guard(self) -> bool:
        return False


class Sink(lv.AbstractProcess):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.inp, self.total = lv.InPort((n,)), lv.Var((n,), 0.0)


@lv.implements(Sink, backend="numpy")
class SinkModel(lv.NumpyModel):
    def run_spk(self) -> None:
        self.total += self.inp.recv()


class Answer(lv.AbstractProcess):
    """Sends what it made of the step before, then receives."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.inp, self.out, self.held = lv.InPort((n,)), lv.OutPort((n,)), lv.Var((n,), 0.0)


@lv.implements(Answer, backend="numpy")
class AnswerModel(lv.NumpyModel):
    def run_spk(self) -> None:
        self.out.send(self.held)
        self.held[:] = self.inp.recv()


def chain(*parts: lv.AbstractProcess) -> lv.AbstractProcess:
    for a, b in itertools.pairwise(parts):
        a.out_ports[0].connect(b.in_ports[0])
    return parts[0]


def microseconds(
    process: lv.AbstractProcess, stretches: int, steps: int = 200, config: lv.RunConfig = CONFIG
) -> float:
    """A step, the least of ``stretches``."""
    process.run(lv.RunSteps(20), config)
    assert process.runtime is not None
    program, best = process.runtime.program, np.inf
    for _ in range(stretches):
        began = time.perf_counter()
        program.run(steps, {}, {})
        best = min(best, (time.perf_counter() - began) / steps * 1e6)
    process.stop()
    return best


def layers(n: int, processes: int) -> list[lv.AbstractProcess]:
    """LIF and Dense in turn, so many of them."""
    return [
        LIF(shape=(n,), du=0.5, dv=0.1, vth=1.0, bias_mant=0.2)
        if k % 2 == 0
        else Dense(weights=0.3 * np.eye(n))
        for k in range(processes)
    ]


def main(stretches: int) -> None:
    for n in (10, 1000):
        for hops in (0, 10, 100):
            us = microseconds(chain(Source(n), *(Hop(n) for _ in range(hops)), Sink(n)), stretches)
            print(
                f"{hops + 2:4d} Python models, {n:4d} elements: {us:7.2f} us a step, {us / (hops + 1):.2f} a send, recv and model"
            )
    ends = (io.source.RingBuffer(data=np.ones((10, 3))), io.sink.RingBuffer(shape=(10,), buffer=3))
    for what, (a, b) in (("Python", (Source(10), Sink(10))), ("numba", ends)):
        dense, lif = Dense(weights=np.eye(10) * 0.5, num_message_bits=8), LIF(shape=(10,), vth=1e9)
        us = microseconds(chain(a, dense, lif, b), stretches)
        print(f"{what} -> Dense -> LIF -> {what}, 10 elements: {us:.2f} us a step")
    for what, last in (("Python", Answer(10)), ("Dense", Dense(weights=0.3 * np.eye(10)))):
        parts = [*layers(10, 99), LIF(shape=(10,), vth=1.0), last]
        parts[98:99] = [Dense(weights=np.eye(10))]
        us = microseconds(chain(*parts, parts[0]), stretches)
        print(f"a loop of {len(parts)} processes closed by {what}: {us:.2f} us a step")
    lif, answer = LIF(shape=(10,), vth=1e9, bias_mant=1.0), Answer(10)
    print(f"LIF <-> a model that waits: {microseconds(chain(lif, answer, lif), stretches):.2f} us")
    plain, guarded = (
        microseconds(chain(Source(10), *(kind(10) for _ in range(100)), Sink(10)), stretches)
        for kind in (Hop, Guarded)
    )
    print(f"a guard that is true in no step: {(guarded - plain) * 10:.0f} ns")
    in_python = {
        io.Reset: lv.Choice(model=library.ResetModel),
        io.Read: lv.Choice(model=library.ReadModel),
    }
    for what, select in (("rows", {}), ("models in Python", in_python)):
        parts = layers(100, 3)
        for watches in (io.Reset(interval=100), io.Read(buffer=10, interval=100)):
            watches.connect_var(parts[2].v)  # type: ignore[attr-defined]
        config = lv.RunConfig(dtype="float64", select=select)
        us = microseconds(chain(*parts), stretches, config=config)
        print(f"LIF -> Dense -> LIF with Reset and Read as {what}: {us:.2f} us a step")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stretches", type=int, default=100)
    main(parser.parse_args().stretches)
