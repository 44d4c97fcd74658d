"""The exchange of shares through memory that processes of one machine share."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from lavalike.backends.numba import exchange as kernels
from lavalike.compiler.cut import WORD, in_words
from lavalike.process import OutPort
from lavalike.runtime.wiring import (
    ASKS,
    COUNTER,
    ENDED,
    LINE,
    Ended,
    Layout,
    Wiring,
    words as memory_words,
)

NAP = 5e-5  # seconds between two looks, after a wait of a millisecond


class SharedExchange:
    """The exchange of share ``rank`` through memory ``fd``. See
    :class:`lavalike.backends.numba.exchange.Exchange`."""

    def __init__(self, layout: Layout, wiring: Wiring, fd: int) -> None:
        self.layout, self.rank = layout, wiring.rank
        self.words = memory_words(fd, layout.size)
        self.sent, self.heard = wiring.sent, wiring.heard
        self._sources, self._dtypes, self._batch = wiring.sources, wiring.dtypes, wiring.batch
        self.out = np.zeros(layout.words[self.rank], np.int64)
        self.inp = np.zeros(wiring.hears // WORD, np.int64)
        self.state = np.zeros(4, np.int64)
        self.tape = np.zeros((1, self.inp.size), np.int64)
        self.run = 0  # the number of this run
        base = self.words.__array_interface__["data"][0]
        self._peers = LINE * np.array(wiring.neighbours, np.int64)
        self._base, self._away = base, kernels.give_way()
        self._ended = 0

    # kernels for what Python exchanges, compiled where it does

    def _publisher(self, word: int) -> kernels.Call:
        at = self._base + WORD * (LINE * self.rank + word)
        return kernels.Call(kernels.publish, [at, 0])

    @functools.cached_property
    def _publish(self) -> kernels.Call:
        return self._publisher(COUNTER)

    @functools.cached_property
    def _await(self) -> kernels.Call:
        return kernels.Call(kernels.await_all, [self._base, self._peers + COUNTER, 0, self._away])

    @functools.cached_property
    def _end(self) -> kernels.Call:
        return self._publisher(ENDED)

    @functools.cached_property
    def _all_end(self) -> kernels.Call:
        others = [r for r in range(len(self.layout.words)) if r != self.rank]
        words = LINE * np.array(others, np.int64) + ENDED
        return kernels.Call(kernels.await_all, [self._base, words, 0, self._away])

    def row(self) -> tuple[Any, list[Any]]:
        copies = np.zeros((len(self.heard), 4), np.int64)
        for k, (port, (first, last)) in enumerate(self.heard.items()):
            rank, offset = self._sources[port]
            a, b = self.layout.blocks[rank]
            at = offset // WORD
            copies[k] = (a + at, b + at, in_words(last - first), first // WORD)
        mine = np.array(self.layout.blocks[self.rank], np.int64)
        line = LINE * self.rank + COUNTER
        return kernels.exchange, [
            *(self.out, self.inp, self.words, self._base, line, self._peers + COUNTER, mine),
            *(copies, self.state, self.tape, self._away),
        ]

    def prepare(self, stretches: bool, agrees: bool) -> None:
        _ = stretches and (self._publish, self._await)
        _ = agrees and (self._end, self._all_end)

    def begin(self, run: int) -> None:
        """Run number ``run`` begins, for all."""
        self.run = run
        self.state[kernels.NUMBER] = self.state[kernels.PUBLISHED] = run << 32
        self._ended = run << 32

    def waited(self) -> None:
        if self.words[self.layout.abort] >= self.run:
            raise Ended
        time.sleep(NAP)

    def give_up(self) -> None:
        """Let all know that this run is not gone on with."""
        self.words[self.layout.abort] = self.run

    def swap(self, steps: int, rows: Mapping[OutPort, np.ndarray]) -> dict[OutPort, np.ndarray]:
        """Send ``rows`` (steps, batch, size) of what this share sends; the same of what it
        hears."""
        number = int(self.state[kernels.NUMBER]) + 1
        for port, (first, last) in self.sent.items():
            self._rows(self.rank, number, steps, first, last - first)[...] = (
                np.ascontiguousarray(rows[port]).reshape(steps, -1).view(np.uint8)
            )
        self._publish(number)
        while self._await(number):
            self.waited()
        self.state[kernels.NUMBER] = number
        heard = {}
        for port, (first, last) in self.heard.items():
            rank, offset = self._sources[port]
            rows_of = self._rows(rank, number, steps, offset, last - first).copy()
            heard[port] = rows_of.view(self._dtypes[port]).reshape(steps, self._batch, -1)
        return heard

    def _rows(self, rank: int, number: int, steps: int, offset: int, size: int) -> np.ndarray:
        """Bytes (steps, size) of a port in a block."""
        words, at = self.layout.words[rank], self.layout.blocks[rank][number & 1]
        block = self.words[at : at + words * steps].view(np.uint8)
        return block.reshape(steps, words * WORD)[:, offset : offset + size]

    def agree(self, asks: bool) -> bool:
        """After a step of all: whether any asks to end the run."""
        self._ended += 1
        self.words[LINE * self.rank + ASKS] = self._ended if asks else 0
        self._end(self._ended)
        while self._all_end(self._ended):
            self.waited()
        return any(
            self.words[LINE * r + ASKS] == self._ended for r in range(len(self.layout.words))
        )
