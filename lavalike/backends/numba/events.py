"""Finding the inputs that are not zero."""

from __future__ import annotations

from lavalike.backends.numba.kernels import jit


@jit
def list_events(inputs, events):
    """Write the indices of non-zero ``inputs`` to ``events``, in order; how many there are. Silence is skipped sixteen
    inputs at a time."""
    size = inputs.size
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
                    count += 1
        j += 16
    while j < size:
        if inputs[j] != 0:
            events[count] = j
            count += 1
        j += 1
    return count
