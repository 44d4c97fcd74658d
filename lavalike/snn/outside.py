"""What a network does besides operations on tensors: hooks, random numbers of other makers, values
left on its modules."""

from __future__ import annotations

import copy
import functools
import itertools
import pickle
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as modules

from lavalike.errors import InputError
from lavalike.snn.record import leaves

HOOKS = {
    "_forward_pre_hooks": "forward pre-hook",
    "_forward_hooks": "forward hook",
    "_backward_pre_hooks": "full backward pre-hook",
    "_backward_hooks": "backward hook",
}
OWN = frozenset(vars(nn.Module()))  # attributes of a module that are torch's own
PLAIN = (int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
SEEN, MANY = (
    20_000,
    1_000,
)  # objects that are looked through for generators, in all and of one container
LIBRARIES = frozenset(
    {*sys.stdlib_module_names, "torch", "numpy", "scipy", "lavalike", "builtins"}
) - {"__main__"}

# -- kinds of modules, and hooks -------------------------------------------------------------------


def root(net: nn.Module) -> nn.Module:
    """The module whose forward is recorded: what DistributedDataParallel wraps, or ``net``;
    wrappers that cannot be are refused."""
    inner = net.module if isinstance(net, nn.parallel.DistributedDataParallel) else net
    for name, module in inner.named_modules():
        where = f"{name or 'the network'} ({type(module).__name__})"
        kinds = {c.__name__ for c in type(module).__mro__}
        if kinds & {"FullyShardedDataParallel", "FSDPModule"}:
            raise InputError(
                f"accelerate: {where} is sharded by FSDP, which gathers weights in hooks that a recording does not run; use "
                "DistributedDataParallel, or the plain loop"
            )
        if "DistributedDataParallel" in kinds:
            raise InputError(
                f"accelerate: {where} is inside the network; wrap the whole network in DistributedDataParallel"
            )
        if "DataParallel" in kinds and len(module.device_ids) > 1:
            raise InputError(
                f"accelerate: {where} copies the network to {len(module.device_ids)} devices; use DistributedDataParallel"
            )
        if "ScriptModule" in kinds or "OptimizedModule" in kinds:
            raise InputError(
                f"accelerate: {where} is compiled, which hides its operations; give accelerate the module as it was"
            )
        for key, p in module.named_parameters(recurse=False):
            if type(p.data).__name__ == "DTensor":
                raise InputError(
                    f"accelerate: {where}: {key} is a DTensor, spread over processes; use DistributedDataParallel"
                )
    return inner


def hooked_everywhere() -> bool:
    return bool(modules._has_any_global_hook())


def hooked(module: nn.Module) -> bool:
    """Whether a module has hooks of its own."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def refuse_hooks(inside: Iterable[nn.Module], net: nn.Module) -> None:
    """Refuse hooks that would act in every step: a recording runs none. Those of the network as a
    whole act around the folded forward; torch.nn.utils' own inside it (weight norm, pruning) are
    recorded."""
    if hooked_everywhere():
        raise InputError(
            "accelerate: a hook on all modules (torch.nn.modules.module.register_module_...) is set; a folded network runs no "
            "module step by step. Remove it, or train with the plain loop"
        )
    names = {id(m): n for n, m in net.named_modules()}
    for module in inside:
        for place, kind in HOOKS.items():
            for hook in getattr(module, place).values():
                maker = getattr(hook, "__module__", None) or type(hook).__module__
                utility = kind == "forward pre-hook" and str(maker).startswith("torch.nn.utils.")
                if utility is not (module is net):
                    continue
                name = getattr(hook, "__qualname__", type(hook).__qualname__)
                raise InputError(
                    f"accelerate: {names.get(id(module), '')} ({type(module).__name__}) has a {kind}, {name}, which would act "
                    "in every step; a folded network runs its layers over all steps at once. Remove it (return what it reads "
                    "from forward, do what it changes in forward), or train with the plain loop"
                )


# -- random numbers --------------------------------------------------------------------------------


class Generators:
    """Generators of random numbers that a recording does not see: the states of those of NumPy,
    ``random`` and torch, global ones and those within reach of the network, compared before and
    after."""

    def __init__(self, net: nn.Module, forward: Callable[..., Any], device: torch.device) -> None:
        self._all: list[tuple[str, Callable[[], Any], Callable[[Any], Any]]] = [
            ("random", random.getstate, random.setstate),
            (
                "numpy.random",
                functools.partial(np.random.get_state, legacy=False),
                np.random.set_state,
            ),
            ("torch's generator", torch.get_rng_state, torch.set_rng_state),
        ]
        if device.type == "cuda":
            self._all.append(
                (
                    "torch's generator",
                    lambda: torch.cuda.get_rng_state(device),
                    lambda s: torch.cuda.set_rng_state(s, device),
                )
            )
        for g in _within_reach([*net.modules(), forward]):
            name = f"a {type(g).__module__.split('.')[0]}.{type(g).__name__}"
            if isinstance(g, random.Random):
                self._all.append((name, g.getstate, g.setstate))
            elif isinstance(g, torch.Generator):
                self._all.append((name, g.get_state, g.set_state))
            elif isinstance(g, np.random.RandomState):
                self._all.append((name, functools.partial(g.get_state, legacy=False), g.set_state))
            else:
                bits = g if isinstance(g, np.random.BitGenerator) else g.bit_generator
                self._all.append(
                    (
                        name,
                        functools.partial(getattr, bits, "state"),
                        functools.partial(setattr, bits, "state"),
                    )
                )
        self._states = [get() for _, get, _ in self._all]
        self._before = [_bytes(s) for s in self._states]

    def drew(self) -> str:
        """The first that has drawn since, or nothing."""
        return next(
            (
                name
                for (name, get, _), old in zip(self._all, self._before, strict=True)
                if _bytes(get()) != old
            ),
            "",
        )

    def restore(self) -> None:
        for (_, _, put), state in zip(self._all, self._states, strict=True):
            put(state)


def _bytes(state: Any) -> bytes:
    return state.numpy().tobytes() if isinstance(state, torch.Tensor) else pickle.dumps(state)


def _within_reach(things: Iterable[Any]) -> list[Any]:
    """Generators that modules, their methods, and what these name or hold, have."""
    found: list[Any] = []
    seen: set[int] = set()
    queue = deque(things)
    while queue and len(seen) < SEEN:
        value = queue.popleft()
        if id(value) in seen or isinstance(value, (*PLAIN, torch.Tensor, np.ndarray)):
            continue
        seen.add(id(value))
        if isinstance(value, random.SystemRandom):
            continue
        if isinstance(
            value,
            random.Random
            | np.random.Generator
            | np.random.RandomState
            | np.random.BitGenerator
            | torch.Generator,
        ):
            found.append(value)
        elif isinstance(value, list | tuple | set | frozenset | deque):
            queue.extend(itertools.islice(value, MANY))
        elif isinstance(value, dict):
            queue.extend(itertools.islice(value.values(), MANY))
        elif isinstance(value, nn.Module):
            queue.extend(v for k, v in vars(value).items() if k not in OWN)
            queue.append(type(value))
        elif isinstance(value, MethodType):
            queue.extend((value.__self__, value.__func__))
        elif isinstance(value, functools.partial):
            queue.extend((value.func, value.args, value.keywords))
        elif _library(value):
            continue
        elif isinstance(value, FunctionType):
            queue.extend(_named(value.__code__, value.__globals__))
            queue.extend(c.cell_contents for c in value.__closure__ or () if _full(c))
            queue.extend((value.__defaults__, value.__kwdefaults__, vars(value)))
        elif isinstance(value, type):
            queue.extend(value.__mro__[1:])
            queue.extend(vars(value).values())
        elif isinstance(value, staticmethod | classmethod):
            queue.append(value.__func__)
        elif isinstance(value, property):
            queue.append(value.fget)
        elif not isinstance(value, ModuleType) and hasattr(value, "__dict__"):
            queue.extend((vars(value), type(value)))
    return found


def _named(code: CodeType, names: dict[str, Any]) -> list[Any]:
    """Globals, and things in a user's own modules, that a function's code names."""
    found = [names[n] for n in code.co_names if n in names]
    for module in [v for v in found if isinstance(v, ModuleType) and not _library(v)]:
        found.extend(vars(module)[n] for n in code.co_names if n in vars(module))
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            found.extend(_named(inner, names))
    return found


def _library(value: Any) -> bool:
    owner = (
        value.__name__
        if isinstance(value, ModuleType)
        else getattr(value, "__module__", None) or type(value).__module__
    )
    return str(owner).split(".", 1)[0] in LIBRARIES


def _full(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


# -- values left on modules ------------------------------------------------------------------------


class Attributes:
    """The attributes of all modules, as they were; what a forward leaves there."""

    def __init__(self, net: nn.Module) -> None:
        self._names = {m: n for n, m in net.named_modules()}
        self._before = {m: {**_own(m), **m._buffers} for m in self._names}
        self._copies = {
            id(v): copy.copy(v)
            for held in self._before.values()
            for v in held.values()
            if type(v) in (list, dict, set, deque)
        }
        self._versions = {
            id(v): v._version
            for held in self._before.values()
            for v in held.values()
            if isinstance(v, torch.Tensor) and not v.is_inference()
        }

    def named(self, module: nn.Module, name: str) -> str:
        whole = ".".join(n for n in (self._names[module], name) if n)
        return f"{whole} ({type(module).__name__})"

    def left(self) -> dict[tuple[nn.Module, str], Any]:
        """What is new or another one: trees of tensors, numbers and texts."""
        found = {}
        for module, before in self._before.items():
            for name, value in {**_own(module), **module._buffers}.items():
                old = before.get(name, self)
                if value is old and id(value) in self._versions and name not in module._buffers:
                    if value._version != self._versions[id(value)]:
                        raise InputError(
                            f"accelerate: {self.named(module, name)} is changed in place in forward; a recording would do so "
                            "once. Hand it to forward as an input and return the new one"
                        )
                    continue
                if value is old and (
                    id(value) not in self._copies or _same(value, self._copies[id(value)])
                ):
                    continue
                if (
                    isinstance(value, PLAIN)
                    and isinstance(old, PLAIN)
                    and type(value) is type(old)
                    and value == old
                ):
                    continue
                if all(isinstance(x, (*PLAIN, torch.Tensor)) for x in leaves(value)):
                    found[module, name] = value
        return found

    def restore(self) -> None:
        """Put back what was there."""
        for module, before in self._before.items():
            now = {**_own(module), **module._buffers}
            for name, value in now.items():
                if name in module._buffers:
                    if name in before:
                        module._buffers[name] = before[name]
                    else:
                        del module._buffers[name]
                elif name not in before:
                    module.__dict__.pop(name, None)
                elif value is not before[name]:
                    module.__dict__[name] = before[name]
            for value in before.values():
                kept = self._copies.get(id(value))
                if kept is not None and not _same(value, kept):
                    value.clear()
                    (value.extend if isinstance(value, list | deque) else value.update)(kept)


def _own(module: nn.Module) -> dict[str, Any]:
    return {k: v for k, v in vars(module).items() if k not in OWN and k != "_hidden"}


def _same(a: Any, b: Any) -> bool:
    """Whether two containers hold the same things."""
    if len(a) != len(b):
        return False
    if isinstance(a, dict):
        return all(
            x is y for x, y in zip((*a.keys(), *a.values()), (*b.keys(), *b.values()), strict=True)
        )
    return a == b if isinstance(a, set) else all(x is y for x, y in zip(a, b, strict=True))


def repeats(first: Any, second: Any, mine: Callable[[Any], bool]) -> bool:
    """Whether a second forward left what the first one did: ``mine`` tells the second one's values,
    which are not known yet."""
    a, b = leaves(first), leaves(second)
    if len(a) != len(b):
        return False
    for x, y in zip(a, b, strict=True):
        if mine(y):
            if type(x) is not type(y) or x.shape != y.shape or x.dtype != y.dtype:
                return False
        elif type(x) is not type(y):
            return False
        elif isinstance(x, torch.Tensor):
            if (
                x.is_meta
                or y.is_meta
                or x.shape != y.shape
                or x.dtype != y.dtype
                or not torch.equal(x, y)
            ):
                return False
        elif x != y:
            return False
    return True
