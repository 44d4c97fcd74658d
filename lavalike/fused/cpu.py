"""A traced neuron as compiled loops over time: one pass forward, one backward.

Tensors are time-major, (time, neurons). Neurons go in blocks whose states stay in the first-level
cache while time passes; the inner loop, over the neurons of a block, consists of vector
instructions. Forward keeps the states of every SEGMENT-th step only; backward computes those
between again, so that a neuron-step moves its input twice, its output and its two gradients, and
nothing else: 20 bytes in float32 whatever the number of states.

Sums over neurons (gradients of shared parameters) are taken block by block, so results do not
depend on threads.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lavalike.fused import memory, threads
from lavalike.fused.llvm import F32, F64, I64, WIDTH, Builder, compiled
from lavalike.fused.trace import Code, Traced, used

BLOCK, NARROW = (
    512,
    128,
)  # neurons of a block; where time lies last, whose tiles want room in the first-level cache too
log = logging.getLogger(__name__)
SEGMENT = 16
LIMIT = float(1 << 23)
POINTER = None


@dataclass(frozen=True)
class Variant:
    """What a pair of kernels is specialised for; never time, batch or width.

    Args:
        storage: dtype of inputs and outputs ("float32", "float64", "bfloat16").
        wide: compute in float64 whatever the storage.
        scaled: on the grid, where states count in 1/scale.
        record: states that are returned for every step.
        per_neuron: parameters with a value for each neuron; the others are one number.
        trained: parameters that get gradients.
        given: outputs (and recorded states) that have gradients.
        held: inputs that are the same in every step, given once.
        shift: outputs leave one step late (the gradient of step t is then found at t + 1, and the
            last step has none).
        last: inputs and outputs lie (neurons, time) in memory; not with ``shift`` or ``record``.
    """

    storage: str
    wide: bool = False
    scaled: bool = False
    record: tuple[str, ...] = ()
    per_neuron: frozenset[str] = frozenset()
    trained: frozenset[str] = frozenset()
    given: frozenset[str] = frozenset()
    shift: bool = False
    held: frozenset[str] = frozenset()
    last: bool = False

    @property
    def real(self) -> str:
        return "float64" if self.wide or self.storage == "float64" else "float32"


class _Kernel(Builder):
    """One neuron's kernel under construction. ``names`` are its arguments in the order of their
    slots."""

    def __init__(self, traced: Traced, variant: Variant, which: str) -> None:
        super().__init__(
            f"{traced.dynamics.name}_{which}",
            F64 if variant.real == "float64" else F32,
            variant.storage != "float64",
        )
        self.traced, self.d, self.v = traced, traced.dynamics, variant
        self.backwards = which == "backward"
        self.block = block_of(variant)
        self.names: list[str] = []
        self.at: dict[str, Any] = {}
        self.uniform: dict[str, Any] = {}
        self.first, self.last, self.steps, self.columns = (
            self.argument(n, I64) for n in ("first", "last", "steps", "width")
        )
        self.scratch = self.argument("scratch", POINTER)
        self.used_scratch = 0
        for p in traced.parameters:
            if p in variant.per_neuron:
                self.argument(f"p_{p}", POINTER)
            else:
                self.uniform[p] = self.splat(self.argument(f"p_{p}", F64))
        for n in traced.numbers:
            self.uniform[n] = self.splat(self.argument(n, F64))
        self.first_step = self.argument("t", F64) if "t" in self.d.arguments else None

    def argument(self, name: str, kind: Any) -> Any:
        self.names.append(name)
        self.at[name] = self.slot(kind)
        return self.at[name]

    def arguments(self, prefix: str, names: Any) -> None:
        for n in names:
            self.argument(prefix + n, POINTER)

    def local(self, prefix: str, names: Any, rows: int = 1) -> None:
        """Buffers of ``rows`` blocks in the scratch memory."""
        for n in names:
            self.at[prefix + n] = self.b.gep(
                self.scratch, [I64(self.used_scratch)], source_etype=self.real
            )
            self.used_scratch += rows * self.block

    def get(self, name: str, at: Any, mask: Any = None) -> Any:
        return self.load(self.at[name], at, self._storage(name), mask)

    def put(self, value: Any, name: str, at: Any, mask: Any = None) -> None:
        self.store(value, self.at[name], at, self._storage(name), mask)

    def _storage(self, name: str) -> str:
        kind = name.split("_")[0]
        return (
            self.v.storage
            if kind in ("x", "y", "r", "gx", "gy", "gr")
            else "float64"
            if kind == "gp"
            else self.v.real
        )

    def blocks(self, body: Callable[[Any, Any, Any], None]) -> None:
        """``body(block, start, n)`` for every block: its number, its first neuron, how many it
        has."""
        with self.loop(self.first, self.last) as block:
            start = self.b.mul(block, I64(self.block))
            body(block, start, self.smaller(I64(self.block), self.b.sub(self.columns, start)))

    def neurons(self, n: Any, body: Callable[[Any, Any], None]) -> None:
        """``body(i, mask)`` for every vector of neurons of a block; the last one masked where it is
        not full."""
        full = self.b.and_(n, I64(-WIDTH))
        with self.loop(I64(0), full, WIDTH) as i:
            body(i, None)
        rest = self.b.sub(n, full)
        with self.when(self.b.icmp_signed(">", rest, I64(0))):
            body(full, self.mask(rest))

    def move(self, n: Any, pairs: list[tuple[str, Any, str, Any]]) -> None:
        """Copies for a block: (from, offset, to, offset)."""

        def each(i: Any, mask: Any) -> None:
            for source, x, target, y in pairs:
                self.put(self.get(source, self.b.add(i, x), mask), target, self.b.add(i, y), mask)

        if pairs:
            self.neurons(n, each)

    def inputs(self, i: Any, here: Any, row: Any, mask: Any, start: Any) -> dict[str, Any]:
        """The inputs of a step: found at ``here``, in ``row`` of the segment's tile, or where they
        stand for all steps."""
        return {
            x: self.get(f"x_{x}", self.b.add(start, i), mask)
            if x in self.v.held
            else self.get(f"t_{x}", row, mask)
            if self.v.last
            else self.get(f"x_{x}", here, mask)
            for x in self.d.inputs
        }

    def tiles(
        self, names: list[str], start: Any, n: Any, begin: Any, count: Any, out: bool = False
    ) -> None:
        """A block's steps from ``begin`` on between memory, (neurons, time), and a tile ``t_``,
        (steps of a segment, neurons): a cache line a neuron and segment, turned in registers."""
        with self.loop(I64(0), n if names else I64(0), WIDTH) as i:
            there = self.smaller(I64(WIDTH), self.b.sub(n, i))
            whole = self.b.icmp_signed("==", self.b.add(there, count), I64(WIDTH + SEGMENT))
            for full in (True, False):
                with self.when(whole if full else self.b.not_(whole)):
                    for name in names:
                        self._tile(
                            name,
                            self.b.add(start, i),
                            i,
                            begin,
                            None if full else (there, count),
                            out,
                        )

    def _tile(self, name: str, neuron: Any, i: Any, begin: Any, part: Any, out: bool) -> None:
        """WIDTH neurons from ``neuron`` on; of ``part``, (neurons, steps), only."""
        b, storage = self.b, self._storage(name)
        tile = "t_" + name.removeprefix("x_")
        places = [b.add(b.mul(b.add(neuron, I64(r)), self.steps), begin) for r in range(WIDTH)]
        inside = [
            None
            if part is None
            else self.mask(b.select(b.icmp_signed("<", I64(r), part[0]), part[1], I64(0)))
            for r in range(WIDTH)
        ]
        steps = [b.add(I64(j * self.block), i) for j in range(SEGMENT)]
        # the lines of the next segment: no stride that the processor would foresee, backwards least
        # of all
        for at in places:
            self.prefetch(
                self.at[name], b.add(at, I64(-SEGMENT if self.backwards else SEGMENT)), storage
            )
        if out:
            rows = self.transposed([self.get(tile, at) for at in steps])
            for row, at, mask in zip(rows, places, inside, strict=True):
                self.store(row, self.at[name], at, storage, mask)
            return
        rows = self.transposed(
            [
                self.load(self.at[name], at, storage, mask)
                for at, mask in zip(places, inside, strict=True)
            ]
        )
        for row, at in zip(rows, steps, strict=True):
            self.put(row, tile, at)

    def known(self, code: Code, uniform: dict[str, Any], now: Any) -> dict[str, Any]:
        """What all neurons share in step ``now``, counted from 0: ``uniform``, and what depends on
        it and on t."""
        if self.first_step is None:
            return uniform
        t = self.b.fadd(self.first_step, self.b.sitofp(now, F64))
        return self.hoist(code, {**uniform, "t": self.splat(t)})

    def parameters(self, i: Any, mask: Any) -> dict[str, Any]:
        return {
            p: self.get(f"l_{p}", i, mask) for p in self.traced.parameters if p in self.v.per_neuron
        }


def _forward(k: _Kernel, checkpoints: bool) -> None:
    d, t, v = k.d, k.traced, k.v
    states, per = d.states, [p for p in t.parameters if p in v.per_neuron]
    k.arguments("x_", d.inputs)
    k.arguments("y_", d.outputs)
    k.arguments("r_", v.record)
    k.arguments("s_", states)  # initial states in, final ones out
    k.arguments("c_", states if checkpoints else ())
    counts = [f"n{j}" for j in range(t.counted)]
    k.arguments("gp_", counts)
    k.local("h_", states)
    k.local("l_", per)
    k.local("a_", counts)
    if v.last:
        k.local(
            "t_",
            (*(x for x in d.inputs if x not in v.held), *(f"y_{o}" for o in d.outputs)),
            SEGMENT,
        )
    uniform = k.hoist(t.forward, k.uniform)
    one, zero = k.constant(1.0), k.constant(0.0)

    def block(number: Any, start: Any, n: Any) -> None:
        k.move(
            n,
            [(f"s_{s}", start, f"h_{s}", I64(0)) for s in states]
            + [(f"p_{p}", start, f"l_{p}", I64(0)) for p in per],
        )
        if counts:

            def none_yet(i: Any, m: Any) -> None:
                for c in counts:
                    k.put(zero, f"a_{c}", i, m)

            k.neurons(n, none_yet)

        def checkpoint(now: Any) -> None:
            to = k.b.add(k.b.mul(k.b.sdiv(now, I64(SEGMENT)), k.columns), start)
            k.move(n, [(f"h_{s}", I64(0), f"c_{s}", to) for s in states])

        def moment(now: Any, j: Any) -> None:
            """Step ``now``, the segment's ``j``-th."""
            at = k.b.add(k.b.mul(now, k.columns), start)
            shared = k.known(t.forward, uniform, now)

            def step(i: Any, m: Any) -> None:
                here, row = k.b.add(at, i), k.b.add(k.b.mul(j, I64(k.block)), i)
                values = {
                    **{s: k.get(f"h_{s}", i, m) for s in states},
                    **k.inputs(i, here, row, m, start),
                    **k.parameters(i, m),
                }
                results = k.emit(t.forward, values, shared)
                for o, y in zip(d.outputs, results, strict=False):
                    if v.last:
                        k.put(y, f"t_y_{o}", row, m)
                    else:
                        k.put(y, f"y_{o}", here, m)
                for s, y in zip(states, results[len(d.outputs) :], strict=False):
                    k.put(y, f"h_{s}", i, m)
                    if s in v.record:
                        k.put(k.b.fdiv(y, uniform["scale"]) if v.scaled else y, f"r_{s}", here, m)
                for c, y in zip(counts, results[len(d.outputs) + len(states) :], strict=True):
                    over = k.b.select(k.b.fcmp_ordered(">=", y, k.constant(LIMIT)), one, zero)
                    k.put(k.b.fadd(k.get(f"a_{c}", i, m), over), f"a_{c}", i, m)

            k.neurons(n, step)

        if v.last:
            with k.loop(
                I64(0), k.b.sdiv(k.b.add(k.steps, I64(SEGMENT - 1)), I64(SEGMENT))
            ) as segment:
                begin = k.b.mul(segment, I64(SEGMENT))
                count = k.smaller(I64(SEGMENT), k.b.sub(k.steps, begin))
                if checkpoints and states:
                    checkpoint(begin)
                k.tiles([f"x_{x}" for x in d.inputs if x not in v.held], start, n, begin, count)
                with k.loop(I64(0), count) as j:
                    moment(k.b.add(begin, j), j)
                k.tiles([f"y_{o}" for o in d.outputs], start, n, begin, count, out=True)
        else:
            with k.loop(I64(0), k.steps) as now:
                if checkpoints and states:
                    with k.when(k.b.icmp_signed("==", k.b.srem(now, I64(SEGMENT)), I64(0))):
                        checkpoint(now)
                moment(now, I64(0))
        k.move(n, [(f"h_{s}", I64(0), f"s_{s}", start) for s in states])
        for c in counts:
            _sum(k, f"a_{c}", f"gp_{c}", n, number)

    k.blocks(block)


def _backward(k: _Kernel) -> None:
    d, t, v = k.d, k.traced, k.v
    states, per = d.states, [p for p in t.parameters if p in v.per_neuron]
    trained = [p for p in t.parameters if p in v.trained]
    given = [o for o in d.outputs if o in v.given]
    recorded = [s for s in v.record if s in v.given]
    k.arguments("x_", d.inputs)
    k.arguments("gx_", d.inputs)
    k.arguments("gy_", given)
    k.arguments("gr_", recorded)
    k.arguments("gs_", states)  # gradients of the final states in, of the initial ones out
    k.arguments("c_", states)
    k.arguments("gp_", trained)  # per neuron, or per block
    k.local("h_", states, SEGMENT)
    k.local("d_", states)
    k.local("l_", per)
    k.local("a_", trained)
    held = [x for x in d.inputs if x in v.held]
    k.local("e_", held)
    moving = [x for x in d.inputs if x not in v.held]
    if v.last:
        k.local("t_", (*moving, *(f"gx_{x}" for x in moving), *(f"gy_{o}" for o in given)), SEGMENT)
    again = _only(t.forward, slice(len(d.outputs), len(d.outputs) + len(states)))
    code = t.gradients(frozenset((*given, *(f"next_{s}" for s in states))), v.trained)
    uniform, again_uniform = k.hoist(code, k.uniform), k.hoist(again, k.uniform)

    def block(number: Any, start: Any, n: Any) -> None:
        k.move(
            n,
            [(f"gs_{s}", start, f"d_{s}", I64(0)) for s in states]
            + [(f"p_{p}", start, f"l_{p}", I64(0)) for p in per],
        )
        sums = [f"a_{p}" for p in trained] + [f"e_{x}" for x in held]
        if sums:

            def nothing_yet(i: Any, m: Any) -> None:
                for name in sums:
                    k.put(k.constant(0.0), name, i, m)

            k.neurons(n, nothing_yet)
        with k.loop(k.b.sdiv(k.b.sub(k.steps, I64(1)), I64(SEGMENT)), I64(-1), -1) as segment:
            begin = k.b.mul(segment, I64(SEGMENT))
            count = k.smaller(I64(SEGMENT), k.b.sub(k.steps, begin))
            k.move(
                n,
                [
                    (f"c_{s}", k.b.add(k.b.mul(segment, k.columns), start), f"h_{s}", I64(0))
                    for s in states
                ],
            )
            if v.last:
                k.tiles(
                    [*(f"x_{x}" for x in moving), *(f"gy_{o}" for o in given)],
                    start,
                    n,
                    begin,
                    count,
                )
            if states:  # the states of the segment's steps, computed again
                with k.loop(I64(1), count) as j:
                    before = k.b.sub(j, I64(1))
                    at = k.b.add(k.b.mul(k.b.add(begin, before), k.columns), start)
                    same = k.known(again, again_uniform, k.b.add(begin, before))

                    def restep(i: Any, m: Any) -> None:
                        row = k.b.add(k.b.mul(before, I64(k.block)), i)
                        values = {
                            **{s: k.get(f"h_{s}", row, m) for s in states},
                            **k.inputs(i, k.b.add(at, i), row, m, start),
                            **k.parameters(i, m),
                        }
                        for s, y in zip(states, k.emit(again, values, same), strict=True):
                            k.put(y, f"h_{s}", k.b.add(row, I64(k.block)), m)

                    k.neurons(n, restep)
            with k.loop(k.b.sub(count, I64(1)), I64(-1), -1) as j:
                now = k.b.add(begin, j)
                at = k.b.add(k.b.mul(now, k.columns), start)
                shared = k.known(code, uniform, now)
                told, present = at, None
                if v.shift:
                    later = k.b.icmp_signed("<", k.b.add(now, I64(1)), k.steps)
                    told = k.b.select(later, k.b.add(at, k.columns), at)
                    present = k.splat(k.b.select(later, k.real(1.0), k.real(0.0)))

                def gradient(o: str, i: Any, m: Any) -> Any:
                    if v.last:
                        return k.get(f"t_gy_{o}", k.b.add(k.b.mul(j, I64(k.block)), i), m)
                    g = k.get(f"gy_{o}", k.b.add(told, i), m)
                    return g if present is None else k.b.fmul(g, present)

                def step(i: Any, m: Any) -> None:
                    here, row = k.b.add(at, i), k.b.add(k.b.mul(j, I64(k.block)), i)
                    values = {
                        **{s: k.get(f"h_{s}", row, m) for s in states},
                        **k.inputs(i, here, row, m, start),
                        **k.parameters(i, m),
                        **{f"g_{o}": gradient(o, i, m) for o in given},
                    }
                    for s in states:
                        g = k.get(f"d_{s}", i, m)
                        if s in recorded:
                            more = k.get(f"gr_{s}", here, m)
                            g = k.b.fadd(g, k.b.fdiv(more, uniform["scale"]) if v.scaled else more)
                        values[f"g_next_{s}"] = g
                    results = k.emit(code, values, shared)
                    for x, g in zip(d.inputs, results, strict=False):
                        if x in v.held:
                            k.put(k.b.fadd(k.get(f"e_{x}", i, m), g), f"e_{x}", i, m)
                        else:
                            k.put(
                                g, f"t_gx_{x}" if v.last else f"gx_{x}", row if v.last else here, m
                            )
                    for s, g in zip(states, results[len(d.inputs) :], strict=False):
                        k.put(g, f"d_{s}", i, m)
                    for p, g in zip(trained, results[len(d.inputs) + len(states) :], strict=True):
                        k.put(k.b.fadd(k.get(f"a_{p}", i, m), g), f"a_{p}", i, m)

                k.neurons(n, step)
            if v.last:
                k.tiles([f"gx_{x}" for x in moving], start, n, begin, count, out=True)
        k.move(
            n,
            [(f"d_{s}", I64(0), f"gs_{s}", start) for s in states]
            + [(f"e_{x}", I64(0), f"gx_{x}", start) for x in held]
            + [(f"a_{p}", I64(0), f"gp_{p}", start) for p in trained if p in v.per_neuron],
        )
        for p in trained:
            if p not in v.per_neuron:
                _sum(k, f"a_{p}", f"gp_{p}", n, number)

    k.blocks(block)


def _sum(k: _Kernel, source: str, target: str, n: Any, number: Any) -> None:
    """The sum of a block's values into entry ``number`` of ``target``."""
    place = k.b.gep(k.at[target], [number], source_etype=F64)
    k.b.store(F64(0.0), place)
    # masked loads give 0 where there is no neuron
    k.neurons(
        n,
        lambda i, m: (
            k.b.store(k.b.fadd(k.b.load(place, typ=F64), k.total(k.get(source, i, m))), place)
            and None
        ),
    )


def _only(code: Code, part: slice) -> Code:
    return used(code, code.results[part])


@dataclass(frozen=True)
class Compiled:
    """A kernel: the names of its arguments in order, and how many reals of scratch memory it
    takes."""

    function: int  # its address
    names: tuple[str, ...]
    scratch: int


@functools.cache
def kernel(traced: Traced, variant: Variant, which: str) -> Compiled:
    """The compiled "forward" (keeping nothing), "training" (forward with checkpoints) or
    "backward"."""
    began, k = time.perf_counter(), _Kernel(traced, variant, which)
    if which == "backward":
        _backward(k)
    else:
        _forward(k, which == "training")
    address = compiled(k.finish())
    log.info(
        "compiled loop of %s, %s, in %.2f s",
        *(traced.dynamics.name, which, time.perf_counter() - began),
    )
    return Compiled(address, tuple(k.names), k.used_scratch)


# -- calling ---------------------------------------------------------------------------------------


def block_of(variant: Variant) -> int:
    return NARROW if variant.last else BLOCK


def blocks_of(width: int, variant: Variant) -> int:
    return -(-width // block_of(variant))


def launch(
    traced: Traced,
    variant: Variant,
    which: str,
    values: Mapping[str, torch.Tensor | float],
    steps: int,
    width: int,
) -> None:
    """Run a kernel on the tensors and numbers that its arguments name, over all blocks of neurons,
    shared out over torch's threads. Tensors are contiguous; ``steps`` and ``width`` are > 0."""
    compiled_kernel = kernel(traced, variant, which)
    blocks = blocks_of(width, variant)
    slots = np.zeros(len(compiled_kernel.names), np.int64)
    numbers = slots.view(np.float64)
    slots[2:4] = steps, width
    for j, name in enumerate(compiled_kernel.names[5:], 5):
        value = values[name]
        if isinstance(value, torch.Tensor):
            slots[j] = memory.address(value, f"{traced.dynamics.name}: {name}")
        else:
            numbers[j] = value
    parts = threads.cuts(blocks, steps * width // 30_000)
    scratch = np.empty((len(parts) - 1, compiled_kernel.scratch), variant.real)
    table = np.empty((len(parts) - 1, len(slots)), np.int64)
    table[...] = slots
    table[:, 0], table[:, 1] = parts[:-1], parts[1:]
    table[:, 4] = [row.ctypes.data for row in scratch]
    threads.run(compiled_kernel.function, table)
