"""What a file of :mod:`lavalike.container`'s form holds, read as untrusted: its bytes are looked
through before HDF5 is asked (:mod:`netx.trust`), and its digest is compared."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from lavalike.container import MAX_DEPTH, MAX_TEXT, digest, holds
from lavalike.errors import GraphFileError, LavalikeError
from netx import trust

MAX_ELEMENTS = 1 << 27  # of all ports and Vars, unless the file is as large
ROOM = 4  # as many elements for each byte of a file, which holds all Vars' values
# what comes of data that are not of the form that they should have
WRONG = (
    *(LookupError, TypeError, ValueError, ArithmeticError, AttributeError),
    *(StopIteration, MemoryError, RecursionError),
)


def contents(path: Path, name: str, writer: str) -> tuple[int, Any, dict[str, np.ndarray]]:
    """The file's size, the data that its text ``name`` says, and its arrays. ``writer``: what
    writes such a file. GraphFileError, which takes no more memory to find out than the file's size.
    """
    import h5py

    if not path.is_file():
        raise GraphFileError(f"{path}: there is no such file")
    size = path.stat().st_size
    try:
        _looked_through(path, size, writer)
        with h5py.File(path, "r") as file:
            if set(file) != {name, "digest", "arrays"} or not isinstance(
                file["arrays"], h5py.Group
            ):
                raise GraphFileError(f"{path}: no {name} is in it, as {writer} writes one")
            text = file[name]
            if text.dtype != np.uint8 or text.ndim != 1 or text.size > MAX_TEXT:
                raise GraphFileError(f"{path}: {name}: is no text")
            written = bytes(text[()])
            arrays = {key: np.asarray(a[()]) for key, a in file["arrays"].items()}
            if not np.array_equal(file["digest"][()], digest(written, arrays)):
                raise GraphFileError(
                    f"{path}: digest: does not fit what the file holds, which is damaged"
                )
            return size, json.loads(written.decode()), arrays
    except GraphFileError:
        raise
    except (OSError, RuntimeError, MemoryError, ValueError) as e:
        raise GraphFileError(f"{path}: cannot be read: {e}") from e


def _looked_through(path: Path, size: int, writer: str) -> None:
    """Each of its bytes is of one array at most, so reading all takes no more than its size."""
    foreign = f"is not of the form that {writer} writes"

    def damage(key: str, problem: str) -> GraphFileError:
        return GraphFileError(f"{path}: {key}: {problem}" if key else f"{path}: {problem}")

    try:
        with open(path, "rb") as file:
            plain = trust.Plain(file, size, damage)
    except trust.Other as e:
        raise GraphFileError(f"{path}: {foreign} ({e})") from None
    if plain.chunks or plain.attributes:
        raise GraphFileError(f"{path}: {foreign}")
    for key, (count, item, text, stored) in plain.data.items():
        if text or stored != count * item:
            raise damage(key, f"declares {count * item} bytes and stores {stored}")
    if sum(stored for *_, stored in plain.data.values()) > size:
        raise GraphFileError(f"{path}: its arrays lie on each other")


class Decoder:
    """One pass over a file: what a :class:`lavalike.container.Encoder` made, as it was."""

    name = ""  # what an error is about unless it says so

    def __init__(self, path: Path) -> None:
        self.path, self.depth = path, 0
        self.arrays: dict[str, np.ndarray] = {}
        self.most = MAX_ELEMENTS  # elements of all that is made

    def fail(self, problem: str, what: str = "") -> NoReturn:
        what = what or self.name
        raise GraphFileError(
            f"{self.path}: {what}: {problem}" if what else f"{self.path}: {problem}"
        )

    def read(self, name: str, writer: str, form: int) -> dict[str, Any]:
        """What the text ``name`` of the file says; GraphFileError unless it is of format
        ``form``."""
        size, found, self.arrays = contents(self.path, name, writer)
        self.most = max(MAX_ELEMENTS, ROOM * size)
        if not isinstance(found, dict) or found.get("format") != form:
            self.fail(
                f"is of format {found.get('format') if isinstance(found, dict) else '?'}, this lavalike reads {form}"
            )
        return found

    def count(self, found: Mapping[str, Any]) -> tuple[int, int | None]:
        """The steps that were done, and the seed that was drawn."""
        step, drawn = found["step"], found["drawn"]
        counts = [step] if drawn is None else [step, drawn]
        if not all(type(n) is int and 0 <= n < 1 << 63 for n in counts):
            self.fail(f"step {step!r:.40}, drawn {drawn!r:.40}")
        return step, drawn

    def data(self, x: Any, what: str = "") -> Any:
        """What :meth:`Encoder.data` made ``x`` of."""
        if self.depth > MAX_DEPTH:
            self.fail(f"data are nested deeper than {MAX_DEPTH}", what)
        self.depth += 1
        try:
            return self._data(x, what)
        except LavalikeError:
            raise
        except WRONG as e:
            self.fail(f"{type(e).__name__}: {e}", what)
        finally:
            self.depth -= 1

    def _data(self, x: Any, what: str) -> Any:
        match x:
            case None | bool() | int() | str():
                return x
            case list():
                return [self.data(y, what) for y in x]
            case {"float": text}:
                return float.fromhex(text)
            case {"complex": [real, imag]}:
                return complex(float.fromhex(real), float.fromhex(imag))
            case {"array": _} | {"texts": _}:
                return self.array(x)
            case {"scalar": str() as name, "bytes": text}:
                return np.ndarray((), self.dtype(name), bytes.fromhex(text))[()]
            case {"bytes": text}:
                return bytes.fromhex(text)
            case {"tuple": items}:
                return tuple([self.data(y, what) for y in items])
            case {"dict": items}:
                return {self.data(k, what): self.data(v, what) for k, v in items}
        return self.other(x, what)

    def other(self, x: Any, what: str) -> Any:
        """What is of none of the kinds above."""
        self.fail(f"{x!r:.80} is no data", what)

    def shape(self, sizes: Any) -> tuple[int, ...]:
        """A shape whose axes are no longer than what a file may ask for."""
        if type(sizes) is not list or not all(type(n) is int for n in sizes):
            self.fail(f"{sizes!r:.60} is no shape")
        if len(sizes) > MAX_DEPTH or not all(0 <= n <= self.most for n in sizes):
            self.fail(f"shape {sizes!r:.60} asks for more than {self.most} elements")
        return tuple(sizes)

    def dtype(self, name: Any) -> np.dtype:
        dtype = np.dtype(name)
        if not holds(dtype):
            self.fail(f"{dtype} is no kind of data that a file holds")
        return dtype

    def texts(self, x: Any, shape: tuple[int, ...]) -> np.ndarray:
        """As an array, in which all are as long as the longest."""
        found, dtype = x["texts"], np.dtype(x.get("dtype", "U"))
        if type(found) is not list or not all(type(t) is str for t in found) or dtype.kind != "U":
            self.fail(f"{found!r:.60} are no texts")
        longest = max(dtype.itemsize // 4, max(map(len, found), default=0))
        if len(found) * longest > self.most:
            self.fail(f"{len(found)} texts ask for more than {self.most} letters")
        return np.array(found, dtype).reshape(shape)

    def array(self, x: Any) -> np.ndarray:
        """What :meth:`Encoder.array` made ``x`` of."""
        try:
            shape = self.shape(x["shape"])
            if "texts" in x:
                return self.texts(x, shape)
            dtype = np.dtype(x["dtype"])
            flat = self.arrays[str(x["array"])]
        except GraphFileError:
            raise
        except WRONG as e:
            self.fail(f"no array: {type(e).__name__}: {e}")
        size = math.prod(shape)
        want = {"b": np.dtype(np.uint8), "c": np.empty(0, dtype).real.dtype}.get(dtype.kind, dtype)
        if dtype.kind not in "biufc" or (size and flat.dtype != want):
            self.fail(f"an array of {flat.dtype} stands for {dtype}", f"arrays/{x['array']}")
        if size:
            flat = flat.view(dtype) if dtype.kind == "c" else flat.astype(dtype, copy=False)
        else:
            flat = np.empty(0, dtype)
        if flat.size != size:
            self.fail(f"{flat.size} numbers do not make shape {shape}", f"arrays/{x['array']}")
        return flat.reshape(shape)
