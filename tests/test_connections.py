"""Connections: events, delay 0 and 1, stored entries with and without delays, and those of other
packages."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch

import lavalike as lv
from lavalike import operations
from lavalike.backends.numba import NumbaModel, connections as numba_connections
from lavalike.backends.numba.events import list_events
from lavalike.backends.torch import ConnectionModel
from lavalike.bss2 import Chip
from lavalike.fused.synapses import Synapses, product
from lavalike.proc import (
    LIF,
    Connection,
    Conv,
    ConvTranspose,
    DelayDense,
    DelaySparse,
    Dense,
    Sigma,
    Sparse,
    drawn,
    io,
)
from lavalike.process import InPort, OutPort, Var

CONFIGS = {
    "float": lv.RunConfig(),
    "float64": lv.RunConfig(dtype="float64"),
    "fixed": lv.RunConfig(precision="fixed_pt"),
    "torch": lv.RunConfig(backend="torch", dtype="float64"),
    "torch fixed": lv.RunConfig(backend="torch", precision="fixed_pt"),
}
EACH = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


# -- events


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_events_are_listed_in_order(dtype):
    """Around the width of a compare, from silence to all; a NaN is an event, -0.0 is none; what is
    not 1 is told."""
    g = np.random.default_rng(0)
    for size in (1, 5, 31, 32, 33, 63, 64, 65, 100):
        for rate in (0, 0.05, 0.5, 1):
            for values in ((1, 2), (1, 3)):
                x = ((g.random(size) < rate) * g.integers(*values, size)).astype(dtype)
                if dtype != np.int32 and size > 40:
                    x[3], x[size - 2] = np.nan, -0.0
                events, odd = np.full(size, -1, np.int32), np.zeros(1, np.int64)
                count = list_events(x, events, odd)
                want = np.flatnonzero(x)
                assert events[:count].tolist() == want.tolist(), (size, rate)
                assert odd[0] == (x[want] != 1).any()


def test_events_on_a_machine_without_wide_vectors():
    """LLVM cuts the compare into what is there: as if for a processor without any extension."""
    code = (
        "import numpy as np; from lavalike.backends.numba.events import list_events; x = np.arange(70) % 3 == 1\n"
        "e = np.zeros(70, np.int32); n = list_events(x.astype(np.float32), e, np.zeros(1, np.int64)); "
        "assert e[:n].tolist() == np.flatnonzero(x).tolist(); print('ok')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NUMBA_CPU_NAME": "generic"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "ok\n", done.stderr


@pytest.mark.filterwarnings("ignore::lavalike.errors.GradedMessageWarning")
@pytest.mark.parametrize("graded", [0, 8])
def test_left_over_rows_are_added_in_order(graded):
    """Whatever number of events is left after fours, each output is their sum in order, bit for
    bit; so is each sample of a batch."""
    g = np.random.default_rng(1)
    w = g.normal(size=(37, 12)).astype(np.float32)
    for kind in (Dense, Sparse):
        x = np.zeros((12, 12, 2), np.float32)
        for k in range(12):
            x[k, g.permutation(12)[: k + 1], 0] = g.integers(1, 5, k + 1)
        connection = kind(weights=w, num_message_bits=graded)
        got = lv.simulate(connection, {"s_in": x})["a_out"][..., 1]
        for k in range(12):
            want = np.zeros(37, np.float32)
            for j in np.flatnonzero(x[k, :, 0]):
                want += (x[k, j, 0] if graded else np.float32(1)) * w[:, j]
            assert (got[k] == want).all(), (kind, k)
            assert (lv.simulate(connection, {"s_in": x[k]})["a_out"][..., 1] == want).all()


def test_a_message_of_infinity_reaches_only_its_own_synapses():
    """Rows that fill up a pass are multiplied with 0, not with what came."""
    x = np.zeros((3, 2))
    x[1, 0] = np.finfo(np.float32).max
    got = lv.simulate(
        Dense(weights=np.array([[1, 4, 1], [0.5, 0, 0.5]]), num_message_bits=24), {"s_in": x}
    )["a_out"]
    assert np.isinf(got[0, 1])
    assert got[1, 1] == 0


# -- delay


def made(kind: str, delay: int, graded: int = 8) -> Connection:
    g = np.random.default_rng(2)
    if kind == "conv":
        return Conv(
            weight=g.integers(-9, 9, (2, 3, 2, 1)),
            input_shape=(5, 4, 1),
            num_message_bits=graded,
            delay=delay,
        )
    if kind == "convT":
        return ConvTranspose(
            weight=g.integers(-9, 9, (1, 3, 2, 2)),
            input_shape=(5, 4, 1),
            num_message_bits=graded,
            delay=delay,
        )
    w = g.integers(-9, 9, (6, 20)) * (g.random((6, 20)) < 0.4)
    return {"dense": Dense, "sparse": Sparse}[kind](weights=w, num_message_bits=graded, delay=delay)


@EACH
@pytest.mark.parametrize("kind", ["dense", "sparse", "conv", "convT"])
def test_delay_0_delivers_in_the_same_step(kind, config):
    """What delay=1 sends one step later, batched or not, in one run or two."""
    x = np.random.default_rng(3).integers(-3, 4, (2, 20, 9))
    late, now = made(kind, 1), made(kind, 0)
    assert (late.delay, now.delay) == (1, 0)
    x = x.reshape(2, *now.s_in.shape, 9)
    want = lv.simulate(late, {"s_in": x}, config=config)["a_out"]
    assert (want != 0).any()
    got = lv.simulate(now, {"s_in": x}, config=config)["a_out"]
    assert (got[..., :-1] == want[..., 1:]).all()
    source, sigma = io.source.RingBuffer(data=x[0]), Sigma(shape=now.a_out.shape)
    source.s_out.connect(now.s_in)
    now.a_out.connect(sigma.a_in)
    for steps in (4, 5):
        sigma.run(lv.RunSteps(steps), config)
    assert (sigma.sigma.get() == got[0].sum(-1)).all()


def test_a_chain_without_delay_is_one_step():
    """A feed-forward network of delay=0 answers in the step of its input, as a trained one does."""
    lif = [LIF(shape=(3,), du=1, dv=1, vth=0.5) for _ in range(2)]
    first, second = (Dense(weights=np.eye(3), delay=0) for _ in range(2))
    lif[0].a_in.connect_from(first.a_out)
    lif[0].s_out.connect(second.s_in)
    second.a_out.connect(lif[1].a_in)
    x = np.eye(3)
    for backend in ("numba", "torch"):
        got = lv.simulate(
            first, {"s_in": x}, config=lv.RunConfig(backend=backend), record=[lif[1].s_out]
        )[lif[1].s_out]
        assert got.tolist() == x.tolist()


@pytest.mark.parametrize("kind", ["dense", "sparse", "conv"])
def test_delay_0_on_a_loop_names_the_loop(kind):
    back = made(kind, 0)
    lif = LIF(shape=back.a_out.shape, name="cells")
    into = Dense(weights=np.ones((back.s_in.size, lif.s_out.size)), delay=0, name="into")
    back.a_out.connect(lif.a_in)
    lif.s_out.flatten().connect(into.s_in)
    into.a_out.reshape(back.s_in.shape).connect(back.s_in)
    with pytest.raises(
        lv.GraphError, match=r"a cycle without delay: .*cells\.s_out -> into\.s_in.*delay=1"
    ):
        lif.run(lv.RunSteps(1))


def test_delay_is_said_once():
    with pytest.raises(AttributeError, match="delay"):
        made("dense", 1).delay = 0
    with pytest.raises(lv.VarError, match=r"DelaySparse: delay is 1.*Dense and Sparse"):
        DelaySparse(weights=np.eye(2), delays=1, delay=0)


# -- stored entries


@EACH
def test_entries_need_no_scipy(config):
    """rows, cols, data, shape: the matrix they stand for, two entries at one place added up, one
    number for all of them."""
    g = np.random.default_rng(4)
    rows, cols, data = g.integers(0, 5, 12), g.integers(0, 7, 12), 2 * g.integers(-9, 9, 12)
    rows[3], cols[3] = rows[0], cols[0]
    x = g.integers(0, 2, (2, 7, 6))
    for given in (data, 4):
        sparse = Sparse(rows=rows, cols=cols, data=given, shape=(5, 7))
        w = np.zeros((5, 7), int)
        np.add.at(w, (rows, cols), given)
        assert (sparse.to_dense() == w).all()
        assert (sparse.fan_out() == np.bincount(cols, minlength=7)).all()
        got = lv.simulate(sparse, {"s_in": x}, config=config)["a_out"]
        assert (got == lv.simulate(Dense(weights=w), {"s_in": x}, config=config)["a_out"]).all()
    sparse.weights.set(data)  # one number no longer
    np.add.at(w := np.zeros((5, 7), int), (rows, cols), data)
    assert (
        lv.simulate(sparse, {"s_in": x}, config=config)["a_out"]
        == lv.simulate(Dense(weights=w), {"s_in": x}, config=config)["a_out"]
    ).all()


def test_scipy_matrices_are_taken():
    scipy = pytest.importorskip("scipy.sparse")
    g = np.random.default_rng(5)
    w, d = g.integers(-9, 9, (4, 6)) * (g.random((4, 6)) < 0.5), g.integers(0, 3, (4, 6))
    for kind in (scipy.csr_matrix, scipy.coo_matrix, scipy.csr_array):
        assert (Sparse(weights=kind(w)).to_dense() == w).all()
        same = DelaySparse(weights=kind(w), delays=kind(d))
        assert (same.delays.get() == d[same.rows, same.cols]).all()


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({}, TypeError, "Sparse: give weights, a matrix .out, in., or rows, cols, data and shape"),
        ({"rows": [0], "data": 1.0}, TypeError, "missing: cols, shape"),
        ({"weights": np.eye(2), "rows": [0]}, TypeError, "got weights, rows"),
        (
            {"rows": [0, 2], "cols": [0, 1], "data": 1, "shape": (2, 2)},
            ValueError,
            r"rows are integers in one row, 0\.\.1 for shape",
        ),
        (
            {"rows": [0, 1], "cols": [0], "data": 1, "shape": (2, 2)},
            ValueError,
            "rows and cols are of one length",
        ),
        (
            {"rows": [], "cols": [], "data": [], "shape": (2, 2)},
            ValueError,
            "no weight is non-zero",
        ),
    ],
)
def test_entries_that_are_none_are_told(kwargs, error, match):
    with pytest.raises(lv.VarError, match=match) as told:
        Sparse(**kwargs)
    assert isinstance(told.value, error)


def _pieces(*arrays, at=(3, 4, 9)):
    """Arrays of one length in chunks, one of which is empty."""
    return list(zip(*(np.split(a, at) for a in arrays), strict=True))


@EACH
@pytest.mark.parametrize("form", ["list", "function", "iterator"])
def test_chunks_are_the_synapses_that_they_hold(config, form):
    """Listed at once or in pieces: the same network, to the bit; what is kept lies by input."""
    g = np.random.default_rng(8)
    rows, cols = g.integers(0, 5, 12), g.integers(0, 7, 12)
    data, delays = (2 * g.integers(-9, 9, 12)).astype(np.int8), g.integers(0, 4, 12)
    x, shape = g.integers(0, 2, (2, 7, 9)), (5, 7)
    for cls, more in ((Sparse, ()), (DelaySparse, (delays,))):
        chunks = _pieces(rows.astype(np.uint8), cols.astype(np.uint64), data, *more)
        chunks = {"list": chunks, "function": lambda c=chunks: iter(c), "iterator": iter(chunks)}[
            form
        ]
        kept = cls(chunks=chunks, shape=shape)
        listed = cls(
            rows=rows, cols=cols, data=data, shape=shape, **({"delays": delays} if more else {})
        )
        assert (np.diff(kept.cols) >= 0).all()
        assert (kept.to_dense() == listed.to_dense()).all()
        assert (kept.fan_out() == listed.fan_out()).all()
        assert kept.weights.get().dtype == np.int8
        got, want = (lv.simulate(c, {"s_in": x}, config=config)["a_out"] for c in (kept, listed))
        assert (got == want).all()
        assert want.any()


def test_many_entries_are_sorted_as_few_are(monkeypatch):
    g = np.random.default_rng(2)
    rows, cols = g.integers(0, 9, 300), g.integers(0, 11, 300)
    listed = Sparse(rows=rows, cols=cols, data=1.0, shape=(9, 11))
    few = numba_connections.by_input(listed)
    monkeypatch.setattr(numba_connections, "MANY", 1)
    for a, b in zip(few, numba_connections.by_input(listed), strict=True):
        assert (a == b).all()


def test_chunks_may_say_one_number_for_all():
    chunks = [([0, 1], [2, 0], 3, 1), ([2], [1], 4, [2])]
    kept = DelaySparse(chunks=chunks, shape=(3, 3))
    assert kept.to_dense().tolist() == [[0, 0, 3], [3, 0, 0], [0, 4, 0]]
    assert (kept.delays.get()[np.argsort(kept.rows)] == [1, 1, 2]).all()
    same = DelaySparse(chunks=[c[:3] for c in chunks], delays=1, shape=(3, 3))
    assert (same.delays.get() == 1).all()


def test_the_kernel_reads_chunks_where_they_stand(monkeypatch):
    """No weight, output or delay of very many synapses is in memory twice, and the sums are the
    same bits."""
    rule = lv.proc.RandomSynapses(
        (40, 30),
        per_output=6,
        data=lambda rng, n: rng.normal(0, 1, n).astype(np.float32),
        delays=lambda rng, n: rng.integers(0, 5, n, dtype=np.uint8),
        seed=3,
    )
    x = np.random.default_rng(0).integers(0, 2, (30, 12))
    sent = []
    for least in (numba_connections.VERY_MANY, 0):
        monkeypatch.setattr(numba_connections, "VERY_MANY", least)
        kept = DelaySparse(chunks=rule, shape=rule.shape)
        sent.append(lv.simulate(kept, {"s_in": x})["a_out"])
    assert (sent[0] == sent[1]).all()
    assert sent[0].any()
    kept.run(lv.RunSteps(1))
    (constants,) = kept.runtime.program.programs[0].constants.values()
    for name, held in (
        ("entries", kept.weights.value),
        ("place", kept.rows),
        ("wait", kept.delays.value),
    ):
        assert np.shares_memory(constants[name], held), name
    kept.stop()


@pytest.mark.parametrize(
    ("rule", "count"),
    [({"per_input": 3}, 90), ({"per_output": 3}, 120), ({"probability": 1}, 1200)],
)
def test_synapses_are_drawn_by_rule_and_seed(rule, count):
    synapses = lv.proc.RandomSynapses((40, 30), data=1, **rule)
    first, again = (Sparse(chunks=synapses, shape=(40, 30)) for _ in range(2))
    other = Sparse(chunks=lv.proc.RandomSynapses((40, 30), data=1, seed=1, **rule), shape=(40, 30))
    matrix = first.to_dense()
    assert (matrix == again.to_dense()).all()
    assert matrix.sum() == count
    assert (matrix != other.to_dense()).any() == ("probability" not in rule)
    if "per_input" in rule:
        assert (matrix.sum(0) == 3).all()
    if "per_output" in rule:
        assert (matrix.sum(1) == 3).all()


def test_each_pair_is_drawn_for_itself(monkeypatch):
    """Chunks of a few inputs each: about p of all pairs, none of them twice, and as many at the
    chunks' edges."""
    monkeypatch.setattr(drawn, "CHUNK", 500)
    rule = lv.proc.RandomSynapses((200, 300), probability=0.1, data=1)
    assert len(list(rule)) == 12  # 25 inputs of 20 synapses each
    matrix = Sparse(chunks=rule, shape=(200, 300)).to_dense()
    assert matrix.max() == 1
    spread = (0.1 * 0.9 / matrix.size) ** 0.5
    assert abs(matrix.mean() - 0.1) < 6 * spread
    edges = np.r_[matrix[:, ::25].ravel(), matrix[:, 24::25].ravel()]
    assert abs(edges.mean() - 0.1) < 6 * (0.09 / edges.size) ** 0.5


@pytest.mark.parametrize(
    ("chunks", "match"),
    [
        ([([0], [0])], r"chunk 0: \(rows, cols, data\) is needed"),
        ([([0], [0], 1.0), ([0], [9], 1.0)], r"chunk 1: cols are integers in one row, 0\.\.1"),
        ([([0], [0], [np.nan])], "chunk 0: data is finite"),
        ([([0, 1], [0], 1)], "chunk 0: rows and cols are of one length"),
        ([], "no weight is non-zero"),
        (7, "chunks are some"),
    ],
)
def test_chunks_that_are_none_are_told(chunks, match):
    with pytest.raises(lv.VarError, match=match):
        Sparse(chunks=chunks, shape=(2, 2))


def test_delays_are_given_once_and_chunks_twice_the_same():
    one = ([0], [0], 1.0, 2)
    with pytest.raises(lv.VarError, match="DelaySparse: delays is missing"):
        DelaySparse(chunks=[one[:3]], shape=(2, 2))
    with pytest.raises(lv.VarError, match="give one of them"):
        DelaySparse(chunks=[one], delays=1, shape=(2, 2))
    with pytest.raises(lv.VarError, match="some chunks have delays and others have none"):
        DelaySparse(chunks=[one, one[:3]], shape=(2, 2))
    with pytest.raises(lv.VarError, match="chunk 0: delays is an int >= 0"):
        DelaySparse(chunks=[(*one[:3], -1)], shape=(2, 2))
    for first, second in (
        ([([0], [0], 1.0)], [([0], [1], 1.0)]),
        ([([0], [0], 1.0)], [([0], [0], 1.0), ([0], [1], 1.0)]),
        ([([0], [0], 1)], [([0], [0], 0.5)]),  # a fraction would be cut
        ([one], [(*one[:3], 300)]),  # a delay that 8 bits do not hold
    ):
        times = iter([first, second])
        with pytest.raises(lv.VarError, match="other synapses when they were read again"):
            (DelaySparse if len(first[0]) == 4 else Sparse)(
                chunks=lambda times=times: next(times), shape=(2, 2)
            )


@pytest.mark.parametrize("cls", [Dense, Sparse, DelayDense, DelaySparse])
def test_the_most_negative_weight_of_8_bits_counts(cls):
    """Sums beyond 32 bits are told whatever the dtype of the weights: 8 bits have no 128."""
    weights, delays = np.array([[-128]], np.int8), {"delays": 0} if "Delay" in cls.__name__ else {}
    connection = cls(weights=weights, num_message_bits=32, **delays)
    x = np.full((1, 1, 3), 2**25)
    with pytest.raises(lv.RunError, match="a sum left the 32 bits"):
        lv.simulate(connection, {"s_in": x}, config=CONFIGS["fixed"])


def test_delays_of_few_bits_are_set_up_to_the_largest():
    given = np.array([[3]], np.uint8)
    for connection in (
        DelayDense(weights=[[1.0]], delays=given, max_delay=300),
        DelaySparse(chunks=[([0], [0], 1.0, given[0])], shape=(1, 1), max_delay=300),
    ):
        connection.delays.set(299)
        x = np.zeros((1, 1, 302))
        x[..., 0] = 1
        assert lv.simulate(connection, {"s_in": x})["a_out"].nonzero()[-1] == 300


@EACH
def test_what_is_set_between_runs_is_not_left_over(config):
    """Outputs that the last step wrote are cleared one by one; what stands there otherwise is
    cleared too."""
    x = np.zeros((60, 9))
    x[[3, 40, 3, 59, 7], [0, 1, 3, 4, 7]] = 1
    w = np.diag(np.arange(60)) * 2 + np.eye(60, k=3, dtype=int) * 4
    sent = []
    for kind in (Sparse, Dense):
        source, connection, sigma = (
            io.source.RingBuffer(data=x),
            kind(weights=w),
            Sigma(shape=(60,)),
        )
        source.s_out.connect(connection.s_in)
        connection.a_out.connect(sigma.a_in)
        for steps in (2, 1, 4, 2):
            sigma.run(lv.RunSteps(steps), config)
            connection.a_buff.set(np.arange(60))
        sent.append(sigma.sigma.get())
    assert (sent[0] == sent[1]).all()
    assert sent[0].any()


@EACH
@pytest.mark.parametrize("exp", [-3, 0, 2])
@pytest.mark.parametrize("graded", [0, 8])
def test_delays_of_stored_entries_equal_those_of_a_matrix(config, exp, graded):
    """The same bits as DelayDense in numba, batched; rounding apart on torch."""
    g = np.random.default_rng(6)
    w = 2 * g.integers(-40, 40, (9, 7)) * (g.random((9, 7)) < 0.4)
    w = w if config.fixed else w * 0.37
    d = g.integers(0, 5, (9, 7))
    x = g.integers(-3 if graded else 0, 4 if graded else 2, (3, 7, 12))
    kwargs = {
        "weights": w,
        "delays": d,
        "weight_exp": exp,
        "num_message_bits": graded,
        "max_delay": 6,
    }
    want = lv.simulate(DelayDense(**kwargs), {"s_in": x}, config=config)["a_out"]
    assert (want != 0).any()
    sparse = DelaySparse(**kwargs)
    for other in (
        sparse,
        DelaySparse(
            rows=sparse.rows,
            cols=sparse.cols,
            data=sparse.weights.get(),
            shape=(9, 7),
            **{**kwargs, "weights": None, "delays": sparse.delays.get()},
        ),
    ):
        got = lv.simulate(other, {"s_in": x}, config=config)["a_out"]
        if config.backend == "torch" and not config.fixed:
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * np.abs(want).max())
        else:
            assert (got == want).all()


@EACH
def test_what_is_under_way_arrives(config):
    """Messages in the ring arrive when they should however runs are cut, after what is read and set
    between, and in a simulate that begins with them."""
    g = np.random.default_rng(7)
    x = g.integers(0, 2, (5, 20))
    kwargs = {
        "weights": 2 * g.integers(1, 9, (4, 5)) * (g.random((4, 5)) < 0.6),
        "delays": g.integers(0, 6, (4, 5)),
    }
    whole = lv.simulate(DelayDense(**kwargs), {"s_in": x}, config=config)["a_out"]
    source, sparse, sigma = io.source.RingBuffer(data=x), DelaySparse(**kwargs), Sigma(shape=(4,))
    source.s_out.connect(sparse.s_in)
    sparse.a_out.connect(sigma.a_in)
    for steps in (3, 8, 9):
        sigma.run(lv.RunSteps(steps), config)
        sparse.a_buff.set(sparse.a_buff.get())
    assert (sigma.sigma.get() == whole.sum(1)).all()
    first, second = DelaySparse(**kwargs), DelaySparse(**kwargs)
    rec = lv.simulate(first, {"s_in": x[:, :7]}, config=config, record=[first.a_out, first.a_buff])
    second.a_buff.set(rec[first.a_buff][..., -1])
    rest = lv.simulate(second, {"s_in": x[:, 7:]}, config=config)["a_out"]
    assert (np.concatenate([rec[first.a_out], rest], -1) == whole).all()


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_20_000_neurons_with_a_delay_a_synapse(backend):
    """A recurrent network whose matrix would be 1.6 GB (3.2 with delays) takes what its synapses
    and 8 slots a neuron take."""
    n, each = 20_000, 5
    g = np.random.default_rng(8)
    back = DelaySparse(
        rows=g.integers(0, n, n * each),
        cols=np.repeat(np.arange(n), each),
        data=0.1,
        shape=(n, n),
        delays=g.integers(0, 8, n * each),
    )
    lif = LIF(shape=(n,), du=1.0, bias_mant=0.3, vth=1.0)
    lif.s_out.connect(back.s_in)
    back.a_out.connect(lif.a_in)
    tracemalloc.start()
    lif.run(lv.RunSteps(8), lv.RunConfig(backend=backend))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (lif.v.get() != 0).any()
    assert most < 200 * (n * each) + 100 * 8 * n  # some arrays of 8 bytes a synapse and a slot


# -- of another package


class OneToOne(Connection):
    def __init__(self, *, weights, **kwargs):
        weights = np.asarray(weights, float)
        super().__init__(shape_in=weights.shape, shape_out=weights.shape, **kwargs)
        self.weights = Var(weights.shape, weights, role="parameter", trainable=True)

    def fan_out(self):
        return np.ones(self.s_in.shape, int)


@lv.implements(OneToOne, backend="numba", precision="floating_pt")
class OneToOneModel(NumbaModel):
    def step(s_in, a_out, weights):
        for i in range(s_in.size):
            a_out[i] = weights[i] * s_in[i]


@lv.implements(OneToOne, backend="torch", precision="floating_pt")
class TorchOneToOne(ConnectionModel):
    def product(self, s, c, first=1):
        return s * c["weights"][:, None]


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("kind", [DelayDense, DelaySparse])
def test_fixed_pt_has_delays_up_to_63(kind, backend):
    process = kind(weights=[[1, 2]], delays=[[1, 64]])
    lv.simulate(process, steps=1, config=lv.RunConfig(backend=backend))
    with pytest.raises(lv.VarError, match=r"delays: 64 is outside 0\.\.63"):
        lv.simulate(process, steps=1, config=lv.RunConfig(backend=backend, precision="fixed_pt"))


def test_a_connection_of_another_package_is_counted_right():
    """16 for 4 while every process with s_in and a_out was taken for all-to-all."""
    four = OneToOne(weights=[1, 2, 3, 4])
    found = operations.count(four, np.ones((4, 5)))
    assert (found.events, found.synops, found.macs) == (4, 4, 4)
    assert operations.fan_out(four).tolist() == [1, 1, 1, 1]

    class Silent(Connection):
        pass

    with pytest.raises(
        lv.InputError, match=r"Silent does not say how many synapses an input has.*fan_out\(\)"
    ):
        operations.fan_out(Silent(shape_in=4, shape_out=4))

    class Other(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.s_in, self.a_out = InPort((4,)), OutPort((4,))

    with pytest.raises(TypeError, match=r"connection is a lavalike\.proc\.Connection"):
        operations.count(Other(), np.ones((4, 5)))


@pytest.mark.parametrize("delay", [0, 1])
def test_a_connection_of_another_package_has_its_delay(delay):
    """The process says it, not the decorator of its model; torch has both from one product."""
    x = np.random.default_rng(9).random((2, 4, 6))
    want = np.zeros((2, 4, 6 + delay))
    want[..., delay:] = x * np.array([1, 2, 3, 4])[:, None]
    for backend in ("numba", "torch"):
        config = lv.RunConfig(backend=backend, dtype="float64")
        got = lv.simulate(
            OneToOne(weights=[1, 2, 3, 4], delay=delay, num_message_bits=16),
            {"s_in": x},
            config=config,
        )["a_out"]
        np.testing.assert_allclose(got, want[..., :6], rtol=1e-15)


def test_a_connection_of_another_package_on_a_chip():
    """Its synapses are laid out by the torch model's product, as those of the matrix it stands
    for."""
    x = (np.random.default_rng(10).random((4, 40)) < 0.2) * 1.0
    config = lv.RunConfig(backend="bss2", chip=Chip(level="ideal"))

    class Net(lv.AbstractProcess):
        def __init__(self, connection):
            super().__init__()
            self.inp, self.out, self.connection = InPort((4,)), OutPort((4,)), connection
            self.lif = LIF(shape=(4,), du=0.5, dv=0.1, vth=1.0)
            self.inp.connect(connection.s_in)
            connection.a_out.connect(self.lif.a_in)
            self.lif.s_out.connect(self.out)

    sent = [
        lv.simulate(Net(connection), {"inp": x}, config=config)["out"]
        for connection in (
            OneToOne(weights=[0.5, 1, 1.5, 2]),
            Dense(weights=np.diag([0.5, 1, 1.5, 2])),
        )
    ]
    assert sent[0].sum() > 5
    assert (sent[0] == sent[1]).all()
    with pytest.raises(
        lv.GraphError, match=r"Net\.connection: delay=0, but a spike of a chip's step"
    ):
        lv.simulate(Net(OneToOne(weights=[1, 1, 1, 1], delay=0)), {"inp": x}, config=config)


# -- memory and gradients of stored synapses -------------------------------------------------------


MANY = 200_000  # a matrix of so many by so many would take 320 GB


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("kind", [Sparse, DelaySparse])
def test_torch_holds_synapses_and_no_matrix(kind, fixed):
    g = np.random.default_rng(3)
    rows, cols = g.integers(0, MANY, (2, 500))
    rows[:3], cols[:3] = MANY - 1, MANY - 1  # three synapses at one place
    data = g.integers(-12, 13, 500) * 2 if fixed else g.normal(size=500)
    delays = g.integers(0, 3, 500)
    x = (g.random((2, MANY, 3)) < 0.5).astype(int)
    more = {"delays": delays} if kind is DelaySparse else {}
    want = np.zeros((2, MANY, 3))
    for t in range(3):
        for row, col, w, d in zip(rows, cols, data, delays * bool(more), strict=True):
            if t + 1 + d < 3:
                want[:, row, t + 1 + d] += w * x[:, col, t]
    got = {}
    for backend in ("torch", "numba"):
        process = kind(rows=rows, cols=cols, data=data, shape=(MANY, MANY), **more)
        config = lv.RunConfig(
            backend=backend,
            dtype="float64",
            precision="fixed_pt" if fixed else "floating_pt",
        )
        got[backend] = lv.simulate(process, {"s_in": x}, config=config)["a_out"]
    assert np.abs(want).sum() > 10
    np.testing.assert_allclose(got["torch"], want, atol=0 if fixed else 1e-14)
    np.testing.assert_allclose(got["torch"], got["numba"], atol=0 if fixed else 1e-14)


@pytest.mark.parametrize("kind", [Sparse, DelaySparse])
def test_gradients_of_stored_synapses_are_the_matrixs(kind):
    g = np.random.default_rng(4)
    rows, cols = np.array([0, 2, 2, 2, 4]), np.array([1, 1, 3, 3, 0])  # one pair twice
    data = g.normal(size=5)
    more = {"delays": 1} if kind is DelaySparse else {}
    sparse = kind(rows=rows, cols=cols, data=data, shape=(5, 4), num_message_bits=8, **more)
    dense = (DelayDense if more else Dense)(weights=sparse.to_dense(), num_message_bits=8, **more)
    x = torch.tensor(g.normal(size=(3, 4, 6)), requires_grad=True)
    there = torch.tensor(g.normal(size=(3, 5, 6)))
    found = []
    for process in (sparse, dense):
        module = lv.to_torch(process, dtype="float64")
        y = module(x)
        (weights,) = module.parameters()
        first = torch.autograd.grad(y, (x, weights), there, create_graph=True)
        # of the gradients' squares, which asks for gradients of gradients
        second = torch.autograd.grad(sum(f.pow(2).sum() for f in first[:1]), weights)
        found.append(
            (y, first[0], *(w[rows, cols] if w.dim() == 2 else w for w in (first[1], *second)))
        )
    assert found[0][2].shape == (5,)
    for ours, want in zip(*found, strict=True):
        torch.testing.assert_close(ours, want)


def test_stored_synapses_in_transforms_of_torch_func():
    where = Synapses(torch.tensor([0, 2, 2]), torch.tensor([1, 0, 1]), (3, 2))
    w, x = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[1.0, 2.0], [10.0, 20.0]])
    want = torch.tensor([[10.0, 20.0], [0.0, 0.0], [32.0, 64.0]])
    assert torch.equal(product(where, w, x), want)
    several = torch.func.vmap(lambda k: product(where, k * w, x))(torch.tensor([1.0, 2.0]))
    assert torch.equal(several, torch.stack([want, 2 * want]))
    of_w = torch.func.grad(lambda v: product(where, v, x).sum())(w)
    assert torch.equal(of_w, torch.tensor([30.0, 3.0, 30.0]))
    assert torch.autograd.gradgradcheck(
        lambda v, y: product(where, v, y),
        (w.double().requires_grad_(), x.double().requires_grad_()),
    )
