"""A chip: which one, how faithfully, how noisy; and the one that is being used now."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lavalike import html
from lavalike.arguments import (
    FLAG,
    arguments,
    did_you_mean,
    finite,
    instance,
    integer,
    whole,
)
from lavalike.bss2.chip import facts
from lavalike.bss2.errors import CalibrationError, NoChipError
from lavalike.errors import InputError, InputTypeError

if TYPE_CHECKING:
    from lavalike.bss2.chip.calibration import Calibration

HEMISPHERE = integer(0, facts.HEMISPHERES - 1)
LEVELS = ("ideal", "quantised", "emulated", "hardware")
# spread after calibration over spread before it: calix's bounds; those of columns, rows and
# synapses are chosen
RATIOS = facts.CALIBRATION_RATIO | {
    "column_gain": 0.35,
    "column_offset": 0.15,
    "row_gain": 0.5,
    "efficacy": 0.5,
    "correlation": 0.6,
}


@arguments()
@dataclass(frozen=True)
class Noise:
    """How a calibrated chip differs from its model: standard deviations, unless said otherwise.

    The defaults are chosen between published bounds and measurements (calix's tests; hxtorch's
    examples show column gains spread by 4.4 to 5.2 % and a temporal noise of 2 LSB); they are
    knobs, not claims about one chip.

    Example:
        >>> chip = bss2.Chip(seed=3, noise=bss2.Noise(column_gain=0.1, trial=0))
        >>> bss2.Noise.none().column_gain
        0.0

    Args:
        column_gain, row_gain: perceptron mode, relative. Default 0.05 each.
        column_offset: perceptron mode, output LSB. Default 2.
        trial: perceptron mode, output LSB, from call to call. Default 2.
        floor: perceptron mode, output LSB: where a column saturates below, uniform within (low,
            high). Default (-115, -90).
        knee: perceptron mode, output LSB below which outputs bend towards the floor; None: they do
            not. Default -80.
        pulse_offset: perceptron mode: added to every input above 0, as pulses begin late. Default
            0.
        leak, reset, threshold: spiking mode, CADC LSB, from neuron to neuron. Default 2, 2, 4.
        threshold_trial: CADC LSB, from sample to sample of a batch. Default 1.
        tau_mem, tau_syn: relative, from neuron to neuron. Default 0.05 each.
        efficacy: relative, from synapse to synapse. Default 0.1.
        correlation: relative, of amplitude and time constant of the correlation sensors, from
            synapse to synapse. Default 0.3.
        cadc: CADC LSB, from conversion to conversion. Default 1.5.
        jitter: of spike times, s. Default 1e-7.
    """

    column_gain: float = 0.05
    column_offset: float = 2.0
    row_gain: float = 0.05
    trial: float = facts.DEFAULT_NOISE
    floor: tuple[float, float] = (-115.0, -90.0)
    knee: float | None = -80.0
    pulse_offset: float = 0.0
    leak: float = 2.0
    reset: float = 2.0
    threshold: float = 4.0
    threshold_trial: float = 1.0
    tau_mem: float = 0.05
    tau_syn: float = 0.05
    efficacy: float = 0.1
    correlation: float = 0.3
    cadc: float = 1.5
    jitter: float = 0.1e-6

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            if f.name not in ("floor", "knee"):
                object.__setattr__(
                    self, f.name, finite(getattr(self, f.name), f"Noise: {f.name}", 0)
                )
        if self.knee is not None:
            object.__setattr__(self, "knee", finite(self.knee, "Noise: knee"))
        if not isinstance(self.floor, Iterable) or len(ends := tuple(self.floor)) != 2:
            error = (
                InputError
                if isinstance(self.floor, Iterable) and not isinstance(self.floor, str)
                else InputTypeError
            )
            raise error(f"Noise: floor is two numbers, low and high, got {self.floor!r}")
        low, high = (finite(v, "Noise: an end of floor") for v in ends)
        if self.knee is not None and not facts.OUTPUT_MIN <= low <= high < self.knee <= 0:
            raise InputError(
                f"Noise: {facts.OUTPUT_MIN} <= floor low <= high < knee <= 0 is needed, "
                f"got floor {self.floor}, knee {self.knee}"
            )
        object.__setattr__(self, "floor", (low, high))

    @classmethod
    def none(cls) -> Noise:
        """A chip that computes its model: no spread, no bend."""
        zero: dict[str, Any] = {
            f.name: 0.0 for f in dataclasses.fields(cls) if f.name not in ("floor", "knee")
        }
        return cls(**zero, knee=None)


def fixed(array: np.ndarray) -> np.ndarray:
    """The array, read-only: a chip cannot be changed."""
    view = array.view()
    view.flags.writeable = False
    return view


class Columns(NamedTuple):
    """Of one hemisphere in perceptron mode, float32 (256,): relative gain, offset and lower end in
    output LSB."""

    gain: np.ndarray
    offset: np.ndarray
    floor: np.ndarray


class Circuits(NamedTuple):
    """Of all neuron circuits, float32 (512,): leak, reset, threshold as offsets in CADC LSB, time
    constants as factors.

    Circuit k lies in hemisphere k // 256, column k % 256.
    """

    leak: np.ndarray
    reset: np.ndarray
    threshold: np.ndarray
    tau_mem: np.ndarray
    tau_syn: np.ndarray


@arguments(calibrated=FLAG)
@dataclass(frozen=True)
class Chip:
    """One chip. It holds no state: the same arguments are the same chip, in every process and run.

    Example:
        >>> bss2.Chip(seed=3).level
        'emulated'
        >>> bss2.Chip(seed=3) == bss2.Chip(seed=3)
        True

    Args:
        seed: which chip: its fixed pattern. What varies from trial to trial is drawn from torch's
            global generator.
        level: ``"ideal"``: the model in floating point, without ranges; ``"quantised"``: 5-bit
            inputs, 6-bit weights, 8-bit outputs, no noise (spiking mode: 6-bit weights and the
            chip's parameter ranges, membranes are not converted); ``"emulated"``: in addition fixed
            pattern and trial-to-trial noise; ``"hardware"``: through hxtorch. Default "emulated".
        calibrated: False multiplies the spreads by what calibration gains (:data:`RATIOS`). Default
            True.
        noise: default :class:`Noise`.
        gain: perceptron mode, output LSB for input x weight = 1. Default 0.002.
        chips: how many of its kind share the tiles of a layer and the instances of a network: this
            one and its neighbours. Default 1.
        calibration: of :func:`lavalike.bss2.calibrate`, or loaded: what it left of this chip's
            patterns takes the place of the drawn ones. CalibrationError unless it was measured on a
            chip of this seed, gain and noise, or with ``calibrated=False``.

    All arrays it gives are read-only.
    """

    seed: int = 0
    level: str = "emulated"
    calibrated: bool = True
    noise: Noise = field(default_factory=Noise)
    gain: float = facts.DEFAULT_GAIN
    chips: int = 1
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            error = InputError if isinstance(self.level, str) else InputTypeError
            raise error(
                f"Chip: level is one of {', '.join(LEVELS)}; got {self.level!r}{did_you_mean(self.level, LEVELS)}"
            )
        object.__setattr__(self, "seed", whole(self.seed, 0, "Chip: seed"))
        object.__setattr__(self, "chips", whole(self.chips, 1, "Chip: chips"))
        if not isinstance(self.noise, Noise):
            raise InputTypeError(f"Chip: noise is a Noise, got {self.noise!r}")
        gain = finite(self.gain, "Chip: gain")
        if not 0 < gain <= 1:
            raise InputError(f"Chip: gain is within 0..1 LSB, above 0; got {self.gain!r}")
        object.__setattr__(self, "gain", gain)
        if self.calibration is not None:
            self._check_calibration()

    def _check_calibration(self) -> None:
        from lavalike.bss2.chip.calibration import Calibration

        if not isinstance(self.calibration, Calibration):
            raise InputTypeError(
                f"Chip: calibration is a Calibration (Calibration.load reads one), got {self.calibration!r}"
            )
        self.calibration.check(self, "Chip")
        if not self.calibrated:
            raise CalibrationError(
                f"{self!r}: a calibration was given, and calibrated=False; leave one of them out"
            )

    def __repr__(self) -> str:
        changed = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in dataclasses.fields(self)
            if f.name not in ("seed", "level", "noise", "calibration")
            and getattr(self, f.name) != f.default
        ]
        noise = ["noise=..."] if self.noise != Noise() else []
        measured = ["calibration=..."] if self.calibration is not None else []
        return f"Chip({', '.join([f'seed={self.seed}', f'level={self.level!r}', *changed, *noise, *measured])})"

    def _repr_html_(self) -> str:
        noise = [[f.name, getattr(self.noise, f.name)] for f in dataclasses.fields(Noise)]
        rows: list[list[object]] = [
            ["seed", self.seed],
            ["level", self.level],
            ["calibrated", self.calibrated],
            ["gain", f"{self.gain:g} output LSB for input x weight = 1"],
            ["chips", self.chips],
            ["calibration", "measured on this chip" if self.calibration is not None else "-"],
        ]
        changed = "default" if self.noise == Noise() else "changed"
        return html.box(
            "BrainScaleS-2 chip",
            self.identifier,
            html.table(["", ""], rows, len(rows)),
            html.fold(f"noise, {changed}", html.table(["", ""], noise, len(noise))),
        )

    @property
    def identifier(self) -> str:
        """Which chip this is, for reports and files."""
        return f"{self.level} chip {self.seed}"

    @property
    def emulated(self) -> bool:
        """Whether patterns and noise act."""
        return self.level == "emulated"

    @arguments(k=integer(0))
    def neighbour(self, k: int) -> Chip:
        """The k-th chip of a setup of several; 0 is this one. Always the same ones."""
        if k == 0:
            return self
        if self.calibration is not None:
            raise CalibrationError(
                f"{self.identifier} was given one chip's calibration; chip {k} of the setup has none. "
                "Leave calibration out for setups of several chips"
            )
        return dataclasses.replace(
            self, seed=int(np.random.SeedSequence([self.seed, k]).generate_state(1)[0])
        )

    # -- fixed pattern: neutral unless emulated ----------------------------------------------------

    def _stream(self, pattern: str, hemisphere: int = 0) -> np.random.Generator:
        # a stream for every pattern, so that drawing another one later changes none of these
        return np.random.default_rng([self.seed, hemisphere, *pattern.encode()])

    def _sigma(self, name: str) -> float:
        return getattr(self.noise, name) / (1 if self.calibrated else RATIOS[name])

    def _spread(self, name: str, shape: Any, around: float, hemisphere: int = 0) -> np.ndarray:
        """Normal around ``around``; factors (around 1) stay above 0.05."""
        if not self.emulated:
            return fixed(np.full(shape, around, np.float32))
        drawn = around + self._sigma(name) * self._stream(name, hemisphere).standard_normal(
            shape, np.float32
        )
        return fixed(
            np.maximum(drawn, 0.05, dtype=np.float32) if around else drawn.astype(np.float32)
        )

    @cached_property
    def _columns(self) -> tuple[Columns, Columns]:
        if self.calibration is not None and self.emulated:
            return self.calibration.columns
        low, high = self.noise.floor
        made = [
            Columns(
                self._spread("column_gain", facts.COLUMNS, 1.0, h),
                self._spread("column_offset", facts.COLUMNS, 0.0, h),
                fixed(
                    self._stream("floor", h).uniform(low, high, facts.COLUMNS).astype(np.float32)
                ),
            )
            for h in range(facts.HEMISPHERES)
        ]
        return made[0], made[1]

    @arguments(hemisphere=HEMISPHERE)
    def columns(self, hemisphere: int) -> Columns:
        """Perceptron mode: gain, offset and lower end of the hemisphere's columns."""
        return self._columns[hemisphere]

    @cached_property
    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        made = [
            self._spread("row_gain", facts.SIGNED_ROWS, 1.0, h) for h in range(facts.HEMISPHERES)
        ]
        return made[0], made[1]

    @arguments(hemisphere=HEMISPHERE)
    def rows(self, hemisphere: int) -> np.ndarray:
        """Perceptron mode: relative gain of the hemisphere's signed rows, float32 (128,)."""
        return self._rows[hemisphere]

    @cached_property
    def circuits(self) -> Circuits:
        """Spiking mode: how each neuron circuit differs from what was asked of it."""
        if self.calibration is not None and self.emulated:
            return self.calibration.circuits
        n = facts.CIRCUITS
        return Circuits(
            *(self._spread(name, n, float(name.startswith("tau"))) for name in Circuits._fields)
        )

    @cached_property
    def _correlation(self) -> tuple[np.ndarray, np.ndarray]:
        shape = (2, 2, facts.ROWS, facts.COLUMNS)
        made = [self._spread("correlation", shape, 1.0, h) for h in range(facts.HEMISPHERES)]
        return made[0], made[1]

    @arguments(hemisphere=HEMISPHERE)
    def correlation(self, hemisphere: int) -> np.ndarray:
        """Spiking mode: amplitude and time constant, relative, of the causal and the anticausal
        correlation sensor of the hemisphere's synapses, float32 (2 quantities, 2 sensors, 256 rows,
        256 columns)."""
        return self._correlation[hemisphere]

    @cached_property
    def _efficacy(self) -> tuple[np.ndarray, np.ndarray]:
        made = [
            self._spread("efficacy", (facts.ROWS, facts.COLUMNS), 1.0, h)
            for h in range(facts.HEMISPHERES)
        ]
        return made[0], made[1]

    @arguments(hemisphere=HEMISPHERE)
    def efficacy(self, hemisphere: int) -> np.ndarray:
        """Spiking mode: relative strength of the hemisphere's synapses, float32 (256 rows, 256
        columns)."""
        return self._efficacy[hemisphere]


_current: ContextVar[Chip | None] = ContextVar("current_chip", default=None)


def current_chip() -> Chip:
    """The chip that :func:`use` or ``init_hardware`` took; NoChipError without one."""
    chip = _current.get()
    if chip is None:
        raise NoChipError(
            "no chip: init_hardware() takes one, `with lavalike.bss2.use(Chip(...)):` an emulated one; mock=True needs none"
        )
    return chip


def set_current(chip: Chip | None) -> None:
    """What ``init_hardware`` and ``release_hardware`` do, in this context (thread, task); prefer
    :func:`use`."""
    _current.set(chip)


@arguments(chip=instance(Chip))
@contextmanager
def use(chip: Chip) -> Iterator[Chip]:
    """Within, operations that ask for the chip run on ``chip``.

    The chip belongs to the context (thread, asyncio task) it was taken in: a new thread has none,
    and enters ``use`` itself, or runs within ``contextvars.copy_context()``.
    """
    token = _current.set(chip)
    try:
        yield chip
    finally:
        _current.reset(token)
