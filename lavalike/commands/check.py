"""``lavalike check``: a file, a process or a model against every rule that it must keep."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lavalike.arguments import shown
from lavalike.backends import get_backend
from lavalike.commands import targets
from lavalike.errors import InputError, LavalikeError, NetFileError
from lavalike.model import ProcessModel
from lavalike.model.config import Precision
from lavalike.process import AbstractProcess
from lavalike.testing import check_model, check_process
from lavalike.text import table

Row = tuple[str, bool, str]  # rule, whether it is kept, what was found
STEPS = 16
PRECISIONS: tuple[Precision, ...] = ("fixed_pt", "floating_pt")


def check(target: str, backends: list[str], model: str | None = None) -> tuple[str, bool]:
    """Look through what ``target`` names; the table that says so, and whether every rule is kept.

    Args:
        target: a .net file, or ``program.py:NAME`` of a process, or of what makes one when it is
            called without arguments.
        backends: by which the graph is run.
        model: name of a ProcessModel beside the process, to be checked instead of the backends'.
    """
    for name in backends:
        get_backend(name)
    if targets.is_object(target):
        rows = _object(target, backends, model)
    elif model is not None:
        raise InputError(f"check: --model={model} needs program.py:NAME, got {target}")
    else:
        rows = _file(Path(target), backends)
    found = list(rows)
    text = table(
        ["rule", "kept", "found"],
        [[rule, "yes" if kept else "NO", said] for rule, kept, said in found],
    )
    return text, all(kept for _, kept, _ in found)


def _object(target: str, backends: list[str], model: str | None) -> Iterator[Row]:
    process = targets.named(target)
    if not isinstance(process, AbstractProcess) and callable(process):
        try:
            process = process()
        except TypeError as e:
            raise InputError(
                f"{target}: cannot be called without arguments ({e}); name a process, or a function that makes one"
            ) from e
    if not isinstance(process, AbstractProcess):
        raise InputError(f"{target}: a process is expected, this is a {type(process).__name__}")
    if model is None:
        yield from _graph(process, backends)
        return
    kind = targets.named(f"{target.rpartition(':')[0]}:{model}")
    if not (isinstance(kind, type) and issubclass(kind, ProcessModel)):
        raise InputError(f"--model {model}: a ProcessModel is expected, this is {shown(kind)}")
    yield _kept(f"{model} keeps a model's rules", lambda: check_model(process, kind))


def _file(path: Path, backends: list[str]) -> Iterator[Row]:
    import netx
    from netx.comparison import random_input

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", netx.NetFileWarning)  # the exact reading says the same
        net = targets.network(path)
    yield "can be read", True, f"{len(net)} layers, {'lavalike' if net.ours else 'lava-dl'}'s"
    try:
        netx.hdf5.Network(path, exact=True)
        yield "nothing is dropped or clipped", True, ""
    except NetFileError as e:
        yield "nothing is dropped or clipped", False, str(e)
    yield (
        "a digest vouches for it",
        net.signed,
        "" if net.signed else "later damage is not told: lavalike sign FILE.net SIGNED.net",
    )
    x = net.encode(random_input(net, STEPS + net.lag)[0])
    yield from _graph(net, backends, {"inp": x})


def _graph(
    process: AbstractProcess, backends: list[str], inputs: dict[str, np.ndarray] | None = None
) -> Iterator[Row]:
    for precision in PRECISIONS:
        yield _kept(
            f"{precision}: batch, pieces, Vars, backends",
            functools.partial(
                check_process, process, backends=backends, precision=precision, inputs=inputs
            ),
        )


def _kept(rule: str, look: Callable[[], Any]) -> Row:
    try:
        found = look()
    except LavalikeError as e:
        return rule, False, " ".join(str(e).split())
    if found is None:
        return rule, True, ""
    said = [f"{label.rsplit(', ', 1)[-1]} computes it" for label in found.passed]
    said += [
        f"{label.rsplit(', ', 1)[-1]} refuses it: {why}" for label, why in found.refused.items()
    ]
    return rule, True, "; ".join(said)
