"""Parameter groups: a rate for each kind of parameter."""

from __future__ import annotations

from typing import Any

from torch import nn

from lavalike.arguments import arguments, instance, real
from lavalike.errors import InputError


@arguments(net=instance(nn.Module), lr=real(0), delay_lr=real(0))
def parameter_groups(net: nn.Module, lr: float, delay_lr: float = 0.1) -> list[dict[str, Any]]:
    """The parameters of ``net`` that are trained, as groups for a torch optimizer.

        optimizer = torch.optim.Adam(slayer.utils.parameter_groups(net, lr=0.01))

    - "weights": all but the following, at ``lr``.
    - "decays" of neurons (sin and cos of resonators too), at ``lr`` times 4096: they are stored
      times 4096, so that at ``lr`` 300 steps of Adam(0.01) move one from 0.1 to 0.1007.
    - "delays" of axons, at ``delay_lr``: they count in steps, begin below 1 and are rounded down,
      so that at 0.003 nothing moves for hundreds of steps.

    Groups without parameters are left out. Decays and delays get ``weight_decay`` 0: it would draw
    them to 0, at these rates within a few steps. The factor is that of optimizers whose steps are
    as long as their rate (Adam, RAdam, RMSprop, Rprop); for plain SGD the gradient is 4096 times
    smaller besides, so give that group's "lr" another factor 4096.

    Args:
        net: any module; a parameter that is in it twice is taken once.
        lr: rate of the weights.
        delay_lr: rate of the delays, in their unit a step. Default 0.1.

    Raises:
        InputError: nothing in ``net`` requires a gradient.
    """
    from lavalike.slayer.axon import Delay  # both use these helpers
    from lavalike.slayer.neuron.base import P_SCALE, Neuron

    decays = {id(getattr(m, n)) for m in net.modules() if isinstance(m, Neuron) for n in m.decays}
    delays = {id(m.delay) for m in net.modules() if isinstance(m, Delay)}
    groups: list[dict[str, Any]] = [
        {"params": [], "lr": lr, "name": "weights"},
        {"params": [], "lr": lr * P_SCALE, "weight_decay": 0.0, "name": "decays"},
        {"params": [], "lr": delay_lr, "weight_decay": 0.0, "name": "delays"},
    ]
    for p in net.parameters():
        if p.requires_grad:
            groups[1 if id(p) in decays else 2 if id(p) in delays else 0]["params"].append(p)
    found = [g for g in groups if g["params"]]
    if not found:
        raise InputError(
            f"parameter_groups: {type(net).__name__} has no parameter that requires a gradient"
        )
    return found
