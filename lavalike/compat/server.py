"""Numbers and lists of what a program made, which Lava keeps for the whole program; here they keep
nothing alive."""

from __future__ import annotations

import weakref
from typing import Any, ClassVar, Self


class Server:
    """One for each kind of thing: gives out ids from 0 on."""

    _one: ClassVar[Any]
    _next_id: int
    _made: list[weakref.ref[Any]]

    def __init_subclass__(cls) -> None:
        cls._one = None

    def __new__(cls) -> Self:
        if cls._one is None:
            cls._one = super().__new__(cls)
            cls._one.reset_server()
        return cls._one

    def reset_server(self) -> None:
        """Count from 0 again."""
        self._next_id, self._made = 0, []

    def register(self, thing: Any) -> int:
        """The id of ``thing``, which was just made."""
        if len(self._made) > 1000 and self._made[0]() is None:
            self._made = [r for r in self._made if r() is not None]
        self._made.append(weakref.ref(thing))
        self._next_id += 1
        return self._next_id - 1

    def made(self) -> list[Any]:
        """What is still there of it, in the order in which it was made."""
        return [x for r in self._made if (x := r()) is not None]


class ProcessServer(Server):
    """Ids of processes."""

    @property
    def processes(self) -> list[Any]:
        return self.made()

    @property
    def num_processes(self) -> int:
        return len(self.made())


class VarServer(Server):
    """Ids of Vars."""

    @property
    def vars(self) -> list[Any]:
        return self.made()
