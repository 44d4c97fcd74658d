"""Blocks: a layer's synapse and neuron with one port in and one out.

``netx.Network`` makes them from a file; here are constructors for programs that have the numbers
themselves, under lava-dl's names. Shapes are (x, y, channels) or (n,), messages as in
:class:`netx.Network`.

    block = Dense(
        shape=(10,),
        neuron_params={"neuron_proc": LIF, "vth": 25, "du": 4095, "dv": 1024, "bias_exp": 6},
        weight=weight,                              # (10, inputs)
    )
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from lavalike import proc
from lavalike.arguments import FLAG, FUNCTION, SHAPE, Rule, arguments, integer, optional
from lavalike.errors import InputError, InputTypeError
from lavalike.proc import Connection, Delay, DelayLine
from lavalike.proc.parameters import array
from lavalike.process import AbstractProcess, InPort, OutPort
from lavalike.process.ports import as_shape
from netx.sizes import MAX_DELAY

_PARAMS = Rule(
    "a dict with neuron_proc, a process class, and its arguments",
    lambda v: isinstance(v, Mapping),
    lambda v: isinstance(v.get("neuron_proc"), type),
)
_BITS = integer(0, 32)
_WIDTH = integer(1, 9)
_COMMON: dict[str, Rule] = {
    "shape": SHAPE,
    "neuron_params": _PARAMS,
    "input_message_bits": _BITS,
}
_SYNAPSE: dict[str, Rule] = {
    **_COMMON,
    "num_weight_bits": _WIDTH,
    "weight_exponent": integer(),
    "sparse_synapse": FLAG,
}


class NetLayer(AbstractProcess):
    """One layer. ``lag`` is netx's column minus the trained network's, for what the layer sends;
    ``scale`` what it sends for 1 of the trained network. ``reads`` says what stands for the trained
    block's output: its "messages", or, where it is a block that hands on what no message carries
    (Affine), the neuron's "state" in 1/4096, or the "change" of that state.
    """

    out: OutPort
    transform: Any  # a dict, weight and bias, of an input layer
    delay: DelayLine | Delay  # of a layer that sends late
    group: int  # inputs of a neuron, of an average layer
    input_message_bits: int
    output_message_bits: int

    def __init__(self, kind: str, shape_in: tuple[int, ...], *, name: str | None = None) -> None:
        super().__init__(name=name)
        self.kind = kind
        self.inp = InPort(shape_in)
        self.synapse: Connection | None = None
        self.neuron: AbstractProcess | None = None
        self.lag = 0
        self.scale = 1.0
        self.reads = "messages"
        self.input_message_bits = self.output_message_bits = 0

    def send(self, port: OutPort) -> None:
        """``port`` is what the layer sends."""
        self.out = OutPort(port.shape)
        port.connect(self.out)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.out.shape

    @property
    def block(self) -> str:
        """The name of its class."""
        return type(self).__name__


class AbstractBlock(NetLayer):
    """Base of the blocks.

    Every block takes ``shape``, of what it sends; ``neuron_params``, a dict with ``neuron_proc``,
    the neuron's class, its arguments, and, where a bias is given, ``bias_key``, which of them that
    is (default "bias"), and ``num_message_bits`` of what it sends; ``input_message_bits`` (default
    0: spikes).
    """

    layer: ClassVar[str]  # its type in a .net file

    @classmethod
    def bare(cls, shape_in: tuple[int, ...]) -> Any:
        """A block whose parts a file's reader fills in."""
        made = cls.__new__(cls)
        NetLayer.__init__(made, cls.layer, shape_in)
        return made

    def _begin(
        self,
        shape_in: tuple[int, ...],
        shape: tuple[int, ...],
        neuron_params: Mapping[str, Any],
        input_message_bits: int,
        name: str | None,
        bias: Any = None,
    ) -> Any:
        """The neuron, which sends."""
        NetLayer.__init__(self, self.layer, shape_in, name=name)
        self.input_message_bits = input_message_bits
        params = dict(neuron_params)
        kind, key = params.pop("neuron_proc"), params.pop("bias_key", "bias")
        bits = params.pop("num_message_bits", 0)
        _BITS.check(self.block, "neuron_params: num_message_bits", bits)
        self.output_message_bits = int(bits)
        if not issubclass(kind, AbstractProcess):
            raise InputTypeError(
                f"{self.block}: neuron_params: neuron_proc is a process class, got {kind.__name__}"
            )
        if bias is not None:
            bias = array(f"{self.block}: bias", bias)
            if key in params:
                raise InputError(f"{self.block}: bias is given, and {key} in neuron_params too")
            try:  # one for all, one a channel, or one a neuron
                params[key] = np.broadcast_to(bias, shape)
            except ValueError:
                raise InputError(
                    f"{self.block}: bias of shape {bias.shape} fits neither {shape} nor {shape[-1:]}, one a channel"
                ) from None
        self.neuron = neuron = kind(shape=shape, **params)
        self.send(neuron.out_ports[0])
        return neuron

    def _matrix(self, name: str, weight: Any, rows: int, columns: int | None = None) -> np.ndarray:
        """A weight matrix (out, in)."""
        found = _array(f"{self.block}: {name}", weight)
        if found.ndim != 2 or found.shape[0] != rows or columns not in (None, found.shape[1]):
            raise InputError(
                f"{self.block}: {name} has shape {found.shape}; ({rows}, {columns or 'inputs'}) is expected"
            )
        return found

    def _synapse(
        self, weights: np.ndarray, delay: Any, sparse: bool, exponent: int, bits: int, taken: int
    ) -> Any:
        kwargs: dict[str, Any] = {
            "weights": weights,
            "weight_exp": exponent,
            "num_weight_bits": bits,
            "num_message_bits": taken,
        }
        if delay is None:
            return (proc.Sparse if sparse else proc.Dense)(**kwargs)
        delays = _array(f"{self.block}: delay", delay)
        delays = delays[:, None] if delays.shape == weights.shape[:1] else delays
        try:
            delays = np.broadcast_to(delays, weights.shape)
        except ValueError:
            raise InputError(
                f"{self.block}: delay of shape {delays.shape} does not fit weights {weights.shape}"
            ) from None
        if not (delays.min() >= 0 and delays.max() <= MAX_DELAY):
            raise InputError(
                f"{self.block}: delay: {delays.min():g}..{delays.max():g} is outside 0..{MAX_DELAY}"
            )
        if (part := delays[delays != np.trunc(delays)]).size:
            raise InputError(f"{self.block}: delay is whole steps, got {part[0]:g}")
        kind = proc.DelaySparse if sparse else proc.DelayDense
        return kind(**kwargs, delays=delays.astype(int), max_delay=MAX_DELAY)


class Input(AbstractBlock):
    """Neurons that the input reaches, on ``inp`` or by their bias.

    Example:
        >>> neuron = {"neuron_proc": proc.LIF, "vth": 10}
        >>> netx.blocks.process.Input(shape=(3,), neuron_params=neuron).out.shape
        (3,)

    Args:
        shape, neuron_params, input_message_bits: see :class:`AbstractBlock`.
        transform: what makes messages of the input, kept as an attribute for who feeds it.
            Default: nothing is changed.
        bias: one number, one a channel, or one a neuron. Default None.
    """

    layer = "input"

    @arguments(error=InputError, transform=optional(FUNCTION), **_COMMON)
    def __init__(
        self,
        *,
        shape: Any,
        neuron_params: Mapping[str, Any],
        transform: Any = None,
        bias: Any = None,
        input_message_bits: int = 0,
        name: str | None = None,
    ) -> None:
        size = as_shape(shape, "shape")
        neuron = self._begin(size, size, neuron_params, input_message_bits, name, bias)
        self.transform = _unchanged if transform is None else transform
        self.inp.connect(_inputs(neuron)[0])


class ComplexInput(AbstractBlock):
    """Resonators that the input reaches at both components.

    Args:
        shape, neuron_params, input_message_bits: see :class:`AbstractBlock`.
    """

    layer = "input"

    @arguments(error=InputError, **_COMMON)
    def __init__(
        self,
        *,
        shape: Any,
        neuron_params: Mapping[str, Any],
        input_message_bits: int = 0,
        name: str | None = None,
    ) -> None:
        size = as_shape(shape, "shape")
        for port in _inputs(self._begin(size, size, neuron_params, input_message_bits, name)):
            self.inp.connect(port)


class Dense(AbstractBlock):
    """All-to-all.

    Example:
        >>> neuron = {"neuron_proc": proc.LIF, "vth": 10, "du": 2048, "dv": 410}
        >>> weight = np.ones((2, 3), int)
        >>> layer = netx.blocks.process.Dense(shape=(2,), neuron_params=neuron, weight=weight)
        >>> layer.inp.shape, layer.out.shape
        ((3,), (2,))

    Args:
        shape, neuron_params, input_message_bits: see :class:`AbstractBlock`.
        weight: (out, in), an array or a SciPy sparse matrix.
        delay: steps, one, one an output, or (out, in), 0 to 62. Default None: no delays.
        bias: as of :class:`Input`.
        num_weight_bits: 1 to 9. Default 8.
        weight_exponent: products are multiplied by ``2**weight_exponent``. Default 0.
        sparse_synapse: store only non-zero weights. Default False.
    """

    layer = "dense"

    @arguments(error=InputError, **_SYNAPSE)
    def __init__(
        self,
        *,
        shape: Any,
        neuron_params: Mapping[str, Any],
        weight: Any,
        delay: Any = None,
        bias: Any = None,
        num_weight_bits: int = 8,
        weight_exponent: int = 0,
        sparse_synapse: bool = False,
        input_message_bits: int = 0,
        name: str | None = None,
    ) -> None:
        size = as_shape(shape, "shape")
        weights = self._matrix("weight", weight, math.prod(size))
        port = _inputs(
            self._begin(weights.shape[1:], size, neuron_params, input_message_bits, name, bias)
        )[0]
        kind = (delay, sparse_synapse, weight_exponent, num_weight_bits)
        self.synapse = synapse = self._synapse(weights, *kind, input_message_bits)
        self.inp.connect(synapse.s_in)
        synapse.a_out.reshape(port.shape).connect(port)


class RecurrentDense(Dense):
    """All-to-all, whose neurons hear themselves one step later, through ``synapse_rec``.

    Example:
        >>> neuron = {"neuron_proc": proc.LIF, "vth": 10}
        >>> w, w_rec = np.ones((2, 3), int), np.ones((2, 2), int)
        >>> layer = netx.blocks.process.RecurrentDense(
        ...     shape=(2,), neuron_params=neuron, weight=w, weight_rec=w_rec
        ... )
        >>> layer.out.shape
        (2,)

    Args:
        shape, neuron_params, weight, bias, num_weight_bits, weight_exponent, sparse_synapse,
            input_message_bits: see :class:`Dense`.
        weight_rec: (out, out).
        delay: as of :class:`Dense`; it holds for the recurrent synapses too.
    """

    layer = "dense_rec"

    @arguments(error=InputError, **_SYNAPSE)
    def __init__(
        self,
        *,
        shape: Any,
        neuron_params: Mapping[str, Any],
        weight: Any,
        weight_rec: Any,
        delay: Any = None,
        bias: Any = None,
        num_weight_bits: int = 8,
        weight_exponent: int = 0,
        sparse_synapse: bool = False,
        input_message_bits: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(
            shape=shape,
            neuron_params=neuron_params,
            weight=weight,
            delay=delay,
            bias=bias,
            num_weight_bits=num_weight_bits,
            weight_exponent=weight_exponent,
            sparse_synapse=sparse_synapse,
            input_message_bits=input_message_bits,
            name=name,
        )
        neuron: Any = self.neuron
        port, size = _inputs(neuron)[0], neuron.out_ports[0].size
        square = self._matrix("weight_rec", weight_rec, size, size)
        kind = (delay, sparse_synapse, weight_exponent, num_weight_bits)
        self.synapse_rec = synapse = self._synapse(square, *kind, self.output_message_bits)
        neuron.out_ports[0].flatten().connect(synapse.s_in)
        synapse.a_out.reshape(port.shape).connect(port)


class ComplexDense(AbstractBlock):
    """All-to-all onto resonators, with weights for both components.

    Args:
        shape, neuron_params, input_message_bits: see :class:`AbstractBlock`.
        weight_real, weight_imag: (out, in).
        num_weight_bits_real, num_weight_bits_imag: 1 to 9. Default 8.
        weight_exponent_real, weight_exponent_imag: see :class:`Dense`. Default 0.
        sparse_synapse: store only non-zero weights. Default False.
    """

    layer = "dense"

    @arguments(
        error=InputError,
        num_weight_bits_real=_WIDTH,
        num_weight_bits_imag=_WIDTH,
        weight_exponent_real=integer(),
        weight_exponent_imag=integer(),
        sparse_synapse=FLAG,
        **_COMMON,
    )
    def __init__(
        self,
        *,
        shape: Any,
        neuron_params: Mapping[str, Any],
        weight_real: Any,
        weight_imag: Any,
        num_weight_bits_real: int = 8,
        num_weight_bits_imag: int = 8,
        weight_exponent_real: int = 0,
        weight_exponent_imag: int = 0,
        sparse_synapse: bool = False,
        input_message_bits: int = 0,
        name: str | None = None,
    ) -> None:
        size = as_shape(shape, "shape")
        real = self._matrix("weight_real", weight_real, math.prod(size))
        imag = self._matrix("weight_imag", weight_imag, *real.shape)
        neuron = self._begin(real.shape[1:], size, neuron_params, input_message_bits, name)
        given = (
            (real, weight_exponent_real, num_weight_bits_real),
            (imag, weight_exponent_imag, num_weight_bits_imag),
        )
        self.synapse, self.imag_synapse = (
            self._synapse(w, None, sparse_synapse, exp, bits, input_message_bits)
            for w, exp, bits in given
        )
        for synapse, port in zip((self.synapse, self.imag_synapse), _inputs(neuron), strict=True):
            self.inp.connect(synapse.s_in)
            synapse.a_out.reshape(port.shape).connect(port)

    @property
    def real_synapse(self) -> Any:
        """The one of ``weight_real``."""
        return self.synapse


class Conv(AbstractBlock):
    """A convolution.

    Example:
        >>> neuron = {"neuron_proc": proc.LIF, "vth": 10}
        >>> weight = np.ones((4, 3, 3, 2), int)
        >>> layer = netx.blocks.process.Conv(
        ...     shape=(6, 6, 4), input_shape=(8, 8, 2), neuron_params=neuron, weight=weight
        ... )
        >>> layer.out.shape
        (6, 6, 4)

    Args:
        shape, neuron_params, input_message_bits: see :class:`AbstractBlock`; ``shape`` is checked.
        input_shape: (x, y, channels).
        weight: (out, x, y, in / groups), as :class:`lavalike.proc.Conv` takes it: a true
            convolution.
        bias: as of :class:`Input`.
        stride, padding, dilation: one number, or (x, y). Defaults 1, 0, 1.
        groups: Default 1.
    """

    layer = "conv"

    @arguments(error=InputError, input_shape=SHAPE, **_COMMON)
    def __init__(
        self,
        *,
        shape: Any,
        input_shape: Any,
        neuron_params: Mapping[str, Any],
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        input_message_bits: int = 0,
        name: str | None = None,
    ) -> None:
        size, size_in = as_shape(shape, "shape"), as_shape(input_shape, "input_shape")
        neuron = self._begin(size_in, size, neuron_params, input_message_bits, name, bias)
        self.synapse = synapse = proc.Conv(
            weight=weight,
            input_shape=size_in,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            num_message_bits=input_message_bits,
        )
        if synapse.a_out.shape != size:
            raise InputError(
                f"Conv: shape is {size}, and the convolution has {synapse.a_out.shape}"
            )
        self.inp.connect(synapse.s_in)
        synapse.a_out.connect(_inputs(neuron)[0])


def _array(name: str, given: Any) -> np.ndarray:
    """An array of numbers, also of a SciPy sparse matrix."""
    return array(name, given.toarray() if hasattr(given, "toarray") else given)


def _unchanged(x: Any) -> Any:
    return x


def _inputs(neuron: AbstractProcess) -> list[InPort]:
    """A neuron's InPorts, in the order of its equation: a resonator's real one first."""
    order = () if neuron.dynamics is None else neuron.dynamics.inputs
    return [getattr(neuron, name) for name in order] or neuron.in_ports
