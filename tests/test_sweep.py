"""simulate_many: a network for many inputs, the same by whatever executor, in order, and once."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import sys
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest

import lavalike as lv
from lavalike import GraphFileError, InputError, RunConfig, RunError, container
from lavalike.proc import LIF, Dense
from lavalike.proc.io import source
from lavalike.sweep import _compute, seed_of

SEED = RunConfig(seed=11)


class Net(lv.AbstractProcess):
    def __init__(self, weight=0.5):
        super().__init__()
        self.inp = lv.InPort((3,))
        self.noise = source.Noise(shape=(2,), std=0.5)
        self.dense = Dense(weights=np.full((2, 3), weight))
        self.lif = LIF(shape=(2,), du=0.5, dv=0.1, vth=1.0)
        self.out = lv.OutPort((2,))
        self.inp.connect(self.dense.s_in)
        self.dense.a_out.connect(self.lif.a_in)
        self.noise.s_out.connect(self.lif.a_in)
        self.lif.s_out.connect(self.out)


class Failing(lv.AbstractProcess):
    """Python, which draws from NumPy's global generator, and fails where it is asked to."""

    def __init__(self):
        super().__init__()
        self.inp, self.out = lv.InPort((1,)), lv.OutPort((1,))
        self.inside = lv.Var((1,), 0.0)


class OddError(Exception):
    """One that no pickle brings back."""

    def __init__(self, a, b):
        super().__init__(a)


@lv.implements(Failing, backend="numpy")
class FailingModel(lv.NumpyModel):
    def run_spk(self):
        x = self.inp.recv()
        if x[0] == 3:
            raise OddError("three", 3)
        if x[0] == 4:
            os._exit(1)
        self.out.send(x + np.random.random() + random.random())  # noqa: NPY002


def items(n=7):
    g = np.random.default_rng(2)
    return [
        {"inp": (g.random((3, 12 + k)) < 0.5).astype(float), "lif.vth": 0.8 + k / 10}
        for k in range(n)
    ]


def same(got, want):
    got, want = list(got), list(want)
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert [t.path for t in a] == [t.path for t in b]
        for x, y in zip(a.values(), b.values(), strict=True):
            np.testing.assert_array_equal(x, y)
            assert x.dtype == y.dtype


def by_hand(k, item):
    net = Net()
    net.lif.vth.set(item["lif.vth"])
    config = RunConfig(seed=seed_of(11, k))
    return lv.simulate(net, {"inp": item["inp"]}, config=config, record=["lif.v"])


def test_every_item_is_a_simulate_of_its_own_and_the_net_stays():
    net = Net()
    want = [by_hand(k, item) for k, item in enumerate(items())]
    assert len({w["lif.v"][0, :12].tobytes() for w in want}) == 7
    found = lv.simulate_many(net, iter(items()), config=SEED, record=["lif.v"])
    first = next(found)
    assert first["out"].shape == (2, 12)
    assert first[net.lif.v].dtype == np.float32
    same([first, *found], want)
    np.testing.assert_array_equal(net.lif.vth.get(), 1.0)
    assert net.step == 0
    with pytest.raises(RunError, match="simulate keeps the program"):
        first.program  # noqa: B018
    with ThreadPoolExecutor(3) as pool:
        same(lv.simulate_many(net, items(), config=SEED, record=["lif.v"], executor=pool), want)
        batch = [{"inp": np.ones((4, 3, 5))}] * 2
        (a, b) = lv.simulate_many(net, batch, config=SEED, executor=pool)
    assert a["out"].shape == (4, 2, 5)
    assert not np.array_equal(a["out"], b["out"])  # each with noise of its own


def test_the_network_goes_to_a_worker_once(monkeypatch):
    net, pool, sent = Net(), ThreadPoolExecutor(2), []

    def submit(function, caller, digest, data, *args):
        sent.append(data is not None)
        return ThreadPoolExecutor.submit(pool, function, caller, digest, data, *args)

    monkeypatch.setattr(pool, "submit", submit)
    with pool:
        found = list(lv.simulate_many(net, items(3) * 8, config=SEED, executor=pool))
    assert len(found) == 24
    assert 2 <= sum(sent) <= 2 + 2 * 2
    # a worker that does not have it says so
    thread = ThreadPoolExecutor(1)
    with thread:
        assert thread.submit(_compute, (), "#none", None, 0, {}).result() is None


@pytest.fixture(scope="module")
def spawned():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def test_spawned_processes_and_what_python_models_draw(spawned):
    want = list(lv.simulate_many(Net(), items(4), config=SEED))
    same(lv.simulate_many(Net(), items(4), config=SEED, executor=spawned), want)
    state = np.random.get_state()  # noqa: NPY002
    python = [{"inp": np.ones((1, 6))}] * 4
    want = list(lv.simulate_many(Failing(), python, config=SEED))
    assert np.random.get_state()[2] == state[2]  # noqa: NPY002
    assert len({w["out"].tobytes() for w in want}) == 4
    same(lv.simulate_many(Failing(), python, config=SEED, executor=spawned), want)
    with ThreadPoolExecutor(4) as pool:
        same(lv.simulate_many(Failing(), python, config=SEED, executor=pool), want)


@pytest.mark.parametrize("kind", ["here", "threads", "processes"])
def test_an_error_names_its_item(kind, spawned):
    inputs = [{"inp": np.full((1, 2), k)} for k in (0, 1, 3, 0)]
    threads = ThreadPoolExecutor(2)
    with threads:
        pool = {"here": None, "threads": threads, "processes": spawned}[kind]
        found = lv.simulate_many(Failing(), inputs, config=SEED, executor=pool)
        assert [next(found)["out"].shape for _ in range(2)] == [(1, 2)] * 2
        with pytest.raises(RunError, match=r"simulate_many: item 2: .*three") as caught:
            next(found)
    if kind != "processes":
        assert isinstance(caught.value, OddError)
    else:
        assert "raise OddError" in "".join(caught.value.__cause__.__notes__)
    assert "three" in str(caught.value.__cause__)
    bad = [{"inp": np.ones((1, 2))}, {"inp": np.ones((2, 2))}]
    with pytest.raises(InputError, match=r"item 1: .*input has shape \(2, 2\)"):
        list(lv.simulate_many(Failing(), bad, config=SEED))


class Broken(Executor):
    """Its worker dies at the second item."""

    def __init__(self):
        self.calls = 0

    def submit(self, function, /, *args, **kwargs):
        self.calls += 1
        if self.calls > 2:
            raise BrokenProcessPool("it is broken")
        future = Future()
        if self.calls == 1:
            future.set_result(function(*args, **kwargs))
        else:
            future.set_exception(BrokenProcessPool("a process was terminated"))
        return future


def test_a_worker_that_dies_is_told():
    pool = Broken()
    found = lv.simulate_many(Net(), items(2), config=SEED, executor=pool, ahead=1)
    next(found)
    with pytest.raises(RunError, match=r"item 1: the executor gave no result .*killed"):
        next(found)
    with pytest.raises(RunError, match="item 0: the executor takes no more: it is broken"):
        next(lv.simulate_many(Net(), items(1), config=SEED, executor=pool))


# -- results on disk ----------------------------------------------------------------------------


def test_a_sweep_goes_on_with_what_is_missing(tmp_path, monkeypatch):
    folder, want = tmp_path / "a" / "runs", list(lv.simulate_many(Net(), items(), config=SEED))
    found = lv.simulate_many(Net(), items(), config=SEED, to=folder)
    for _ in range(3):
        next(found)
    found.close()
    done = sorted(p.name for p in folder.iterdir())
    assert done == ["00000000.h5", "00000001.h5", "00000002.h5", "sweep.h5"]
    (folder / "00000001.h5").unlink()
    computed, run = [], lv.sweep._Job.run
    monkeypatch.setattr(
        lv.sweep._Job, "run", lambda self, k, item: (computed.append(k), run(self, k, item))[1]
    )
    same(lv.simulate_many(Net(), items(), config=SEED, to=folder), want)
    assert computed == [1, 3, 4, 5, 6]
    same(lv.simulate_many(Net(), items(), config=SEED, to=folder), want)
    assert len(computed) == 5


def test_a_seed_that_was_drawn_is_the_sweeps(tmp_path):
    found = lv.simulate_many(Net(), items(2), to=tmp_path, record=["lif.v"])
    want = list(found)
    (tmp_path / "00000001.h5").unlink()
    same(lv.simulate_many(Net(), items(2), to=tmp_path, record=["lif.v"]), want)


def test_whole_numbers_may_be_numpys(tmp_path):
    numpys = {"steps": np.int64(9), "config": RunConfig(seed=np.int64(11))}
    want = list(lv.simulate_many(Net(), items(2), 9, SEED))
    same(lv.simulate_many(Net(), items(2), **numpys, to=tmp_path), want)
    same(lv.simulate_many(Net(), items(2), 9, SEED, to=tmp_path), want)


def test_a_folder_whose_head_is_no_sweeps_is_told(tmp_path):
    head = tmp_path / "sweep.h5"
    encoder = container.Encoder("here")
    for told, problem in ({"format": 9}, "is of format 9"), ({"format": 1}, "damaged: KeyError"):
        head.touch()
        container.written(head, "sweep", encoder.text(told), [])
        with pytest.raises(GraphFileError, match=rf"sweep\.h5: .*{problem}"):
            lv.simulate_many(Net(), items(1), config=SEED, to=tmp_path)


@pytest.mark.parametrize(
    ("make", "more", "problem"),
    [
        (lambda: Net(0.4), {}, r"Net\.dense: its Var weights is other"),
        (Failing, {}, r"there is Failing here"),
        (Net, {"config": RunConfig(seed=12)}, "seed is 11 there and 12 here"),
        (Net, {"steps": 5}, "steps is None there and 5 here"),
        (Net, {"record": ["lif.u"]}, r"record is \['Net.out'\] there"),
        (Net, {"config": RunConfig(seed=11, precision="fixed_pt")}, r"."),
    ],
)
def test_another_sweeps_folder_is_refused(tmp_path, make, more, problem):
    inputs = items(1)
    list(lv.simulate_many(Net(), inputs, config=SEED, to=tmp_path))
    with pytest.raises(lv.LavalikeError, match=problem):
        lv.simulate_many(make(), inputs, **{"config": SEED, "to": tmp_path, **more})


def test_states_are_part_of_what_a_sweep_is(tmp_path):
    list(lv.simulate_many(Net(), items(1), config=SEED, to=tmp_path))
    net = Net()
    net.lif.v.set(0.5)
    with pytest.raises(InputError, match=r"Net\.lif: its Var v is other"):
        lv.simulate_many(net, items(1), config=SEED, to=tmp_path)


def test_other_inputs_and_damage_are_told_by_item(tmp_path):
    inputs = items(2)
    list(lv.simulate_many(Net(), inputs, config=SEED, to=tmp_path))
    file = tmp_path / "00000001.h5"
    with pytest.raises(InputError, match=r"item 1: .*00000001.h5 has the result of other inputs"):
        list(lv.simulate_many(Net(), [inputs[0], inputs[0]], config=SEED, to=tmp_path))
    file.write_bytes(file.read_bytes()[:700])
    with pytest.raises(GraphFileError, match="00000001"):
        list(lv.simulate_many(Net(), inputs, config=SEED, to=tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"to: .*cannot be written to"):
        lv.simulate_many(Net(), inputs, config=SEED, to=tmp_path / "file")


# -- what is refused at once --------------------------------------------------------------------


def test_what_cannot_be_pickled_is_told_before_anything_starts(spawned):
    net = Net()
    net.lock = threading.Lock()
    for pool in (None, spawned):
        with pytest.raises(InputError, match=r"Net cannot be pickled, .*lock"):
            lv.simulate_many(net, items(1), executor=pool)


def test_what_is_of_a_prompt_is_told_before_a_process_is_started(monkeypatch, spawned):
    main = sys.modules["__main__"]

    class Mine(Net):
        __module__, __qualname__ = "__main__", "Mine"

    monkeypatch.setattr(main, "Mine", Mine, raising=False)
    monkeypatch.delattr(main, "__file__", raising=False)
    with pytest.raises(InputError, match=r"Mine: Mine of __main__ is not to be found .*notebook"):
        lv.simulate_many(Mine(), items(1), config=SEED, executor=spawned)
    assert len(list(lv.simulate_many(Mine(), items(1), config=SEED))) == 1


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ([3], r"item 0: a dict of InPorts and Vars, or their names, is expected, got 3"),
        ([{"inq": 1}], r"item 0: Net: no port or Var called 'inq'; did you mean 'inp'"),
        ([{"inp": np.ones((3, 2)), "Net.inp": np.ones((3, 2))}], "item 0: two values for"),
        ([{LIF(shape=(1,)).vth: 1}], r"item 0: LIF.vth \(1,\) is not connected to Net"),
        ([{"inp": np.ones((3, 2))}, {}], "item 1: .*steps is needed"),
        ([{"inp": np.ones((3, 2)), "lif.vth": -np.inf}], "item 0: .*infinite"),
    ],
)
def test_an_item_that_does_not_fit_is_told_by_number(inputs, problem):
    with pytest.raises(lv.LavalikeError, match=problem):
        list(lv.simulate_many(Net(), inputs, config=SEED))


def test_progress(monkeypatch, capsys):
    list(lv.simulate_many(Net(), items(2), config=SEED, progress=True))
    assert "2/2" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    list(lv.simulate_many(Net(), iter(items(2)), config=SEED, progress=True))
    assert "simulate_many: 2 items, 0 s" in capsys.readouterr().err
    list(lv.simulate_many(Net(), items(2), config=SEED))
    assert capsys.readouterr().err == ""


def test_an_error_that_is_sent_is_itself_where_it_can_be():
    from lavalike.sweep import _sendable

    error = InputError("one")
    assert _sendable(error) is error
    assert pickle.loads(pickle.dumps(_sendable(OddError("a", 1)))).args == ("OddError: a",)
