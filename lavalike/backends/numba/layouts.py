"""How a Var lies in the states of its model where it is none of them itself: in another order, as
steps that are counted down, in parts. From that it is read, and recorded by a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lavalike.backends.numba import transfer

States = Mapping[str, np.ndarray]


class Recorded(NamedTuple):
    """The row that records a Var: a function of :mod:`lavalike.backends.numba.transfer`, the state
    of a batch that it begins with, and what else it takes."""

    function: Callable[..., None]
    state: np.ndarray
    more: tuple[Any, ...] = ()


class Layout:
    """Of one Var."""

    def shown(self, states: States, step: int) -> np.ndarray:
        """The Var after ``step`` steps, from a sample's ``states``."""
        raise NotImplementedError

    def dtype(self, states: States) -> np.dtype:
        """That of the Var."""
        raise NotImplementedError

    def recorded(self, states: States) -> Recorded:
        """From the ``states`` of a batch."""
        raise NotImplementedError


@dataclass(frozen=True)
class Moved(Layout):
    """The elements of ``state``.

    ``view`` gives an array of a sample's state in the order in which the Var shows it (time_last
    Vars time first): it moves elements and computes nothing. ``turns``: the state is a ring, its
    first axis turned on by one in every step; ``view`` sees it as after step 0.
    """

    state: str
    view: Callable[[np.ndarray], np.ndarray]
    turns: bool = False

    def shown(self, states: States, step: int) -> np.ndarray:
        state = states[self.state]
        return self.view(np.roll(state, -step, axis=0) if self.turns else state)

    def dtype(self, states: States) -> np.dtype:
        return states[self.state].dtype

    def recorded(self, states: States) -> Recorded:
        state = states[self.state]
        shape = state.shape[1:]
        places = np.arange(int(np.prod(shape)))
        # after step 0, which element of a sample's state each of the Var's is
        index = self.view(places.reshape(shape)).reshape(-1)
        index = np.ascontiguousarray(index, np.int32 if places.size < 2**31 else np.int64)
        turn = int(np.prod(shape[1:])) if self.turns else 0
        return Recorded(transfer.record_at, state, (index, turn, max(1, places.size)))


@dataclass(frozen=True)
class Ending(Layout):
    """The step in which ``state`` will have counted down."""

    state: str

    def shown(self, states: States, step: int) -> np.ndarray:
        return states[self.state].astype(np.float64) + step

    def dtype(self, states: States) -> np.dtype:
        return np.dtype(np.float64)

    def recorded(self, states: States) -> Recorded:
        return Recorded(transfer.record_end, states[self.state])


@dataclass(frozen=True)
class Complex(Layout):
    """Complex numbers, whose parts are two states."""

    real: str
    imaginary: str

    def shown(self, states: States, step: int) -> np.ndarray:
        return states[self.real] + 1j * states[self.imaginary]

    def dtype(self, states: States) -> np.dtype:
        return np.result_type(states[self.real].dtype, np.complex64)

    def recorded(self, states: States) -> Recorded:
        imaginary = states[self.imaginary].reshape(-1)
        return Recorded(transfer.record_complex, states[self.real], (imaginary,))
