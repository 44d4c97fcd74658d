"""Dendrites: sigma decoding."""

from lavalike.slayer.dendrite.sigma import Sigma as Sigma
