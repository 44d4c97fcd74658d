"""Processes that bring data into a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lavalike.arguments import arguments, integer, numbers, optional
from lavalike.errors import VarError
from lavalike.proc.parameters import array, parameter
from lavalike.process import AbstractProcess, OutPort, Var


class RingBuffer(AbstractProcess):
    """Sends ``data[..., (t-1) % T]`` in step t.

    Example:
        >>> source = proc.io.source.RingBuffer(data=[[1.0, 0, 0], [0, 1, 0]])
        >>> lv.simulate(source, steps=5)["s_out"]
        array([[1., 0., 0., 1., 0.],
               [0., 1., 0., 0., 1.]], dtype=float32)

    Args:
        data: (*shape, T); the last axis is time, and repeats.
    """

    @arguments(error=VarError)
    def __init__(self, *, data: Any, name: str | None = None) -> None:
        super().__init__(name=name)
        data = array("source.RingBuffer: data", data)
        if data.ndim < 2 or 0 in data.shape:
            raise VarError(f"source.RingBuffer: data has shape (*shape, time), got {data.shape}")
        self.s_out = OutPort(data.shape[:-1])
        self.data = Var(data.shape, data, role="parameter", time_last=True, name="data")


class Constant(AbstractProcess):
    """Sends ``value`` in every step ``t > start``, zeros before.

    Example:
        >>> source = proc.io.source.Constant(shape=(1,), value=0.5, start=2)
        >>> lv.simulate(source, steps=4)["s_out"]
        array([[0. , 0. , 0.5, 0.5]], dtype=float32)

    Args:
        shape: of one message.
        value: one number or an array that broadcasts to ``shape``.
        start: one number for all elements or one each, >= 0. Default 0.
    """

    @arguments(error=VarError, start=numbers(kinds="iu"))
    def __init__(
        self, *, shape: Sequence[int], value: Any, start: Any = 0, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.s_out = OutPort(shape)
        self.value = Var(
            self.s_out.shape,
            array("Constant: value", value),
            role="parameter",
            trainable=True,
            name="value",
        )
        self.start = parameter(self.s_out.shape, start, name="start")


class _Random(AbstractProcess):
    """What sources of random numbers have in common: ``s_out``, and the ``seed`` of their own."""

    @arguments(error=VarError, seed=optional(integer(0)))
    def __init__(
        self, *, shape: int | Sequence[int], seed: int | None = None, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.s_out = OutPort(shape)
        self.seed = seed


class Noise(_Random):
    """Sends normal random numbers, anew in every step; in fixed_pt rounded to whole ones.

    Args:
        shape: of one message.
        mean, std: of the numbers; one for all elements or one each, ``std >= 0``. Defaults 0 and 1.
        seed: decides with step, sample and element what is sent, neither threads nor the cut of a
            run do. Sources of one seed send the same. Default None: ``RunConfig(seed=)`` and the
            process's path do in its place.

    It runs on numba; what hears it may run elsewhere.

    Example::

        noise = source.Noise(shape=(3,), std=0.1)
        noise.s_out.connect(neuron.a_in)
    """

    @arguments(error=VarError)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        mean: Any = 0.0,
        std: Any = 1.0,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(shape=shape, seed=seed, name=name)
        for key, value in (("mean", mean), ("std", std)):
            numbers = array(f"Noise: {key}", value).astype(float)
            setattr(self, key, parameter(self.s_out.shape, numbers, name=key))


class Poisson(_Random):
    """Sends spikes at random: in every step 1 with a probability, else 0, each element for itself.

    Args:
        shape: of one message.
        rate: probability of a spike in a step (a rate in Hz times the seconds that a step lasts),
            0..1; one for all elements or one each.
        seed: see :class:`Noise`. Default None.

    Example::

        source.Poisson(shape=(100,), rate=20 * 0.001)
    """

    @arguments(error=VarError)
    def __init__(
        self,
        *,
        shape: int | Sequence[int],
        rate: Any,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(shape=shape, seed=seed, name=name)
        rates = array("Poisson: rate", rate).astype(float)
        self.rate = parameter(self.s_out.shape, rates, name="rate")
