"""Checkpoints: written whole or not at all, loaded without running code."""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch

from lavalike.arguments import PATH, arguments, did_you_mean
from lavalike.atomic import write_atomically
from lavalike.errors import InputError, InputTypeError

FORMAT, VERSION = "lavalike.checkpoint", 1
DIGEST = 64  # bytes of a hexadecimal SHA-256


def _digest(f: BinaryIO, size: int) -> bytes:
    """SHA-256 of the first ``size`` bytes; leaves ``f`` behind them."""
    f.seek(0)
    sha = hashlib.sha256()
    while part := f.read(min(size, 1 << 20)):
        sha.update(part)
        size -= len(part)
    return sha.hexdigest().encode()


def _loadable(value: Any) -> bool:
    buffer = BytesIO()
    try:
        torch.save(value, buffer)
        buffer.seek(0)
        torch.load(buffer, weights_only=True)
    except (pickle.PicklingError, pickle.UnpicklingError, AttributeError, TypeError):
        return False
    return True


@arguments(path=PATH)
def save_checkpoint(path: str | os.PathLike[str], **state: Any) -> None:
    """Write ``state`` to ``path``, whole or not at all, with a digest that tells later damage.

        save_checkpoint("run.pt", net=net.state_dict(), optimizer=optimizer.state_dict(),
        stats=stats.state_dict(),
                        rng=torch.get_rng_state(), loader=generator.get_state(), epoch=epoch)

    Args:
        path: its folder exists.
        state: tensors, numbers, strings, None, and lists, tuples and dicts of them, as
            ``state_dict()`` returns.

    Raises:
        InputTypeError: an item could not be loaded again without running code; the file that was
            there is untouched.
    """

    def write(f: BinaryIO) -> None:
        torch.save({"format": FORMAT, "version": VERSION, "state": state}, f)
        # A zip file ends in the length of its comment, 0: the comment becomes a digest of all
        # before it. The checksums inside leave the directory uncovered, and torch does not look at
        # them.
        f.seek(-2, os.SEEK_END)
        f.write(struct.pack("<H", DIGEST))
        f.write(_digest(f, f.tell()))
        f.flush()
        torch.load(
            f.name, map_location="cpu", weights_only=True, mmap=True
        )  # the proof that it can be loaded, at little cost

    try:
        write_atomically(path, write)
    except (pickle.PicklingError, pickle.UnpicklingError, AttributeError, TypeError) as e:
        bad = [
            f"{k} ({type(v).__name__}{did_you_mean(k, ['path'])})"
            for k, v in state.items()
            if not _loadable(v)
        ]
        raise InputTypeError(
            f"save_checkpoint: {', '.join(bad) or 'an item'} is not made of tensors, numbers, strings, lists and dicts; "
            "pass its state_dict()"
        ) from e


@arguments(path=PATH)
def load_checkpoint(path: str | os.PathLike[str], map_location: Any = "cpu") -> dict[str, Any]:
    """What ``save_checkpoint`` wrote to ``path``.

    Args:
        map_location: device of the tensors; load_state_dict brings them to their module's, wherever
            they are.

    Raises:
        FileNotFoundError: there is no file.
        InputError: the file is damaged, or of another program, or of a newer version.
    """
    with Path(path).open("rb") as f:
        size = f.seek(0, os.SEEK_END) - DIGEST
        if size < 0 or _digest(f, size) != f.read():
            raise InputError(
                f"{path}: damaged, or no checkpoint written by save_checkpoint: it does not end in the digest of its content"
            )
        f.seek(0)
        try:
            content = torch.load(f, map_location=map_location, weights_only=True)
        except (
            RuntimeError,
            pickle.UnpicklingError,
            EOFError,
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
        ) as e:
            why = str(e).splitlines()[0] if str(e) else repr(e)
            raise InputError(
                f"{path}: no checkpoint written by save_checkpoint, or not loadable here: {why}"
            ) from e
    if (
        not isinstance(content, dict)
        or content.get("format") != FORMAT
        or not isinstance(content.get("state"), dict)
    ):
        raise InputError(f"{path}: no checkpoint written by save_checkpoint")
    if content.get("version") != VERSION:
        raise InputError(
            f"{path}: a checkpoint of version {content.get('version')}; this lavalike reads version {VERSION}"
        )
    return content["state"]
