"""An intensity-modulated, directly detected (IM/DD) optical link, its linear equaliser, and its
encoding in spikes.

The link of Arnold et al., "Spiking neural network nonlinear demapping on neuromorphic hardware for
IM/DD optical communication" (J. Lightwave Technol. 2023), after their published parameters: symbols
of four amplitudes, shaped, sent through a dispersive fibre, detected by a photodiode, which
squares, and filtered. What to learn is the middle symbol of a window of received ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import fft

from lavalike.arguments import (
    TENSOR,
    Rule,
    arguments,
    choice,
    finite,
    instance,
    integer,
    is_real,
    real,
    whole,
)
from lavalike.errors import InputError

GRAY = ((0, 0), (0, 1), (1, 1), (1, 0))  # bits of symbols 0..3: neighbours differ in one
LIGHT_SPEED = 3e8  # m/s, as the published parameters take it


class Sample(NamedTuple):
    """Received windows, float32 (n, taps), oldest first; the symbol in the middle of each, int64
    (n,); its bits, uint8 (n, 2)."""

    features: torch.Tensor
    symbols: torch.Tensor
    bits: torch.Tensor


_REAL, _COUNT, _SEED = real(), integer(1), integer(0)
_ALPHABET = Rule(
    f"{len(GRAY)} ascending amplitudes",
    lambda v: isinstance(v, Sequence | np.ndarray) and all(map(is_real, v)),
)


@arguments(
    baud=_REAL,
    wavelength=_REAL,
    dispersion=_REAL,
    length=_REAL,
    taps=_COUNT,
    alphabet=_ALPHABET,
    bias=_REAL,
    roll_off=_REAL,
    oversampling=_COUNT,
    block=_COUNT,
)
@dataclass(frozen=True)
class Link:
    """An IM/DD link with four-level pulse amplitude modulation; ``LCD``, ``ECOC`` and ``SSMF`` are
    the published ones.

    Example:
        >>> datasets.LCD.sample(100, noise_db=-20, seed=1).features.shape  # windows of 7 symbols
        torch.Size([100, 7])

    Args:
        baud: symbols a second. Default 112e9.
        wavelength: of the carrier, m. Default 1270e-9.
        dispersion: of the fibre, s/m^2; 1 ps/nm/km is 1e-6. Default -5e-6.
        length: of the fibre, m. Default 4e3.
        taps: received symbols in a window, odd. Default 7.
        alphabet: the four amplitudes, ascending. Default (-3, -1, 1, 3).
        bias: added to the shaped amplitudes. Default 2.25.
        roll_off: of both root-raised-cosine filters, within 0..1 and above 0. Default 0.2.
        oversampling: points a symbol, 2 or more. Default 3.
        block: symbols of one transmission, which is filtered as a ring. Default 10000.

    Raises:
        InputError: a value outside these ranges.
    """

    baud: float = 112e9
    wavelength: float = 1270e-9
    dispersion: float = -5e-6
    length: float = 4e3
    taps: int = 7
    alphabet: tuple[float, ...] = (-3.0, -1.0, 1.0, 3.0)
    bias: float = 2.25
    roll_off: float = 0.2
    oversampling: int = 3
    block: int = 10_000

    def __post_init__(self) -> None:
        for name in ("taps", "oversampling", "block"):
            object.__setattr__(self, name, whole(getattr(self, name), 1, f"Link: {name}"))
        for name in ("baud", "wavelength", "dispersion", "length", "bias", "roll_off"):
            object.__setattr__(self, name, finite(getattr(self, name), f"Link: {name}"))
        object.__setattr__(
            self,
            "alphabet",
            tuple(finite(float(a), "Link: an amplitude of alphabet") for a in self.alphabet),
        )
        if len(self.alphabet) != len(GRAY) or list(self.alphabet) != sorted(set(self.alphabet)):
            raise InputError(
                f"Link: alphabet is {len(GRAY)} ascending amplitudes, got {self.alphabet}"
            )
        if self.taps % 2 == 0 or self.taps > self.block:
            raise InputError(
                f"Link: taps is odd and within 1..block = {self.block}, got {self.taps}"
            )
        if (
            not 0 < self.roll_off <= 1
            or self.oversampling < 2
            or self.baud <= 0
            or self.length < 0
            or self.wavelength <= 0
        ):
            raise InputError(
                f"Link: 0 < roll_off <= 1, oversampling >= 2, baud > 0, wavelength > 0 and length >= 0 are needed, got {self}"
            )

    @arguments(symbols=_COUNT, noise_db=_REAL, seed=_SEED)
    def sample(self, symbols: int, noise_db: float = -20.0, seed: int = 0) -> Sample:
        """Send so many random symbols.

        Args:
            symbols: how many, 1 or more. Whole blocks are sent and the last one is cut.
            noise_db: power of the photodiode's white noise against the mean intensity, 1: sigma =
                10 ** (noise_db / 20). Default -20.
            seed: of symbols and noise.
        """
        rng = np.random.default_rng(int(seed))
        parts = [self._send(rng, 10 ** (noise_db / 20)) for _ in range(-(-symbols // self.block))]
        sent = torch.cat([s for s, _ in parts])[:symbols]
        return Sample(
            torch.cat([w for _, w in parts])[:symbols],
            sent,
            torch.tensor(GRAY, dtype=torch.uint8)[sent],
        )

    def _send(self, rng: np.random.Generator, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
        """One block: symbols (block,), windows (block, taps)."""
        up, n = self.oversampling, self.oversampling * self.block
        sent = torch.from_numpy(rng.integers(0, len(GRAY), self.block))
        pulses = torch.zeros(n, dtype=torch.float32)
        pulses[::up] = torch.tensor(self.alphabet, dtype=torch.float32)[sent]
        shaped = self._filtered(pulses) + self.bias
        shaped /= shaped.square().mean().sqrt()
        f = fft.fftfreq(n, 1 / (up * self.baud), dtype=torch.float64)
        angle = (
            math.pi * self.wavelength**2 / LIGHT_SPEED * self.dispersion * self.length * f.square()
        )
        field = fft.ifft(
            fft.fft(shaped) * torch.polar(torch.ones_like(angle), angle).to(torch.complex64)
        )
        detected = field.abs().square() + sigma * torch.from_numpy(
            rng.standard_normal(n, np.float32)
        )
        # the filter's gain is 1, and a pulse's 1/up: so received symbols lie within 0..7 or so,
        # where the encoding expects them
        received = up * self._filtered(detected)[::up]
        half = self.taps // 2
        around = torch.cat([received[len(received) - half :], received, received[:half]])
        return sent, around.unfold(0, self.taps, 1).contiguous()

    def _filtered(self, x: torch.Tensor) -> torch.Tensor:
        """Root-raised cosine, applied in the frequency domain, 1 at frequency 0."""
        f = fft.rfftfreq(len(x), 1 / self.oversampling, dtype=x.dtype)  # in units of baud
        edge = ((f - (1 - self.roll_off) / 2) / self.roll_off).clamp(0, 1)
        return fft.irfft(fft.rfft(x) * torch.cos(math.pi / 2 * edge), len(x))


LCD = Link()
ECOC = Link(baud=100e9, length=5e3, taps=17)  # Arnold et al., ECOC 2022
# a photodiode does not see the sign of a real field's dispersion
SSMF = Link(
    baud=50e9,
    wavelength=1550e-9,
    dispersion=-17e-6,
    length=5e3,
    taps=21,
    alphabet=(0.0, 1.0, 2**0.5, 3**0.5),
    bias=0.25,
)


@dataclass(frozen=True)
class LMMSE:
    """The linear equaliser of least mean squared error, and its decisions; made by :meth:`fit`,
    called on windows (n, taps).

    Example:
        >>> sample = datasets.LCD.sample(2000, noise_db=-20, seed=1)
        >>> decided = datasets.LMMSE.fit(sample)(sample.features)
        >>> datasets.bit_error_rate(decided, sample.symbols) < 0.05
        True
    """

    weight: torch.Tensor
    offset: torch.Tensor
    thresholds: torch.Tensor

    @classmethod
    @arguments(
        sample=instance(Sample), link=instance(Link), decision=choice("midpoints", "nearest")
    )
    def fit(cls, sample: Sample, link: Link = LCD, decision: str = "midpoints") -> LMMSE:
        """An affine least-squares fit of the sent amplitudes.

        Args:
            sample: to learn from: more symbols than taps, and each of the four.
            link: its alphabet is fitted. Default LCD.
            decision: thresholds at the ``"midpoints"`` of the mean outputs of neighbouring symbols,
                or the ``"nearest"`` amplitude of the alphabet, which is worse, as the fit shrinks.
                Default "midpoints".
        """
        _check_symbols(sample.symbols, "LMMSE.fit: sample")
        x, counts = sample.features.double(), torch.bincount(sample.symbols, minlength=len(GRAY))
        if len(x) <= x.shape[1] or (counts == 0).any():
            raise InputError(
                f"LMMSE.fit: more than {x.shape[1]} symbols with each of {len(GRAY)} among them are needed in sample, "
                f"got {len(x)}: {counts.tolist()}"
            )
        alphabet, sent = torch.tensor(link.alphabet, dtype=torch.float64), sample.symbols.long()
        y = alphabet[sent]
        around = x - x.mean(0)
        weight = torch.linalg.lstsq(
            around.T @ around, (around.T @ (y - y.mean()))[:, None]
        ).solution[:, 0]
        offset = y.mean() - x.mean(0) @ weight
        levels = alphabet
        if decision == "midpoints":
            levels = (
                torch.zeros(len(GRAY), dtype=torch.float64).index_add(0, sent, x @ weight + offset)
                / counts
            )
        return cls(weight, offset, (levels[1:] + levels[:-1]) / 2)

    @arguments(features=TENSOR)
    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Decided symbols, int64 (n,)."""
        return torch.bucketize(features.double() @ self.weight + self.offset, self.thresholds)


@arguments(decided=TENSOR, sent=TENSOR)
def bit_error_rate(decided: torch.Tensor, sent: torch.Tensor) -> float:
    """Wrong bits over all bits of symbols 0..3, Gray coded."""
    if decided.shape != sent.shape or not len(sent):
        raise InputError(
            f"bit_error_rate: as many decided symbols as sent ones are needed, got {tuple(decided.shape)} "
            f"and {tuple(sent.shape)}"
        )
    _check_symbols(decided, "bit_error_rate: decided")
    _check_symbols(sent, "bit_error_rate: sent")
    bits = torch.tensor(GRAY, dtype=torch.int8)
    return float((bits[decided.long()] != bits[sent.long()]).double().mean())


def _check_symbols(symbols: torch.Tensor, what: str) -> None:
    """Integers 0..3, as they are indices."""
    if (
        symbols.is_floating_point()
        or symbols.dtype == torch.bool
        or ((symbols < 0) | (symbols >= len(GRAY))).any()
    ):
        raise InputError(
            f"{what}: symbols are integers in 0..{len(GRAY) - 1}, got {symbols.dtype} {symbols.unique()[:8].tolist()}"
        )


@arguments(neurons=_COUNT, low=_REAL, high=_REAL, scale=_REAL, cutoff=_REAL, window=_REAL, dt=_REAL)
@dataclass(frozen=True)
class ReceptiveFields:
    """Real numbers as spikes: each is seen by so many neurons with a reference value each, and the
    nearer, the sooner one spikes.

    Called on features (n, taps) it gives dense spikes, float32 (steps, n, taps * neurons), for a
    network on a grid of ``dt``.

    Example:
        >>> sample = datasets.LCD.sample(4, noise_db=-20, seed=1)
        >>> datasets.ReceptiveFields()(sample.features).shape  # (time, batch, sources)
        torch.Size([60, 4, 70])

    Args:
        neurons: a feature. Default 10.
        low, high: references lie evenly from low to high. Default 0 and 7.
        scale: s from a distance of 1, in the chip's time. Default 8e-6.
        cutoff: later spikes are left out, s. Default 15e-6.
        window: s. Default 30e-6.
        dt: s. Default 0.5e-6.
    """

    neurons: int = 10
    low: float = 0.0
    high: float = 7.0
    scale: float = 8e-6
    cutoff: float = 15e-6
    window: float = 30e-6
    dt: float = 0.5e-6

    def __post_init__(self) -> None:
        object.__setattr__(self, "neurons", whole(self.neurons, 1, "ReceptiveFields: neurons"))
        for name in ("low", "high", "scale", "cutoff", "window", "dt"):
            finite(getattr(self, name), f"ReceptiveFields: {name}")
        if (
            self.scale <= 0
            or self.dt <= 0
            or not self.dt <= self.cutoff < self.window - self.dt / 2
        ):
            raise InputError(
                f"ReceptiveFields: scale > 0 and 0 < dt <= cutoff < window - dt / 2 are needed, got {self}"
            )

    @property
    def steps(self) -> int:
        """Of the window, on the grid of ``dt``."""
        return round(self.window / self.dt)

    @arguments(features=TENSOR)
    def times(self, features: torch.Tensor) -> torch.Tensor:
        """When the neurons spike, s, (n, taps * neurons); infinite where one does not. InputError
        for features that are NaN."""
        features = features if features.is_floating_point() else features.float()
        if features.isnan().any():
            raise InputError(
                f"ReceptiveFields: features are numbers, got NaN in {int(features.isnan().sum())} of {features.numel()}"
            )
        references = torch.linspace(self.low, self.high, self.neurons, dtype=features.dtype)
        t = self.scale * (features[..., None] - references).abs()
        return t.masked_fill_(t > self.cutoff, math.inf).flatten(-2)

    @arguments(features=TENSOR)
    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        t = self.times(features) / self.dt
        spikes = torch.zeros(self.steps + 1, *t.shape, dtype=torch.float32)
        # the last row takes the spikes left out
        return spikes.scatter_(0, t.round_().clamp_(max=self.steps).long()[None], 1.0)[:-1]
