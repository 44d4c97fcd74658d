"""A chip is its seed: the same patterns everywhere, spread as the noise figures say, neutral below
level "emulated"."""

from __future__ import annotations

import contextvars
import importlib
import subprocess
import sys
import threading
from dataclasses import fields, replace

import numpy as np
import pytest

from lavalike import bss2
from lavalike.bss2 import chip as chips, facts
from lavalike.errors import InputError
from tests.conftest import ROOT


def patterns(chip):
    return [
        *chip.columns(0),
        *chip.columns(1),
        chip.rows(0),
        chip.rows(1),
        *chip.circuits,
        chip.efficacy(0),
        chip.efficacy(1),
    ]


def test_facts_fit_together():
    assert facts.SYNAPSES == 131_072
    assert facts.CIRCUITS == 512
    assert facts.SIGNED_ROWS * 2 == facts.ROWS
    assert facts.COLUMNS == facts.OUTPUT_COLUMNS * 2 * facts.PADI_BUSES
    for r in (*facts.RANGES.values(), *facts.HAGEN_RANGES.values()):
        assert r.low <= r.default <= r.high


def test_a_seed_is_the_same_chip_in_another_process():
    code = (
        "from lavalike import bss2; c = bss2.Chip(seed=7); "
        "print(float(c.columns(1).gain[5]), float(c.circuits.threshold[300]), float(c.efficacy(0)[200, 17]))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    c = bss2.Chip(seed=7)
    assert [float(x) for x in said] == [
        float(c.columns(1).gain[5]),
        float(c.circuits.threshold[300]),
        float(c.efficacy(0)[200, 17]),
    ]


def test_another_noise_figure_leaves_the_other_patterns_alone():
    a, b = bss2.Chip(seed=1), bss2.Chip(seed=1, noise=bss2.Noise(column_gain=0.1))
    np.testing.assert_allclose(
        b.columns(0).gain - 1, 2 * (a.columns(0).gain - 1), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_array_equal(a.columns(0).offset, b.columns(0).offset)
    np.testing.assert_array_equal(a.circuits.leak, b.circuits.leak)


@pytest.mark.parametrize(
    "other", [bss2.Chip(seed=4), bss2.Chip(seed=3).neighbour(1)], ids=["seed", "neighbour"]
)
def test_other_chips_differ(other):
    for x, y in zip(patterns(bss2.Chip(seed=3)), patterns(other), strict=True):
        assert abs(np.corrcoef(x.ravel(), y.ravel())[0, 1]) < 0.25


def test_a_chip_is_a_value():
    assert bss2.Chip(seed=2) == bss2.Chip(seed=2) != bss2.Chip(seed=3)
    assert (
        len({bss2.Chip(seed=2), bss2.Chip(seed=2), bss2.Chip(seed=2, noise=bss2.Noise(jitter=0))})
        == 2
    )


def test_hemispheres_differ():
    c = bss2.Chip()
    assert abs(np.corrcoef(c.columns(0).gain, c.columns(1).gain)[0, 1]) < 0.2
    assert abs(np.corrcoef(c.columns(0).gain, c.columns(0).offset)[0, 1]) < 0.2


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (lambda c: c.columns(0).gain - 1, "column_gain"),
        (lambda c: c.columns(0).offset, "column_offset"),
        (lambda c: c.rows(1) - 1, "row_gain"),
        (lambda c: c.circuits.leak, "leak"),
        (lambda c: c.circuits.threshold, "threshold"),
        (lambda c: c.circuits.tau_syn - 1, "tau_syn"),
        (lambda c: c.efficacy(0) - 1, "efficacy"),
    ],
)
def test_spreads_are_the_noise_figures_and_more_without_calibration(read, name):
    calibrated, raw = bss2.Chip(seed=11), bss2.Chip(seed=11, calibrated=False)
    sigma = getattr(calibrated.noise, name)
    assert read(calibrated).std() == pytest.approx(sigma, rel=0.2)
    assert read(raw).std() == pytest.approx(sigma / chips.RATIOS[name], rel=0.2)


def test_floors_lie_within_their_limits():
    floor = bss2.Chip().columns(0).floor
    assert -115 <= floor.min() < -113
    assert -92 < floor.max() <= -90


@pytest.mark.parametrize(
    "chip",
    [bss2.Chip(level="ideal"), bss2.Chip(level="quantised"), bss2.Chip(noise=bss2.Noise.none())],
    ids=repr,
)
def test_patterns_are_neutral_where_nothing_is_emulated(chip):
    for h in (0, 1):
        np.testing.assert_array_equal(chip.columns(h).gain, 1)
        np.testing.assert_array_equal(chip.columns(h).offset, 0)
        np.testing.assert_array_equal(chip.efficacy(h), 1)
    assert not chip.circuits.threshold.any()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: bss2.Chip(level="real"),
            "level is one of ideal, quantised, emulated, hardware; got 'real'",
        ),
        (lambda: bss2.Chip(seed=-1), "seed is an integer >= 0, got -1"),
        (lambda: bss2.Chip(chips=0), "chips is an integer >= 1, got 0"),
        (lambda: bss2.Chip(gain=2000), "gain is within 0..1 LSB, above 0; got 2000"),
        (lambda: bss2.Noise(trial=-1), "trial is a number >= 0, got -1"),
        (lambda: bss2.Noise(jitter=float("nan")), "jitter is a number >= 0, got nan"),
        (lambda: bss2.Noise(floor=(-70, -60)), "got floor (-70, -60), knee -80"),
        (lambda: bss2.Noise(floor=-100), "floor is two numbers, low and high, got -100"),
        (lambda: bss2.Noise(trial="a"), "Noise: trial is a number >= 0, got 'a'"),
        (lambda: bss2.Noise(knee=True), "Noise: knee is a finite number, got True"),
        (lambda: bss2.Chip(noise=None), "Chip: noise is a Noise, got None"),
        (lambda: bss2.Chip(gain="a"), "Chip: gain is a finite number, got 'a'"),
        (
            lambda: bss2.Chip(calibration=3),
            "Chip: calibration is a Calibration (Calibration.load reads one), got 3",
        ),
        (lambda: bss2.CalibrationPath(None), "CalibrationPath: value is a path, got None"),
        (lambda: bss2.use(3).__enter__(), "use: chip is a Chip, got 3"),
    ],
)
def test_bad_chips_say_what_was_expected(make, says):
    with pytest.raises(InputError) as e:
        make()
    assert says in str(e.value)


def test_the_current_chip_is_the_innermost_and_goes_with_its_block():
    a, b = bss2.Chip(seed=1), bss2.Chip(seed=2)
    with bss2.use(a):
        with bss2.use(b):
            assert bss2.current_chip() is b
        assert bss2.current_chip() is a
    with pytest.raises(bss2.NoChipError, match="init_hardware"):
        bss2.current_chip()


def test_init_hardware_without_a_chip_takes_the_emulated_one_and_says_so():
    with pytest.warns(bss2.EmulatedChipWarning, match="no BrainScaleS-2 is connected"):
        bss2.init_hardware()
    try:
        assert bss2.current_chip().level == "emulated"
        assert bss2.get_unique_identifier() == "emulated chip 0"
    finally:
        bss2.release_hardware()
    with pytest.raises(bss2.NoChipError):
        bss2.current_chip()
    bss2.release_hardware()  # without one nothing happens


def test_the_import_is_light():
    code = "import sys, lavalike.bss2; sys.exit(any(n in sys.modules for n in ('torch', 'numba', 'matplotlib')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_setup_of_chips_computes_a_layer_on_all_of_them():
    import torch

    from lavalike.bss2.chip.analog import product
    from lavalike.bss2.placement import tiles

    x, w = torch.full((4, 300), 3.0), torch.full((300, 256), 2.0)
    one, two = (bss2.Chip(seed=5, chips=n, noise=bss2.Noise(trial=0)) for n in (1, 2))
    assert not torch.equal(product(x, w, one), product(x, w, two))
    assert torch.equal(product(x, w, two), product(x, w, one, tiles=tiles(300, 256, chips=2)))


@pytest.mark.parametrize("level", ["emulated", "ideal"])
def test_a_chips_patterns_cannot_be_changed(level):
    chip = bss2.Chip(5, level=level)
    for array in patterns(chip):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1


def test_numpys_numbers_make_the_same_chip():
    noise = bss2.Noise(trial=np.float32(1.5), floor=[-100, np.int64(-90)])
    one = bss2.Chip(np.int64(3), gain=np.float32(0.5), noise=noise, chips=np.int8(2))
    two = bss2.Chip(3, gain=0.5, noise=bss2.Noise(trial=1.5, floor=(-100.0, -90.0)), chips=2)
    assert repr(one) == repr(two)
    assert one.noise == two.noise
    assert {type(v) for v in (one.gain, one.noise.trial, *one.noise.floor)} == {float}


def test_a_thread_has_no_chip_unless_the_context_is_handed_over():
    said = []

    def look():
        try:
            said.append(bss2.current_chip().seed)
        except bss2.NoChipError as e:
            said.append("no chip" in str(e))

    with bss2.use(bss2.Chip(seed=7)):
        context = contextvars.copy_context()
        for target in (look, lambda: context.run(look)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert said == [True, 7]


@pytest.mark.parametrize(
    ("names", "module"),
    [
        (
            (
                "init_hardware",
                "release_hardware",
                "CalibrationPath",
                "HWDBPath",
                "get_unique_identifier",
            ),
            "core",
        ),
        (("matmul", "nn", "MockParameter"), "ann"),
        (("Linear", "ConvertingReLU", "clamp_weight_"), "nn"),
    ],
)
def test_older_spellings_are_modules(names, module):
    found = importlib.import_module(f"lavalike.bss2.{module}")
    home = {"core": bss2, "ann": bss2.perceptron, "nn": bss2.perceptron.nn}[module]
    assert getattr(bss2, module) is found
    for name in names:
        assert getattr(found, name) is getattr(home, name)
        assert name in dir(found)
    with pytest.raises(AttributeError):
        found.nothing  # noqa: B018


def test_the_oldest_spelling_has_operations_at_the_top():
    for name in (
        "mac",
        "matmul",
        "conv1d",
        "conv2d",
        "expanded_conv1d",
        "add",
        "argmax",
        "relu",
        "converting_relu",
        "MockParameter",
        "set_mock_parameter",
        "get_mock_parameter",
        "measure_mock_parameter",
        "InferenceTracer",
        "inference_trace",
    ):
        assert getattr(bss2, name) is getattr(bss2.perceptron, name)
        assert name in dir(bss2)


def test_every_noise_figure_is_documented():
    for f in fields(bss2.Noise):
        assert f.name in bss2.Noise.__doc__
    assert replace(bss2.Noise(), knee=None).knee is None


@pytest.mark.parametrize(
    ("before", "now"),
    [
        *((n, f"chip.{n}") for n in ("analog", "calibration", "converters", "facts", "normal")),
        *((n, f"hxtorch.{n}") for n in ("connection", "handover", "hardware")),
    ],
)
def test_a_module_that_moved_is_itself_under_its_former_name(before, now):
    module = importlib.import_module(f"lavalike.bss2.{now}")
    assert importlib.import_module(f"lavalike.bss2.{before}") is module
    assert module.__name__ == f"lavalike.bss2.{now}"
    assert module.__spec__.name == module.__name__


def test_a_population_is_to_be_placed_and_hxtorchs_base_has_its_name():
    from lavalike.bss2.placement import Population
    from lavalike.bss2.spiking import LIF, modules

    assert issubclass(LIF, modules.Population)
    assert modules.Population.__name__ == "PopulationModule"
    assert Population("a", 3, 4).size == 3
