"""The kernel cache: compiled once, shared by interpreters, never stale."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT

PROGRAM = """
import sys, numpy as np
from numba.core import event
import lavalike as lv
from lavalike.proc import LIF, Dense
n = int(sys.argv[1])
lif = LIF(shape=(n,), du=0.5, dv=0.5, vth=1.0, bias_mant=1.0)
dense = Dense(weights=np.full((n, n), 0.25))
lif.s_out.connect(dense.s_in)
dense.a_out.connect(lif.a_in)
with event.install_recorder("numba:compile") as compiled:
    v = lv.simulate(lif, steps=20, record=[lif.v])[lif.v]
print(len(compiled.buffer), float(v.sum()))
"""


def run(cache, n, root=ROOT):
    """(number of compilations, a checksum) of a network of n neurons in a fresh interpreter."""
    env = {**os.environ, "LAVALIKE_CACHE": str(cache), "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(n)], env=env, capture_output=True, text=True, cwd=cache)
    assert done.returncode == 0, done.stderr
    compiled, checksum = done.stdout.split()
    return int(compiled), float(checksum)


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    compiled, checksum = run(cache, 3)
    assert compiled > 0
    return cache, checksum


def test_a_network_never_seen_before_compiles_nothing(warm):
    """With a warm cache another interpreter runs another network without compiling."""
    assert run(warm[0], 7)[0] == 0


def test_two_interpreters_share_a_cold_cache(tmp_path):
    """Two interpreters that start together on an empty cache both compute, and leave a cache that serves a third."""
    env = {**os.environ, "LAVALIKE_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    both = [subprocess.Popen([sys.executable, "-c", PROGRAM, str(n)], env=env, stdout=subprocess.PIPE, text=True) for n in (3, 4)]
    assert all(p.communicate()[0] and p.returncode == 0 for p in both)
    assert run(tmp_path, 5)[0] == 0


def test_a_changed_kernel_source_is_compiled_anew(warm, tmp_path):
    """An equation changed in a copy of the package: the old cache serves nothing of it."""
    cache, before = warm
    root = tmp_path / "site"
    shutil.copytree(ROOT / "lavalike", root / "lavalike", ignore=shutil.ignore_patterns("__pycache__"))
    source = root / "lavalike/dynamics/lif.py"
    text = source.read_text()
    equation = "return s_out, u, reset(s_out, v, 0)\n"
    assert equation in text
    source.write_text(text.replace(equation, "return s_out, u, reset(s_out, v, 0.5)\n"))
    compiled, checksum = run(cache, 3, root)
    assert compiled > 0
    assert checksum != before
    assert run(cache, 3)[1] == before


def test_import_is_light():
    """``import lavalike`` loads neither torch nor numba, matplotlib or h5py, and names everything it offers."""
    code = ("import sys, lavalike; heavy = {'torch', 'numba', 'matplotlib', 'h5py', 'scipy'} & set(sys.modules); "
            "assert not heavy, heavy; assert lavalike.simulate and lavalike.NumbaModel and 'to_torch' in dir(lavalike)")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_models_written_at_a_prompt_compile_in_memory(tmp_path):
    """A model in no importable file runs, and leaves nothing of itself in the cache."""
    code = """
import numpy as np, lavalike as lv
class Square(lv.AbstractProcess):
    def __init__(self):
        super().__init__()
        self.a_in, self.s_out = lv.InPort((3,)), lv.OutPort((3,))
@lv.implements(Square, backend="numba")
class SquareModel(lv.NumbaModel):
    def step(a_in, s_out):
        for i in range(a_in.size):
            s_out[i] = a_in[i] * a_in[i]
print(lv.simulate(Square(), {"a_in": np.arange(6).reshape(3, 2)})["s_out"].tolist())
"""
    env = {**os.environ, "LAVALIKE_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[[0.0, 1.0], [4.0, 9.0], [16.0, 25.0]]"
    assert not list(tmp_path.rglob("*Square*"))


def test_the_cache_is_not_rewritten(warm):
    """A warm start touches no file of the cache: their times are what Numba's index is bound to."""
    files = {p: p.stat().st_mtime_ns for p in warm[0].rglob("k_*.py")}
    run(warm[0], 3)
    assert files
    assert files == {p: p.stat().st_mtime_ns for p in warm[0].rglob("k_*.py")}
    assert time.time_ns() > max(files.values())
