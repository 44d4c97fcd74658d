"""A matrix cut into tiles of the array (grenade's ranges)."""

from __future__ import annotations

from dataclasses import dataclass

from lavalike.arguments import TEXT, arguments, integer
from lavalike.bss2.chip import facts

CHIPS = integer(1)


@dataclass(frozen=True)
class Tile:
    """A part of a layer's matrix on one hemisphere: input ``rows[i]`` on signed row i, output
    ``columns[j]`` on column j."""

    layer: str
    run: int
    chip: int
    hemisphere: int
    rows: range
    columns: range


@arguments(k=integer(1), n=integer(1), layer=TEXT, chips=CHIPS)
def tiles(k: int, n: int, layer: str = "", chips: int = 1) -> list[Tile]:
    """A signed (K, N) matrix as tiles of at most 128 rows and 256 columns: for each column part,
    each row part.

    Tile t lies in hemisphere t % 2 of instance t // 2; instances are dealt to the chips in turn,
    those of one round are one run.
    """
    rows = [range(i, min(i + facts.SIGNED_ROWS, k)) for i in range(0, k, facts.SIGNED_ROWS)]
    columns = [range(j, min(j + facts.COLUMNS, n)) for j in range(0, n, facts.COLUMNS)]
    out = []
    for t, (c, r) in enumerate((c, r) for c in columns for r in rows):
        instance = t // facts.HEMISPHERES
        out.append(Tile(layer, instance // chips, instance % chips, t % facts.HEMISPHERES, r, c))
    return out
