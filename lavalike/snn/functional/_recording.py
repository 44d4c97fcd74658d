"""What losses, accuracies and regularisers have in common: recordings ``[T, B, C]`` and labels
``[B]``.

Shapes are checked, values are not looked at: a loss inside a model can be traced and compiled.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lavalike.arguments import FLAG, TENSOR, TEXT, Rule, is_integer, optional, shown
from lavalike.errors import InputError, InputTypeError

Recording = torch.Tensor | Sequence[torch.Tensor]

# of losses and accuracies; what they may be together is looked at by check_classes and
# check_reduction
CLASSES = {
    "population_code": FLAG,
    "num_classes": Rule(
        "a whole number >= 1, or False", lambda v: isinstance(v, bool) or is_integer(v)
    ),
}
LOSS = {"reduction": TEXT, "weight": optional(TENSOR)}


def recording(
    x: Recording, who: str, axes: str = "[T, B, C]", name: str = "spk_out"
) -> torch.Tensor:
    """``x``, a list of steps stacked; in at least float32, so that counts above 256 are exact in
    bfloat16 too."""
    if not isinstance(x, torch.Tensor) and not (
        isinstance(x, list | tuple) and all(isinstance(step, torch.Tensor) for step in x)
    ):
        raise InputTypeError(
            f"{who}: {name}, a recording {axes}, is a tensor or a list of steps, got {shown(x)} ({type(x).__name__})"
        )
    if isinstance(x, list | tuple):
        shapes = {tuple(step.shape) for step in x}
        if len(shapes) != 1:
            raise InputError(
                f"{who}: a list of steps of one shape is expected, got {len(x)} steps of shapes {sorted(shapes)}"
            )
        x = torch.stack(tuple(x))
    least = axes.count(",") + 1
    if x.dim() < least or (x.dim() > least and "..." not in axes) or 0 in x.shape:
        raise InputError(
            f"{who}: recording of shape {tuple(x.shape)}; expected {axes}, time first, none of them 0"
        )
    return x.to(torch.promote_types(x.dtype, torch.float32))


def labels(targets: torch.Tensor, x: torch.Tensor, who: str) -> torch.Tensor:
    """``targets`` as int64 ``[B]``."""
    if not isinstance(targets, torch.Tensor):
        raise InputTypeError(
            f"{who}: targets are a torch tensor of integer labels [B], got {shown(targets)} ({type(targets).__name__})"
        )
    if (
        targets.shape != x.shape[1:2]
        or targets.is_floating_point()
        or targets.is_complex()
        or targets.dtype == torch.bool
    ):
        raise InputError(
            f"{who}: targets of shape {tuple(targets.shape)}, {targets.dtype}, for a recording of shape {tuple(x.shape)}; "
            "expected integer labels [B] for [T, B, C]: time is the first axis, the batch the second"
        )
    return targets.long()


def check_classes(population_code: bool, num_classes: int | bool, who: str) -> None:
    if population_code not in (False, True):
        raise InputTypeError(f"{who}: population_code is {FLAG.words}, got {population_code!r}")
    if isinstance(num_classes, bool):
        if population_code or num_classes:
            raise InputError(
                f"{who}: population_code=True needs num_classes, the number of classes, got {num_classes}"
            )
    elif not is_integer(num_classes):
        raise InputTypeError(
            f"{who}: num_classes is a whole number >= 1, got {num_classes!r} ({type(num_classes).__name__})"
        )
    elif num_classes < 1:
        raise InputError(f"{who}: num_classes is a whole number >= 1, got {num_classes!r}")


def by_class(
    x: torch.Tensor, population_code: bool, num_classes: int | bool, who: str
) -> torch.Tensor:
    """``[..., C]``: with a population code, each class's neurons, which stand side by side, added
    up."""
    outputs = x.shape[-1]
    if not population_code:
        if num_classes and num_classes != outputs:
            raise InputError(
                f"{who}: {outputs} outputs for num_classes={num_classes}; population_code=True makes a class of several"
            )
        return x
    if outputs % num_classes:
        raise InputError(
            f"{who}: {outputs} outputs cannot be shared out evenly among num_classes={num_classes}"
        )
    return x.unflatten(-1, (int(num_classes), -1)).sum(-1)


def class_weight(
    weight: torch.Tensor | None, classes: int, like: torch.Tensor, who: str
) -> torch.Tensor | None:
    if weight is None:
        return None
    if tuple(weight.shape) != (classes,):
        raise InputError(
            f"{who}: weight of shape {tuple(weight.shape)}; expected one a class, ({classes},)"
        )
    return weight.to(like)


def weighted(
    loss: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor | None, classes: int, who: str
) -> torch.Tensor:
    """``loss`` of the shape of ``targets``, or with classes ``[..., C]``, times the weights of the
    labelled classes."""
    weight = class_weight(weight, classes, loss, who)
    if weight is None:
        return loss
    mine = weight[targets]
    return loss * (mine if loss.dim() == targets.dim() else mine[..., None])


def check_reduction(reduction: str, who: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise InputError(f"{who}: reduction is 'mean', 'sum' or 'none', got {reduction!r}")


def reduced(loss: torch.Tensor, reduction: str) -> torch.Tensor:
    if reduction == "none":
        return loss
    return loss.mean() if reduction == "mean" else loss.sum()
