"""A graph over MPI ranks: the bits of one process, errors as they are, and an end for all.

With the mpi4py and the MPI of the package index (``pip install mpi4py mpich``), or the system's.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lavalike as lv
from lavalike import mpi
from tests.conftest import ROOT

BESIDE = Path(sys.executable).parent / "mpiexec"
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")
needs_mpi = pytest.mark.skipif(
    MPIEXEC is None or importlib.util.find_spec("mpi4py") is None, reason="needs mpi4py and an MPI"
)

PROGRAM = """
import logging, os, signal, sys
import numpy as np
import lavalike as lv
from lavalike import RunConfig, RunSteps
from lavalike.proc import LIF, DelayDense, Dense, Recorder
from lavalike.proc.io import source

class Own(lv.AbstractProcess):
    def __init__(self, n, **names):
        super().__init__(**names)
        self.inp, self.out = lv.InPort((n,)), lv.OutPort((n,))
        self.count, self.does = lv.Var((n,), 0.0), lv.Var((1,), 0)

@lv.implements(Own, backend="numpy")
class OwnModel(lv.NumpyModel):
    def run_spk(self):
        x = self.inp.recv()
        if self.does[0] == 1 and self.time_step == 7:
            raise ValueError("the seventh")
        if self.does[0] == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        self.count = self.count + x
        self.out.send(x)

def graph(kind=Dense, own=False, n=5):
    g, lifs = np.random.default_rng(0), []
    for k in range(2):
        bias = g.random(n) * 0.3
        lifs.append(LIF(shape=(n,), du=0.3, dv=0.1, vth=1.0, bias_mant=bias, name=f"l{k}"))
    noise = source.Noise(shape=(n,), std=0.2, name="noise")
    noise.s_out.connect(lifs[0].a_in)
    for a, b in ((0, 1), (1, 0), (1, 1)):
        delays = {"delays": g.integers(1, 4, (n, n))} if kind is DelayDense else {}
        joint = kind(weights=g.normal(0.2, 0.5, (n, n)), name=f"d{a}{b}", **delays)
        lifs[a].s_out.connect(joint.s_in)
        joint.a_out.connect(lifs[b].a_in)
    if own:
        lifs.append(Own(n, name="own"))
        lifs[1].s_out.connect(lifs[2].inp)
        back = Dense(weights=np.eye(n) / 4, name="back")
        lifs[2].out.connect(back.s_in)
        back.a_out.connect(lifs[0].a_in)
    return lifs

PARTITION = {"l0": 0, "l1": 1}

def bits(config, *made):
    lifs, recorder = graph(*made), Recorder()
    recorder.add(lifs[1].s_out)
    lifs[0].run(RunSteps(6), config)
    lifs[0].v.set(0.25)
    lifs[0].run(RunSteps(9))
    assert recorder[lifs[1].s_out].shape == (15, lifs[1].a_in.size)
    found = [x for p in lifs for v in p.vars for x in v.get().ravel()] + recorder[lifs[1].s_out].ravel().tolist()
    lifs[0].stop()
    return np.array(found, float)

def main():
    for made in ((Dense,), (DelayDense,), (Dense, True), (Dense, False, 700)):
        partition = PARTITION | ({"own": 1} if True in made else {})
        two = bits(RunConfig(seed=3, workers=2, partition=partition), *made)
        one = bits(RunConfig(seed=3, workers=1), *made)
        print("equal", np.array_equal(one, two), one.any(), flush=True)
    lifs = graph(Dense, True)
    lifs[2].does.set(1)
    try:
        lifs[0].run(RunSteps(20), RunConfig(seed=3, workers=2, partition={**PARTITION, "own": 1}))
    except ValueError as e:
        print("error", e, lifs[0].step, flush=True)
    lifs[0].stop()
    try:
        graph()[0].run(RunSteps(1), RunConfig(workers=3))
    except lv.RunError as e:
        print("many", e, flush=True)
    x = np.ones((2, 5, 4))
    kept = [lv.simulate(graph()[1], {}, 4, RunConfig(seed=3, workers=w))["s_out"] for w in (1, None)]
    print("simulate", np.array_equal(*kept), flush=True)
    logger, alone = logging.getLogger("lavalike"), LIF(shape=(2,), bias_mant=1.0, vth=10.0)
    alone.run(RunSteps(3))  # has nothing for a second rank
    print("alone", alone.v.get(), logger.level, flush=True)
    lifs = graph(Dense, True)
    lifs[2].does.set(2)
    lifs[0].run(RunSteps(20), RunConfig(seed=3, workers=2, partition={**PARTITION, "own": 1}))
    print("not killed", flush=True)

if __name__ == "__main__":
    main()
"""


def run(*command, env=None):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **(env or {})}
    return subprocess.run(
        [*map(str, command)], env=environment, capture_output=True, text=True, timeout=120
    )


@needs_mpi
def test_two_ranks_are_one_process_and_end_together(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = run(MPIEXEC, "-n", 2, sys.executable, "-m", "lavalike", "run", program)
    assert done.stdout.count("equal True True\n") == 4, done.stdout + done.stderr
    assert "error the seventh" in done.stdout
    assert " 6\n" in done.stdout.partition("error the seventh")[2]
    assert "many RunConfig(workers=3): more workers than the 2 MPI ranks" in done.stdout
    assert "simulate True" in done.stdout
    assert "alone [3. 3.] 0\n" in done.stdout  # and rank 0's logger is its program's
    assert "not killed" not in done.stdout  # by a rank that was
    assert done.returncode != 0


@needs_mpi
def test_an_error_of_the_program_ends_all_ranks_with_it(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("import sys\nprint(sys.argv[1:], flush=True)\nraise KeyError('mine')\n")
    done = run(MPIEXEC, "-n", 2, sys.executable, "-m", "lavalike.mpi", program, "--a", "b")
    assert done.returncode == 1
    assert done.stdout.count("['--a', 'b']") == 1  # rank 0 runs it
    assert "KeyError: 'mine'" in done.stderr
    assert "MPI_Abort" not in done.stderr  # which may cut what a launcher has not read yet


# -- without an MPI -----------------------------------------------------------------------------


@pytest.fixture
def alone(monkeypatch):
    for name in mpi.SIZES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.setattr(sys, "path", [*sys.path])


def test_a_program_that_no_launcher_started_is_run_alone(alone, tmp_path, capsys):
    program = tmp_path / "program.py"
    program.write_text("import sys\nprint(__name__, sys.argv[1:])\n")
    from lavalike.cli import main

    assert main(["run", str(program), "x"]) == 0
    assert mpi.main([str(program), "x"]) == 0
    assert capsys.readouterr().out == "__main__ ['x']\n" * 2


def test_a_missing_mpi4py_is_told(alone, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PMI_SIZE", "4")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    program = tmp_path / "program.py"
    program.write_text("print('ran')\n")
    assert mpi.main([str(program)]) == 2
    found = capsys.readouterr()
    assert "ran" not in found.out
    assert "4 MPI ranks were started, and mpi4py is not there" in found.err
    assert "pip install 'lavalike[mpi]'" in found.err


def test_ranks_of_other_versions_are_told():
    class Ranks:
        def allgather(self, mine):
            return [mine, (*mine[:2], "1.0", mine[3])]

    with pytest.raises(lv.WorkerError, match=r"NumPy is \d.* on rank 0 and 1\.0 on rank 1"):
        mpi.check_versions(Ranks())


def test_what_is_no_program_is_told(alone, capsys):
    assert mpi.main(["none.py"]) == 2
    assert "none.py: there is no such program" in capsys.readouterr().err
    assert mpi.main([]) == 2
    with pytest.raises(lv.InputError, match="there is no such program"):
        mpi.run("none.py")
