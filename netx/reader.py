"""Reading .net files as untrusted data.

A file is HDF5 with one group per layer under ``/layer/<i>``. It may hold only groups and plain
datasets reached by hard links: no external or soft links, no external or virtual storage, no object
types, and no dataset that declares far more than it stores. Its bytes are looked through before
HDF5 is (:mod:`netx.trust`); types and sizes of all layers are compared with each other
(:mod:`netx.sizes`) before a weight is read. Whatever is wrong is a NetFileError that names file and
key.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from lavalike.arguments import shown
from lavalike.errors import NetFileError
from lavalike.proc.neuron import KINDS, declaration
from netx import provenance, sizes, trust

T = TypeVar("T")
MAX_BYTES = 4 << 30
MAX_NODES = 100_000
MAX_DEPTH = 8
MAX_ELEMENTS = 1 << 27  # neurons of a layer
MAX_TEXT = 1024  # bytes
BLOCK = 1 << 18  # numbers that are converted at once
BOMB_BYTES, BOMB_RATIO = 1 << 20, 1000


class NetFileWarning(UserWarning):
    """A key of a foreign file was dropped or a value changed, as Lava's loader did silently.

    Causes: a file of lava-dl's with keys that no layer has, or values beyond their bits.
    Remedy: none is needed to compute what Lava did; ``exact=True`` makes it an error.
    """


@dataclass
class Layer:
    """One layer of a file: plain values, checked.

    ``shape`` is as stored, (C, H, W) or (N,). ``neuron`` holds the neuron's keys, None where there
    is no such group. ``arrays`` holds the parts of a complex layer as ``weight/real`` and so on.
    """

    key: str
    type: str
    shape: tuple[int, ...]
    neuron: dict[str, Any] | None = None
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    delay_shift: bool | None = None
    input_shape: tuple[int, ...] | None = None
    shapes: dict[str, tuple[int, ...]] = field(
        default_factory=dict
    )  # of what is read once all sizes are known to fit

    @property
    def complex(self) -> bool:
        return "weight/real" in self.shapes

    @property
    def spatial(self) -> bool:
        return self.type in SPATIAL

    @property
    def channels(self) -> int:
        return self.shape[0] if self.spatial or self.type == "input" else math.prod(self.shape)


@dataclass
class NetFile:
    """All of a file. ``ours`` tells a file written by lavalike, which promises to be exact;
    ``signed`` one whose digest fits."""

    path: Path
    layers: list[Layer]
    ours: bool
    signed: bool = False


# keys lava-dl writes that change nothing when the network runs
TRAINING_ONLY = {
    "theta",
    "scaleRho",
    "tauRho",
    "wgtExp",
    "refDelay",
    "gradedSpike",
    "activation",
    "weight_exp",
}
STATED = {
    "inFeatures",
    "outFeatures",
    "inChannels",
    "outChannels",
    "kernelSize",
}  # once more what the weights' shape says
SMALL = {"stride", "padding", "dilation", "outputPadding", "groups"}
_KERNEL = {"weight", "stride", "padding", "dilation"}
LAYER_KEYS = {
    "input": {"weight", "bias"},
    "flatten": set(),
    "average": set(),
    "dense": {"weight", "bias", "delay"},
    "dense_rec": {"weight", "weight_rec", "bias", "delay"},
    "conv": _KERNEL | {"bias", "delay", "groups"},
    "convT": _KERNEL | {"bias", "delay", "groups", "outputPadding"},
    "pool": _KERNEL | {"bias", "delay"},
    "unpool": _KERNEL | {"bias", "delay", "outputPadding"},
}
NEEDED = {
    "dense": {"weight"},
    "dense_rec": {"weight", "weight_rec"},
    "conv": _KERNEL | {"groups"},
    "convT": _KERNEL | {"groups"},
    "pool": _KERNEL,
    "unpool": _KERNEL,
}
SPATIAL = ("conv", "convT", "pool", "unpool")
# of a layer of resonators each of these may be a group with one dataset for the real and one for
# the imaginary part
COMPLEX = ("weight", "weight_rec", "bias")
PARTS = ("real", "imag")
UNSUPPORTED = {"concat"}
INT32 = (-(2**31), 2**31 - 1)
GROUPS = (1, 1 << 20)
ALIKE = {"LOIHI": "CUBA"}  # types that mean the same


def neuron_keys(kind: str) -> dict[str, tuple[int, int]] | None:
    """The keys of a neuron type and the whole numbers each may hold, as the neuron declares them;
    None where no process has it."""
    cls = KINDS.get(ALIKE.get(kind, kind))
    if cls is None:
        return None
    dynamics = declaration(cls)
    return {p.key: p.stored(dynamics.loihi) for p in dynamics.parameters if p.key}


class Reader:
    """One pass over a file. ``exact``: what would be a warning is an error."""

    depth = MAX_DEPTH  # groups within groups

    def __init__(self, path: str | Path, exact: bool, max_bytes: int = MAX_BYTES) -> None:
        self.path, self.exact, self.max_bytes = Path(path), exact, max_bytes

    def fail(self, key: str, problem: str) -> NetFileError:
        return NetFileError(self.path, _short(key), problem)

    def drop(self, key: str, problem: str) -> None:
        """Something of a foreign file is not used as it stands."""
        if self.exact:
            raise self.fail(key, f"{problem} (refused by exact=True)")
        warnings.warn(f"{self.path}: {_short(key)}: {problem}", NetFileWarning, stacklevel=6)

    def read(self) -> NetFile:
        return self.opened(self._file)

    def opened(self, use: Callable[[h5py.File], T]) -> T:
        """What ``use`` makes of the file, whose bytes have been looked through."""
        if not self.path.is_file():
            raise self.fail("", "there is no such file")
        self.here = ""  # what is looked at, for what h5py says of damage
        try:
            self.plain = trust.check(self.path, self.fail, depth=self.depth)
            with h5py.File(self.path, "r") as file:
                return use(file)
        except NetFileError:
            raise
        except (
            OSError,
            RuntimeError,
            KeyError,
            ValueError,
            TypeError,
            OverflowError,
            UnicodeError,
            MemoryError,
        ) as e:
            # h5py reports damage as any of these, depending on where it lies
            problem = " ".join(str(e).split())[:80] or type(e).__name__
            raise self.fail(
                self.here,
                f"cannot be read: {problem}"
                if self.here
                else f"not a readable HDF5 file: {problem}",
            ) from e

    def _file(self, file: h5py.File) -> NetFile:
        self.look(file)
        if self.plain is not None and self.plain.attributes:  # a digest looks at all values
            self.inflate()
        found = provenance.examine(file, self.fail)
        if found.warning and self.exact:
            raise self.fail("layer", f"{found.warning} (refused by exact=True)")
        self.ours = found.ours
        self.exact |= found.ours
        group = file.get("layer")
        if not isinstance(group, h5py.Group) or len(group) == 0:
            raise self.fail("layer", "a group with one group a layer is expected")
        names = sorted(group, key=lambda n: (len(n), n))
        if names != [str(k) for k in range(len(names))]:
            raise self.fail(
                "layer",
                f"groups 0..{len(names) - 1} are expected, found {shown(sorted(group)[:8])}",
            )
        for name in file:
            if name not in ("layer", "simulation"):
                self.drop(name, "unknown key, not used")
        layers: list[Layer] = []
        for name in names:
            layers.append(
                self._outline(group[name], f"layer/{name}", layers[-1] if layers else None)
            )
        sizes.budget(layers, self.path.stat().st_size, self.fail)
        self.inflate()
        for layer in layers:
            self._contents(group[layer.key.removeprefix("layer/")], layer)
        if found.warning:
            warnings.warn(f"{self.path}: layer: {found.warning}", NetFileWarning, stacklevel=4)
        return NetFile(self.path, layers, found.ours, found.signed)

    def inflate(self) -> None:
        """Before the values of any dataset are read: what is compressed becomes what it
        declares."""
        if self.plain is not None:
            for key in list(self.plain.chunks):
                self.plain.inflate(self.path, key)

    # -- safety ------------------------------------------------------------------------------------

    def look(self, file: h5py.File) -> None:
        """Refuse all that is not a plain tree of plain data, before anything is read."""
        self.seen: set[int] = set()
        self.nodes = self.bytes = 0
        if self.plain is None:
            self._inspect(file, "", 0)
        else:
            for key, declared in self.plain.data.items():
                self._declared(key, *declared)

    def _inspect(self, group: h5py.Group, path: str, depth: int) -> None:
        if depth > self.depth:
            raise self.fail(path, f"groups are nested deeper than {self.depth}")
        for name in group:
            key = self.here = f"{path}/{name}".lstrip("/")
            self.nodes += 1
            if self.nodes > MAX_NODES:
                raise self.fail(key, f"more than {MAX_NODES} objects")
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise self.fail(key, f"is a {type(link).__name__}; links are not followed")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in self.seen:
                raise self.fail(key, "is linked twice")
            self.seen.add(address)
            if isinstance(item, h5py.Group):
                self._inspect(item, key, depth + 1)
            elif isinstance(item, h5py.Dataset):
                self._inspect_data(item, key)
            else:
                raise self.fail(
                    key, f"is a {type(item).__name__}; groups and datasets are expected"
                )

    def _inspect_data(self, data: h5py.Dataset, key: str) -> None:
        if data.is_virtual or data.external:
            raise self.fail(key, "its data lie outside the file")
        text = h5py.check_string_dtype(data.dtype)
        if text is None and data.dtype.kind not in "biuf":
            raise self.fail(key, f"dtype {data.dtype} is not allowed; numbers and strings are")
        if data.shape is None:
            raise self.fail(key, "is empty")
        size = data.size * data.dtype.itemsize
        chunk = math.prod(data.chunks) * data.dtype.itemsize if data.chunks else 0
        if chunk > max(BOMB_BYTES, 2 * size):
            raise self.fail(key, f"a chunk of {chunk} bytes holds {size}")
        self._declared(
            key, data.size, data.dtype.itemsize, text is not None, data.id.get_storage_size()
        )

    def _declared(self, key: str, count: int, item: int, text: bool, stored: int) -> None:
        """What a dataset declares, against what it stores and what a file may hold."""
        if text and count != 1:
            raise self.fail(key, f"one string is expected, found {count}")
        size = count * item
        self.bytes += count * max(item, 8)
        if size > BOMB_BYTES and size > BOMB_RATIO * stored:
            raise self.fail(key, f"declares {size} bytes and stores {stored}")
        if self.bytes > self.max_bytes or count > sizes.INT32:
            raise self.fail(
                key, f"the file declares more than {min(self.max_bytes, 8 * sizes.INT32)} bytes"
            )

    # -- contents ----------------------------------------------------------------------------------

    def _text(self, group: h5py.Group, name: str, path: str) -> str:
        key = self.here = f"{path}/{name}"
        item = group.get(name)
        if not isinstance(item, h5py.Dataset) or h5py.check_string_dtype(item.dtype) is None:
            raise self.fail(key, "a string is expected" if item is not None else "is missing")
        if item.dtype.itemsize > MAX_TEXT:
            raise self.fail(key, f"is a string of {item.dtype.itemsize} bytes")
        value = np.asarray(item[()]).reshape(-1)[0]
        try:
            return value.decode() if isinstance(value, bytes) else str(value)
        except UnicodeDecodeError:
            raise self.fail(key, f"is no text in UTF-8: {shown(value)}") from None

    def _numbers(self, item: Any, path: str) -> h5py.Dataset:
        self.here = path
        if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "iuf":
            raise self.fail(path, "numbers are expected" if item is not None else "is missing")
        if item.size == 0:
            raise self.fail(path, "holds no number")
        return item

    def _whole(
        self,
        item: Any,
        path: str,
        low: int = INT32[0],
        high: int = INT32[1],
        most: int | None = None,
    ) -> np.ndarray:
        """A dataset of whole numbers as int32, of at most ``most``; a foreign file's fractions are
        cut off, as Lava did. Besides the result it takes a slab of the file."""
        data = self._numbers(item, path)
        if most is not None and data.size > most:
            raise self.fail(path, f"at most {most} numbers are expected, found shape {data.shape}")
        out = np.empty(data.shape, np.int32)
        rows = len(out) if data.ndim else 1
        slab = rows if data.chunks or data.size <= BLOCK else max(1, BLOCK // (data.size // rows))
        first = None
        for at in range(0, rows, slab):
            raw = np.asarray(data[at : at + slab] if slab < rows else data[()]).reshape(-1)
            put = out[at : at + slab].reshape(-1) if data.ndim else out.reshape(-1)
            for k in range(0, raw.size, BLOCK):
                value = raw[k : k + BLOCK]
                whole = np.trunc(value.astype(np.float64))
                least, largest = whole.min(), whole.max()  # NaN is both, wherever it stands
                if not np.isfinite(least) or not np.isfinite(largest):
                    raise self.fail(path, "holds NaN or infinite values")
                if first is None and not np.array_equal(whole, value):
                    first = value[whole != value].flat[0]
                if least < low or largest > high:
                    raise self.fail(
                        path, f"{least if least < low else largest:g} is outside {low}..{high}"
                    )
                put[k : k + BLOCK] = whole
        if first is not None:
            self.drop(path, f"fractions are cut off ({first})")
        return out

    def _flag(self, item: Any, path: str) -> bool:
        """A dataset of one truth value."""
        self.here = path
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "biuf" and item.size == 1:
            value = np.asarray(item[()]).reshape(-1)[0]
            if value in (0, 1):
                return bool(value)
        raise self.fail(path, "one truth value is expected")

    def _outline(self, group: Any, path: str, before: Layer | None) -> Layer:
        """Type, shape and sizes of a layer, which fit each other and those of the layer before;
        nothing large is read."""
        if not isinstance(group, h5py.Group):
            raise self.fail(path, "a group is expected")
        kind = self._text(group, "type", path)
        kind = "dense" if kind == "dense_comp" else kind
        if kind in UNSUPPORTED:
            raise self.fail(
                f"{path}/type", f"{kind!r} is known to lava-dl, but no process here computes it"
            )
        if kind not in LAYER_KEYS:
            raise self.fail(
                f"{path}/type", f"unknown layer type {shown(kind)}; known are {sorted(LAYER_KEYS)}"
            )
        if kind == "input" and before is not None:
            raise self.fail(f"{path}/type", "an input layer is the first one")
        given = self._whole(group.get("shape"), f"{path}/shape", 1, most=3)
        shape = tuple(int(n) for n in given.reshape(-1))
        if len(shape) not in (1, 3) or given.ndim > 1:
            raise self.fail(
                f"{path}/shape", f"(N,) or (C, H, W) is expected, found {given.tolist()}"
            )
        if math.prod(shape) > MAX_ELEMENTS:
            raise self.fail(f"{path}/shape", f"{shape} are more than {MAX_ELEMENTS} neurons")
        layer = Layer(path, kind, shape)
        self._attributes(group, layer)
        shapes: dict[str, tuple[int, ...]] = {}
        stated: dict[str, np.ndarray] = {}
        for name in group:
            key, item = f"{path}/{name}", group[name]
            if name in ("type", "shape", "neuron"):
                continue
            if (
                name in LAYER_KEYS[kind]
                and name in COMPLEX
                and isinstance(item, h5py.Group)
                and kind != "input"
            ):
                for part in PARTS:
                    shapes[f"{name}/{part}"] = self._numbers(item.get(part), f"{key}/{part}").shape
                for other in sorted(set(item) - set(PARTS)):
                    self.drop(f"{key}/{other}", "unknown key, not used")
            elif name in LAYER_KEYS[kind] and (name in SMALL or kind == "input"):
                layer.arrays[name] = self._whole(
                    item, key, *(GROUPS if name == "groups" else INT32), most=3
                )
            elif name in LAYER_KEYS[kind]:
                shapes[name] = self._numbers(item, key).shape
            elif name in STATED:
                stated[name] = self._whole(item, key, most=3)
            elif name not in TRAINING_ONLY:
                self.drop(key, "unknown key, not used")
        for name in sorted(NEEDED.get(kind, set())):
            if name not in layer.arrays and name not in shapes and f"{name}/real" not in shapes:
                raise self.fail(f"{path}/{name}", f"is missing in a {kind} layer")
        if "neuron" in group:
            neuron = group["neuron"]
            if not isinstance(neuron, h5py.Group):
                raise self.fail(f"{path}/neuron", "a group is expected")
            layer.neuron = {"type": self._text(neuron, "type", f"{path}/neuron")}
        layer.shapes = shapes
        sizes.check(layer, stated, before, self.ours, self.fail)
        return layer

    def _attributes(self, group: h5py.Group, layer: Layer) -> None:
        key = self.here = f"{layer.key}@delay_shift"
        shift = group.attrs.get("delay_shift")
        if shift is not None:
            if np.ndim(shift) or np.asarray(shift).dtype.kind not in "biu" or shift not in (0, 1):
                raise self.fail(key, f"is 0 or 1, found {shown(shift)}")
            layer.delay_shift = bool(shift)
        key = self.here = f"{layer.key}@input_shape"
        given = group.attrs.get("input_shape")
        if given is not None:
            value = np.asarray(given)
            if (
                value.dtype.kind not in "iu"
                or value.ndim > 1
                or value.size not in (1, 3)
                or value.min() < 1
            ):
                raise self.fail(key, f"(N,) or (C, H, W) is expected, found {shown(given)}")
            layer.input_shape = tuple(int(n) for n in value.reshape(-1))
            if math.prod(layer.input_shape) > MAX_ELEMENTS:
                raise self.fail(key, f"{layer.input_shape} are more than {MAX_ELEMENTS} inputs")

    def _contents(self, group: h5py.Group, layer: Layer) -> None:
        """The numbers of a layer whose sizes are known to fit."""
        for name in layer.shapes:
            layer.arrays[name] = self._whole(group[name], f"{layer.key}/{name}", *INT32)
        if layer.neuron is not None:
            layer.neuron = self._neuron(group["neuron"], f"{layer.key}/neuron", layer.channels)
        if layer.neuron is not None and layer.neuron.get("sigma_output"):
            for name in ("bias", "bias/real", "bias/imag"):
                if layer.type != "input" and np.any(layer.arrays.get(name, 0)):
                    self.drop(f"{layer.key}/{name}", "neurons with sigma_output take no bias")

    def _neuron(self, group: h5py.Group, path: str, channels: int) -> dict[str, Any]:
        kind = self._text(group, "type", path)
        whole = neuron_keys(kind)
        if whole is None:
            raise self.fail(
                f"{path}/type",
                f"no process computes neuron type {shown(kind)}; known are {sorted([*KINDS, *ALIKE])}",
            )
        # Lava ran adaptive resonators of its files without their adaptation
        plain = kind.startswith("ADRF") and not self.ours
        out: dict[str, Any] = {"type": kind.removeprefix("AD") if plain else kind}
        known = neuron_keys(out["type"]) or {}
        for name in group:
            key, item = f"{path}/{name}", group[name]
            if name in known:
                sizes.per_channel(key, self._numbers(item, key).shape, channels, self.fail)
                out[name] = self._whole(item, key, *known[name])
            elif name == "sigma_output":
                if not self._flag(item, key):
                    self.drop(
                        key,
                        "is False; Lava's loader takes any sigma_output as True, and so it runs",
                    )
                out[name] = True
            elif name == "activation":
                activation = self._text(group, name, path)
                if activation.lower() != "relu":
                    self.drop(key, f"activation {shown(activation)} runs as relu")
            elif name == "gradedSpike":
                if self._flag(item, key):
                    self.drop(key, "graded spikes run as binary spikes")
            elif name == "refDelay" and kind in ("CUBA", "LOIHI", "ALIF"):
                sizes.per_channel(key, self._numbers(item, key).shape, channels, self.fail)
                if np.any(self._whole(item, key, 0) > 1):
                    self.drop(key, "refractory delays above 1 are not computed")
            elif name in ("weight_exp", "wgtExp"):
                sizes.per_channel(key, self._numbers(item, key).shape, channels, self.fail)
                if np.any(self._whole(item, key)):
                    self.drop(key, "the weight exponent is not applied")
            elif name not in TRAINING_ONLY and name not in whole and name != "type":
                self.drop(key, "unknown key, not used")
        missing = sorted(set(known) - set(out))
        if missing:
            raise self.fail(f"{path}/{missing[0]}", f"is missing in a neuron of type {kind}")
        if plain:
            self.drop(f"{path}/type", f"{kind} runs as plain RF, without adaptation")
        return out


def _short(key: str) -> str:
    """A key as a message says it: a file may hold names of any length."""
    key = "".join(c if c.isprintable() else "?" for c in key)
    return "/".join(part if len(part) <= 80 else part[:77] + "..." for part in key.split("/"))


def read(path: str | Path, exact: bool = False) -> NetFile:
    """The contents of a .net file; NetFileError for anything that is not one."""
    return Reader(path, exact).read()
