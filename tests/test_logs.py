"""Records of this and of other processes: all there, whole, once; the root logger and the start
method untouched."""

from __future__ import annotations

import logging
import multiprocessing
import subprocess
import sys

import pytest

import lavalike as lv
from lavalike import logs
from lavalike.proc import LIF

RECORDS, PROCESSES = 1000, 4
FORKS = "fork" in multiprocessing.get_all_start_methods()


def many(who: int, ticket=None) -> None:
    if ticket is not None:
        logs.join(ticket)
    log = logging.getLogger("lavalike.test")
    for k in range(RECORDS):
        log.info("process %d, record %d, %s.", who, k, "x" * 80)


@pytest.fixture
def lines(tmp_path):
    """A file that the logger "lavalike" writes, as a function that reads its lines."""
    handler = logging.FileHandler(tmp_path / "log")
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    level, root = logs.LOGGER.level, [*logging.getLogger().handlers]
    logs.LOGGER.setLevel(logging.INFO)
    logs.LOGGER.addHandler(handler)
    yield lambda: (tmp_path / "log").read_text().splitlines()
    logs.LOGGER.setLevel(level)
    logs.LOGGER.removeHandler(handler)
    handler.close()
    assert logging.getLogger().handlers == root
    assert [type(h) for h in logs.LOGGER.handlers] == [logging.NullHandler]


def check(found: list[str], whole: range) -> None:
    assert len(found) == len(whole) * RECORDS
    for who in whole:
        own = [line for line in found if line.startswith(f"lavalike.test: process {who}, ")]
        assert own == [
            f"lavalike.test: process {who}, record {k}, {'x' * 80}." for k in range(RECORDS)
        ]


def run(processes) -> None:
    for p in processes:
        p.start()
    for p in processes:
        p.join()
        assert p.exitcode == 0


def test_records_of_spawned_processes(lines):
    spawn = multiprocessing.get_context("spawn")
    with logs.Relay() as relay:
        run([spawn.Process(target=many, args=(k, relay.ticket)) for k in range(PROCESSES)])
    check(lines(), range(PROCESSES))


@pytest.mark.skipif(not FORKS, reason="the platform does not fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_records_of_forked_processes(lines):
    fork = multiprocessing.get_context("fork")
    assert logs.install()
    assert logs.install()  # once
    try:
        run([fork.Process(target=many, args=(k,)) for k in range(PROCESSES)])
        many(PROCESSES)
    finally:
        logs.uninstall()
    check(lines(), range(PROCESSES + 1))


def test_where_nothing_forks_it_says_so(lines, monkeypatch):
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["spawn"])
    assert not logs.install()
    assert lines() == [
        "lavalike: logs.install: this platform does not fork processes; nothing is wrapped"
    ]


def test_the_start_method_stays_free():
    program = """
import logging, multiprocessing
from lavalike import logs
logs.LOGGER.addHandler(logging.StreamHandler())
logs.install()
with logs.Relay():
    pass
logs.uninstall()
assert multiprocessing.get_start_method(allow_none=True) is None
multiprocessing.set_start_method("spawn")
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_is_told_of_a_graph(lines):
    lif = LIF(shape=(3,), vth=1.0)
    lif.run(lv.RunSteps(1))
    told = [line for line in lines() if line.startswith("lavalike.runtime")]
    assert len(told) == 1
    assert told[0].startswith("lavalike.runtime.runtime: LIF: compiled, 1 process in 1 part, in ")
    with pytest.warns(lv.RecompileWarning):
        lif.run(lv.RunSteps(1), lv.RunConfig(dtype="float64"))
    told = [line for line in lines() if line.startswith("lavalike.runtime")]
    assert "LIF: compiled anew, for RunConfig(" in told[1]
    assert len(told) == 3


def test_a_kernel_that_is_compiled_is_told(lines, tmp_path, monkeypatch):
    monkeypatch.setenv("LAVALIKE_CACHE", str(tmp_path / "cache"))

    class Twice(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.v = lv.Var((2,), 1.0)

    @lv.implements(Twice, backend="numba")
    class TwiceModel(lv.NumbaModel):
        def step(v):
            v[:] = 2 * v

    twice = Twice()
    twice.run(lv.RunSteps(2))
    assert twice.v.get().tolist() == [4, 4]
    told = [line for line in lines() if "compiled kernel" in line]
    assert told
    assert all(line.startswith("lavalike.backends.numba.kernels: compiled kernel") for line in told)
    assert any("TwiceModel.step in " in line for line in told)
