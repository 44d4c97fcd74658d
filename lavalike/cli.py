"""The command ``lavalike``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import lavalike
from lavalike.arguments import did_you_mean
from lavalike.commands.new import KINDS, new
from lavalike.errors import InputError, LavalikeError

PICTURES = ("raster", "traces", "activity", "weights", "connectivity")
EXTRAS = ("torch", "matplotlib")


class _Parser(argparse.ArgumentParser):
    """Whose errors are one line, with the nearest of what there is."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}{self._near(message)}; see {self.prog} --help\n")

    def _near(self, message: str) -> str:
        if "invalid choice" in message:
            known = [str(c) for a in self._actions for c in a.choices or ()]
            return did_you_mean(message.split("'")[1], known)
        if not message.startswith("unrecognized arguments"):
            return ""
        below = (a for a in self._actions if isinstance(a, argparse._SubParsersAction))
        every = [self, *(parser for a in below for parser in a.choices.values())]
        options = [o for parser in every for a in parser._actions for o in a.option_strings]
        return next((near for w in message.split() if (near := did_you_mean(w, options))), "")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="lavalike", description="Neuromorphic networks as processes with swappable models."
    )
    parser.add_argument("--version", action="version", version=f"lavalike {lavalike.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo", help="train, export, load, run and swap: a table and a picture, in about a minute"
    )
    demo.add_argument(
        "--data", type=Path, help="an MNIST npz file instead of the built-in Yin-Yang data"
    )
    demo.add_argument("--epochs", type=int, help="train for so many instead of the default")
    demo.add_argument(
        "--out",
        type=Path,
        default=Path(),
        help="folder for the files and the picture (default: here)",
    )
    demo.add_argument(
        "--seed", type=int, default=0, help="of the data, the weights and the chip (default: 0)"
    )
    demo.add_argument(
        "--bss2",
        action="store_true",
        help="also on an emulated BrainScaleS-2 chip, before and after training in the loop",
    )
    run = commands.add_parser(
        "run",
        help="run a .net or .nir file on an array of messages, or program.py with its arguments, over MPI's ranks where "
        "mpirun starts it",
    )
    run.add_argument("file", type=Path, help="a .net or .nir file, or a program.py")
    run.add_argument(
        "--input",
        type=Path,
        required=True,
        help="npy: messages (*shape, time) or (batch, *shape, time)",
    )
    run.add_argument(
        "--output", type=Path, required=True, help="npy: what the last layer sends, the same layout"
    )
    run.add_argument(
        "--backend", default="numba", help="numba, torch, bss2 or another's (default: numba)"
    )
    run.add_argument(
        "--precision",
        choices=["fixed_pt", "floating_pt"],
        help="Loihi's integers, or floating point (default: fixed_pt, of a .nir file floating_pt)",
    )
    run.add_argument(
        "--values",
        action="store_true",
        help="input and output are the trained network's values, not integer messages",
    )
    run.add_argument("--steps", type=int, help="default: the length of the input")
    info = commands.add_parser("info", help="what a .net or .nir file holds")
    info.add_argument("file", type=Path, help="a .net or .nir file")
    info.add_argument(
        "--exact", action="store_true", help="refuse what Lava's loader dropped or clipped"
    )
    sign = commands.add_parser(
        "sign", help="copy a .net file with a digest of all it holds, so that later damage is told"
    )
    sign.add_argument("file", type=Path, help="a .net file")
    sign.add_argument("target", type=Path, help="the copy, which must not be there yet")
    compare = commands.add_parser(
        "compare", help="where a trained network and its file first differ, or two files"
    )
    compare.add_argument(
        "first", help="program.py:NAME or package.module:NAME of a trained network, or a .net file"
    )
    compare.add_argument("file", type=Path, help="a .net file")
    compare.add_argument(
        "--input",
        type=Path,
        help="npy: what the trained network takes, (batch, *shape, time) (default: random)",
    )
    check = commands.add_parser(
        "check", help="a file, a process or a model against every rule that it must keep"
    )
    check.add_argument(
        "target",
        help="a .net file, or program.py:NAME of a process or of a function that makes one",
    )
    check.add_argument("--model", metavar="NAME", help="check this ProcessModel of program.py")
    check.add_argument(
        "--backend",
        nargs="+",
        default=["numba", "torch"],
        help="by which the graph is run (default: numba torch)",
    )
    start = commands.add_parser("new", help="a project to begin from, with a test that passes")
    start.add_argument("folder", type=Path, help="which is made; its name is the package's")
    start.add_argument(
        "--template",
        choices=list(KINDS),
        default="process",
        help="; ".join(f"{name}: {what}" for name, what in KINDS.items()) + " (default: process)",
    )
    draw = commands.add_parser("plot", help="spikes, values, events or weights as a picture")
    draw.add_argument(
        "file",
        type=Path,
        help="npy: (*shape, time); h5: a saved Recording; aedat, bin, csv or the like: events; .net, .nir: a network",
    )
    draw.add_argument(
        "--out",
        type=Path,
        required=True,
        help="the picture: .png, .svg or .pdf, as its suffix says",
    )
    draw.add_argument(
        "--kind",
        choices=PICTURES,
        help="default: raster of spikes and events, traces of other values, weights of a network",
    )
    draw.add_argument(
        "--of",
        help="what of a Recording, or which connection of a network (default: all, the only)",
    )
    draw.add_argument(
        "--sample",
        type=int,
        help="which of a batch: of a Recording (default: 0), or of an array (batch, *shape, time) (default: it has no batch)",
    )
    draw.add_argument(
        "--order",
        help="the columns of a file of events that does not name them, as txyp (default: its names)",
    )
    draw.add_argument(
        "--unit",
        type=float,
        help="seconds of a 1 in the times of events, as 1e-3 (default: as the file says, else 1e-6)",
    )
    page = commands.add_parser(
        "report", help="a network and a run of it as one HTML page: layers, graph, activity, energy"
    )
    page.add_argument("file", type=Path, help="a .net or .nir file")
    page.add_argument(
        "--input",
        type=Path,
        required=True,
        help="npy: messages (*shape, time) or (batch, *shape, time)",
    )
    page.add_argument("--out", type=Path, help="default: the file's name with .html, here")
    page.add_argument(
        "--values",
        action="store_true",
        help="the input is the trained network's values, not integer messages",
    )
    page.add_argument("--steps", type=int, help="default: the length of the input")
    for sub in (run, info, draw, page):
        sub.add_argument(
            "--input-shape",
            type=int,
            nargs=3,
            metavar=("X", "Y", "C"),
            help="where the file has no input layer",
        )
        sub.add_argument(
            "--dt", type=float, help="seconds a step of a .nir file, which does not say it: 1e-4"
        )
        sub.add_argument(
            "--convention",
            help="how a .nir file is computed in steps: nir (default), norse, norse-exported, snntorch, sinabs, spikingjelly",
        )
    doctor = commands.add_parser("doctor", help="versions, backends, devices, the kernel cache")
    doctor.add_argument(
        "--report",
        action="store_true",
        help="as a block to paste into a report of a bug, with what it is asked about",
    )
    commands.add_parser("warm", help="compile all kernels of the library into the cache now")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status. Errors of the user's making are one line on stderr and
    status 2, Ctrl-C is 130."""
    given = [*(sys.argv[1:] if argv is None else argv)]
    if given[:1] == ["run"] and given[1:2] and given[1].endswith(".py"):
        from lavalike import mpi

        return mpi.main(given[1:])
    args = _parser().parse_args(given)
    try:
        return _run(args)
    except LavalikeError as e:
        print(f"lavalike: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # who read what is printed has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ModuleNotFoundError as e:
        if e.name not in EXTRAS:
            raise
        print(
            f"lavalike: {args.command} needs {e.name}: pip install 'lavalike[all]'", file=sys.stderr
        )
        return 2


def _run(args: argparse.Namespace) -> int:
    if args.command == "demo":
        from lavalike.demo.run import demo

        if args.epochs is not None and args.epochs < 1:
            raise InputError(f"--epochs is >= 1, got {args.epochs}")
        if not 0 <= args.seed < 2**32:
            raise InputError(f"--seed is in 0..{2**32 - 1}, got {args.seed}")
        try:
            args.out.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise InputError(f"--out {args.out}: no folder, and cannot be made one: {e}") from e
        demo(args.data, args.out, args.epochs, args.seed, args.bss2)
    elif args.command == "run":
        from lavalike import mpi

        return mpi.over_ranks(lambda: _simulate(args), "")
    elif args.command == "info":
        print(_network(args))
        if _is_nir(args.file):
            from netx.nir import explain

            print(f"\n{explain(args.file, args.dt, args.convention or 'nir')}")
    elif args.command == "sign":
        import netx

        signed = netx.sign(args.file, args.target)
        print(
            f"{args.target}: {len(signed.layers)} layers, signed; they mean what {'slayer trained' if signed.ours else 'lava-dl read'}"
        )
    elif args.command == "doctor":
        from lavalike import doctor

        print(doctor.bug_report() if args.report else doctor.report())
    elif args.command == "new":
        written = new(args.folder, args.template)
        print("\n".join(map(str, written)))
        print(f"next: cd {args.folder} && python -m pip install -e '.[test]' && python -m pytest")
    elif args.command == "plot":
        from lavalike.commands.picture import picture

        if args.sample is not None and args.sample < 0:
            raise InputError(f"--sample is >= 0, got {args.sample}")
        _check_output(args.out, args.file, option="--out")
        network = None
        if args.file.suffix.lower() in (".net", ".nir"):
            network, args.dt = _network(args), None
        else:
            _refuse(args, ("input_shape", "convention"), "no network")
        given = (args.kind, args.of, args.sample, args.dt, args.order, args.unit)
        picture(args.file, args.out, network, *given)
        print(args.out)
    elif args.command == "report":
        from lavalike.report import report

        _check_options(args)
        out = args.out or Path(f"{args.file.stem}.html")
        _check_output(out, args.file, args.input, option="--out")
        options = {n: getattr(args, n) for n in ("values", "steps", "input_shape", "dt")}
        print(report(args.file, args.input, out, convention=args.convention, **options))
    elif args.command in ("compare", "check"):
        text, fine = _looked(args)
        print(text)
        return 0 if fine else 1
    else:
        from lavalike.doctor import warm

        print(f"{warm(progress=sys.stderr.isatty())} kernels are compiled and cached")
    return 0


def _looked(args: argparse.Namespace) -> tuple[str, bool]:
    if args.command == "compare":
        from lavalike.commands.compare import compare

        return compare(args.first, args.file, args.input, progress=sys.stderr.isatty())
    from lavalike.commands.check import check

    return check(args.target, args.backend, args.model)


def _is_nir(path: Path) -> bool:
    return path.suffix.lower() == ".nir"


def _check_options(args: argparse.Namespace) -> None:
    """InputError for options that the network's kind of file has no use for."""
    if _is_nir(args.file):
        _refuse(args, ("input_shape", "exact", "values"), "a .nir file")
    else:
        _refuse(args, ("dt", "convention"), "a .net file")


def _refuse(args: argparse.Namespace, names: Sequence[str], kind: str) -> None:
    for name in names:
        given = getattr(args, name, None)
        if given is not None and given is not False:
            raise InputError(
                f"--{name.replace('_', '-')}: {args.file} is {kind}, which has no use for it; leave it out"
            )


def _network(args: argparse.Namespace) -> Any:
    """The network of the file; InputError for options that its kind of file has no use for."""
    _check_options(args)
    if _is_nir(args.file):
        from netx.nir import from_nir

        return from_nir(args.file, args.dt, args.convention or "nir")
    import netx

    return netx.hdf5.Network(
        args.file, input_shape=args.input_shape, exact=getattr(args, "exact", False)
    )


def _simulate(args: argparse.Namespace) -> int:
    import numpy as np

    import lavalike as lv
    from lavalike import npy
    from lavalike.atomic import write_atomically

    _check_output(args.output, args.file, args.input)
    x = npy.read(args.input)
    net = _network(args)
    nir = _is_nir(args.file)
    for ports, kind in ((net.in_ports, "Input"), (net.out_ports, "Output")):
        if len(ports) != 1:
            raise InputError(
                f"{args.file}: {len(ports)} {kind} nodes; run takes a file with one. lavalike.simulate feeds several by name"
            )
    precision: Any = args.precision or ("floating_pt" if nir else "fixed_pt")
    config = lv.RunConfig(backend=args.backend, precision=precision)
    rec = lv.simulate(net, {"inp": net.encode(x) if args.values else x}, args.steps, config)
    y = net.decode(rec["out"]) if args.values else rec["out"]
    try:
        write_atomically(args.output, lambda file: np.save(file, y))
    except OSError as e:
        raise InputError(f"{args.output}: cannot be written: {e}") from e
    print(
        f"{args.output}: {y.shape} {y.dtype}"
        + (f", column t is the trained network's t - {net.lag}" if net.lag and net.ours else "")
    )
    return 0


def _check_output(output: Path, *inputs: Path, option: str = "--output") -> None:
    """InputError, before anything is computed, for a place that cannot be written, or that holds
    what is read."""
    if not output.parent.is_dir() or output.is_dir():
        raise InputError(
            f"{option} {output}: cannot be written: {output.parent if not output.is_dir() else output} is "
            f"{'a' if output.is_dir() else 'no'} folder"
        )
    for path in inputs:
        if output.exists() and path.exists() and output.samefile(path):
            raise InputError(f"{option} {output} is what is read, {path}; name another file")
