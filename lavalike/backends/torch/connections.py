"""Torch models of connections, sources and sinks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from lavalike.backends.torch.model import Tensors, TorchModel, place, within
from lavalike.compiler.flat import warn_graded
from lavalike.dynamics import integral, within as within_range
from lavalike.dynamics.weights import RANGE, SignMode, fixed_weights
from lavalike.errors import RunError
from lavalike.fused.arithmetic import straight
from lavalike.fused.synapses import Synapses, product
from lavalike.model.model import implements
from lavalike.proc.conv import Conv, ConvTranspose
from lavalike.proc.conv_in_time import ConvInTime
from lavalike.proc.dense import Delay, DelayDense, DelayLine, Dense
from lavalike.proc.io import sink, source
from lavalike.proc.sparse import DelaySparse, Sparse
from lavalike.proc.spiker import Receiver
from lavalike.process.units import Units


def as_events(s: torch.Tensor, graded: bool, model: TorchModel | None = None) -> torch.Tensor:
    """Messages, or 1 for each that is not zero (the gradient passes); of ``model`` one warning
    where that changes one."""
    if graded:
        return s
    more = ((s != 0).to(s.dtype) - s).detach()
    if (
        model is not None
        and not model.told
        and (s.device.type == "cpu" or not model.looked)
        and not torch.compiler.is_compiling()
    ):
        model.looked = True  # on an accelerator once: looking waits for it
        if more.any():
            model.told = True
            warn_graded(model.process)
    return s + more


def _exact(model: TorchModel, s: torch.Tensor, weights: torch.Tensor, first: int) -> None:
    """RunError where float64 might not hold the sums of ``weights`` (out, ...) times messages ``s``
    (batch, ..., time)."""
    per_step = s.abs().flatten(1, -2).amax(1)
    bad = per_step * weights.abs().flatten(1).sum(1).max() >= 2.0**53
    if bad.any():
        column = int(bad.any(0).nonzero()[0])
        raise RunError(
            f"{place(model, first + column, bad[:, column])}: products of weights and messages leave 53 bits; scale weights or "
            "inputs down"
        )


def _settled(model: TorchModel, a: torch.Tensor, right: int, first: int) -> torch.Tensor:
    """Sums (batch, ..., time) of fixed_pt shifted right; RunError where one leaves 32 bits."""
    a = shifted(a, right)
    within(model, a, first)
    return a


def shifted(a: torch.Tensor, right: int) -> torch.Tensor:
    """Whole numbers shifted right; gradients as of the division."""
    return straight(a / 2.0**right, torch.floor(a / 2.0**right)) if right else a


class ConnectionModel(TorchModel):
    """The torch model of a :class:`lavalike.proc.Connection`: sends what it accumulated in the step
    before, with ``delay=0`` in the same.

    A subclass says what messages are worth in ``product``, and in ``matrix`` what they are
    multiplied with where that is one matrix; the state ``a_buff`` is what is sent next. Sums of
    fixed_pt are whole numbers in float64.
    """

    def product(self, s: torch.Tensor, c: Mapping[str, Any], first: int) -> torch.Tensor:
        """What messages (batch, *s_in.shape, time) of steps from ``first`` on cause, (batch,
        *a_out.shape, time): each step for itself. ``as_events`` makes spikes of messages where the
        connection is not graded."""
        raise NotImplementedError(
            f"{type(self).__name__}: a ConnectionModel defines product(s, c, first)"
        )

    def matrix(self, c: Mapping[str, Any]) -> torch.Tensor | None:
        """The weights (out, in) from the constants, differentiable; None where they do not lie like
        that."""
        return None

    def stored(self, c: Mapping[str, Any]) -> tuple[Synapses, torch.Tensor] | None:
        """The same matrix one synapse after another, where and how much; None where it is not kept
        so."""
        return None

    def limits(self, name: str) -> tuple[float, float]:
        p: Any = self.process
        if not self.config.fixed or name != "weights" or not hasattr(p, "sign_mode"):
            return super().limits(name)
        # of what finds out its mode, what is whole in each
        return (-255, 255) if p.sign_mode is SignMode.NULL else RANGE[p.sign_mode]

    def step(
        self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]
    ) -> tuple[Tensors, Tensors]:
        if self.delay:
            return super().step(t, inputs, state, c)
        state = self.receive(t, inputs, state, c)
        return self.send(state, c), state

    def send(self, state: Tensors, c: Mapping[str, Any]) -> Tensors:
        return {"a_out": state["a_buff"]}

    def receive(self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]) -> Tensors:
        return {"a_buff": self.product(inputs["s_in"][..., None], c, t)[..., 0]}

    def sequence(
        self, inputs: Tensors, state: Tensors, c: Mapping[str, Any], first: int, steps: int
    ) -> tuple[Tensors, Tensors]:
        a = self.product(inputs["s_in"], c, first).movedim(-1, 0)
        if not self.delay:
            return {"a_out": a.movedim(0, -1)}, {"a_buff": a[-1]}
        rows = torch.cat([state["a_buff"][None], a])  # time outermost, as loops want it
        return {"a_out": rows[:-1].movedim(0, -1)}, {"a_buff": rows[-1]}

    def weights(self, values: Tensors) -> tuple[torch.Tensor, int]:
        """The weights in the arithmetic of the run, and by how many bits a step's sum is shifted
        right."""
        exp = values["weight_exp"]
        if not self.config.fixed:
            return values["weights"] * 2.0**exp, 0
        left = int(integral("weight_exp", exp, -24, 24)[0])
        p: Any = self.process  # any that has weights of so many bits
        weights = values["weights"].double()
        whole = fixed_weights(weights.detach().cpu().numpy(), p.num_weight_bits, p.sign_mode)
        kept = torch.from_numpy(whole).to(weights)
        return straight(weights, kept) * 2.0 ** max(left, 0), max(-left, 0)


def _graded(values: Tensors) -> bool:
    return bool(values["num_message_bits"][0] > 0)


@implements(Dense, backend="torch", delay=1)
class DenseModel(ConnectionModel):
    def constants(self, values: Tensors) -> dict[str, Any]:
        weights, right = self.weights(values)
        return {"weights": weights, "right": right, "graded": _graded(values)}

    def product(self, s: torch.Tensor, c: Mapping[str, Any], first: int) -> torch.Tensor:
        s = as_events(s, c["graded"], self)
        if self.config.fixed:
            _exact(self, s, c["weights"], first)
        # one product for all samples and steps
        a = (s.movedim(-1, 0) @ c["weights"].T).movedim(0, -1)
        return _settled(self, a, c["right"], first) if self.config.fixed else a

    def matrix(self, c: Mapping[str, Any]) -> torch.Tensor | None:
        return c["weights"]


class _StoredModel(ConnectionModel):
    """An entry a synapse. ``synapses`` says where they stand in what the product of all of them
    is."""

    process: Sparse | DelaySparse
    _synapses: Synapses | None = None

    def synapses(self, rows: torch.Tensor, outputs: int) -> Synapses:
        """Those that end at ``rows`` of ``outputs``; sorted once for as long as they stay the
        same."""
        held = self._synapses
        if held is None or held.rows.device != rows.device or not torch.equal(held.rows, rows):
            cols = torch.as_tensor(self.process.cols, device=rows.device).long()
            self._synapses = held = Synapses(rows, cols, (outputs, self.process.s_in.size))
        return held

    def total(self, weights: torch.Tensor) -> torch.Tensor:
        """The most that messages of 1 cause at each output, (out, 1)."""
        size = weights.detach().abs()
        rows = torch.as_tensor(self.process.rows, device=size.device).long()
        return size.new_zeros(self.process.a_out.size).index_add(0, rows, size)[:, None]


@implements(Sparse, backend="torch", delay=1)
class SparseModel(_StoredModel):
    process: Sparse

    def constants(self, values: Tensors) -> dict[str, Any]:
        (weights, right), p = self.weights(values), self.process
        return {
            "weights": weights,
            "right": right,
            "synapses": self.synapses(
                torch.as_tensor(p.rows, device=weights.device).long(), p.a_out.size
            ),
            "graded": _graded(values),
            "total": self.total(weights) if self.config.fixed else None,
        }

    def product(self, s: torch.Tensor, c: Mapping[str, Any], first: int) -> torch.Tensor:
        s = as_events(s, c["graded"], self)
        if self.config.fixed:
            _exact(self, s, c["total"], first)
        # one product for all samples and steps
        a = product(c["synapses"], c["weights"], s.movedim(1, 0).flatten(1))
        a = a.unflatten(1, (len(s), s.shape[-1])).movedim(0, 1)
        return _settled(self, a, c["right"], first) if self.config.fixed else a

    def matrix(self, c: Mapping[str, Any]) -> torch.Tensor | None:
        """Laid out where one is asked for, as for a chip."""
        zeros = c["weights"].new_zeros(c["synapses"].shape)
        places = c["synapses"].rows, c["synapses"].cols
        return zeros.index_put(places, c["weights"], accumulate=True)

    def stored(self, c: Mapping[str, Any]) -> tuple[Synapses, torch.Tensor] | None:
        return c["synapses"], c["weights"]


class _DelayModel(ConnectionModel):
    """Synapses with delays: column k of ``a_buff`` (out, max_delay + 1) is what is sent k steps
    later."""

    process: DelayDense | DelaySparse

    @property
    def lag(self) -> int:
        return 1 + self.shortest(self.process.delays.value)

    def delays(self, values: Tensors) -> torch.Tensor:
        """The delays; ValueError for one that there is no column for, or fixed_pt does not have."""
        limit = min(self.process.max_delay, 63) if self.config.fixed else self.process.max_delay
        return within_range("delays", values["delays"], 0, limit)

    def send(self, state: Tensors, c: Mapping[str, Any]) -> Tensors:
        return {"a_out": state["a_buff"][..., 0]}

    def ahead(
        self, state: Tensors, c: Mapping[str, Any], port: str, steps: int
    ) -> list[torch.Tensor]:
        return [*state["a_buff"][..., :steps].unbind(-1)]

    def sequence(
        self, inputs: Tensors, state: Tensors, c: Mapping[str, Any], first: int, steps: int
    ) -> tuple[Tensors, Tensors]:
        return TorchModel.sequence(self, inputs, state, c, first, steps)


@implements(DelayDense, backend="torch", delay=1)
class DelayDenseModel(_DelayModel):
    def constants(self, values: Tensors) -> dict[str, Any]:
        (weights, right), delays = self.weights(values), self.delays(values)
        by_delay = {int(d): weights * (delays == d) for d in delays.unique()}
        return {"by_delay": by_delay, "weights": weights, "right": right, "graded": _graded(values)}

    def receive(self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]) -> Tensors:
        s = as_events(inputs["s_in"], c["graded"], self)
        fixed, old = self.config.fixed, state["a_buff"]
        if fixed:
            _exact(self, s[..., None], c["weights"], t)
        columns = [*old[..., 1:].unbind(-1), torch.zeros_like(old[..., 0])]
        for d, w in c["by_delay"].items():
            columns[d] = columns[d] + shifted(s @ w.T, c["right"])
        if fixed:
            within(self, torch.stack(columns, -1).flatten(1)[..., None], t)
        return {"a_buff": torch.stack(columns, -1)}


@implements(ConvInTime, backend="torch", delay=1)
class ConvInTimeModel(DelayDenseModel):
    """A matrix a tap of the kernel."""

    @property
    def lag(self) -> int:
        return 1  # the newest message is part of what is sent next

    def constants(self, values: Tensors) -> dict[str, Any]:
        taps = values["weights"]
        if self.config.fixed:
            taps = integral("weights", taps).to(torch.float64)
        by_delay = dict(zip(reversed(range(len(taps))), taps, strict=True))
        weights = taps.movedim(1, 0).flatten(1)
        return {"by_delay": by_delay, "weights": weights, "right": 0, "graded": _graded(values)}


@implements(DelaySparse, backend="torch", delay=1)
class DelaySparseModel(_DelayModel, _StoredModel):
    """An entry a synapse, each added to where in ``a_buff`` it arrives."""

    process: DelaySparse

    def constants(self, values: Tensors) -> dict[str, Any]:
        (weights, right), delays, p = self.weights(values), self.delays(values), self.process
        rows = torch.as_tensor(p.rows, device=weights.device).long()
        place = rows * (p.max_delay + 1) + delays
        return {
            "weights": weights,
            "right": right,
            "synapses": self.synapses(place, p.a_out.size * (p.max_delay + 1)),
            "graded": _graded(values),
            "total": self.total(weights) if self.config.fixed else None,
        }

    def receive(self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]) -> Tensors:
        s = as_events(inputs["s_in"], c["graded"], self)
        fixed, old = self.config.fixed, state["a_buff"]
        if fixed:
            _exact(self, s[..., None], c["total"], t)
        later = torch.cat([old[..., 1:], torch.zeros_like(old[..., :1])], -1).flatten(1)
        a = product(c["synapses"], c["weights"], s.T).T
        later = later + shifted(a, c["right"])
        if fixed:
            within(self, later[..., None], t)
        return {"a_buff": later.unflatten(1, old.shape[1:])}


class _ConvolutionModel(ConnectionModel):
    """Convolves messages (batch, x, y, channel, time) as torch wants them: (batch and time,
    channel, x, y)."""

    def constants(self, values: Tensors) -> dict[str, Any]:
        weight = values["weight"]
        if self.config.fixed:
            weight = integral("weight", weight, -(2**15), 2**15 - 1).to(torch.float64)
        return {"weight": self.turned(weight), "graded": _graded(values)}

    def limits(self, name: str) -> tuple[float, float]:
        fixed = self.config.fixed and name == "weight"
        return (-(2**15), 2**15 - 1) if fixed else super().limits(name)

    def turned(self, weight: torch.Tensor) -> torch.Tensor:
        """The weights as torch takes them."""
        raise NotImplementedError

    def convolve(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def product(self, s: torch.Tensor, c: Mapping[str, Any], first: int) -> torch.Tensor:
        steps, batch = s.shape[-1], s.shape[0]
        s = as_events(s, c["graded"], self)
        if self.config.fixed:
            _exact(self, s, c["weight"], first)
        y = self.convolve(s.permute(4, 0, 3, 1, 2).flatten(0, 1), c["weight"])
        a = y.unflatten(0, (steps, batch)).permute(1, 3, 4, 2, 0)
        if not self.config.fixed:
            return a
        if Units.of(
            self.process.proc_params
        ).checked:  # wrapping would hide what the neuron behind looks for
            return _settled(self, a, 0, first)
        return (a + 2.0**23) % 2.0**24 - 2.0**23  # as in Lava, the low 24 bits


@implements(Conv, backend="torch", delay=1)
class ConvModel(_ConvolutionModel):
    process: Conv

    def turned(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.flip(1, 2).permute(0, 3, 1, 2)

    def convolve(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        p = self.process
        return functional.conv2d(x, weight, None, p.stride, p.padding, p.dilation, p.groups)


@implements(ConvTranspose, backend="torch", delay=1)
class ConvTransposeModel(_ConvolutionModel):
    process: ConvTranspose

    def turned(self, weight: torch.Tensor) -> torch.Tensor:
        return weight.permute(0, 3, 1, 2)

    def convolve(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        p = self.process
        return functional.conv_transpose2d(
            x, weight, None, p.stride, p.padding, p.output_padding, p.groups, p.dilation
        )


@implements(Delay, backend="torch", delay=1)
class DelayModel(ConnectionModel):
    def product(self, s: torch.Tensor, c: Mapping[str, Any], first: int) -> torch.Tensor:
        return s


@implements(DelayLine, backend="torch")
class DelayLineModel(TorchModel):
    """a_buff (batch, *shape, max_delay) has the last input first."""

    process: DelayLine

    def constants(self, values: Tensors) -> dict[str, Any]:
        delays = within_range("delays", values["delays"], 0, self.process.max_delay)
        return {"delays": delays.expand(self.process.s_in.shape)}

    def step(
        self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]
    ) -> tuple[Tensors, Tensors]:
        outputs, state = self.sequence({"s_in": inputs["s_in"][..., None]}, state, c, t, 1)
        return {"s_out": outputs["s_out"][..., 0]}, state

    def sequence(
        self, inputs: Tensors, state: Tensors, c: Mapping[str, Any], first: int, steps: int
    ) -> tuple[Tensors, Tensors]:
        past = torch.cat([state["a_buff"].flip(-1), inputs["s_in"]], -1)
        longest = state["a_buff"].shape[-1]
        at = torch.arange(steps, device=past.device) + longest - c["delays"][..., None]
        return {"s_out": past.gather(-1, at.expand(past.shape[0], *at.shape))}, {
            "a_buff": past[..., -longest:].flip(-1)
        }


@implements(source.RingBuffer, backend="torch")
class SourceModel(TorchModel):
    def constants(self, values: Tensors) -> dict[str, Any]:
        data = values["data"]
        return {
            "data": integral("data", data).to(torch.float64)
            if self.config.fixed
            else data.to(getattr(torch, self.config.dtype))
        }

    def step(
        self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]
    ) -> tuple[Tensors, Tensors]:
        data = c["data"]
        return {"s_out": data[..., (t - 1) % data.shape[-1]][None]}, state


@implements(source.Constant, backend="torch")
class ConstantModel(TorchModel):
    def constants(self, values: Tensors) -> dict[str, Any]:
        if self.config.fixed:
            values = values | {
                "value": integral("value", values["value"], -(2**23), 2**23).to(torch.float64)
            }
        return values | {"start": integral("start", values["start"], 0, 2**62)}

    def step(
        self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]
    ) -> tuple[Tensors, Tensors]:
        return {"s_out": (c["value"] * (t > c["start"]))[None]}, state


@implements(sink.RingBuffer, backend="torch")
class SinkModel(TorchModel):
    def step(
        self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]
    ) -> tuple[Tensors, Tensors]:
        data = state["data"]
        hit = torch.arange(data.shape[-1], device=data.device) == (t - 1) % data.shape[-1]
        return {}, {"data": torch.where(hit, inputs["a_in"][..., None], data)}


@implements(Receiver, backend="torch")
class ReceiverModel(TorchModel):
    def step(
        self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]
    ) -> tuple[Tensors, Tensors]:
        return {}, {"payload": inputs["a_in"]}
