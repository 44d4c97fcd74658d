"""Blocks: one layer each. Families: cuba, sigma_delta."""

from lavalike.slayer.block import cuba as cuba, sigma_delta as sigma_delta
from lavalike.slayer.block.base import Block as Block
