"""Examples of docstrings: every one runs and prints what stands there, and a public class has one.

``>>>`` examples are doctests, ``Example::`` programs are run. Both take the names of the
reference's first page as imported (docs/generate.py, PRELUDE).
"""

from __future__ import annotations

import doctest
import enum
import inspect
import re

import numpy as np
import pytest
import torch

import lavalike as lv
import netx
from lavalike import bss2, datasets, learning, networks, proc, slayer, snn
from tests import test_doors
from tests.conftest import ROOT
from tests.doors.table import find

NAMES = {
    "np": np,
    "torch": torch,
    "lv": lv,
    "netx": netx,
    "bss2": bss2,
    "datasets": datasets,
    "learning": learning,
    "networks": networks,
    "proc": proc,
    "slayer": slayer,
    "snn": snn,
}
PUBLIC = {path: find(path) for path in test_doors.public().values()}
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def text(value: object) -> str:
    return inspect.cleandoc(value.__doc__ or "")


SESSIONS = {path: value for path, value in PUBLIC.items() if ">>> " in text(value)}
# one docstring for several names runs once; of blocks, whose text is that of CUBA's with another
# family's name and arguments, every one of CUBA's and two of each other family
FAMILY = re.compile(r"lavalike\.(slayer|bootstrap)\.block\.(?!cuba)\w+\.(?!Dense|Input|Output)")
ONCE = {text(value): path for path, value in reversed(SESSIONS.items()) if not FAMILY.match(path)}


@pytest.mark.parametrize("path", sorted(ONCE.values()))
def test_example(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  # examples draw as users do
    test = doctest.DocTestParser().get_doctest(text(PUBLIC[path]), {**NAMES}, path, path, 0)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=said.append)
    assert not said, "".join(said)


def test_every_public_class_has_an_example():
    without = {
        path
        for path, value in PUBLIC.items()
        if inspect.isclass(value)
        and not issubclass(value, BaseException | enum.Enum)
        and not inspect.isabstract(value)
        and not re.search(r">>> |Example::", text(value))
    }
    known = set((ROOT / "tests/data/without_examples.txt").read_text().split())
    assert without - known == set(), "a public class has an example (>>> or Example::)"
    assert known - without == set(), "these have one: take them off the list, which only shrinks"
