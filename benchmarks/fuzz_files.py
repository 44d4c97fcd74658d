"""Damaged .net files: what loading them does.

    python -m benchmarks.fuzz_files [--count 10000] [--foreign 2000] [--edits 2000] [--nir 10000]
                                    [--seed 0]

Files of lavalike with damaged bytes, the same without lavalike's attributes (as lava-dl writes
them) with damaged bytes, the latter with wrong contents in sound HDF5, and the files of NIR's paper
(tests/data/nir) with damaged bytes. A worker process loads
them one by one; it is killed where a load takes longer than the deadline. Counted are loads that
give the same network, another one, a NetFileError (and how many name a key), another exception,
that end the process or do not end, and that take more memory than 64 MiB and three times what the
undamaged network's arrays take (Linux only).

A file of lava-dl, or of NIR, has no digest. Another network may come with a NetFileWarning that
names what was not used as it stands ("told"). Where a number became another that a layer may have,
nothing can tell ("other numbers": keys, kinds, sizes and texts are the original's, but for what a
layer may leave out or have one a channel). "different" is neither: a fault, as every other network
is from a file of lavalike.

Exit status 1 where there is a fault, or any load ends otherwise than by a network or a
LavalikeError.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lavalike.text import table

DEADLINE = 30.0  # seconds
SPARE = 64 << 20
ROOT = Path(__file__).resolve().parent.parent
SIGNS = (b"TREE", b"SNOD", b"HEAP", b"GCOL", b"\x89HDF")


# -- files -----------------------------------------------------------------------------------------


def originals(folder: Path) -> list[Path]:
    """Small files of lavalike with every kind of layer and neuron that exports."""
    import torch

    from lavalike import slayer

    torch.manual_seed(0)
    norm = slayer.neuron.norm.MeanOnlyBatchNorm
    lif = {"threshold": 0.5, "current_decay": 0.3, "voltage_decay": 0.1}
    alif = lif | {"threshold_step": 0.1, "threshold_decay": 0.2, "refractory_decay": 0.3}
    delta = {"threshold": 0.1}
    rf = {"threshold": 0.5, "period": 8, "decay": 0.1}
    block = slayer.block
    nets = {
        "dense": [
            block.cuba.Dense({**lif, "norm": norm}, 6, 5, delay=True),
            block.cuba.Dense(lif, 5, 3),
        ],
        "conv": [
            block.cuba.Input({**lif}),
            block.cuba.Conv(lif, 2, 4, 3, padding=1),
            block.cuba.Pool(lif, 2),
            block.cuba.Flatten(),
            block.cuba.Dense(lif, 4 * 3 * 3, 3),
        ],
        "recurrent": [block.cuba.Dense(lif, 6, 5), block.cuba.Recurrent(lif, 5, 4)],
        "delta": [
            block.sigma_delta.Input(delta),
            block.sigma_delta.Conv({**delta, "norm": norm}, 2, 3, 3),
            block.sigma_delta.Flatten(),
            block.sigma_delta.Output(delta, 3 * 4 * 4, 2),
        ],
        "alif": [block.alif.Dense(alif, 6, 5), block.alif.Dense(alif, 5, 3)],
        "rf": [block.rf.Dense(rf, 6, 5), block.rf.Dense(rf, 5, 3)],
    }
    shapes = {"conv": (2, 6, 6), "delta": (2, 6, 6)}
    return [
        slayer.export_hdf5(net, folder / f"{name}.net", shapes.get(name, (6,)))
        for name, net in nets.items()
    ]


def foreign(path: Path, folder: Path) -> Path:
    """A copy as lava-dl would have written it: no attributes."""
    out = folder / f"foreign_{path.name}"
    out.write_bytes(path.read_bytes())
    with h5py.File(out, "r+") as file:
        for item in (file, *file["layer"].values()):
            for key in list(item.attrs):
                del item.attrs[key]
    return out


# -- damage ----------------------------------------------------------------------------------------


def _place(data: bytearray, g: np.random.Generator) -> int:
    """Anywhere, or within a structure, or within what is not zero."""
    kind = g.integers(3)
    if kind == 0:
        return int(g.integers(len(data)))
    if kind == 1:
        sign = SIGNS[g.integers(len(SIGNS))]
        found = [k for k in range(len(data)) if data.startswith(sign, k)]
        return min(
            len(data) - 1, (found[g.integers(len(found))] if found else 0) + int(g.integers(128))
        )
    return int(g.choice(np.flatnonzero(np.frombuffer(bytes(data), np.uint8))))


def flip(data: bytearray, g: np.random.Generator) -> None:
    for _ in range(g.integers(1, 8)):
        data[_place(data, g)] ^= 1 << int(g.integers(8))


def overwrite(data: bytearray, g: np.random.Generator) -> None:
    for _ in range(g.integers(1, 20)):
        data[_place(data, g)] = int(g.integers(256))


def run(data: bytearray, g: np.random.Generator) -> None:
    at, n = _place(data, g), int(2 ** g.integers(1, 9))
    value = (0, 255, int(g.integers(256)))[g.integers(3)]
    data[at : at + n] = bytes([value]) * len(data[at : at + n])


def cut(data: bytearray, g: np.random.Generator) -> None:
    del data[int(g.integers(len(data))) :]


def shift(data: bytearray, g: np.random.Generator) -> None:
    at, n = _place(data, g), int(g.integers(1, 64))
    if g.integers(2):
        data[at:at] = bytes(n)
    else:
        del data[at : at + n]


def copy(data: bytearray, g: np.random.Generator) -> None:
    source, target, n = _place(data, g), _place(data, g), int(2 ** g.integers(2, 10))
    piece = data[source : source + n]
    data[target : target + len(piece)] = piece[: len(data) - target]


def number(data: bytearray, g: np.random.Generator) -> None:
    """A number becomes another that is likely to hurt."""
    width = int(g.choice((1, 2, 4, 8)))
    at = _place(data, g) // width * width
    old = int.from_bytes(data[at : at + width], "little")
    new = (
        0,
        1,
        old + 1,
        old - 1,
        old * 2,
        2 ** (8 * width) - 1,
        2 ** (8 * width - 1),
        int(g.integers(len(data))),
    )[g.integers(8)]
    data[at : at + width] = (new % 2 ** (8 * width)).to_bytes(width, "little")[
        : len(data[at : at + width])
    ]


def address(data: bytearray, g: np.random.Generator) -> None:
    """An address becomes that of something else: structures that contain themselves."""
    whole = np.frombuffer(bytes(data[: len(data) // 8 * 8]), "<u8")
    at = np.flatnonzero((whole > 0) & (whole < len(data)) & (whole % 8 == 0))
    signs = [k for k in range(0, len(data), 8) if data[k : k + 4] in SIGNS]
    if not at.size:
        return
    here = int(g.choice(at)) * 8
    new = int(whole[g.choice(at)]) if not signs or g.integers(2) else int(g.choice(signs))
    data[here : here + 8] = new.to_bytes(8, "little")


DAMAGE: dict[str, Callable[[bytearray, np.random.Generator], None]] = {
    f.__name__: f for f in (flip, overwrite, run, cut, shift, copy, number, address)
}


def damaged(paths: list[Path], target: Path, g: np.random.Generator) -> tuple[str, Path]:
    """Write a damaged copy of one of ``paths`` to ``target``: (kind of damage, the original)."""
    origin = paths[g.integers(len(paths))]
    old = origin.read_bytes()
    while True:
        data, name = bytearray(old), list(DAMAGE)[g.integers(len(DAMAGE))]
        DAMAGE[name](data, g)
        if bytes(data) != old:
            target.write_bytes(data)
            return name, origin


def _bomb(file: h5py.Group, key: str) -> None:
    file.create_dataset(
        key, shape=(4096, 4096), dtype="f4", chunks=(512, 512), compression="gzip", fillvalue=0
    )
    file[key][:, :1] = 1


def _edits(
    key: str, old: np.ndarray, g: np.random.Generator
) -> dict[str, Callable[[h5py.Group], None]]:
    """Wrong contents in sound HDF5."""

    def put(value: Any, **kwargs: Any) -> Callable[[h5py.Group], None]:
        return lambda file: file.create_dataset(key, data=value, **kwargs) and None

    wide = np.resize(old, (*old.shape, 2)) if old.dtype.kind in "biuf" else old
    return {
        "gone": lambda file: None,
        "text": put("x" * int(g.integers(200))),
        "bytes": put(np.array([b"\xff\xfe\x00abc"], "S6")),
        "nan": put(np.full(old.shape, np.nan)),
        "infinite": put(np.full(old.shape, np.inf)),
        "huge": put(np.full(old.shape, 2.0**40)),
        "negative": put(np.full(old.shape, -7)),
        "zero": put(np.zeros(old.shape)),
        "fraction": put(np.full(old.shape, 1.5)),
        "axes": put(wide),
        "transposed": put(old.T),
        "empty": lambda file: file.create_dataset(key, data=h5py.Empty("f4")) and None,
        "none": put(np.zeros((0,))),
        "complex": put(np.ones(old.shape, np.complex64)),
        "truth": put(np.ones(old.shape, bool)),
        "unsigned": put(np.full(old.shape, 2**64 - 1, np.uint64)),
        "group": lambda file: file.create_group(key) and None,
        "link": lambda file: file.__setitem__(key, h5py.SoftLink("/layer")),
        "bomb": lambda file: _bomb(file, key),
        "size": put(np.full(old.shape or (1,), int(2 ** g.integers(1, 40)))),
        "half": put(old.reshape(-1)[: max(1, old.size // 2)]),
        "other": put(np.full(old.shape, int(g.integers(1, 9)))),
        "unwritten": lambda file: file.create_dataset(key, (1 << 14, 1 << 14), "f4") and None,
    }


def edited(paths: list[Path], target: Path, g: np.random.Generator) -> tuple[str, Path]:
    """The same with one dataset replaced."""
    origin = paths[g.integers(len(paths))]
    target.write_bytes(origin.read_bytes())
    with h5py.File(target, "r+") as file:
        keys: list[str] = []
        file.visititems(
            lambda name, item: keys.append(name) if isinstance(item, h5py.Dataset) else None
        )
        key = keys[g.integers(len(keys))]
        edits = _edits(key, np.asarray(file[key][()]), g)
        name = list(edits)[g.integers(len(edits))]
        del file[key]
        edits[name](file)
    return name, origin


# -- loading ---------------------------------------------------------------------------------------


def fingerprint(net: Any) -> str:
    """A hash of all that a loaded network computes with."""
    h = hashlib.sha256(
        repr(
            (
                net.ours,
                net.inp.shape,
                net.out.shape,
                net.input_message_bits,
                net.output_message_bits,
            )
        ).encode()
    )
    for layer in net.layers:
        h.update(
            repr(
                (layer.kind, layer.inp.shape, layer.shape, layer.lag, layer.scale, layer.reads)
            ).encode()
        )
        for process in layer.procs:
            h.update(
                repr(
                    (
                        type(process).__name__,
                        getattr(process, "stride", 0),
                        getattr(process, "padding", 0),
                        getattr(process, "dilation", 0),
                        getattr(process, "groups", 0),
                    )
                ).encode()
            )
            for var in process.vars:
                h.update(
                    repr((var.name, var.shape, str(var.value.dtype))).encode()
                    + np.ascontiguousarray(var.value).tobytes()
                )
    return h.hexdigest()


def outline(path: str) -> str:
    """A hash of the keys of a file that loads, with kind and size (axes of one left out), and of
    its texts; as far as HDF5 can walk there.

    Left out are the keys that a layer of lava-dl need not have (bias, delay), and the sizes of its
    neuron's, one number or one a channel.
    """
    found: list[tuple[Any, ...]] = []

    def visit(group: h5py.Group) -> None:
        try:
            for name, item in group.items():
                key = f"{group.name}/{name}"
                if isinstance(item, h5py.Group):
                    visit(item)
                elif isinstance(item, h5py.Dataset) and name not in ("bias", "delay"):
                    sizes = [n for n in item.shape or () if n != 1 and "/neuron/" not in key]
                    found.append(
                        (key, "number", sizes)
                        if item.dtype.kind in "iuf"
                        else (key, str(np.asarray(item[()]).tolist()))
                    )
        except (RuntimeError, OSError, KeyError):  # what a load need not read may be damaged
            found.append((group.name, "damaged"))

    with h5py.File(path) as file:
        visit(file)
    return hashlib.sha256(repr(sorted(found, key=repr)).encode()).hexdigest()


def held(net: Any) -> int:
    """Bytes of the arrays of a network."""
    return sum(
        var.value.nbytes for layer in net.layers for process in layer.procs for var in process.vars
    )


class Peak:
    """Bytes that the process takes more, at most, since the start; 0 where the system does not
    say."""

    def __init__(self) -> None:
        self.before = self._read("VmRSS")
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            self.before = 0

    def _read(self, name: str) -> int:
        try:
            lines = Path("/proc/self/status").read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)

    def added(self) -> int:
        return max(0, self._read("VmHWM") - self.before) if self.before else 0


def read_nir(path: str) -> dict[str, Any]:
    """What came of the graph of a file: a hash of it, and one of all but its numbers and which of
    its nodes an edge joins."""
    from netx.nir import read

    graph = read(path).flat()
    nodes = {
        n: (x.type, {k: np.asarray(v) for k, v in x.params.items()}) for n, x in graph.nodes.items()
    }  # type: ignore[union-attr]  # a flat graph has no graphs
    whole = repr(
        [
            (n, t, [(k, v.dtype, v.shape, v.tobytes()) for k, v in p.items()])
            for n, (t, p) in nodes.items()
        ]
    )
    shape = repr(
        sorted(
            (t, [(k, v.shape) for k, v in p.items() if k != "padding"]) for t, p in nodes.values()
        )
    )
    return {
        "text": hashlib.sha256((whole + repr(graph.edges)).encode()).hexdigest(),
        "outline": hashlib.sha256(f"{shape} {len(graph.edges)}".encode()).hexdigest(),
        "held": sum(v.nbytes for _, p in nodes.values() for v in p.values()),
        "ours": False,
    }


def read_net(path: str) -> dict[str, Any]:
    """What came of the network of a file."""
    import netx

    net = netx.Network(path)
    return {
        "text": fingerprint(net),
        "held": held(net),
        "ours": net.ours,
        "outline": outline(path),
    }


def load(path: str) -> dict[str, Any]:
    """How loading ``path`` ends."""
    import lavalike as lv
    import netx

    peak, began = Peak(), time.perf_counter()
    out: dict[str, Any] = {"key": "", "text": "", "held": 0}
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", netx.NetFileWarning)
            found = (read_nir if path.endswith(".nir") else read_net)(path)
        told = [str(w.message) for w in said if issubclass(w.category, netx.NetFileWarning)]
        out |= {"end": "loads", "told": told, **found}
    except lv.NetFileError as e:
        out |= {"end": "NetFileError", "key": e.key, "text": str(e)}
    except lv.LavalikeError as e:
        out |= {"end": "LavalikeError", "text": f"{type(e).__name__}: {e}"}
    except Exception as e:
        out |= {"end": "untyped", "text": f"{type(e).__name__}: {e}"}
    return out | {"peak": peak.added(), "seconds": time.perf_counter() - began}


def work() -> None:
    """Load what is named on the standard input, a line each."""
    for line in sys.stdin:
        print(json.dumps(load(line.rstrip("\n"))), flush=True)


class Worker:
    """A process that loads; a new one after it died or was killed."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def load(self, path: Path) -> dict[str, Any]:
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.fuzz_files", "--worker"],
                cwd=ROOT,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self.answers: queue.Queue[str] = queue.Queue()
            threading.Thread(
                target=self._listen, args=(self.process, self.answers), daemon=True
            ).start()
        assert self.process.stdin is not None
        try:
            print(path, file=self.process.stdin, flush=True)
            answer = self.answers.get(timeout=DEADLINE)
        except (queue.Empty, OSError) as e:
            self.close()
            return {"end": "hangs" if isinstance(e, queue.Empty) else "dies"}
        if not answer:
            code = self.process.wait()
            self.close()
            return {"end": "dies", "text": f"exit status {code}"}
        return json.loads(answer)

    @staticmethod
    def _listen(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            answers.put(line)
        answers.put("")

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    pipe.close()
        self.process = None


# -- counts ----------------------------------------------------------------------------------------


@dataclass
class Counts:
    """How loads ended, by the kind of damage; ``bad`` holds what must not be."""

    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    keys: int = 0
    peak: int = 0
    slowest: float = 0.0
    bad: list[str] = field(default_factory=list)

    def total(self, end: str) -> int:
        return sum(n for (_, e), n in self.ends.items() if e == end)


def fuzz(
    make: Callable[[list[Path], Path, np.random.Generator], tuple[str, Path]],
    paths: list[Path],
    count: int,
    seed: int,
    folder: Path,
    worker: Worker,
) -> Counts:
    """Load ``count`` files that ``make`` damages."""
    out = Counts()
    whole = {p: worker.load(p) for p in paths}
    for p, first in whole.items():
        if first["end"] != "loads":
            raise SystemExit(f"{p.name} does not load undamaged: {first.get('text')}")
    for k in range(count):
        target = folder / f"damaged{paths[0].suffix}"
        kind, origin = make(paths, target, np.random.default_rng((seed, k)))
        got = worker.load(target)
        end = got["end"]
        if end == "loads":
            end = "same" if got["text"] == whole[origin]["text"] else "different"
            if end == "different" and whole[origin]["ours"]:
                end = end if got["ours"] else "no longer ours"
            elif end == "different":
                told = set(got["told"]) - {
                    text.replace(str(origin), str(target)) for text in whole[origin]["told"]
                }
                end = (
                    "told"
                    if told
                    else "other numbers"
                    if got["outline"] == whole[origin]["outline"]
                    else end
                )
        out.ends[kind, end] += 1
        out.keys += end == "NetFileError" and bool(got["key"])
        out.peak, out.slowest = (
            max(out.peak, got.get("peak", 0)),
            max(out.slowest, got.get("seconds", 0.0)),
        )
        above = got.get("peak", 0) > SPARE + 3 * max(got.get("held", 0), whole[origin]["held"])
        if above:
            out.ends[kind, "above memory"] += 1
        if above or end in ("different", "no longer ours", "untyped", "hangs", "dies"):
            out.bad.append(
                f"seed {seed}, file {k} ({kind} of {origin.name}): {end}{', above memory' if above else ''}: "
                f"{got.get('text', '')[:160]}"
            )
    return out


ENDS = (
    "same",
    "other numbers",
    "told",
    "different",
    "no longer ours",
    "NetFileError",
    "LavalikeError",
    "untyped",
    "hangs",
    "dies",
    "above memory",
)


def report(title: str, counts: Counts) -> None:
    kinds = sorted({kind for kind, _ in counts.ends})
    rows = [[kind, *(str(counts.ends[kind, e]) for e in ENDS)] for kind in kinds]
    rows.append(["all", *(str(counts.total(e)) for e in ENDS)])
    errors = counts.total("NetFileError")
    print(f"{title}\n{table(['damage', *ENDS], rows)}")
    print(
        f"{counts.keys} of {errors} NetFileErrors name a key; most memory {counts.peak / 2**20:.1f} MiB, slowest {counts.slowest:.2f} s"
    )
    for line in counts.bad[:20]:
        print(line)
    print(flush=True)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=10_000, help="damaged files of lavalike")
    parser.add_argument(
        "--foreign", type=int, default=2_000, help="damaged files of lava-dl's form"
    )
    parser.add_argument(
        "--edits", type=int, default=2_000, help="files of lava-dl's form with wrong contents"
    )
    parser.add_argument("--nir", type=int, default=10_000, help="damaged files of NIR's paper")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        work()
        return
    bad = 0
    for title, counts in campaigns(args.count, args.foreign, args.edits, args.seed, args.nir):
        report(title, counts)
        bad += len(counts.bad)
    if bad:
        raise SystemExit(1)


def campaigns(
    count: int, others: int, edits: int, seed: int, nir: int = 0
) -> Iterator[tuple[str, Counts]]:
    """The kinds of files, one after the other, with what came of each."""
    worker = Worker()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            ours = originals(folder)
            theirs = [foreign(p, folder) for p in ours]
            plain = [p for p in theirs if p.name != "foreign_alif.net"]
            yield (
                f"{count} damaged files of lavalike",
                fuzz(damaged, ours, count, seed, folder, worker),
            )
            yield (
                f"{others} damaged files of lava-dl's form",
                fuzz(damaged, plain, others, seed, folder, worker),
            )
            yield (
                f"{edits} files of lava-dl's form with wrong contents",
                fuzz(edited, plain, edits, seed, folder, worker),
            )
            if nir:
                paper = sorted((ROOT / "tests" / "data" / "nir").glob("*.nir"))
                yield (
                    f"{nir} damaged files of NIR's paper",
                    fuzz(damaged, paper, nir, seed, folder, worker),
                )
    finally:
        worker.close()


if __name__ == "__main__":
    main()
