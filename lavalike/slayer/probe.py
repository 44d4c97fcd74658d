"""Whether a network's forward is the chain of its blocks, found out by one call; and calls that
leave a network as it was."""

from __future__ import annotations

import contextlib
import random
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from lavalike.errors import ExportError
from lavalike.slayer.block.base import Affine, Block, Signal, State
from lavalike.slayer.neuron import sigma_delta

BATCH, STEPS = 2, 16
CONTAINERS = (list, dict, set, deque, OrderedDict)


@dataclass
class Call:
    """One call of a block: what it got, and what it was made to answer."""

    block: Block
    x: Signal
    y: Signal


def own_forward(network: Any) -> nn.Module | None:
    """``network`` where it is a module with a forward of its own, whatever torch.compile put around
    it; else None."""
    network = getattr(network, "_orig_mod", network)
    if (
        not isinstance(network, nn.Module)
        or isinstance(network, Block)
        or type(network).forward is nn.Module.forward
    ):
        return None
    return network


def result(y: Any) -> Any:
    """The output among what forward returns: itself, or the first of a tuple or list."""
    return y[0] if isinstance(y, tuple | list) and y else y


# -- leaving no trace ------------------------------------------------------------------------------


@contextlib.contextmanager
def untouched(network: nn.Module | None, blocks: Iterable[nn.Module]) -> Iterator[None]:
    """Evaluation without gradients, after which the modules are as they were: modes, attributes,
    lists and dicts among them, parameters, buffers, and the generators of torch, NumPy and
    Python."""
    modules = list(
        {
            id(m): m for root in (network, *blocks) if root is not None for m in root.modules()
        }.values()
    )
    attributes = [(m, dict(vars(m))) for m in modules]
    contents = {
        id(v): (v, v.copy())
        for _, found in attributes
        for v in found.values()
        if type(v) in CONTAINERS
    }
    own = {
        id(t): t
        for m in modules
        for t in (*m._parameters.values(), *m._buffers.values())
        if t is not None and not nn.parameter.is_lazy(t)
    }
    tensors = [(t, t.detach().clone(), t.requires_grad) for t in own.values()]
    devices = {t.device for t in own.values() if t.device.type not in ("cpu", "meta")}
    python, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        for device in devices:
            stack.enter_context(torch.random.fork_rng(devices=[device], device_type=device.type))
        stack.enter_context(torch.no_grad())
        try:
            for m in modules:
                m.training = False
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numbers)  # noqa: NPY002
            for m, found in attributes:
                vars(m).clear()
                vars(m).update(found)
            for now, before in contents.values():
                _refill(now, before)
            for t, before, requires_grad in tensors:
                if t.shape != before.shape:  # given its size meanwhile
                    t.data = before
                elif not torch.equal(t, before):
                    t.copy_(before)
                if t.requires_grad != requires_grad:
                    t.requires_grad_(requires_grad)


def _refill(now: Any, before: Any) -> None:
    if isinstance(now, dict):
        if [(k, id(v)) for k, v in now.items()] != [(k, id(v)) for k, v in before.items()]:
            now.clear()
            now.update(before)
    elif [id(v) for v in now] != [id(v) for v in before]:
        now.clear()
        (now.update if isinstance(now, set) else now.extend)(before)


def from_rest(blocks: Iterable[Block]) -> None:
    """Forget kept states; within ``untouched`` for the time being."""
    for block in blocks:
        for m in block.modules():
            reset: Any = getattr(m, "reset_state", None)
            if reset is not None:
                reset()


# -- the probe -------------------------------------------------------------------------------------


def check_chain(
    network: nn.Module, blocks: Sequence[Block], input_shape: tuple[int, ...] | None, example: Any
) -> tuple[int, ...]:
    """Call ``network`` once, each block answering with random messages instead of its own, and
    follow them.

    Random messages tell an output from any other tensor, and what was done to it, whatever the
    weights; nothing is computed in the blocks, so neither states nor statistics move.

    Returns:
        The shape of an input message of the first block.

    Raises:
        ExportError: where block k's input is not block k-1's output, the first one's not the
            network's input, or the network's output not the last one's; with the block, and what
            came instead.
    """
    labels = _labels(network, blocks)
    args = _arguments(blocks, input_shape, example)
    calls: list[Call] = []
    generator = torch.Generator().manual_seed(0)

    def answer(block: Block, x: Signal, state: State | None) -> tuple[Signal, State]:
        x = tuple(x) if isinstance(x, list) else x
        first = x[0] if isinstance(x, tuple) else x
        if not isinstance(first, torch.Tensor) or (isinstance(x, tuple) and not block.pairs):
            raise ExportError(
                f"{labels[id(block)]} takes one tensor, got {type(x).__name__} "
                "(a block with count_log=True returns (output, event rate))"
            )
        calls.append(Call(block, x, _answer(block, x, generator)))
        return calls[-1].y, {}

    watched = {
        id(b): b for b in (*blocks, *(m for m in network.modules() if isinstance(m, Block)))
    }.values()
    with untouched(network, blocks):
        for block in watched:
            vars(block)["_run"] = lambda x, state, block=block: answer(block, x, state)
        try:
            y = network(*args)
        except Exception as e:  # forward is the user's own
            if isinstance(e, ExportError):
                raise
            given = ", ".join(
                str(tuple(a.shape)) if isinstance(a, torch.Tensor) else type(a).__name__
                for a in args
            )
            raise ExportError(
                f"{type(network).__name__}.forward raised {type(e).__name__} for an input of {given}: {e}\n"
                "Give export_hdf5 an example=... of what forward takes."
            ) from e
    _follow(blocks, calls, args, y, labels)
    first = calls[0].x
    return tuple((first[0] if isinstance(first, tuple) else first).shape[1:-1])


def _labels(network: nn.Module, blocks: Sequence[Block]) -> dict[int, str]:
    labels = {
        id(m): f"block {n!r} ({m.label}), which is none of .blocks,"
        for n, m in network.named_modules()
        if isinstance(m, Block)
    }
    return labels | {id(b): f"block {k} ({b.label})" for k, b in reversed(list(enumerate(blocks)))}


def _arguments(
    blocks: Sequence[Block], input_shape: tuple[int, ...] | None, example: Any
) -> tuple[Any, ...]:
    """What forward is called with."""
    if example is not None:
        return tuple(example) if isinstance(example, tuple | list) else (example,)
    first = blocks[0]
    synapse: Any = getattr(first, "synapse", getattr(first, "input_synapse", None))
    shape = (
        input_shape
        or first.input_shape
        or ((synapse.in_neurons,) if hasattr(synapse, "in_neurons") else None)
    )
    if shape is None:
        raise ExportError(
            f"block 0 ({first.label}) does not know its shape: call the network once, or give input_shape"
        )
    like = next(
        (p for b in blocks for p in (*b.parameters(), *b.buffers()) if p.is_floating_point()),
        torch.zeros(()),
    )
    x = torch.randint(0, 2, (BATCH, *shape, STEPS), generator=torch.Generator().manual_seed(1)).to(
        like.device, like.dtype
    )
    return ((x, x.flip(-1)) if first.complex and first.kind == "input" else x,)


def _answer(block: Block, x: Signal, generator: torch.Generator) -> Signal:
    """Random messages of the kind a block sends: spikes, or multiples of 1/64."""
    first = x[0] if isinstance(x, tuple) else x
    if block.kind == "flatten":
        return block.drive(x)[0]
    try:
        shape = block.output_shape(tuple(first.shape[1:-1]))
    except NotImplementedError:
        if block.shape is None:
            raise
        shape = block.shape
    time = -(-first.shape[-1] // getattr(block, "factor", 1))
    spikes = (
        block.unit is not None
        and not isinstance(block, Affine)
        and not isinstance(block.unit, sigma_delta.Neuron)
    )
    parts = []
    for _ in range(2 if isinstance(block, Affine) and block.complex else 1):
        y = torch.randint(0, 2, (len(first), *shape, time), generator=generator)
        if not spikes:
            y = (2 * y - 1) * torch.randint(1, 64, y.shape, generator=generator) / 64
        y.view(-1)[0] = 1  # not all zeros, where they are few
        parts.append(y.to(first.device, first.real.dtype))
    return tuple(parts) if len(parts) == 2 else parts[0]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(map(_same, a, b))
    if (
        isinstance(a, torch.Tensor)
        and isinstance(b, torch.Tensor)
        and a.is_complex() != b.is_complex()
    ):
        return _same(
            torch.view_as_real(a).unbind(-1) if a.is_complex() else a,
            torch.view_as_real(b).unbind(-1) if b.is_complex() else b,
        )
    return (
        isinstance(a, torch.Tensor)
        and isinstance(b, torch.Tensor)
        and a.shape == b.shape
        and bool((a.to(b.device) == b).all())
    )


def _flat(y: Signal, x: Signal, block: Block) -> bool:
    """Whether ``x`` is ``y`` flattened in front of a dense layer, as a loaded file does by
    itself."""
    return (
        isinstance(x, torch.Tensor)
        and isinstance(y, torch.Tensor)
        and block.kind.startswith("dense")
        and y.dim() == 5
        and x.dim() == 3
        and _same(y.flatten(1, -2), x)
    )


def _follow(
    blocks: Sequence[Block],
    calls: list[Call],
    args: tuple[Any, ...],
    y: Any,
    labels: dict[int, str],
) -> None:
    """Compare the calls of ``blocks`` with the chain."""
    remedy = (
        "\nA file holds the chain of .blocks. Bring forward in line with it, or pass export_hdf5 the list of blocks to export their "
        "chain, whatever forward does."
    )
    listed = {id(b) for b in blocks}
    made = [c for c in calls if id(c.block) in listed]
    for block in blocks:
        times, due = (sum(b is block for b in found) for found in ([c.block for c in made], blocks))
        if times != due:
            stands = "" if due == 1 else f", but stands {_count(due)} in .blocks"
            raise ExportError(
                f"{labels[id(block)]} is {f'called {_count(times)}' if times else 'not called'} by forward{stands}{remedy}"
            )
    for k, (block, call) in enumerate(zip(blocks, made, strict=True)):
        if call.block is not block:
            raise ExportError(
                f"{labels[id(block)]} is not call {k} of forward: {labels[id(call.block)]} came instead{remedy}"
            )
    known: list[tuple[str, Any]] = [(f"the output of {labels[id(c.block)]}", c.y) for c in calls]
    known.append(("forward's own input", args[0] if len(args) == 1 else list(args)))
    for k, call in enumerate(made):
        source = (
            known[-1]
            if k == 0
            else (f"the output of {labels[id(made[k - 1].block)]}", made[k - 1].y)
        )
        if not any(
            _same(a, call.x) or _flat(a, call.x, call.block)
            for a in (args if k == 0 else (source[1],))
        ):
            raise ExportError(
                f"{labels[id(call.block)]}: its input is not {source[0]}: {_instead(call.x, source[1], known)}{remedy}"
            )
    last = made[-1]
    found = list(y.values()) if isinstance(y, dict) else [y, result(y)]
    if not any(_same(last.y, v) for v in found):
        raise ExportError(
            f"forward does not return the output of {labels[id(last.block)]}: {_instead(found[-1], last.y, known)}{remedy}"
        )


def _count(n: int) -> str:
    return {1: "once", 2: "twice"}.get(n, f"{n} times")


def _instead(got: Any, want: Any, known: list[tuple[str, Any]]) -> str:
    """What ``got`` is, where ``want`` was due."""
    for name, value in known:
        if _same(value, got):
            return f"it is {name}"
    got, want = result(got), result(want)
    if not isinstance(got, torch.Tensor):
        return f"it is a {type(got).__name__}"
    if not isinstance(want, torch.Tensor):
        return f"it is a tensor of shape {tuple(got.shape)}, not a {type(want).__name__}"
    if got.shape != want.shape:
        return f"it is a tensor of shape {tuple(got.shape)}, not {tuple(want.shape)}"
    wrong = int((got.to(want.device) != want).sum())
    return f"{wrong} of {want.numel()} values were changed in between"
