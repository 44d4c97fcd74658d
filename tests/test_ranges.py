"""Steps of fixed_pt in 32 bits: where it is proved that those hold all that is computed, block by
block; the same bits as in 64."""

import inspect

import numpy as np
import pytest

import lavalike as lv
from lavalike.backends.numba import arithmetic, ranges
from lavalike.dynamics import delta, lif, resonator
from lavalike.dynamics.dynamics import bind
from lavalike.dynamics.ops import leak, wrap
from lavalike.proc import LIF
from lavalike.proc.io.source import RingBuffer

LIF_CONSTANTS = {"keep_u": 2048, "keep_v": 4096, "gain": 64, "bias": 2**23 - 1, "vth": 2**23}
RF_CONSTANTS = {"cos": 4095, "sin": -4095, "bits": 12, "gain": 64, "vth": 2**22}


def bits(dynamics, constants):
    return ranges.bits(dynamics, tuple((k, v, v) for k, v in constants.items()))


def branches(a_in, v, k):
    v = wrap(v * 2 if v > a_in else a_in)
    return v, v


def squares(a_in, v, k):
    return a_in, leak(v * v, k)


def grows(a_in, v, k):
    return a_in, leak(v, k) + a_in


def neuron(step):
    return lv.Dynamics(step, ("a_in",), ("s_out",), ("v",))


@pytest.mark.parametrize(
    ("dynamics", "constants", "want"),
    [
        (lif.LIF, LIF_CONSTANTS, 24),
        (lif.LIF, LIF_CONSTANTS | {"gain": 2**9}, 20),  # 2**24 inputs times 2**9 leave 32 bits
        (lif.LIF, LIF_CONSTANTS | {"vth": 2**31}, 0),
        (resonator.RF, RF_CONSTANTS, 24),
        (delta.DELTA, {"vth": 2**20, "gain": 2**12, "out_scale": 6}, 16),
        (neuron(branches), {"k": 1}, 0),
        (neuron(squares), {"k": 4096}, 12),
        (neuron(grows), {"k": 4096 * 8}, 24),
        (neuron(grows), {"k": 4096 * 2**8}, 20),
    ],
)
def test_how_many_bits_are_proved(dynamics, constants, want):
    assert bits(dynamics, constants) == want


@pytest.mark.parametrize(
    ("dynamics", "constants"), [(lif.LIF, LIF_CONSTANTS), (resonator.RF, RF_CONSTANTS)]
)
def test_words_in_32_bits_are_those_in_64(dynamics, constants):
    """At the ends of what is assumed too, and around the ends of 24 bits."""
    wide, narrow = (
        bind(dynamics.step, table) for table in (arithmetic.TABLES["int32"], arithmetic.NARROW)
    )
    g = np.random.default_rng(0)
    ends = [s * (2**k) + d for k in (12, 23, 24) for s in (-1, 1) for d in (-1, 0, 1)]
    values = [v for v in ends if -(2**24) <= v < 2**24] + [
        int(v) for v in g.integers(-9999, 9999, 9)
    ]
    names = inspect.signature(dynamics.step).parameters
    for _ in range(300):
        some = {n: constants.get(n, values[g.integers(len(values))]) for n in names}
        with np.errstate(over="raise"):
            got = narrow(**{n: np.int32(v) for n, v in some.items()})
        assert tuple(map(int, got)) == tuple(
            map(int, wide(**{n: np.int64(v) for n, v in some.items()}))
        )


def test_a_step_of_scaled_rounds_toward_zero():
    for x in (-8193, -4097, -1, 1, 4097):
        for k in (-4096, -1, 3, 4096):
            want = int(np.fix(x * k / 4096))
            assert int(arithmetic.NARROW["leak"](np.int32(x), np.int32(k))) == want
            assert ranges.WORDS["leak"](ranges.Range(x, x), k).low == want
            assert ranges.WORDS["scaled"](x, k, 12).high == want


def test_blocks_of_any_size_of_values_are_right():
    """A block with inputs beyond 24 bits, which are computed in 64, between two without; a last one
    that is not full."""
    g = np.random.default_rng(1)
    size, steps = 600, 6
    data = g.integers(-(2**14), 2**14, (size, steps))
    # two steps of them apart, or their sums leave 32 bits
    data[256:512:50, [0, 5]] = g.integers(2**24 - 9, 2**24 + 2**21, (6, 2)) * g.choice(
        [-1, 1], (6, 1)
    )
    data[5, 2], data[6, 2], data[7, 2] = 2**24 - 1, 2**24, -(2**24)
    bias = g.integers(-4000, 9000, size)
    cells, source = (
        LIF(shape=(size,), du=1000, dv=300, vth=4000, bias_mant=bias),
        RingBuffer(data=data),
    )
    source.s_out.connect(cells.a_in)
    cells.run(lv.RunSteps(steps), lv.RunConfig(precision="fixed_pt"))

    def kept(x, k):
        return np.fix(x * k / 4096).astype(np.int64)

    def wrapped(x):
        x = np.where(x > 2**23, x - 2**24, x)
        return np.where(x <= -(2**23), x + 2**24, x)

    u, v = np.zeros((2, size), np.int64)
    for t in range(steps):
        u = wrapped(kept(u, 4095 - 1000) + 64 * data[:, t])
        v = np.clip(kept(v, 4096 - 300) + u + bias, 1 - 2**23, 2**23 - 1)
        v = np.where(v > 4000 * 64, 0, v)
    assert (np.abs(u) > 2**24).any()
    np.testing.assert_array_equal(cells.u.get(), u)
    np.testing.assert_array_equal(cells.v.get(), v)
