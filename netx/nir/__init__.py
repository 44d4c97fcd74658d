"""netx.nir: graphs of the neuromorphic interchange format (NIR), read and written.

The package ``nir`` is not needed: files are read and written here (:mod:`netx.nir.file`), and
graphs are plain data (:mod:`netx.nir.graph`).
"""

from lavalike.errors import NirError as NirError
from netx.nir.convention import CONVENTIONS as CONVENTIONS, Convention as Convention
from netx.nir.explain import (
    Explanation as Explanation,
    explain as explain,
)
from netx.nir.file import read as read, write as write
from netx.nir.graph import Graph as Graph, NirWarning as NirWarning, Node as Node
from netx.nir.lift import to_nir as to_nir
from netx.nir.network import Network as Network, from_nir as from_nir
