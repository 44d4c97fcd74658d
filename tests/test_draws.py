"""Random numbers follow from seed, process, step and sample, and from nothing else."""

from __future__ import annotations

import random

import numba
import numpy as np
import pytest

import lavalike as lv
from lavalike.backends.numba.draws import philox
from lavalike.errors import InputTypeError, VarError
from lavalike.proc import Monitor
from lavalike.proc.io import source

X = np.zeros((4, 3, 12))


class Drawing(lv.AbstractProcess):
    def __init__(self, name=None):
        super().__init__(name=name)
        self.a_in, self.s_out = lv.InPort((3,)), lv.OutPort((3,))
        self.v = lv.Var((3,), 0.0)


@numba.njit
def helped(scale):
    return scale * np.random.random()  # noqa: NPY002


@lv.implements(Drawing, backend="numba", precision="floating_pt")
class DrawingModel(lv.NumbaModel):
    def step(a_in, s_out, v):
        for i in range(s_out.size):
            s_out[i] = np.random.standard_normal() + helped(100.0)  # noqa: NPY002
            v[i] += random.random()
            if a_in[i] > 0:
                raise ValueError("a spike")


def config(**kwargs):
    return lv.RunConfig(dtype="float64", **kwargs)


def drawn(process=None, inputs=None, **kwargs):
    rec = lv.simulate(
        process or Drawing(),
        {"a_in": X if inputs is None else inputs},
        config=config(**kwargs),
        record=["v"],
    )
    return np.concatenate([rec["s_out"], rec["v"]], -1)


def test_the_generator_is_philox():
    """The answers to zeros that its authors publish."""
    words = philox(np.zeros(2, np.int64), 0, 0, 0)
    assert [hex(int(w)) for w in words] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]


def test_a_seed_decides_whatever_the_threads_the_batch_and_the_cut():
    once = drawn(seed=3)
    assert len(np.unique(once)) == once.size, "every step, sample and element has its own"
    for other in ({"threads": 1}, {"threads": 3}, {"debug": True}):
        np.testing.assert_array_equal(drawn(seed=3, **other), once)
    np.testing.assert_array_equal(drawn(seed=3, inputs=X[:2]), once[:2])
    assert not np.isin(drawn(seed=4), once).any()
    assert not np.isin(drawn(Drawing(name="other"), seed=3), once).any()
    process, monitor = Drawing(), Monitor()
    monitor.probe(process.s_out, 12)
    with process:
        for steps in (1, 4, 7):
            process.run(lv.RunSteps(steps), config(seed=3))
    rows = monitor.get_data()["Drawing"]["s_out"]
    np.testing.assert_array_equal(np.asarray(rows).T, once[0, :, :12])


def test_numpys_global_seed_repeats_a_program():
    """Without RunConfig(seed=) its generator gives one when the first run begins, and is asked once
    until stop()."""

    def program():
        process, found = Drawing(), []
        with process:
            for steps in (2, 3):
                process.run(lv.RunSteps(steps), config())
                found.append(process.v.get())
        return found, np.random.random()  # noqa: NPY002

    np.random.seed(5)  # noqa: NPY002
    first = program()
    second = program()
    np.random.seed(5)  # noqa: NPY002
    again = program()
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1], "and nothing else is drawn from it"
    assert not np.array_equal(first[0], second[0])
    process = Drawing()
    np.random.seed(5)  # noqa: NPY002
    with process:
        process.run(lv.RunSteps(5), config())
        np.testing.assert_array_equal(process.v.get(), first[0][1])


def test_a_step_that_draws_and_raises_does_so_again_in_the_same_place():
    spikes = X.copy()
    spikes[2, 1, 7] = 1
    for debug in (False, True):
        with pytest.raises(ValueError, match=r"Drawing, step 8, sample 2: a spike"):
            drawn(inputs=spikes, seed=3, debug=debug)
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    drawn(seed=3, debug=True)
    after = random.getstate(), np.random.get_state()  # noqa: NPY002
    assert before[0] == after[0]
    assert before[1][2] == after[1][2], "what a program draws itself goes on as it was"


@pytest.mark.parametrize("precision", ["floating_pt", "fixed_pt"])
def test_noise_has_its_mean_and_deviation(precision):
    noise = source.Noise(shape=(3,), mean=[0, 100, 0], std=[10, 20, 0], seed=1)
    rows = lv.simulate(noise, steps=4000, config=lv.RunConfig(precision=precision))["s_out"]
    for row, mean, std in zip(rows, (0, 100, 0), (10, 20, 0), strict=True):
        assert abs(row.mean() - mean) <= 5 * std / 4000**0.5  # five of its own deviations
        assert abs(row.std() - std) <= 5 * std / 8000**0.5
    if precision == "fixed_pt":
        assert rows.dtype == np.int32


def test_poisson_spikes_come_at_their_rates_and_apart():
    rates = np.array([0.0, 0.02, 0.5, 1.0, 0.3])
    spikes = source.Poisson(shape=(5,), rate=rates, seed=1)
    rows = lv.simulate(spikes, steps=4000)["s_out"]
    assert set(np.unique(rows)) == {0, 1}
    limit = 5 * np.sqrt(rates * (1 - rates) / 4000)
    assert (np.abs(rows.mean(1) - rates) <= limit).all()
    together = (rows[2] * rows[4]).mean()
    assert abs(together - 0.15) <= 5 * np.sqrt(0.15 * 0.85 / 4000)


def test_sources_of_one_graph_differ_unless_their_seeds_are_one():
    class Net(lv.AbstractProcess):
        def __init__(self, *seeds):
            super().__init__()
            self.sources = [source.Noise(shape=(2,), seed=s) for s in seeds]
            self.out = lv.OutPort((2 * len(seeds),))
            first, *others = [s.s_out for s in self.sources]
            first.concat_with(others).connect(self.out)

    def sent(*seeds, **kwargs):
        return lv.simulate(Net(*seeds), steps=3, config=config(**kwargs))["out"]

    own = sent(None, None, 7, 7, seed=1)
    assert len(np.unique(own)) == 18
    np.testing.assert_array_equal(own[4:6], own[6:])
    np.testing.assert_array_equal(sent(7, 8, seed=2)[:2], own[4:6])
    np.testing.assert_array_equal(sent(None, 8, seed=1)[:2], own[:2])


def test_what_is_no_seed_rate_or_deviation():
    with pytest.raises(InputTypeError, match="seed"):
        lv.RunConfig(seed=0.5)
    for wrong in (source.Poisson(shape=(2,), rate=1.5), source.Noise(shape=(2,), std=-1)):
        with pytest.raises(VarError, match=r"(Poisson\.rate: 1\.5|Noise\.std: -1\.0) is outside"):
            lv.simulate(wrong, steps=1)
