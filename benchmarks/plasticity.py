"""Microseconds a step of synapses that learn by STDP, against a hand-written event-driven loop and
against NumPy.

    python -m benchmarks.plasticity [--inputs 1000] [--outputs 1000] [--activity 0.02] [--rounds 5]

``dw = 2^-6 * x1 * y0 - 2^-6 * x0 * y1`` with an epoch of one step, float32. The hand-written loop
does the same as one compiled function: traces of all neurons decay, a row of weights for each input
that spikes, a place in every row whose trace is not zero for each output that does. NumPy adds two
outer products. All hear the same spikes and add up the messages as well; they run in turn, and the
fastest stretch of each counts. At last the three matrices are compared. Beside them the same rule
in fixed_pt, with impulses of 16, and on stored synapses, a tenth of the matrix, in both. Bytes a
synapse are those of a program's arrays, against a connection that does not learn.

What must move: ``activity * inputs`` rows of weights read for the messages and written for ``x0``,
and ``activity * outputs`` places of every row written for ``y0``, each of them a cache line of its
own.
"""

from __future__ import annotations

import argparse
import time

import numba
import numpy as np

import lavalike as lv
from lavalike.backends import get_backend
from lavalike.compiler.flat import flatten
from lavalike.learning import LearningRule, Trace
from lavalike.proc import Dense, LearningDense, LearningSparse, Sparse, io
from lavalike.runtime.engine import compiled
from lavalike.text import table

STEPS = 200
RATE, IMPULSE, TAU_X, TAU_Y = 2.0**-6, 1.0, 10.0, 20.0


@numba.njit(nogil=True, error_model="numpy")
def by_hand(pre, post, rows, x1, y1, keep_x, keep_y, impulse, rate, out):
    n_in, n_out = rows.shape
    fired = np.empty(n_out, np.int32)
    for t in range(pre.shape[0]):
        for j in range(n_out):
            out[j] = 0
        count = 0
        for j in range(n_out):
            y1[j] = y1[j] * keep_y
            if post[t, j] != 0:
                y1[j] += impulse
                fired[count] = j
                count += 1
        for i in range(n_in):
            x1[i] = x1[i] * keep_x
            row = rows[i]
            if pre[t, i] != 0:
                x1[i] += impulse
                for j in range(n_out):
                    out[j] += row[j]
                for j in range(n_out):
                    row[j] -= rate * y1[j]
            d = rate * x1[i]
            if d != 0:
                for k in range(count):
                    row[fired[k]] += d


def by_numpy(pre, post, rows, x1, y1, keep_x, keep_y, impulse, rate, out):
    for x0, y0 in zip(pre, post, strict=True):
        out[...] = rows[x0 != 0].sum(0)
        x1[...] = x1 * keep_x + impulse * x0
        y1[...] = y1 * keep_y + impulse * y0
        rows += rate * (np.outer(x1, y0) - np.outer(x0, y1))


def fed(connection, pre, post):
    """A connection that hears these spikes."""
    io.source.RingBuffer(data=pre.T).s_out.connect(connection.s_in)
    io.source.RingBuffer(data=post.T).s_out.connect(connection.s_in_bap)
    return connection


def size(connection, precision):
    """Bytes a synapse of the arrays in which a program has ``connection``: its states, and what it
    has derived."""
    flat = flatten(connection, lv.RunConfig(precision=precision), get_backend)
    program = compiled(flat, 1, [], get_backend).programs[0]
    node = flat.node_of(connection)
    arrays = [*program.states[node].values(), *program.constants[node].values()]
    large = [x for x in arrays if isinstance(x, np.ndarray) and x.size >= connection.weights.size]
    return sum(x.nbytes for x in large) / connection.weights.size


def sizes(weights, some, rule, whole):
    """Rows of bytes a synapse: of a matrix and of stored ones, in both arithmetics."""
    for precision, learnt in (("floating_pt", rule), ("fixed_pt", whole)):
        for plain, plastic, w in ((Dense, LearningDense, weights), (Sparse, LearningSparse, some)):
            w = np.round(20 * w) if learnt is whole else w
            learning = plastic(weights=w, learning_rule=learnt)
            io.source.RingBuffer(data=np.zeros((len(w), 1))).s_out.connect(learning.s_in_bap)
            each = size(plain(weights=w), precision), size(learning, precision)
            numbers = (*each, each[1] - each[0])
            yield [plastic.__name__, precision, *(f"{x:.2f}" for x in numbers)]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1000)
    parser.add_argument("--outputs", type=int, default=1000)
    parser.add_argument("--activity", type=float, default=0.02)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args(argv)
    g, f = np.random.default_rng(0), np.float32
    n_in, n_out = args.inputs, args.outputs
    pre = (g.random((STEPS, n_in)) < args.activity).astype(f)
    post = (g.random((STEPS, n_out)) < args.activity).astype(f)
    weights = g.standard_normal((n_in, n_out)).astype(f)
    numbers = f(np.exp(-1 / TAU_X)), f(np.exp(-1 / TAU_Y)), f(IMPULSE), f(RATE)

    def state():
        return weights.copy(), np.zeros(n_in, f), np.zeros(n_out, f)

    rule = LearningRule(
        dw="2^-6 * x1 * y0 - 2^-6 * x0 * y1", x1=Trace(IMPULSE, TAU_X), y1=Trace(IMPULSE, TAU_Y)
    )
    dense = fed(LearningDense(weights=weights.T, learning_rule=rule), pre, post)
    whole = LearningRule(dw=rule.dw, x1=Trace(16, TAU_X), y1=Trace(16, TAU_Y))
    fixed = fed(
        LearningDense(weights=np.round(20 * weights.T), learning_rule=whole),
        pre.astype(int),
        post.astype(int),
    )
    tenth = np.where(g.random(weights.T.shape) < 0.1, weights.T, 0)
    sparse = fed(LearningSparse(weights=tenth, learning_rule=rule), pre, post)
    few = fed(
        LearningSparse(weights=np.round(20 * tenth), learning_rule=whole),
        pre.astype(int),
        post.astype(int),
    )
    hand, plain = state(), state()
    out = np.zeros(n_out, f)
    config = lv.RunConfig(precision="floating_pt")
    ways = {
        "lavalike": lambda: dense.run(lv.RunSteps(STEPS), config),
        "by hand": lambda: by_hand(pre, post, *hand, *numbers, out),
        "NumPy": lambda: by_numpy(pre, post, *plain, *numbers, out),
        "fixed_pt": lambda: fixed.run(lv.RunSteps(STEPS), lv.RunConfig(precision="fixed_pt")),
        "a tenth": lambda: sparse.run(lv.RunSteps(STEPS), config),
        "a tenth, fixed_pt": lambda: few.run(
            lv.RunSteps(STEPS), lv.RunConfig(precision="fixed_pt")
        ),
    }
    best = dict.fromkeys(ways, np.inf)
    for _ in range(args.rounds + 1):  # the first compiles; all go on from where they were
        for name, way in ways.items():
            began = time.thread_time()
            way()
            best[name] = min(best[name], time.thread_time() - began)
    rows = [
        [name, f"{1e6 * seconds / STEPS:.1f}", f"{seconds / best['by hand']:.2f}"]
        for name, seconds in best.items()
    ]
    print(f"{n_in} x {n_out} synapses, {args.activity:.0%} of the neurons spike in a step")
    print(table(["", "us a step", "of the hand-written loop"], rows))
    learnt = dense.weights.get().T
    for name, (other, *_) in (("by hand", hand), ("NumPy", plain)):
        print(f"largest difference of a weight to {name}: {np.abs(learnt - other).max():.1e}")
    print(
        table(
            ["bytes a synapse", "", "plain", "plastic", "more"],
            [*sizes(weights.T, tenth, rule, whole)],
        )
    )


if __name__ == "__main__":
    main()
