"""The state of torch around a call: whether compiled loops can run there, and a place where none of
it reaches.

Kernels read memory. Under a transform of torch.func, in a trace (torch.jit, make_fx, torch.export)
and on tensors without storage (fake, meta) there is none to read, or a reader would not be seen;
there an operator of torch stands for the loop, or the plain loop of torch's own operations.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from lavalike import arguments

arguments.compiling = torch.compiler.is_dynamo_compiling
T = TypeVar("T")
TRACING = ("FakeTensorMode", "ProxyTorchDispatchMode", "FunctionalTensorMode")
UNREAL = ("FakeTensor", "FunctionalTensor")

_tracing = threading.Lock()  # torch's tracers patch torch itself, one at a time


def unreadable() -> bool:
    """Whether a mode is on in which values cannot be asked for: tensors are fake, or proxies."""
    return torch._C._len_torch_dispatch_stack() > 0 and any(
        type(m).__name__ in TRACING for m in _get_current_dispatch_mode_stack()
    )


def special() -> bool:
    """Whether anything but autograd is to see operations here."""
    return (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._get_tracing_state() is not None
        or torch._C._functorch.peek_interpreter_stack() is not None
    )


def exporting() -> bool:
    """Whether what is compiled leaves this process, as a graph for others."""
    return hasattr(torch.compiler, "is_exporting") and torch.compiler.is_exporting()


def functional() -> bool:
    """Whether a transform of torch.func is on, in which nothing from outside may be changed."""
    return (
        not torch.compiler.is_compiling()
        and torch._C._functorch.peek_interpreter_stack() is not None
    )


def forwards() -> bool:
    """Whether derivatives are taken forwards, by dual numbers."""
    if forward_ad._current_level >= 0:
        return True
    stack = torch._C._functorch.get_interpreter_stack()
    return stack is not None and any(
        i.key() == torch._C._functorch.TransformType.Jvp for i in stack
    )


def differentiated() -> bool:
    """Whether a derivative is taken by a transform of torch.func, whatever ``requires_grad``
    says."""
    if torch.compiler.is_dynamo_compiling():
        return False
    if forward_ad._current_level >= 0:
        return True
    of = torch._C._functorch.TransformType
    stack = torch._C._functorch.get_interpreter_stack()
    return stack is not None and any(i.key() in (of.Grad, of.Jvp) for i in stack)


def trained(x: torch.Tensor) -> bool:
    """Whether ``x`` requires a gradient, also below what vmap makes of it."""
    if not torch.compiler.is_dynamo_compiling():
        while not x.requires_grad and torch._C._functorch.is_functorch_wrapped_tensor(x):
            x = torch._C._functorch.get_unwrapped(x)
    return x.requires_grad


def transformed() -> bool:
    """Whether operations are compiled, transformed, traced or without data here, whatever their
    tensors."""
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state() is not None
        or forward_ad._current_level >= 0
        or unreadable()
    )


def stored(x: torch.Tensor) -> bool:
    """Whether ``x`` has memory that a kernel can read."""
    return x.device.type != "meta" and (type(x) is torch.Tensor or type(x).__name__ not in UNREAL)


def alone(function: Callable[..., T], *args: Any) -> T:
    """``function(*args)`` outside all modes of the caller: in a thread of its own, whose modes are
    torch's defaults, without anomaly detection, which is every thread's. One at a time."""
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(function(*args))
        except BaseException as e:  # raised where it was called
            failed.append(e)

    with _tracing, torch.autograd.set_detect_anomaly(False):
        thread = threading.Thread(target=run, name="lavalike-trace")
        thread.start()
        thread.join()
    if failed:
        raise failed[0]
    return done[0]
