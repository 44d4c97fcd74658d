"""Networks of other programs through NIR, both ways.

    python -m benchmarks.nir_peers --python PYTHON [--peers norse,snntorch,spikingjelly,sinabs]

PYTHON is an interpreter that has the peers: one for all but sinabs, which wants nir <= 1.0.4, while
snnTorch's exporter wants 1.0.5 (``pip install 'lavalike[peers]'`` and ``[peers-sinabs]``).

First each peer makes networks of its own, runs them in float64 and exports them with its own
exporter; lavalike reads the file under the peer's convention, and the outputs that differ are
counted, of 10,000. What a peer's exporter leaves out (snnTorch's reset, Norse's unit jump) differs:
those rows are marked "lossy". Then lavalike writes networks, each peer reads and runs them.

Exit status 1 where a lossless row differs, or a peer that is there fails on one.
"""

from __future__ import annotations

import argparse
import inspect
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

STEPS, INPUTS, NEURONS = 200, 20, 50
PEERS = ("norse", "snntorch", "spikingjelly", "sinabs")
# (peer, network): how lavalike reads it, and whether nothing is lost
READ: dict[tuple[str, str], tuple[dict[str, Any], bool]] = {
    ("norse", "LIFBoxCell"): ({"dt": 1e-3, "convention": "norse-exported"}, True),
    ("norse", "LIBoxCell"): ({"dt": 1e-3, "convention": "norse-exported"}, True),
    ("norse", "IAFCell"): ({"dt": 1e-3, "convention": "norse-exported"}, True),
    ("norse", "LIFCell"): ({"dt": 1e-3, "convention": "norse-exported"}, True),
    ("snntorch", "Leaky, zero, no delay"): ({"convention": "snntorch"}, True),
    ("snntorch", "Synaptic, zero, no delay"): ({"convention": "snntorch"}, True),
    ("snntorch", "Leaky, defaults"): ({"convention": "snntorch"}, False),
    ("spikingjelly", "IFNode"): ({"dt": 1e-4, "convention": "spikingjelly"}, True),
    ("spikingjelly", "LIFNode"): ({"dt": 1e-4, "convention": "spikingjelly"}, True),
    ("spikingjelly", "LIFNode, input not decayed"): (
        {"dt": 1e-4, "convention": "spikingjelly"},
        True,
    ),
    ("spikingjelly", "CUBALIFNode"): ({"dt": 1e-4, "convention": "spikingjelly"}, True),
    ("sinabs", "IAF"): ({"convention": "sinabs"}, True),
    ("sinabs", "LIF"): ({"convention": "sinabs"}, True),
    ("sinabs", "ExpLeak"): ({"convention": "sinabs"}, True),
}
# what lavalike writes, and who has all of it (nir.md, section 4)
WRITTEN = {"LIF": ("snntorch", "spikingjelly"), "CubaLIF": ("norse", "snntorch", "spikingjelly")}


# -- in the peers' interpreter, without lavalike ---------------------------------------------------


def native(peer: str) -> dict[str, Callable[[], Any]]:
    """Networks of a peer's own by name: each gives the module, its class of file and how it is
    stepped."""
    if peer == "norse":
        import norse.torch as norse
        import torch

        def box(kind: Any, parameters: Any) -> Callable[[], Any]:
            return lambda: kind(parameters)

        half = torch.full((NEURONS,), 0.5, dtype=torch.float64)
        rate = torch.full((NEURONS,), 100.0, dtype=torch.float64)
        zero = 0 * half
        lif_box = norse.LIFBoxParameters(tau_mem_inv=rate, v_th=0.2 * half, v_leak=zero)
        li_box = norse.LIBoxParameters(tau_mem_inv=rate, v_leak=zero)
        lif = norse.LIFParameters(
            tau_mem_inv=rate, tau_syn_inv=2 * rate, v_th=half, v_leak=zero, v_reset=zero
        )
        iaf = norse.IAFParameters(v_th=6 * half)
        return {
            "LIFBoxCell": box(norse.LIFBoxCell, lif_box),
            "LIBoxCell": box(norse.LIBoxCell, li_box),
            "IAFCell": box(norse.IAFCell, iaf),
            "LIFCell": box(norse.LIFCell, lif),
        }
    if peer == "snntorch":
        import snntorch
        import torch

        beta = torch.linspace(0.7, 0.95, NEURONS)
        now = {"init_hidden": True, "threshold": torch.full((NEURONS,), 1.1)}
        zero = {**now, "reset_mechanism": "zero", "reset_delay": False}
        return {
            "Leaky, zero, no delay": lambda: snntorch.Leaky(beta=beta, **zero),
            "Synaptic, zero, no delay": lambda: snntorch.Synaptic(
                alpha=0.7 * beta, beta=beta, **{**zero, "threshold": torch.full((NEURONS,), 2.1)}
            ),
            "Leaky, defaults": lambda: snntorch.Leaky(beta=beta, **now),
        }
    if peer == "spikingjelly":
        from spikingjelly.activation_based import neuron

        return {
            "IFNode": lambda: neuron.IFNode(v_threshold=1.7, v_reset=0.1),
            "LIFNode": lambda: neuron.LIFNode(tau=2.3, v_threshold=0.4, v_reset=0.0),
            "LIFNode, input not decayed": lambda: neuron.LIFNode(
                tau=7.0, decay_input=False, v_threshold=1.3, v_reset=0.0
            ),
            "CUBALIFNode": lambda: neuron.CUBALIFNode(
                c_decay=0.6, v_decay=0.8, v_threshold=1.9, v_reset=0.0
            ),
        }
    import sinabs.layers as layers
    import torch

    tau = torch.linspace(4.0, 20.0, NEURONS)
    return {
        "IAF": lambda: layers.IAF(spike_threshold=torch.full((NEURONS,), 2.0)),
        "LIF": lambda: layers.LIF(
            tau_mem=tau, spike_threshold=torch.full((NEURONS,), 1.5), norm_input=False
        ),
        "ExpLeak": lambda: layers.ExpLeak(tau_mem=tau, norm_input=False),
    }


def exported(peer: str, name: str, folder: Path) -> None:
    """Make, run and export one network: ``PEER NAME.nir``, its input and its output."""
    import nir
    import torch

    torch.manual_seed(0)
    linear = torch.nn.Linear(INPUTS, NEURONS, bias=False)
    neuron = native(peer)[name]()
    x = (torch.rand(STEPS, INPUTS, dtype=torch.float64) < 0.3).double()
    path = folder / f"{name}.nir"
    if peer == "norse":
        import norse.torch as norse
        from norse.torch.utils.export_nir import to_nir

        linear.weight.data *= 4
        net = norse.SequentialState(linear, neuron).double()
        state, out = None, []
        for step in x:
            y, state = net(step[None], state)
            out.append(y[0])
        graph = to_nir(net, x[:1], dt=1e-3)
        outputs = torch.stack(out)
    elif peer == "snntorch":
        from snntorch.export_nir import export_to_nir

        if "v_reset" not in inspect.signature(nir.LIF).parameters:
            raise ImportError(f"snnTorch's exporter wants nir>=1.0.5, and {version('nir')} is here")
        net = torch.nn.Sequential(linear, neuron).double()
        outputs = torch.stack([net(step[None])[0] for step in x])
        graph = export_to_nir(
            torch.nn.Sequential(linear, native(peer)[name]()).double(), x[:1], ignore_dims=[0]
        )
    elif peer == "spikingjelly":
        from spikingjelly.activation_based import functional, nir_exchange

        net = torch.nn.Sequential(linear, neuron).double()
        outputs = torch.stack([net(step[None])[0] for step in x])
        functional.reset_net(net)
        graph = nir_exchange.export_to_nir(net, x[:1], dt=1e-4)
    else:
        import sinabs.nir

        net = torch.nn.Sequential(linear, neuron).double()
        outputs = net(x[None])[0]
        again = torch.nn.Sequential(linear, neuron).double()
        graph = sinabs.nir.to_nir(again, x[None])
    nir.write(path, graph)
    np.savez(folder / f"{name}.npz", x=x.numpy(), y=outputs.detach().numpy())


def imported(peer: str, path: Path, x: np.ndarray) -> np.ndarray:
    """The outputs of a file that lavalike wrote, as the peer computes it."""
    import nir
    import torch

    graph = nir.read(path)
    steps = torch.as_tensor(x)
    out, state = [], None
    if peer == "norse":
        from norse.torch.utils.import_nir import from_nir

        net = from_nir(graph, dt=1e-4).double()
        for step in steps:
            y, state = net(step[None], state)
            out.append(y[0])
    elif peer == "snntorch":
        from snntorch.import_nir import import_from_nir

        net = import_from_nir(graph).double()
        for step in steps:
            y, state = net(step[None], state)
            out.append((y[0] if isinstance(y, tuple) else y)[0])
    else:
        from spikingjelly.activation_based import nir_exchange

        net = nir_exchange.import_from_nir(graph, dt=1e-4).double()
        for step in steps:
            y, state = net(step[None], state)
            out.append(y[0])
    return torch.stack(out).detach().numpy()


def peers_side(peer: str, folder: Path) -> None:
    """All of a peer, into ``folder``; what failed, too."""
    told: dict[str, str] = {}

    def attempt(name: str, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as e:
            told[name] = f"{type(e).__name__}: {' '.join(str(e).split())[:100]}"

    for name in [n for p, n in READ if p == peer]:
        attempt(name, lambda name=name: exported(peer, name, folder))
    for kind, readers in WRITTEN.items():
        if peer not in readers:
            continue
        data = np.load(folder / f"ours {kind}.npz")

        def read(kind: str = kind, x: np.ndarray = data["x"]) -> None:
            np.save(folder / f"theirs {kind}.npy", imported(peer, folder / f"ours {kind}.nir", x))

        attempt(f"ours {kind}", read)
    (folder / "told.json").write_text(json.dumps(told))


# -- here ------------------------------------------------------------------------------------------


def ours(folder: Path) -> None:
    """Networks of lavalike's as files, with their inputs and outputs."""
    import lavalike as lv
    from lavalike import proc
    from netx.nir import to_nir

    g = np.random.default_rng(0)
    x = (g.random((STEPS, INPUTS)) < 0.3) * 1.0
    for kind, du in (("LIF", 1.0), ("CubaLIF", 0.25)):
        dense = proc.Dense(weights=g.normal(size=(NEURONS, INPUTS)), delay=0, name="w")
        neuron = proc.LIF(shape=(NEURONS,), du=du, dv=0.0625, vth=1.5, name="neuron")
        dense.a_out.connect(neuron.a_in)
        to_nir(dense, folder / f"ours {kind}.nir", dt=1e-4)
        y = run(lv, dense, dense.s_in, neuron.s_out, x)
        np.savez(folder / f"ours {kind}.npz", x=x, y=y)


def run(lv: Any, process: Any, inp: Any, out: Any, x: np.ndarray) -> np.ndarray:
    """Outputs (time, neuron) for inputs (time, input)."""
    config = lv.RunConfig(precision="floating_pt", dtype="float64")
    found = lv.simulate(process, {inp: np.ascontiguousarray(x.T)}, record=[out], config=config)
    return np.asarray(found[out]).T


def compare(peer: str, python: str) -> list[list[str]]:
    """Rows of one peer; the last column is empty where all is well."""
    import lavalike as lv
    from netx.nir import NirWarning, from_nir

    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours(folder)
        command = [python, str(Path(__file__).resolve()), "--side", peer, "--folder", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["?"])[-1]
            return [[peer, "-", "-", "-", f"not there: {last[:80]}"]]
        told = json.loads((folder / "told.json").read_text())
        for (who, network), (how, lossless) in READ.items():
            if who != peer:
                continue
            row = [peer, network, "read"]
            if network in told:
                rows.append([*row, "-", told[network]])
                continue
            data = np.load(folder / f"{network}.npz")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NirWarning)
                try:
                    net = from_nir(folder / f"{network}.nir", **how)
                except lv.NirError as e:
                    rows.append([*row, "-", f"NirError: {e}"[-100:]])
                    continue
            y = run(lv, net, net.inp, net.out, data["x"])
            rows.append([*row, *counted(y, data["y"], lossless)])
        for kind, readers in WRITTEN.items():
            if peer not in readers:
                continue
            row = [peer, f"lavalike's {kind}", "written"]
            if f"ours {kind}" in told:
                rows.append([*row, "-", told[f"ours {kind}"]])
                continue
            theirs = np.load(folder / f"theirs {kind}.npy")
            rows.append([*row, *counted(np.load(folder / f"ours {kind}.npz")["y"], theirs, True)])
    return rows


def counted(a: np.ndarray, b: np.ndarray, lossless: bool) -> tuple[str, str]:
    """How many differ: spikes at all, values by more than float64's rounding over the steps."""
    graded = not np.isin(b, (0, 1)).all() and not np.array_equal(b, np.round(b))
    off = np.abs(a - b) > (STEPS * np.finfo(float).eps * max(1, np.abs(b).max()) if graded else 0)
    active = int((b != 0).sum())
    text = f"{int(off.sum()):,} of {off.size:,} ({active:,} are not 0)"
    fault = "no output is other than 0" if not active else ""
    if off.any():
        fault = "differs" if lossless else "lossy"
    return text, fault


def main() -> int:
    from lavalike.text import table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", action="append", help="an interpreter that has the peers")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args()
    peers = args.peers.split(",")
    rows: list[list[str]] = []
    for python in args.python or [sys.executable]:
        for peer in peers:
            rows += compare(peer, python)
    print(table(["peer", "network", "", "outputs that differ", ""], rows))
    return int(any(row[-1] not in ("", "lossy") for row in rows))


if __name__ == "__main__":
    if "--side" in sys.argv:
        peers_side(sys.argv[sys.argv.index("--side") + 1], Path(sys.argv[-1]))
        sys.exit(0)
    sys.exit(main())
