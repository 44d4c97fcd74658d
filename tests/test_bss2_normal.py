"""The emulated chip's own normal numbers: distribution, tails, independence, and that these tests
see a generator that is broken.

Keys are fixed, so what is tested is always the same numbers: nothing here fails by chance. Every
statistic is told in standard deviations (a probability as the normal deviate that has it) and
passes within 4.5 to either side: too even is wrong as well.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from lavalike.bss2 import normal
from lavalike.fused.llvm import WIDTH

special, stats = pytest.importorskip("scipy.special"), pytest.importorskip("scipy.stats")

SIZE, KEYS = 1 << 18, (0, 1, 0x123456789ABCDEF, 2**63 - 1)
FAR, MANY = 1 << 21, 4096


def drawn(count, key):
    return normal.draw(count, key).numpy().astype(float)


def z_scores(x):
    """By name, how many standard deviations a statistic of (keys, count) normal numbers is off."""
    # variances of the sample moments of a normal distribution: 1, 2, 15, 96 over their number; of
    # the absolute value 1 - 2 / pi
    square = x * x
    moments = {
        "mean": (x, 0, 1),
        "variance": (square, 1, 2),
        "third power": (square * x, 0, 15),
        "fourth power": (square * square, 3, 96),
        "absolute": (np.abs(x), math.sqrt(2 / math.pi), 1 - 2 / math.pi),
    }
    for name, (values, mean, var) in moments.items():
        yield name, (values.mean() - mean) / math.sqrt(var / x.size)
    for kind, y in (("numbers", x), ("squares", (square - 1) / math.sqrt(2))):
        lanes = y.reshape(-1, WIDTH)
        for name, columns in (("keys", y.T), ("lanes", lanes)):
            both = columns.T @ columns / math.sqrt(len(columns))
            for i, j in itertools.combinations(range(len(both)), 2):
                yield f"{kind} of {name} {i} and {j}", both[i, j]
        for lane, total in enumerate(lanes.sum(0) / math.sqrt(len(lanes))):
            yield f"{kind} of lane {lane}", total
        for lag in (1, 2, 3, 5, 8, WIDTH, 2 * WIDTH, 256, normal.GRAIN):
            yield (
                f"{kind} {lag} apart",
                np.vdot(y[:, :-lag], y[:, lag:]) / math.sqrt(y[:, lag:].size),
            )


def tails(far):
    """By name, standard deviations that the count of numbers beyond a limit is off."""
    for limit in (1, 2, 3, 3.5, 4, 4.5):
        expected = len(far) * special.ndtr(-limit)
        for side, values in (("above", far), ("below", -far)):
            yield f"{side} {limit}", ((values > limit).sum() - expected) / math.sqrt(expected)


def p_values(numbers, many):
    """By name, the probability of normal numbers that are less even than these. ``many``: (key,
    counter), few numbers of many keys."""
    for name, x in [
        *((f"key {k}", x) for k, x in enumerate(numbers)),
        *((f"counter {k} of many keys", many[:, k]) for k in (0, 1, 15)),
    ]:
        yield f"Kolmogorov-Smirnov, {name}", stats.kstest(x, "norm").pvalue
        u = special.ndtr(x)
        yield (
            f"256 bins, {name}",
            stats.chisquare(np.bincount((u * 256).astype(int), minlength=256)).pvalue,
        )
        for lag in (1, WIDTH):
            pairs = (u.reshape(-1, 2, lag) * 16).astype(int)
            counts = np.bincount((16 * pairs[:, 0] + pairs[:, 1]).ravel(), minlength=256)
            yield f"pairs {lag} apart, {name}", stats.chisquare(counts).pvalue


def statistics(draw):
    """All of them, as standard deviations: (name, how far off)."""
    numbers = np.stack([draw(SIZE, key) for key in KEYS])
    yield from z_scores(numbers)
    far = draw(FAR, 1)
    yield from tails(far)
    yield "largest", 0.0 if np.abs(far).max() < 5.4 else math.inf
    torch.manual_seed(11)
    many = np.stack([draw(WIDTH, key) for key in normal.keys(MANY)])
    yield from ((name, stats.norm.isf(p)) for name, p in p_values(numbers, many))


def faults(draw):
    """Names of the statistics that are too far off, as they are found."""
    return (name for name, off in statistics(draw) if not abs(off) < 4.5)


def test_the_numbers_are_normal_and_independent():
    assert list(faults(drawn)) == []


def reference(count, key):
    """The module's text in NumPy, in float64 from the uniform number on."""

    def mix(x):
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
            x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
        return x

    low, high = np.uint32(key & 0xFFFFFFFF), np.uint32(key >> 32)
    with np.errstate(over="ignore"):
        n = mix(mix(np.arange(count, dtype=np.uint32) ^ low) + high)
    u = ((n >> np.uint32(9)) + 0.5) * 2.0**-22 - 1
    return math.sqrt(2) * special.erfinv(u)


@pytest.mark.parametrize("key", KEYS)
def test_each_number_is_the_inverse_of_its_counters_uniform_number(key):
    """To what single precision allows: log and polynomial, some 20 operations, where erfinv is
    steepest a few more."""
    want = reference(1 << 16, key)
    np.testing.assert_allclose(
        drawn(1 << 16, key), want, rtol=64 * np.finfo(np.float32).eps, atol=0
    )


def test_all_bits_of_counter_and_key_matter():
    """One bit changed in either: about half of the numbers are on the other side."""
    first = drawn(1 << 12, 5)
    for bit in range(63):
        changed = (drawn(1 << 12, 5 ^ 1 << bit) > 0) != (first > 0)
        assert abs(changed.mean() - 0.5) < 4.5 * 0.5 / 64, bit
    numbers = drawn(1 << 20, 5) > 0
    for bit in range(20):
        halves = numbers.reshape(-1, 2, 1 << bit)
        assert abs((halves[:, 0] != halves[:, 1]).mean() - 0.5) < 4.5 * 0.5 / math.sqrt(1 << 19), (
            bit
        )


def test_keys_follow_torchs_seed_and_no_other():
    torch.manual_seed(3)
    first, second = normal.keys(1000), normal.keys(1000)
    torch.manual_seed(3)
    assert normal.keys(2000) == first + second
    torch.manual_seed(4)
    other = normal.keys(1000)
    assert len({*first, *second, *other}) == 3000
    assert all(0 <= key < 2**63 for key in first)
    assert max(first) > 2**62


@pytest.mark.parametrize("count", [0, 1, WIDTH - 1, WIDTH + 1, 3 * normal.GRAIN + 5])
def test_a_number_depends_on_its_counter_and_key_only(count):
    """Not on how many are asked for, nor on threads; and asking twice is asking once."""
    whole, threads = normal.draw(1 << 18, 9), torch.get_num_threads()
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            assert torch.equal(normal.draw(count, 9), whole[:count])
            assert torch.equal(normal.draw(1 << 18, 9), whole)
    finally:
        torch.set_num_threads(threads)


# -- broken on purpose: each is seen ---------------------------------------------------------------


def uniform(x):
    return math.sqrt(12) * (special.ndtr(x) - 0.5)


def cut(x):
    """Two threads that both begin at 0."""
    half = len(x) // 2
    return np.concatenate([x[:half], x[: len(x) - half]])


def twins(x):
    """Half a vector given twice."""
    y = x.copy().reshape(-1, WIDTH)
    y[:, WIDTH // 2 :] = y[:, : WIDTH // 2]
    return y.ravel()


BROKEN = {
    "wider by 0.5 %": lambda x: 1.005 * x,
    "off by 0.005": lambda x: x + 0.005,
    "uniform": uniform,
    "shorter tails": lambda x: np.sign(x) * np.abs(x) ** 0.97,
    "one side longer": lambda x: np.where(x > 0, x, 1.01 * x),
    "ends at 4": lambda x: np.clip(x, -4, 4),
    "of 32 values": lambda x: np.round(x * 4) / 4,
    "each follows the one before": lambda x: (x + 0.01 * np.roll(x, 1)) / math.sqrt(1.0001),
    "loud and quiet vectors": lambda x: (
        x * np.where(np.arange(len(x)) // WIDTH % 2, 1.02, math.sqrt(2 - 1.02**2))
    ),
    "half a vector twice": twins,
    "one lane off": lambda x: x + 0.03 * (np.arange(len(x)) % WIDTH == 3),
    "one lane's sign stuck": lambda x: np.where(np.arange(len(x)) % WIDTH == 7, np.abs(x), x),
    "threads begin alike": cut,
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_numbers_are_seen(name):
    assert any(faults(lambda count, key: BROKEN[name](drawn(count, key))))


def test_one_stream_for_all_keys_is_seen():
    found = set(faults(lambda count, key: drawn(count, 1)))
    assert found >= {"numbers of keys 0 and 1", "Kolmogorov-Smirnov, counter 0 of many keys"}


@pytest.mark.parametrize(
    ("constant", "value"),
    [
        ("MIX", ((16, 0x7FEB352D), (16, None))),
        ("MIX", ((16, 1), (15, 1), (16, None))),
        ("MIX", ((16, 0x7FEB0000), (15, 0x846C0000), (16, None))),
        ("CENTRE", (*normal.CENTRE[:-2], 0.25, normal.CENTRE[-1])),
        ("TAIL", normal.CENTRE),
        ("TAIL", (*normal.TAIL[:-1], 2.9)),
        ("LOG", normal.LOG[-1:]),
    ],
)
def test_a_damaged_kernel_is_seen(monkeypatch, constant, value):
    monkeypatch.setattr(normal, constant, value)
    normal._fill.cache_clear()
    try:
        assert any(faults(drawn))
    finally:
        normal._fill.cache_clear()
