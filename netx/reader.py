"""Reading .net files as untrusted data.

A file is HDF5 with one group per layer under ``/layer/<i>``. It may hold only groups and plain datasets reached by
hard links: no external or soft links, no external or virtual storage, no object types, and no dataset that declares
far more than it stores. Whatever is wrong is a NetFileError that names file and key.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lavalike.errors import NetFileError
from netx import provenance

MAX_BYTES = 4 << 30
MAX_NODES = 100_000
MAX_DEPTH = 8
MAX_ELEMENTS = 1 << 27  # neurons of a layer
BOMB_BYTES, BOMB_RATIO = 1 << 20, 1000


class NetFileWarning(UserWarning):
    """A key of a foreign file was dropped or a value changed, as Lava's loader did silently."""


@dataclass
class Layer:
    """One layer of a file: plain values, checked.

    ``shape`` is as stored, (C, H, W) or (N,). ``neuron`` holds the neuron's keys, None where there is no such group.
    ``arrays`` holds the parts of a complex layer as ``weight/real`` and so on.
    """

    key: str
    type: str
    shape: tuple[int, ...]
    neuron: dict[str, Any] | None = None
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    delay_shift: bool | None = None
    input_shape: tuple[int, ...] | None = None

    @property
    def complex(self) -> bool:
        return "weight/real" in self.arrays


@dataclass
class NetFile:
    """All of a file. ``ours`` tells a file written by lavalike, which promises to be exact; ``signed`` one whose digest fits."""

    path: Path
    layers: list[Layer]
    ours: bool
    signed: bool = False


# keys lava-dl writes that change nothing when the network runs
TRAINING_ONLY = {"theta", "scaleRho", "tauRho", "wgtExp", "refDelay", "gradedSpike", "activation", "weight_exp", "inFeatures",
                 "outFeatures", "inChannels", "outChannels", "kernelSize"}
_KERNEL = {"weight", "stride", "padding", "dilation"}
LAYER_KEYS = {"input": {"weight", "bias"}, "flatten": set(), "average": set(), "dense": {"weight", "bias", "delay"},
              "dense_rec": {"weight", "weight_rec", "bias", "delay"},
              "conv": _KERNEL | {"bias", "delay", "groups"}, "convT": _KERNEL | {"bias", "delay", "groups", "outputPadding"},
              "pool": _KERNEL | {"bias", "delay"}, "unpool": _KERNEL | {"bias", "delay", "outputPadding"}}
NEEDED = {"dense": {"weight"}, "dense_rec": {"weight", "weight_rec"}, "conv": _KERNEL | {"groups"}, "convT": _KERNEL | {"groups"},
          "pool": _KERNEL, "unpool": _KERNEL}
SPATIAL = ("conv", "convT", "pool", "unpool")
# of a layer of resonators each of these may be a group with one dataset for the real and one for the imaginary part
COMPLEX = ("weight", "weight_rec", "bias")
PARTS = ("real", "imag")
UNSUPPORTED = {"concat"}
_CUBA, _RF, _ADAPTIVE = {"iDecay", "vDecay", "vThMant"}, {"sinDecay", "cosDecay", "vThMant"}, {"thDecay", "refDecay", "vThStep"}
NEURON_KEYS = {"CUBA": _CUBA, "LOIHI": _CUBA, "ALIF": _CUBA | _ADAPTIVE, "SDNN": {"vThMant"}, "RF_PHASE": _RF, "RF_IZHIKEVICH": _RF,
               "ADRF_PHASE": _RF | _ADAPTIVE, "ADRF_IZHIKEVICH": _RF | _ADAPTIVE}
RANGES = {"iDecay": (0, 4096), "vDecay": (0, 4096), "vThMant": (0, (1 << 18) - 1), "sinDecay": (-4096, 4096), "cosDecay": (-4096, 4096),
          "thDecay": (0, 4096), "refDecay": (0, 4096), "vThStep": (0, (1 << 18) - 1), "groups": (1, 1 << 20)}


class Reader:
    """One pass over a file. ``exact``: what would be a warning is an error."""

    def __init__(self, path: str | Path, exact: bool, max_bytes: int = MAX_BYTES) -> None:
        self.path, self.exact, self.max_bytes = Path(path), exact, max_bytes

    def fail(self, key: str, problem: str) -> NetFileError:
        return NetFileError(self.path, key, problem)

    def drop(self, key: str, problem: str) -> None:
        """Something of a foreign file is not used as it stands."""
        if self.exact:
            raise self.fail(key, f"{problem} (refused by exact=True)")
        warnings.warn(f"{self.path}: {key}: {problem}", NetFileWarning, stacklevel=6)

    def read(self) -> NetFile:
        if not self.path.is_file():
            raise self.fail("", "there is no such file")
        try:
            with h5py.File(self.path, "r") as file:
                return self._file(file)
        except NetFileError:
            raise
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, UnicodeError, MemoryError) as e:
            # h5py reports damage as any of these, depending on where it lies
            raise self.fail("", f"not a readable HDF5 file: {e}") from e

    def _file(self, file: h5py.File) -> NetFile:
        self.seen: set[int] = set()
        self.nodes = self.bytes = 0
        self._inspect(file, "", 0)
        found = provenance.examine(file, self.fail)
        if found.warning and self.exact:
            raise self.fail("layer", f"{found.warning} (refused by exact=True)")
        self.ours = found.ours
        self.exact |= found.ours
        group = file.get("layer")
        if not isinstance(group, h5py.Group) or len(group) == 0:
            raise self.fail("layer", "a group with one group a layer is expected")
        names = sorted(group, key=lambda n: int(n) if n.isdecimal() else -1)
        if names != [str(k) for k in range(len(names))]:
            raise self.fail("layer", f"groups 0..{len(names) - 1} are expected, found {sorted(group)[:8]}")
        layers = [self._layer(group[n], f"layer/{n}") for n in names]
        if found.warning:
            warnings.warn(f"{self.path}: layer: {found.warning}", NetFileWarning, stacklevel=4)
        return NetFile(self.path, layers, found.ours, found.signed)

    # -- safety ---------------------------------------------------------------------------------------------

    def _inspect(self, group: h5py.Group, path: str, depth: int) -> None:
        """Refuse all that is not a plain tree of plain data, before anything is read."""
        if depth > MAX_DEPTH:
            raise self.fail(path, f"groups are nested deeper than {MAX_DEPTH}")
        for name in group:
            key = f"{path}/{name}".lstrip("/")
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
                raise self.fail(key, f"is a {type(item).__name__}; groups and datasets are expected")

    def _inspect_data(self, data: h5py.Dataset, key: str) -> None:
        if data.is_virtual or data.external:
            raise self.fail(key, "its data lie outside the file")
        text = h5py.check_string_dtype(data.dtype)
        if text is None and data.dtype.kind not in "biuf":
            raise self.fail(key, f"dtype {data.dtype} is not allowed; numbers and strings are")
        if text is not None and data.size != 1:
            raise self.fail(key, f"one string is expected, found {data.size}")
        if data.shape is None:
            raise self.fail(key, "is empty")
        size = data.size * data.dtype.itemsize
        stored = data.id.get_storage_size()
        chunk = math.prod(data.chunks) * data.dtype.itemsize if data.chunks else 0
        if chunk > max(BOMB_BYTES, 2 * size):
            raise self.fail(key, f"a chunk of {chunk} bytes holds {size}")
        self.bytes += data.size * max(data.dtype.itemsize, 8)  # numbers are checked as eight bytes each
        if size > BOMB_BYTES and size > BOMB_RATIO * stored:
            raise self.fail(key, f"declares {size} bytes and stores {stored}")
        if self.bytes > self.max_bytes:
            raise self.fail(key, f"the file declares more than {self.max_bytes} bytes")

    # -- contents -------------------------------------------------------------------------------------------

    def _text(self, group: h5py.Group, name: str, path: str) -> str:
        item = group.get(name)
        if not isinstance(item, h5py.Dataset) or h5py.check_string_dtype(item.dtype) is None:
            raise self.fail(f"{path}/{name}", "a string is expected" if item is not None else "is missing")
        value = np.asarray(item[()]).reshape(-1)[0]
        return value.decode() if isinstance(value, bytes) else str(value)

    def _whole(self, item: Any, path: str, low: int = -(2**31), high: int = 2**31 - 1) -> np.ndarray:
        """A dataset of whole numbers as int32; a foreign file's fractions are cut off, as Lava did."""
        if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "biuf":
            raise self.fail(path, "numbers are expected" if item is not None else "is missing")
        value = np.asarray(item[()])
        if value.size == 0:
            raise self.fail(path, "holds no number")
        if not np.isfinite(value).all():
            raise self.fail(path, "holds NaN or infinite values")
        whole = np.trunc(value.astype(np.float64))
        if not np.array_equal(whole, value):
            self.drop(path, f"fractions are cut off ({value[whole != value].flat[0]})")
        if whole.min() < low or whole.max() > high:
            bad = whole.min() if whole.min() < low else whole.max()
            raise self.fail(path, f"{bad:g} is outside {low}..{high}")
        return whole.astype(np.int32)

    def _layer(self, group: Any, path: str) -> Layer:
        if not isinstance(group, h5py.Group):
            raise self.fail(path, "a group is expected")
        kind = self._text(group, "type", path)
        kind = "dense" if kind == "dense_comp" else kind
        if kind in UNSUPPORTED:
            raise self.fail(f"{path}/type", f"{kind!r} is known to lava-dl, but no process here computes it")
        if kind not in LAYER_KEYS:
            raise self.fail(f"{path}/type", f"unknown layer type {kind!r}; known are {sorted(LAYER_KEYS)}")
        shape = tuple(int(n) for n in self._whole(group.get("shape"), f"{path}/shape", 1).reshape(-1))
        if len(shape) not in (1, 3):
            raise self.fail(f"{path}/shape", f"(N,) or (C, H, W) is expected, found {shape}")
        if math.prod(shape) > MAX_ELEMENTS:
            raise self.fail(f"{path}/shape", f"{shape} are more than {MAX_ELEMENTS} neurons")
        layer = Layer(path, kind, shape)
        known = LAYER_KEYS[kind]
        for name in group:
            key, item = f"{path}/{name}", group[name]
            if name in ("type", "shape"):
                continue
            if name == "neuron":
                layer.neuron = self._neuron(item, key)
            elif name in known and name in COMPLEX and isinstance(item, h5py.Group) and kind != "input":
                for part in PARTS:
                    layer.arrays[f"{name}/{part}"] = self._whole(item.get(part), f"{key}/{part}")
            elif name in known:
                layer.arrays[name] = self._whole(item, key, *RANGES.get(name, ()))
            elif name not in TRAINING_ONLY:
                self.drop(key, "unknown key, not used")
        for name in sorted(NEEDED.get(kind, set())):
            if name not in layer.arrays and f"{name}/real" not in layer.arrays:
                raise self.fail(f"{path}/{name}", f"is missing in a {kind} layer")
        shift = group.attrs.get("delay_shift")
        layer.delay_shift = None if shift is None else bool(shift)
        given = group.attrs.get("input_shape")
        layer.input_shape = None if given is None else tuple(int(n) for n in np.atleast_1d(given))
        if layer.input_shape is not None and (len(layer.input_shape) not in (1, 3) or min(layer.input_shape) < 1
                                              or math.prod(layer.input_shape) > MAX_ELEMENTS):
            raise self.fail(f"{path}@input_shape", f"(N,) or (C, H, W) is expected, found {layer.input_shape}")
        return layer

    def _neuron(self, group: Any, path: str) -> dict[str, Any]:
        if not isinstance(group, h5py.Group):
            raise self.fail(path, "a group is expected")
        kind = self._text(group, "type", path)
        if kind not in NEURON_KEYS:
            raise self.fail(f"{path}/type", f"no process computes neuron type {kind!r}; known are {sorted(NEURON_KEYS)}")
        # Lava ran adaptive resonators of its files without their adaptation
        plain = kind.startswith("ADRF") and not self.ours
        known = _RF if plain else NEURON_KEYS[kind]
        out: dict[str, Any] = {"type": kind.removeprefix("AD") if plain else kind}
        for name in group:
            key = f"{path}/{name}"
            if name in known:
                out[name] = self._whole(group[name], key, *RANGES[name])
            elif name == "sigma_output":
                out[name] = True
            elif name == "activation":
                activation = self._text(group, name, path)
                if activation.lower() != "relu":
                    self.drop(key, f"activation {activation!r} runs as relu")
            elif name == "gradedSpike" and bool(np.any(group[name][()])):
                self.drop(key, "graded spikes run as binary spikes")
            elif name == "refDelay" and kind in ("CUBA", "LOIHI", "ALIF") and np.any(self._whole(group[name], key) > 1):
                self.drop(key, "refractory delays above 1 are not computed")
            elif name in ("weight_exp", "wgtExp") and np.any(self._whole(group[name], key)):
                self.drop(key, "the weight exponent is not applied")
            elif name not in TRAINING_ONLY and name not in NEURON_KEYS[kind] | {"type"}:
                self.drop(key, "unknown key, not used")
        missing = sorted(known - set(out))
        if missing:
            raise self.fail(f"{path}/{missing[0]}", f"is missing in a neuron of type {kind}")
        if plain:
            self.drop(f"{path}/type", f"{kind} runs as plain RF, without adaptation")
        return out


def read(path: str | Path, exact: bool = False) -> NetFile:
    """The contents of a .net file; NetFileError for anything that is not one."""
    return Reader(path, exact).read()
