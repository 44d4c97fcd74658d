"""An epoch of training by backpropagation through time, in snnTorch's words; a loop of one's own,
or :func:`lavalike.snn.accelerate`, does the same and more.

The network is called once a step; its neurons have ``init_hidden=True``, the last of them
``output=True``, so that a call returns ``(spikes, ..., membrane)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from lavalike.arguments import FLAG, FUNCTION, Rule, arguments, instance, integer, or_false, shown
from lavalike.errors import InputError, InputTypeError
from lavalike.snn.functional import LossFunctions
from lavalike.snn.functional.loss import ce_max_membrane_loss, mse_membrane_loss
from lavalike.snn.neuron import NET, Stateful, detach, reset

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Penalty = Callable[[torch.Tensor], torch.Tensor]
OF_MEMBRANES = (ce_max_membrane_loss, mse_membrane_loss)
_RULES = {
    "net": NET,
    "dataloader": Rule("an iterable of (data, targets)", lambda v: isinstance(v, Iterable)),
    "optimizer": instance(torch.optim.Optimizer, words="an optimizer of torch's"),
    "num_steps": or_false(integer(1)),
    "time_var": FLAG,
    "time_first": FLAG,
    "regularization": or_false(FUNCTION),
    "device": Rule("a torch device", lambda v: isinstance(v, str | torch.device)),
}


@arguments(**_RULES, K=or_false(integer(1)))
def TBPTT(
    net: nn.Module,
    dataloader: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    criterion: Loss,
    num_steps: int | bool | None = False,
    time_var: bool = True,
    time_first: bool = True,
    regularization: Penalty | bool | None = False,
    device: str | torch.device = "cpu",
    K: int | bool | None = 1,
) -> torch.Tensor:
    """An epoch of truncated backpropagation through time: an update every ``K`` steps, whose
    gradients end where those steps began.

    Args:
        net: see the module; it is moved to ``device``.
        dataloader: of (data, targets).
        optimizer: of its parameters.
        criterion: a loss of :mod:`lavalike.snn.functional`; of spikes, or of membranes
            (mse_membrane_loss, ce_max_membrane_loss).
        num_steps: how many, with ``time_var=False``. Default False: the data's.
        time_var: data change from step to step (default): [T, B, ...]. With False they are the same
            in all steps: [B, ...].
        time_first: of such data; with False they are [B, T, ...]. Default True.
        regularization: of spikes, added to the loss. Default False: none.
        device: Default "cpu".
        K: steps an update; those left over at the end are one more. False: all of them. Default 1.

    Returns the mean loss of the epoch: of its batches, of each the mean over its updates, by their
    numbers of steps.

    Raises:
        InputTypeError: another criterion.
        InputError: num_steps with time_var, or neither; more K than steps; neurons without
            init_hidden, or whose output is not what the criterion reads.
    """
    return _epoch(
        "TBPTT",
        net,
        dataloader,
        optimizer,
        criterion,
        num_steps,
        time_var,
        time_first,
        regularization,
        device,
        K,
    )


@arguments(**_RULES)
def BPTT(
    net: nn.Module,
    dataloader: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    criterion: Loss,
    num_steps: int | bool | None = False,
    time_var: bool = True,
    time_first: bool = True,
    regularization: Penalty | bool | None = False,
    device: str | torch.device = "cpu",
) -> torch.Tensor:
    """An epoch of backpropagation through time: an update a batch, after its last step; see
    :func:`TBPTT`."""
    return _epoch(
        "BPTT",
        net,
        dataloader,
        optimizer,
        criterion,
        num_steps,
        time_var,
        time_first,
        regularization,
        device,
        None,
    )


@arguments(**_RULES)
def RTRL(
    net: nn.Module,
    dataloader: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    criterion: Loss,
    num_steps: int | bool | None = False,
    time_var: bool = True,
    time_first: bool = True,
    regularization: Penalty | bool | None = False,
    device: str | torch.device = "cpu",
) -> torch.Tensor:
    """An epoch with an update every step, whose gradient is that step's alone: :func:`TBPTT` with
    ``K=1``. snnTorch calls it so; real-time recurrent learning, which carries the gradient of all
    steps before forward in time, it is not."""
    return _epoch(
        "RTRL",
        net,
        dataloader,
        optimizer,
        criterion,
        num_steps,
        time_var,
        time_first,
        regularization,
        device,
        1,
    )


def _epoch(
    who: str,
    net: nn.Module,
    dataloader: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    criterion: Loss,
    num_steps: int | bool | None,
    time_var: bool,
    time_first: bool,
    regularization: Any,
    device: str | torch.device,
    K: int | bool | None,
) -> torch.Tensor:
    if not isinstance(criterion, LossFunctions):
        raise InputTypeError(
            f"{who}: criterion is a loss of lavalike.snn.functional (ce_rate_loss() and the like), got "
            f"{shown(criterion)}"
        )
    if bool(num_steps) is bool(time_var):
        raise InputError(
            f"{who}: num_steps is given with time_var=False, and only then; got num_steps {num_steps}, time_var {time_var}"
        )
    if not time_var and not time_first:
        raise InputError(f"{who}: time_first=False is of data with a time, time_var=True")
    for name, module in net.named_modules():
        if isinstance(module, Stateful) and module.state_names and not module.init_hidden:
            raise InputError(
                f"{who}: {name or 'the network'} ({module.label}) is called once a step and has to keep its state: "
                "init_hidden=True"
            )
    net.to(device).train()
    losses = []
    for data, targets in dataloader:
        data, targets = data.to(device), targets.to(device)
        if time_var:
            steps = list(data.unbind(0 if time_first else 1))
        else:
            steps = [data] * int(num_steps or 0)
        each = len(steps) if not K else int(K)
        if not 0 < each <= len(steps):
            raise InputError(f"{who}: K is at most the number of steps, {len(steps)}, got {each}")
        reset(net)
        mean = torch.zeros((), device=device)
        for begin in range(0, len(steps), each):
            part = steps[begin : begin + each]
            spk, mem = _run(who, net, part, isinstance(criterion, OF_MEMBRANES))
            wanted = targets
            if getattr(criterion, "time_var_targets", False):
                wanted = targets[begin : begin + len(part)]
            loss = criterion(spk if mem is None else mem, wanted)
            if regularization:
                loss = loss + regularization(spk)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            detach(net)
            mean = mean + loss.detach() * (len(part) / len(steps))
        losses.append(mean)
    if not losses:
        raise InputError(f"{who}: the dataloader has no batch")
    return torch.stack(losses).mean()


def _run(
    who: str, net: nn.Module, steps: list[torch.Tensor], membranes: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Spikes, and membranes if they are asked for, of some steps."""
    spk, mem = [], []
    for now in steps:
        out = net(now)
        if isinstance(out, tuple):
            spk.append(out[0])
            last: Any = out[-1]
            mem.append(last[0] if isinstance(last, tuple) else last)
        elif membranes:
            raise InputError(
                f"{who}: the criterion is of membranes; the last layer has output=True, so that the network returns them"
            )
        else:
            spk.append(out)
    return torch.stack(spk), torch.stack(mem) if membranes else None
