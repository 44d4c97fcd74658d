"""What is installed, what works, and compiling kernels ahead of time."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import TYPE_CHECKING, Any

import lavalike
from lavalike.backends import BUILT_IN, get_backend
from lavalike.errors import LavalikeError, RunError
from lavalike.model import RunConfig
from lavalike.process import AbstractProcess, View
from lavalike.progress import tracked
from lavalike.text import table

if TYPE_CHECKING:
    from lavalike.cache import State

VARIABLES = (
    "LAVALIKE_",
    "NUMBA_",
    "OMP_",
    "MKL_",
    "KMP_",
    "TORCH",
    "ATEN_",
    "CUDA_VISIBLE",
    "TRITON_",
)
PACKAGES = ("numpy", "numba", "h5py", "greenlet", "torch", "matplotlib", "tqdm")


def report() -> str:
    """Versions, backends and devices as tables."""
    rows = [
        ["lavalike", lavalike.__version__],
        ["python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"],
    ]
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
        except Exception as e:  # what an installation, or another package's backend, fails with
            backends.append([name, "broken", f"{type(e).__name__}: {e}".splitlines()[0]])
    return "\n\n".join(
        [
            table(["package", "version"], rows),
            table(["backend", "state", "devices"], backends),
            _kernel_cache(),
        ]
    )


def bug_report() -> str:
    """:func:`report` as a block to paste into an issue, with what decides besides: the processor,
    memory, and variables of the environment that lavalike, its threads and its compilers read. The
    home folder is written ``~``."""
    asked = [f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith(VARIABLES)]
    said = "\n".join(
        [
            report(),
            "",
            f"processor: {_processor()}; {os.cpu_count()} cores",
            f"environment: {', '.join(asked) or 'nothing that matters is set'}",
        ]
    )
    home = os.path.expanduser("~")
    said = said if home in ("/", "~") else said.replace(home, "~")
    return "\n".join(
        [
            "**What I did** (the shortest program that shows it):",
            "",
            "**What I expected, and what happened** (the whole error, as text):",
            "",
            "<details><summary>lavalike doctor --report</summary>",
            "",
            "```",
            said,
            "```",
            "",
            "</details>",
        ]
    )


def _processor() -> str:
    try:
        from llvmlite import binding
    except ImportError:
        return platform.processor() or platform.machine()
    wide = [f for f in ("avx2", "avx512f", "neon", "sve") if binding.get_host_cpu_features().get(f)]
    return " ".join([binding.get_host_cpu_name(), *wide])


def _kernel_cache() -> str:
    from lavalike import cache
    from lavalike.backends.numba.kernels import fingerprint

    found = cache.state(fingerprint())
    said = [f"kernel cache: {found.kernels} kernels in {found.folder}"]
    if found.damaged:
        said.append(
            f"{found.damaged} files are damaged, open to others or foreign: compiled anew when they are needed"
        )
    if found.others:
        said.append(f"{found.others} kernels of other versions, which may be deleted")
    if found.problem:
        said.append(f"kernels are compiled in memory, for one process: {found.problem}")
    return "; ".join(said)


def _devices(name: str) -> str:
    if name == "torch":
        import torch

        gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
        return ", ".join([f"cpu ({torch.get_num_threads()} threads)", *gpus])
    if name == "bss2":
        from lavalike.bss2.hxtorch import hardware

        return f"emulated chips; hxtorch: {hardware.availability()}"
    return f"cpu ({platform.processor() or platform.machine()})"


def warm(progress: bool = False) -> int:
    """Compile every kernel of the library's processes, in every arithmetic, into the cache; how
    many there are. ``progress`` shows on stderr how many processes are done.

    Raises RunError where the cache keeps nothing.
    """
    from lavalike import cache
    from lavalike.backends.numba import kernels

    _kept(cache.state(kernels.fingerprint()))
    configs = (
        RunConfig(threads=1),
        RunConfig(dtype="float64", threads=1),
        RunConfig(precision="fixed_pt", threads=1),
    )
    todo = [(process, config) for config in configs for process in _one_of_each(config.fixed)]
    for process, config in tracked(todo, "warm", "process") if progress else todo:
        _run_between_source_and_sink(process, config)
    for config in configs:
        _run_joined_ports(config)
    _kept(cache.state(kernels.fingerprint()))
    return kernels.loaded()


def _kept(found: State) -> None:
    if found.problem:
        raise RunError(f"warm: kernels are not kept in {found.folder}: {found.problem}")


def _one_of_each(fixed: bool) -> list[AbstractProcess]:
    """Every library process with parameters of each kind its kernels are compiled for: one number
    for all neurons, some one each, all one each; weights of each width."""
    import numpy as np

    from lavalike import proc

    two = np.array([0, 1])
    made: list[AbstractProcess] = []
    parameters: tuple[dict[str, Any], ...] = (
        {},
        {"bias_mant": two},
        {"bias_mant": two, "du": two, "dv": two},
    )
    for each in parameters:
        lifs = [proc.LIF, proc.LIFReset, proc.LIFLateBias, *([] if fixed else [proc.LIFRefractory])]
        made += [kind(shape=(2,), vth=1, **each) for kind in lifs]
        made += [
            proc.LIF(shape=(2,), vth=1, checked=True, **each),
            proc.LIFLateBias(shape=(2,), vth=1, checked=True, **each),
        ]
        made += [
            kind(shape=(2,), vth=1, checked=checked, **each)
            for kind in (proc.ALIF, proc.ALIFLateBias)
            for checked in (False, True)
        ]
        made.append(proc.TernaryLIF(shape=(2,), vth_hi=1, vth_lo=-1, **each))
    made += [proc.Sigma(shape=(2,)), proc.Sigma(shape=(2,), checked=True)]
    for vth in (1, 1 + two):
        made += [
            kind(shape=(2,), vth=vth, checked=checked)
            for kind in (proc.RF, proc.RF_IZ, proc.ADRF, proc.ADRF_IZ)
            for checked in (False, True)
        ]
        made += [proc.Delta(shape=(2,), vth=vth, cum_error=cum) for cum in (False, True)]
        for bias in (0, two):
            made += [
                proc.SigmaDelta(shape=(2,), vth=vth, bias=bias, act_mode=mode, cum_error=cum)
                for mode in proc.ActivationMode
                for cum in (False, True)
            ]
            made += [
                proc.SigmaDelta(shape=(2,), vth=vth, bias=bias, checked=True),
                proc.SigmaDelta(shape=(2,), vth=vth, bias=bias, bias_start=1, checked=True),
            ]
    for weights in (np.array([[1, 100], [-3, 5]]), np.array([[1, 200], [-3, 5]])):
        made += [
            proc.Dense(weights=weights, num_weight_bits=9),
            proc.Sparse(weights=weights, num_weight_bits=9),
            proc.DelayDense(weights=weights, delays=[[0, 1], [0, 2]], num_weight_bits=9),
            *(
                kind(weight=weights.reshape(1, 2, 2, 1), input_shape=(3, 3, 1))
                for kind in (proc.Conv, proc.ConvTranspose)
            ),
        ]
    if not fixed:
        made += _of_nir()
    return [*made, proc.Delay(shape=(2,)), proc.DelayLine(shape=(2,), delays=[0, 1])]


def _of_nir() -> list[AbstractProcess]:
    """NIR's neurons, with one number for all of them and with one each."""
    import numpy as np

    from lavalike.proc import nir

    two = np.array([0.5, 1.0])
    leaky, cuba = ("keep", "gain", "drive"), ("keep_u", "gain_u", "keep", "gain", "r", "v_leak")
    made: list[AbstractProcess] = []
    for value in (0.5, two):
        for kinds, names in (((nir.LI, nir.LIF), leaky), ((nir.CubaLI, nir.CubaLIF), cuba)):
            integrator, spiking = kinds
            values: Any = dict.fromkeys(names, value)
            made.append(integrator(shape=(2,), **values))
            for lower in (False, True):
                fires: Any = {"vth": value} if lower else {"vth": value, "v_reset": value}
                made += [
                    spiking(shape=(2,), lower=lower, inclusive=inclusive, **values, **fires)
                    for inclusive in (False, True)
                ]
        made += [nir.Threshold(shape=(2,), vth=value), nir.Scale(shape=(2,), factor=value)]
    return made


def _run_between_source_and_sink(process: AbstractProcess, config: RunConfig) -> None:
    import numpy as np

    from lavalike import proc, simulate

    source = proc.io.source.RingBuffer(data=np.ones((*process.in_ports[0].shape, 1)))
    sink = proc.io.sink.RingBuffer(shape=process.out_ports[0].shape, buffer=1)
    source.s_out.connect(process.in_ports[0])
    process.out_ports[0].connect(sink.a_in)
    simulate(process, steps=1, config=config)


def _run_joined_ports(config: RunConfig) -> None:
    """Feeds, and every way of joining ports."""
    import numpy as np

    from lavalike import proc, simulate

    a, b, c = (proc.Delay(shape=(2,)) for _ in range(3))
    two, three, joined, turned = (proc.Sigma(shape=shape) for shape in ((2,), (2,), (4,), (2,)))
    two.a_in.connect_from([a.a_out, b.a_out])
    three.a_in.connect_from([a.a_out, b.a_out, c.a_out])
    a.a_out.concat_with(b.a_out).connect(joined.a_in)
    View((a.a_out,), np.array([1, 0])).connect(turned.a_in)
    simulate(a, {p.s_in: np.ones((2, 1)) for p in (a, b, c)}, config=config)
    for start in (0, np.array([0, 1])):
        constant, delay = (
            proc.io.source.Constant(shape=(2,), value=1, start=start),
            proc.Delay(shape=(2,)),
        )
        constant.s_out.connect(delay.s_in)
        simulate(delay, steps=1, config=config)
