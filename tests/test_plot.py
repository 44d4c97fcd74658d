"""Pictures: what is drawn where, of arrays, Recordings and events (matplotlib's Agg)."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import lavalike as lv
from lavalike import Recording, plot
from lavalike.errors import InputError, InputTypeError, MissingExtraError, NotRecordedError
from lavalike.plot import canvas
from lavalike.plot.raster import dense_image, sparse_image
from lavalike.proc import LIF, Conv, Dense, Sparse

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
from matplotlib import pyplot

SPIKES = np.array([[0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]])


@pytest.fixture(autouse=True)
def _closed():
    yield
    pyplot.close("all")


@pytest.fixture
def ax():
    return pyplot.subplots(figsize=(4, 3), dpi=50)[1]


class Net(lv.AbstractProcess):
    """Two neurons that spike in every step in which their input does."""

    def __init__(self):
        super().__init__()
        self.inp, self.out = lv.InPort((2,)), lv.OutPort((2,))
        self.dense = Dense(weights=np.diag([2.0, 3.0]))
        self.lif = LIF(shape=(2,), vth=1, du=1, dv=1)
        self.inp.connect(self.dense.s_in)
        self.dense.a_out.connect(self.lif.a_in)
        self.lif.s_out.connect(self.out)


@pytest.fixture(scope="module")
def rec():
    x = np.array([[[1, 0, 1, 0], [0, 1, 0, 0]], [[0, 0, 0, 0], [1, 1, 1, 1]]])
    return lv.simulate(Net(), {"inp": x}, record=["lif.v"])


def dots(ax):
    return [[float(v) for v in p] for p in ax.collections[0].get_offsets()]


# -- raster ----------------------------------------------------------------------------------------


def test_a_raster_has_a_mark_at_each_spike(ax):
    assert plot.raster(SPIKES, ax=ax) is ax
    assert dots(ax) == [[1, 0], [3, 0], [0, 2]]
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 3.5), (-0.5, 2.5))
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "neuron")


@pytest.mark.parametrize(
    ("dt", "label", "at"),
    [(1e-3, "time [ms]", 3.0), (2.0, "time [s]", 6.0), (1e-7, "time [ns]", 300)],
)
def test_time_is_in_the_unit_that_suits(ax, dt, label, at):
    plot.raster(SPIKES, ax=ax, dt=dt)
    assert ax.get_xlabel() == label
    assert dots(ax)[1] == pytest.approx([at, 0])


def test_elements_are_counted_in_c_order(ax):
    x = np.zeros((2, 3, 4))
    x[1, 2, 0] = -7  # graded
    plot.raster(x, ax=ax)
    assert dots(ax) == [[0, 5]]
    assert ax.get_ylim() == (-0.5, 5.5)


def test_a_recording_is_drawn_by_name_port_and_sample(rec, ax):
    plot.raster(rec, of="out", ax=ax)
    assert dots(ax) == [[2, 0], [4, 0], [3, 1]]  # a step later, counted from 1 as processes do
    assert ax.get_title(loc="left") == "out, sample 0 of 2"
    other = plot.raster(rec, of=next(iter(rec)), sample=1)
    assert other is not ax
    assert dots(other) == [[2, 1], [3, 1], [4, 1]]
    with pytest.raises(InputError, match="sample=2, and the batch is of 2"):
        plot.raster(rec, of="out", sample=2)
    with pytest.raises(InputError, match=r"data holds Net.out, Net.lif.v; say which with of="):
        plot.raster(rec)
    with pytest.raises(NotRecordedError, match=r"u.* was not recorded"):
        plot.raster(rec, of="lif.u")


def test_a_dict_and_a_tensor(ax):
    torch = pytest.importorskip("torch")
    plot.raster({"a": SPIKES, "b": SPIKES[:1]}, of="b", ax=ax)
    assert dots(ax) == [[1, 0], [3, 0]]
    again = plot.raster(torch.tensor(SPIKES, dtype=torch.float32, requires_grad=True))
    assert len(dots(again)) == 3
    with pytest.raises(NotRecordedError, match="of='aa' is not in data; did you mean 'a'"):
        plot.raster({"a": SPIKES, "b": SPIKES}, of="aa")


def test_events_have_times_and_colours_of_their_own(ax):
    io = pytest.importorskip("lavalike.slayer.io")
    plot.raster(io.Event([4, 2], None, [0, 1], [0.5, 30.0]), ax=ax)
    assert dots(ax) == [[0.5, 4], [30, 2]]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time [ms]", "x")
    tab = matplotlib.colormaps["tab10"]
    assert np.allclose(ax.collections[0].get_facecolors(), [tab(0), tab(1)]) or np.allclose(
        ax.collections[0].get_edgecolors(), [tab(0), tab(1)]
    )
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["channel 0", "channel 1"]
    two = plot.raster(io.Event([4, 2], [0, 1], [0, 0], [0, 9]))
    assert dots(two) == [[0, 4], [9, 7]]
    assert two.get_ylabel() == "pixel (y x 5 + x)"
    with pytest.raises(InputTypeError, match="dt is of arrays and Recordings; events have none"):
        plot.raster(io.Event([4], None, [0], [0]), dt=1.0)
    assert dots(plot.raster(io.Event([], None, [], []))) == []
    late = plot.raster(io.Event([4, 2], None, [0, 0], [1.6e12, 1.6e12 + 50]))  # from an epoch
    assert late.get_xlim() == (1.6e12 - 1, 1.6e12 + 51)


def test_too_many_spikes_are_an_image_that_counts_them(ax, monkeypatch):
    monkeypatch.setattr(canvas, "MANY", 2)
    monkeypatch.setattr(canvas, "pixels", lambda ax: (2, 2))
    plot.raster(SPIKES, ax=ax)
    image = ax.images[0]
    assert image.get_array().tolist() == [[1, 1], [1, 0]]  # neurons 0 and 1 below 2, two steps each
    assert image.get_extent() == [-0.5, 3.5, -0.5, 3.5]
    assert ax.get_ylim() == (-0.5, 2.5)
    assert "2 steps x 2 neurons" in ax.figure.axes[1].get_ylabel()


def test_an_image_of_events(ax, monkeypatch):
    io = pytest.importorskip("lavalike.slayer.io")
    monkeypatch.setattr(canvas, "MANY", 2)
    monkeypatch.setattr(canvas, "pixels", lambda ax: (2, 3))
    plot.raster(io.Event([0, 0, 1, 2], None, [0, 0, 0, 0], [0, 4, 6, 10]), ax=ax)
    assert ax.images[0].get_array().tolist() == [[2, 0], [0, 1], [0, 1]]
    assert ax.images[0].get_extent() == [0, 10, -0.5, 2.5]
    far = 2**31 - 1  # of an address: its pixel has more bits than 32
    wide = plot.raster(io.Event([far] * 3, [0, 1, far], [0] * 3, [0, 4, 10]))
    assert wide.images[0].get_array().tolist() == [[2, 0], [0, 0], [0, 1]]


@pytest.mark.parametrize("bins", [(1, 1), (3, 2), (7, 5), (64, 64)])
def test_both_ways_to_count_agree_with_a_plain_sum(bins):
    x = np.random.default_rng(0).random((13, 29)) < 0.4
    fields, wide, high = dense_image(x, bins)
    assert fields.sum() == x.sum()
    wide = int(wide)
    for i, j in np.ndindex(fields.shape):
        assert fields[i, j] == x[i * high : (i + 1) * high, j * wide : (j + 1) * wide].sum()
    rows, times = np.nonzero(x)
    same, _, other = sparse_image(
        times, rows, (0.0, float(wide * fields.shape[1])), 13, (fields.shape[1], bins[1])
    )
    assert other == high
    assert np.array_equal(same, fields)


def test_an_image_is_no_larger_than_the_axes():
    """The bound in seconds is that of ``python -m benchmarks.pictures``; here that an image is of
    the axes' pixels, whatever the data."""
    x = np.ones((3000, 40), bool)
    ax = plot.raster(x)
    width, height = canvas.pixels(ax)
    rows, columns = ax.images[0].get_array().shape
    assert rows <= height
    assert columns <= width
    assert ax.images[0].get_array().sum() == x.size


# -- values over time ------------------------------------------------------------------------------


def test_traces(rec, ax):
    plot.traces(rec, of="lif.v", ax=ax, threshold=1.0, dt=1e-3)
    assert ax.lines[0].get_xdata() == pytest.approx([1, 2, 3, 4])
    assert ax.lines[0].get_ydata().tolist() == rec["lif.v"][0, 0].tolist()
    labels = [t.get_text() for t in ax.get_legend().get_texts()]
    assert labels == ["neuron 0", "neuron 1", "threshold"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time [ms]", "v")
    assert ax.lines[2].get_ydata() == [1.0, 1.0]


def test_of_many_neurons_ten_are_drawn_and_the_title_says_so():
    x = np.arange(60.0).reshape(4, 5, 3)
    ax = plot.traces(x)
    assert len(ax.lines) == 10
    assert ax.get_title(loc="left") == "10 of 20 neurons"
    some = plot.traces(x, neurons=[19, 7])
    assert [line.get_label() for line in some.lines] == ["neuron 3, 4", "neuron 1, 2"]
    assert some.lines[0].get_ydata().tolist() == [57, 58, 59]
    with pytest.raises(InputError, match="neurons: 20, and there are 20, from 0"):
        plot.traces(x, neurons=[20])


def test_activity_is_the_share_that_is_not_zero(rec, ax):
    plot.activity({"a": SPIKES, "b": np.ones((2, 3, 4))}, ax=ax)
    assert ax.lines[0].get_ydata() == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])
    assert ax.lines[1].get_ydata().tolist() == [1, 1, 1, 1]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a: 25.00%", "b: 100.00%"]
    own = plot.activity(rec, of=["out"])
    assert own.lines[0].get_ydata().tolist() == [0, 0.5, 0.5, 0.5]  # of the whole batch
    assert own.lines[0].get_xdata().tolist() == [1, 2, 3, 4]
    assert plot.activity(SPIKES).lines[0].get_label() == "mean 25.00%"


# -- weights ---------------------------------------------------------------------------------------


def test_whole_weights_have_a_bin_each(ax):
    plot.weights(np.array([-2, 0, 0, 3]), ax=ax)
    counts, edges, _ = ax.patches[0].get_data()
    assert counts.tolist() == [1, 0, 2, 0, 0, 1]
    assert edges.tolist() == [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5]
    assert "50% are 0" in ax.get_title(loc="left")
    wide = plot.weights(np.arange(-128, 127), bins=60)
    counts, edges, _ = wide.patches[0].get_data()
    assert set(np.diff(edges)) == {5.0}
    assert counts.tolist() == [5] * 51


def test_a_matrix_is_red_above_zero_and_blue_below(ax):
    dense = Dense(weights=np.array([[1.0, -4.0, 0.0]]))
    plot.weights(dense, kind="matrix", ax=ax)
    image = ax.images[0]
    assert image.get_array().tolist() == [[1, -4, 0]]
    assert image.get_clim() == (-4, 4)
    assert plot.weights(dense.weights, kind="matrix").images[0].get_array().shape == (1, 3)
    with pytest.raises(
        InputError, match=r"Net\) is no connection with weights; .*connections: Net.dense"
    ):
        plot.weights(Net())
    with pytest.raises(InputError, match="kind='matrix' draws two axes"):
        plot.weights(np.ones(3), kind="matrix")


@pytest.mark.parametrize("kind", [Dense, Sparse, None, "coo"])
def test_connectivity_has_a_mark_a_synapse(ax, kind):
    w = np.array([[0.0, 2.0, 0.0], [0.5, 0.0, -1.0]])
    data = w if kind is None else None
    if kind == "coo":
        data = pytest.importorskip("scipy.sparse").coo_matrix(w)
    plot.connectivity(kind(weights=w) if data is None else data, ax=ax)
    assert sorted(dots(ax)) == [[0, 1], [1, 0], [2, 1]]  # (input, output)
    assert "3 synapses, 0.5 of all pairs" in ax.get_title(loc="left")


def test_many_synapses_are_an_image(ax, monkeypatch):
    monkeypatch.setattr(canvas, "MANY", 1)
    monkeypatch.setattr(canvas, "pixels", lambda ax: (2, 1))
    w = np.array([[0.0, 2.0, 0.0], [0.5, 0.0, -1.0]])
    plot.connectivity(w, ax=ax)
    assert ax.images[0].get_array().tolist() == [[0.5, 0.25]]
    other = plot.connectivity(Sparse(weights=w))
    assert other.images[0].get_array().tolist() == [[0.5, 0.25]]
    assert other.images[0].get_extent() == ax.images[0].get_extent()


def test_what_has_no_synapses_of_its_own_is_refused_with_the_remedy():
    conv = Conv(weight=np.ones((1, 2, 2, 1)), input_shape=(4, 4, 1))
    with pytest.raises(InputError, match=r"Conv\) shares its weights .*plot.weights"):
        plot.connectivity(conv)
    with pytest.raises(InputError, match=r"Net\) is no connection; .*to_mermaid"):
        plot.connectivity(Net())


def test_weights_that_are_no_plain_numbers(ax):
    least = plot.weights(np.array([[1, -128]], np.int8), kind="matrix", ax=ax)
    assert least.images[0].get_clim() == (-128, 128)
    flags = plot.weights(np.array([True, False, True]))
    assert flags.patches[0].get_data().values.tolist() == [1, 2]
    for bad in (np.nan, np.inf):
        with pytest.raises(InputError, match="weights: data: 1 of 2 are NaN or infinite"):
            plot.weights(np.array([[1, bad]]), kind="matrix")


def test_complex_values_are_refused_not_drawn_by_half():
    net = Net()
    net.z = lv.Var((2,), init=np.array([1j, 2]))
    rec = Recording(net, {net.z: np.ones((3, 1, 2)) * 1j}, False, None)
    for draw in (plot.traces, plot.raster, plot.activity, Recording.plot):
        with pytest.raises(InputError, match=r"data\[z\] is an array of real numbers"):
            draw(rec)
    with pytest.raises(InputError, match=r"weights: Net.z is an array of real numbers"):
        plot.weights(net.z)


# -- regions and films -----------------------------------------------------------------------------


def test_decision_regions(ax):
    points, labels = np.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]]), [0, 1, 0]
    asked = []

    def predict(p):
        asked.append(p)
        return np.stack([0.5 - p[:, 0], p[:, 0] - 0.5], 1)  # scores: class 1 at the right

    plot.decision_regions(predict, points, labels, resolution=4, names=["left", "right"], ax=ax)
    assert asked[0].shape == (16, 2)
    assert asked[0].dtype == np.float32
    assert ax.images[0].get_array().tolist() == [[0, 0, 1, 1]] * 4
    assert [float(v) for v in ax.images[0].get_extent()] == pytest.approx(
        [-0.06, 1.06, -0.06, 1.06]
    )
    assert [len(c.get_offsets()) for c in ax.collections] == [2, 1]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["left", "right"]
    assert ax.get_title(loc="left") == "66.7% of 3 points lie in their class"
    with pytest.raises(InputError, match=r"predict returns classes .* got shape \(3,\)"):
        plot.decision_regions(lambda p: np.zeros(3), points, labels)
    with pytest.raises(InputError, match="names has 1 of 2 classes"):
        plot.decision_regions(predict, points, labels, names=["left"])


def test_a_film_of_images_shows_each_step():
    frames = np.arange(24.0).reshape(2, 3, 4)
    film = plot.animate(frames, dt=0.5, rate=10)
    image = film._fig.axes[0].images[0]
    for k in range(4):
        film._draw_frame(k)
        assert image.get_array().tolist() == frames[..., k].tolist()
    assert film._fig.axes[0].get_title(loc="left") == "1.5 s"
    assert image.get_clim() == (0, 23)
    film._draw_was_started = True  # nobody shows it
    with pytest.raises(InputError, match=r"\(2, 2, 2, 'time'\); expected \(height, width, time\)"):
        plot.animate(np.zeros((2, 2, 2, 2)))


def test_a_film_of_one_dimension_is_a_raster_with_a_line():
    film = plot.animate(SPIKES)
    axes = film._fig.axes[0]
    film._draw_frame(2)
    assert axes.lines[-1].get_xdata() == [2, 2]
    assert len(dots(axes)) == 3
    film._draw_was_started = True  # nobody shows it


# -- what every picture keeps ----------------------------------------------------------------------


def test_nothing_is_shown_and_axes_are_made_where_none_are_given(monkeypatch, rec):
    monkeypatch.setattr(pyplot, "show", lambda *a, **k: pytest.fail("shown"))
    for draw in (plot.raster, plot.traces, plot.activity, plot.weights, plot.connectivity):
        before = len(pyplot.get_fignums())
        assert hasattr(draw(SPIKES), "plot")
        assert len(pyplot.get_fignums()) == before + 1


@pytest.mark.parametrize("draw", [plot.raster, plot.traces, plot.activity, plot.animate])
def test_data_without_elements_make_no_figure(draw):
    for nothing in (np.zeros((3, 0)), np.float64(3)):
        with pytest.raises(InputError, match="shape"):
            draw(nothing)
    with pytest.raises(InputTypeError, match="data"):
        draw("spikes")
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize(
    ("draw", "data"),
    [
        (plot.raster, SPIKES),
        (plot.traces, SPIKES),
        (plot.activity, SPIKES),
        (plot.weights, SPIKES),
        (plot.connectivity, SPIKES),
        (plot.animate, SPIKES),
    ],
)
def test_without_matplotlib_the_extra_is_named(monkeypatch, draw, data):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        MissingExtraError, match=r"needs matplotlib: pip install 'lavalike\[plot\]'"
    ) as e:
        draw(data)
    assert isinstance(e.value, ModuleNotFoundError)
    assert e.value.name == "matplotlib"


def test_importing_it_loads_no_matplotlib():
    import subprocess

    heavy = ("torch", "matplotlib", "numba")
    code = f"import sys, lavalike.plot; sys.exit(any(n in sys.modules for n in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
