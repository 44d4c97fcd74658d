"""Layers of a .net file as processes: ``inp``, ``synapse``, ``neuron``, ``out``."""

from __future__ import annotations

from typing import Any

import numpy as np

from lavalike.proc import (
    LIF,
    RF,
    RF_IZ,
    Conv,
    Delay,
    DelayDense,
    Delta,
    Dense,
    LIFLateBias,
    LIFReset,
    Sigma,
    SigmaDelta,
    SignMode,
    Sparse,
)
from lavalike.process import AbstractProcess, InPort, OutPort
from netx.reader import MAX_ELEMENTS, Layer, Reader

MAX_DELAY = 62
MAX_EXTENT = 4096  # of stride, padding and dilation
STATE_EXP = 6
NEVER = 1 << 17  # a threshold no 24-bit voltage exceeds


class NetLayer(AbstractProcess):
    """One layer. ``lag`` is netx's column minus the trained network's, for what the layer sends."""

    def __init__(self, kind: str, shape_in: tuple[int, ...]) -> None:
        super().__init__()
        self.kind = kind
        self.inp = InPort(shape_in)
        self.synapse: AbstractProcess | None = None
        self.neuron: AbstractProcess | None = None
        self.lag = 0

    def send(self, port: OutPort) -> None:
        """``port`` is what the layer sends."""
        self.out = OutPort(port.shape)
        port.connect(self.out)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.out.shape


class Builder:
    """Turns descriptions of layers into processes, with the options of one network."""

    def __init__(self, reader: Reader, ours: bool, spike_exp: int, sparse: bool, reset_interval: int | None, reset_offset: int) -> None:
        self.reader, self.ours, self.spike_exp, self.sparse = reader, ours, spike_exp, sparse
        self.reset_interval, self.reset_offset = reset_interval, reset_offset
        # a foreign all-negative matrix is clipped as Lava did; ours hold -256 whatever the signs
        self.sign_mode = SignMode.MIXED if ours else SignMode.NULL

    # -- neurons --------------------------------------------------------------------------------------------

    def neuron(self, layer: Layer, shape: tuple[int, ...], position: int, begin: int, start: Any) -> AbstractProcess:
        """The neuron process. In files of ours the layer's first step is ``begin + 1`` and its bias acts after step
        ``start`` (later than begin where inputs are delayed); others begin one step later each, with their bias at once."""
        p = layer.neuron
        bias = self._spread(layer, "bias", shape)
        common = {"shape": shape, "loihi_units": True, "checked": self.ours}
        late = np.asarray(start) if self.ours and np.any(bias) and np.any(start) else None
        if p is None or p["type"] in ("CUBA", "LOIHI"):
            # no neuron group: the current adds up for ever, v follows it, nothing spikes (lava-dl 0.6)
            values = {"iDecay": np.array(0), "vDecay": np.array(4096), "vThMant": np.array(NEVER)} if p is None else p
            i_decay, v_decay = (self._per_channel(layer, values[k], shape) for k in ("iDecay", "vDecay"))
            kwargs = common | {"du": i_decay - 1, "dv": v_decay, "vth": self._one(layer, "vThMant", values["vThMant"]),
                               "bias_mant": bias, "bias_exp": 6}
            if late is not None:
                kwargs["bias_start"] = int(late) if late.ndim == 0 else np.broadcast_to(late, shape)
            if self.reset_interval is not None:
                offset = self.reset_offset + 1 + (begin if self.ours else position)
                return LIFReset(**kwargs, reset_interval=self.reset_interval, reset_offset=offset)
            return LIF(**kwargs) if late is None else LIFLateBias(**kwargs)
        if self.reset_interval is not None:
            self.reader.drop(f"{layer.key}/neuron", f"reset_interval has no effect on {p['type']} neurons")
        vth = self._one(layer, "vThMant", p["vThMant"])
        if p["type"] == "SDNN":
            if p.get("sigma_output"):
                return Sigma(shape=shape, checked=self.ours)
            kwargs = common | {"vth": vth, "spike_exp": self.spike_exp, "state_exp": STATE_EXP}
            if layer.type == "input":
                return Delta(**kwargs)
            return SigmaDelta(**kwargs, bias=bias, bias_start=0 if late is None else np.broadcast_to(late, shape))
        kind = RF if "PHASE" in p["type"] else RF_IZ
        if "bias" in layer.arrays and np.any(bias):
            self.reader.drop(f"{layer.key}/bias", "RF neurons take no bias")
        return kind(shape=shape, loihi_units=True, vth=vth, state_exp=STATE_EXP, decay_bits=12,
                    cos_decay=self._per_channel(layer, p["cosDecay"], shape), sin_decay=self._per_channel(layer, p["sinDecay"], shape))

    def _one(self, layer: Layer, name: str, value: np.ndarray) -> int:
        if value.size != 1:
            raise self.reader.fail(f"{layer.key}: {name}", f"one number is expected, found {value.size}")
        return int(value.reshape(-1)[0])

    def _per_channel(self, layer: Layer, value: np.ndarray, shape: tuple[int, ...]) -> Any:
        """One number, or one a channel; channels are the last axis here."""
        if value.size == 1:
            return int(value.reshape(-1)[0])
        if value.size != shape[-1]:
            raise self.reader.fail(f"{layer.key}/neuron", f"{value.size} decays for {shape[-1]} channels")
        return np.broadcast_to(value.reshape(-1), shape)

    def _spread(self, layer: Layer, name: str, shape: tuple[int, ...]) -> Any:
        value = layer.arrays.get(name)
        if value is None or layer.type == "input":
            return 0
        if value.size not in (1, shape[-1]):
            raise self.reader.fail(f"{layer.key}/{name}", f"{value.size} values for {shape[-1]} channels")
        return np.broadcast_to(value.reshape(-1), shape)

    # -- synapses -------------------------------------------------------------------------------------------

    def matrix(self, layer: Layer, name: str, rows: int, columns: int) -> np.ndarray:
        """Dense weights (out, in), brought into range as Lava did, and refused where Lava computed garbage."""
        key = f"{layer.key}/{name}"
        weight = layer.arrays[name]
        if weight.size != rows * columns:
            raise self.reader.fail(key, f"shape {weight.shape} does not fit {rows} neurons with {columns} inputs")
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
        if not np.array_equal(clipped, weight) and not (limits == (-256, 254) and high == 255 and low >= -256):
            self.reader.drop(key, f"weights {low}..{high} are clipped to {limits[0]}..{limits[1]}")
            return clipped
        return weight

    def dense(self, layer: Layer, name: str, rows: int, columns: int, bits: int) -> Dense | Sparse | DelayDense:
        weights = self.matrix(layer, name, rows, columns)
        kwargs: dict[str, Any] = {"weights": weights, "num_weight_bits": 9, "num_message_bits": bits, "sign_mode": self.sign_mode}
        if "delay" in layer.arrays:
            delays = self.delays(layer, rows, columns)
            if delays.any():
                return DelayDense(**kwargs, delays=delays)
        return Sparse(**kwargs) if self.sparse and weights.any() else Dense(**kwargs)

    def delays(self, layer: Layer, rows: int, columns: int) -> np.ndarray:
        """A delay for every synapse; a vector counts rows first, as in lava-dl."""
        key, delay = f"{layer.key}/delay", layer.arrays["delay"]
        if delay.min() < 0:
            raise self.reader.fail(key, f"{delay.min()} is negative")
        if delay.max() > MAX_DELAY:
            self.reader.drop(key, f"delays up to {delay.max()} are clipped to {MAX_DELAY}")
            delay = delay.clip(max=MAX_DELAY)
        if delay.size == 1:
            return np.full((rows, columns), delay.reshape(-1)[0])
        if delay.shape == (rows,):
            return np.broadcast_to(delay[:, None], (rows, columns)).copy()
        if delay.shape == (columns,):
            return np.broadcast_to(delay[None], (rows, columns)).copy()
        if delay.shape == (rows, columns):
            return delay
        raise self.reader.fail(key, f"shape {delay.shape} fits neither {rows} neurons nor {columns} inputs")

    def conv(self, layer: Layer, shape_in: tuple[int, ...], bits: int) -> Conv:
        """Files hold correlation kernels (out, in, H, W); Conv convolves (x, y, channel) messages."""
        key, weight = f"{layer.key}/weight", layer.arrays["weight"]
        if weight.ndim == 5 and weight.shape[4] == 1:
            weight = weight[..., 0]
        if weight.ndim != 4 or len(shape_in) != 3:
            raise self.reader.fail(key, f"shape {weight.shape}, inputs {shape_in}; (out, in, H, W) and (x, y, channels) are expected")
        groups = int(layer.arrays["groups"].reshape(-1)[0]) if layer.type == "conv" else shape_in[2]
        if layer.type == "pool":
            if weight.shape[:2] != (1, 1):
                raise self.reader.fail(key, f"shape {weight.shape}; (1, 1, H, W) is expected")
            weight = np.broadcast_to(weight, (shape_in[2], 1, *weight.shape[2:]))
        if np.abs(weight).max() >= 1 << 15:
            raise self.reader.fail(key, f"weights reach {np.abs(weight).max()}")
        if shape_in[2] != weight.shape[1] * groups:
            raise self.reader.fail(key, f"shape {weight.shape} in {groups} groups does not fit {shape_in[2]} channels")
        sizes = {}
        for name, low in (("stride", 1), ("padding", 0), ("dilation", 1)):
            value = layer.arrays[name].reshape(-1)
            if value.size not in (1, 2) or value.min() < low:
                raise self.reader.fail(f"{layer.key}/{name}", f"one or two integers >= {low} are expected, found {value.tolist()}")
            if value.max() > MAX_EXTENT:
                raise self.reader.fail(f"{layer.key}/{name}", f"{value.max()} is above {MAX_EXTENT}")
            sizes[name] = tuple(int(v) for v in np.broadcast_to(value, (2,))[::-1])
        if "delay" in layer.arrays and layer.arrays["delay"].any():
            self.reader.drop(f"{layer.key}/delay", "convolutions have no delays")
        flipped = weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)
        try:
            return Conv(weight=flipped, input_shape=shape_in, groups=groups, num_message_bits=bits, checked=self.ours, **sizes)
        except ValueError as e:
            raise self.reader.fail(key, str(e)) from e

    # -- layers ---------------------------------------------------------------------------------------------

    def build(self, layer: Layer, before: NetLayer | None, shape_in: tuple[int, ...], bits: int, position: int) -> NetLayer:
        """The process of ``layer``, fed with messages of ``shape_in`` and ``bits``."""
        lag = before.lag if before is not None else 0
        shift = self.ours and bool(layer.delay_shift)
        if layer.type == "input":
            return self._input(layer, position, shift)
        out = NetLayer(layer.type, shape_in)
        rows, columns = int(np.prod(layer.shape)), int(np.prod(shape_in))
        if layer.type == "average":
            return self._average(layer, out, rows, columns, lag)
        begin = lag + 1  # the first input reaches the neuron one step later than it was sent
        start: Any = begin
        if layer.type in ("conv", "pool"):
            out.synapse = synapse = self.conv(layer, shape_in, bits)
            out.inp.connect(synapse.s_in)
            if synapse.a_out.shape != layer.shape[::-1]:
                computed = synapse.a_out.shape[::-1]
                raise self.reader.fail(f"{layer.key}/shape", f"is {layer.shape}, the layer computes {computed} from {shape_in[::-1]}")
            out.neuron = self.neuron(layer, synapse.a_out.shape, position, begin, start)
            synapse.a_out.connect(out.neuron.a_in)
        elif layer.type == "dense_comp":
            out.neuron = self.neuron(layer, (rows,), position, begin, start)
            if not isinstance(out.neuron, RF):
                raise self.reader.fail(f"{layer.key}/neuron", "complex weights need an RF neuron")
            if "delay" in layer.arrays and layer.arrays["delay"].any():
                self.reader.drop(f"{layer.key}/delay", "complex layers have no delays")
            layer.arrays.pop("delay", None)
            out.synapse, out.imag_synapse = (self.dense(layer, f"weight/{part}", rows, columns, bits) for part in ("real", "imag"))
            for synapse, port in ((out.synapse, out.neuron.a_real_in), (out.imag_synapse, out.neuron.a_imag_in)):
                out.inp.connect(synapse.s_in)
                synapse.a_out.connect(port)
        else:
            if layer.type == "dense_rec" and "delay" in layer.arrays and layer.arrays["delay"].any():
                raise self.reader.fail(f"{layer.key}/delay", "recurrent layers with delays are not supported")
            out.synapse = synapse = self.dense(layer, "weight", rows, columns, bits)
            if isinstance(synapse, DelayDense):
                start = begin + self.delays(layer, rows, columns).min(1)
            out.inp.connect(synapse.s_in)
            out.neuron = self.neuron(layer, (rows,), position, begin, start)
            if isinstance(out.neuron, RF):
                raise self.reader.fail(f"{layer.key}/weight", "RF neurons need complex weights (weight/real and weight/imag)")
            synapse.a_out.connect(out.neuron.a_in)
            if layer.type == "dense_rec":
                weights = self.matrix(layer, "weight_rec", rows, rows)
                out.rec_synapse = Dense(weights=weights, num_weight_bits=9, num_message_bits=message_bits(layer), sign_mode=self.sign_mode)
                out.neuron.s_out.connect(out.rec_synapse.s_in)
                out.rec_synapse.a_out.connect(out.neuron.a_in)
        out.send(out.neuron.s_out)
        out.lag = lag + 1 - shift
        return out

    def _input(self, layer: Layer, position: int, shift: bool) -> NetLayer:
        shape = layer.shape[::-1]
        out = NetLayer("input", shape)
        out.transform = {k: self._one(layer, k, layer.arrays.get(k, np.array(d))) for k, d in (("weight", 64), ("bias", 0))}
        out.neuron = self.neuron(layer, shape, position, 0, 0)
        if isinstance(out.neuron, RF):
            raise self.reader.fail(f"{layer.key}/neuron/type", "an RF neuron cannot take the input")
        out.inp.connect(out.neuron.a_in)
        if shift:
            # slayer shifts what an Input block sends by a step; nothing else in the graph would
            out.delay = Delay(shape=shape)
            out.neuron.s_out.connect(out.delay.s_in)
            out.send(out.delay.a_out)
        else:
            out.send(out.neuron.s_out)
        return out

    def _average(self, layer: Layer, out: NetLayer, rows: int, columns: int, lag: int) -> NetLayer:
        if rows * columns > MAX_ELEMENTS:
            raise self.reader.fail(f"{layer.key}/shape", f"{columns} inputs of {rows} averages are more than {MAX_ELEMENTS} weights")
        if columns % rows:
            raise self.reader.fail(f"{layer.key}/shape", f"{columns} inputs do not make {rows} equal groups")
        out.group = columns // rows
        out.synapse = Dense(weights=np.kron(np.eye(rows, dtype=int), np.ones((1, out.group), int)), num_weight_bits=9, num_message_bits=24)
        out.inp.connect(out.synapse.s_in)
        out.send(out.synapse.a_out)
        out.lag = lag + 1
        return out


def message_bits(layer: Layer) -> int:
    """Bits of what a layer sends: 0 for spikes, 16 for sigma-delta's values."""
    return 16 if layer.neuron is not None and layer.neuron["type"] == "SDNN" else 0
