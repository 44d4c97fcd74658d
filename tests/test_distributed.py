"""Training over processes that torchrun starts is training alone, and goes on when one of them
dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")
from torch import nn

from benchmarks import mnist_train
from lavalike import InputError, RunError, slayer
from tests.conftest import ROOT

PROGRAM = """
import json, os, signal, sys
from benchmarks import mnist_train
from lavalike import slayer

folder, restarts = sys.argv[1], os.environ["TORCHELASTIC_RESTART_COUNT"]
save = slayer.distributed.Ranks.save

def dying(ranks, path, **state):
    if ranks.rank == 1 and restarts == "0" and state["epoch"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    save(ranks, path, **state)

slayer.distributed.Ranks.save = dying
losses = {kind: mnist_train.main(ARGS + ["--net", kind, "--checkpoint", f"{folder}/{kind}.pt"]) for kind in KINDS}
if os.environ["RANK"] == "0":
    print(json.dumps([restarts, losses]), file=sys.stderr)
"""
KINDS = ["snn", "slayer"]
ARGS = ["--epochs", "2", "--double", "--most", "80", "--batch", "20"]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_two_ranks_train_as_one_and_restart_from_the_checkpoint(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("ARGS", repr(ARGS)).replace("KINDS", repr(KINDS)))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = {kind: mnist_train.main([*ARGS, "--net", kind]) for kind in KINDS}
    finally:
        torch.set_num_threads(threads)
    assert all(first > second for first, second in alone.values())
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "--standalone", "--max-restarts", "1", program, tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    line = next(x for x in done.stderr.splitlines() if x.startswith('["'))
    restarts, losses = json.loads(line)
    assert restarts == "1"  # of the first net's second epoch
    for kind in KINDS:
        assert losses[kind] == pytest.approx(alone[kind], rel=1e-6), kind


def test_alone_it_is_as_if_it_were_not_there(tmp_path, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    net, stats = nn.Linear(2, 2), slayer.utils.LearningStats()
    with slayer.distributed.setup() as ranks:
        assert (ranks.rank, ranks.size, ranks.main, ranks.share(7)) == (0, 1, True, 7)
        assert ranks.wrap(net) is net
        assert ranks.alone(net) is net
        sampler = ranks.sampler(range(9), seed=3)
        assert sorted(sampler) == [*range(9)]
        stats.training.add(0.5, 2)
        ranks.gather(stats)
        assert stats.training.loss == 0.5
        assert ranks.load(tmp_path / "none.pt") is None
        ranks.save(tmp_path / "run.pt", epoch=3)
        want = torch.rand(3)
        assert ranks.load(tmp_path / "run.pt") == {"epoch": 3}
        torch.testing.assert_close(torch.rand(3), want, rtol=0, atol=0)
        other = slayer.distributed.Ranks(0, 2, torch.device("cpu"), own=False)
        with pytest.raises(InputError, match=r"written by 1 processes, and here are 2"):
            other.load(tmp_path / "run.pt")
        slayer.utils.save_checkpoint(tmp_path / "plain.pt", epoch=3)
        with pytest.raises(InputError, match=r"was not written by Ranks\.save"):
            ranks.load(tmp_path / "plain.pt")


def test_the_generator_of_the_gpu_goes_on_too(tmp_path, monkeypatch):
    """Which dropout draws from there."""
    there = {"state": torch.arange(16, dtype=torch.uint8)}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: there["state"])
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device: there.update(state=state, device=device)
    )
    gpu = torch.device("cuda", 0)
    ranks = slayer.distributed.Ranks(0, 1, gpu, own=False)
    ranks.save(tmp_path / "run.pt", epoch=3)
    want, there["state"] = there["state"], None
    assert ranks.load(tmp_path / "run.pt") == {"epoch": 3}
    torch.testing.assert_close(there["state"], want)
    assert there["device"] == gpu
    there["state"] = None
    alone = slayer.distributed.Ranks(0, 1, torch.device("cpu"), own=False)
    assert alone.load(tmp_path / "run.pt") == {"epoch": 3}  # on a machine without one
    assert there["state"] is None


def test_shares_of_two_are_those_of_one():
    two = [slayer.distributed.Ranks(r, 2, torch.device("cpu"), own=False) for r in range(2)]
    one = slayer.distributed.Ranks(0, 1, torch.device("cpu"), own=False)
    whole, parts = [*one.sampler(range(12), seed=3)], [[*r.sampler(range(12), seed=3)] for r in two]
    assert [{*whole[:4]}, {*whole[4:8]}] == [
        {*parts[0][k : k + 2], *parts[1][k : k + 2]} for k in (0, 2)
    ]
    with pytest.raises(InputError, match=r"batch=5 cannot be shared out equally over 2"):
        two[0].share(5)


def test_what_torchrun_would_set_is_missed_by_name(monkeypatch):
    for name in ("WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(
        InputError, match="RANK is set, and WORLD_SIZE, MASTER_ADDR, MASTER_PORT not"
    ):
        slayer.distributed.setup()
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "no port")
    with pytest.raises(RunError, match="do not find each other"):
        slayer.distributed.setup()


@pytest.fixture
def group(tmp_path):
    """A group of this process alone."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    yield slayer.distributed.Ranks(0, 2, torch.device("cpu"), own=False)
    torch.distributed.destroy_process_group()


def test_a_norm_that_waits_for_its_channels_is_told_before_it_is_wrapped(group):
    norm = slayer.neuron.norm
    with pytest.raises(InputError, match=r"1: running_mean has no size before the first call"):
        group.wrap(nn.Sequential(nn.Linear(2, 2), norm.MeanOnlyBatchNorm()))


def test_norms_are_those_of_the_whole_batch(group, monkeypatch):
    """Another rank's half is what all_reduce adds: its mean, and with it its gradient."""
    net = nn.Sequential(nn.Linear(5, 5), slayer.neuron.norm.WgtScaleBatchNorm(3)).double()
    norm = net[1]
    single = slayer.neuron.norm.WgtScaleBatchNorm(3).double()
    torch.manual_seed(0)
    x = torch.randn(8, 3, 5, dtype=torch.float64) * 3
    halves = x[:4], x[4:]
    group.wrap(net)
    assert norm.over_ranks
    seen = []

    def all_reduce(t):
        seen.append(t.clone())
        if t.shape == (3,):
            t.add_(halves[1].mean([0, 2]))
        elif len(seen) == 2:
            t.add_(halves[1].mean())
        else:
            t.add_(((halves[1] - x.mean()) ** 2).mean())

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    torch.testing.assert_close(norm(halves[0]), single(x)[:4], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(norm.running_mean, single.running_mean)
    torch.testing.assert_close(norm.running_var, single.running_var, rtol=1e-12, atol=1e-12)
    assert len(seen) == 3
