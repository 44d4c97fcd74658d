"""Finding the inputs that are not zero."""

from __future__ import annotations

from lavalike.backends.numba.kernels import jit


@jit
def list_events(inputs, events, odd):
    """Write the indices of non-zero ``inputs`` to ``events``, in order; how many there are. ``odd[0]`` is 1 once one of them was
    not 1. Silence is skipped sixteen inputs at a time."""
    size = inputs.size
    other = 0
    count = 0
    j = 0
    while j + 16 <= size:
        hits = 0
        for q in range(16):
            hits += inputs[j + q] != 0
        if hits:
            for q in range(16):
                if inputs[j + q] != 0:
                    events[count] = j + q
                    other |= inputs[j + q] != 1
                    count += 1
        j += 16
    while j < size:
        if inputs[j] != 0:
            events[count] = j
            other |= inputs[j] != 1
            count += 1
        j += 1
    if other:
        odd[0] = 1
    return count
