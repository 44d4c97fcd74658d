"""Continually learning prototypes. Equations: :mod:`lavalike.dynamics.clp`.

A prototype is a neuron whose weights are one pattern. What no prototype answers to is novel, and
the next free one learns it in one step; what one answers to is read out by its label, which the
user gives, later too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lavalike.arguments import arguments, integer, numbers, optional
from lavalike.dynamics import clp
from lavalike.errors import VarError
from lavalike.proc.neuron import Neuron, build, declared
from lavalike.process import AbstractProcess, InPort, OutPort, Var


class IdBroadcast(Neuron):
    """Sends what it hears, in the same step.

    Example:
        >>> ids = proc.clp.IdBroadcast(shape=(1,))
        >>> lv.simulate(ids, {"a_in": np.array([[0, 2, 0, 1]])})["s_out"]
        array([[0., 2., 0., 1.]], dtype=float32)
    """

    dynamics = clp.BROADCAST
    a_in: InPort
    s_out: OutPort
    val: Var

    @declared(clp.BROADCAST)
    def __init__(
        self, *, shape: int | Sequence[int], val: Any = 0, name: str | None = None
    ) -> None: ...


class NoveltyDetector(Neuron):
    """Sends 1 once where an input came, ``input_aval_in``, and no output within ``t_wait`` steps,
    ``output_aval_in``.

    Example:
        >>> detector = proc.clp.NoveltyDetector(t_wait=3)
        >>> x = np.zeros((1, 8))
        >>> x[0, 1] = 1  # an input, and no output after it
        >>> rec = lv.simulate(detector, {"input_aval_in": x})
        >>> np.flatnonzero(rec["novelty_detected_out"])
        array([5])
    """

    dynamics = clp.NOVELTY
    input_aval_in: InPort
    output_aval_in: InPort
    novelty_detected_out: OutPort
    waiting: Var
    t_passed: Var
    t_wait: Var

    @declared(clp.NOVELTY)
    def __init__(
        self,
        *,
        t_wait: int,
        shape: int | Sequence[int] = (1,),
        waiting: Any = 0,
        t_passed: Any = 0,
        name: str | None = None,
    ) -> None: ...


class Allocator(AbstractProcess):
    """Sends the number of the next free prototype, from 1, where ``trigger_in`` is not 0, else 0.

    Example:
        >>> allocator = proc.clp.Allocator(n_protos=3)
        >>> lv.simulate(allocator, {"trigger_in": np.array([[0, 1, 0, 1]])})["allocate_out"]
        array([[0., 1., 0., 2.]], dtype=float32)

    Args:
        n_protos: how many there are, >= 1. What comes after the last is sent too, and is none's
            number.
        next_alloc_id: the number that comes first. Default 1.
    """

    dynamics = clp.ALLOCATOR
    trigger_in: InPort
    allocate_out: OutPort
    next_alloc_id: Var

    @arguments(error=VarError, n_protos=integer(1), next_alloc_id=integer(1))
    def __init__(self, *, n_protos: int, next_alloc_id: int = 1, name: str | None = None) -> None:
        super().__init__(name=name)
        build(self, clp.ALLOCATOR, {"shape": (1,), "next_alloc_id": next_alloc_id})
        self.n_protos = int(n_protos)


class Readout(AbstractProcess):
    """Sends the label of the prototype that answers, on ``user_output``, and learns labels from the
    user.

    Of the first neuron that ``inference_in`` names: a prototype without label, 0, gets the
    pseudo-label -(k + 1), k its place. A label of the user's on ``label_in`` is of the last that
    answered: one with a pseudo-label takes it, and it is sent; of one with a label ``feedback``
    says whether it is the same, 1, or not, -1, which sends 1 on ``trigger_alloc``. Else 0 is sent.

    Example:
        >>> readout = proc.clp.Readout(n_protos=2, proto_labels=[7, 0])
        >>> x = np.array([[1, 0], [0, 0]])  # the first prototype answers in step 1
        >>> lv.simulate(readout, {"inference_in": x})["user_output"]
        array([[7., 0.]])

    Args:
        n_protos: how many prototypes there are, >= 1.
        proto_labels: their labels, (n_protos,). Default None: all 0.
    """

    @arguments(error=VarError, n_protos=integer(1), proto_labels=optional(numbers(kinds="iu")))
    def __init__(self, *, n_protos: int, proto_labels: Any = None, name: str | None = None) -> None:
        super().__init__(name=name)
        n = int(n_protos)
        self.inference_in, self.label_in = InPort((n,)), InPort((1,))
        self.user_output, self.feedback, self.trigger_alloc = (OutPort((1,)) for _ in range(3))
        labels = np.zeros(n, np.int64) if proto_labels is None else proto_labels
        self.proto_labels = Var((n,), labels, name="proto_labels")
        self.last_winner_id = Var((1,), 0)


class PrototypeLIF(Neuron):
    """A LIF that is told when to learn.

    ``a_third_factor_in`` is the number of the prototype that shall (from 1, the same to all
    neurons; an :class:`Allocator`'s, by a Dense of ones): it spikes, and no other does,
    ``s_out_bap`` tells its plastic synapses, and ``s_out_y1``, their rule's learning rate, is 127
    there. Where ``reset_in`` is above 0 u and v are 0.

    Example:
        >>> neurons = proc.clp.PrototypeLIF(shape=(3,))
        >>> third = np.zeros((3, 4))
        >>> third[:, 2] = 2  # the second prototype shall learn
        >>> rec = lv.simulate(neurons, {"a_third_factor_in": third})
        >>> rec["s_out_y1"][:, 2]
        array([  0., 127.,   0.], dtype=float32)
    """

    dynamics = clp.PROTOTYPE
    a_in: InPort
    a_third_factor_in: InPort
    reset_in: InPort
    s_out: OutPort
    s_out_bap: OutPort
    s_out_y1: OutPort
    u: Var
    v: Var
    y1: Var
    du: Var
    dv: Var
    bias_mant: Var
    bias_exp: Var
    vth: Var

    @declared(clp.PROTOTYPE)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        u: Any = 0,
        v: Any = 0,
        y1: Any = 0,
        du: Any = 0,
        dv: Any = 0,
        bias_mant: Any = 0,
        bias_exp: Any = 0,
        vth: Any = 10,
        loihi_units: bool = False,
        checked: bool = False,
        name: str | None = None,
    ) -> None: ...
