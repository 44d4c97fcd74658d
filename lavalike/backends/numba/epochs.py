"""The end of a learning epoch: traces, and what a rule's products add to synapses.

A rule is data to the kernels (a table of products and their factors), so that another rule compiles
nothing. Synapses lie by input, one behind the other: all of a matrix, or those that are stored,
with their outputs (``target``) and where each input's begin (``start``); the stored ones of an
output are found through ``back``, the lower 16 bits of where they are, and ``upper``, those above.
An epoch's end goes to the synapses that its spikes require: those of inputs that spiked where a
product has ``x0``, those of outputs that did where one has ``y0``, all where a ``uk`` is 1.

A product is an input's part times an output's part, both looked up at the step where its gate was,
times what it looks at of the synapse. Synapses are listed, an input's or an output's at a time, and
the products walked over the list; those of a matrix whose rule changes weights alone and looks at
no synaptic variable (``plain``) are changed where they stand.
"""

from __future__ import annotations

import numpy as np

from lavalike.backends.numba.kernels import inner, jit, nested
from lavalike.errors import RuleError
from lavalike.learning.parse import Product
from lavalike.learning.reference import scaled, width
from lavalike.learning.rule import (
    ACCUMULATOR_BITS,
    FRACTION,
    LARGEST_TRACE,
    MANTISSA_BITS,
    RANGES,
    SATURATED,
    TARGETS,
    TRACES,
    LearningRule,
)

X0, Y0, U = 8, 9, 10  # factors that are gates; before them come TRACES, then TARGETS
FACTORS = (*TRACES, *TARGETS, "x0", "y0")
HEAD = (
    4  # of a product's row: target, gate, every how many epochs, how many factors; then kind, sign
)
LOWEST, HIGHEST = (np.int32(x) for x in SATURATED)
LOWEST_D, HIGHEST_D = RANGES["d"]
LOWEST_T, HIGHEST_T = RANGES["t"]
ONE = 1 << FRACTION
LIMITS = np.array([1 << width(n) for n in (*FACTORS, "u0")], np.int64)  # of a factor, by kind


def code(name: str) -> int:
    return U if name[0] == "u" else FACTORS.index(name)


def table(rule: LearningRule, fixed: bool) -> tuple[np.ndarray, np.ndarray]:
    """A row a product: what ``HEAD`` says, and its numbers: what it is multiplied with, and what is
    added to each factor; in fixed point mantissa, left and right shift come first. RuleError for a
    number that fixed point does not hold."""
    products = [(TARGETS.index(t), p) for t, ps in rule.products.items() for p in ps]
    most = max(len(p.factors) for _, p in products)
    ops = np.zeros((len(products), HEAD + 2 * most), np.int64)
    numbers = np.zeros((len(products), 3 + most), np.int64 if fixed else np.float64)
    for row, values, (target, p) in zip(ops, numbers, products, strict=True):
        row[:HEAD] = target, code(p.gate), p.every, len(p.factors)
        values[:3] = _shifts(p) if fixed else (float(p.number.value), 0, 0)
        for k, factor in enumerate(p.factors):
            row[HEAD + 2 * k : HEAD + 2 * k + 2] = code(factor.name), factor.sign
            values[3 + k] = int(factor.add) if fixed else float(factor.add)
    return ops, numbers


def _shifts(product: Product) -> tuple[int, int, int]:
    mantissa, exponent = scaled(product)
    for side in "xy":
        bits = [width(f.name) for f in product.factors if f.name[0] in (side, "xu"[side == "x"])]
        if sum(bits) + MANTISSA_BITS > 31:
            raise RuleError(
                f"{product}: fixed_pt multiplies 3 traces of one side, not {len(bits)}; split the product by a tag"
            )
    return mantissa, exponent + FRACTION, max(0, _bits(product) - ACCUMULATOR_BITS)


def _bits(product: Product) -> int:
    return MANTISSA_BITS + sum(width(f.name) for f in product.factors)


def plain(rule: LearningRule, fixed: bool) -> bool:
    """Whether products are outer ones: of traces and gates, for weights; in fixed point within 32
    bits."""
    products = [p for ps in rule.products.values() for p in ps]
    outer = all(f.name not in TARGETS for p in products for f in p.factors)
    return outer and {*rule.products} == {"w"} and not (fixed and max(map(_bits, products)) > 31)


# -- spikes and traces -----------------------------------------------------------------------------


@nested
def fires(every, now, epoch):
    return 1 if every == 1 or now // epoch % every == 0 else 0


@inner
def fired(ty, posts):
    """The outputs that spiked in the epoch; how many."""
    count = 0
    for j in range(ty.size):
        posts[count] = j
        count += ty[j] > 0
    return count


@inner
def gates(ops, now, epoch):
    """Whether products have the gates ``x0``, ``y0`` and a ``uk`` that is 1."""
    by_x0, by_y0, by_u = False, False, False
    for p in range(ops.shape[0]):
        by_x0 |= ops[p, 1] == X0
        by_y0 |= ops[p, 1] == Y0
        by_u |= ops[p, 1] == U and fires(ops[p, 2], now, epoch) == 1
    return by_x0, by_y0, by_u


@inner
def bounded(times, epoch):
    """Times are steps of the epoch: what was set beyond it counts as its last."""
    for i in range(times.size):
        times[i] = min(max(times[i], 0), epoch)


@jit
def advanced_float(state, history, times, fed, received, decay, impulse, epoch):
    """What traces were at the end of each step of the epoch; ``state`` becomes the last, but of
    those that are received."""
    bounded(times, epoch)
    for k in range(state.shape[0]):
        if not fed[k]:
            continue
        for n in range(epoch):
            before = history[k, n - 1] if n > 0 else state[k]
            after = history[k, n]
            for i in range(times.size):
                left = before[i] * decay[k]
                after[i] = left + impulse[k] if times[i] == n + 1 else left
        if not received[k]:
            for i in range(times.size):
                state[k, i] = history[k, epoch - 1, i]


@nested
def grown(value, whole, part, bit):
    return min(max(np.int64(value) + whole + (1 if bit < part else 0), 0), LARGEST_TRACE)


@jit
def advanced_fixed(state, history, times, fed, received, decay, whole, part, draw, bit, epoch):
    """The same in fixed point, with the epoch's draws."""
    bounded(times, epoch)
    for k in range(state.shape[0]):
        if not fed[k]:
            continue
        for n in range(epoch):
            before = history[k, n - 1] if n > 0 else state[k]
            after = history[k, n]
            for i in range(times.size):
                value = before[i] * decay[k]
                low = np.floor(value)
                left = np.int64(low) + (1 if draw < value - low else 0)
                after[i] = grown(left, whole[k], part[k], bit) if times[i] == n + 1 else left
        if not received[k]:
            for i in range(times.size):
                state[k, i] = history[k, epoch - 1, i]


# -- products --------------------------------------------------------------------------------------


@inner
def parts(into, ops, numbers, limits, kinds, gate, times, history, now, epoch):
    """into[p, n, i]: the factors of product ``p`` that are neuron ``i``'s, its traces at the end of
    step ``n``: traces whose kinds are between ``kinds``, the gate of kind ``gate``; with those of
    inputs its number and a ``uk``."""
    for p in range(ops.shape[0]):
        first = numbers[p, 0] if gate == X0 else numbers.dtype.type(1)
        for n in range(epoch):
            row = into[p, n]
            for i in range(row.size):
                row[i] = first
            for f in range(ops[p, 3]):
                kind, add = ops[p, 4 + 2 * f], numbers[p, 3 + f]
                if kinds[0] <= kind < kinds[1]:
                    values, limit = history[kind - kinds[0], n], limits[kind]
                    for i in range(row.size):
                        row[i] *= min(max(values[i] + add, -limit), limit - 1)
                elif kind == gate:
                    for i in range(row.size):
                        row[i] *= 1 if times[i] > 0 else 0
                elif kind == U and gate == X0 and not fires(ops[p, 2], now, epoch):
                    for i in range(row.size):
                        row[i] = 0


@nested
def listed(
    r,
    by_x0,
    by_y0,
    by_u,
    start,
    target,
    back,
    upper,
    first,
    tx,
    ty,
    posts,
    n_post,
    places,
    ins,
    outs,
):
    """The synapses of turn ``r``: an input's, then stored ones of an output that spiked whose
    inputs had no turn; how many."""
    n_in, n_out, stored = tx.size, ty.size, target.size > 0
    count = 0
    if r < n_in:
        begin = start[r]
        whole = (by_x0 and tx[r] > 0) or by_u
        if whole:
            count = start[r + 1] - begin
        elif not stored and by_y0:
            count = n_post
        for q in range(count):
            k = q if whole else np.int64(posts[q])
            places[q] = begin + k
            ins[q] = r
            j = np.int64(target[begin + k]) if stored else k
            outs[q] = j if j < n_out else j % n_out  # where in a ring of delays
        return count
    j, i = posts[r - n_in], 0
    for k in range(first[j], first[j + 1]):
        e = np.int64(back[k]) | np.int64(upper[k]) << 16
        guess = e * n_in // back.size - 2  # the input whose synapse this is: i or a later one
        if guess > i and start[guess] <= e:
            i = guess
        step = 1
        while i + step < n_in and start[i + step] <= e:
            i += step
            step *= 2
        while step > 0:
            if i + step < n_in and start[i + step] <= e:
                i += step
            step >>= 1
        if not ((by_x0 and tx[i] > 0) or by_u):
            places[count] = e
            ins[count] = i
            outs[count] = j
            count += 1
    return count


@nested
def terms(
    p,
    count,
    ins,
    outs,
    places,
    ops,
    numbers,
    limits,
    ahead,
    along,
    tx,
    ty,
    epoch,
    synapses,
    tags_d,
    tags_t,
    term,
):
    """What product ``p`` is for each synapse of a list."""
    gate = ops[p, 1]
    for q in range(count):
        n = np.int64(tx[ins[q]] if gate == X0 else ty[outs[q]] if gate == Y0 else epoch) - 1
        term[q] = term.dtype.type(ahead[p, n, ins[q]]) * along[p, n, outs[q]] if n >= 0 else 0
    for f in range(ops[p, 3]):
        kind, sign, add = ops[p, 4 + 2 * f], ops[p, 5 + 2 * f], numbers[p, 3 + f]
        if 5 <= kind < 8:
            values, limit = synapses if kind == 5 else tags_d if kind == 6 else tags_t, limits[kind]
            for q in range(count):
                value = values[places[q]] + add
                if sign:
                    term[q] *= (1 if value > 0 else 0) - (1 if value < 0 else 0)
                else:
                    term[q] *= min(max(value, -limit), limit - 1)


@nested
def outer_float(
    now, epoch, synapses, start, tx, ty, ops, low, high, posts, n_post, by_x0, by_u, ahead, along
):  # fmt: skip
    """A matrix by a plain rule, product after product."""
    n_in, n_out = tx.size, ty.size
    for p in range(ops.shape[0]):
        gate = ops[p, 1]
        if gate == U and not fires(ops[p, 2], now, epoch):
            continue
        if gate == Y0 and epoch == 1:
            others = along[p, 0]
            for q in range(n_post):  # those that spiked, side by side
                others[q] = others[posts[q]]
        for r in range(n_in):
            n = np.int64(tx[r] if gate == X0 else epoch) - 1
            if n < 0:
                continue
            row, c, others = synapses[start[r] : start[r + 1]], ahead[p, n, r], along[p, n]
            if gate == Y0 and epoch > 1:  # outputs look at different steps
                for q in range(n_post):
                    n = np.int64(ty[posts[q]]) - 1
                    row[posts[q]] += ahead[p, n, r] * along[p, n, posts[q]]
            elif c != 0 and gate == Y0:
                for q in range(n_post):
                    row[np.uint32(posts[q])] += c * others[q]
            elif c != 0:
                for j in range(n_out):
                    row[j] += c * others[j]
    if low > -np.inf or high < np.inf:
        for r in range(n_in):
            whole = (by_x0 and tx[r] > 0) or by_u
            row = synapses[start[r] : start[r + 1]]
            for q in range(n_out if whole else n_post):
                j = q if whole else np.int64(posts[q])
                row[j] = min(max(row[j], low), high)


@jit
def learn_float(
    now, epoch, synapses, tags_d, tags_t, start, target, back, upper, first, tx, ty, hx, hy, ops, numbers,
    limits, plain, low, high, posts, places, new, term, ahead, along,
):  # fmt: skip
    """The end of an epoch: all targets from the values before, then written."""
    n_in, stored = tx.size, target.size > 0
    n_post = fired(ty, posts)
    by_x0, by_y0, by_u = gates(ops, now, epoch)
    by_y0 = by_y0 and n_post > 0
    parts(ahead, ops, numbers, limits, (0, 2), X0, tx, hx, now, epoch)
    parts(along, ops, numbers, limits, (2, 5), Y0, ty, hy, now, epoch)
    if plain and not stored:
        outer_float(
            now,
            epoch,
            synapses,
            start,
            tx,
            ty,
            ops,
            low,
            high,
            posts,
            n_post,
            by_x0,
            by_u,
            ahead,
            along,
        )
        return
    for r in range(n_in + (n_post if stored and by_y0 else 0)):
        count = listed(
            r, by_x0, by_y0, by_u, start, target, back, upper, first, tx, ty, posts, n_post,
            places[0], places[1], places[2],
        )  # fmt: skip
        if count == 0:
            continue
        on_w, on_d, on_t = False, False, False
        for q in range(count):
            new[0, q] = synapses[places[0, q]]
        for q in range(count if tags_d.size > 0 else 0):
            new[1, q] = tags_d[places[0, q]]
        for q in range(count if tags_t.size > 0 else 0):
            new[2, q] = tags_t[places[0, q]]
        for p in range(ops.shape[0]):
            on_w |= ops[p, 0] == 0
            on_d |= ops[p, 0] == 1
            on_t |= ops[p, 0] == 2
            if ops[p, 1] == U and not fires(ops[p, 2], now, epoch):
                continue
            terms(
                p, count, places[1], places[2], places[0], ops, numbers, limits, ahead, along, tx, ty,
                epoch, synapses, tags_d, tags_t, term,
            )  # fmt: skip
            for q in range(count):
                new[ops[p, 0], q] += term[q]
        for q in range(count):
            e = places[0, q]
            if on_w:
                synapses[e] = min(max(new[0, q], low), high)
            if on_d:
                tags_d[e] = max(new[1, q], new.dtype.type(0))
            if on_t:
                tags_t[e] = new[2, q]


# -- fixed point -----------------------------------------------------------------------------------


@nested
def saturated(value):
    return LOWEST if value < LOWEST else HIGHEST if value > HIGHEST else np.int32(value)


@nested
def more(total, c, part, left, right):
    """An accumulator and a product, in 32 bits."""
    term = np.int32(np.int32(np.int32(c * part) >> right) << left)
    return saturated(np.int32(total + saturated(term)))


@nested
def rounded(total, threshold, low, high):
    """An accumulator as a variable: up where what is left is above the draw in 1/128; a sign is
    kept before that, as is a weight's range."""
    least, most = np.int32(low << FRACTION), np.int32(high << FRACTION)
    total = least if total < least else most if total > most else total
    value = np.int32(np.int32(total >> FRACTION) + (threshold < (total & (ONE - 1))))
    return low if value < low else high if value > high else value


@nested
def outer_fixed(
    now, epoch, synapses, start, tx, ty, ops, numbers, threshold, low, high, posts, n_post, by_x0, by_u,
    ahead, along, total,
):  # fmt: skip
    """A matrix by a plain rule, input after input, as an accumulator is rounded after all
    products."""
    n_in, n_out, products, by_y0, last = tx.size, ty.size, ops.shape[0], 0, 0
    for p in range(products):
        if ops[p, 1] == Y0:
            by_y0 += 1
            last = p
    for r in range(n_in):
        row = synapses[start[r] : start[r + 1]]
        if not ((by_x0 and tx[r] > 0) or by_u):
            if by_y0 == 1 and epoch == 1:  # mostly the trace has gone
                c, left, right = ahead[last, 0, r], numbers[last, 1], numbers[last, 2]
                for q in range(n_post if c != 0 else 0):
                    j = np.uint32(posts[q])
                    value = np.int32(row[j] << FRACTION)
                    value = more(value, c, along[last, 0, j], left, right)
                    row[j] = rounded(value, threshold, low, high)
                continue
            for q in range(n_post if by_y0 > 0 else 0):
                j = np.uint32(posts[q])
                n = np.int64(ty[j]) - 1
                value = np.int32(row[j] << FRACTION)
                for p in range(products):
                    if ops[p, 1] == Y0:
                        c, part = ahead[p, n, r], along[p, n, j]
                        value = more(value, c, part, numbers[p, 1], numbers[p, 2])
                row[j] = rounded(value, threshold, low, high)
            continue
        for j in range(n_out):
            total[j] = np.int32(row[j] << FRACTION)
        for p in range(products):
            gate, left, right = ops[p, 1], numbers[p, 1], numbers[p, 2]
            n = np.int64(tx[r] if gate == X0 else epoch) - 1
            if n < 0 or (gate == U and not fires(ops[p, 2], now, epoch)):
                continue
            if gate == Y0:
                for q in range(n_post):
                    j = np.uint32(posts[q])
                    n = np.int64(ty[j]) - 1
                    total[j] = more(total[j], ahead[p, n, r], along[p, n, j], left, right)
                continue
            c, others = ahead[p, n, r], along[p, n]
            for j in range(n_out if c != 0 else 0):
                total[j] = more(total[j], c, others[j], left, right)
        for j in range(n_out):
            row[j] = rounded(total[j], threshold, low, high)


@jit
def learn_fixed(
    now, epoch, synapses, tags_d, tags_t, start, target, back, upper, first, tx, ty, hx, hy, ops, numbers,
    limits, plain, low, high, posts, places, new, term, ahead, along, total, draw,
):  # fmt: skip
    """The same in fixed point: accumulators have FRACTION bits more, and one draw rounds all of
    them."""
    n_in, stored = tx.size, target.size > 0
    n_post = fired(ty, posts)
    by_x0, by_y0, by_u = gates(ops, now, epoch)
    by_y0 = by_y0 and n_post > 0
    threshold, least, most = np.int32(draw * ONE), np.int32(low), np.int32(high)
    parts(ahead, ops, numbers, limits, (0, 2), X0, tx, hx, now, epoch)
    parts(along, ops, numbers, limits, (2, 5), Y0, ty, hy, now, epoch)
    if plain and not stored:
        outer_fixed(
            now, epoch, synapses, start, tx, ty, ops, numbers, threshold, least, most, posts, n_post, by_x0,
            by_u, ahead, along, total,
        )  # fmt: skip
        return
    for r in range(n_in + (n_post if stored and by_y0 else 0)):
        count = listed(
            r, by_x0, by_y0, by_u, start, target, back, upper, first, tx, ty, posts, n_post,
            places[0], places[1], places[2],
        )  # fmt: skip
        if count == 0:
            continue
        on_w, on_d, on_t = False, False, False
        for q in range(count):
            new[0, q] = np.int64(synapses[places[0, q]]) << FRACTION
        for q in range(count if tags_d.size > 0 else 0):
            new[1, q] = np.int64(tags_d[places[0, q]]) << FRACTION
        for q in range(count if tags_t.size > 0 else 0):
            new[2, q] = np.int64(tags_t[places[0, q]]) << FRACTION
        for p in range(ops.shape[0]):
            on_w |= ops[p, 0] == 0
            on_d |= ops[p, 0] == 1
            on_t |= ops[p, 0] == 2
            if ops[p, 1] == U and not fires(ops[p, 2], now, epoch):
                continue
            terms(
                p, count, places[1], places[2], places[0], ops, numbers, limits, ahead, along, tx, ty,
                epoch, synapses, tags_d, tags_t, term,
            )  # fmt: skip
            into, left, right = new[ops[p, 0]], numbers[p, 1], numbers[p, 2]
            for q in range(count):
                into[q] = saturated(into[q] + saturated((term[q] >> right) << left))
        for q in range(count):
            e = places[0, q]
            if on_w:
                synapses[e] = rounded(np.int32(new[0, q]), threshold, least, most)
            if on_d:
                value = max(new[1, q], LOWEST_D << FRACTION)
                tags_d[e] = settled(value, threshold, LOWEST_D, HIGHEST_D)
            if on_t:
                tags_t[e] = settled(new[2, q], threshold, LOWEST_T, HIGHEST_T)


@nested
def settled(total, threshold, low, high):
    value = (total >> FRACTION) + (1 if threshold < total & (ONE - 1) else 0)
    return min(max(value, low), high)
