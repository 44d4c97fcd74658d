"""The command ``lavalike``."""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from lavalike.errors import InputError, LavalikeError

EXTRAS = ("torch", "matplotlib", "tqdm")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lavalike", description="Neuromorphic networks as processes with swappable models."
    )
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
    demo.add_argument("--seed", type=int, default=0)
    demo.add_argument(
        "--bss2",
        action="store_true",
        help="also on an emulated BrainScaleS-2 chip, before and after training in the loop",
    )
    run = commands.add_parser(
        "run",
        help="run a .net file on an array of messages, or program.py with its arguments, over MPI's ranks where mpirun starts it",
    )
    run.add_argument("file", type=Path)
    run.add_argument(
        "--input",
        type=Path,
        required=True,
        help="npy: messages (*shape, time) or (batch, *shape, time)",
    )
    run.add_argument(
        "--output", type=Path, required=True, help="npy: what the last layer sends, the same layout"
    )
    run.add_argument("--backend", default="numba")
    run.add_argument("--precision", default="fixed_pt", choices=["fixed_pt", "floating_pt"])
    run.add_argument(
        "--values",
        action="store_true",
        help="input and output are the trained network's values, not integer messages",
    )
    run.add_argument("--steps", type=int, help="default: the length of the input")
    info = commands.add_parser("info", help="what a .net file holds")
    info.add_argument("file", type=Path)
    info.add_argument(
        "--exact", action="store_true", help="refuse what Lava's loader dropped or clipped"
    )
    sign = commands.add_parser(
        "sign", help="copy a .net file with a digest of all it holds, so that later damage is told"
    )
    sign.add_argument("file", type=Path)
    sign.add_argument("target", type=Path)
    for sub in (run, info):
        sub.add_argument(
            "--input-shape",
            type=int,
            nargs=3,
            metavar=("X", "Y", "C"),
            help="where the file has no input layer",
        )
    commands.add_parser("doctor", help="versions, backends, devices")
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
        import netx

        print(netx.hdf5.Network(args.file, input_shape=args.input_shape, exact=args.exact))
    elif args.command == "sign":
        import netx

        signed = netx.sign(args.file, args.target)
        print(
            f"{args.target}: {len(signed.layers)} layers, signed; they mean what {'slayer trained' if signed.ours else 'lava-dl read'}"
        )
    elif args.command == "doctor":
        from lavalike.doctor import report

        print(report())
    else:
        from lavalike.doctor import warm

        print(f"{warm(progress=sys.stderr.isatty())} kernels are compiled and cached")
    return 0


def _simulate(args: argparse.Namespace) -> int:
    import numpy as np

    import lavalike as lv
    import netx
    from lavalike.atomic import write_atomically

    _check_output(args.output, args.file, args.input)
    try:
        x = np.load(args.input, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as e:
        raise InputError(f"{args.input}: not an npy file: {e}") from e
    if not isinstance(x, np.ndarray):
        raise InputError(f"{args.input}: one array in an npy file is expected, not an npz")
    net = netx.hdf5.Network(args.file, input_shape=args.input_shape)
    config = lv.RunConfig(backend=args.backend, precision=args.precision)
    rec = lv.simulate(net, {"inp": net.encode(x) if args.values else x}, args.steps, config)
    y = net.decode(rec["out"]) if args.values else rec["out"]
    try:
        write_atomically(args.output, lambda file: np.save(file, y))
    except OSError as e:
        raise InputError(f"{args.output}: cannot be written: {e}") from e
    print(
        f"{args.output}: {y.shape} {y.dtype}"
        + (f", column t is the trained network's t - {net.lag}" if net.ours and net.lag else "")
    )
    return 0


def _check_output(output: Path, *inputs: Path) -> None:
    """InputError, before anything is computed, for a place that cannot be written, or that holds
    what is read."""
    if not output.parent.is_dir() or output.is_dir():
        raise InputError(
            f"--output {output}: cannot be written: {output.parent if not output.is_dir() else output} is "
            f"{'a' if output.is_dir() else 'no'} folder"
        )
    for path in inputs:
        if output.exists() and path.exists() and output.samefile(path):
            raise InputError(f"--output {output} is what is read, {path}; name another file")
