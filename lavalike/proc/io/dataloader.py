"""Processes that bring the samples of a dataset into a graph, one after another."""

from __future__ import annotations

from typing import Any

import numpy as np

from lavalike.arguments import Rule, arguments, instance, integer
from lavalike.errors import InputError
from lavalike.proc.io.pipes import refer
from lavalike.proc.io.reset import every
from lavalike.process import AbstractProcess, OutPort, RefPort, Var

DATASET = Rule(
    "a dataset: len(dataset), and dataset[k] is (data, label)",
    lambda v: hasattr(v, "__len__") and hasattr(v, "__getitem__") and not isinstance(v, str | dict),
    lambda v: len(v) > 0,
)


class _Loader(AbstractProcess):
    """What loaders have in common. ``first`` is the first sample's data."""

    @arguments(error=InputError, dataset=DATASET, interval=integer(1), offset=integer())
    def __init__(
        self, *, dataset: Any, interval: int = 1, offset: int = 0, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        # past __setattr__, which would look for processes in it
        self.__dict__["dataset"] = dataset
        self.first, label = self.sample(0)
        self.ground_truth = OutPort(label.shape)
        self.label = Var(label.shape, np.zeros(label.shape))
        every(self, interval, offset)

    def sample(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Data and label of sample ``k`` (after the last comes the first), a label that is one
        number as shape (1,). InputError for another form."""
        dataset: Any = self.__dict__["dataset"]
        k %= len(dataset)
        item = dataset[k]
        try:
            data, label = item
            data, label = np.asarray(data), np.atleast_1d(label)
        except (TypeError, ValueError):
            data = label = np.array("")
        if {data.dtype.kind, label.dtype.kind} - {*"biuf"}:
            raise InputError(
                f"{self.path}: dataset[{k}] is (data, label), arrays of numbers, got a {type(item).__name__}"
            )
        for what, value, first in (
            ("data", data, self.__dict__.get("first")),
            ("a label", label, getattr(self, "label", None)),
        ):
            if first is not None and self._form(value, what) != self._form(first, what):
                raise InputError(
                    f"{self.path}: dataset[{k}] has {what} of shape {value.shape}, and dataset[0] of {first.shape}"
                )
        return data, label

    def _form(self, value: Any, what: str) -> tuple[int, ...]:
        """What is the same for all samples."""
        return value.shape


class StateDataloader(_Loader):
    """Sets a Var to the next sample's data, and sends its label.

    It loads at the end of the steps t with ``(t - 1) % interval == offset % interval``; the label
    is sent from the next step on, zeros before. After the last sample comes the first. Which it is
    follows from the step, so ``reset()`` begins anew.

    Args:
        dataset: ``len(dataset)``, and ``dataset[k]`` is ``(data, label)``: an array of the Var's
            shape, and a number or an array.
        interval: steps from one sample to the next, >= 1. Default 1.
        offset: steps before the first, modulo ``interval``. Default 0.

    Example::

        loader = StateDataloader(dataset=dataset, interval=64)
        loader.connect_var(source.data)
        loader.ground_truth.connect(labels.a_in)
    """

    @arguments(error=InputError)
    def __init__(
        self, *, dataset: Any, interval: int = 1, offset: int = 0, name: str | None = None
    ) -> None:
        super().__init__(dataset=dataset, interval=interval, offset=offset, name=name)
        self.state = RefPort(self.first.shape)

    @arguments(error=InputError, var=instance(Var, words="a Var"))
    def connect_var(self, var: Var) -> None:
        """Set ``var``, of another process. Once. InputError where the samples have another
        shape."""
        if var.shape != self.first.shape:
            raise InputError(
                f"{self.path}: samples have shape {self.first.shape}, and {var.path} has {var.shape}"
            )
        refer(self, "state", var)


class SpikeDataloader(_Loader):
    """Sends the next sample's data step by step, and its label.

    It loads as a :class:`StateDataloader` does, and begins to send in the next step: ``data[...,
    0]``, then ``data[..., 1]``. Of a sample that is longer than ``interval`` the rest is left out;
    one that is shorter is followed by zeros.

    Example:
        >>> samples = [(np.array([[1.0, 1, 0]]), 4), (np.array([[0.0, 0, 1]]), 5)]
        >>> loader = proc.io.SpikeDataloader(dataset=samples, interval=4)
        >>> lv.simulate(loader, steps=8)["s_out"]
        array([[0., 1., 1., 0., 0., 0., 0., 1.]])

    Args:
        dataset: ``len(dataset)``, and ``dataset[k]`` is ``(data, label)``: an array (*shape, time),
            and a number or an array.
        interval: steps from one sample to the next, >= 1. Default 1.
        offset: steps before the first, modulo ``interval``. Default 0.
    """

    @arguments(error=InputError)
    def __init__(
        self, *, dataset: Any, interval: int = 1, offset: int = 0, name: str | None = None
    ) -> None:
        super().__init__(dataset=dataset, interval=interval, offset=offset, name=name)
        if self.first.ndim < 2:
            raise InputError(
                f"{self.path}: dataset[0] has data of shape {self.first.shape}; (*shape, time) is expected"
            )
        shape = self.first.shape[:-1]
        self.data = Var((*shape, int(interval)), 0.0)
        self.s_out = OutPort(shape)

    def _form(self, value: Any, what: str) -> tuple[int, ...]:
        return value.shape[:-1] if what == "data" else value.shape
