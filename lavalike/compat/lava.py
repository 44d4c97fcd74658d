"""``import lavalike.compat.lava`` once, and programs may say ``from lava...`` from then on."""

from lavalike.compat.finder import install

install()
