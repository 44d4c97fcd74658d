"""Calibration: what an uncalibrated chip is brought to, what remains, and the file that holds it.

As the chip's own (calix): every circuit's parameter is set by a CapMem cell of 10 bits, found by
bisection with the CADC; columns of perceptron mode by the strength of their synaptic input, and by
subtracting their baseline. What no search sees is that a cell lands elsewhere each time it is
written; that, the cells' steps and the noise of reading are the mismatch that remains.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from lavalike.arguments import (
    PATH,
    arguments,
    instance,
    integer,
    optional,
    real,
    whole,
)
from lavalike.bss2.chip import Chip, Circuits, Columns, Noise, facts, fixed, use
from lavalike.bss2.errors import CalibrationError, CalibrationTypeError
from lavalike.text import table

FORMAT, VERSION = "lavalike.bss2 calibration", 1
VOLTAGES = ("leak", "reset", "threshold")
PARAMETERS = (*VOLTAGES, "tau_mem", "tau_syn")

# all chosen, as nothing of the kind is published
_WRITE = 0.5  # from one writing to the next, of the spread that a calibrated chip is said to have
_VOLTS = (-13.0, 253.0)  # CADC LSB at the ends of a cell's 1.2 V
_NOMINAL = 500  # code of a column's synaptic input before calibration
_AMPLITUDE = 60.0  # output LSB that columns are compared at
_DECAY = 50.0  # CADC LSB over which a time constant is fitted
_TOLERANCE = {
    "leak": 8.0,
    "reset": 8.0,
    "threshold": 8.0,
    "tau_mem": 0.25,
    "tau_syn": 0.25,
}  # LSB, relative: off by more is a failure
_CALIX = (".pbin", ".pkl", ".pickle", ".json", ".bin", ".json.gz", ".pbin.gz")
NIGHTLY = "/wang/data/calibration/hicann-dls-sr-hx"  # where the real setups keep theirs
_LARGEST = 1 << 20  # bytes of a calibration file, unpacked


@arguments(error=CalibrationError)
@dataclass(frozen=True)
class OperatingPoint:
    """What every neuron circuit shall be: leak, reset, threshold in CADC LSB, time constants in s.
    Defaults and ranges: calix's.

    CalibrationError for a value outside what can be calibrated.
    """

    leak: float = facts.RANGES["leak"].default
    reset: float = facts.RANGES["reset"].default
    threshold: float = facts.RANGES["threshold"].default
    tau_mem: float = facts.RANGES["tau_mem"].default
    tau_syn: float = facts.RANGES["tau_syn"].default

    def __post_init__(self) -> None:
        for name in PARAMETERS:
            limit, value = facts.RANGES[name], getattr(self, name)
            number = isinstance(value, Real) and not isinstance(value, bool)
            if not number or not limit.low <= value <= limit.high:
                error = CalibrationError if number else CalibrationTypeError
                raise error(
                    f"OperatingPoint: {name} can be calibrated to {limit.low:g}..{limit.high:g} {limit.unit}, got {value!r}; "
                    "choose another, or scale the model's units"
                )
            object.__setattr__(self, name, float(value))


@arguments(
    error=CalibrationError,
    seed=integer(0),
    noise=instance(Noise),
    gain=real(above=0),
    target=instance(OperatingPoint),
    measured_gain=real(),
    measured_noise=real(0),
)
@dataclass(frozen=True, eq=False)
class Calibration:
    """A measured calibration of one chip.

    Example:
        >>> calibration = bss2.calibrate(bss2.Chip(seed=3, calibrated=False))
        >>> calibration.success.shape
        (512,)

    Args:
        seed, noise, gain: of the chip.
        target: of the neuron circuits.
        measured_gain, measured_noise: perceptron mode, medians over columns
            (``measure_mock_parameter``), LSB.
        columns: of both hemispheres: what remains of gain and offset, and where outputs end below.
        circuits: what remains of each circuit's deviation from the target.
        success: (512,) bool: every parameter of the circuit within 8 LSB, or 25 %, of its target.
        before: standard deviation of each parameter, column_gain and column_offset before
            calibration.
    """

    seed: int
    noise: Noise
    gain: float
    target: OperatingPoint
    measured_gain: float
    measured_noise: float
    columns: tuple[Columns, Columns]
    circuits: Circuits
    success: np.ndarray
    before: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(Columns(*map(fixed, c)) for c in self.columns))
        object.__setattr__(self, "circuits", Circuits(*map(fixed, self.circuits)))

    def check(self, chip: Chip, what: str) -> None:
        """CalibrationError, said of ``what``, unless it was measured on ``chip``."""
        for name in ("seed", "gain", "noise"):
            if getattr(chip, name) != getattr(self, name):
                raise CalibrationError(
                    f"{what}: expected the calibration of {chip!r}, found chip {self.seed}'s: {name} is "
                    f"{getattr(self, name)!r}, not {getattr(chip, name)!r}; calibrate(chip) makes its own"
                )

    def chip(self) -> Chip:
        """The emulated chip it was measured on, calibrated so."""
        return Chip(seed=self.seed, noise=self.noise, gain=self.gain, calibration=self)

    @property
    def after(self) -> dict[str, float]:
        """Standard deviation of what remains, without the 5 % farthest from the median, as calix
        has it."""
        left = {n: getattr(self.circuits, n) for n in PARAMETERS}
        left |= {
            f"column_{n}": np.concatenate([getattr(c, n) for c in self.columns])
            for n in ("gain", "offset")
        }
        return {n: _trimmed(v) for n, v in left.items()}

    def __str__(self) -> str:
        after = self.after
        rows = []
        for name, before in self.before.items():
            wanted, bound = getattr(self.target, name, None), facts.CALIBRATION_RATIO.get(name)
            rows.append(
                (
                    name,
                    "-" if wanted is None else f"{wanted:g}",
                    f"{before:.3g}",
                    f"{after[name]:.3g}",
                    f"{after[name] / before:.2f}" if before else "-",
                    "-" if bound is None else f"{bound:g}",
                )
            )
        return (
            f"chip {self.seed}: gain {self.measured_gain:.5f}, noise {self.measured_noise:.2f} LSB, "
            f"{100 * self.success.mean():.1f} % of the circuits in range\n"
            + table(("parameter", "target", "before", "after", "ratio", "bound"), rows)
        )

    # -- file --------------------------------------------------------------------------------------

    @arguments(path=PATH)
    def save(self, path: str | Path) -> None:
        """Write a file (numpy's npz under any name, no pickle)."""
        meta = {
            "format": FORMAT,
            "version": VERSION,
            "seed": int(self.seed),
            "gain": self.gain,
            "noise": dataclasses.asdict(self.noise),
            "target": dataclasses.asdict(self.target),
            "measured_gain": self.measured_gain,
            "measured_noise": self.measured_noise,
            "before": self.before,
        }
        arrays: dict[str, Any] = {
            f"column_{n}": np.stack([getattr(c, n) for c in self.columns]) for n in Columns._fields
        }
        arrays |= {
            "meta": np.array(json.dumps(meta, default=float)),
            "success": self.success,
            **self.circuits._asdict(),
        }
        with open(path, "wb") as file:
            np.savez(file, **arrays)

    @classmethod
    @arguments(path=PATH, chip=optional(instance(Chip)))
    def load(cls, path: str | Path, chip: Chip | None = None) -> Calibration:
        """Read a file.

        Args:
            path: of a file that :meth:`save` wrote.
            chip: whose calibration it must be; default: any.

        CalibrationError: no such file, damaged, not a calibration of this kind, or another chip's.
        """
        meta, arrays = _read(Path(path))
        try:
            noise = Noise(**meta["noise"] | {"floor": tuple(meta["noise"]["floor"])})
            left, right = (
                Columns(*(arrays[f"column_{n}"][h] for n in Columns._fields))
                for h in range(facts.HEMISPHERES)
            )
            found = cls(
                int(meta["seed"]),
                noise,
                float(meta["gain"]),
                OperatingPoint(**meta["target"]),
                float(meta["measured_gain"]),
                float(meta["measured_noise"]),
                (left, right),
                Circuits(*(arrays[n] for n in Circuits._fields)),
                arrays["success"],
                {str(n): float(v) for n, v in meta["before"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise CalibrationError(
                f"{path}: damaged: {e}; write it again with Calibration.save"
            ) from e
        if chip is not None:
            found.check(chip, str(path))
        return found


def of_a_real_chip(path: str | Path) -> bool:
    """Whether the file at ``path`` is one that calix writes for a real chip, by its name or its
    first byte: cereal's portable binary, JSON, a pickle, packed or not. It is not read further. One
    where a real setup keeps those of the night is, whether it is there or not."""
    if Path(path).as_posix().startswith(NIGHTLY):
        return True
    try:
        with open(path, "rb") as file:
            first = file.read(2)
    except OSError:
        return False
    if first == b"PK":
        return False
    return Path(path).name.endswith(_CALIX) or first.startswith(
        (b"\0", b"\1", b"\x80", b"{", b"\x1f\x8b")
    )


def _read(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Description and arrays, checked for kind, version, shapes and numbers."""
    remedy = "Calibration.save(path) writes such a file, calibrate(chip) makes what is in it"
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(i.file_size for i in packed.infolist())
        if size > _LARGEST:
            raise CalibrationError(
                f"{path}: expected a calibration of at most {_LARGEST} bytes, found {size}; {remedy}"
            )
        with np.load(path, allow_pickle=False) as z:
            arrays = {n: z[n] for n in z.files}
        meta = json.loads(str(arrays.pop("meta")))
    except FileNotFoundError as e:
        raise CalibrationError(f"{path}: no such file; {remedy}") from e
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        MemoryError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as e:
        if isinstance(e, CalibrationError):
            raise
        raise CalibrationError(
            f"{path}: expected a {FORMAT!r} file, found none, or a damaged one ({e}); {remedy}"
        ) from e
    kind = (meta.get("format"), meta.get("version")) if isinstance(meta, dict) else None
    if kind != (FORMAT, VERSION):
        raise CalibrationError(
            f"{path}: expected {FORMAT!r} version {VERSION}, found {kind}; {remedy}"
        )
    shapes: dict[str, tuple[int, ...]] = {
        f"column_{n}": (facts.HEMISPHERES, facts.COLUMNS) for n in Columns._fields
    }
    shapes |= dict.fromkeys((*Circuits._fields, "success"), (facts.CIRCUITS,))
    for name, shape in shapes.items():
        dtype, array = np.dtype("?" if name == "success" else "f"), arrays.get(name)
        if (
            array is None
            or array.shape != shape
            or array.dtype != dtype
            or not np.isfinite(array).all()
        ):
            found = "nothing" if array is None else f"{array.dtype} {array.shape}"
            raise CalibrationError(
                f"{path}: {name}: expected finite {dtype} {shape}, found {found}; {remedy}"
            )
    return meta, arrays


# -- measuring -------------------------------------------------------------------------------------


@arguments(chip=instance(Chip), target=optional(instance(OperatingPoint)))
def calibrate(
    chip: Chip, target: OperatingPoint | None = None, repetitions: int = 100, seed: int = 0
) -> Calibration:
    """Bring a chip's circuits to ``target`` and its columns to one gain, starting from the chip
    without calibration.

    Args:
        chip: emulated; a real one is calibrated by calix, and hxtorch loads what that wrote.
        target: default :class:`OperatingPoint`.
        repetitions: of each measurement, averaged. Default 100.
        seed: of the noise of measuring; the same gives the same calibration. Default 0.

    CalibrationError: a chip that is not emulated; a target out of range.
    """
    if not chip.emulated:
        raise CalibrationError(
            f"calibrate: a chip of level 'emulated' is expected, got {chip.identifier}: "
            + (
                "calix calibrates it, init_hardware(CalibrationPath(...)) loads that"
                if chip.level == "hardware"
                else "it has nothing to calibrate"
            )
        )
    repetitions, seed = (
        whole(repetitions, 2, "calibrate: repetitions"),
        whole(seed, 0, "calibrate: seed"),
    )
    target = target or OperatingPoint()
    raw = dataclasses.replace(chip, calibrated=False, calibration=None)
    rng = np.random.default_rng([chip.seed, seed])
    circuits, success = _circuits(raw, target, repetitions, rng)
    before = {n: _trimmed(getattr(raw.circuits, n)) for n in PARAMETERS}
    before |= {
        f"column_{n}": _trimmed(
            np.concatenate([getattr(raw.columns(h), n) for h in range(facts.HEMISPHERES)])
        )
        for n in ("gain", "offset")
    }
    made = Calibration(
        chip.seed,
        chip.noise,
        chip.gain,
        target,
        chip.gain,
        chip.noise.trial,
        (raw.columns(0), raw.columns(1)),
        circuits,
        success,
        before,
    )
    import torch

    from lavalike.bss2.perceptron.mock import measure_mock_parameter

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(
            int(rng.integers(2**62))
        )  # torch.manual_seed would reseed other devices as well
        made = dataclasses.replace(made, columns=_columns(made, repetitions, rng))
        with use(made.chip()):
            found = measure_mock_parameter()
    return dataclasses.replace(made, measured_gain=found.gain, measured_noise=found.noise_std)


def _bisect(read: Callable[[np.ndarray], np.ndarray], wanted: float, size: int) -> np.ndarray:
    """The largest codes of 10 bits at which what is read, which rises with them, is not above what
    is wanted."""
    code = np.zeros(size, np.int64)
    for bit in reversed(range(facts.CAPMEM_MAX.bit_length())):
        tried = np.minimum(code | 1 << bit, facts.CAPMEM_MAX)
        code = np.where(read(tried) <= wanted, tried, code)
    return code


def _circuits(
    raw: Chip, target: OperatingPoint, repetitions: int, rng: np.random.Generator
) -> tuple[Circuits, np.ndarray]:
    """Each parameter of all circuits bisected; what remains, and whether it is little enough."""
    left = {n: _remaining(n, raw, getattr(target, n), repetitions, rng) for n in PARAMETERS}
    success = np.all([np.abs(off) <= _TOLERANCE[n] for n, off in left.items()], 0)
    return Circuits(
        **{n: (off if n in VOLTAGES else 1 + off).astype(np.float32) for n, off in left.items()}
    ), success


def _remaining(
    name: str, raw: Chip, wanted: float, repetitions: int, rng: np.random.Generator
) -> np.ndarray:
    """Measured deviation of one parameter after calibration: CADC LSB, or relative."""
    deviation, spread = getattr(raw.circuits, name), _WRITE * getattr(raw.noise, name)
    blur = raw.noise.cadc / np.sqrt(repetitions)
    if name in VOLTAGES:
        low, high = _VOLTS
    else:
        # a bias current over decades: logarithmic, and measured on a decay
        low, high = np.log(facts.RANGES[name].low / 2), np.log(facts.RANGES[name].high * 2)
        wanted, deviation, blur = np.log(wanted), np.log(deviation), blur / _DECAY

    def read(code: np.ndarray) -> np.ndarray:
        """Written anew each time, and read."""
        return (
            low
            + (high - low) * code / facts.CAPMEM_MAX
            + deviation
            + np.hypot(spread, blur) * rng.standard_normal(facts.CIRCUITS)
        )

    off = read(_bisect(read, wanted, facts.CIRCUITS)) - wanted
    return off if name in VOLTAGES else np.expm1(off)


def _columns(
    made: Calibration, repetitions: int, rng: np.random.Generator
) -> tuple[Columns, Columns]:
    """Columns brought to the chip's gain and a baseline of 0, with the products of the chip itself;
    what is then measured of them."""
    size = facts.CIRCUITS
    raw = Columns(*(np.concatenate([getattr(c, n) for c in made.columns]) for n in Columns._fields))
    noise = made.noise
    charge, x, w, rows, sends = _stimulus(made.gain)

    def written(gain: np.ndarray, offset: np.ndarray) -> tuple[Columns, Columns]:
        gain = np.maximum(gain * (1 + _WRITE * noise.column_gain * rng.standard_normal(size)), 0.05)
        pairs = (
            v.astype(np.float32).reshape(facts.HEMISPHERES, -1) for v in (gain, offset, raw.floor)
        )
        first, second = (Columns(*v) for v in zip(*pairs, strict=True))
        return first, second

    def amplitude(columns: tuple[Columns, Columns]) -> np.ndarray:
        return _read_out(made, columns, x, w, rows, sends, repetitions) - _read_out(
            made, columns, 0, w, rows, sends, repetitions
        )

    def strength(code: np.ndarray) -> np.ndarray:
        return amplitude(written(raw.gain * code / _NOMINAL, raw.offset))

    code = _bisect(strength, charge * made.gain, size)
    baseline = np.round(
        _read_out(
            made, written(raw.gain * code / _NOMINAL, raw.offset), 0, w, rows, sends, repetitions
        )
    )
    # from here on it is written once, and the baseline has drifted since it was measured
    final = written(
        raw.gain * code / _NOMINAL,
        raw.offset - baseline + _WRITE * noise.column_offset * rng.standard_normal(size),
    )
    offset = _read_out(made, final, 0, w, rows, sends, repetitions)
    gain = amplitude(final) / (charge * made.gain)
    floor = (
        _read_out(
            made, final, facts.INPUT_MAX, -facts.WEIGHT_MAX, facts.SIGNED_ROWS, facts.CAPMEM_MAX, 2
        )
        if noise.knee is not None
        else raw.floor
    )
    pairs = (v.astype(np.float32).reshape(facts.HEMISPHERES, -1) for v in (gain, offset, floor))
    first, second = (Columns(*v) for v in zip(*pairs, strict=True))
    return first, second


def _stimulus(gain: float) -> tuple[float, int, int, int, int]:
    """Charge, input, weight, rows and sends that give an output near :data:`_AMPLITUDE`."""
    needed = _AMPLITUDE / gain
    rows = int(np.clip(needed // 315, 1, facts.SIGNED_ROWS))
    sends = int(np.ceil(needed / (facts.SIGNED_ROWS * facts.INPUT_MAX * facts.WEIGHT_MAX)))
    x = int(np.clip(round(np.sqrt(needed / rows / sends)), 1, facts.INPUT_MAX))
    w = int(np.clip(round(needed / rows / sends / x), 1, facts.WEIGHT_MAX))
    return float(x * w * rows * sends), x, w, rows, sends


def _read_out(
    made: Calibration,
    columns: tuple[Columns, Columns],
    x: int,
    w: int,
    rows: int,
    sends: int,
    repetitions: int,
) -> np.ndarray:
    """(512,) mean outputs of the chip with these columns; converters round down, so that half a
    step is added."""
    import torch

    from lavalike.bss2.chip.analog import product

    inputs = torch.zeros(repetitions, facts.SIGNED_ROWS)
    inputs[:, :rows] = x
    weights = torch.full((facts.SIGNED_ROWS, facts.CIRCUITS), float(w))
    out = product(
        inputs, weights, dataclasses.replace(made, columns=columns).chip(), sends, "calibrate"
    )
    return out.double().mean(0).numpy() + 0.5


def _trimmed(values: np.ndarray) -> float:
    far = np.abs(values - np.median(values))
    return float(values[far <= np.quantile(far, 0.95)].std())
