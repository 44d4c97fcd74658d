"""Blocks: synapse, neuron and delays in one layer, exported as one layer of a .net file.

A family (cuba, alif, rf, sigma_delta, ...) supplies the neuron class, the kind of synapses (complex
for resonators) and the default of ``delay_shift``. How a block is written to a file:
:mod:`lavalike.slayer.block.export`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import h5py
import numpy as np
import torch
from torch import nn

from lavalike.arguments import (
    FLAG,
    MAPPING,
    TENSOR,
    Rule,
    arguments,
    instance,
    integer,
    is_real,
    numbers,
    optional,
    real,
)
from lavalike.errors import ExportError, InputError, InputTypeError, LavalikeError
from lavalike.slayer import axon, synapse
from lavalike.slayer.block import export
from lavalike.slayer.neuron.base import Neuron
from lavalike.slayer.states import State as State
from lavalike.slayer.synapse.layer import COUNT, EXTENT, KERNEL, POOL, WEIGHTS
from lavalike.slayer.utils.quantize import quantize
from lavalike.text import settings
from netx import writer

MAX_DELAY = 62

# what arguments of blocks may be
SHIFT, LOG = {"delay_shift": optional(FLAG)}, {"count_log": FLAG}
DELAY = {"delay": FLAG, "delay_gradient": axon.DELAY_GRADIENT} | SHIFT | LOG
SIZES = {"neuron_params": MAPPING, "in_neurons": EXTENT, "out_neurons": COUNT} | WEIGHTS
MASK = Rule(
    "an array or a tensor (out_neurons, in_neurons) of finite numbers",
    lambda v: not is_real(v) and numbers().kind(v),
    numbers().value,
)

Signal = torch.Tensor | tuple[torch.Tensor, ...]


def _fitted(init: Callable[..., None]) -> Callable[..., None]:
    """``init`` of a block; as the outermost ends, what is one a channel is drawn: after the
    weights, so that those of a seed are lava-dl's."""

    @functools.wraps(init)
    def built(self: Block, *args: Any, **kwargs: Any) -> None:
        outermost = vars(self).setdefault("_built_by", built) is built
        init(self, *args, **kwargs)
        if outermost:
            object.__delattr__(self, "_built_by")
            if self._channels is not None:
                self.fit(self._channels)

    return built


class Block(nn.Module):
    """Base of all blocks.

    Example:
        >>> params = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}
        >>> dense = slayer.block.cuba.Dense(params, 20, 10)
        >>> isinstance(dense, slayer.block.cuba.AbstractCuba), dense(torch.rand(4, 20, 30)).shape
        (True, torch.Size([4, 10, 30]))

    Args:
        neuron_params: keyword arguments of the family's Neuron. Never changed here.
        delay: a learnable delay of 0..62 steps per output channel. Default False.
        delay_gradient: "forward" (default), lava-dl's one-sided difference, which runs past the
            best delay, or "central", which finds it from both sides; see axon.Delay. Only with
            ``delay``.
        delay_shift: shift the output by one step, as messages on the chip take one. Default: the
            family's.
        count_log: return ``(output, event rate)``.

    ``shape`` is the shape of one output message, known after the first call (or where it never
    varies). ``stream(x, state)`` is a call that takes and returns its state.
    """

    neuron_class: ClassVar[Callable[..., Neuron]]
    synapses: ClassVar[Any] = synapse
    pairs: ClassVar[bool] = False  # whether an input may be (real, imag)
    shift_default: ClassVar[bool] = True
    exact_eval: ClassVar[bool] = False  # of the synapse
    kind: ClassVar[str]
    neuron: Neuron  # of those that have one
    # until the first call; of the class, as each assignment to a Module takes 4 us
    shape: tuple[int, ...] | None = None
    input_shape: tuple[int, ...] | None = None
    _state: State | None = None
    _channels: int | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _fitted(cls.__init__)  # type: ignore[method-assign]  # the class's own, wrapped
        if cls.__doc__ is None:  # a family's block is documented as the block is
            cls.__doc__ = next(
                (
                    base.__doc__
                    for base in cls.__mro__[1:]
                    if base.__doc__ and base not in (Block, nn.Module, object)
                ),
                None,
            )

    @arguments(neuron_params=optional(MAPPING), channels=optional(integer(1)), **DELAY)
    def __init__(
        self,
        neuron_params: Mapping[str, Any] | None,
        delay: bool = False,
        delay_shift: bool | None = None,
        count_log: bool = False,
        channels: int | None = None,
        delay_gradient: str = "forward",
    ) -> None:
        super().__init__()
        if (
            neuron_params is not None
        ):  # a block without one has no such attribute: programs ask hasattr(block, "neuron")
            self.neuron = self._make_neuron(neuron_params)
        if delay_gradient != "forward" and not delay:
            raise InputError(f"{self.label}: delay_gradient={delay_gradient!r} needs delay=True")
        self.delay = (
            axon.Delay(max_delay=MAX_DELAY, delay_gradient=delay_gradient) if delay else None
        )
        if channels is not None:
            self._channels = channels
        self.delay_shift = self.shift_default if delay_shift is None else bool(delay_shift)
        self.count_log = count_log

    @property
    def label(self) -> str:
        return f"{type(self).__module__.rsplit('.', 1)[-1]}.{type(self).__name__}"

    def extra_repr(self) -> str:
        known = {"shape": self.shape} if self.shape is not None else {}
        flags = {n: True for n in ("delay_shift", "count_log") if getattr(self, n)}
        return settings(known | flags)

    @property
    def unit(self) -> Neuron | None:
        """The neuron, if there is one."""
        return getattr(self, "neuron", None)

    @property
    def complex(self) -> bool:
        """Whether the neuron takes (real, imag)."""
        return self.unit is not None and self.neuron.inputs == 2

    def _make_neuron(self, params: Mapping[str, Any]) -> Neuron:
        strange = [k for k in params if not isinstance(k, str)]
        if strange:
            raise InputTypeError(
                f"{self.label}: keys of neuron_params are names of the neuron's arguments, got {strange[0]!r}"
            )
        try:
            return type(self).neuron_class(**params)
        except LavalikeError as e:
            raise type(e)(f"{self.label}: neuron_params: {e}") from e

    def fit(self, channels: int) -> None:
        """Give what has one value a channel its size; done at construction where the channels are
        known then."""
        for part in (self.unit, self.delay):
            if part is not None:
                part.fit(channels)

    # -- time --------------------------------------------------------------------------------------

    def drive(self, x: Any) -> tuple[torch.Tensor, ...]:
        """What reaches the neuron: one tensor, or (real, imag)."""
        raise NotImplementedError(f"{self.label}: a Block defines drive")

    def respond(
        self, z: tuple[torch.Tensor, ...], state: State, shift: bool
    ) -> tuple[Signal, State]:
        """The neuron's answer to its drive, and the state after it; with ``shift`` one step
        late."""
        if self.unit is None:
            return (axon.delay(z[0]) if shift else z[0]), {}
        return self.neuron.stream(*z, state=state, shift=shift)

    def _run(self, x: Any, state: State | None) -> tuple[Signal, State]:
        """From rest (None) or from ``state``."""
        first = x[0] if isinstance(x, tuple) else x
        if not isinstance(first, torch.Tensor) or (isinstance(x, tuple) and not self.pairs):
            raise InputError(
                f"{self.label}: takes one tensor, got {type(x).__name__} "
                "(a block with count_log=True returns (output, event rate))"
            )
        if first.dim() < 3 or 0 in first.shape:
            raise InputError(
                f"{self.label}: input has shape {tuple(first.shape)}; "
                "expected (batch, N, time) or (batch, C, H, W, time), none 0"
            )
        if not first.is_floating_point():
            raise InputError(
                f"{self.label}: input has dtype {first.dtype}; expected floating point"
            )
        self.input_shape = tuple(first.shape[1:-1])
        z = self.drive(x)
        inner = {
            k.removeprefix("neuron."): v
            for k, v in (state or {}).items()
            if k.startswith("neuron.")
        }
        # from rest the loops themselves shift; behind a state stands the step that was still on its
        # way
        shifts = self.delay_shift and (self.unit is None or self.neuron.timed)
        y, after = self.respond(z, inner, shifts and state is None)
        after = {f"neuron.{k}": v for k, v in after.items()}
        if self.unit is not None and self.neuron.drop is not None:
            y = _each(self.neuron.drop, y)
        if state is not None and shifts:
            parts = []
            for k, part in enumerate(y if isinstance(y, tuple) else (y,)):
                now, after[f"late{k}"] = axon.after(
                    part, state.get(f"late{k}", torch.zeros_like(part[..., :1]))
                )
                parts.append(now)
            y = tuple(parts) if isinstance(y, tuple) else parts[0]
        if self.delay is not None:
            assert isinstance(y, torch.Tensor)  # (real, imag) has no delay, see __init__
            before = {"past": state["past"]} if state and "past" in state else None
            y, past = self.delay.stream(y, before)
            after |= past
        self.shape = tuple((y[0] if isinstance(y, tuple) else y).shape[1:-1])
        return y, after

    def stream(self, x: torch.Tensor, state: State | None = None) -> tuple[Any, State]:
        """(output, state after it) of an input that follows on ``state`` (None: the first). Pure:
        nothing is kept here."""
        return self._run(x, {} if state is None else state)

    def forward(self, x: torch.Tensor) -> Any:
        """``(batch, *shape, time)`` to the same layout, with the event rate if count_log."""
        unit = self.unit
        state = None if unit is None else self._before(unit, x)
        y, after = self._run(x, state)
        if unit is not None and unit.persistent_state:
            after = {k: v.detach() for k, v in after.items()}
            own = [k for k in after if k.startswith("neuron.")]
            unit._state = {k.removeprefix("neuron."): after.pop(k) for k in own}
            self._state = after
        return (y, _rate(y)) if self.count_log else y

    def _before(self, unit: Neuron, x: Any) -> State | None:
        """What a call goes on from: the states that the neuron has, and messages on their way; None
        where that is rest."""
        if unit._state is None and not unit.persistent_state:
            return None
        first = x[0] if isinstance(x, tuple | list) else x
        batch = len(first) if isinstance(first, torch.Tensor) and first.dim() else 0
        kept = unit.kept(batch)
        if kept is None:
            self._state = None
            return {}
        return {f"neuron.{k}": v for k, v in kept.items()} | (self._state or {})

    def deployed(self, x: torch.Tensor) -> Any:
        """The call that a file of this block computes."""
        return self(x)

    def reset_state(self) -> None:
        """Forget what ``persistent_state`` kept."""
        self._state = None
        if self.unit is not None:
            self.neuron.reset_state()

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of an output message for an input message of ``shape`` (C, H, W) or (N,)."""
        raise NotImplementedError(f"{self.label}: a Block defines output_shape")

    def exact(self, made: Any) -> Any:
        """The block's synapse, as the family wants it."""
        if self.exact_eval:
            made.exact_eval = True
        return made

    def hook(self, pre_hook_fx: synapse.Hook | None) -> synapse.Hook:
        """The weights' quantisation: the neuron's unless another is given."""
        return self.neuron.quantize_8bit if pre_hook_fx is None else pre_hook_fx

    # -- export ------------------------------------------------------------------------------------

    def device_params(self) -> dict[str, Any] | None:
        return None if self.unit is None else self.neuron.device_params

    def export_hdf5(self, handle: h5py.Group, input_shape: tuple[int, ...] | None = None) -> None:
        """Write this layer into the group ``handle``, and sign it.

            with h5py.File("net.net", "w") as file:
                for k, block in enumerate(blocks):
                    block.export_hdf5(file.create_group(f"layer/{k}"))

        A file written like this loads as what was trained, with a warning that nothing vouches for
        the number of its layers. slayer.export_hdf5 vouches for it, and for the order in which
        ``forward`` calls the blocks.

        Args:
            handle: the group ``layer/<k>`` of layer k, empty. Not to be changed afterwards.
            input_shape: shape of an input message, needed where the block was never called and it
                matters.

        Raises:
            ExportError: what cannot be exported faithfully, by name.
        """
        export.block(self, handle, input_shape)
        writer.sign_layer(handle)
        handle.file.flush()  # it may be loaded while the program still has it open

    def write(self, handle: h5py.Group) -> None:
        """The layer's own keys."""
        export.bias(self, handle)
        export.delay(self, handle)


def _rate(y: Signal) -> torch.Tensor:
    """Share of messages that are not 0, float32."""
    parts = [v.detach() for v in (y if isinstance(y, tuple) else (y,))]
    return sum(torch.count_nonzero(v) for v in parts) / sum(v.numel() for v in parts)  # type: ignore[return-value]  # a tensor: there is a part


def _each(function: Callable[[torch.Tensor], torch.Tensor], y: Signal) -> Signal:
    return tuple(function(v) for v in y) if isinstance(y, tuple) else function(y)


class Input(Block):
    """Brings data in: ``z = q(x) q(weight) + q(bias)``, quantised, through the neuron.

    Example:
        >>> params = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}
        >>> block = slayer.block.cuba.Input(params)
        >>> block(torch.rand(4, 20, 30)).shape  # (batch, inputs, time): values in, messages out
        torch.Size([4, 20, 30])

    Args:
        neuron_params: None hands z on.
        weight, bias: learnable numbers (None: 1 and 0). z is then rounded to 1/64, what a message
            can hold.
        delay_shift: default that of the family; without a neuron False, and True cannot be exported
            then.

    A resonator's input is a pair (real, imag), or a complex tensor. ``pre_hook_fx``: what is done
    to data, weight and bias instead of that rounding, if it is assigned; not exported.
    """

    kind = "input"
    pairs = True
    pre_hook_fx: synapse.Hook | None = None

    @arguments(
        neuron_params=optional(MAPPING),
        weight=optional(real()),
        bias=optional(real()),
        **SHIFT,
        **LOG,
    )
    def __init__(
        self,
        neuron_params: Mapping[str, Any] | None = None,
        weight: float | None = None,
        bias: float | None = None,
        delay_shift: bool | None = None,
        count_log: bool = False,
    ) -> None:
        super().__init__(
            neuron_params,
            False,
            False if neuron_params is None and delay_shift is None else delay_shift,
            count_log,
        )
        self.weight = None if weight is None else nn.Parameter(torch.tensor([float(weight)]))
        self.bias = None if bias is None else nn.Parameter(torch.tensor([float(bias)]))

    def quantize(self, x: torch.Tensor) -> torch.Tensor:
        if self.pre_hook_fx is not None:
            return self.pre_hook_fx(x)
        return quantize(x, 2 / 64).clamp(-256 / 64, 254 / 64)

    def scale(self, x: torch.Tensor) -> torch.Tensor:
        """The affine, quantised input."""
        z = self.quantize(x)
        if self.weight is not None:
            z = z * self.quantize(self.weight)
            z = quantize(z, 1 / 64) if self.pre_hook_fx is None else z
        return z if self.bias is None else z + self.quantize(self.bias)

    def drive(self, x: Any) -> tuple[torch.Tensor, ...]:
        if self.complex:
            if not isinstance(x, tuple) or len(x) != 2:
                raise InputError(
                    f"{self.label}: a resonator takes (real, imag) or a complex tensor"
                )
            return tuple(self.scale(p) for p in x)
        if isinstance(x, tuple):
            raise InputError(
                f"{self.label}: takes one tensor, got {len(x)}; resonators take (real, imag)"
            )
        return (self.scale(x),)

    def _run(self, x: Any, state: State | None) -> tuple[Signal, State]:
        if isinstance(x, torch.Tensor) and x.is_complex() and self.complex:
            x = (x.real, x.imag)
        return super()._run(tuple(x) if isinstance(x, list) else x, state)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def write(self, handle: h5py.Group) -> None:
        export.input_(self, handle)


class Flatten(Block):
    """(batch, C, H, W, time) -> (batch, C*H*W, time).

    Example:
        >>> block = slayer.block.cuba.Flatten()
        >>> block(torch.rand(4, 2, 5, 5, 30)).shape
        torch.Size([4, 50, 30])
    """

    kind = "flatten"

    @arguments(**LOG)
    def __init__(self, count_log: bool = False) -> None:
        super().__init__(None, False, False, count_log)

    def drive(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (x.flatten(1, -2),)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (int(np.prod(shape)),)

    def write(self, handle: h5py.Group) -> None:
        pass


class Average(Block):
    """The mean over consecutive groups of neurons, as many groups as ``num_outputs``.

    Example:
        >>> block = slayer.block.cuba.Average(num_outputs=5)
        >>> block(torch.rand(4, 20, 30)).shape
        torch.Size([4, 5, 30])
    """

    kind = "average"

    @arguments(num_outputs=COUNT, **LOG)
    def __init__(self, num_outputs: int, count_log: bool = False) -> None:
        super().__init__(None, False, False, count_log)
        self.num_outputs = int(num_outputs)

    def drive(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if x.dim() != 3 or x.shape[1] % self.num_outputs:
            raise InputError(
                f"{self.label}: input has shape {tuple(x.shape)}; expected (batch, a multiple of {self.num_outputs}, time)"
            )
        return (x.unflatten(1, (self.num_outputs, -1)).mean(2),)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.num_outputs,)

    def write(self, handle: h5py.Group) -> None:
        pass


class TimeDecimation(Block):
    """The mean over bins of ``factor`` steps, a power of two; time is filled up with zeros to whole
    bins. Cannot be exported.

    Example:
        >>> block = slayer.block.cuba.TimeDecimation(4)
        >>> block(torch.rand(2, 20, 32)).shape
        torch.Size([2, 20, 8])
    """

    kind = "time_decimation"

    @arguments(factor=COUNT, **LOG)
    def __init__(self, factor: int, count_log: bool = False) -> None:
        super().__init__(None, False, False, count_log)
        if factor & (factor - 1):
            raise InputError(f"{self.label}: factor is a power of two, got {factor!r}")
        self.factor = int(factor)

    def drive(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        missing = -x.shape[-1] % self.factor
        return (nn.functional.pad(x, (0, missing)).unflatten(-1, (-1, self.factor)).mean(-1),)

    def stream(self, x: torch.Tensor, state: State | None = None) -> tuple[Any, State]:
        if x.shape[-1] % self.factor:
            raise InputError(
                f"{self.label}: a stream comes in whole bins of {self.factor} steps, got {x.shape[-1]}"
            )
        return super().stream(x, state)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def write(self, handle: h5py.Group) -> None:
        raise ExportError(
            f"{handle.name}: {self.label}: a process graph has one step for all; leave it out, or average the graph's output"
        )


class Dense(Block):
    """All-to-all synapse and neuron.

    Example:
        >>> params = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}
        >>> block = slayer.block.cuba.Dense(params, 20, 10)
        >>> block((torch.rand(4, 20, 30) < 0.3).float()).shape  # (batch, out_neurons, time)
        torch.Size([4, 10, 30])

    Args:
        in_neurons, out_neurons, weight_scale, weight_norm, pre_hook_fx: see synapse.Dense;
            pre_hook_fx defaults to the neuron's 8-bit quantisation.
        mask: (out, in), multiplied to the weight; of booleans or numbers.
    """

    kind = "dense"
    mask: torch.Tensor | None

    @arguments(mask=optional(MASK), **SIZES, **DELAY)
    def __init__(
        self,
        neuron_params: Mapping[str, Any],
        in_neurons: Any,
        out_neurons: int,
        weight_scale: float = 1,
        weight_norm: bool = False,
        pre_hook_fx: synapse.Hook | None = None,
        delay: bool = False,
        delay_shift: bool | None = None,
        mask: torch.Tensor | None = None,
        count_log: bool = False,
        delay_gradient: str = "forward",
    ) -> None:
        super().__init__(neuron_params, delay, delay_shift, count_log, out_neurons, delay_gradient)
        self.synapse = self.exact(
            self.synapses.Dense(
                in_neurons, out_neurons, weight_scale, weight_norm, self.hook(pre_hook_fx)
            )
        )
        mask = None if mask is None else torch.as_tensor(mask)
        if mask is not None and tuple(mask.shape) != (out_neurons, self.synapse.in_neurons):
            raise InputError(
                f"{self.label}: mask has shape {tuple(mask.shape)}; expected {(out_neurons, self.synapse.in_neurons)}"
            )
        self.register_buffer("mask", mask)

    def _load_from_state_dict(self, state_dict: State, prefix: str, *rest: Any) -> None:
        mask = state_dict.get(f"{prefix}mask")
        if mask is not None and mask.dim() == 5:  # lava-dl's
            state_dict[f"{prefix}mask"] = mask[:, :, 0, 0, 0]
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def drive(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        z = self.synapse(x, self.mask)
        return z if isinstance(z, tuple) else (z,)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.synapse.out_neurons,)

    def export_hdf5(self, handle: h5py.Group, input_shape: tuple[int, ...] | None = None) -> None:
        super().export_hdf5(
            handle, input_shape if input_shape is not None else (self.synapse.in_neurons,)
        )

    def write(self, handle: h5py.Group) -> None:
        super().write(handle)
        export.dense(self, handle, "weight", self.synapse, self.mask)


class Affine(Dense):
    """Dense whose output is the neuron's state (voltage; real and imag), never reset; with
    ``dynamics=False`` the synapse's current.

    Example:
        >>> params = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}
        >>> block = slayer.block.cuba.Affine(params, 20, 3)
        >>> voltage = block((torch.rand(4, 20, 30) < 0.3).float())

    Args:
        dynamics: see above. Default True.
        delay: not for (real, imag). Default False.
        delay_shift: default False, whatever the family: the state is read where it is.
        the others: see Dense.

    No dropout acts on it. Exported, it is a layer whose neurons cannot spike: read their states
    (or, without dynamics, the change of v).
    """

    @arguments(mask=optional(MASK), dynamics=FLAG, **SIZES, **DELAY)
    def __init__(
        self,
        neuron_params: Mapping[str, Any],
        in_neurons: Any,
        out_neurons: int,
        weight_scale: float = 1,
        weight_norm: bool = False,
        pre_hook_fx: synapse.Hook | None = None,
        dynamics: bool = True,
        mask: torch.Tensor | None = None,
        count_log: bool = False,
        delay: bool = False,
        delay_shift: bool = False,
        delay_gradient: str = "forward",
    ) -> None:
        super().__init__(
            {**neuron_params, "dropout": None},
            in_neurons,
            out_neurons,
            weight_scale,
            weight_norm,
            pre_hook_fx,
            delay,
            bool(delay_shift),
            mask,
            count_log,
            delay_gradient,
        )
        self.dynamics = bool(dynamics)
        if delay and self.complex:
            raise InputError(f"{self.label}: delay is not available for (real, imag)")

    def respond(
        self, z: tuple[torch.Tensor, ...], state: State, shift: bool
    ) -> tuple[Signal, State]:
        y, after = self.neuron.affine(*z, state=state) if self.dynamics else (z, {})
        y = tuple(axon.delay(v) for v in y) if shift else y
        return (y if self.complex else y[0]), after

    def device_params(self) -> dict[str, Any] | None:
        params = super().device_params()
        return (
            params | {"vThMant": export.UNREACHABLE}
            if self.dynamics and params is not None
            else None
        )

    def write(self, handle: h5py.Group) -> None:
        if self.complex and not self.dynamics:
            raise ExportError(
                f"{handle.name}: {self.label}: complex currents without a neuron have no process; use dynamics=True"
            )
        super().write(handle)


class _Spatial(Block):
    """A synapse with a kernel, and a neuron."""

    synapse: Any

    def drive(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        z = self.synapse(x)
        return z if isinstance(z, tuple) else (z,)

    def out(self, channels: int, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) != 1 + self.synapse.axes:
            raise ExportError(
                f"{self.label}: input_shape is (channels, height, width), got {shape}"
            )
        size = self.synapse.output_size(shape[1:])
        if min(size) < 1:
            raise ExportError(
                f"{self.label}: an input of {shape[1:]} is smaller than the kernel {self.synapse.kernel_size}"
            )
        return (channels, *size)

    def write(self, handle: h5py.Group) -> None:
        super().write(handle)
        export.kernel(self, handle, self.synapse)


class Conv(_Spatial):
    """Convolution and neuron; arguments of synapse.Conv after neuron_params.

    Example:
        >>> params = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}
        >>> block = slayer.block.cuba.Conv(params, 2, 8, 3, stride=2, padding=1)
        >>> block(torch.rand(4, 2, 12, 12, 10)).shape  # (batch, channel, height, width, time)
        torch.Size([4, 8, 6, 6, 10])
    """

    kind = "conv"
    synapse_name: ClassVar[str] = "Conv"

    @arguments(
        neuron_params=MAPPING,
        in_features=COUNT,
        out_features=COUNT,
        groups=COUNT,
        **KERNEL,
        **WEIGHTS,
        **DELAY,
    )
    def __init__(
        self,
        neuron_params: Mapping[str, Any],
        in_features: int,
        out_features: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        weight_scale: float = 1,
        weight_norm: bool = False,
        pre_hook_fx: synapse.Hook | None = None,
        delay: bool = False,
        delay_shift: bool | None = None,
        count_log: bool = False,
        delay_gradient: str = "forward",
    ) -> None:
        super().__init__(neuron_params, delay, delay_shift, count_log, out_features, delay_gradient)
        make = getattr(self.synapses, self.synapse_name)
        self.synapse = self.exact(
            make(
                in_features,
                out_features,
                kernel_size,
                stride,
                padding,
                dilation,
                groups,
                weight_scale,
                weight_norm,
                self.hook(pre_hook_fx),
            )
        )

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.out(self.synapse.out_channels, shape)

    def write(self, handle: h5py.Group) -> None:
        super().write(handle)
        for key, value in (
            ("inChannels", self.synapse.in_channels),
            ("outChannels", self.synapse.out_channels),
            ("groups", self.synapse.groups),
        ):
            handle.create_dataset(key, data=value)


class ConvT(Conv):
    """Transposed convolution and neuron; arguments of synapse.ConvTranspose after neuron_params.

    Example:
        >>> params = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}
        >>> block = slayer.block.cuba.ConvT(params, 8, 2, 2, stride=2)
        >>> block(torch.rand(4, 8, 6, 6, 10)).shape
        torch.Size([4, 2, 12, 12, 10])
    """

    kind = "convT"
    synapse_name = "ConvTranspose"


class Pool(_Spatial):
    """Sum pooling and neuron, without the norm; arguments of synapse.Pool after neuron_params,
    which see for odd sizes.

    Example:
        >>> params = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}
        >>> block = slayer.block.cuba.Pool(params, 2)
        >>> block(torch.rand(4, 8, 6, 6, 10)).shape
        torch.Size([4, 8, 3, 3, 10])
    """

    kind = "pool"
    synapse_name: ClassVar[str] = "Pool"

    @arguments(neuron_params=MAPPING, **POOL, **WEIGHTS, **DELAY)
    def __init__(
        self,
        neuron_params: Mapping[str, Any],
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        weight_scale: float = 1,
        weight_norm: bool = False,
        pre_hook_fx: synapse.Hook | None = None,
        delay: bool = False,
        delay_shift: bool | None = None,
        count_log: bool = False,
        delay_gradient: str = "forward",
    ) -> None:
        super().__init__(
            {**neuron_params, "norm": None},
            delay,
            delay_shift,
            count_log,
            delay_gradient=delay_gradient,
        )
        make = getattr(self.synapses, self.synapse_name)
        self.synapse = self.exact(
            make(
                kernel_size,
                stride,
                padding,
                dilation,
                weight_scale,
                weight_norm,
                self.hook(pre_hook_fx),
            )
        )

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.out(shape[0], shape)


class Unpool(Pool):
    """Every input spread over a window, and neuron, without the norm; arguments of synapse.Unpool
    after neuron_params.

    Example:
        >>> params = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}
        >>> block = slayer.block.cuba.Unpool(params, 2)
        >>> block(torch.rand(4, 8, 6, 6, 10)).shape
        torch.Size([4, 8, 12, 12, 10])
    """

    kind = "unpool"
    synapse_name = "Unpool"


class _Limit:
    """Of the gradient that comes back through a feedback, see :class:`Recurrent`. Hooks on one
    call's tensors, run from the last step to the first, the output's before all of them."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.later: torch.Tensor | None = (
            None  # (batch, time): norms of the loss's own gradient at this step and those after it
        )
        self.ends: torch.Tensor | None = None  # (batch,): of the last state

    @staticmethod
    def _hooked(
        x: torch.Tensor, hook: Callable[[torch.Tensor], torch.Tensor | None]
    ) -> torch.Tensor:
        if x.requires_grad:
            x = x.view_as(x)
            x.register_hook(hook)
        return x

    def own(self, y: torch.Tensor) -> torch.Tensor:
        def seen(grad: torch.Tensor) -> None:
            norms = torch.linalg.vector_norm(grad.detach().double().flatten(1, -2), dim=1)
            self.later = norms.flip(-1).cumsum(-1).flip(-1)

        return self._hooked(y, seen)

    def end(self, state: torch.Tensor) -> torch.Tensor:
        def seen(grad: torch.Tensor) -> None:
            norm = torch.linalg.vector_norm(grad.detach().double().flatten(1), dim=1)
            self.ends = norm if self.ends is None else self.ends + norm

        return self._hooked(state, seen)

    def back(self, s: torch.Tensor, t: int) -> torch.Tensor:
        """Spikes that are fed back into step ``t``."""

        def scaled(grad: torch.Tensor) -> torch.Tensor:
            most = grad.new_zeros(len(grad), dtype=torch.float64)
            for part in (None if self.later is None else self.later[:, t], self.ends):
                most = most if part is None else most + part
            norm = torch.linalg.vector_norm(grad.detach().double().flatten(1), dim=1)
            factor = torch.where(norm > most, most / norm, 1.0)
            return grad * factor.to(grad.dtype).reshape(-1, *[1] * (grad.dim() - 1))

        return self._hooked(s, scaled)


class Recurrent(Block):
    """A dense layer whose spikes come back one step later through a dense synapse:
    ``z[t] = W x[t] + R s[t-1]``.

    Example:
        >>> params = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}
        >>> block = slayer.block.cuba.Recurrent(params, 20, 10)
        >>> block((torch.rand(4, 20, 30) < 0.3).float()).shape
        torch.Size([4, 10, 30])

    Args:
        in_neurons, out_neurons, weight_scale, weight_norm, pre_hook_fx: of both synapses; see
            synapse.Dense.
        requires_grad: train the recurrent synapse. Default True.
        bptt: differentiate through the neurons' states as well; False: through the feedback alone,
            as lava-dl did. Default True.
        bounded: bound the gradient of the feedback. Default True. A surrogate gradient above 1
            makes a loop of spikes an amplifier that the spikes are not: with rf's, of height
            threshold and weights, a gradient grows a hundredfold a step, in lava-dl too. Bounded,
            what comes back to a step's spikes through the feedback is scaled down, sample by
            sample, to at most what the loss itself sends to all later steps: a loop that does not
            amplify returns no more. Below that nothing is touched.

    Steps follow one another here: this is the one block that no loop is fused for.
    """

    kind = "dense_rec"

    @arguments(requires_grad=FLAG, bptt=FLAG, bounded=FLAG, **SIZES, **DELAY)
    def __init__(
        self,
        neuron_params: Mapping[str, Any],
        in_neurons: Any,
        out_neurons: int,
        weight_scale: float = 1,
        weight_norm: bool = False,
        pre_hook_fx: synapse.Hook | None = None,
        requires_grad: bool = True,
        delay: bool = False,
        delay_shift: bool | None = None,
        count_log: bool = False,
        bptt: bool = True,
        bounded: bool = True,
        delay_gradient: str = "forward",
    ) -> None:
        super().__init__(neuron_params, delay, delay_shift, count_log, out_neurons, delay_gradient)
        self.requires_grad, self.bptt, self.bounded = bool(requires_grad), bool(bptt), bool(bounded)
        if self.neuron.training_.gradient == "eventprop":
            raise InputError(
                f"{self.label}: neuron_params: gradient='eventprop' differentiates by times of spikes, which the single steps "
                "of a Recurrent block do not see; take 'surrogate'"
            )
        hook = self.hook(pre_hook_fx)
        self.input_synapse = self.synapses.Dense(
            in_neurons, out_neurons, weight_scale, weight_norm, hook
        )
        self._make_feedback(out_neurons, weight_scale, weight_norm, hook)

    def _load_from_state_dict(self, state_dict: State, prefix: str, *rest: Any) -> None:
        # lava-dl's buffer of spikes, all 0 there; KWTA's one synapse has another name there, its
        # number one axis
        state_dict.pop(f"{prefix}spike_state", None)
        for key in [k for k in state_dict if k.startswith(f"{prefix}synapse.")]:
            state_dict[f"{prefix}input_{key.removeprefix(prefix)}"] = state_dict.pop(key)
        number = state_dict.get(f"{prefix}self_excitation")
        if number is not None:
            state_dict[f"{prefix}self_excitation"] = number.reshape(())
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _make_feedback(
        self, neurons: int, weight_scale: float, weight_norm: bool, hook: synapse.Hook
    ) -> None:
        self.recurrent_synapse = self.synapses.Dense(
            neurons, neurons, weight_scale, weight_norm, hook
        ).requires_grad_(self.requires_grad)

    def feedback(self, s: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What spikes (batch, neurons, 1) add to the next step's drive."""
        z = self.recurrent_synapse(s)
        return z if isinstance(z, tuple) else (z,)

    def drive(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        z = self.input_synapse(x)
        return z if isinstance(z, tuple) else (z,)

    def respond(
        self, z: tuple[torch.Tensor, ...], state: State, shift: bool
    ) -> tuple[Signal, State]:
        s = state.get("spikes", torch.zeros_like(z[0][..., :1]))
        state = {k: v for k, v in state.items() if k != "spikes"}
        rows = []
        limit = _Limit(z[0].shape[-1]) if self.bounded and torch.is_grad_enabled() else None
        for t, now in enumerate(zip(*(part.split(1, -1) for part in z), strict=True)):
            drive = tuple(
                a + b
                for a, b in zip(
                    now, self.feedback(s if limit is None else limit.back(s, t)), strict=True
                )
            )
            s, state = self.neuron.stream(*drive, state=state)
            if not self.bptt:
                state = {k: v.detach() for k, v in state.items()}
            rows.append(s)
        y = torch.cat(rows, -1)
        after = {**state, "spikes": s}
        if limit is not None:
            y, after = limit.own(y), {k: limit.end(v) for k, v in after.items()}
        return (axon.delay(y) if shift else y), after

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.input_synapse.out_neurons,)

    def export_hdf5(self, handle: h5py.Group, input_shape: tuple[int, ...] | None = None) -> None:
        super().export_hdf5(
            handle, input_shape if input_shape is not None else (self.input_synapse.in_neurons,)
        )

    def write(self, handle: h5py.Group) -> None:
        super().write(handle)
        export.dense(self, handle, "weight", self.input_synapse, None)
        export.feedback(self, handle, self.recurrent_synapse)


class KWTA(Recurrent):
    """K winners take all: neurons that inhibit one another, ``R = (1 + self_excitation) I - 1``,
    under a bias of ``threshold (N - 2 K) / N`` of one weight unit a step. Cannot be exported: its
    bias acts on the current.

    Example:
        >>> params = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}
        >>> block = slayer.block.cuba.KWTA(params, 20, 10, num_winners=3)
        >>> block((torch.rand(4, 20, 30) < 0.3).float()).shape
        torch.Size([4, 10, 30])

    Args:
        num_winners: K, 1..out_neurons.
        self_excitation: in 0..1. Default 0.5.
        requires_grad: train self_excitation. Default True.
        bptt, bounded: see Recurrent.
    """

    kind = "kwta"

    @arguments(
        num_winners=COUNT,
        self_excitation=real(0, 1),
        requires_grad=FLAG,
        bptt=FLAG,
        bounded=FLAG,
        **SIZES,
        **SHIFT,
        **LOG,
    )
    def __init__(
        self,
        neuron_params: Mapping[str, Any],
        in_neurons: Any,
        out_neurons: int,
        num_winners: int,
        self_excitation: float = 0.5,
        weight_scale: float = 1,
        weight_norm: bool = False,
        pre_hook_fx: synapse.Hook | None = None,
        delay_shift: bool | None = None,
        requires_grad: bool = True,
        count_log: bool = False,
        bptt: bool = True,
        bounded: bool = True,
    ) -> None:
        super().__init__(
            neuron_params,
            in_neurons,
            out_neurons,
            weight_scale,
            weight_norm,
            pre_hook_fx,
            requires_grad,
            False,
            delay_shift,
            count_log,
            bptt,
            bounded,
        )
        if num_winners > out_neurons:
            raise InputError(
                f"{self.label}: num_winners is in 1..{out_neurons}, got {num_winners!r}"
            )
        self.num_winners = num_winners
        self.self_excitation = nn.Parameter(
            torch.tensor(float(self_excitation)), requires_grad=requires_grad
        )
        self.bias = (
            self.neuron.threshold
            * (out_neurons - 2 * num_winners)
            / out_neurons
            / self.neuron.w_scale
        )

    identity: torch.Tensor

    def _make_feedback(
        self, neurons: int, weight_scale: float, weight_norm: bool, hook: synapse.Hook
    ) -> None:
        self.register_buffer("identity", torch.eye(neurons), persistent=False)

    def drive(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            self.self_excitation.clamp_(0, 1)
        return super().drive(x)

    def feedback(self, s: torch.Tensor) -> tuple[torch.Tensor, ...]:
        z = torch.matmul((1 + self.self_excitation) * self.identity - 1, s) + self.bias
        # resonators are driven in their real part
        return (z, torch.zeros_like(z)) if self.complex else (z,)

    def write(self, handle: h5py.Group) -> None:
        raise ExportError(
            f"{handle.name}: {self.label}: its bias acts on the current, which no process does; use Recurrent"
        )


@arguments(module=instance(nn.Module), x=TENSOR)
def step_delay(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """``x`` (..., time) one step later, for a block of one's own.

    Where ``module.neuron`` keeps its state, what leaves at the end of a call enters at the
    beginning of the next one of as many samples: ``module.delay_buffer``. Zeros enter otherwise.
    """
    persistent = getattr(getattr(module, "neuron", None), "persistent_state", False)
    late = getattr(module, "delay_buffer", None) if persistent else None
    if late is None or late.shape != x.shape[:-1]:
        late = torch.zeros_like(x[..., 0])
    now, left = axon.after(x, late[..., None])
    if persistent:
        module.delay_buffer = left[..., 0].detach()
    return now


class AbstractResidual(nn.Module):
    """Base of residual blocks of one's own; it brings nothing."""


# lava-dl's names of the blocks before they have a family, for blocks of one's own:
# class Mine(slayer.block.cuba.AbstractCuba, slayer.block.base.AbstractDense)
AbstractInput, AbstractFlatten, AbstractAverage = Input, Flatten, Average
AbstractTimeDecimation, AbstractDense, AbstractAffine = TimeDecimation, Dense, Affine
AbstractConv, AbstractConvT, AbstractPool, AbstractUnpool = Conv, ConvT, Pool, Unpool
AbstractRecurrent, AbstractKWTA = Recurrent, KWTA
