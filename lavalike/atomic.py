"""Files that are whole or not there, on the disk before their name is."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed
    fcntl = None  # type: ignore[assignment]  # not on every system

DRAFT = ".lavalike-draft"


@contextlib.contextmanager
def draft(path: str | os.PathLike[str]) -> Iterator[Path]:
    """An empty file beside ``path`` to write to, by its name. When the block ends without an error
    it is brought to the disk and takes the name ``path``, in one step; else it is removed, and what
    was at ``path`` stays.

    What killed processes left in the folder is removed first; drafts of live ones are locked.

    Raises:
        OSError: the folder cannot be written to, the disk is full, ``path`` is a folder.
    """
    path = Path(path)
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    _clean(path.parent)
    name, lock = _create(path)
    try:
        yield name
        _sync(name)
        if fcntl is None:
            os.close(lock)
            lock = -1
        os.replace(name, path)
    finally:
        if lock >= 0:
            os.close(lock)
        name.unlink(missing_ok=True)
    if os.name == "posix":
        with contextlib.suppress(
            OSError
        ):  # the new name, too, is to survive a power cut, where the file system can promise it
            _sync(path.parent, os.O_RDONLY)


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], None]) -> None:
    """Have ``write`` fill a file beside ``path``, bring it to the disk, then put it in the place of
    ``path`` in one step.

    Where anything fails, what was at ``path`` stays as it was, and the error is raised.
    """
    with draft(path) as name, name.open("w+b") as f:
        write(f)


def _create(path: Path) -> tuple[Path, int]:
    """A draft of ``path`` and an open descriptor of it that holds its lock as long as this process
    lives."""
    while True:
        name = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}{DRAFT}")
        try:
            handle = os.open(
                name, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o666
            )
        except FileExistsError:
            continue
        # shared, so that the draft can be read through HDF5, which locks as well; another's
        # clean-up may have come between
        if _lock(handle, shared=True) is not False and os.path.exists(name):
            return name, handle
        os.close(handle)


def _lock(handle: int, shared: bool) -> bool | None:
    """Whether the lock is ours now; None where files cannot be locked."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a network file system without locks
        return None
    return True


def _clean(folder: Path) -> None:
    """Remove drafts whose process is gone."""
    for name in folder.glob(f".*{DRAFT}"):
        with contextlib.suppress(OSError):  # gone meanwhile, or another user's
            if fcntl is None:
                name.unlink()
                continue
            handle = os.open(name, os.O_RDWR)
            try:
                if _lock(handle, shared=False):
                    name.unlink()
            finally:
                os.close(handle)


def _sync(path: Path, flags: int = os.O_RDWR) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
