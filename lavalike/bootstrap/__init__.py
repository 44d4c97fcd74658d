"""Bootstrap: spiking networks of rates trained by a network of activations that is fitted to them
(reference: lava-dl 0.6, bootstrap).

A block is sampled as it spikes, its answer to a constant drive becomes a piecewise linear function,
and gradients are those of the network of these functions, which needs one step where the spiking
one needs many:

    scheduler = bootstrap.Scheduler(num_sample_iter=10, sample_period=10)
    for epoch in range(100):
        for k, (x, label) in enumerate(loader):
            mode = scheduler.mode(epoch, k, net.training)
            loss = functional.cross_entropy(net(x, mode), label)

    def forward(self, x, mode):                                  # of net
        x = x[..., None] if mode.rates else slayer.utils.time.replicate(x, 16)
        for block, m in zip(self.blocks, mode):
            x = block(x, mode=m)
        return x.mean(-1)

``python -m benchmarks.bootstrap_mnist`` is the whole of it on MNIST.
"""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as e:
    raise ModuleNotFoundError(
        "lavalike.bootstrap needs torch: pip install 'lavalike[torch]'", name="torch"
    ) from e

from lavalike.bootstrap import ann_sampler as ann_sampler, block as block, routine as routine
from lavalike.bootstrap.ann_sampler import AnnSampler as AnnSampler
from lavalike.bootstrap.routine import (
    LayerMode as LayerMode,
    Mode as Mode,
    Scheduler as Scheduler,
)
