"""NumbaModel: a process's step as one function over arrays."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from lavalike.backends.numba import loops, ranges
from lavalike.backends.numba.layouts import Complex, Ending, Layout
from lavalike.dynamics import Dynamics
from lavalike.errors import GraphError
from lavalike.model.config import NodeConfig
from lavalike.model.model import ProcessModel
from lavalike.process import AbstractProcess
from lavalike.process.units import Units


class NumbaModel(ProcessModel):
    """A model the numba backend compiles.

    Write ``step`` as a plain function (no self) whose arguments are names: of ports (message
    arrays), of Vars (state arrays, changed in place), of what ``derive`` returns (arrays, or
    numbers by value), and ``t``, the step, from 1. It assigns to its OutPorts every element in
    every step, and returns nothing. Messages are int32 in fixed_pt and the RunConfig's dtype in
    floating_pt, as ``self.config`` has them for this process; so are Vars of floats. Booleans keep
    their dtype, complex numbers are as wide as the messages, and integers in floating_pt keep their
    dtype: a step that writes floats into those of a NumPy array or number is a GraphError with its
    line, into Python's (``Var(shape, 0)``) makes the Var one of floats. In fixed_pt all states and
    OutPorts are whole numbers, and so is what a step writes into them: ``int(x)``, ``x // n``,
    ``x >> n``, ``np.floor(x)``, 0.0, but no ``x * 0.9``, which is that GraphError.

    When a graph is compiled, GraphError tells with its line a step that returns a value, gives the
    name of a port or state something new (``v = ...``; ``v[:] = ...`` and ``v += ...`` write),
    never writes an OutPort, or writes an InPort or a Var declared a parameter. An index out of
    bounds is an IndexError; what a step raises reaches the caller with its type and text, process
    and step, and leaves the states of the last whole step.

    What a step draws from ``np.random`` or ``random`` follows from the run's seed
    (``RunConfig(seed=)``), the process's path, the step and the sample: neither the cut of a run
    nor threads change it.

    Example::

        @implements(Leaky, backend="numba", precision="floating_pt")
        class LeakyModel(NumbaModel):
            def step(a_in, s_out, v, decay):
                for i in range(v.size):
                    v[i] = v[i] * decay[0] + a_in[i]
                    s_out[i] = v[i] > 1

    Class attribute ``batched``: arrays of ports and states come with a leading batch axis and one
    call does the whole batch; otherwise a step never sees the batch.
    """

    backend = "numba"
    batched: ClassVar[bool] = False
    returns: ClassVar[bool] = False  # the step's result is a kernel's status; the library's models
    aliases: ClassVar[
        Mapping[str, str]
    ] = {}  # state Vars whose value at the end of a step is a port's buffer
    sends: ClassVar[Mapping[str, str]] = {}  # state Vars whose column 0 is what a port sends next
    narrow: ClassVar[Mapping[str, Any]] = {}  # dtypes of states that are narrower than messages

    @property
    def layouts(self) -> Mapping[str, Layout]:
        """State Vars that lie otherwise than as a state of their name and shape."""
        return {}

    @property
    def message_dtype(self) -> np.dtype:
        return self.config.message_dtype

    def function(self) -> Callable[..., Any] | Dynamics:
        """What is compiled: the class's step, or a Dynamics."""
        return self._step

    @functools.cached_property
    def _step(self) -> Callable[..., Any]:
        step = inspect.getattr_static(type(self), "step", None)
        if isinstance(step, staticmethod):
            step = step.__func__
        if not inspect.isfunction(step) and not hasattr(step, "py_func"):
            raise GraphError(f"{type(self).__name__}: a NumbaModel defines step(...)")
        return step

    @functools.cached_property
    def draws(self) -> int:
        """Whose random numbers a user's step uses; see :mod:`lavalike.backends.numba.draws`."""
        from lavalike.backends.numba.draws import drawn

        return 0 if self.trusted else drawn(self.function())

    @functools.cached_property
    def trusted(self) -> bool:
        """Whether the step is the library's own: it raises nothing, and no index of it leaves an
        array."""
        step = self.function()
        return isinstance(step, Dynamics) or (step.__module__ or "").split(".")[0] == "lavalike"

    def port_names(self) -> frozenset[str]:
        return frozenset(self.argument_names())

    def argument_names(self) -> tuple[str, ...]:
        return _names(self.function())

    def load(self, values: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        """States as the step wants them, from the Vars' values (time_last Vars come time first)
        after ``step`` steps."""
        states = {v.name for v in self.process.vars if v.role == "state"} - set(self.aliases)
        return {n: values[n] for n in self.argument_names() if n in states}

    def scratch(self, batch: int) -> dict[str, np.ndarray]:
        """Arrays the step works in by name, batch first; all zeros at the start and whenever a Var
        was set."""
        return {}

    def store(self, states: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        """The Vars' values from the states (the inverse of ``load``). One that computes them anew
        has its Vars recorded one step at a time; ``layouts`` has not."""
        return {**states, **{var: x.shown(states, step) for var, x in self.layouts.items()}}


@functools.lru_cache(4096)
def _names(step: Callable[..., Any] | Dynamics) -> tuple[str, ...]:
    if isinstance(step, Dynamics):
        known = (*step.inputs, *step.outputs, *step.states)
        return (
            *known,
            *(a for a in step.arguments if a not in known),
            *((loops.STILL,) if step.rests else ()),
        )
    return tuple(inspect.signature(getattr(step, "py_func", step)).parameters)


class DynamicsModel(NumbaModel):
    """The model of every process with ``dynamics``: its scalar step in a generated loop over
    neurons."""

    def __init__(self, process: AbstractProcess, config: NodeConfig) -> None:
        super().__init__(process, config)
        assert process.dynamics is not None
        self.dynamics = process.dynamics
        for var in process.vars:
            if var.time_last and var.name in self.dynamics.state_vars:
                raise GraphError(
                    f"{var.path}: a state of {self.dynamics.name}, one element a neuron, has no time; make its Var without time_last"
                )

    def function(self) -> Dynamics:
        return self.dynamics

    @property
    def layouts(self) -> Mapping[str, Layout]:
        d = self.dynamics
        ends = {var: Ending(state) for state, var in d.ends}
        return ends | {var: Complex(real, imaginary) for var, real, imaginary in d.complexes}

    def load(self, values: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
        parts = {
            state: part
            for var, re, im in self.dynamics.complexes
            for state, part in ((re, values[var].real), (im, values[var].imag))
        }
        ends = {state: values[var].astype(np.float64) - step for state, var in self.dynamics.ends}
        return super().load(values, step) | ends | parts

    def scratch(self, batch: int) -> dict[str, np.ndarray]:
        if not self.dynamics.rests:
            return {}
        return {
            loops.STILL: np.zeros(
                (batch, -(-self.process.out_ports[0].size // loops.BLOCK)), np.int8
            )
        }

    def derive(self, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Constants in three levels, so that few kernels serve all networks: all numbers,
        per-neuron ones arrays, all arrays."""
        constants = self.dynamics.derive(
            values, Units.of(self.process.proc_params), self.config.fixed
        )
        out = {k: _collapsed(np.asarray(v)) for k, v in constants.items()}
        arrays = {k for k, v in out.items() if v.ndim}
        if arrays:
            level = self.dynamics.per_neuron if arrays <= {*self.dynamics.per_neuron} else out
            shape = self.process.out_ports[0].shape
            out = {k: np.broadcast_to(v, shape) if k in level else v for k, v in out.items()}
        if self.config.fixed:
            return self._whole({k: held(k, v, self._dtype(v)) for k, v in out.items()})
        made = {k: held(k, v, self._dtype(v)) for k, v in out.items()}
        return {k: v.reshape(-1) if v.ndim else v[()] for k, v in made.items()}

    def _dtype(self, constant: np.ndarray) -> Any:
        """Of a constant: in fixed_pt one that is no whole number stays what it is."""
        if constant.dtype.kind != "f":
            return np.int64
        if self.config.fixed:
            return np.int64 if (constant == np.trunc(constant)).all() else np.float64
        return self.config.dtype

    def _whole(self, constants: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Constants of fixed_pt: arrays in 32 bits where those hold them, and in how small blocks
        32 bits hold the whole step."""
        whole = {k: v for k, v in constants.items() if v.dtype.kind != "f"}
        ends = {k: (int(v.min()), int(v.max())) if v.size else (0, 0) for k, v in whole.items()}
        narrow = {k for k, (a, b) in ends.items() if a >= ranges.LOW and b <= ranges.HIGH}
        made = {
            k: v.astype(np.int32 if k in narrow else v.dtype).reshape(-1) if v.ndim else v[()]
            for k, v in constants.items()
        }
        if len(whole) < len(constants):  # a fraction among them: no proof about whole numbers
            return made
        bits = ranges.bits(self.dynamics, tuple((k, *e) for k, e in sorted(ends.items())))
        return made | ({loops.BITS: bits} if bits else {})


def held(name: str, value: np.ndarray, dtype: Any) -> np.ndarray:
    """``value`` in ``dtype``, C-contiguous; ValueError where a finite number becomes infinite in
    it."""
    value = np.asarray(value)
    if value.dtype.kind != "f" or value.dtype == dtype or (value.ndim == 0 and abs(value) < 1e38):
        return np.asarray(value, dtype, order="C")
    with np.errstate(over="ignore"):  # told below
        out = np.asarray(value, dtype, order="C")
    if (
        value.dtype.kind == "f"
        and value.dtype.itemsize > out.dtype.itemsize
        and out.dtype.kind == "f"
        and not np.isfinite(out).all()
    ):
        lost = np.isfinite(value) & ~np.isfinite(out)
        if lost.any():
            raise ValueError(
                f"{name}: {value[lost].flat[0]} is beyond {out.dtype}; RunConfig(dtype='float64') holds it"
            )
    return out


def _collapsed(value: np.ndarray) -> np.ndarray:
    """One number if all entries are the same."""
    if value.size == 1:
        return value.reshape(())
    return value.reshape(-1)[0] if value.size and all_same(value) else value


def all_same(values: np.ndarray) -> bool:
    """Whether all entries, of which there are some, are the same number."""
    first = values.flat[0]
    return bool(first == values.flat[-1] and (values == first).all())
