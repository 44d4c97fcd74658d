"""A simulated event camera, and moving shapes for it to see.

The camera is the usual model of one (Lichtsteiner, Posch, Delbruck 2008,
doi:10.1109/JSSC.2007.914337; as simulators compute it: Rebecq, Gehrig, Scaramuzza, ESIM, CoRL
2018). Each pixel remembers a level of logarithmic intensity, L. When log I leaves L by the
threshold, the pixel sends an event, ON for brighter and OFF for darker, and L moves by the
threshold; between two frames log I is taken to change linearly, so events have times of their own
and a large change makes several. What a real camera adds:

- mismatch: each pixel's threshold is drawn once, normal about the mean;
- a refractory period: a pixel that has sent an event sends none for so long, while L goes on;
- noise: events of random polarity at a Poisson rate for each pixel.

Not modelled: the bandwidth of pixels and of the bus, leak events, hot pixels.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from lavalike.arguments import FLAG, arguments, instance, integer, numbers, optional, real
from lavalike.errors import InputError
from lavalike.events.event import Event

DARK = 1e-3  # the least intensity: its logarithm is finite
LEAST = 0.2  # of the threshold: what mismatch leaves of it
MOST = 1000  # events of a pixel between two frames


class EventCamera:
    """Turns a film into events.

    Args:
        threshold: change of log intensity that makes an event. Default 0.2 (22 % brighter).
        mismatch: standard deviation of pixels' thresholds as a part of it. Default 0.03.
        refractory: ms for which a pixel that sent an event sends no other. Default 1.
        noise: events of noise of a pixel in a second. Default 1.
        seed: of mismatch and noise. Default 0.

    Example::

        camera = EventCamera(noise=0)
        event = camera(film, dt=1.0)  # film (time, height, width), intensities >= 0
    """

    @arguments(
        threshold=real(above=0),
        mismatch=real(0),
        refractory=real(0),
        noise=real(0),
        seed=integer(0),
    )
    def __init__(
        self,
        threshold: float = 0.2,
        mismatch: float = 0.03,
        refractory: float = 1.0,
        noise: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.threshold, self.mismatch = float(threshold), float(mismatch)
        self.refractory, self.noise, self.seed = float(refractory), float(noise), int(seed)

    @arguments(film=numbers(0, ndim=3), dt=real(above=0))
    def __call__(self, film: Any, dt: float = 1.0) -> Event:
        """The events of a film.

        Args:
            film: intensities (frames, height, width), linear in light, >= 0; those below 0.001
                count as that.
            dt: ms from a frame to the next. Frame 0 is at 0 ms; events come after it.

        Returns:
            An :class:`Event` in the order of time: c is 1 for ON, 0 for OFF.
        """
        rng = np.random.default_rng(self.seed)
        return self.see(np.asarray(film, np.float32)[None], dt, rng)[0]

    def see(self, films: np.ndarray, dt: float, rng: np.random.Generator) -> list[Event]:
        """The events of many films (films, frames, height, width), all at once; each film is seen
        by pixels of its own. The draws are ``rng``'s."""
        count, length, _, width = films.shape
        log = np.log(np.maximum(films, DARK)).reshape(count, length, -1)
        pixels = log.shape[2]
        scale = 1 + self.mismatch * rng.standard_normal((count, pixels), np.float32)
        threshold = np.float32(self.threshold) * np.maximum(scale, LEAST)
        level = log[:, 0].copy()
        last = np.full((count, pixels), -np.inf)  # when a pixel sent its last event
        found: list[tuple[np.ndarray, ...]] = []  # (film, pixel, polarity, time)
        for k in range(1, length):
            now, then = log[:, k], log[:, k - 1]
            moved = now - level
            crossings = np.floor(np.abs(moved) / threshold)
            film, pixel = np.nonzero(crossings)
            if not film.size:
                continue
            many = crossings[film, pixel].astype(np.int64)
            if many.max() > MOST:
                raise InputError(
                    f"EventCamera: {many.max()} events of a pixel between frames {k - 1} and {k}: more than {MOST}; a higher "
                    "threshold, or frames that follow closer"
                )
            step = np.where(moved[film, pixel] > 0, 1, -1) * threshold[film, pixel]
            base, change = level[film, pixel] - then[film, pixel], (now - then)[film, pixel]
            level[film, pixel] += many * step
            for j in range(1, int(many.max()) + 1):
                on = many >= j
                film, pixel, many, step = film[on], pixel[on], many[on], step[on]
                base, change = base[on], change[on]
                part = np.clip((base + j * step) / np.where(change == 0, 1, change), 0, 1)
                t = (k - 1 + part) * dt
                free = t - last[film, pixel] >= self.refractory
                last[film[free], pixel[free]] = t[free]
                found.append((film[free], pixel[free], (step > 0)[free], t[free]))
        if self.noise:
            rate = self.noise * 1e-3 * dt * (length - 1)
            drawn = rng.poisson(rate, (count, pixels))
            film, pixel = np.nonzero(drawn)
            film, pixel = (np.repeat(a, drawn[film, pixel]) for a in (film, pixel))
            t = rng.random(len(film)) * dt * (length - 1)
            found.append((film, pixel, rng.random(len(film)) < 0.5, t))
        return _events(found, count, width)


def _events(found: list[tuple[np.ndarray, ...]], count: int, width: int) -> list[Event]:
    """An Event a film, in the order of time."""
    if not found:
        return [Event([], [], [], []) for _ in range(count)]
    film, pixel, c, t = (np.concatenate(a) for a in zip(*found, strict=True))
    order = np.lexsort((pixel, t, film))
    film, pixel, c, t = film[order], pixel[order], c[order].astype(np.int64), t[order]
    # whole microseconds, as cameras tell them: files and structured arrays hold them as they are
    t = np.round(t * 1000) / 1000
    ends = np.searchsorted(film, np.arange(count + 1))
    return [
        Event(pixel[a:b] % width, pixel[a:b] // width, c[a:b], t[a:b])
        for a, b in pairwise(ends.tolist())
    ]


# -- moving shapes ---------------------------------------------------------------------------------

SHAPES = ("disc", "square", "triangle", "cross")
CHUNK = 128  # films that are drawn at once
GREY, CONTRAST = 0.5, (0.35, 0.8)  # intensity of what is behind, and of shapes above or below it


@arguments(
    samples=integer(1),
    train=FLAG,
    size=integer(12),
    duration=real(5),
    camera=optional(instance(EventCamera)),
    seed=integer(0),
)
def moving_shapes(
    samples: int,
    train: bool = True,
    size: int = 24,
    duration: float = 50.0,
    camera: EventCamera | None = None,
    seed: int = 0,
) -> tuple[list[Event], np.ndarray]:
    """Recordings of moving shapes, as a simulated event camera sees them, and their classes.

    Each has one shape, lighter or darker than what is behind it, that goes once around a circle in
    the middle of the picture, so that every edge moves across some pixels. Drawn are its radius
    (0.24 to 0.32 of the picture's width), place, angle (at most 15 degrees either way), contrast,
    and the circle's radius (0.06 to 0.1 of the width), begin and sense.

    Args:
        samples: how many; classes are equally frequent.
        train: draws to train on; False: others, to test on. Default True.
        size: pixels along either axis, at least 12. Default 24.
        duration: of a recording in ms, at least 5. Default 50.
        camera: its threshold, mismatch, refractory period and noise are taken, its seed is not:
            every recording has pixels of its own. Default ``EventCamera()``.
        seed: of all draws. Default 0.

    Returns:
        A list of :class:`Event` (c is 1 for ON, 0 for OFF; t in ms) and int64 (samples,), indices
        into ``SHAPES``.
    """
    camera = EventCamera() if camera is None else camera
    rng = np.random.default_rng([seed, 0 if train else 1])
    labels = np.arange(samples) % len(SHAPES)
    rng.shuffle(labels)
    out: list[Event] = []
    for a in range(0, samples, CHUNK):
        out += camera.see(_films(labels[a : a + CHUNK], size, duration, rng), 1.0, rng)
    return out, labels


def _films(labels: np.ndarray, size: int, duration: float, rng: np.random.Generator) -> np.ndarray:
    """Films (n, frames, size, size), a frame a ms, of one shape each."""
    n, frames = len(labels), int(np.ceil(duration)) + 1
    radius, orbit = size * rng.uniform(0.24, 0.32, n), size * rng.uniform(0.06, 0.1, n)
    angle, begin = rng.uniform(-1, 1, n) * np.pi / 12, rng.uniform(0, 2 * np.pi, n)
    centre = size / 2 + rng.uniform(-0.06, 0.06, (2, n)) * size
    light, sense = (np.where(rng.random(n) < 0.5, -1, 1) for _ in range(2))
    light = light * rng.uniform(*CONTRAST, n)

    phase = begin[:, None] + sense[:, None] * 2 * np.pi * np.arange(frames) / duration
    x0, y0 = (
        c[:, None] + orbit[:, None] * f(phase)
        for c, f in zip(centre, (np.cos, np.sin), strict=True)
    )
    at = np.arange(size) + 0.5
    dx = (at[None, None, None, :] - x0[:, :, None, None]).astype(np.float32)
    dy = (at[None, None, :, None] - y0[:, :, None, None]).astype(np.float32)
    cos, sin = (f(angle)[:, None, None, None].astype(np.float32) for f in (np.cos, np.sin))
    u, v = cos * dx + sin * dy, cos * dy - sin * dx
    film = np.empty((n, frames, size, size), np.float32)
    for k, name in enumerate(SHAPES):
        mine = labels == k
        if mine.any():
            r = radius[mine, None, None, None].astype(np.float32)
            inside = np.clip(0.5 - _distance(name, u[mine], v[mine], r), 0, 1)
            film[mine] = GREY * (1 + light[mine, None, None, None].astype(np.float32) * inside)
    return film


def _distance(name: str, u: np.ndarray, v: np.ndarray, r: np.ndarray) -> np.ndarray:
    """How far (u, v) is outside of a shape about 0, in pixels, below 0 inside; areas are alike."""
    if name == "disc":
        return np.hypot(u, v) - r
    if name == "square":
        return np.maximum(np.abs(u), np.abs(v)) - np.float32(0.886) * r
    if name == "triangle":
        side = np.float32(np.sqrt(3) / 2)
        return np.maximum(-v, np.maximum(side * u, -side * u) + v / 2) - np.float32(0.778) * r
    a, b = np.float32(1.12) * r, np.float32(0.42) * r
    bar = np.maximum(np.abs(u) - a, np.abs(v) - b)
    return np.minimum(bar, np.maximum(np.abs(v) - a, np.abs(u) - b))
