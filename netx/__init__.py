"""netx: .net files (HDF5) and graphs of NIR as process graphs."""

from lavalike.errors import NetFileError as NetFileError
from netx import blocks as blocks, hdf5 as hdf5, nir as nir
from netx.comparison import Comparison as Comparison, compare as compare
from netx.hdf5 import Network as Network
from netx.reader import NetFileWarning as NetFileWarning
from netx.signing import sign as sign
