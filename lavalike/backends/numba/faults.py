"""What went wrong in a compiled step, told with process, step, sample and line; and what would,
found when a step is bound."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lavalike.backends.numba import draws, kernels, kinds, transfer
from lavalike.backends.numba.kernels import Spec
from lavalike.backends.numba.model import DynamicsModel
from lavalike.compiler.flat import Node, not_held
from lavalike.dynamics import Dynamics
from lavalike.errors import GraphError, OverflowError24, RunError, step_error

if TYPE_CHECKING:
    from lavalike.backends.numba.ops import Op

OURS = os.path.dirname(__file__) + os.sep
UNSEEN = "the model's step raised an exception; RunConfig(debug=True) shows it"


@dataclass(frozen=True)
class Faults:
    """Of a program of ``batch`` samples, its first one being ``first_sample`` of a batch that
    several programs share."""

    batch: int
    first_sample: int

    def raised(self, op: Op, t: int, sample: int) -> Exception:
        """What the call of ``op`` for one sample raises, as the caller sees it."""
        values = [
            t if kind[0] == "t" else v for v, kind in zip(op.sample(sample), op.kinds, strict=True)
        ]
        before = [v.copy() if isinstance(v, np.ndarray) else v for v in values]
        written = op.spec.function
        assert not isinstance(written, Dynamics)  # whose loop raises nothing
        function = kernels.bounded(written) if op.spec.bounds else kernels.jit(written)
        numbers = drawn(op, values)
        drawn(op, before)
        try:
            if numbers is not None:
                draws.seed_compiled(op.spec.draws, numbers, t)
            function(*values)
        except IndexError as e:  # Numba says neither which index nor where; Python does
            with seeded(op, numbers, t):
                told = _in_python(kernels.plain(written), before)
            return self.told(told or e, op, t, sample)
        except Exception as e:
            return self.told(e, op, t, sample)
        return RunError(f"{op.owner}, {self.place(t, sample)}: {UNSEEN}")

    def told(self, cause: Exception, op: Op, t: int, sample: int) -> Exception:
        """``cause`` with process, step and line, of its own class."""
        lines = [
            (f.f_code.co_filename, line)
            for f, line in traceback.walk_tb(cause.__traceback__)
            if not f.f_code.co_filename.startswith(OURS)
        ]
        where = f" ({lines[-1][0]}:{lines[-1][1]})" if lines else ""
        shapes = ""
        if isinstance(cause, IndexError):
            named = zip(op.spec.arguments, op.sample(sample), strict=True)
            shapes = "; " + ", ".join(
                f"{name} has shape {v.shape}" for (name, _), v in named if isinstance(v, np.ndarray)
            )
        error = step_error(f"{op.owner}, {self.place(t, sample)}: {cause}{shapes}{where}", cause)
        error.__cause__ = cause
        error.add_note(f"in {op.owner}, step {t}, sample {sample + self.first_sample}")
        return error

    def of(self, status: int, op: Op, t: int, sample: int) -> Exception:
        """What the ``status`` of a kernel means."""
        place = f"{op.owner}, {self.place(t, sample)}"
        if status == kernels.OVERFLOW:
            return OverflowError24(
                f"{place}: an accumulator left 24 bits; the file promises that none does. "
                "Scale its weights or inputs down."
            )
        if status == kernels.WRAPPED:
            return RunError(
                f"{place}: a sum left the 32 bits in which fixed_pt holds messages and states; scale weights or inputs down"
            )
        values = op.values[0]
        if status == kernels.OUTSIDE:
            x = op.sample(sample)[0]
            bad = x[(x < 0) | (x >= 2**24)].flat[0]
            return RunError(
                f"{place}: the root of a number from 0 to 2**24 - 1 is taken, got {bad}"
            )
        if status == kernels.NOT_HELD:
            lost = ~transfer.held(values, op.values[1].dtype)
            sample, index = divmod(int(np.flatnonzero(lost)[0]), values.size // self.batch)
            source, _, target = op.owner.partition(" -> ")
            where = self.place(t, sample)
            return not_held(source, target, op.values[1].dtype, where, values[lost][0], index)
        if status == kernels.NOT_FINITE:
            flat = int(np.flatnonzero(~np.isfinite(values))[0])
            sample, index = divmod(flat, values.size // self.batch)
            return RunError(
                f"{op.owner}, {self.place(t, sample)}: {values[flat]} at flat index {index}, the first NaN or infinity of this "
                "run"
            )
        return RunError(f"{place}: {UNSEEN}")

    def place(self, t: int, sample: int) -> str:
        """The step, and where there are several the sample."""
        several = self.batch > 1 or self.first_sample
        return f"step {t}" + (f", sample {sample + self.first_sample}" if several else "")


def drawn(op: Op, values: list[Any]) -> np.ndarray | None:
    """Take what seeds a step that draws out of its arguments' ``values``, where it is the last."""
    return values.pop() if op.spec.draws else None


def seeded(op: Op, numbers: np.ndarray | None, t: int) -> AbstractContextManager[None]:
    """Python's generators seeded for a call of ``op``, where it draws."""
    return nullcontext() if numbers is None else draws.seeded(op.spec.draws, numbers, t)


def _in_python(function: Any, values: list[Any], lines: int = 200_000) -> IndexError | None:
    """The IndexError that ``function`` raises as plain Python within so many lines, or None."""
    left, tracer = lines, sys.gettrace()

    def count(frame: Any, event: str, arg: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise TimeoutError
        return count

    sys.settrace(count)
    try:
        with np.errstate(all="ignore"):
            function(*values)
    except IndexError as e:
        return e
    except Exception:  # too long, or Python computes something else: Numba's own is told
        return None
    finally:
        sys.settrace(tracer)
    return None


# -- when a step is bound --------------------------------------------------------------------------


def returned(owner: str, spec: Spec) -> GraphError:
    """The step of process ``owner`` returns a value."""
    return GraphError(
        f"{owner}: the model's step ({line(spec.function)}) returns a value, and nothing takes it; "
        "write into the port: s_out[:] = ..."
    )


def floats_in_whole(node: Node, spec: Spec, whole: Collection[str], bound: bool) -> list[str]:
    """States of Python's integers into which a user's step writes floats, in floating_pt: they
    become floats.

    GraphError for all other whole numbers where it may cut fractions off: those named in ``whole``,
    all of fixed_pt, and where the step has been ``bound`` before, so that states are what they are.
    """
    fixed, lost = node.model.config.fixed, kinds.fractions(spec)
    for name, cut in lost.items():
        if cut.lost and (fixed or name in whole or bound):
            raise GraphError(
                f"{node.process.path}.{name}: of {dict(spec.arguments)[name][0]}"
                f"{', as all numbers of fixed_pt are' if fixed else ''}, and {type(node.model).__name__}.step "
                f"({line(spec.function, cut.lost)}) writes floats into it; round them there (int(x)"
                + (
                    ", n // 2, n >> 1, a.astype(np.int32)), or compute it in floating_pt"
                    if fixed
                    else f"), or give {name} floats: Var(..., init=0.0)"
                )
            )
    return [] if fixed or bound else [n for n in lost if n not in whole]


def fractions_in_fixed(node: Node, spec: Spec) -> None:
    """GraphError where fixed_pt would cut fractions off that a user's Dynamics computes."""
    assert isinstance(node.model, DynamicsModel)
    dynamics = node.model.dynamics
    ours = (dynamics.step.__module__ or "").split(".")[0] == "lavalike"
    found = kinds.lost(spec) if node.model.config.fixed and not ours else None
    if found is not None:
        what, where = found
        named = what in (*dynamics.outputs, *dynamics.states)
        raise GraphError(
            f"{node.process.path}{f'.{what}:' if named else f': {what}'} may be a fraction in {dynamics.name} ({where}), and "
            "fixed_pt holds whole numbers; write it with leak(x, k), scaled(x, k, bits), unscale(x, e) or x // n, let constants "
            "round what it makes, or declare the Dynamics with fixed=False"
        )


def line(function: Any, number: int | None = None) -> str:
    """File and line of a step, its first or ``number``."""
    code = getattr(function, "py_func", function).__code__
    return f"{code.co_filename}:{number or code.co_firstlineno}"
