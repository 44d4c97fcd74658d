"""Blocks: one layer each. Families: cuba, lif, alif, rf, rf_iz, adrf, adrf_iz, sigma_delta."""

from lavalike.slayer.block import (
    adrf as adrf,
    adrf_iz as adrf_iz,
    alif as alif,
    cuba as cuba,
    lif as lif,
    rf as rf,
    rf_iz as rf_iz,
    sigma_delta as sigma_delta,
)
from lavalike.slayer.block.base import Block as Block
