"""``python -m lavalike.compat script.py [args]`` or ``-m module [args]``: runs a program that says
``from lava...``."""

from __future__ import annotations

import os
import runpy
import sys

from lavalike.compat.finder import install

USAGE = "usage: python -m lavalike.compat (script.py | -m module) [args]"


def main(argv: list[str]) -> None:
    """Run the program that ``argv`` names, as ``__main__``."""
    if not argv or argv == ["-m"] or argv[0] in ("-h", "--help"):
        print(USAGE)
        raise SystemExit(0 if argv[:1] in (["-h"], ["--help"]) else 2)
    install()
    if argv[0] == "-m":
        sys.argv = argv[1:]
        sys.path[0] = os.getcwd()
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
        return
    if not os.path.exists(argv[0]):
        raise SystemExit(f"lavalike.compat: there is no file {argv[0]}\n{USAGE}")
    sys.argv = argv
    sys.path[0] = os.path.dirname(os.path.abspath(argv[0]))
    runpy.run_path(argv[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
