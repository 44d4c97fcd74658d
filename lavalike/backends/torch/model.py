"""TorchModel: a process's step on tensors with a batch axis."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import torch

from lavalike.dynamics.lif import STATE_BITS
from lavalike.errors import InputError, OverflowError24, RunError
from lavalike.fused.ambient import transformed
from lavalike.fused.arithmetic import Training
from lavalike.fused.cpu import LIMIT
from lavalike.fused.scan import code, plain, scan
from lavalike.fused.surrogate import Derivative, Surrogate, as_surrogate, exponential
from lavalike.fused.trace import accumulated, steps as stepper
from lavalike.model.config import NodeConfig
from lavalike.model.model import ProcessModel
from lavalike.process import AbstractProcess
from lavalike.process.units import Units

Tensors = dict[str, torch.Tensor]
WIDE = "the 32 bits in which fixed_pt holds messages and states; scale weights or inputs down"


def _all(name: str) -> Any:
    def method(self: Heard, *args: Any) -> Any:
        self.names.update(dict.keys(self))
        return getattr(dict, name)(self, *args)

    return method


class Heard(Tensors):
    """Inputs that note in ``names`` which of them were read."""

    names: set[str]

    @classmethod
    def of(cls, values: Tensors, names: set[str]) -> Heard:
        self = cls(values)
        self.names = names
        return self

    def __getitem__(self, key: str) -> torch.Tensor:
        self.names.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return super().get(key, default)

    keys, values, items, __iter__, pop, copy, __or__, __ror__ = map(
        _all, ("keys", "values", "items", "__iter__", "pop", "copy", "__or__", "__ror__")
    )


class TorchModel(ProcessModel):
    """A differentiable model. In fixed_pt tensors are float64 that hold whole numbers, and
    gradients pass what rounds them.

    Without delay, define ``step(t, inputs, state, c) -> (outputs, state)``; with ``delay=1`` define
    ``send(state, c) -> outputs`` and ``receive(t, inputs, state, c) -> state``. Inputs, outputs and
    state are dicts of tensors ``(batch, *shape)`` by the names of ports and state Vars; ``c`` is
    what ``constants`` returns. Nothing is changed in place.

    In floating_pt booleans, complex numbers and integers given as NumPy's
    (``Var(shape, np.int64(0))``) are states of their kind, which the step returns too (GraphError
    for another); all others, Python's integers among them, are floats.

    ``sequence(inputs, state, c, first)`` does the same for tensors ``(batch, *shape, time)``; by
    default it calls ``step`` for every time step.

    Example:
        >>> class Twice(lv.AbstractProcess):
        ...     def __init__(self, shape):
        ...         super().__init__()
        ...         self.a_in, self.s_out = lv.InPort(shape), lv.OutPort(shape)
        ...
        >>> @lv.implements(Twice, backend="torch")
        ... class TwiceModel(lv.TorchModel):
        ...     def step(self, t, inputs, state, c):
        ...         return {"s_out": 2 * inputs["a_in"]}, {}
        ...
        >>> config = lv.RunConfig(backend="torch")
        >>> lv.simulate(Twice((1,)), {"a_in": np.ones((1, 3))}, config=config)["s_out"]
        array([[2., 2., 2.]], dtype=float32)
    """

    backend = "torch"
    surrogate: Surrogate | Derivative = exponential()
    ends: Mapping[str, str] = {}  # Vars that hold a step, and the states that count down to it
    complexes: Mapping[str, tuple[str, str]] = {}  # Vars of complex numbers, and their parts
    looked = told = False  # at messages that count as spikes

    @property
    def trusted(self) -> bool:
        """Whether it is the library's own."""
        return type(self).__module__.split(".")[0] == "lavalike"

    @functools.cached_property
    def kinds(self) -> dict[str, str]:
        """States of a user's model that are no floats: "b", "i" or "c" by name."""
        if self.trusted:
            return {}
        return {
            v.name: v.value.dtype.kind.replace("u", "i")
            for v in self.process.vars
            if v.role == "state"
            and (
                v.value.dtype.kind in "bc"
                or (v.value.dtype.kind in "iu" and v.asked and not self.config.fixed)
            )
        }

    def constants(self, values: Tensors) -> dict[str, Any]:
        """From the Vars' values as tensors (nn.Parameters where trainable); ValueError when out of
        range."""
        return dict(values)

    def whole(self, name: str) -> bool:
        """Whether in fixed_pt the Var of that name is a whole number, between which it is
        trained."""
        return True

    def limits(self, name: str) -> tuple[float, float]:
        """The least and the greatest value that the trained Var of that name may have."""
        return -math.inf, math.inf

    def step(
        self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]
    ) -> tuple[Tensors, Tensors]:
        if not self.delay:
            raise NotImplementedError(
                f"{type(self).__name__}: a TorchModel without delay defines step(t, inputs, state, c)"
            )
        outputs = self.send(state, c)
        return outputs, self.receive(t, inputs, state, c)

    def send(self, state: Tensors, c: Mapping[str, Any]) -> Tensors:
        raise NotImplementedError(
            f"{type(self).__name__}: a TorchModel with delay defines send and receive"
        )

    def ahead(
        self, state: Tensors, c: Mapping[str, Any], port: str, steps: int
    ) -> list[torch.Tensor]:
        """What ``port`` sends in each of the next ``steps`` steps, at most ``lag``."""
        return [self.send(state, c)[port]]

    def receive(self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]) -> Tensors:
        raise NotImplementedError(
            f"{type(self).__name__}: a TorchModel with delay defines send and receive"
        )

    def sequence(
        self, inputs: Tensors, state: Tensors, c: Mapping[str, Any], first: int, steps: int
    ) -> tuple[Tensors, Tensors]:
        columns = {name: x.unbind(-1) for name, x in dict.items(inputs)}
        rows: dict[str, list[torch.Tensor]] = {}
        for k in range(steps):
            now = {name: x[k] for name, x in columns.items()}
            out, state = self.step(
                first + k,
                Heard.of(now, inputs.names) if isinstance(inputs, Heard) else now,
                state,
                c,
            )
            for name, x in out.items():
                rows.setdefault(name, []).append(x)
        return {name: torch.stack(x, -1) for name, x in rows.items()}, state


def place(model: TorchModel, t: int, samples: torch.Tensor) -> str:
    """Process, step and, of several, the first of ``samples`` (batch) that is true."""
    return f"{model.process.path}, step {t}" + (
        f", sample {int(samples.nonzero()[0])}" if len(samples) > 1 else ""
    )


def within(model: TorchModel, x: torch.Tensor, first: int) -> None:
    """RunError where one of the whole numbers ``x`` (batch, ..., time), of steps from ``first`` on,
    leaves 32 bits."""
    bad = ((x >= 2.0**31) | (x < -(2.0**31))).flatten(1, -2).any(1)
    if bad.any():
        column = int(bad.any(0).nonzero()[0])
        raise RunError(f"{place(model, first + column, bad[:, column])}: a sum left {WIDE}")


class DynamicsModel(TorchModel):
    """The model of every process with ``dynamics``: all steps in one fused loop, or step by step
    where there is feedback.

    fixed_pt is computed in float64, which holds its integers: the numba backend's bits. RunError
    (OverflowError24 of a process that is ``checked``) where something leaves 32 bits (24).
    """

    def __init__(self, process: AbstractProcess, config: NodeConfig) -> None:
        super().__init__(process, config)
        assert process.dynamics is not None
        self.dynamics = process.dynamics
        self.traceable = (
            bool(self.dynamics.inputs)
            and len({p.shape for p in (*process.in_ports, *process.out_ports)}) == 1
        )
        self.ends = {var: state for state, var in process.dynamics.ends}
        self.complexes = {var: (re, im) for var, re, im in process.dynamics.complexes}
        self._bound: tuple[Any, ...] = ()
        self._made: tuple[Any, ...] = ()
        self._numbers: dict[str, tuple[Any, torch.Tensor]] = {}

    def port_names(self) -> frozenset[str]:
        return frozenset((*self.dynamics.inputs, *self.dynamics.outputs))

    def whole(self, name: str) -> bool:
        loihi = self.dynamics.loihi or Units.of(self.process.proc_params).loihi
        return loihi or not any(p.counts for p in self.dynamics.parameters if p.name == name)

    def limits(self, name: str) -> tuple[float, float]:
        p: Any = self.process
        if self.config.fixed and name == "bias_mant":  # which bias_exp shifts
            most = math.floor((2.0**STATE_BITS - 1) / 2.0 ** float(p.bias_exp.value.max()))
            return -most, most
        known = {p.name: p for p in self.dynamics.settings}
        if self.config.fixed or name not in known:
            return -math.inf, math.inf
        return known[name].low, known[name].high

    @property
    def training(self) -> Training:
        """Gradients of graphs: the surrogate in units of the threshold, none through a reset."""
        if self._made[:1] != (self.surrogate,):
            checked = Units.of(self.process.proc_params).checked and self.dynamics.accumulators
            arithmetic = ("checked" if checked else "fixed") if self.config.fixed else "float"
            self._made = (
                self.surrogate,
                Training(as_surrogate(self.surrogate), "detach", arithmetic, relative=True),
            )
        return self._made[1]

    def __getstate__(self) -> dict[str, Any]:
        made: dict[str, Any] = {"_bound": (), "_made": (), "_numbers": {}}  # when it is called
        return {**self.__dict__, **made}

    def constants(self, values: Tensors) -> dict[str, Any]:
        dtype = getattr(torch, self.config.dtype)
        if self.config.fixed:
            trained = torch.is_grad_enabled() and any(v.requires_grad for v in values.values())
            derived = self.dynamics.derive(
                values if trained else {n: v.cpu().numpy() for n, v in values.items()},
                Units.of(self.process.proc_params),
                True,
            )
            on = next((v.device for v in values.values()), None)
            return {k: torch.as_tensor(v).to(on, torch.float64) for k, v in derived.items()}
        made, keys = self._known(values)
        derived = self.dynamics.derive(values, Units.of(self.process.proc_params), False, made)
        like = next(iter(values.values()), torch.zeros(0, dtype=dtype))
        out = {
            k: v if isinstance(v, torch.Tensor) else torch.as_tensor(v, device=like.device)
            for k, v in derived.items()
        }
        out = {k: v.to(dtype) if v.dtype.is_floating_point else v for k, v in out.items()}
        self._numbers = {k: (key, out[k]) for k, key in keys.items()}
        return out

    def _known(self, values: Tensors) -> tuple[Tensors, dict[str, tuple[Any, ...]]]:
        """Constants made of one number that is not trained: those made before, and what tells each
        of them from another.

        The number itself does: who changes a Var's tensor, in whatever way, has the constant of
        what it is now.
        """
        made: Tensors = {}
        keys: dict[str, tuple[Any, ...]] = {}
        if not transformed():
            for p in self.dynamics.parameters:
                value = values.get(p.name)
                if p.argument not in self.dynamics.constant_names or value is None:
                    continue
                if p.shift or value.requires_grad or value.numel() != 1:
                    continue
                where = value.device, value.dtype, value.shape, torch.is_inference_mode_enabled()
                keys[p.argument] = value.item(), *where, self.config.dtype
                key, tensor = self._numbers.get(p.argument, (None, None))
                if key == keys[p.argument] and tensor is not None:
                    made[p.argument] = tensor
        return made, keys

    def step(
        self, t: int, inputs: Tensors, state: Tensors, c: Mapping[str, Any]
    ) -> tuple[Tensors, Tensors]:
        like = next(iter((*inputs.values(), *state.values())))
        step, counts, numbers = self._bind(like)
        known = (
            inputs,
            {n: state[n] for n in self.dynamics.states},
            c,
            numbers,
            torch.tensor(t, device=like.device),
        )
        if self.config.fixed:
            for sizes in counts(*known):
                self._within(sizes, t)
        outputs, new = step(*known)
        return outputs, state | new

    def sequence(
        self, inputs: Tensors, state: Tensors, c: Mapping[str, Any], first: int, steps: int
    ) -> tuple[Tensors, Tensors]:
        d, training = self.dynamics, self.training
        if not self._traced(training):
            return super().sequence(inputs, state, c, first, steps)
        rows = {n: x.movedim(-1, 0) for n, x in inputs.items()}  # time outermost, as loops want it
        result = scan(
            d,
            training,
            rows,
            c,
            {n: state[n] for n in d.states},
            steps=steps,
            first=first if "t" in d.arguments else None,
        )
        if self.config.fixed and result.overflows:
            return super().sequence(inputs, state, c, first, steps)  # which finds the step
        return {n: y.movedim(0, -1) for n, y in result.outputs.items()}, state | result.states

    def _traced(self, training: Training) -> bool:
        """Whether the step can be fused: torch sees through it, and all of its ports have the
        neurons' shape."""
        if self.traceable and not plain():
            try:
                code(self.dynamics, training)
            except InputError:  # Python's own control flow, say: it runs step by step
                self.traceable = False
        return self.traceable

    def _bind(self, like: torch.Tensor) -> tuple[Any, Any, Tensors]:
        """The step, what it counts, and the training's numbers; made anew for another surrogate,
        dtype or device."""
        key = self.surrogate, like.dtype, like.device
        if self._bound[:1] != (key,):
            training = self.training
            numbers = {
                n: torch.tensor(v, dtype=like.dtype, device=like.device)
                for n, v in training.numbers.items()
            }
            self._bound = (
                key,
                stepper(self.dynamics, training),
                accumulated(self.dynamics, training),
                numbers,
            )
        return self._bound[1:]

    def _within(self, sizes: torch.Tensor, t: int) -> None:
        """RunError or OverflowError24 where one of ``sizes`` (batch, ...) reached the limit."""
        bad = (sizes >= LIMIT).flatten(1).any(1)
        if bad.any():
            where = place(self, t, bad)
            if self.training.arithmetic == "fixed":
                raise RunError(f"{where}: a sum left {WIDE}")
            raise OverflowError24(
                f"{where}: an accumulator left 24 bits; the file promises that none does. Scale its weights or inputs "
                "down."
            )


class FloatingDynamicsModel(DynamicsModel):
    """A DynamicsModel whose equation has no fixed-point form."""

    precision = "floating_pt"
