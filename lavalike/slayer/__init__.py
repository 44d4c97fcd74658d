"""Training: slayer-like blocks of CUBA and sigma-delta neurons, exported to .net files and NIR."""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as e:
    raise ModuleNotFoundError(
        "lavalike.slayer needs torch: pip install 'lavalike[torch]'", name="torch"
    ) from e

from lavalike.slayer import (
    auto as auto,
    axon as axon,
    block as block,
    classifier as classifier,
    dendrite as dendrite,
    distributed as distributed,
    io as io,
    loss as loss,
    neuron as neuron,
    spike as spike,
    synapse as synapse,
    utils as utils,
)
from lavalike.slayer.export import export_hdf5 as export_hdf5, export_nir as export_nir
from lavalike.slayer.online import Online as Online
