"""Training over several processes, started by torchrun, with the same file that trains alone.

    ranks = slayer.distributed.setup()          # alone, or one of torchrun's processes
    net = ranks.wrap(Net())
    optimizer = torch.optim.Adam(net.parameters())
    sampler = ranks.sampler(data, seed=1)
    loader = DataLoader(data, ranks.share(64), sampler=sampler)
    state = ranks.load("run.pt")                # None where there is no such file
    ...
    for epoch in range(first, epochs):
        sampler.set_epoch(epoch)
        for x, y in loader:
            assistant.train(x, y)
        ranks.gather(stats)
        ranks.save("run.pt", net=ranks.alone(net).state_dict(), optimizer=optimizer.state_dict(), epoch=epoch + 1)
    ranks.close()

``torchrun --nproc-per-node 4 train.py`` (``python -m torch.distributed.run ...``) starts the
processes and sets RANK; ``--max-restarts`` starts all again when one of them died. What each of
several steps computes is what one process computes of the whole batch, but for the order of sums,
where the loss is a mean over samples: each process has an equal share of each batch.
"""  # noqa: W505

from __future__ import annotations

import atexit
import itertools
import os
from collections.abc import Sized
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DistributedSampler

from lavalike.arguments import FLAG, PATH, Rule, arguments, choice, instance, integer, optional
from lavalike.errors import InputError, RunError
from lavalike.slayer.axon.sized import Sized as SizedModule
from lavalike.slayer.neuron.norm import MeanOnlyBatchNorm
from lavalike.slayer.utils.assistant import alone
from lavalike.slayer.utils.checkpoint import load_checkpoint, save_checkpoint
from lavalike.slayer.utils.stats import LearningStats

NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
GENERATORS = "generators of all ranks"  # in a checkpoint

_ended: list[Any] = []  # groups that were closed
atexit.register(_ended.clear)
_groups = itertools.count()  # all ranks of a training make as many, one after another
_DATA = Rule("a data set with a length", lambda v: isinstance(v, Sized))


class Ranks:
    """The processes of a training; made by :func:`setup`.

    Attributes: ``rank``, this one's number; ``size``, how many there are; ``device`` to train on:
    "cpu", or of this process's own GPU.
    """

    def __init__(self, rank: int, size: int, device: torch.device, own: bool) -> None:
        self.rank, self.size, self.device, self._own = rank, size, device, own

    @property
    def main(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    @arguments(batch=integer(1))
    def share(self, batch: int) -> int:
        """This process's part of a batch; InputError where it cannot be shared out equally."""
        if batch % self.size:
            raise InputError(
                f"Ranks.share: batch={batch} cannot be shared out equally over {self.size} processes; take a multiple of {self.size}"
            )
        return batch // self.size

    @arguments(data=_DATA, shuffle=FLAG, seed=integer(0))
    def sampler(self, data: Any, shuffle: bool = True, seed: int = 0) -> DistributedSampler:
        """A sampler of this process's share of ``data``. ``set_epoch(epoch)`` has to be called
        before each epoch. The first batches of all processes together are the first batch of one,
        and so on: up to ``len(data) % size`` samples, fewer than there are processes, are left out.
        """
        return DistributedSampler(
            data,
            num_replicas=self.size,
            rank=self.rank,
            shuffle=bool(shuffle),
            seed=int(seed),
            drop_last=True,
        )

    @arguments(net=instance(nn.Module, words="a torch module"), find_unused_parameters=FLAG)
    def wrap(self, net: nn.Module, find_unused_parameters: bool = False) -> nn.Module:
        """``net`` on ``device``; of several processes in DistributedDataParallel, so that all begin
        with the weights of the first and take the mean of their gradients. slayer's norms then take
        the mean over the whole batch; for torch's there is torch.nn.SyncBatchNorm.

        ``find_unused_parameters``: as of DistributedDataParallel, where some take no part in the
        loss, as the threshold of an Output block.

        InputError for blocks that learn the number of their channels at the first call: call it
        once before.
        """
        net = net.to(self.device)
        if self.size == 1:
            return net
        for name, module in net.named_modules():
            if isinstance(module, SizedModule) and (waiting := list(module.unsized())):
                raise InputError(
                    f"Ranks.wrap: {name}: {', '.join(waiting)} has no size before the first call; call the network once with a sample, or "
                    "give the number of channels"
                )
            if isinstance(module, MeanOnlyBatchNorm):
                module.over_ranks = True
        gpu = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(
            net, device_ids=gpu, find_unused_parameters=bool(find_unused_parameters)
        )

    @arguments(net=instance(nn.Module, words="a torch module"))
    def alone(self, net: nn.Module) -> nn.Module:
        """The module that :meth:`wrap` was given."""
        return alone(net)

    @arguments(stats=instance(LearningStats))
    def gather(self, stats: LearningStats) -> None:
        """Have ``stats`` count what all processes counted in the epoch under way: before
        ``update``."""
        if self.size == 1:
            return
        phases = (stats.training, stats.testing, stats.validation)
        states = [p.state_dict() for p in phases]
        keys = ("loss_sum", "num_samples", "correct_samples")
        sums = torch.tensor([[s[k] or 0 for k in keys] for s in states], dtype=torch.float64)
        there = torch.tensor([s["correct_samples"] is not None for s in states], dtype=torch.int64)
        sums, there = sums.to(self.device), there.to(self.device)
        dist.all_reduce(sums)
        dist.all_reduce(there)
        for phase, row, seen in zip(phases, sums.tolist(), there.tolist(), strict=True):
            phase.reset()
            phase.loss_sum, phase.num_samples = row[0], int(row[1])
            if seen:
                phase.correct_samples = row[2]

    @arguments(path=PATH)
    def save(self, path: str | os.PathLike[str], **state: Any) -> None:
        """Write a checkpoint (:func:`slayer.utils.save_checkpoint`), by the first process, with the
        states of torch's generators of all, on the CPU and on ``device``; they go on when it is
        there. All call it.

        RunError where it cannot be written, in all.
        """
        own = [torch.get_rng_state()]
        if self.device.type == "cuda":
            own.append(torch.cuda.get_rng_state(self.device))
        generators: list[Any] = [own]
        if self.size > 1:
            generators = [None] * self.size
            dist.all_gather_object(generators, own)
        failed: list[Exception | None] = [None]
        if self.main:
            try:
                save_checkpoint(path, **state, **{GENERATORS: generators})
            except Exception as e:  # others wait: they are told first
                failed = [e]
        told = [None if failed[0] is None else f"{type(failed[0]).__name__}: {failed[0]}"]
        if self.size > 1:
            dist.broadcast_object_list(told, 0)
        if failed[0] is not None:
            raise failed[0]
        if told[0] is not None:
            raise RunError(f"Ranks.save: {path}: the first process could not write it: {told[0]}")

    @arguments(path=PATH)
    def load(self, path: str | os.PathLike[str]) -> dict[str, Any] | None:
        """What :meth:`save` was given, None where there is no file; this process's generators go
        on from where they were then. Tensors are on the CPU.

        InputError: of another number of processes, or as of slayer.utils.load_checkpoint.
        """
        if not Path(path).exists():
            return None
        state = load_checkpoint(path)
        generators = state.pop(GENERATORS, None)
        if not isinstance(generators, list):
            raise InputError(f"Ranks.load: {path}: was not written by Ranks.save")
        if len(generators) != self.size:
            raise InputError(
                f"Ranks.load: {path}: was written by {len(generators)} processes, and here are {self.size}; another number takes other "
                "random numbers, so slayer.utils.load_checkpoint reads it for a new beginning"
            )
        host, *gpu = generators[self.rank]
        torch.set_rng_state(host)
        if gpu and self.device.type == "cuda":
            torch.cuda.set_rng_state(gpu[0], self.device)
        return state

    def close(self) -> None:
        """End the group of processes, where :func:`setup` made it."""
        if self._own and dist.is_initialized():
            # what DistributedDataParallel has of it would wait, with Python's lock, for a thread
            # that may need the lock to let go of the last tensors; this reference does not
            _ended.append(dist.group.WORLD)
            dist.destroy_process_group()
        self._own = False

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@arguments(backend=optional(choice("gloo", "nccl", "mpi")))
def setup(backend: str | None = None) -> Ranks:
    """This process among those that torchrun started, or alone where none did (RANK is not set).

    Args:
        backend: of torch.distributed. Default "nccl" where there is a GPU for each process of this
            machine, else "gloo".

    Raises:
        InputError: RANK is set and another of torchrun's variables is not. RunError: the processes
        do not find each other.
    """
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size(), _device(backend), own=False)
    if "RANK" not in os.environ:
        return Ranks(0, 1, torch.device("cpu"), own=False)
    missing = [name for name in NEEDED if name not in os.environ]
    if missing:
        raise InputError(
            f"slayer.distributed.setup: RANK is set, and {', '.join(missing)} not; torchrun sets all of them: "
            "python -m torch.distributed.run --nproc-per-node 2 train.py"
        )
    device = _device(backend)
    try:
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store, rank, size = next(iter(dist.rendezvous("env://")))
        # torchrun's store outlives a group and those of processes that were started before these:
        # none is to find another's addresses
        store = dist.PrefixStore(f"lavalike {attempt} {next(_groups)}", store)
        dist.init_process_group(
            backend or ("nccl" if device.type == "cuda" else "gloo"),
            store=store,
            rank=rank,
            world_size=size,
        )
    except (RuntimeError, ValueError) as e:
        raise RunError(
            f"slayer.distributed.setup: the processes do not find each other: {e}"
        ) from e
    return Ranks(dist.get_rank(), dist.get_world_size(), device, own=True)


def _device(backend: str | None) -> torch.device:
    local, count = int(os.environ.get("LOCAL_RANK", 0)), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if backend in ("gloo", "mpi") or torch.cuda.device_count() < count:
        return torch.device("cpu")
    torch.cuda.set_device(local)
    return torch.device("cuda", local)
