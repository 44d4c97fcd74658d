"""Synapses drawn at random, a chunk at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lavalike.arguments import (
    FUNCTION,
    SHAPE,
    arguments,
    either,
    integer,
    is_integer,
    optional,
    real,
    shown,
)
from lavalike.errors import VarError

CHUNK = 2**18  # synapses, about


class RandomSynapses:
    """``chunks`` of :class:`Sparse` and :class:`DelaySparse` by a rule and a seed: the same each
    time they are read.

    A connection counts them when it is made, and draws them when they are needed: over worker
    processes each draws those of its own connections. (Functions that no other process can import,
    such as a lambda, are called before, and what they drew is sent.)

    Args:
        shape: (out, in).
        probability: of a synapse between each input and each output, for itself. Or
        per_input: how many synapses each input has, to outputs drawn one for itself, so that two
            may be the same. Or
        per_output: how many each output has, likewise.
        data: their weights: one number for all, or a function of a ``numpy.random.Generator`` and
            how many.
        delays: steps, likewise. Default None: none.
        seed: an integer >= 0. Default 0.

    Raises:
        VarError: none or several of ``probability``, ``per_input`` and ``per_output``, a value out
            of its range.

    Example::

        synapses = RandomSynapses(
            (1000, 800), probability=0.02, data=lambda rng, n: rng.normal(0, 0.1, n).astype(np.float32)
        )
        Sparse(chunks=synapses, shape=(1000, 800))
    """  # noqa: W505

    @arguments(
        error=VarError,
        shape=SHAPE,
        probability=optional(real(0, 1)),
        per_input=optional(integer(1)),
        per_output=optional(integer(1)),
        data=either(real(), FUNCTION),
        delays=optional(either(integer(0), FUNCTION)),
        seed=integer(0, 2**64 - 1),
    )
    def __init__(
        self,
        shape: Sequence[int],
        *,
        probability: float | None = None,
        per_input: int | None = None,
        per_output: int | None = None,
        data: float | Callable[[np.random.Generator, int], Any],
        delays: int | Callable[[np.random.Generator, int], Any] | None = None,
        seed: int = 0,
    ) -> None:
        if is_integer(shape) or len(shape) != 2:
            raise VarError(f"RandomSynapses: shape is (out, in), got {shown(shape)}")
        rules = {"probability": probability, "per_input": per_input, "per_output": per_output}
        given = [name for name, value in rules.items() if value is not None]
        if len(given) != 1:
            raise VarError(
                f"RandomSynapses: give one of {', '.join(rules)}; got {', '.join(given) or 'none'}"
            )
        self.shape = int(shape[0]), int(shape[1])
        self.probability, self.per_input, self.per_output = probability, per_input, per_output
        self.data, self.delays, self.seed = data, delays, int(seed)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        outputs, inputs = self.shape
        many, of = (inputs, outputs) if self.per_output is None else (outputs, inputs)
        each = self.per_input or self.per_output or of * (self.probability or 0)
        block = max(1, int(CHUNK // max(each, 1)))  # inputs of a chunk; outputs, where these count
        for number, first in enumerate(range(0, many, block)):
            rng = np.random.Generator(
                np.random.Philox(key=np.array([self.seed, number], np.uint64))
            )
            here = min(block, many - first)
            if self.probability is None:
                ones = np.repeat(np.arange(first, first + here, dtype=np.int32), int(each))
                others = rng.integers(0, of, len(ones), dtype=np.int32)
            else:
                place = _chosen(rng, here * of, self.probability)
                ones, others = first + place // of, place % of
            rows, cols = (others, ones) if self.per_output is None else (ones, others)
            chunk = rows, cols, self._values(self.data, rng, len(rows))
            yield (
                chunk
                if self.delays is None
                else (
                    *chunk,
                    self._values(self.delays, rng, len(rows)),
                )
            )

    @staticmethod
    def _values(rule: Any, rng: np.random.Generator, many: int) -> Any:
        return rule(rng, many) if callable(rule) else rule


def _chosen(rng: np.random.Generator, slots: int, probability: float) -> np.ndarray:
    """Which of ``slots`` are chosen, each with ``probability``, in order: the gaps between them are
    geometric."""
    if probability == 0:
        return np.zeros(0, np.int64)
    parts, last = [], -1
    while last < slots:
        left = (slots - last) * probability
        gaps = rng.geometric(probability, int(left + 4 * left**0.5) + 8)
        parts.append(last + np.cumsum(gaps))
        last = int(parts[-1][-1])
    place = np.concatenate(parts)
    return place[: np.searchsorted(place, slots)]
