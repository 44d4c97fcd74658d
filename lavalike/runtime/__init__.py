"""Run, pause, stop, simulate. It is loaded when something runs."""

from types import ModuleType

from lavalike.process.runner import run_by


def _load() -> ModuleType:
    from lavalike.runtime import runtime

    return runtime


run_by(_load)
