"""Shifting and repeating over the last axis, time."""

from lavalike.slayer.utils.time.replicate import replicate as replicate
from lavalike.slayer.utils.time.shift import shift as shift
