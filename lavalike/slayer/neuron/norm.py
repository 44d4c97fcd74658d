"""Normalisation that becomes a bias of the deployed neuron."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch

from lavalike.arguments import FUNCTION, arguments, integer, optional, real
from lavalike.errors import InputError
from lavalike.slayer.axon.sized import Sized
from lavalike.text import settings


class _Averaged(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        out = x.contiguous().clone()
        torch.distributed.all_reduce(out)
        return out / torch.distributed.get_world_size()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:  # each rank's loss depends on all
        return _Averaged.apply(grad)


def _averaged(x: torch.Tensor) -> torch.Tensor:
    """The mean of ``x`` over the processes of a training, of batches of one size."""
    return _Averaged.apply(x)


class MeanOnlyBatchNorm(Sized):
    """Subtracts the channel mean: of the batch in training, the running one in evaluation.

    In a training over several processes (:mod:`lavalike.slayer.distributed`) the batch is that of
    all of them. ``running = (1 - momentum) running + momentum mean``; the mean is quantised by
    ``pre_hook_fx`` before it is subtracted (reference: lava-dl 0.6, neuron/norm).

    Example:
        >>> norm = slayer.neuron.norm.MeanOnlyBatchNorm(num_features=3)
        >>> norm(torch.rand(8, 3, 20)).mean().abs() < 0.01
        tensor(True)

    Args:
        num_features: channels; found at the first call if None.
        momentum: share of the batch in the running mean, 0..1. Default 0.1.
        pre_hook_fx: the quantisation; takes ``descale`` too. A neuron gives its own.

    Attributes: ``update``: whether training uses and counts the batch's mean (default), or the
    running one as evaluation does; ``num_features``, None until they are known.
    """

    running_mean: torch.Tensor

    @arguments(num_features=optional(integer(1)), momentum=real(0, 1), pre_hook_fx=FUNCTION)
    def __init__(
        self,
        num_features: int | None = None,
        momentum: float = 0.1,
        pre_hook_fx: Callable[..., Any] = lambda x: x,
    ) -> None:
        super().__init__()
        self.momentum, self.pre_hook_fx = momentum, pre_hook_fx
        self.register_buffer(
            "running_mean", torch.zeros(1 if num_features is None else num_features)
        )
        self._sized = num_features is not None
        self.update = True
        self.over_ranks = False  # the batch is that of all processes of a training

    @property
    def label(self) -> str:
        return f"norm.{type(self).__name__}"

    def extra_repr(self) -> str:
        return settings({"num_features": self.num_features, "momentum": self.momentum})

    @property
    def num_features(self) -> int | None:
        return len(self.running_mean) if self._sized else None

    def reset_parameters(self) -> None:
        """Forget what was counted."""
        self.running_mean.zero_()

    def unsized(self) -> Iterable[str]:
        return () if self._sized else ("running_mean",)

    def size(self, name: str, channels: int) -> None:
        self.running_mean = self.running_mean.new_zeros(channels)
        self._sized = True

    @property
    def bias(self) -> torch.Tensor:
        """The bias a deployed neuron adds instead, in weight integers."""
        return -self.pre_hook_fx(self.running_mean, descale=True)

    def average(self, old: torch.Tensor, new: torch.Tensor, factor: float = 1) -> None:
        """Move a running value."""
        with torch.no_grad():
            old.mul_(1 - self.momentum).add_(new, alpha=self.momentum * factor)

    def forward(self, inp: torch.Tensor) -> torch.Tensor:
        self.fit(inp.shape[1])
        if len(self.running_mean) != inp.shape[1]:
            raise InputError(
                f"{self.label}: input has shape {tuple(inp.shape)}; expected {len(self.running_mean)} channels"
            )
        mean = self.mean(lambda: inp.mean([0, *range(2, inp.dim())]))
        return inp - mean.reshape(1, -1, *[1] * (inp.dim() - 2))

    def mean(self, of_batch: Callable[[], torch.Tensor]) -> torch.Tensor:
        """What is subtracted, one a channel: the batch's mean in training, which moves the running
        one, else that; quantised."""
        if not (self.training and self.update):
            return self.pre_hook_fx(self.running_mean)
        mean = of_batch()
        if self.over_ranks:
            mean = _averaged(mean)
        self.average(self.running_mean, mean)
        return self.pre_hook_fx(mean)


class WgtScaleBatchNorm(MeanOnlyBatchNorm):
    """MeanOnlyBatchNorm, then division by a power of two near the deviation of the whole tensor:
    ``2**ceil(log2(sqrt(var + eps)))``, its exponent within +-weight_exp_bits (reference: lava-dl
    0.6, neuron/norm).

    The exponent would scale the deployed weights, for which a .net file has no place: a block is
    exported only while it is 0.

    Example:
        >>> norm = slayer.neuron.norm.WgtScaleBatchNorm(num_features=3)
        >>> norm(torch.rand(8, 3, 20)).shape
        torch.Size([8, 3, 20])

    Args:
        weight_exp_bits: limit of the exponent. Default 3.
        eps: added to the variance. Default 1e-5.
        num_features, momentum, pre_hook_fx: see MeanOnlyBatchNorm.

    The running variance begins at 0.5, whose exponent is 0 (lava-dl's began at 0: untrained, it
    multiplied by 8).
    """

    running_var: torch.Tensor
    START: ClassVar[float] = 0.5

    @arguments(weight_exp_bits=integer(0, 30), eps=real(above=0))
    def __init__(
        self,
        num_features: int | None = None,
        momentum: float = 0.1,
        weight_exp_bits: int = 3,
        eps: float = 1e-5,
        pre_hook_fx: Callable[..., Any] = lambda x: x,
    ) -> None:
        super().__init__(num_features, momentum, pre_hook_fx)
        self.weight_exp_bits, self.eps = weight_exp_bits, eps
        self.register_buffer("running_var", torch.full((1,), self.START))

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.running_var.fill_(self.START)

    def exponent(self, var: torch.Tensor) -> torch.Tensor:
        return torch.ceil(torch.log2(torch.sqrt(var + self.eps))).clamp(
            -self.weight_exp_bits, self.weight_exp_bits
        )

    def std(self, var: torch.Tensor) -> torch.Tensor:
        """What an input of this variance is divided by."""
        return 2 ** self.exponent(var)

    @property
    def weight_exp(self) -> torch.Tensor:
        """The exponent in evaluation."""
        return self.exponent(self.running_var)

    def forward(self, inp: torch.Tensor) -> torch.Tensor:
        centred = super().forward(inp)
        if not (self.training and self.update):
            return centred / self.std(self.running_var).to(inp.dtype)
        count, values = inp.numel(), inp.detach()
        if self.over_ranks:
            count *= torch.distributed.get_world_size()
            var = _averaged(((values - _averaged(values.mean())) ** 2).mean())
        else:
            var = values.var(correction=0)
        self.average(self.running_var, var, count / (count + 1))
        return centred / self.std(var)
