"""Blocks that spike or answer as a fitted function: slayer's, called with a mode. Families: cuba,
lif, alif."""

from typing import TYPE_CHECKING

from lavalike.bootstrap.block import base as base, families as families

if TYPE_CHECKING:  # what the families' blocks are to an editor
    cuba = lif = alif = base
else:
    globals().update(families.MODULES)
