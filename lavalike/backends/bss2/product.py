"""A connection of graded messages in perceptron mode.

Sigma-delta messages are changes, the chip multiplies values: the messages are added up to
activations, those are multiplied in the array, and what the product changed by is sent on, in the
step after, as the connection does. Scales are fitted: activations to 5 bits by the largest of the
stretch, in any sample and step, weights to 6 bits by the largest, ``num_sends`` (and where even one
is too many the weights) so that the largest charge of a tile comes to nine tenths of the 8-bit
output. They stay until activations or charges leave their range, and are fitted anew then; a sample
much larger than the others makes the steps of all coarse. Negative activations are sent in a second
product. A vector without events is not sent, its product is 0. Outputs that leave columns free are
computed up to eight times, side by side, and averaged, as hxtorch's ``avg`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch.nn import functional

from lavalike.backends.bss2.partition import model_of
from lavalike.backends.bss2.spiking import constants, matrix
from lavalike.bss2.chip import Chip, facts, use
from lavalike.bss2.perceptron import functional as array
from lavalike.bss2.perceptron.trace import Observation, observe
from lavalike.bss2.placement import PlacedLayer
from lavalike.bss2.tiles import tiles
from lavalike.compiler.flat import Node
from lavalike.proc.connection import Connection
from lavalike.proc.conv import Conv
from lavalike.process import Var

FILLED = 0.9 * facts.OUTPUT_MAX
COPIES = 8
SAMPLE = 4096  # vectors that charges are fitted on, those of largest norm
IMAGES = 16  # of a convolution at least


class Product:
    """One connection on the chip.

    ``total``: activations, ``last``: products of the last step, ``pending``: what is sent next,
    (batch, size) each. ``tensor`` gives the value of a Var; default what the Var holds.
    """

    def __init__(
        self,
        node: Node,
        name: str,
        chip: Chip,
        batch: int,
        dtype: torch.dtype,
        tensor: Callable[[Var], torch.Tensor] | None = None,
    ) -> None:
        assert isinstance(node.process, Connection)
        self.node, self.process, self.name, self.chip, self.dtype = (
            node,
            node.process,
            name,
            chip,
            dtype,
        )
        a_out = node.process.a_out
        self.total = torch.zeros(batch, node.process.s_in.size, dtype=dtype)
        self.last = torch.zeros(batch, a_out.size, dtype=dtype)
        self.tensor = tensor or self._tensor
        held = self.tensor(node.process.a_buff).to(dtype)
        self.pending = held.reshape(1, -1).repeat(batch, 1)
        self.lsb: float | None = None  # an activation of 31 counts 31 of these
        self.sends: list[tuple[float, int]] = []
        self.records: list[Observation] = []
        self.rederive()

    def rederive(self) -> None:
        """The weights of each group (K, N), from the Vars."""
        p = self.process
        if isinstance(p, Conv):
            model = model_of(self.node)
            assert model is not None
            c = constants(model, self.tensor)
            self.weights = [w.flatten(1).T.float() for w in c["weight"].chunk(p.groups)]
        else:
            self.weights = [matrix(self.node, self.tensor, self.dtype).T.float()]
        self.sends = []

    def _tensor(self, v: Var) -> torch.Tensor:
        return torch.as_tensor(
            v.value, dtype=self.dtype if v.trainable or v.value.dtype.kind == "f" else torch.int64
        )

    def run(self, messages: torch.Tensor) -> torch.Tensor:
        """What is sent in every step, (time, batch, size), from the messages that arrive."""
        values = self.total + messages.cumsum(0)
        y = self._multiplied(values)
        changes = torch.diff(torch.cat([self.last[None], y]), dim=0)
        out = torch.cat([self.pending[None], changes[:-1]])
        self.total, self.last, self.pending = values[-1], y[-1], changes[-1]
        return out

    def _multiplied(self, values: torch.Tensor) -> torch.Tensor:
        steps, batch, _ = values.shape
        peak = float(values.abs().max())
        if peak == 0:  # there is nothing to send, and nothing to fit on
            self.records = []
            return values.new_zeros(steps, batch, self.last.shape[1])
        rounded = self.chip.level != "ideal"
        if self.lsb is None or peak > (facts.INPUT_MAX + 0.5) * self.lsb:
            self.lsb, self.sends = peak / facts.INPUT_MAX, []
        x = (values / self.lsb).float().reshape(steps * batch, -1)
        if rounded:
            x = x.clamp(-facts.INPUT_MAX, facts.INPUT_MAX)  # what lies half an LSB beyond
        self._fit(x, rounded)
        with use(self.chip), observe() as seen:
            y = self._signed(x)
        self.records = seen
        return (y * self.lsb).to(self.dtype).reshape(steps, batch, -1)

    def _signed(self, x: torch.Tensor) -> torch.Tensor:
        """Products of values of both signs, in activation LSB times weight."""
        y = self._products(x.clamp(min=0))
        return y - self._products((-x).clamp(min=0)) if bool((x < 0).any()) else y

    def _products(self, x: torch.Tensor) -> torch.Tensor:
        out = []
        for k, rows in enumerate(self._rows(x)):
            w, (scale, sends) = self.weights[k], self.sends[k]
            copies = self._copies(w)
            y = array.matmul(
                rows, (w / scale).repeat_interleave(copies, 1), sends, layer=self._label(k)
            )
            y = y.unflatten(1, (-1, copies)).mean(2) if copies > 1 else y
            if self.chip.level != "ideal":
                # each tile with events was rounded down; without any there was nothing to read
                active = torch.stack(
                    [(part.round() != 0).any(1) for part in rows.split(facts.SIGNED_ROWS, 1)]
                ).sum(0)[:, None]
                y = (y + 0.5 * active) * (active > 0)
            out.append(y * (scale / (self.chip.gain * sends)))
        return self._joined(out, len(x))

    def _copies(self, w: torch.Tensor) -> int:
        """How often each output is computed."""
        return 1 if self.chip.level == "ideal" else max(1, min(COPIES, facts.COLUMNS // w.shape[1]))

    def _rows(self, x: torch.Tensor) -> Iterator[torch.Tensor]:
        """The vectors that are multiplied, one tensor a group: x itself, or the patches of a
        convolution."""
        p = self.process
        if not isinstance(p, Conv):
            yield x
            return
        spatial = x.reshape(len(x), *p.s_in.shape).permute(0, 3, 1, 2)
        kernel = p.weight.shape[1:3]
        for part in spatial.chunk(p.groups, 1):
            patches = functional.unfold(
                part, kernel, p.dilation, p.padding, p.stride
            )  # (batch, K, places)
            yield patches.transpose(1, 2).flatten(0, 1)

    def _joined(self, groups: list[torch.Tensor], batch: int) -> torch.Tensor:
        if not isinstance(self.process, Conv):
            return groups[0]
        return torch.cat([y.reshape(batch, -1, y.shape[1]) for y in groups], 2).flatten(
            1
        )  # (places in x, y order, channels)

    def _fit(self, x: torch.Tensor, rounded: bool) -> None:
        """Weight of 1 LSB and ``num_sends`` of each group; as they were where charges stay within
        the output."""
        scales = [float(w.abs().max()) / facts.WEIGHT_MAX or 1.0 for w in self.weights]
        if not rounded:
            self.sends = [(scale, 1) for scale in scales]
            return
        count = SAMPLE
        if isinstance(self.process, Conv):
            count = max(
                IMAGES, SAMPLE * len(self.weights) * self.weights[0].shape[1] // self.last.shape[1]
            )
        sample = x[x.square().sum(1).topk(count).indices] if count < len(x) else x
        peaks = [
            self._peak(rows.round(), w)
            for rows, w in zip(self._rows(sample), self.weights, strict=True)
        ]
        if self.sends and all(
            p * self.chip.gain * n / s <= facts.OUTPUT_MAX
            for p, (s, n) in zip(peaks, self.sends, strict=True)
        ):
            return
        self.sends = [
            self._fitted(p * self.chip.gain / scale, scale)
            for p, scale in zip(peaks, scales, strict=True)
        ]

    def _peak(self, rows: torch.Tensor, w: torch.Tensor) -> float:
        """The largest sum of one sign's rows in a tile."""
        parts = zip(rows.split(facts.SIGNED_ROWS, 1), w.split(facts.SIGNED_ROWS), strict=True)
        return max(
            float((x @ v).abs().max())
            for part, v in parts
            for x in (part.clamp(min=0), part.clamp(max=0))
        )

    def _fitted(self, peak: float, scale: float) -> tuple[float, int]:
        """(weight of 1 LSB, num_sends)"""
        if peak > FILLED:
            return scale * peak / FILLED, 1
        return scale, max(1, int(FILLED / peak)) if peak > 0 else 1

    def _label(self, group: int) -> str:
        return self.name if len(self.weights) == 1 else f"{self.name}[{group}]"

    def placed(self, run: int, chips: int = 1) -> list[PlacedLayer]:
        """Its tiles, from round ``run`` on; a layer for each group."""
        out: list[PlacedLayer] = []
        places = self.last.shape[1] // sum(w.shape[1] for w in self.weights)
        for group, w in enumerate(self.weights):
            scale, sends = (
                self.sends[group]
                if self.sends
                else (float(w.abs().max()) / facts.WEIGHT_MAX or 1.0, 1)
            )
            name, held = self._label(group), (w / scale).repeat_interleave(self._copies(w), 1)
            k, n = held.shape
            lying = tuple(replace(t, run=run + t.run) for t in tiles(k, n, name, chips))
            cells = tuple(len(t.rows) * len(t.columns) for t in lying)
            rounding = float((held.round() - held).square().mean().sqrt())
            kind, wait = type(self.process).__name__, facts.DEFAULT_WAIT
            out.append(
                PlacedLayer(name, kind, k, n, lying, places, sends, wait, cells, 0, rounding)
            )
            run = lying[-1].run + 1
        return out
