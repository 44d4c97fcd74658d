"""Calibration: what remains is below calix's bounds, the file gives back what was measured, and
other files are refused by name."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from lavalike import bss2
from lavalike.bss2 import facts
from lavalike.bss2.chip import RATIOS
from lavalike.bss2.chip.analog import product
from lavalike.bss2.chip.calibration import (
    PARAMETERS,
    Calibration,
    OperatingPoint,
    _bisect,
    calibrate,
)
from lavalike.errors import InputError


@cache
def calibrated(seed=3):
    return calibrate(bss2.Chip(seed))


@pytest.mark.parametrize("seed", [3, 11])
def test_what_remains_is_below_calix_bounds(seed):
    c = calibrated(seed)
    after = c.after
    for name, bound in facts.CALIBRATION_RATIO.items():
        assert 0 < after[name] < bound * c.before[name], name
    for name in ("column_gain", "column_offset"):
        assert 0 < after[name] < RATIOS[name] * c.before[name], name
    assert c.success.mean() >= facts.CALIBRATION_SUCCESS
    threshold = c.circuits.threshold
    assert (np.abs(threshold - np.median(threshold)) > 8).mean() <= 0.05  # [calix]
    assert abs(np.median(threshold)) < 1
    assert np.median(c.circuits.tau_mem) == pytest.approx(1, abs=0.02)


@settings(max_examples=3, deadline=None)
@given(
    st.fixed_dictionaries(
        {n: st.floats(facts.RANGES[n].low, facts.RANGES[n].high) for n in PARAMETERS}
    ),
    st.integers(0, 99),
)
def test_every_target_in_range_is_reached(values, seed):
    c = calibrate(bss2.Chip(seed), OperatingPoint(**values), repetitions=4)
    assert c.success.mean() >= 0.9
    assert c.target == OperatingPoint(**values)


@pytest.mark.parametrize("name", PARAMETERS)
def test_targets_out_of_range_are_refused_with_the_range(name):
    limit = facts.RANGES[name]
    for value in (limit.low * 0.9, limit.high * 1.1, float("nan")):
        with pytest.raises(bss2.CalibrationError) as e:
            OperatingPoint(**{name: value})
        assert (
            f"{name} can be calibrated to {limit.low:g}..{limit.high:g} {limit.unit}, got {value!r}"
            in str(e.value)
        )


def test_perfect_chips_calibrate_perfectly():
    c = calibrate(bss2.Chip(noise=bss2.Noise.none()), OperatingPoint(leak=93.3))
    assert c.measured_gain == pytest.approx(
        facts.DEFAULT_GAIN, rel=0.02
    )  # converters round down: half an LSB of 60
    assert c.measured_noise == 0
    np.testing.assert_allclose(c.circuits.leak, c.circuits.leak[0])
    assert abs(c.circuits.leak[0]) <= 266 / 1022  # a step of the CapMem
    for h in (0, 1):
        np.testing.assert_allclose(c.columns[h].gain, 1, atol=0.02)  # half an LSB of 60, and a step
        np.testing.assert_allclose(c.columns[h].offset, 0, atol=0.51)  # half an LSB


def test_a_calibrated_chip_is_what_was_measured():
    chip = bss2.Chip(3, calibration=calibrated())
    assert chip.circuits is calibrated().circuits
    assert chip.columns(1) is calibrated().columns[1]
    torch.manual_seed(5)
    x, w = torch.full((400, 128), 4.0), torch.full((128, 512), 30.0)
    high = product(x, w, chip).double().mean(0).numpy() + 0.5
    low = product(torch.zeros(400, 128), w, chip).double().mean(0).numpy() + 0.5
    gain, offset = (
        np.concatenate([getattr(c, n) for c in calibrated().columns]) for n in ("gain", "offset")
    )
    np.testing.assert_allclose(low, offset, atol=0.6)
    assert np.corrcoef(high - low, gain)[0, 1] > 0.9
    raw = bss2.Chip(3, calibrated=False)
    assert np.std(high - low) < 0.4 * np.std(
        product(x, w, raw).double().mean(0).numpy()
        - product(x * 0, w, raw).double().mean(0).numpy()
    )


def test_gain_and_noise_are_measured():
    c = calibrate(bss2.Chip(1, gain=0.0034, noise=bss2.Noise(trial=3.0)))
    assert c.measured_gain == pytest.approx(0.0034, rel=0.05)
    assert c.measured_noise == pytest.approx(3, rel=0.1)


def test_floors_are_measured():
    for h in (0, 1):
        np.testing.assert_allclose(
            calibrated().columns[h].floor, bss2.Chip(3).columns(h).floor, atol=0.6
        )


def test_calibration_is_reproducible_and_leaves_torchs_generator_alone():
    torch.manual_seed(0)
    a = calibrate(bss2.Chip(2), repetitions=10)
    drawn = torch.rand(2)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(2))
    b, other = (
        calibrate(bss2.Chip(2), repetitions=10),
        calibrate(bss2.Chip(2), repetitions=10, seed=1),
    )
    np.testing.assert_array_equal(a.circuits.leak, b.circuits.leak)
    np.testing.assert_array_equal(a.columns[0].gain, b.columns[0].gain)
    assert not np.array_equal(a.circuits.leak, other.circuits.leak)


@pytest.mark.parametrize("wanted", [0, 0.5, 511, 512.25, 1021.9, 1022, 5000, -1])
def test_bisection_finds_the_largest_code_not_above(wanted):
    assert (
        _bisect(lambda code: code.astype(float), wanted, 3)
        == min(max(int(np.floor(wanted)), 0), 1022)
    ).all()


@pytest.mark.parametrize(
    ("chip", "says"),
    [
        (bss2.Chip(level="quantised"), "got quantised chip 0: it has nothing to calibrate"),
        (bss2.Chip(level="hardware"), "got hardware chip 0: calix calibrates it"),
    ],
)
def test_only_emulated_chips_are_calibrated(chip, says):
    with pytest.raises(bss2.CalibrationError) as e:
        calibrate(chip)
    assert says in str(e.value)


def test_a_measurement_is_repeated():
    with pytest.raises(InputError, match="repetitions is an integer >= 2, got 1"):
        calibrate(bss2.Chip(), repetitions=1)


def test_the_table_shows_before_after_and_the_bound():
    said = str(calibrated())
    assert "chip 3: gain 0.0019" in said
    assert "threshold" in said
    assert "0.35" in said


# -- files -----------------------------------------------------------------------------------------


def test_a_file_gives_back_what_was_measured(tmp_path):
    path = tmp_path / "hagen_cocolist.pbin"
    c = calibrated()
    c.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["hagen_cocolist.pbin"]
    d = Calibration.load(path, bss2.Chip(3))
    for a, b in zip(
        (c.circuits, *c.columns, [c.success]), (d.circuits, *d.columns, [d.success]), strict=True
    ):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)
    assert (d.seed, d.noise, d.gain, d.target, d.before) == (
        c.seed,
        c.noise,
        c.gain,
        c.target,
        c.before,
    )
    assert (d.measured_gain, d.measured_noise) == (c.measured_gain, c.measured_noise)
    assert d.chip().identifier == "emulated chip 3"
    with zipfile.ZipFile(path) as z:
        assert not any(b"pickle" in z.read(n) for n in z.namelist())


def test_init_hardware_takes_the_chip_of_the_file(tmp_path):
    calibrated().save(tmp_path / "c.pbin")
    with pytest.warns(bss2.EmulatedChipWarning, match="emulated chip 3 is used"):
        bss2.init_hardware(bss2.CalibrationPath(str(tmp_path / "c.pbin")))
    try:
        np.testing.assert_array_equal(
            bss2.current_chip().columns(0).gain, calibrated().columns[0].gain
        )
    finally:
        bss2.release_hardware()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("hagen_cocolist.pbin", b"\x01binary"),
        ("spiking_calibration.pkl", b"\x80\x04."),
        ("cocolist.json", b'{"a": 1}'),
        ("noname", b"\x80\x05."),
    ],
)
def test_a_real_chips_file_is_told_and_leaves_the_nominal_calibration(tmp_path, name, content):
    """calix's files on an emulated chip: in init_hardware and of an instance; not read, and the
    numbers are the chip's without them."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.warns(
        bss2.EmulatedChipWarning,
        match=f"emulated chip 0 is used .*, with its nominal calibration: .*{name}",
    ) as told:
        bss2.init_hardware(bss2.CalibrationPath(path))
    assert len(told) == 1
    try:
        assert bss2.current_chip() == bss2.Chip()
        spikes = (torch.rand(20, 2, 3, generator=torch.Generator().manual_seed(1)) < 0.3).float()

        def run(calib_path, chip):
            torch.manual_seed(0)
            experiment = bss2.spiking.Experiment(chip=chip)
            instance = bss2.spiking.ExecutionInstance(calib_path)
            synapse = bss2.spiking.Synapse(3, 4, experiment)
            lif = bss2.spiking.LIF(
                4, experiment, leak=0.0, reset=0.0, threshold=0.3, execution_instance=instance
            )
            for _ in range(2):
                out = lif(synapse(bss2.spiking.LIFObservables(spikes=spikes)))
                bss2.spiking.run(experiment, 20)
            return out.membrane_cadc.detach()

        want = run(None, bss2.Chip())
        for chip in (bss2.Chip(), bss2.Chip(calibrated=False)):
            with pytest.warns(
                bss2.EmulatedChipWarning, match=f"{name} is a real chip's calibration"
            ) as told:
                found = run(str(path), chip)
            assert len(told) == 1
            assert torch.equal(found, want)
    finally:
        bss2.release_hardware()
    with pytest.raises(bss2.CalibrationError, match="expected a 'lavalike"):
        Calibration.load(path)


def test_a_missing_or_damaged_file_is_no_real_chips(tmp_path):
    calibrated().save(tmp_path / "half.pbin")
    (tmp_path / "half.pbin").write_bytes((tmp_path / "half.pbin").read_bytes()[:999])
    for name in ("none.pbin", "half.pbin"):
        with pytest.raises(bss2.CalibrationError, match=name):
            bss2.init_hardware(bss2.CalibrationPath(tmp_path / name))


def test_another_chips_file_is_refused(tmp_path):
    path = tmp_path / "c.npz"
    calibrated().save(path)
    for chip, says in (
        (bss2.Chip(4), "found chip 3's: seed is 3, not 4"),
        (bss2.Chip(3, gain=0.003), "gain is 0.002, not 0.003"),
        (bss2.Chip(3, noise=bss2.Noise(leak=1.0)), "noise is Noise("),
    ):
        with pytest.raises(bss2.CalibrationError) as e:
            Calibration.load(path, chip)
        assert says in str(e.value)
        assert "c.npz: expected the calibration of Chip(" in str(e.value)
        assert "calibrate(chip) makes its own" in str(e.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"seed": 4}, "found chip 3's: seed is 3, not 4; calibrate(chip) makes its own"),
        ({"seed": 3, "gain": 0.01}, "gain is 0.002, not 0.01"),
        ({"seed": 3, "noise": bss2.Noise.none()}, "noise is Noise("),
        (
            {"seed": 3, "calibrated": False},
            "a calibration was given, and calibrated=False; leave one of them out",
        ),
    ],
)
def test_another_chips_calibration_is_refused(settings, says):
    with pytest.raises(bss2.CalibrationError) as e:
        bss2.Chip(**settings, calibration=calibrated())
    assert str(e.value).startswith("Chip")
    assert says in str(e.value)


def test_numpys_numbers_are_saved(tmp_path):
    chip = bss2.Chip(
        np.int64(3),
        gain=np.float32(0.002),
        noise=bss2.Noise(trial=np.float32(1.5), column_gain=np.float64(0.1)),
    )
    c = calibrate(chip, OperatingPoint(leak=np.float32(90)), repetitions=2)
    c = replace(c, gain=np.float32(c.gain), measured_gain=np.float32(c.measured_gain))
    c.save(tmp_path / "c")
    found = Calibration.load(tmp_path / "c", chip)
    assert (found.gain, found.noise.trial, found.target.leak) == (
        float(np.float32(0.002)),
        1.5,
        90.0,
    )


def test_a_calibrated_chip_cannot_be_changed():
    chip = calibrated().chip()
    for array in (*chip.columns(0), *chip.circuits):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_calibrating_reseeds_no_other_device(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    torch.manual_seed(0)
    calibrate(bss2.Chip(2), repetitions=2)
    assert seeded == [0]


def test_a_chip_is_calibrated_within_mock_mode():
    with bss2.perceptron.mock_mode(True):
        c = calibrate(bss2.Chip(3), repetitions=4)
    assert c.measured_gain == calibrate(bss2.Chip(3), repetitions=4).measured_gain


def changed(path, **new):
    """The file with some of its arrays replaced, or left out (None)."""
    with np.load(path, allow_pickle=False) as z:
        arrays = {k: z[k] for k in z.files} | new
    with open(path, "wb") as file:
        np.savez(file, **{k: v for k, v in arrays.items() if v is not None})


def edited(path, **new):
    with np.load(path, allow_pickle=False) as z:
        meta = json.loads(str(z["meta"])) | new
    changed(path, meta=np.array(json.dumps(meta)))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda p: p.unlink(), "no such file"),
        (lambda p: p.write_bytes(b""), "found none, or a damaged one"),
        (lambda p: p.write_bytes(b"\x93NUMPY garbage"), "found none, or a damaged one"),
        (lambda p: p.write_bytes(p.read_bytes()[:6000]), "found none, or a damaged one"),
        (
            lambda p: p.write_bytes(p.read_bytes().replace(b"PK\x03\x04", b"PK\x03\x05", 1)),
            "found none, or a damaged one",
        ),
        (lambda p: np.savez(p, a=np.zeros(3)), "found none, or a damaged one"),
        (lambda p: changed(p, meta=np.array("{")), "found none, or a damaged one"),
        (
            lambda p: changed(p, meta=np.array("[1]")),
            "expected 'lavalike.bss2 calibration' version 1, found None",
        ),
        (lambda p: changed(p, meta=np.array(["a"], dtype=object)), "damaged one"),
        (lambda p: edited(p, version=2), "version 1, found ('lavalike.bss2 calibration', 2)"),
        (lambda p: edited(p, format="calix"), "found ('calix', 1)"),
        (lambda p: edited(p, seed=None), "damaged"),
        (lambda p: edited(p, noise={"trial": 2}), "damaged"),
        (lambda p: edited(p, target={"leak": 1000}), "leak can be calibrated to 50..160"),
        (lambda p: changed(p, leak=None), "leak: expected finite float32 (512,), found nothing"),
        (
            lambda p: changed(p, tau_mem=np.zeros(3, np.float32)),
            "tau_mem: expected finite float32 (512,), found float32 (3,)",
        ),
        (
            lambda p: changed(p, threshold=np.full(512, np.nan, np.float32)),
            "threshold: expected finite float32 (512,)",
        ),
        (
            lambda p: changed(p, column_gain=np.zeros((2, 256))),
            "column_gain: expected finite float32 (2, 256), found float64 (2, 256)",
        ),
        (
            lambda p: changed(p, success=np.zeros(512)),
            "success: expected finite bool (512,), found float64 (512,)",
        ),
        (lambda p: changed(p, more=np.zeros(1 << 18)), "at most 1048576 bytes, found"),
    ],
)
def test_files_that_are_no_calibration_are_refused(tmp_path, damage, says):
    path = tmp_path / "c.npz"
    calibrated().save(path)
    damage(path)
    with pytest.raises(bss2.CalibrationError) as e:
        Calibration.load(path)
    assert str(e.value).startswith(str(path))
    assert says in str(e.value)


def test_a_flipped_byte_is_a_clear_error_or_changes_nothing(tmp_path):
    path = tmp_path / "c.npz"
    calibrated().save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(whole), 60):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            found = Calibration.load(path)
        except bss2.CalibrationError:
            continue
        np.testing.assert_array_equal(found.circuits.leak, calibrated().circuits.leak)


def test_a_directory_is_no_calibration(tmp_path):
    with pytest.raises(bss2.CalibrationError, match="damaged one"):
        Calibration.load(tmp_path)


def test_a_calibration_is_not_changed_by_replacing(tmp_path):
    c = replace(calibrated(), measured_gain=0.5)
    c.save(tmp_path / "c")
    assert Calibration.load(tmp_path / "c").measured_gain == 0.5
    assert calibrated().measured_gain != 0.5
