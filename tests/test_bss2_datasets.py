"""The data sets of the BrainScaleS-2 examples: Yin-Yang as the tutorials draw it, the IM/DD link,
human activities."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.utils.data import DataLoader

from benchmarks import bss2_har, bss2_mnist
from lavalike import bss2
from lavalike.bss2 import perceptron
from lavalike.datasets import har, imdd
from lavalike.datasets.yinyang import YinYangDataset, yin_yang, yin_yang_class
from lavalike.errors import InputError


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # too little work to share
    yield
    torch.set_num_threads(threads)


# -- Yin-Yang --------------------------------------------------------------------------------------


def one_by_one(
    seed: int, n: int, r_small: float = 0.1, r_big: float = 0.5
) -> tuple[np.ndarray, list[int], np.random.RandomState]:
    """The tutorials' draws, as they describe them: points (n, 2), labels, and the generator behind
    them."""
    rng = np.random.RandomState(seed)
    points, labels = [], []
    for _ in range(n):
        goal = rng.randint(3)
        while True:
            x, y = rng.rand(2) * 2.0 * r_big
            inside = not np.sqrt((x - r_big) ** 2 + (y - r_big) ** 2) > r_big
            if inside and yin_yang_class(x, y, r_small, r_big) == goal:
                break
        points.append((x, y))
        labels.append(goal)
    return np.array(points), labels, rng


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    cuts=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    radii=st.sampled_from([(0.1, 0.5), (0.2, 0.5), (0.03, 1.5), (0.11, 0.37)]),
)
def test_yin_yang_draws_the_tutorials_stream_however_it_is_asked(seed, cuts, radii):
    """Points, labels and the generator's state after them equal those of drawing one number after
    the other."""
    data = YinYangDataset(*radii, seed=seed)
    parts = [data.batch(n) for n in cuts]
    points, labels, rng = one_by_one(seed, sum(cuts), *radii)
    np.testing.assert_array_equal(
        torch.cat([p for p, _ in parts]), np.concatenate([points, 1 - points], 1).astype(np.float32)
    )
    assert torch.cat([k for _, k in parts]).tolist() == labels
    assert rng.randint(2**31) == data.rng.randint(2**31)


def test_yin_yang_known_samples():
    """The first samples of seed 42, as the tutorial's program draws them; an item is a float tensor
    and an int."""
    data = YinYangDataset()
    sample, label = data[0]
    assert sample.dtype == torch.float32
    assert type(label) is int
    first = torch.stack([sample, data[7][0], data[7][0]])
    expected = [
        [0.68030757, 0.45049927, 0.31969246, 0.54950076],
        [0.09767211, 0.68423301, 0.90232790, 0.31576696],
        [0.75536144, 0.42515588, 0.24463859, 0.57484412],
    ]
    torch.testing.assert_close(first, torch.tensor(expected), atol=1e-7, rtol=0)
    assert label == 2


def test_yin_yang_loader_draws_afresh_and_equals_batch():
    """A loader's epoch is the next batch; the next epoch is another."""
    loader = DataLoader(YinYangDataset(size=50), batch_size=50)
    same = YinYangDataset(size=50)
    epochs = [next(iter(loader)) for _ in range(2)]
    for samples, labels in epochs:
        expected = same.batch(50)
        assert torch.equal(samples, expected[0])
        assert torch.equal(labels, expected[1])
    assert not torch.equal(epochs[0][0], epochs[1][0])


def test_yin_yang_classes_are_equally_frequent():
    x, labels = yin_yang(6000, 3)
    assert x.shape == (6000, 4)
    assert (torch.bincount(labels) - 2000).abs().max() < 150
    np.testing.assert_array_equal(yin_yang_class(x[:, 0].numpy(), x[:, 1].numpy()), labels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"r_small": 0.25}, r"r_small 0\.25, r_big 0\.5"),
        ({"r_big": math.nan}, "r_big is a finite number, got nan"),
        ({"size": 0}, "size is an integer >= 1, got 0"),
        ({"seed": -1}, r"seed is an integer in 0\.\.4294967295, got -1"),
        ({"seed": 2**32}, "got 4294967296"),
        ({"seed": None}, "got None"),
    ],
)
def test_yin_yang_refuses_what_has_no_samples(arguments, message):
    with pytest.raises(InputError, match=message):
        YinYangDataset(**arguments)


def test_yin_yang_ends_where_it_says():
    """An epoch by iteration has ``size`` samples, and an index beyond them is an error."""
    data = YinYangDataset(size=3)
    assert len(list(islice(data, 9))) == 3
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"index {index} is beyond the 3 samples"):
            data[index]
    with pytest.raises(InputError, match="samples of a batch is an integer >= 0, got -1"):
        data.batch(-1)
    assert [v.shape[0] for v in data.batch(0)] == [0, 0]


@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded.*fork:DeprecationWarning"
)  # Python 3.12 says it of every forked worker
def test_yin_yang_workers_and_epochs_draw_their_own():
    """Two workers over two epochs repeat nothing, torch's seed makes them the same again, and the
    process's own stream stays."""

    def epochs() -> torch.Tensor:
        torch.manual_seed(3)
        loader = DataLoader(data, batch_size=25, num_workers=2)
        return torch.cat([samples for _ in range(2) for samples, _ in loader])

    data = YinYangDataset(size=100)
    one, two = epochs(), epochs()
    assert one.unique(dim=0).shape == (200, 4)
    assert torch.equal(one, two)
    assert torch.equal(data.batch(5)[0], YinYangDataset().batch(5)[0])
    data = YinYangDataset(size=100, seed=43)
    assert not torch.isin(epochs(), one).any()


# -- the IM/DD link --------------------------------------------------------------------------------

# bss2.md 4.1: bit error rates of the linear equaliser
PUBLISHED = [
    (imdd.LCD, "midpoints", {-15: 2.35e-2, -18: 7.13e-3, -20: 2.91e-3}),
    (imdd.LCD, "nearest", {-15: 2.91e-2, -20: 4.38e-3}),
    (imdd.ECOC, "midpoints", {-15: 2.15e-2, -20: 1.88e-3}),
]


@pytest.mark.parametrize(
    ("link", "decision", "rates"), PUBLISHED, ids=["LCD", "LCD nearest", "ECOC"]
)
def test_lmmse_has_the_known_bit_error_rates(link, decision, rates):
    """Within four standard deviations of the counted errors, and 3 % for the table's own."""
    symbols = 250_000
    for noise, expected in rates.items():
        equaliser = imdd.LMMSE.fit(link.sample(60_000, noise, 1), link, decision)
        test = link.sample(symbols, noise, 2)
        found = imdd.bit_error_rate(equaliser(test.features), test.symbols)
        assert abs(found - expected) < 4 * math.sqrt(expected / (2 * symbols)) + 0.03 * expected


def by_the_recipe(link: imdd.Link, noise_db: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """One block of bss2.md 4.1 in double precision: symbols, and what is received of each."""
    rng, up, n = np.random.default_rng(seed), link.oversampling, link.oversampling * link.block
    sent = rng.integers(0, 4, link.block)
    f = np.abs(np.fft.fftfreq(n, 1 / up))  # of the symbol rate
    low, high = (1 - link.roll_off) / 2, (1 + link.roll_off) / 2
    raised = np.where(
        f < low, 1, np.where(f > high, 0, 0.5 * (1 + np.cos(np.pi * (f - low) / link.roll_off)))
    )
    x = np.zeros(n)
    x[::up] = np.array(link.alphabet)[sent]
    x = np.fft.ifft(np.fft.fft(x) * np.sqrt(raised)).real + link.bias
    x /= np.sqrt((x**2).mean())
    phase = np.pi * link.wavelength**2 / 3e8 * link.dispersion * link.length * (f * link.baud) ** 2
    light = np.abs(np.fft.ifft(np.fft.fft(x) * np.exp(1j * phase))) ** 2
    light += 10 ** (noise_db / 20) * rng.standard_normal(n, np.float32)
    return sent, up * np.fft.ifft(np.fft.fft(light) * np.sqrt(raised)).real[::up]


@pytest.mark.parametrize("link", [imdd.LCD, imdd.ECOC, imdd.SSMF], ids=["LCD", "ECOC", "SSMF"])
def test_link_is_the_published_recipe(link):
    sample = link.sample(link.block, -20, 3)
    sent, received = by_the_recipe(link, -20, 3)
    np.testing.assert_array_equal(sample.symbols, sent)
    half = link.taps // 2
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(received, half, mode="wrap"), link.taps
    )
    np.testing.assert_allclose(sample.features, windows, atol=2e-4)


def test_links_are_the_published_ones():
    """bss2.md 4.1. The sign of the dispersion cannot be measured behind a photodiode, so it is
    looked up here."""
    assert (
        imdd.LCD.baud,
        imdd.LCD.wavelength,
        imdd.LCD.dispersion,
        imdd.LCD.length,
        imdd.LCD.taps,
    ) == (112e9, 1270e-9, -5e-6, 4e3, 7)
    assert (imdd.LCD.bias, imdd.LCD.roll_off, imdd.LCD.oversampling, imdd.LCD.block) == (
        2.25,
        0.2,
        3,
        10_000,
    )
    assert replace(imdd.LCD, baud=100e9, length=5e3, taps=17) == imdd.ECOC
    assert (imdd.SSMF.baud, imdd.SSMF.wavelength, imdd.SSMF.dispersion) == (50e9, 1550e-9, -17e-6)
    assert (imdd.SSMF.length, imdd.SSMF.taps) == (5e3, 21)
    assert imdd.SSMF.alphabet == pytest.approx((0, 1, math.sqrt(2), math.sqrt(3)))
    assert imdd.SSMF.bias == 0.25


def test_the_sign_of_dispersion_is_not_seen():
    one, other = (
        replace(imdd.SSMF, dispersion=d, block=1000).sample(1000, -25, 2) for d in (-17e-6, 17e-6)
    )
    torch.testing.assert_close(one.features, other.features)
    none = replace(imdd.SSMF, dispersion=0.0, block=1000).sample(1000, -25, 2)
    assert (one.features - none.features).abs().max() > 0.1


def test_link_windows_are_centred_and_reproducible():
    """Neighbouring windows share their readings; the middle one follows its symbol; a seed is a
    transmission; n cuts the last block."""
    sample = imdd.LCD.sample(12_345, -30, 4)
    assert sample.features.shape == (12_345, 7)
    assert torch.equal(sample.features[:9_999, 1:], sample.features[1:10_000, :-1])
    means = [sample.features[sample.symbols == k, 3].mean().item() for k in range(4)]
    assert means == sorted(means)
    assert means[3] - means[0] > 3
    around = [abs(np.corrcoef(sample.features[:, j], sample.symbols)[0, 1]) for j in range(7)]
    assert np.argmax(around) == 3
    again = imdd.LCD.sample(12_345, -30, 4)
    assert all(torch.equal(a, b) for a, b in zip(sample, again, strict=True))
    assert torch.equal(sample.bits[:, 0], (sample.symbols >= 2).to(torch.uint8))
    assert not torch.equal(sample.symbols, imdd.LCD.sample(12_345, -30, 5).symbols)


def test_link_noise_is_what_was_asked_for():
    """Two transmissions differ in their noise alone where sigma does: white noise through the
    receiver's filter, whose energy is 1/3."""
    quiet, loud = (imdd.LCD.sample(10_000, noise, 6).features[:, 3] for noise in (-200, -20))
    # gain 3 of the receiver, the filter passes a third of the band: sigma * 3 / sqrt(3)
    assert (loud - quiet).std().item() == pytest.approx(0.1 * math.sqrt(3), rel=0.04)


def test_gray_neighbours_differ_in_one_bit():
    sent = torch.tensor([0, 1, 2, 3, 0, 3])
    assert imdd.bit_error_rate(sent, sent) == 0
    assert imdd.bit_error_rate(torch.tensor([1, 2, 3, 2, 2, 3]), sent) == pytest.approx(
        (4 * 1 + 2) / 12
    )


def test_receptive_fields_spike_the_sooner_the_nearer():
    """bss2.md 4.1: 8 us per unit of distance from linspace(0, 7, 10), nothing after 15 us; on a
    grid of 0.5 us for 30 us."""
    encode = imdd.ReceptiveFields()
    y = torch.tensor([[0.0, 3.5]])
    times = encode.times(y)
    expected = 8e-6 * np.abs(np.array([0.0, 3.5])[:, None] - np.linspace(0, 7, 10)).ravel()
    np.testing.assert_allclose(
        times[0].numpy(), np.where(expected > 15e-6, np.inf, expected), rtol=1e-5, atol=1e-12
    )
    spikes = encode(y)
    assert spikes.shape == (60, 1, 20)
    step, _, neuron = spikes.nonzero().T.tolist()
    assert {n: s for n, s in zip(neuron, step, strict=True) if n < 10} == {0: 0, 1: 12, 2: 25}
    assert {n - 10: s for n, s in zip(neuron, step, strict=True) if n >= 10} == {
        3: 19,
        4: 6,
        5: 6,
        6: 19,
    }


def test_receptive_fields_take_integers_as_numbers():
    encode = imdd.ReceptiveFields()
    y = torch.tensor([[0, 3, 7]])
    assert torch.equal(encode(y), encode(y.float()))


def test_imdd_is_float32_whatever_the_default():
    want = imdd.LCD.sample(100, -20, 1).features
    try:
        torch.set_default_dtype(torch.float64)
        sample = imdd.LCD.sample(100, -20, 1)
        spikes = imdd.ReceptiveFields()(sample.features)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(sample.features, want)
    assert torch.equal(spikes, imdd.ReceptiveFields()(want))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: imdd.Link(baud=math.nan), "Link: baud is a finite number, got nan"),
        (
            lambda: imdd.Link(alphabet=(0, 1, 2, math.inf)),
            "an amplitude of alphabet is a finite number, got inf",
        ),
        (lambda: imdd.Link(oversampling=2.5), "oversampling is an integer >= 1, got 2.5"),
        (lambda: imdd.LCD.sample(5, seed=-1), "Link.sample: seed is an integer >= 0, got -1"),
        (lambda: imdd.LCD.sample(5, math.inf), "noise_db is a finite number, got inf"),
        (
            lambda: imdd.bit_error_rate(torch.tensor([-1]), torch.tensor([3])),
            r"symbols are integers in 0..3, got torch.int64 \[-1\]",
        ),
        (
            lambda: imdd.bit_error_rate(torch.tensor([1]), torch.tensor([4])),
            r"got torch.int64 \[4\]",
        ),
        (
            lambda: imdd.bit_error_rate(torch.tensor([1.0]), torch.tensor([1])),
            r"got torch.float32 \[1.0\]",
        ),
        (lambda: imdd.ReceptiveFields(scale=math.nan), "scale is a finite number, got nan"),
        (lambda: imdd.ReceptiveFields(neurons=2.5), "neurons is an integer >= 1, got 2.5"),
        (
            lambda: imdd.ReceptiveFields()(torch.tensor([[1.0, math.nan]])),
            "features are numbers, got NaN in 1 of 2",
        ),
        (lambda: imdd.Link(taps=6), "taps is odd and within 1..block = 10000, got 6"),
        (lambda: imdd.Link(alphabet=(3, 1, -1, -3)), "4 ascending amplitudes"),
        (lambda: imdd.LCD.sample(0), "symbols is an integer >= 1"),
        (lambda: imdd.LMMSE.fit(imdd.LCD.sample(5)), "more than 7 symbols"),
        (
            lambda: imdd.LMMSE.fit(imdd.LCD.sample(50), decision="best"),
            "'midpoints' or 'nearest', got 'best'",
        ),
        (lambda: imdd.bit_error_rate(torch.zeros(3), torch.zeros(4)), r"got \(3,\) and \(4,\)"),
        (lambda: imdd.ReceptiveFields(cutoff=40e-6), "cutoff < window"),
    ],
)
def test_imdd_refuses(make, message):
    with pytest.raises(InputError, match=message):
        make()


# -- human activities ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The public data set's layout with 12 windows of the model."""
    root = tmp_path_factory.mktemp("har") / "UCI HAR Dataset"
    names = ("WALKING", "WALKING_UPSTAIRS", "WALKING_DOWNSTAIRS", "SITTING", "STANDING", "LAYING")
    root.mkdir()
    (root / "activity_labels.txt").write_text(
        "".join(f"{k} {name}\n" for k, name in enumerate(names, 1))
    )
    for part in ("train", "test"):
        data, labels, subjects = (v[:12] for v in har.simulate(part == "train", 1))
        (root / part / "Inertial Signals").mkdir(parents=True)
        np.savetxt(root / part / f"y_{part}.txt", labels + 1, "%d")
        np.savetxt(root / part / f"subject_{part}.txt", subjects, "%d")
        for k, channel in enumerate(har.CHANNELS):
            np.savetxt(
                root / part / "Inertial Signals" / f"{channel}_{part}.txt", data[:, k], " %.7e"
            )
    return root


@pytest.mark.parametrize("train", [True, False])
def test_har_reads_the_public_layout(folder, train):
    """From the folder or the one around it; activities 1..6 become 0..5, signals stand in the order
    of CHANNELS."""
    data, labels, subjects = (v[:12] for v in har.simulate(train, 1))
    for path in (folder, folder.parent):
        read = har.HAR(path, train)
        np.testing.assert_allclose(read.data, data, atol=1e-6)
        assert read.targets.tolist() == labels.tolist()
        assert read.subjects.tolist() == subjects.tolist()
    window, label = read[3]
    assert window.shape == (9, 128)
    assert label == 3


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("activity_labels.txt", None, "no such file"),
        (
            "activity_labels.txt",
            lambda s: s.replace("SITTING", "STANDING"),
            "expected the lines 1 WALKING; .*found",
        ),
        ("train/y_train.txt", lambda s: s.replace("6", "7"), r"integers in 1..6; found 1..7"),
        ("train/y_train.txt", lambda s: "", "at least one"),
        ("train/subject_train.txt", lambda s: s + "3\n", "expected 12 lines; found 13"),
        ("train/Inertial Signals/body_gyro_y_train.txt", None, "no such file"),
        (
            "train/Inertial Signals/body_gyro_y_train.txt",
            lambda s: s[:-20],
            "expected 128 numbers in every line; found 12[67] in line 12",
        ),
        (
            "train/Inertial Signals/total_acc_z_train.txt",
            lambda s: s.replace("e-02", "e-0x", 1),
            "expected numbers: .*e-0x",
        ),
        (
            "train/Inertial Signals/total_acc_z_train.txt",
            lambda s: " nan" + s[15:],
            "finite numbers; found nan in line 1",
        ),
        (
            "train/Inertial Signals/total_acc_z_train.txt",
            lambda s: "\x00\xff" + s,
            "cannot be read as text",
        ),
    ],
)
def test_har_names_the_damaged_file(folder, file, change, message):
    path = folder / file
    content = path.read_bytes()
    try:
        if change is None:
            path.unlink()
        else:
            path.write_bytes(change(content.decode()).encode("latin-1"))
        with pytest.raises(InputError, match=message) as raised:
            har.HAR(folder)
        assert str(raised.value).startswith(str(path))
    finally:
        path.write_bytes(content)


def test_har_model_has_the_data_sets_shapes_and_disjoint_subjects():
    train, test = har.HAR(windows=2), har.HAR(train=False, windows=2)
    assert train.data.shape == (21 * 6 * 2, 9, 128)
    assert test.data.shape == (9 * 6 * 2, 9, 128)
    assert set(train.subjects.tolist()) == set(range(1, 22))
    assert set(test.subjects.tolist()) == set(range(22, 31))
    assert torch.bincount(train.targets).tolist() == [42] * 6
    assert torch.equal(train.data, har.HAR(windows=2).data)
    assert not torch.equal(train.data, har.HAR(windows=2, seed=1).data)
    with pytest.raises(
        InputError, match="windows of a subject and activity is an integer >= 1, got 0"
    ):
        har.HAR(windows=0)
    with pytest.raises(InputError, match="HAR: seed is an integer >= 0, got -1"):
        har.HAR(windows=2, seed=-1)


def test_har_model_moves_as_bodies_do():
    """Total and body acceleration differ by a gravity of 1 g; walkers step at 1.4 to 2.4 Hz; stairs
    down strike hardest; rest is still."""
    data = har.HAR(windows=10)
    body, total = data.data[:, :3], data.data[:, 6:]
    gravity = (total - body).double()
    np.testing.assert_allclose(gravity.norm(dim=1), 1, atol=1e-5)
    np.testing.assert_allclose(gravity.std(2), 0, atol=1e-5)
    steps = (
        np.abs(np.fft.rfft(body[data.targets == 0, 0], 1024))[:, :80].argmax(1) * har.RATE / 1024
    )
    assert ((steps > 1.4) & (steps < 2.4)).mean() > 0.95
    strength = [body[data.targets == k].std().item() for k in range(6)]
    assert strength[2] > strength[0] > strength[1] > 5 * max(strength[3:])
    upright = [gravity[data.targets == k, 0].mean().item() for k in range(6)]
    assert min(upright[:5]) > 0.85
    assert abs(upright[5]) < 0.3


def test_har_network_moves_to_the_chip_and_is_trained_in_the_loop_there():
    """In the chip's ranges it predicts as the float network does; an uncalibrated chip loses
    points, which training regains."""
    torch.manual_seed(0)
    data = har.HAR(windows=5)
    x, y = bss2_har.unsigned(data.data), data.targets
    source, net = bss2_har.float_network(), bss2_har.chip_network()
    bss2_mnist.train(source, x, y, 8, 5e-3, batch=50)
    bss2_mnist.transfer(source, net, x)
    found = {}
    for name, chip in (
        ("quantised", bss2.Chip(level="quantised")),
        ("uncalibrated", bss2.Chip(1, calibrated=False)),
    ):
        with bss2.use(chip):
            found[name] = bss2_mnist.accuracy(net, x, y, 31.0)
            if name == "uncalibrated":
                bss2_mnist.train(net, x, y, 5, 0.5, 31.0, bss2_mnist.TEMPERATURE, 50)
                found["in the loop"] = bss2_mnist.accuracy(net, x, y, 31.0)
    truth = bss2_mnist.accuracy(source, x, y)
    assert truth > 80
    assert found["quantised"] > truth - 3
    assert found["uncalibrated"] < truth - 5
    assert found["in the loop"] > found["uncalibrated"] + 5
    assert all(m.weight.abs().max() <= 63 for m in net if isinstance(m, perceptron.nn.MACLayer))
