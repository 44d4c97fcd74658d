"""``report``: one page of a network and a run of it, with right counts, that a browser opens."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import lavalike as lv
from lavalike.errors import InputError, MissingExtraError, NetFileError
from lavalike.proc import LIF, Dense
from lavalike.report import energy, measure, picture, report
from tests.conftest import ROOT

pytest.importorskip("matplotlib")
FILE = ROOT / "tests/data/lavalike-0.3/cuba.net"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# what Chromium needs to do nothing but show a page
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Net(lv.AbstractProcess):
    """Three inputs, of which two lead to each of two neurons that spike when anything comes."""

    def __init__(self, name=None):
        super().__init__(name=name)
        self.inp, self.out = lv.InPort((3,)), lv.OutPort((2,))
        self.dense = Dense(weights=np.array([[2.0, 2.0, 0.0], [0.0, 2.0, 2.0]]))
        self.lif = LIF(shape=(2,), vth=1, du=1, dv=1)
        self.inp.connect(self.dense.s_in)
        self.dense.a_out.connect(self.lif.a_in)
        self.lif.s_out.connect(self.out)


X = np.array([[[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], np.zeros((3, 4), int)])


@pytest.fixture(scope="module")
def found():
    return measure.measure(Net(), {"inp": X}, lv.RunConfig())


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    spikes = np.random.default_rng(0).random((5, 5, 1, 30)) < 0.4
    np.save(folder / "x.npy", spikes.astype(np.int32))
    return report(FILE, folder / "x.npy", folder / "page.html")


class Page(HTMLParser):
    """Tags, texts and attributes; every tag that has an end ends."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.texts, self.attributes = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_what_is_counted(found):
    dense, lif = found.layers
    assert (found.steps, found.samples) == (4, 2)
    assert (dense.name, dense.kind, lif.name, lif.kind) == ("dense", "Dense", "lif", "LIF")
    # of 8 steps and samples two have one message: on input 0, with one weight, and 1, with two;
    # zeros in the matrix are synapses of a Dense
    assert dense.synops == pytest.approx(2 * 2 / 8)
    assert (dense.macs, dense.synapses, dense.neurons) == (6, 6, 0)
    # a step later neuron 0, then both
    assert lif.events == pytest.approx(3 / 8)
    assert (lif.neurons, lif.synops) == (2, None)
    assert sorted(dense.weights.tolist()) == [0, 0, 2, 2, 2, 2]
    assert not dense.graded


def test_energy_is_counts_times_published_numbers(found):
    spikes, dense, loihi = energy.estimates(found.layers, whole=False)
    assert spikes.joules * 1e12 == pytest.approx(0.5 * 0.9)
    assert dense.joules * 1e12 == pytest.approx(6 * 4.6)
    sent = 3 / 8
    expected = 0.5 * 23.6 + sent * 81 + (2 - sent) * 52 + sent * 1.7
    assert loihi.joules * 1e12 == pytest.approx(expected)
    whole = energy.estimates(found.layers, whole=True)
    assert whole[0].joules * 1e12 == pytest.approx(0.5 * 0.1)
    assert whole[1].joules * 1e12 == pytest.approx(6 * 3.2)
    for one in (spikes, dense, loihi):
        assert "no idle power" in one.assumed
        assert "doi:" in one.source
    assert [energy.joules(v) for v in (0, 2.5e-9, 1e-13, 3)] == ["0 J", "2.5 nJ", "0.1 pJ", "3 J"]


def test_messages_with_values_cost_products():
    class Graded(Net):
        def __init__(self):
            super().__init__()
            self.dense.num_message_bits.set(8)

    found = measure.measure(Graded(), {"inp": X}, lv.RunConfig())
    assert found.layers[0].graded
    made = energy.estimates(found.layers, whole=False)
    assert made[0].joules * 1e12 == pytest.approx(0.5 * 4.6)


def test_a_page_of_a_file(page):
    text = page.read_text()
    seen = Page(text)
    words = " ".join(seen.texts)
    for part in ("cuba.net", "Graph", "Layers", "Activity", "What each layer sends", "Weights"):
        assert part in words
    for said in (
        "Nothing was measured",
        "Horowitz",
        "Davies",
        "fixed_pt on the numba backend",
        "30 steps",
    ):
        assert said in words
    assert seen.tags.count("img") >= 4
    assert seen.tags.count("svg") == 1


def test_a_page_loads_nothing_and_runs_nothing(page):
    text = page.read_text()
    seen = Page(text)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {*seen.tags}
    sources = [v for k, v in seen.attributes if k in ("src", "href", "srcset", "action", "data")]
    assert sources
    assert all(v.startswith("data:image/png;base64,") for v in sources)
    assert not [k for k, _ in seen.attributes if k.startswith("on")]
    assert "default-src 'none'" in text
    assert not re.search(r"url\((?!#)", text)


def test_the_same_run_makes_the_same_page(tmp_path):
    one, again = (report(Net(), X, tmp_path / f"{k}.html").read_bytes() for k in range(2))
    assert one == again


def test_names_are_escaped(tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    out = report(Net(name=evil), X, tmp_path / "p.html")
    text = out.read_text()
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    Page(text)


def test_a_process_with_several_inputs_takes_a_dict(tmp_path):
    class Two(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.out = lv.InPort((2,)), lv.InPort((2,)), lv.OutPort((2,))
            self.lif = LIF(shape=(2,))
            self.a.connect(self.lif.a_in)
            self.b.connect(self.lif.a_in)
            self.lif.s_out.connect(self.out)

    x = np.ones((2, 3))
    assert report(Two(), {"a": x, "b": x}, tmp_path / "p.html").exists()
    with pytest.raises(InputError, match=r"Two has 2 InPorts \(a, b\); input is a dict"):
        report(Two(), x, tmp_path / "p.html")


def test_a_leaf_alone_and_a_loop(tmp_path):
    lif = LIF(shape=(2,), name="cell")
    assert "cell" in report(lif, np.ones((2, 3)), tmp_path / "p.html").read_text()
    net = Net()
    back = Dense(weights=np.eye(2), name="back")
    net.lif.s_out.connect(back.s_in)
    back.a_out.connect(net.lif.a_in)
    drawn = picture.svg(net)
    assert drawn.count("marker-end") == 5
    assert " C" in drawn  # the way back goes around the boxes
    assert Page(drawn).tags.count("rect") == 5


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"input": "no.npy"}, "input: no.npy: not an npy file"),
        ({"input": str(FILE)}, "cuba.net: not an npy file"),
        ({"out": "nowhere/page.html"}, "out: .*page.html: cannot be written: it is in nowhere"),
        ({"out": "."}, "cannot be written: it is a folder"),
        ({"out": "x.npy", "input": "x.npy"}, "out: x.npy is what is read"),
        ({"dt": 1e-3}, "dt is of a .nir file"),
        ({"network": Net(), "values": True, "input": X}, "values=True is of a .net file"),
        ({"network": Net(), "out": None, "input": X}, "out, the page's file, is needed"),
        ({"network": Net(), "input": X, "input_shape": (1, 1, 1)}, "input_shape is of a .net file"),
    ],
)
def test_what_does_not_fit_is_one_line_that_says_what(changes, match, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.ones((8, 4), np.int32))
    arguments = {"network": FILE, "input": "x.npy", "out": "page.html"} | changes
    with pytest.raises(InputError, match=match) as e:
        report(**arguments)
    assert "\n" not in str(e.value)
    assert not Path("page.html").exists()


def test_a_page_of_a_nir_file(tmp_path):
    nir = pytest.importorskip("netx.nir")
    one = np.ones(2)
    lif = {"tau": 2e-3 * one, "r": one, "v_leak": 0 * one, "v_threshold": 0.1 * one}
    nodes = {
        "in": nir.Node("Input", {"shape": (2,)}),
        "cell": nir.Node("LIF", lif),
        "out": nir.Node("Output", {"shape": (2,)}),
    }
    nir.write(tmp_path / "one.nir", nir.Graph(nodes, [("in", "cell"), ("cell", "out")]))
    out = report(tmp_path / "one.nir", np.ones((2, 20)), tmp_path / "p.html", dt=1e-4)
    words = " ".join(Page(out.read_text()).texts)
    assert "one.nir" in words
    assert "cell" in words


def test_a_file_that_is_none_or_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.ones((8, 4), np.int32))
    Path("bad.net").write_bytes(b"spikes")
    for name in ("bad.net", "none.net"):
        with pytest.raises(NetFileError, match=name):
            report(name, "x.npy")


def test_without_matplotlib_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        MissingExtraError, match=r"report needs matplotlib: pip install 'lavalike\[plot\]'"
    ):
        report(Net(), X, tmp_path / "p.html")


def test_a_browser_shows_the_page(page, tmp_path):
    browser = next((b for b in BROWSERS if shutil.which(b)), None)
    if browser is None:
        pytest.skip("no Chromium is installed, which shows the page (apt-get install chromium)")
    image = pytest.importorskip("PIL.Image", reason="Pillow reads the screenshot")
    shot = tmp_path / "shot.png"
    done = subprocess.run(
        [
            browser,
            *FLAGS,
            f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=1200,3000",
            "--hide-scrollbars",
            f"--screenshot={shot}",
            page.as_uri(),
        ],
        capture_output=True,
        timeout=120,
        check=False,
    )
    if not shot.exists():
        pytest.fail(f"{browser}: {done.stderr[-400:]!r}")
    pixels = np.asarray(image.open(shot).convert("RGB")).astype(int)
    assert pixels.shape == (3000, 1200, 3)
    assert (pixels[5, 5] == (0xF6, 0xF7, 0xF9)).all()  # the page's style is at work
    box = (abs(pixels - (0xEE, 0xF4, 0xFB)) < 3).all(-1)
    assert box.sum() > 2000  # boxes of the graph
    bars = (abs(pixels - (31, 119, 180)) < 3).all(-1)
    assert bars.sum() > 1000  # histograms and lines: images within the page were decoded
