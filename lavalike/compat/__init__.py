"""Programs written for Lava, unmodified: names of ``lava...`` answered by lavalike.

``python -m lavalike.compat script.py`` runs one; ``import lavalike.compat.lava`` before its first
import does the same within a program. What each name is stands in :mod:`lavalike.compat.table`;
nothing outside of this package knows of Lava's names. docs/from_lava.md: what differs.
"""

from lavalike.compat.finder import install as install, uninstall as uninstall
