"""Torch models of connections, sources and sinks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from lavalike.backends.torch.model import Tensors, TorchModel
from lavalike.compiler.flat import warn_graded
from lavalike.model.model import implements
from lavalike.proc.conv import Conv, ConvTranspose
from lavalike.proc.dense import Delay, DelayDense, DelayLine, Dense, Sparse
from lavalike.proc.io import sink, source


def as_events(s: torch.Tensor, graded: bool, model: TorchModel | None = None) -> torch.Tensor:
    """Messages, or 1 for each that is not zero (the gradient passes); of ``model`` one warning where that changes one."""
    if graded:
        return s
    more = ((s != 0).to(s.dtype) - s).detach()
    if model is not None and not model.told and (s.device.type == "cpu" or not model.looked) and not torch.compiler.is_compiling():
        model.looked = True  # on an accelerator once: looking waits for it
        if more.any():
            model.told = True
            warn_graded(model.process)
    return s + more


class _Connection(TorchModel):
    """Sends what it accumulated; subclasses say what a message is worth in ``product``, time as a last axis."""

    def product(self, s: torch.Tensor, c: Mapping[str, Any]) -> torch.Tensor:
        raise NotImplementedError

    def send(self, state: Tensors, c: Mapping[str, Any]) -> Tensors:
        return {"a_out": state["a_buff"]}

    def receive(self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]) -> Tensors:
        return {"a_buff": self.product(inputs["s_in"][..., None], c)[..., 0]}

    def sequence(self, inputs: Tensors, state: Tensors, c: Mapping[str, Any], first: int, steps: int) -> tuple[Tensors, Tensors]:
        a = torch.cat([state["a_buff"][..., None], self.product(inputs["s_in"], c)], -1)
        return {"a_out": a[..., :-1]}, {"a_buff": a[..., -1]}


def _graded(values: Tensors) -> bool:
    return bool(values["num_message_bits"][0] > 0)


@implements(Dense, backend="torch", precision="floating_pt", delay=1)
class DenseModel(_Connection):
    def constants(self, values: Tensors) -> dict[str, Any]:
        return {"weights": values["weights"] * 2.0 ** values["weight_exp"], "graded": _graded(values)}

    def product(self, s: torch.Tensor, c: Mapping[str, Any]) -> torch.Tensor:
        # one product for all samples and steps
        return (as_events(s, c["graded"], self).movedim(-1, 1) @ c["weights"].T).movedim(1, -1)


@implements(Sparse, backend="torch", precision="floating_pt", delay=1)
class SparseModel(DenseModel):
    def constants(self, values: Tensors) -> dict[str, Any]:
        p = self.process
        where = tuple(torch.as_tensor(x, device=values["weights"].device) for x in (p.rows, p.cols))
        zeros = values["weights"].new_zeros(p.a_out.size, p.s_in.size)
        return {"weights": zeros.index_put(where, values["weights"], accumulate=True) * 2.0 ** values["weight_exp"],
                "graded": _graded(values)}


@implements(DelayDense, backend="torch", precision="floating_pt", delay=1)
class DelayDenseModel(TorchModel):
    def constants(self, values: Tensors) -> dict[str, Any]:
        weights, delays = values["weights"] * 2.0 ** values["weight_exp"], values["delays"]
        if delays.min() < 0 or delays.max() > self.process.max_delay:
            raise ValueError(f"delays: outside 0..{self.process.max_delay}")
        by_delay = {int(d): weights * (delays == d) for d in delays.unique()}
        return {"by_delay": by_delay, "graded": _graded(values)}

    def send(self, state: Tensors, c: Mapping[str, Any]) -> Tensors:
        return {"a_out": state["a_buff"][..., 0]}

    def receive(self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]) -> Tensors:
        s = as_events(inputs["s_in"], c["graded"], self)
        old = state["a_buff"]
        columns = [*old[..., 1:].unbind(-1), torch.zeros_like(old[..., 0])]
        for d, w in c["by_delay"].items():
            columns[d] = columns[d] + s @ w.T
        return {"a_buff": torch.stack(columns, -1)}


class _ConvolutionModel(_Connection):
    """Convolves messages (batch, x, y, channel, time) as torch wants them: (batch and time, channel, x, y)."""

    def convolve(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def product(self, s: torch.Tensor, c: Mapping[str, Any]) -> torch.Tensor:
        batch, steps = s.shape[0], s.shape[-1]
        y = self.convolve(as_events(s, c["graded"], self).permute(0, 4, 3, 1, 2).flatten(0, 1), c["weight"])
        return y.unflatten(0, (batch, steps)).permute(0, 3, 4, 2, 1)


@implements(Conv, backend="torch", precision="floating_pt", delay=1)
class ConvModel(_ConvolutionModel):
    def constants(self, values: Tensors) -> dict[str, Any]:
        return {"weight": values["weight"].flip(1, 2).permute(0, 3, 1, 2), "graded": _graded(values)}

    def convolve(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        p = self.process
        return functional.conv2d(x, weight, None, p.stride, p.padding, p.dilation, p.groups)


@implements(ConvTranspose, backend="torch", precision="floating_pt", delay=1)
class ConvTransposeModel(_ConvolutionModel):
    def constants(self, values: Tensors) -> dict[str, Any]:
        return {"weight": values["weight"].permute(0, 3, 1, 2), "graded": _graded(values)}

    def convolve(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        p = self.process
        return functional.conv_transpose2d(x, weight, None, p.stride, p.padding, p.output_padding, p.groups, p.dilation)


@implements(Delay, backend="torch", precision="floating_pt", delay=1)
class DelayModel(_Connection):
    def product(self, s: torch.Tensor, c: Mapping[str, Any]) -> torch.Tensor:
        return s


@implements(DelayLine, backend="torch", precision="floating_pt")
class DelayLineModel(TorchModel):
    """a_buff (batch, *shape, max_delay) has the last input first."""

    def constants(self, values: Tensors) -> dict[str, Any]:
        delays = values["delays"]
        if delays.min() < 0 or delays.max() > self.process.max_delay:
            raise ValueError(f"delays: outside 0..{self.process.max_delay}")
        return {"delays": delays.expand(self.process.s_in.shape)}

    def step(self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]) -> tuple[Tensors, Tensors]:
        outputs, state = self.sequence({"s_in": inputs["s_in"][..., None]}, state, c, t, 1)
        return {"s_out": outputs["s_out"][..., 0]}, state

    def sequence(self, inputs: Tensors, state: Tensors, c: Mapping[str, Any], first: int, steps: int) -> tuple[Tensors, Tensors]:
        past = torch.cat([state["a_buff"].flip(-1), inputs["s_in"]], -1)
        longest = state["a_buff"].shape[-1]
        at = torch.arange(steps, device=past.device) + longest - c["delays"][..., None]
        return {"s_out": past.gather(-1, at.expand(past.shape[0], *at.shape))}, {"a_buff": past[..., -longest:].flip(-1)}


@implements(source.RingBuffer, backend="torch", precision="floating_pt")
class SourceModel(TorchModel):
    def step(self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]) -> tuple[Tensors, Tensors]:
        data = c["data"]
        return {"s_out": data[..., (t - 1) % data.shape[-1]][None]}, state


@implements(source.Constant, backend="torch", precision="floating_pt")
class ConstantModel(TorchModel):
    def step(self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]) -> tuple[Tensors, Tensors]:
        return {"s_out": (c["value"] * (t > c["start"]))[None]}, state


@implements(sink.RingBuffer, backend="torch", precision="floating_pt")
class SinkModel(TorchModel):
    def step(self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]) -> tuple[Tensors, Tensors]:
        data = state["data"]
        hit = torch.arange(data.shape[-1], device=data.device) == (t - 1) % data.shape[-1]
        return {}, {"data": torch.where(hit, inputs["a_in"][..., None], data)}
