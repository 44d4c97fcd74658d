"""Compiled kernels on disk, as Numba asks for them (:mod:`lavalike.cache` reads and writes
them)."""

from __future__ import annotations

import gc
import hashlib
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numba.core import sigutils
from numba.core.ccallback import CFunc
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from lavalike import cache


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection inside: the first refresh makes objects that stay, and a look at all of
    them costs 60 ms (of 400)."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


@dataclass
class Kernel:
    """One kernel's place on disk, as Numba's CFunc asks for it.

    Args:
        version: hash of the sources and versions of what compiles.
        name: of the kernel; a file name.
        key: everything else that the machine code follows from.
    """

    version: str
    name: str
    key: str
    path: Path | None = field(default=None, init=False)
    digest: str = field(default="", init=False)

    def load_overload(self, signature: Any, target: Any) -> Any:
        """The compiled function, or None where there is none to be used."""
        with _uncollected():
            target.refresh()
        machine = target.codegen().magic_tuple()  # the CPU, and what may be used of it
        self.digest = hashlib.sha256(f"{self.version}\n{self.key}\n{machine}".encode()).hexdigest()
        self.path, content = cache.found(self.version, self.name, cache.SUFFIX, self.digest)
        return None if content is None else CompileResult._rebuild(target, *pickle.loads(content))

    def save_overload(self, signature: Any, made: Any) -> None:
        if self.path is None or made.library.has_dynamic_globals:  # addresses of this process
            return
        cache.keep(self.path, self.digest, dumps(made._reduce()))


def compiled(
    place: Kernel | None, signature: Any, **options: Any
) -> Callable[[Callable[..., Any]], CFunc]:
    """Decorator: Numba's ``cfunc``, served by ``place`` (None: compiled in memory)."""

    def decorate(function: Callable[..., Any]) -> CFunc:
        made: Any = CFunc(function, sigutils.normalize_signature(signature), {}, options)
        if place is not None:
            made._cache = place
        made.compile()
        return made

    return decorate
