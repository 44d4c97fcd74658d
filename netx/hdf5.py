"""Network: a .net file as a process."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from lavalike import html
from lavalike.arguments import (
    FLAG,
    PATH,
    SHAPE,
    TEXT,
    Rule,
    arguments,
    as_numbers,
    instance,
    integer,
    optional,
)
from lavalike.errors import InputError, LavalikeError, NetFileError
from lavalike.proc.connection import Connection
from lavalike.process import AbstractProcess, InPort, OutPort, drawing
from netx.blocks.process import NetLayer
from netx.layers import Builder, message_bits
from netx.reader import Layer, NetFileWarning, Reader

WEIGHT_SCALE = 64
INT32 = 2**31 - 1
HEAD = ("layer", "in", "out", "neuron", "weights", "lag", "")
REALS = Rule(
    "an array or a tensor of real numbers",
    lambda v: (a := as_numbers(v)) is not None and a.dtype.kind in "biuf",
)


class Network(AbstractProcess):
    """The network of a .net file, written by lavalike's or lava-dl's slayer.

    Example:
        >>> params = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1}
        >>> path = slayer.export_hdf5(slayer.block.cuba.Dense(params, 6, 2), "net.net")
        >>> net = netx.Network(path)
        >>> x = net.encode((np.random.rand(4, 6, 20) < 0.3).astype(float))  # (batch, inputs, time)
        >>> rec = lv.simulate(net, {"inp": x}, config=lv.RunConfig(precision="fixed_pt"))
        >>> net.decode(rec["out"]).shape
        (4, 2, 20)

    Args:
        net_config: path of the file.
        num_layers: read only the first of the file's layers (flatten counts). Default all.
        skip_layers: leave out so many from the start.
        input_message_bits: bits of the messages the first layer takes: 0 for spikes. Default: what
            the file says, 0 where it does not. Other bits than the file's input layer sends, and
            graded messages where the last of ``skip_layers`` spikes, are an InputError.
        input_shape: (x, y, channels) of the input, where no input layer gives it; one that
            contradicts the file is an InputError.
        reset_interval, reset_offset: set u = v = 0 every so many steps, in each layer as it begins:
            one step later a layer, in files of lavalike as its first input arrives. Messages on
            their way are not cleared. An offset needs an interval.
        spike_exp: fractional bits of sigma-delta messages beyond 6, 0..16. Default 6.
        sparse_fc_layer: store only non-zero weights of dense layers.
        exact: refuse what Lava's loader dropped or clipped; otherwise each is a NetFileWarning.
            Files of lavalike are always exact. Their layers' delays act behind the neurons
            (``layers[i].delay``), as slayer's do.

    Files without a mark of lavalike's (see :mod:`netx.provenance`) load as Lava loaded them, each
    key dropped and value clipped with a NetFileWarning: adaptive resonators (ADRF) run as RF,
    delays act in dense layers of real weights only, recurrent ones too. A file whose blocks were
    exported one by one is lavalike's, with a NetFileWarning that nothing vouches for the number of
    its layers. ``ours`` and ``signed`` say which kind it is, and whether a digest vouches for the
    whole.

    A flatten layer at the end makes ``out`` flat, in torch's order; ``out_layer`` is the layer
    before.

    Parts: ``inp``, ``out``, ``layers[i].inp/.synapse/.neuron/.out``, ``in_layer``, ``out_layer``,
    ``len()``, ``output_message_bits``. Messages are integers as in lava-dl, spatial ones (x, y,
    channel); an input layer's a_in takes 64 times the quantised input. floating_pt and torch
    compute in the same units without rounding.

    ``lag``: column t of ``out`` is column ``t - lag`` of the trained network's output.

    Raises:
        NetFileError: the file is damaged, contradicts itself, or asks for more than it may (1 GiB
            and 16 times its own size); it names the key. A load takes less than 64 MiB and three
            times what the layers need.
        InputError: an argument that is wrong or does not fit the file.
    """

    @arguments(
        net_config=PATH,
        num_layers=optional(integer(1)),
        skip_layers=integer(0),
        input_message_bits=integer(0, 32),
        input_shape=optional(SHAPE),
        reset_interval=optional(integer(1, INT32)),
        reset_offset=integer(-INT32, INT32),
        spike_exp=integer(0, 16),
        sparse_fc_layer=FLAG,
        exact=FLAG,
        name=optional(TEXT),
    )
    def __init__(
        self,
        net_config: str | Path,
        num_layers: int | None = None,
        skip_layers: int = 0,
        input_message_bits: int = 0,
        input_shape: tuple[int, ...] | list[int] | None = None,
        reset_interval: int | None = None,
        reset_offset: int = 0,
        spike_exp: int = 6,
        sparse_fc_layer: bool = False,
        exact: bool = False,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if reset_offset and reset_interval is None:
            raise InputError(
                f"Network: reset_offset={reset_offset} has no effect without reset_interval"
            )
        reader = Reader(net_config, exact)
        file = reader.read()
        descriptions = file.layers if num_layers is None else file.layers[:num_layers]
        if skip_layers >= len(descriptions):
            raise InputError(
                f"Network: skip_layers={skip_layers} leaves none of {len(descriptions)} layers"
            )
        self.path_of_file, self.ours, self.signed, self.spike_exp = (
            Path(net_config),
            file.ours,
            file.signed,
            spike_exp,
        )
        builder = Builder(
            reader, file.ours, spike_exp, sparse_fc_layer, reset_interval, reset_offset
        )
        first = next(
            (d for d in descriptions[skip_layers:] if d.type not in ("input", "flatten")), None
        )
        # a file of ours says what its first layer takes: sigma-delta layers take values
        bits = input_message_bits or (message_bits(first) if file.ours and first is not None else 0)
        if input_message_bits:
            self._agree(descriptions, skip_layers, input_message_bits)
        shape = None if input_shape is None else tuple(int(n) for n in np.reshape(input_shape, -1))
        flatten = False
        layers: list[NetLayer] = []
        for k, description in enumerate(descriptions):
            kept = k >= skip_layers
            if description.type == "flatten":
                flatten = True
                continue
            if input_shape is not None and not layers:
                own = description.shape if description.type == "input" else description.input_shape
                if own is not None and k <= skip_layers and own[::-1] != shape:
                    raise InputError(
                        f"Network: input_shape={shape}, but {description.key} of {net_config} takes {own[::-1]}"
                    )
            if description.type == "input" and description.neuron is None:
                shape = description.shape[::-1]
                continue
            if not kept:
                shape, bits = (
                    description.shape[::-1],
                    input_message_bits or message_bits(description),
                )
                continue
            if description.type == "input":
                shape = description.shape[::-1]
            elif shape is None and description.input_shape is not None:
                shape = description.input_shape[::-1]
            elif description.type.startswith("dense") and shape is None:
                weight = next(
                    s for n, s in description.shapes.items() if n in ("weight", "weight/real")
                )
                shape = (weight[-1],)
            elif shape is None:
                raise InputError(
                    f"{net_config}: {description.key}: give input_shape=(x, y, channels); the file has no input layer"
                )
            flat = description.type != "input" and not description.spatial and len(shape) == 3
            before = layers[-1] if layers else None
            if before is None:
                self.input_message_bits = bits
            try:
                layer = builder.build(
                    description, before, (math.prod(shape),) if flat else shape, bits, len(layers)
                )
                if before is None:
                    self.inp = InPort(shape)
                    source: Any = self.inp
                else:
                    source = before.out
                # torch's order of flattening is channel, height, width
                (source.transpose((2, 1, 0)).flatten() if flat else source).connect(layer.inp)
            except NetFileError:
                raise
            except (LavalikeError, ValueError, OverflowError, MemoryError) as e:
                raise reader.fail(
                    description.key,
                    " ".join(str(e).split()) or f"does not fit into memory ({type(e).__name__})",
                ) from e
            description.arrays.clear()  # its processes have their own
            layers.append(layer)
            shape, bits, flatten = layer.out.shape, message_bits(description), False
        if not layers:
            raise reader.fail("layer", "no layer is left to run")
        if flatten and not file.ours:
            raise reader.fail(
                descriptions[-1].key, "a flatten layer at the end has nothing to feed"
            )
        self.layers: list[NetLayer] = layers
        self.in_layer, self.out_layer = layers[0], layers[-1]
        self.output_message_bits = bits
        last = self.out_layer.out
        source = last.transpose((2, 1, 0)).flatten() if flatten and len(last.shape) == 3 else last
        self.out = OutPort(source.shape)
        source.connect(self.out)

    def _agree(self, descriptions: list[Layer], skipped: int, bits: int) -> None:
        """Refuse ``bits`` of input messages that contradict the layer which sends them, in the
        network or before it."""
        senders = [
            d
            for k, d in enumerate(descriptions)
            if (k < skipped or d.type == "input") and d.neuron is not None
        ]
        for sender in senders[-1:]:
            own = message_bits(sender)
            if own != bits and (own == 0 or skipped == 0):
                raise InputError(
                    f"Network: input_message_bits={bits}, but {sender.key} of {self.path_of_file} sends "
                    f"{f'messages of {own} bits' if own else 'spikes (0 bits)'}: leave it out"
                )

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def lag(self) -> int:
        return self.out_layer.lag

    @property
    def net_config(self) -> dict[str, dict[int, dict[str, Any]]]:
        """What the file says, read from it: ``net_config["layer"][k]`` has the layer's ``type``,
        ``shape``, arrays of whole numbers as they are stored (``weight``, ``bias``, ``delay``, ...;
        of complex layers ``weight/real`` and so on) and ``neuron``, a dict of its keys, where there
        is one. NetFileError where the file is gone or damaged by now."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NetFileWarning)  # it was told when it was loaded
            layers = Reader(self.path_of_file, False).read().layers
        return {
            "layer": {
                k: {"type": d.type, "shape": np.array(d.shape), **d.arrays}
                | ({} if d.neuron is None else {"neuron": d.neuron})
                for k, d in enumerate(layers)
            }
        }

    @property
    def filename(self) -> str:
        """The file's path."""
        return str(self.path_of_file)

    # -- values ------------------------------------------------------------------------------------

    @arguments(x=REALS)
    def encode(self, x: Any) -> np.ndarray:
        """Values of the trained network's input as integer messages for ``inp``.

        Args:
            x: (..., C, H, W, time) or (..., N, time), as slayer takes them.

        Returns:
            int32 (..., *inp.shape, time): 64 times the quantised input for an input layer, values
            scaled as sigma-delta messages for a layer that takes 16 bits, else spikes as they are.
        """
        x = as_numbers(x).astype(np.float64)  # type: ignore[union-attr]  # numbers, by the rule of the argument
        shape = self.inp.shape[::-1]
        if x.ndim <= len(shape) or x.shape[-1 - len(shape) : -1] != shape:
            raise InputError(
                f"{self.path}.encode: x, the input, has shape {x.shape}; expected (..., {', '.join(map(str, shape))}, time)"
            )
        if not np.isfinite(x).all():
            raise InputError(f"{self.path}.encode: x, the input, has NaN or infinite values")
        if self.in_layer.kind == "input":
            t = self.in_layer.transform
            grid = np.clip(np.round(x * 32) * 2, -256, 254)  # 64 q(x), as slayer's Input quantises
            out = np.round(grid * t["weight"] / WEIGHT_SCALE) + t["bias"]
        else:
            graded = self.input_message_bits > 0
            out = x * (1 << (6 + self.spike_exp)) if graded else x
            if not np.array_equal(out, np.round(out)):
                raise InputError(
                    f"{self.path}.encode: values are no multiples of 1/{1 << (6 + self.spike_exp) if graded else 1}"
                )
            if np.abs(out).max(initial=0) > 2**31 - 1:
                raise InputError(
                    f"{self.path}.encode: values reach {np.abs(x).max()}, beyond 32-bit messages"
                )
            if not graded and not np.isin(out, (0, 1)).all():
                raise InputError(
                    f"{self.path}.encode: the first layer takes spikes, 0 or 1; values need input_message_bits"
                )
        return _reversed(out, len(shape)).astype(np.int32)

    @arguments(y=REALS, layer=optional(instance(NetLayer)))
    def decode(self, y: Any, layer: NetLayer | None = None) -> np.ndarray:
        """Messages of ``out`` (or of a layer) as values of the trained network, (..., C, H, W,
        time) float32.

        Args:
            y: (..., *shape, time), as they are recorded.
            layer: one of ``layers``; None: ``out``.
        """
        shape = self.out.shape if layer is None else layer.shape
        y = as_numbers(y)
        if y.ndim <= len(shape) or y.shape[-1 - len(shape) : -1] != shape:
            raise InputError(
                f"{self.path}.decode: y, the messages, have shape {y.shape}; "
                f"expected (..., {', '.join(map(str, shape))}, time)"
            )
        return _reversed(y, len(shape)).astype(np.float32) / np.float32(
            (layer or self.out_layer).scale
        )

    # -- what it is --------------------------------------------------------------------------------

    def __str__(self) -> str:
        from lavalike.text import table

        return f"{self.path_of_file.name}: {self._origin()}\n" + table(HEAD, self._rows())

    def _repr_html_(self) -> str:
        rows = self._rows()
        layers = html.table(HEAD, rows, len(rows))
        return drawing.shown(self, f"<div>{html.escape(self._origin())}</div>", layers)

    def _origin(self) -> str:
        signed = "" if self.signed else " without a digest"
        return f"{len(self)} layers, {'lavalike' if self.ours else 'lava-dl'} file{signed}"

    def _rows(self) -> list[list[str]]:
        """What there is to say of each layer, under ``HEAD``."""
        rows = []
        for layer in self.layers:
            synapse, neuron = layer.synapse, layer.neuron
            weights = sum(
                v.size
                for p in layer.procs
                if isinstance(p, Connection)
                for v in p.vars
                if v.trainable
            )
            detail = ""
            if hasattr(synapse, "stride"):
                detail = (
                    f"{synapse.weight.shape[1:3]} stride {synapse.stride} padding {synapse.padding}"  # type: ignore[union-attr]  # what has a stride is a convolution
                )
            for line in (synapse, getattr(layer, "delay", None)):
                if most := getattr(line, "max_delay", 0):
                    detail += f" delays to {most}"
            rows.append(
                [
                    layer.kind,
                    "x".join(map(str, layer.inp.shape)),
                    "x".join(map(str, layer.shape)),
                    type(neuron).__name__ if neuron is not None else "-",
                    f"{weights:,}",
                    str(layer.lag),
                    detail.strip(),
                ]
            )
        return rows


def _reversed(x: np.ndarray, axes: int) -> np.ndarray:
    """(..., a, b, c, time) -> (..., c, b, a, time) over ``axes`` axes before the last."""
    n = x.ndim
    first = n - 1 - axes
    return x.transpose([*range(first), *range(n - 2, first - 1, -1), n - 1])
