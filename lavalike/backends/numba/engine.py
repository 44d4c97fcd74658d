"""The loop that walks a program: for every step, every row of a table of kernels.

A row is (kernel address, argument block address, bytes between blocks, number of blocks): kernels
that do not know the batch are called once a sample, with blocks whose state addresses lie one
sample further.
"""

from __future__ import annotations

from lavalike.backends.numba.address import call_kernel

ROW = 4


def run(table, rows, first, steps, where):
    """Steps ``first .. first + steps - 1``; on a non-zero status stop and say where: row, step,
    block.

    ``where[3]`` is the last step done, whatever happens.
    """
    for t in range(first, first + steps):
        for r in range(rows):
            function = table[r * 4]
            block = table[r * 4 + 1]
            for k in range(table[r * 4 + 3]):
                status = call_kernel(function, block, t)
                if status != 0:
                    where[0] = r
                    where[1] = t
                    where[2] = k
                    return status
                block += table[r * 4 + 2]
        where[3] = t
    return 0
