"""What is installed, what works, and compiling kernels ahead of time."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, entry_points, version

import lavalike
from lavalike.backends import BUILT_IN, get_backend
from lavalike.errors import LavalikeError
from lavalike.text import table

PACKAGES = ("numpy", "numba", "h5py", "torch", "matplotlib", "tqdm")


def report() -> str:
    """Versions, backends and devices as tables."""
    rows = [["lavalike", lavalike.__version__], ["python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"]]
    for name in PACKAGES:
        try:
            rows.append([name, version(name)])
        except PackageNotFoundError:
            rows.append([name, "not installed"])
    backends = []
    for name in sorted({*BUILT_IN, *(e.name for e in entry_points(group="lavalike.backends"))}):
        try:
            get_backend(name)
            backends.append([name, "ready", _devices(name)])
        except LavalikeError as e:
            backends.append([name, "not usable", str(e)])
    from lavalike.backends.numba.kernels import cache_root, fingerprint

    folder = cache_root() / fingerprint()
    kernels = len(list(folder.glob("k_*.py"))) if folder.is_dir() else 0
    return "\n\n".join([table(["package", "version"], rows), table(["backend", "state", "devices"], backends),
                        f"kernel cache: {kernels} kernels in {cache_root()}"])


def _devices(name: str) -> str:
    if name == "torch":
        import torch

        gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
        return ", ".join([f"cpu ({torch.get_num_threads()} threads)", *gpus])
    return f"cpu ({platform.processor() or platform.machine()})"


def warm() -> int:
    """Compile every kernel of the library's processes, in every arithmetic, into the cache; how many there are."""
    import numpy as np

    from lavalike import RunConfig, proc, simulate
    from lavalike.backends.numba import kernels
    from lavalike.process import AbstractProcess

    def each(parameter: float) -> list[AbstractProcess]:
        """One process of each kind; ``parameter`` is added to the second neuron's parameters."""
        two = np.array([0.0, parameter])
        lif = {"shape": (2,), "bias_mant": two}
        many = {**lif, "du": two, "dv": two}
        made: list[AbstractProcess] = []
        for kwargs in (lif, many):
            made += [proc.LIF(**kwargs), proc.LIFReset(**kwargs), proc.LIFLateBias(**kwargs), proc.TernaryLIF(**kwargs), proc.LIFRefractory(**kwargs)]
        made += [proc.Sigma(shape=(2,)), proc.Delta(shape=(2,), vth=1 + two), proc.Delta(shape=(2,), vth=1, cum_error=True),
                 proc.RF(shape=(2,), vth=1 + two), proc.RF_IZ(shape=(2,), vth=1 + two)]
        for mode in proc.ActivationMode:
            for cum in (False, True):
                made += [proc.SigmaDelta(shape=(2,), vth=v, bias=two, act_mode=mode, cum_error=cum) for v in (1, 1 + two)]
        made.append(proc.SigmaDelta(shape=(2,), vth=1, bias=two, bias_start=1))
        weight = np.array([[1, 100], [-3, 200 * parameter]])
        for weights in (weight, weight * 100 if parameter else weight):
            made += [proc.Dense(weights=weights.clip(-256, 254)), proc.Sparse(weights=weights.clip(-256, 254)),
                     proc.DelayDense(weights=weights.clip(-256, 254), delays=[[0, 1], [0, 2]])]
            made.append(proc.Conv(weight=weights.reshape(1, 2, 2, 1), input_shape=(3, 3, 1)))
        return [*made, proc.Delay(shape=(2,))]

    for config in (RunConfig(), RunConfig(dtype="float64"), RunConfig(precision="fixed_pt")):
        for process in (*each(0.0), *each(1.0)):
            if isinstance(process, proc.LIFRefractory) and config.fixed:
                continue
            source = proc.io.source.RingBuffer(data=np.ones((*process.in_ports[0].shape, 1)))
            sink = proc.io.sink.RingBuffer(shape=process.out_ports[0].shape, buffer=1)
            source.s_out.connect(process.in_ports[0])
            process.out_ports[0].connect(sink.a_in)
            simulate(process, steps=1, config=config, record=[process.out_ports[0], *(v for v in process.vars if v.role == "state")][:2])
        _transfers(config)
    return kernels._load.cache_info().currsize


def _transfers(config: lavalike.RunConfig) -> None:
    """Feeds and every way of joining ports."""
    import numpy as np

    from lavalike import proc, simulate

    a, b = proc.Delay(shape=(2,)), proc.Delay(shape=(2,))
    sums = [proc.Sigma(shape=(2,)) for _ in range(3)]
    joined = proc.Sigma(shape=(4,))
    sums[0].a_in.connect_from([a.a_out, b.a_out])
    sums[1].a_in.connect_from([a.a_out, b.a_out, a.a_out.reshape((2, 1)).transpose().reshape((2,))] if False else [a.a_out, b.a_out])
    view = proc.Sigma(shape=(2, 1))
    a.a_out.reshape((2, 1)).connect(view.a_in)
    a.a_out.concat_with(b.a_out).connect(joined.a_in)
    simulate(a, {a.s_in: np.ones((2, 1)), b.s_in: np.ones((2, 1))}, config=config)
