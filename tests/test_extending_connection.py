"""docs/extending.md, "Add a connection", followed to the letter."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
ROOT = Path(__file__).resolve().parent.parent

CHECKS = """
import torch
from lavalike.bss2 import Chip
from lavalike.proc import Dense, LIF

g = np.random.default_rng(0)
w, x = g.random(4) + 0.5, (g.random((2, 4, 30)) < 0.4) * 1.0
for delay in (0, 1):
    for bits in (0, 8):
        dense = Dense(weights=np.diag(w), delay=delay, num_message_bits=bits)
        for backend in ("numba", "torch"):
            config = lv.RunConfig(backend=backend, dtype="float64")
            got, want = (lv.simulate(c, {"s_in": x * (2 if bits else 1)}, config=config)["a_out"]
                         for c in (OneToOne(weights=w, delay=delay, num_message_bits=bits), dense))
            assert (got == want).all(), (delay, bits, backend)
module = lv.to_torch(OneToOne(weights=w, num_message_bits=8))
module(torch.as_tensor(x).float()).sum().backward()
[parameter] = module.parameters()
assert torch.allclose(parameter.grad, torch.as_tensor(x[..., :-1].sum((0, 2))).float())


class Net(lv.AbstractProcess):
    def __init__(self, connection):
        super().__init__()
        self.inp, self.out, self.connection = lv.InPort((4,)), lv.OutPort((4,)), connection
        self.lif = LIF(shape=(4,), du=0.5, dv=0.1, vth=1.0)
        self.inp.connect(connection.s_in)
        connection.a_out.connect(self.lif.a_in)
        self.lif.s_out.connect(self.out)


chip = lv.RunConfig(backend="bss2", chip=Chip(level="ideal"))
got, want = (lv.simulate(Net(c), {"inp": x}, config=chip)["out"] for c in (OneToOne(weights=w), Dense(weights=np.diag(w))))
assert (got == want).all() and got.any()
print("followed")
"""


def test_a_connection_in_three_files(tmp_path):
    """The files of the page, and no other, give a connection that runs in numba and torch with both
    delays, learns, is counted and lies on a chip."""
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", page, flags=re.M)
    section = next(s for s in section if s.startswith("Add a connection"))
    blocks = re.findall(r"```python\n(.*?)```", section, flags=re.S)
    files = {m.group(1): b for b in blocks if (m := re.match(r"# (\S+\.py)\n", b))}
    listed = re.findall(r"^\| `(\S+)` \|", section, flags=re.M)
    assert listed == [*files]
    assert len(files) <= 3
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    program = next(b for b in blocks if not b.startswith("# "))
    (tmp_path / "program.py").write_text(program + CHECKS, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, env=_path()
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [*re.findall(r"# (\S.*)$", program, flags=re.M), "followed"]


def _path() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}
