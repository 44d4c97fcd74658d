"""Compiled graphs: what was chosen, said and kept. ``compile``, ``Compiled.save`` and ``load``,
``explain``."""

from lavalike.compiled.graph import Compiled as Compiled, compile as compile
from lavalike.compiled.resuming import resume as resume
