"""Lava beside lavalike: the same programs, unmodified, in turns in one run.

    python -m benchmarks.beside_lava [--python PYTHON] [--rounds 3] [--timeout 120] [--only NAME
    ...]

``benchmarks/lava_programs.py`` says ``from lava...``; lavalike runs it through ``lavalike.compat``.
``--python`` is a Python 3.10, which Lava needs: one that has lava-nc, or another, of which an
environment is made and thrown away (a download, some 300 MB). Without it one is looked for, and
where none is found lavalike runs alone. Each of both is a process of its own on one thread; the
fastest of the rounds counts. Lava hangs in places, hence the timeout. The sums of states must
agree.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lavalike.text import table

PROGRAMS = Path(__file__).with_name("lava_programs.py")
CASES = {  # what is run: its name, its size, steps, steps of lavalike
    "LIF and Dense of 100, recurrent": ("recurrent", 100, 300, 20_000),
    "LIF and Dense of 1,000, recurrent": ("recurrent", 1000, 200, 2_000),
    "LIF and Dense of 4,000, recurrent": ("recurrent", 4000, 50, 200),
    "10 processes, LIF and Dense in turn": ("layers", 5, 200, 20_000),
    "10 models in Python": ("hops", 8, 200, 5_000),
    "5 processes in a loop, one in Python": ("loop", 2, 200, 5_000),
    "101 processes in a loop, one in Python": ("loop", 50, 20, 2_000),
    "STDP, 100 x 100 synapses": ("stdp", 100, 50, 2_000),
    "STDP, 1,000 x 1,000 synapses": ("stdp", 1000, 20, 200),
}


def with_lava(python: str | None, folder: Path) -> str | None:
    """A Python that has Lava: ``python``, or an environment of it made in ``folder``; None where
    there is no Python 3.10."""
    python = python or shutil.which("python3.10")
    if python is None:
        return None
    if subprocess.run([python, "-c", "import lava.magma"], capture_output=True).returncode == 0:
        return python
    made = subprocess.run([python, "-m", "venv", str(folder)], capture_output=True, text=True)
    inner = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if made.returncode == 0:
        install = [str(inner), "-m", "pip", "install", "-q", "lava-nc==0.10.0"]
        made = subprocess.run(install, capture_output=True, text=True)
    if made.returncode:
        raise SystemExit(
            f"{python}: no environment with lava-nc 0.10.0: {made.stderr.strip()[-400:]}"
        )
    return str(inner)


def measured(command: Sequence[str], timeout: float) -> tuple[float, float] | str:
    """Microseconds a step and the sum of states, or why there are none."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        # files, not pipes: children that Lava leaves behind would keep a pipe open
        running = subprocess.Popen(
            command, stdout=out, stderr=errors, env=env, start_new_session=True
        )
        try:
            code = running.wait(timeout)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(running)
        if code is None:
            return f"no end in {timeout:.0f} s"
        out.seek(0)
        words = out.read().split()
        if code == 0 and len(words) >= 2:
            return float(words[-2]), float(words[-1])
        errors.seek(0)
        return (errors.read().strip().splitlines() or ["no output"])[-1][:60]


def _end(running: subprocess.Popen[bytes]) -> None:
    """End the process and those that it started."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    running.kill()
    running.wait()


def row(case: str, lava: str | None, rounds: int, timeout: float) -> list[str]:
    name, size, steps, more = CASES[case]
    commands = {
        "lavalike": [
            sys.executable,
            "-m",
            "lavalike.compat",
            str(PROGRAMS),
            name,
            str(size),
            str(more),
        ]
    }
    if lava is not None:
        commands["Lava"] = [lava, str(PROGRAMS), name, str(size), str(steps)]
    best: dict[str, tuple[float, float]] = {}
    failed: dict[str, str] = {}
    for _ in range(rounds):
        for who, command in commands.items():
            if who in failed:
                continue
            result = measured(command, timeout)
            if isinstance(result, str):
                failed[who] = result
            else:
                best[who] = min(best.get(who, result), result)
    shown = [
        f"{best[w][0]:,.2f}" if w in best and w not in failed else failed.get(w, "-")
        for w in ("Lava", "lavalike")
    ]
    if failed or len(best) < 2:
        return [case, *shown, "-", "-"]
    there, here = best["Lava"], best["lavalike"]
    same = abs(there[1] - here[1]) <= 1e-6 * max(1.0, abs(there[1]))
    return [
        case,
        *shown,
        f"{there[0] / here[0]:,.0f}",
        "yes" if same else f"{there[1]:.6g} and {here[1]:.6g}",
    ]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", help="a Python 3.10, with lava-nc or without")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for one program")
    parser.add_argument("--only", nargs="*", help="cases whose name contains one of these")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        lava = with_lava(args.python, Path(folder))
        if lava is None:
            print("no Python 3.10 is found for Lava: lavalike alone")
        cases = [c for c in CASES if not args.only or any(word in c for word in args.only)]
        rows = [row(case, lava, args.rounds, args.timeout) for case in cases]
    print(table(["program", "Lava us a step", "lavalike us", "times faster", "same states"], rows))


if __name__ == "__main__":
    main()
