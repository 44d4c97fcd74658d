"""A program over MPI ranks: ``mpirun -n 4 python -m lavalike.mpi program.py [arguments]``.

Rank 0 runs the program, as ``python program.py`` would; what it compiles is cut over all ranks, as
by ``RunConfig(workers=)``, which is their number unless it is given, bit for bit what one process
computes. ``mpirun -n 4 lavalike run program.py`` is the same. It needs mpi4py (``pip install
'lavalike[mpi]'``) and an MPI. A rank that dies ends all of them.
"""

from __future__ import annotations

import os
import platform
import runpy
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from lavalike.errors import InputError, LavalikeError, WorkerError

# what launchers tell their processes: Open MPI, MPICH and Intel MPI, Slurm's
SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_NUM_TASKS")
READ = 0.5  # seconds for a launcher to read what ranks printed, which ends all at once on an abort


def launched() -> int:
    """How many ranks the launcher that started this process says there are; 1 where none did."""
    return next((int(os.environ[n]) for n in SIZES if os.environ.get(n, "").isdigit()), 1)


def over_ranks(program: Callable[[], int], file: str) -> int:
    """Call ``program``, of the file ``file``, over MPI's ranks where there are several; the status
    to exit with.

    InputError where mpi4py is missing.
    """
    if launched() == 1:
        return program()
    try:
        from mpi4py import MPI
    except ImportError as e:
        raise InputError(
            f"{launched()} MPI ranks were started, and mpi4py is not there ({e}): pip install 'lavalike[mpi]', and an MPI of the "
            "launcher's kind"
        ) from e
    from lavalike.runtime import mpi

    def told() -> int:
        try:
            return program()
        except BaseException as e:
            return _told(e)

    try:
        check_versions(MPI.COMM_WORLD)
        return mpi.run(told, file)
    except BaseException as e:  # others wait for this rank, or it for them: all end
        status = _told(e) or 1
    sys.stdout.flush()
    time.sleep(READ)
    MPI.COMM_WORLD.Abort(status)
    os._exit(status)  # where that takes a while


def check_versions(comm: Any) -> None:
    """WorkerError where ranks run other versions than rank 0."""
    import numba
    import numpy as np

    from lavalike import __version__

    mine = (__version__, platform.python_version(), np.__version__, numba.__version__)
    everyone = comm.allgather(mine)
    for rank, theirs in enumerate(everyone):
        if theirs != everyone[0]:
            names = ("lavalike", "Python", "NumPy", "Numba")
            name, a, b = next(
                x for x in zip(names, everyone[0], theirs, strict=True) if x[1] != x[2]
            )
            raise WorkerError(
                f"MPI: {name} is {a} on rank 0 and {b} on rank {rank}; install the same everywhere"
            )


def _told(error: BaseException) -> int:
    """Print ``error`` as an interpreter would; the status to exit with."""
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    sys.stderr.write("".join(traceback.format_exception(error)))  # at once: see READ
    sys.stderr.flush()
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def run(path: str, arguments: Sequence[str] = ()) -> int:
    """Run the program at ``path`` as ``__main__``, with these arguments."""
    if not os.path.isfile(path):
        raise InputError(f"{path}: there is no such program")

    sys.argv = [path, *arguments]
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))

    def program() -> int:
        runpy.run_path(path, run_name="__main__")
        return 0

    return over_ranks(program, os.path.abspath(path))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    given = [*(sys.argv[1:] if argv is None else argv)]
    if not given or given[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if given else 2
    try:
        return run(given[0], given[1:])
    except LavalikeError as e:
        print(f"lavalike.mpi: {e}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
