"""The linear model's two numbers, gain and noise, and where operations run: mock, or the current
chip.

hxtorch keeps its mock parameters in a global; here they are in a context variable, and a product
keeps the gain it was computed with for its backward pass (hxtorch reads the global again at that
time).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from numbers import Real

import torch

from lavalike.arguments import FLAG, arguments, optional
from lavalike.bss2.chip import Chip, current_chip, facts
from lavalike.bss2.errors import NoChipError, RangeError
from lavalike.errors import InputTypeError

BATCH, STEPS, SHRINK = 50, 20, 0.85  # of a measurement


@arguments()
@dataclass
class MockParameter:
    """The linear model of a chip.

    Example:
        >>> bss2.MockParameter(gain=0.002, noise_std=2.0).gain
        0.002

    Args:
        noise_std: standard deviation of an output, LSB. Default 2.
        gain: output LSB for input x weight = 1. Default 0.002.

    InputTypeError (a TypeError) for what is no number; a gain outside 0..1 or a negative noise is a
    RangeError (an OverflowError) where it is set.
    """

    noise_std: float = facts.DEFAULT_NOISE
    gain: float = facts.DEFAULT_GAIN

    def __post_init__(self) -> None:
        self._check_kinds("MockParameter")

    def _check_kinds(self, what: str) -> None:
        if not all(
            isinstance(v, Real) and not isinstance(v, bool) for v in (self.gain, self.noise_std)
        ):
            raise InputTypeError(
                f"{what}: a MockParameter(noise_std, gain) of two numbers is expected, got {vars(self)}"
            )

    def check(self, what: str) -> None:
        """The errors above, said of ``what``."""
        self._check_kinds(what)
        if not 0 < self.gain <= 1:
            raise RangeError(
                f"{what}: gain must be above 0 and at most 1 LSB, got {self.gain!r}; "
                "measure_mock_parameter() gives a chip's (about 0.002)"
            )
        if not 0 <= self.noise_std < math.inf:
            raise RangeError(
                f"{what}: noise_std must be at least 0 LSB and finite, got {self.noise_std!r}"
            )


_parameter: ContextVar[MockParameter | None] = ContextVar("mock_parameter", default=None)
_mode: ContextVar[bool | None] = ContextVar("mock_mode", default=None)


@arguments()
def set_mock_parameter(parameter: MockParameter) -> None:
    """The linear model used from here on: by mock operations, by gradients, and by layers when they
    are initialised.

    It belongs to the context (thread, asyncio task): a new thread starts with the defaults, and
    sets them itself, or runs within ``contextvars.copy_context()``.

    Errors as :class:`MockParameter`'s, whose values may have been set since; InputTypeError for
    what is none.
    """
    if not isinstance(parameter, MockParameter):
        raise InputTypeError(
            f"set_mock_parameter: a MockParameter(noise_std, gain) of two numbers is expected, got {parameter!r} "
            "as parameter"
        )
    parameter.check("set_mock_parameter")
    _parameter.set(MockParameter(float(parameter.noise_std), float(parameter.gain)))


def get_mock_parameter() -> MockParameter:
    """A copy of the linear model in use."""
    return replace(_parameter.get() or MockParameter())


@arguments(mock=optional(FLAG))
@contextmanager
def mock_mode(mock: bool | None) -> Iterator[None]:
    """Within, every operation runs as mock (True) or on the current chip (False), whatever its
    argument says; None: as it says."""
    token = _mode.set(mock)
    try:
        yield
    finally:
        _mode.reset(token)


def chip_for(mock: bool, what: str) -> Chip | None:
    """The chip an operation runs on, None for mock. NoChipError where there should be one and is
    none."""
    if mocked(mock, what):
        return None
    try:
        return current_chip()
    except NoChipError as e:
        raise NoChipError(
            f"{what} was asked for with mock=False, and there is no chip in this thread: init_hardware() takes one, "
            "`with lavalike.bss2.use(Chip(...)):` an emulated one; mock=True needs none"
        ) from e


def mocked(mock: bool, what: str) -> bool:
    """Whether an operation with this argument runs as mock."""
    if mock is not False and mock is not True:
        FLAG.check(what, "mock", mock)
    mode = _mode.get()
    return bool(mock) if mode is None else mode


def level_for(mock: bool, what: str) -> str | None:
    """Of the chip that a digital operation runs on; None for mock, and without a chip, which it
    does not need."""
    if mocked(mock, what):
        return None
    try:
        return current_chip().level
    except NoChipError:
        return None


def measure_mock_parameter() -> MockParameter:
    """Gain and noise of the current chip, within :func:`mock_mode` as well: medians over its
    columns. NoChipError without one.

    Inputs of 15 times weights of 21, 50 times; of 20 numbers of rows, each 0.85 of the one before,
    the one whose outputs come closest to half the range (63.5) is used. The converters round down,
    which lowers the gain by less than 1 %.
    """
    with mock_mode(False):
        chip = chip_for(False, "measure_mock_parameter()")
    assert chip is not None  # no mock mode here
    if chip.level == "hardware":
        from lavalike.bss2.hxtorch import hardware

        found = hardware.perceptron().measure_mock_parameter()
        return MockParameter(float(found.noise_std), float(found.gain))
    from lavalike.bss2.chip.analog import product

    weights = torch.full(
        (facts.SIGNED_ROWS, facts.HEMISPHERES * facts.COLUMNS), float(facts.WEIGHT_MAX // 3)
    )
    best: tuple[float, int, torch.Tensor] | None = None
    target = facts.OUTPUT_MAX / 2
    for rows in sorted({max(1, round(facts.SIGNED_ROWS * SHRINK**i)) for i in range(STEPS)}):
        x = torch.zeros(BATCH, facts.SIGNED_ROWS)
        x[:, :rows] = facts.INPUT_MAX // 2
        with torch.no_grad():
            read = product(x, weights, chip, layer="measure_mock_parameter")
        far = abs(read.median().item() - target)
        if best is None or far < best[0]:
            best = far, rows, read
    assert best is not None  # STEPS are more than none
    _, rows, read = best
    expected = float(rows * (facts.INPUT_MAX // 2) * (facts.WEIGHT_MAX // 3))
    return MockParameter(
        noise_std=read.std(0).median().item(), gain=(read / expected).median().item()
    )
