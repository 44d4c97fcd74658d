"""Compiled kernels on disk, one file each: found again by the next interpreter, run only if nobody
else can have written them.

A file is a checksum and machine code, of the numba backend pickled with what Numba needs to make
the kernel again, of the loops of training alone: who can write it runs code in every process that
reads it. So the folder and its files belong to the user and nobody else may write them (ssh's
rule), else kernels are compiled in memory and one CacheWarning says why. A file that is damaged, or
not of its name, is compiled anew and replaced. On Windows modes say nothing about who may write;
there the folder is the user's profile's, or the one LAVALIKE_CACHE names.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import os
import stat
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"lavalike kernel 1\n"
SUFFIX, OBJECT = ".nbc", ".o"  # of the numba backend, and of the loops of training
POSIX = os.name == "posix"
WITHIN = ("lavalike", "netx", "numba", "contextlib")  # not who is told
LEFT_AFTER = 3600  # seconds: a temporary file this old is a killed process's


class CacheWarning(UserWarning):
    """Kernels are compiled in memory, for this process only; the message says why.

    Causes: a cache folder that cannot be written or that others can write.
    Remedy: set ``LAVALIKE_CACHE`` to a folder of your own.
    """


def root() -> Path:
    """Where compiled kernels are kept: ``LAVALIKE_CACHE``, or the platform's cache folder of the
    user.

    Raises OSError where there is none.
    """
    if own := os.environ.get("LAVALIKE_CACHE"):
        return Path(own)
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library/Caches"
        else:
            given = os.environ.get("XDG_CACHE_HOME", "")  # to be ignored unless absolute
            base = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
    except RuntimeError as e:
        raise FileNotFoundError(errno.ENOENT, "there is no home folder") from e
    return base / "lavalike"


class NotOurs(OSError):
    """A folder or file that others own or may write."""


def _closed(path: Path, about: os.stat_result) -> None:
    """NotOurs unless what ``about`` tells of belongs to this user and is closed to others."""
    if not POSIX:
        return
    if about.st_uid != os.geteuid():
        raise NotOurs(
            f"{path} belongs to user {about.st_uid}, this process is user {os.geteuid()}'s"
        )
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise NotOurs(
            f"{path} can be written by others (mode {stat.S_IMODE(about.st_mode):o}; chmod go-w closes it)"
        )


def _open_parent(path: Path) -> Path | None:
    """The innermost folder above ``path`` in which anyone may rename what lies there."""
    for parent in path.parents if POSIX else ():
        mode = os.stat(parent).st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            return parent
    return None


def folder(version: str) -> Path:
    """The folder of the kernels of ``version``, made if need be. OSError where it cannot be,
    NotOurs where it may not be used."""
    top = Path(
        os.path.realpath(root())
    )  # a link to the cache may be the user's own; inside of it there are none
    top.mkdir(mode=0o700, parents=True, exist_ok=True)
    _closed(top, os.stat(top))
    if (parent := _open_parent(top)) is not None:
        raise NotOurs(
            f"{parent}, in which {top.name} lies, can be written by everyone (chmod o-w or o+t closes it)"
        )
    inner = top / version
    inner.mkdir(mode=0o700, exist_ok=True)
    about = os.lstat(inner)
    if not stat.S_ISDIR(about.st_mode):
        raise NotOurs(f"{inner} is a link")
    _closed(inner, about)
    return inner


def _sum(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + content).hexdigest().encode() + b"\n"


def _content(path: Path) -> tuple[str, bytes] | None:
    """(key, what was written) of a whole file, None of anything else. NotOurs where it is another's
    or open to others."""
    flags = (
        os.O_RDONLY
        | getattr(os, "O_BINARY", 0)
        | getattr(os, "O_NOFOLLOW", 0)
        | getattr(os, "O_NONBLOCK", 0)
    )  # a pipe would wait
    try:
        number = os.open(path, flags)
    except OSError as e:
        if e.errno == errno.ELOOP:
            raise NotOurs(f"{path} is a link") from None
        raise
    try:
        about = os.fstat(number)
        if not stat.S_ISREG(about.st_mode):
            return None
        _closed(path, about)
        with open(number, "rb", closefd=False) as file:
            mark, key, check, content = (
                file.readline(80),
                file.readline(80),
                file.readline(80),
                file.read(),
            )
    finally:
        os.close(number)
    name = key.decode("ascii", "replace").rstrip("\n")
    return (name, content) if mark == MAGIC and check == _sum(name, content) else None


def read(path: Path, key: str) -> bytes | None:
    """What :func:`write` wrote at ``path`` for ``key``; None where something else lies there.

    NotOurs where it is another's or open to others, FileNotFoundError where there is nothing.
    """
    found = _content(path)
    return found[1] if found is not None and found[0] == key else None


def whole(path: Path) -> bool:
    """Whether a file is one that :func:`write` wrote under this name, undamaged."""
    try:
        found = _content(path)
    except OSError:
        return False
    return found is not None and path.stem.endswith(f"_{found[0][:16]}")


def write(path: Path, key: str, content: bytes) -> None:
    """Put ``content`` at ``path`` at once, for whoever reads there at the same time."""
    _clean(path.parent)
    file, temporary = tempfile.mkstemp(
        dir=path.parent, prefix=path.stem, suffix=".tmp"
    )  # closed to others
    try:
        with open(file, "wb") as f:
            f.writelines([MAGIC, key.encode() + b"\n", _sum(key, content), content])
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def found(version: str, name: str, suffix: str, key: str) -> tuple[Path | None, bytes | None]:
    """Where the machine code of ``key`` is kept, and what lies there; None where nothing can be
    kept, which one warning says, and where nothing is to be used."""
    try:
        path = folder(version) / f"{name}_{key[:16]}{suffix}"
    except OSError as e:
        warn(e)
        return None, None
    try:
        return path, read(path, key)
    except NotOurs as e:
        warn(e)
    except OSError:  # nothing is there yet, or nothing that can be read
        pass
    return path, None


def keep(path: Path, key: str, content: bytes) -> None:
    """Keep machine code at the place that :func:`found` told; one warning where that fails."""
    try:
        write(path, key, content)
    except OSError as e:
        if not whole(path):  # Windows replaces nothing that another process is just reading
            warn(e)


@functools.cache
def _clean(folder: Path) -> None:
    """Once a process: what killed ones left."""
    for left in folder.glob("*.tmp"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFT_AFTER:
                left.unlink()


_warned: set[str | None] = set()


def warn(problem: OSError) -> None:
    """Say once in a process why kernels are not kept."""
    asked = os.environ.get("LAVALIKE_CACHE")
    if asked in _warned:
        return
    _warned.add(asked)
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and (
        "PLACE" in frame.f_globals or frame.f_globals.get("__name__", "").split(".")[0] in WITHIN
    ):
        frame, level = frame.f_back, level + 1
    warnings.warn(
        f"kernels are compiled in memory, for this process only, as {reason(problem)}; a folder of your own, closed to "
        "others, named in LAVALIKE_CACHE keeps them",
        CacheWarning,
        stacklevel=level,
    )


def reason(problem: OSError) -> str:
    """Why the folder or file cannot be used, without the number."""
    if isinstance(problem, NotOurs) or problem.strerror is None:
        return str(problem)
    return f"{problem.strerror}: {problem.filename}" if problem.filename else problem.strerror


@dataclass(frozen=True)
class State:
    """What lies in the cache's ``folder``.

    Args:
        kernels: of this version, to be used.
        damaged: files of this version that will be compiled anew.
        others: kernels of other versions.
        problem: why kernels are not kept here, or nothing.
    """

    folder: str
    kernels: int = 0
    damaged: int = 0
    others: int = 0
    problem: str = ""


def state(version: str) -> State:
    """The cache as a run would find it now; the folder is made if need be, and tried."""
    try:
        top = root()
    except OSError as e:
        return State("no folder", problem=reason(e))
    try:
        inner = folder(version)
    except OSError as e:
        return State(str(top), problem=reason(e))
    found = [whole(path) for path in inner.glob(f"*{SUFFIX}")]
    others = sum(path.parent.name != version for path in top.glob(f"*/*{SUFFIX}"))
    problem = ""
    try:
        with tempfile.TemporaryFile(dir=inner) as trial:
            trial.write(bytes(1 << 16))
    except OSError as e:
        problem = f"no more can be written ({reason(e)})"
    return State(str(top), sum(found), len(found) - sum(found), others, problem)
