"""A Recording in other forms: drawn, as a table, as a data set, in a file and in a notebook."""

from __future__ import annotations

import sys

import h5py
import numpy as np
import pytest

import lavalike as lv
from lavalike.errors import GraphFileError, InputError, MissingExtraError, NotRecordedError
from lavalike.proc import LIF, Dense
from lavalike.runtime.simulate import AmbiguousError


class Net(lv.AbstractProcess):
    def __init__(self, name=None):
        super().__init__(name=name)
        self.inp, self.out = lv.InPort((2,)), lv.OutPort((2,))
        self.dense = Dense(weights=np.diag([2.0, 3.0]))
        self.lif = LIF(shape=(2,), vth=1, du=1, dv=1)
        self.inp.connect(self.dense.s_in)
        self.dense.a_out.connect(self.lif.a_in)
        self.lif.s_out.connect(self.out)


X = np.array([[[1, 0, 1, 0], [0, 1, 0, 0]], [[0, 0, 0, 0], [1, 1, 1, 1]]])


@pytest.fixture(scope="module")
def net():
    return Net()


@pytest.fixture(scope="module")
def rec(net):
    return lv.simulate(net, {"inp": X}, record=["lif.v"])


@pytest.fixture(scope="module")
def single(net):
    return lv.simulate(net, {"inp": X[0]})


@pytest.fixture
def nothing():
    """Of a process that sends nothing."""
    return lv.simulate(lv.AbstractProcess(), steps=3)


def test_steps_are_counted_as_processes_count_them(rec, net):
    assert rec.steps.tolist() == [1, 2, 3, 4]
    assert rec.batched
    assert rec.paths == ("Net.out", "Net.lif.v")
    later = Net()
    later.run(lv.RunSteps(5))
    assert lv.simulate(later, steps=2).steps.tolist() == [6, 7]
    (one,) = lv.simulate_many(later, [{}], steps=2)
    assert one.steps.tolist() == [6, 7]
    later.stop()


# -- files -----------------------------------------------------------------------------------------


def test_a_file_holds_all_of_it(rec, net, tmp_path):
    rec.save(tmp_path / "r.h5")
    again = lv.Recording.load(tmp_path / "r.h5")
    assert again.paths == rec.paths
    assert again.batched
    assert again.steps.tolist() == [1, 2, 3, 4]
    for key in ("out", "Net.out", net.out, "lif.v", "v", net.lif.v):
        assert key in again
        assert np.array_equal(again[key], rec[key])
        assert again[key].dtype == rec[key].dtype
    assert [again[k].shape for k in again] == [(2, 2, 4), (2, 2, 4)]
    assert "u" not in again
    with pytest.raises(
        NotRecordedError, match=r"'lif.u' was not recorded; did you mean 'lif.v'|'lif.u' was not"
    ):
        again["lif.u"]
    with pytest.raises(lv.RunError, match="before it was saved"):
        _ = again.program
    again.save(tmp_path / "s.h5")
    assert (tmp_path / "s.h5").read_bytes() == (tmp_path / "r.h5").read_bytes()


def test_without_a_batch_and_of_whole_numbers(net, tmp_path):
    one = lv.simulate(net, {"inp": X[0]}, config=lv.RunConfig(precision="fixed_pt"))
    one.save(tmp_path / "r.h5")
    again = lv.Recording.load(tmp_path / "r.h5")
    assert again["out"].dtype == np.int32
    assert again["out"].shape == (2, 4)


def test_two_of_one_path_are_told_apart(tmp_path):
    a, b = Net(), Net()
    a.out.connect(b.inp)
    rec = lv.simulate(a, {a.inp: X[0]}, record=[b.out])
    assert rec.paths == ("Net.out", "Net.out#2")
    assert np.array_equal(rec["Net.out#2"], rec[b.out])
    rec.save(tmp_path / "r.h5")
    again = lv.Recording.load(tmp_path / "r.h5")
    assert np.array_equal(again["Net.out#2"], rec[b.out])
    assert np.array_equal(again["Net.out"], rec[a.out])
    assert not np.array_equal(rec[a.out], rec[b.out])


def test_a_name_of_two_is_ambiguous(net, tmp_path):
    rec = lv.simulate(net, {"inp": X[0]}, record=[net.dense.a_buff, net.lif.s_out, net.lif.a_in])
    rec.save(tmp_path / "r.h5")
    again = lv.Recording.load(tmp_path / "r.h5")
    assert again["s_out"].shape == (2, 4)

    class Two(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.a, self.b = LIF(shape=(1,)), LIF(shape=(1,))
            self.a.s_out.connect(self.b.a_in)

    two = Two()
    lv.simulate(two, steps=1, record=[two.a.v, two.b.v]).save(tmp_path / "t.h5")
    with pytest.raises(AmbiguousError, match=r"'v' is ambiguous: Two.a.v, Two.b.v; give the path"):
        lv.Recording.load(tmp_path / "t.h5")["v"]


@pytest.mark.parametrize(
    ("made", "match"),
    [
        (None, "there is no such file"),
        (b"", "r.h5: not a readable HDF5 file"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 600, "r.h5: "),
        (b"spikes", "r.h5: "),
    ],
)
def test_what_is_no_recording_is_refused_by_name(tmp_path, made, match):
    path = tmp_path / "r.h5"
    if made is not None:
        path.write_bytes(made)
    with pytest.raises(GraphFileError, match=match):
        lv.Recording.load(path)


def test_another_kind_of_file_is_told(tmp_path, net):
    net_file = tmp_path / "net.h5"
    lv.compile(LIF(shape=(2,))).save(net_file)
    with pytest.raises(
        GraphFileError, match=r"no recording is in it, as Recording.save writes one"
    ):
        lv.Recording.load(net_file)
    with h5py.File(tmp_path / "h.h5", "w") as f:
        f["x"] = np.arange(3)
    with pytest.raises(GraphFileError):
        lv.Recording.load(tmp_path / "h.h5")


def test_damage_is_told_and_never_read(rec, tmp_path):
    path = tmp_path / "r.h5"
    rec.save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    told, same = [], 0
    for at in rng.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[at] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(damaged))
        try:
            found = lv.Recording.load(path)
        except GraphFileError as e:
            told.append(str(e))
        else:
            same += 1
            assert np.array_equal(found["out"], rec["out"])
            assert found.steps.tolist() == [1, 2, 3, 4]
    assert len(told) == 60 - same > 0
    assert all("r.h5" in text for text in told)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"batched": 1}, "batched 1"),
        ({"first": "1"}, "first '1'"),
        (
            {
                "targets": [
                    ["a", "a", [5], True, {"array": 0, "dtype": "float64", "shape": [4, 2, 2]}]
                ]
            },
            "is not",
        ),
        (
            {"targets": [["a", "a", [2], False, {"array": 0, "dtype": "float64", "shape": [16]}]]},
            "is not",
        ),
        (
            {
                "targets": [
                    [3, "a", [2], False, {"array": 0, "dtype": "float64", "shape": [4, 2, 2]}]
                ]
            },
            "no path",
        ),
        ({"targets": []}, "targets of"),
        ({"targets": [3]}, "damaged"),
        ({"format": 9}, "is of format 9"),
    ],
)
def test_a_file_that_says_what_it_cannot_is_refused(tmp_path, changes, match):
    """Its digest fits, as a liar's does."""
    import json

    from lavalike import container

    told = {
        "format": 1,
        "prefix": "",
        "batched": True,
        "first": 1,
        "targets": [["a", "a", [2], False, {"array": 0, "dtype": "float64", "shape": [4, 2, 2]}]],
    }
    path = tmp_path / "r.h5"
    container.written(path, "recording", json.dumps(told | changes).encode(), [np.zeros(16)])
    with pytest.raises(GraphFileError, match=match):
        lv.Recording.load(path)
    container.written(path, "recording", json.dumps(told).encode(), [np.zeros(16)])
    assert lv.Recording.load(path)["a"].shape == (2, 2, 4)


def test_a_place_that_cannot_be_written(rec, tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        rec.save(tmp_path / "nowhere" / "r.h5")


# -- tables and data sets --------------------------------------------------------------------------


def test_to_xarray(rec, single):
    pytest.importorskip("xarray")
    data = rec.to_xarray()
    assert data["Net.out"].dims == ("batch", "Net.out[0]", "time")
    assert np.array_equal(data["Net.lif.v"], rec["lif.v"])
    assert data["time"].values.tolist() == [1, 2, 3, 4]
    assert data["time"].attrs["units"] == "step"
    seconds = single.to_xarray(dt=0.5)
    assert seconds["Net.out"].dims == ("Net.out[0]", "time")
    assert seconds["time"].values.tolist() == [0.5, 1, 1.5, 2]
    assert (seconds["time"].attrs["units"], seconds.attrs["dt"]) == ("s", 0.5)
    assert seconds["step"].values.tolist() == [1, 2, 3, 4]


def test_to_pandas(rec, single):
    pytest.importorskip("pandas")
    frame = rec.to_pandas()
    assert frame.columns.names == ["target", "element"]
    assert frame.index.names == ["sample", "step"]
    assert frame["Net.out"].loc[0].to_numpy().tolist() == rec["out"][0].T.tolist()
    assert frame.loc[(1, 3), ("Net.lif.v", 1)] == rec["lif.v"][1, 1, 2]
    seconds = single.to_pandas(dt=0.5)
    assert seconds.index.name == "time"
    assert seconds.index.tolist() == [0.5, 1, 1.5, 2]
    assert seconds["Net.out"].to_numpy().tolist() == single["out"].T.tolist()


@pytest.mark.parametrize(("call", "package"), [("to_xarray", "xarray"), ("to_pandas", "pandas")])
def test_a_package_that_is_not_there_is_named_with_its_extra(rec, monkeypatch, call, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingExtraError,
        match=rf"Recording.{call} needs {package}: pip install 'lavalike\[xarray\]'",
    ):
        getattr(rec, call)()


@pytest.mark.parametrize("call", ["plot", "to_xarray", "to_pandas", "save"])
def test_of_nothing_there_is_one_line_with_the_remedy(nothing, call, tmp_path):
    args = [tmp_path / "r.h5"] if call == "save" else []
    with pytest.raises(
        NotRecordedError, match=rf"Recording.{call}: nothing was recorded.*record="
    ) as e:
        getattr(nothing, call)(*args)
    assert "\n" not in str(e.value)


# -- seen ------------------------------------------------------------------------------------------


def test_plot_draws_spikes_as_rasters_and_the_rest_as_traces(rec, single):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    fields = rec.plot(sample=1, dt=1e-3)
    assert [a.get_title(loc="left") for a in fields] == [
        "out, sample 1 of 2",
        "lif.v, sample 1 of 2",
    ]
    assert fields[0].collections[0].get_offsets().tolist() == [[2, 1], [3, 1], [4, 1]]
    assert [line.get_ydata().tolist() for line in fields[1].lines] == rec["lif.v"][1].tolist()
    assert fields[1].get_xlabel() == "time [ms]"
    assert fields[0].get_xlim() == fields[1].get_xlim()
    one = single.plot()
    assert one.get_title(loc="left") == "out"
    assert rec.plot("lif.v", ax=one) is one
    with pytest.raises(InputError, match=r"ax is for one of Net.out, Net.lif.v; say which with of"):
        rec.plot(ax=one)
    with pytest.raises(NotRecordedError, match=r"recorded are Net.out, Net.lif.v"):
        rec.plot("lif.u")
    pyplot.close("all")


def test_in_a_notebook(rec, nothing):
    shown = rec._repr_html_()
    assert "2 samples, 4 steps" in shown
    assert "Net.lif.v" in shown
    assert ">37.50%<" in shown  # of Net.out: 6 of 16
    assert "0 steps" in nothing._repr_html_()
