"""Blocks: one layer each. Families: cuba, lif, alif, rf, rf_iz, adrf, adrf_iz,
sigma_delta, soft_lif; and ``family(dynamics)`` of a neuron of one's own."""

from typing import TYPE_CHECKING

from lavalike.slayer.block import base as base, coding as coding, families as families
from lavalike.slayer.block.base import Block as Block
from lavalike.slayer.block.families import family as family

if TYPE_CHECKING:  # what the families' blocks are to an editor
    cuba = lif = soft_lif = alif = rf = rf_iz = adrf = adrf_iz = base
    sigma_delta = coding
else:
    globals().update(families.MODULES)
