"""python -m my_project: train, export, load, run."""

import torch

import lavalike as lv
import netx
from lavalike import slayer
from my_project.network import accuracy, data, network, train


def main() -> None:
    torch.manual_seed(0)
    net = network()
    train(net)
    print(f"accuracy of the trained network: {accuracy(net):.1%}")
    slayer.export_hdf5(net, "my_project.net")
    loaded = netx.hdf5.Network("my_project.net")
    print(loaded)
    x, labels = data(256, seed=1)
    config = lv.RunConfig(precision="fixed_pt")
    rec = lv.simulate(loaded, {"inp": loaded.encode(x.numpy())}, config=config)
    counts = torch.as_tensor(loaded.decode(rec["out"])).sum(-1)
    print(f"of the graph in fixed_pt: {float((counts.argmax(-1) == labels).float().mean()):.1%}")
    print(netx.compare(net, "my_project.net"))


if __name__ == "__main__":
    main()
