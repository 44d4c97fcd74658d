"""Layers of a .net file as processes: ``inp``, ``synapse``, ``neuron``, ``out``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lavalike.dynamics import Dynamics
from lavalike.dynamics.dynamics import scaled_inputs
from lavalike.proc import (
    RF,
    ALIFLateBias,
    Connection,
    Conv,
    ConvTranspose,
    Delay,
    DelayDense,
    DelayLine,
    DelaySparse,
    Delta,
    Dense,
    LIFLateBias,
    LIFReset,
    Sigma,
    SigmaDelta,
    SignMode,
    Sparse,
    io,
    neuron_process,
)
from lavalike.proc.conv import conv_size, transposed_size
from lavalike.proc.neuron import KINDS, Neuron, declaration
from lavalike.process import AbstractProcess, InPort, OutPort
from netx.blocks import process as blocks
from netx.blocks.process import NetLayer
from netx.reader import ALIKE, MAX_ELEMENTS, PARTS, SPATIAL, Layer, Reader
from netx.sizes import MAX_DELAY

MAX_EXTENT = 4096  # of stride, padding and dilation
STATE_EXP = 6
NEVER = 1 << 17  # a threshold no 24-bit voltage exceeds
UNREACHABLE = (1 << 18) - 1  # the one slayer writes
BLOCKS: dict[str, type[blocks.AbstractBlock]] = {
    b.layer: b for b in (blocks.Input, blocks.Dense, blocks.RecurrentDense, blocks.Conv)
}
LATE = {"CUBA": LIFLateBias, "ALIF": ALIFLateBias}  # neurons whose bias begins late


class Builder:
    """Turns descriptions of layers into processes, with the options of one network.
    :mod:`netx.sizes` has seen that their shapes fit each other."""

    def __init__(
        self,
        reader: Reader,
        ours: bool,
        spike_exp: int,
        sparse: bool,
        reset_interval: int | None,
        reset_offset: int,
    ) -> None:
        self.reader, self.ours, self.spike_exp, self.sparse = reader, ours, spike_exp, sparse
        self.reset_interval, self.reset_offset = reset_interval, reset_offset
        # a foreign all-negative matrix is clipped as Lava did; ours hold -256 whatever the signs
        self.sign_mode = SignMode.MIXED if ours else SignMode.NULL

    # -- neurons -----------------------------------------------------------------------------------

    def neuron(
        self, layer: Layer, shape: tuple[int, ...], position: int, begin: int
    ) -> AbstractProcess:
        """The neuron process. In files of ours the layer's first step is ``begin + 1``, and its
        bias acts from then on; others begin one step later each, with their bias at once."""
        kind = (
            "CUBA"
            if layer.neuron is None
            else ALIKE.get(layer.neuron["type"], layer.neuron["type"])
        )
        # no neuron group: the current adds up for ever, v follows it, nothing spikes (lava-dl 0.6)
        stored: Mapping[str, Any] = (
            {"iDecay": np.array(0), "vDecay": np.array(4096), "vThMant": np.array(NEVER)}
            if layer.neuron is None
            else layer.neuron
        )
        cls = KINDS[kind]
        values = self._parameters(declaration(cls), stored, shape)
        bias = self._spread(layer, "bias", shape)
        common = {"shape": shape, "loihi_units": True, "checked": self.ours, **values}
        late: dict[str, Any] = {"bias_start": begin} if self.ours and np.any(bias) and begin else {}
        if kind != "CUBA":
            self._no_reset(layer, stored["type"])
        if kind in ("CUBA", "ALIF"):
            biased = common | late | {"bias_mant": bias, "bias_exp": 6}
            if kind == "CUBA" and self.reset_interval is not None:
                offset = self.reset_offset + 1 + (begin if self.ours else position)
                return LIFReset(**biased, reset_interval=self.reset_interval, reset_offset=offset)
            return (LATE[kind] if late else cls)(**biased)
        if kind == "SDNN":
            if stored.get("sigma_output"):
                return Sigma(shape=shape, checked=self.ours)
            coded = common | {"spike_exp": self.spike_exp, "state_exp": STATE_EXP}
            if layer.type == "input":
                return Delta(**coded)
            return SigmaDelta(**coded | late | {"bias": bias})
        if issubclass(cls, RF):
            if np.any(bias):
                self.reader.drop(f"{layer.key}/bias", "RF neurons take no bias that is not complex")
            return cls(**common, state_exp=STATE_EXP, decay_bits=12)
        return self._own(layer, cls, common, bias)

    def _own(
        self, layer: Layer, cls: type[Neuron], common: Mapping[str, Any], bias: Any
    ) -> AbstractProcess:
        """A neuron of the user's own: its states count in 1 / 4096, what reaches it in 1 / 64."""
        dynamics = declaration(cls)
        if len(dynamics.inputs) != 1 or len(dynamics.outputs) != 1 or dynamics.graded:
            raise self.reader.fail(
                f"{layer.key}/neuron/type",
                f"a {cls.__name__} has inputs {dynamics.inputs} and outputs "
                f"{dynamics.outputs}; a layer takes one of each, which sends spikes",
            )
        if np.any(bias):
            raise self.reader.fail(f"{layer.key}/bias", f"a {cls.__name__} takes no bias")
        return neuron_process(scaled_inputs(dynamics, 64), f"{cls.__name__}")(scale=4096, **common)

    def _parameters(
        self, dynamics: Dynamics, stored: Mapping[str, Any], shape: tuple[int, ...]
    ) -> dict[str, Any]:
        """The arguments of a process from a file's keys, as its parameters declare them."""
        out = {}
        for p in dynamics.parameters:
            if p.key in stored:
                given = stored[p.key].reshape(-1)  # one number, or one a channel, the last axis
                value = int(given[0]) if given.size == 1 else np.broadcast_to(given, shape)
                out[p.name] = value - p.offset if p.offset else value
        return out

    def _no_reset(self, layer: Layer, kind: str) -> None:
        if self.reset_interval is not None:
            self.reader.drop(
                f"{layer.key}/neuron",
                f"reset_interval has no effect on {kind} neurons",
            )

    def _one(self, layer: Layer, name: str, value: np.ndarray) -> int:
        if value.size != 1:
            raise self.reader.fail(
                f"{layer.key}/{name}", f"one number is expected, found {value.size}"
            )
        return int(value.reshape(-1)[0])

    def _spread(self, layer: Layer, name: str, shape: tuple[int, ...]) -> Any:
        value = layer.arrays.get(name)
        if value is None or layer.type == "input":
            return 0
        return np.broadcast_to(value.reshape(-1), shape)

    # -- synapses ----------------------------------------------------------------------------------

    def matrix(self, layer: Layer, name: str, rows: int, columns: int) -> np.ndarray:
        """Dense weights (out, in), brought into range as Lava did, and refused where Lava computed
        garbage."""
        key = f"{layer.key}/{name}"
        weight = layer.arrays[name]
        if weight.size != rows * columns:  # of a first layer, whose inputs the caller may say
            raise self.reader.fail(
                key, f"shape {weight.shape} does not fit {rows} neurons with {columns} inputs"
            )
        weight = weight.reshape(rows, columns)
        low, high = int(weight.min()), int(weight.max())
        if self.ours:
            if low < -256 or high > 255:
                raise self.reader.fail(key, f"weights {low}..{high} are outside -256..255")
            return weight
        if low >= 0 and high > 255:
            raise self.reader.fail(key, f"weights reach {high}; all-positive weights end at 255")
        limits = (-255, 0) if high <= 0 else (0, 255) if low >= 0 else (-256, 254)
        clipped = weight.clip(*limits)
        # with an odd weight the matrix needs a ninth bit, and then 255 is held as well
        if not np.array_equal(clipped, weight) and not (
            limits == (-256, 254) and high == 255 and low >= -256
        ):
            self.reader.drop(key, f"weights {low}..{high} are clipped to {limits[0]}..{limits[1]}")
            return clipped
        return weight

    def dense(self, layer: Layer, name: str, rows: int, columns: int, bits: int) -> Connection:
        weights = self.matrix(layer, name, rows, columns)
        kwargs: dict[str, Any] = {
            "weights": weights,
            "num_weight_bits": 9,
            "num_message_bits": bits,
            "sign_mode": self.sign_mode,
        }
        if (
            not self.ours
            and layer.type in ("dense", "dense_rec")
            and not layer.complex
            and "delay" in layer.arrays
        ):
            delays = self.synaptic_delays(layer, rows, columns)
            if delays.any():
                return (
                    DelaySparse(**kwargs, delays=delays)
                    if self.sparse and weights.any()
                    else DelayDense(**kwargs, delays=delays)
                )
        return Sparse(**kwargs) if self.sparse and weights.any() else Dense(**kwargs)

    def delay(self, layer: Layer) -> np.ndarray:
        """The layer's delays, within what Lava takes."""
        key, delay = f"{layer.key}/delay", layer.arrays["delay"]
        if delay.min() < 0:
            raise self.reader.fail(key, f"{delay.min()} is negative")
        if delay.max() > MAX_DELAY:
            self.reader.drop(key, f"delays up to {delay.max()} are clipped to {MAX_DELAY}")
            delay = delay.clip(max=MAX_DELAY)
        return delay

    def synaptic_delays(self, layer: Layer, rows: int, columns: int) -> np.ndarray:
        """A delay for every synapse; a vector counts rows first, as in lava-dl."""
        delay = self.delay(layer)
        if delay.size == 1:
            return np.full((rows, columns), delay.reshape(-1)[0])
        if delay.shape == (rows,):
            return np.broadcast_to(delay[:, None], (rows, columns)).copy()
        if delay.shape == (columns,):
            return np.broadcast_to(delay[None], (rows, columns)).copy()
        return delay

    def convolution(
        self, layer: Layer, name: str, shape_in: tuple[int, ...], bits: int
    ) -> Conv | ConvTranspose:
        """Files hold correlation kernels (out, in, H, W), transposed ones (in, out, H, W); messages
        are (x, y, channel)."""
        key, weight = f"{layer.key}/{name}", layer.arrays[name]
        transposed, pooling = layer.type in ("convT", "unpool"), layer.type in ("pool", "unpool")
        if weight.ndim == 5 and weight.shape[4] == 1:
            weight = weight[..., 0]
        if weight.ndim != 4 or len(shape_in) != 3:
            raise self.reader.fail(
                key,
                f"shape {weight.shape}, inputs {shape_in}; (out, in, H, W) and (x, y, channels) are expected",
            )
        channels = shape_in[2]
        groups = channels if pooling else int(layer.arrays["groups"].reshape(-1)[0])
        if pooling:
            if weight.shape[:2] != (1, 1):
                raise self.reader.fail(key, f"shape {weight.shape}; (1, 1, H, W) is expected")
            weight = np.broadcast_to(weight, (channels, 1, *weight.shape[2:]))
        if np.abs(weight).max() >= 1 << 15:
            raise self.reader.fail(key, f"weights reach {np.abs(weight).max()}")
        if channels != (weight.shape[0] if transposed else weight.shape[1] * groups):
            raise self.reader.fail(
                key, f"shape {weight.shape} in {groups} groups does not fit {channels} channels"
            )
        sizes = {
            n: self._sizes(layer, n, low)
            for n, low in (("stride", 1), ("padding", 0), ("dilation", 1))
        }
        computed: Callable[..., int] = transposed_size if transposed else conv_size
        if transposed:
            sizes["output_padding"] = (
                self._sizes(layer, "outputPadding", 0)
                if "outputPadding" in layer.arrays
                else (0, 0)
            )
        if layer.type == "pool":
            weight, sizes["padding"] = self._completed(layer, weight, shape_in, sizes)
        # told before anything of the computed size is allocated
        size = [
            computed(shape_in[k], weight.shape[3 - k], *(v[k] for v in sizes.values()))
            for k in range(2)
        ]
        shape = (weight.shape[1] * groups if transposed else weight.shape[0], size[1], size[0])
        if shape != layer.shape:
            raise self.reader.fail(
                f"{layer.key}/shape",
                f"is {layer.shape}, the layer computes {shape} from {shape_in[::-1]}",
            )
        kwargs: dict[str, Any] = {
            "input_shape": shape_in,
            "groups": groups,
            "num_message_bits": bits,
            "checked": self.ours,
            **sizes,
        }
        try:
            if transposed:
                return ConvTranspose(weight=weight.transpose(0, 3, 2, 1), **kwargs)
            return Conv(
                weight=weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1), **kwargs
            )  # Lava's Conv flips its kernel
        except ValueError as e:
            raise self.reader.fail(key, str(e)) from e

    def _completed(
        self,
        layer: Layer,
        weight: np.ndarray,
        shape_in: tuple[int, ...],
        sizes: Mapping[str, tuple[int, ...]],
    ) -> tuple[np.ndarray, tuple[int, ...]]:
        """Weight and padding of a pool whose windows lie side by side, where zeros complete the
        last one and the file's shape counts it (files of lavalike 0.3.0 leave it out): as many
        zeros before the kernel as are padded before the input, the rest is behind it."""
        kernel = weight.shape[:1:-1]
        tiles = (
            sizes["stride"] == kernel and not any(sizes["padding"]) and {*sizes["dilation"]} == {1}
        )
        missing = tuple(-n % k for n, k in zip(shape_in, kernel, strict=False))
        if (
            not tiles
            or not any(missing)
            or layer.shape
            != tuple(
                -(-n // k)
                for n, k in zip((shape_in[2], *shape_in[1::-1]), (1, *kernel[::-1]), strict=True)
            )
        ):
            return weight, sizes["padding"]
        return np.pad(weight, ((0, 0), (0, 0), (missing[1], 0), (missing[0], 0))), missing

    def _sizes(self, layer: Layer, name: str, low: int) -> tuple[int, ...]:
        """A pair in the file's order (H, W), as (x, y)."""
        value = layer.arrays[name].reshape(-1)
        if value.size not in (1, 2) or value.min() < low:
            raise self.reader.fail(
                f"{layer.key}/{name}",
                f"one or two integers >= {low} are expected, found {value.tolist()}",
            )
        if value.max() > MAX_EXTENT:
            raise self.reader.fail(f"{layer.key}/{name}", f"{value.max()} is above {MAX_EXTENT}")
        return tuple(int(v) for v in np.broadcast_to(value, (2,))[::-1])

    # -- layers ------------------------------------------------------------------------------------

    def build(
        self,
        layer: Layer,
        before: NetLayer | None,
        shape_in: tuple[int, ...],
        bits: int,
        position: int,
    ) -> NetLayer:
        """The process of ``layer``, fed with messages of ``shape_in`` and ``bits``."""
        lag = before.lag if before is not None else 0
        shift = self.ours and bool(layer.delay_shift)
        if layer.type == "input":
            return self._input(layer, position, shift)
        if before is not None and before.kind == "average":
            raise self.reader.fail(
                f"{layer.key}/type",
                f"{layer.type} after an average, whose fractions no message carries",
            )
        out = _layer(layer, shape_in)
        out.input_message_bits, out.output_message_bits = bits, message_bits(layer)
        out.lag = lag + 1 - shift
        out.scale = self.scale(layer)
        rows, columns = int(np.prod(layer.shape)), int(np.prod(shape_in))
        if layer.type == "average":
            scale = before.scale if before is not None else 1 << (6 + self.spike_exp) if bits else 1
            return self._average(layer, out, rows, columns, scale)
        if layer.neuron is None:
            out.reads = "change"
        elif np.all(layer.neuron.get("vThMant", 0) == UNREACHABLE):
            out.reads = "state"
        self._parts_fit(layer)
        names = [f"weight/{part}" for part in PARTS] if layer.complex else ["weight"]
        spatial = layer.type in SPATIAL
        synapses = [
            self.convolution(layer, n, shape_in, bits)
            if spatial
            else self.dense(layer, n, rows, columns, bits)
            for n in names
        ]
        # inputs reach it one step late
        out.neuron = self.neuron(layer, synapses[0].a_out.shape, position, lag + 1)
        ports = out.neuron.in_ports  # a resonator's: real, imag
        if layer.complex and len(ports) == 1:
            raise self.reader.fail(f"{layer.key}/neuron", "complex weights need an RF neuron")
        if not layer.complex and len(ports) == 2:
            raise self.reader.fail(
                f"{layer.key}/weight",
                "RF neurons need complex weights (weight/real and weight/imag)",
            )
        out.synapse = synapses[0]
        if layer.complex:
            out.imag_synapse = synapses[1]
            self._complex_bias(layer, out, ports, lag + 1)
        for synapse, port in zip(synapses, ports, strict=True):
            out.inp.connect(synapse.s_in)
            synapse.a_out.connect(port)
        if layer.type == "dense_rec":
            self._recur(layer, out, out.neuron, rows)
        self._send(layer, out, out.neuron.out_ports[0], out.synapse.max_delay > 0)
        return out

    def _parts_fit(self, layer: Layer) -> None:
        """A bias or a recurrent weight is complex only where the weight is; what is missing then is
        told elsewhere."""
        wrong = ["weight_rec"] if layer.complex else ["weight_rec/real", "bias/real"]
        for name in wrong:
            if name in layer.arrays:
                own, other = ("real", "complex") if layer.complex else ("complex", "real")
                raise self.reader.fail(
                    f"{layer.key}/{name}", f"is {own}, the layer's weight {other}"
                )

    def _complex_bias(
        self, layer: Layer, out: NetLayer, ports: Sequence[InPort], begin: int
    ) -> None:
        """A resonator's bias is a source beside its synapses."""
        for part, port in zip(PARTS, ports, strict=True):
            bias = self._spread(layer, f"bias/{part}", port.shape)
            if np.any(bias):
                constant = io.source.Constant(
                    shape=port.shape, value=bias, start=begin if self.ours else 0
                )
                setattr(out, f"{part}_bias", constant)
                constant.s_out.connect(port)

    def _recur(self, layer: Layer, out: NetLayer, neuron: AbstractProcess, rows: int) -> None:
        """What the neurons sent, before any delay of the layer's output, comes back one step
        later."""
        names = [f"weight_rec/{part}" for part in PARTS] if layer.complex else ["weight_rec"]
        if isinstance(out.synapse, DelayDense | DelaySparse):
            self.reader.drop(
                f"{layer.key}/delay",
                "delays the recurrent synapses too, as Lava's loader did; slayer delays what the layer sends, after its feedback",
            )
        for attribute, name, port in zip(
            ("synapse_rec", "imag_synapse_rec"), names, neuron.in_ports, strict=False
        ):
            synapse = self.dense(layer, name, rows, rows, message_bits(layer))
            setattr(out, attribute, synapse)
            neuron.out_ports[0].connect(synapse.s_in)
            synapse.a_out.connect(port)

    def _send(self, layer: Layer, out: NetLayer, port: OutPort, delayed: bool) -> None:
        """What the layer sends: its neurons' messages on ``port``, delayed by channel where
        slayer's axons are, unless its synapses are ``delayed``."""
        key = f"{layer.key}/delay"
        if "delay" not in layer.arrays or delayed or not layer.arrays["delay"].any():
            out.send(port)
            return
        if not self.ours:  # Lava's loader knew delays in dense layers of real weights only
            self.reader.drop(
                key,
                "convolutions have no delays"
                if layer.type in SPATIAL
                else "complex layers have no delays",
            )
            out.send(port)
            return
        delay = self.delay(layer)
        if delay.size not in (1, port.shape[-1]):
            raise self.reader.fail(key, f"{delay.size} values for {port.shape[-1]} channels")
        if port.size * int(delay.max()) > MAX_ELEMENTS:
            raise self.reader.fail(
                key, f"{delay.max()} steps of {port.size} messages are more than {MAX_ELEMENTS}"
            )
        out.delay = DelayLine(
            shape=port.shape, delays=np.broadcast_to(delay.reshape(-1), port.shape)
        )
        port.connect(out.delay.s_in)
        out.send(out.delay.s_out)

    def scale(self, layer: Layer) -> float:
        """What a message of 1 in the trained network is worth here."""
        if not message_bits(layer):
            return 1.0
        return 2.0 ** (
            6
            + self.spike_exp
            + (STATE_EXP if layer.neuron and layer.neuron.get("sigma_output") else 0)
        )

    def _input(self, layer: Layer, position: int, shift: bool) -> NetLayer:
        shape = layer.shape[::-1]
        out = _layer(layer, shape)
        out.output_message_bits = message_bits(layer)
        out.transform = {
            k: self._one(layer, k, layer.arrays.get(k, np.array(d)))
            for k, d in (("weight", 64), ("bias", 0))
        }
        out.scale = self.scale(layer)
        out.neuron = neuron = self.neuron(layer, shape, position, 0)
        if isinstance(neuron, RF):
            raise self.reader.fail(f"{layer.key}/neuron/type", "an RF neuron cannot take the input")
        out.inp.connect(neuron.in_ports[0])
        if shift:
            # slayer shifts what an Input block sends by a step; nothing else in the graph would
            out.delay = Delay(shape=shape)
            neuron.out_ports[0].connect(out.delay.s_in)
            out.send(out.delay.a_out)
        else:
            out.send(neuron.out_ports[0])
        return out

    def _average(
        self, layer: Layer, out: NetLayer, rows: int, columns: int, scale: float
    ) -> NetLayer:
        """Sums of groups; ``scale`` says that they are the groups' averages."""
        if rows * columns > MAX_ELEMENTS:
            raise self.reader.fail(
                f"{layer.key}/shape",
                f"{columns} inputs of {rows} averages are more than {MAX_ELEMENTS} weights",
            )
        if columns % rows:
            raise self.reader.fail(
                f"{layer.key}/shape", f"{columns} inputs do not make {rows} equal groups"
            )
        out.group = columns // rows
        out.scale = scale * out.group
        weights = np.zeros((rows, columns), np.int32)
        weights[np.arange(columns) // out.group, np.arange(columns)] = 1
        out.synapse = Dense(weights=weights, num_weight_bits=9, num_message_bits=24)
        out.inp.connect(out.synapse.s_in)
        out.send(out.synapse.a_out)
        return out


def _layer(layer: Layer, shape_in: tuple[int, ...]) -> NetLayer:
    """An empty layer, of the class that a program would build by hand where there is one."""
    kind = BLOCKS.get(layer.type)
    if kind is None:
        return NetLayer(layer.type, shape_in)
    return (blocks.ComplexDense if kind is blocks.Dense and layer.complex else kind).bare(shape_in)


def message_bits(layer: Layer) -> int:
    """Bits of what a layer sends: 0 for spikes, 16 for sigma-delta's values."""
    return 16 if layer.neuron is not None and layer.neuron["type"] == "SDNN" else 0
