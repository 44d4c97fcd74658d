"""What tests/test_triton.py runs in a process of its own: Triton decides at import whether kernels
are interpreted.

    python -m tests.triton_cases interpret|cuda|compile

Prints one line of JSON for each case. Needs torch, llvmlite and triton; a GPU for "cuda" alone.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from dataclasses import dataclass
from typing import Any

import torch

from lavalike.dynamics import Dynamics
from lavalike.dynamics.delta import SIGMA_DELTA_RELU
from lavalike.dynamics.lif import LIF
from lavalike.dynamics.ops import above, carried, exp, lower, reset, sigmoid, sqrt, tanh
from lavalike.dynamics.resonator import RF
from lavalike.fused import Training, cpu, reference, triton
from lavalike.fused.cpu import Variant
from lavalike.fused.scan import STORAGE, code
from lavalike.fused.surrogate import Atan, Boxcar, Exponential, FastSigmoid, Sigmoid


def leaky(a_in, v, keep, vth):
    v = v * keep + a_in
    s = above(v, vth)
    return s, reset(s, v, 0)


def odd(a_in, w, z, rate, vth):
    """Words that the library's own neurons use rarely; a state that becomes another's old value."""
    drive = exp(w * 0.1) + tanh(a_in) * sigmoid(z) / (2 + sqrt(a_in * a_in + 0.25))
    new = w * rate + drive**2 - z / 3
    s = above(new, vth)
    return s, lower(s, new, vth), carried(w)


LEAKY = Dynamics(leaky, ("a_in",), ("s_out",), ("v",))
ODD = Dynamics(odd, ("a_in",), ("s_out",), ("w", "z"))
GRID = {"keep_u": 3072.0, "keep_v": 3900.0, "gain": 1.0, "bias": 16.0, "vth": 4096.0}


@dataclass
class Case:
    """A neuron, how it is trained, and on what: ``steps`` by ``width`` values of ``dtype``."""

    dynamics: Dynamics
    training: Training
    parameters: dict[str, float]
    steps: int = 25
    width: int = 40
    dtype: torch.dtype = torch.float32
    per: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()
    record: tuple[str, ...] = ()
    shift: bool = False
    size: float = 0.4


DETACHED = Training(Atan(), "detach")
LEAK = {"keep": 0.9, "vth": 1.0}
CASES = {
    **{
        f"leaky, {steps} steps": Case(LEAKY, DETACHED, LEAK, steps, trained=("keep",))
        for steps in (1, 7, 8, 9, 16, 17, 25, 32)
    },
    **{
        f"leaky, {width} wide": Case(LEAKY, DETACHED, LEAK, 9, width, trained=("keep", "vth"))
        for width in (1, 127, 128, 300)
    },
    "leaky, no steps": Case(LEAKY, DETACHED, LEAK, 0, 5, trained=("keep",)),
    "leaky, full reset": Case(LEAKY, Training(FastSigmoid(4.0), "full"), LEAK, trained=("vth",)),
    "leaky, per neuron": Case(
        LEAKY, DETACHED, LEAK, width=150, per=("keep", "vth"), trained=("keep", "vth")
    ),
    "leaky, recorded": Case(LEAKY, DETACHED, LEAK, width=150, record=("v",), trained=("keep",)),
    "leaky, bfloat16": Case(LEAKY, DETACHED, LEAK, dtype=torch.bfloat16, trained=("keep",)),
    "leaky, float64": Case(
        LEAKY, Training(Sigmoid(5.0)), LEAK, dtype=torch.float64, trained=("keep",)
    ),
    **{
        f"leaky, shifted, {steps} steps": Case(
            LEAKY, DETACHED, LEAK, steps, width, trained=("keep",), shift=True
        )
        for steps, width in ((1, 40), (16, 40), (17, 150), (32, 40), (40, 40))
    },
    "cuba": Case(
        LIF,
        Training(Boxcar(), "detach"),
        {"keep_u": 0.7, "keep_v": 0.9, "gain": 1.0, "bias": 0.01, "vth": 1.0},
        width=150,
        per=("bias",),
        trained=("bias", "keep_u"),
    ),
    "cuba on the grid": Case(
        LIF,
        Training(Exponential(), arithmetic="grid"),
        GRID,
        width=150,
        trained=("keep_u", "keep_v"),
        record=("v",),
    ),
    "cuba on the grid, overflows": Case(
        LIF,
        Training(Exponential(), arithmetic="grid"),
        GRID | {"vth": 2.0**30},
        20,
        150,
        size=800.0,
    ),
    "cuba on the grid, shifted, bfloat16": Case(
        LIF, Training(Exponential(), arithmetic="grid"), GRID, 33, dtype=torch.bfloat16, shift=True
    ),
    "resonator": Case(
        RF,
        DETACHED,
        {"cos": 0.9, "sin": 0.35, "bits": 0.0, "gain": 1.0, "vth": 0.3},
        width=150,
        trained=("cos", "sin"),
        per=("sin",),
    ),
    "sigma-delta": Case(
        SIGMA_DELTA_RELU,
        Training(Atan(), arithmetic="messages", scale=64.0),
        {"vth": 0.2, "bias": 0.05, "out_scale": 1.0},
        per=("bias",),
        trained=("vth", "bias"),
    ),
    "rare words": Case(
        ODD, DETACHED, {"rate": 0.8, "vth": 1.5}, 9, 40, trained=("rate",), record=("w",)
    ),
    "rare words, float64": Case(
        ODD, DETACHED, {"rate": 0.8, "vth": 1.5}, 9, 40, torch.float64, trained=("rate",)
    ),
}


def passes(case: Case, engine: str, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Forward and backward through "cpu" or "triton": outputs, final states, gradients, counts, by
    the kernels' names."""
    d, training = case.dynamics, case.training
    made = code(d, training)
    generator = torch.Generator().manual_seed(1)
    rows, width = case.steps, case.width
    scaled = training.arithmetic == "grid"
    variant = Variant(
        STORAGE[case.dtype],
        training.arithmetic != "float",
        scaled,
        case.record,
        frozenset(case.per),
        shift=case.shift,
    )
    back = Variant(
        variant.storage,
        variant.wide,
        scaled,
        case.record,
        variant.per_neuron,
        frozenset(case.trained),
        frozenset((*d.outputs, *case.record)),
        case.shift,
    )
    real = torch.float64 if variant.real == "float64" else torch.float32
    segment, blocks = (m := cpu if engine == "cpu" else triton).SEGMENT, m.blocks_of(width, variant)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    def call(v: Variant, which: str, values: dict[str, Any]) -> None:
        if engine == "cpu":
            cpu.launch(made, v, which, values, rows, width)
            return
        there = {k: x.to(device) if isinstance(x, torch.Tensor) else x for k, x in values.items()}
        triton.launch(made, v, which, there, rows, width)
        for k, x in values.items():
            if isinstance(x, torch.Tensor):
                x.copy_(there[k])

    shared: dict[str, Any] = {**training.numbers}
    for p in made.parameters:
        noise = 1 + 0.05 * random(width).to(real)
        shared[f"p_{p}"] = (
            (case.parameters[p] * noise).contiguous() if p in case.per else case.parameters[p]
        )
    xs = {f"x_{x}": ((random(rows, width) + 0.4) * case.size).to(case.dtype) for x in d.inputs}
    unit = training.scale if scaled else 1.0
    first = {f"s_{s}": torch.round(random(width) * 0.2 * unit * 64).to(real) / 64 for s in d.states}
    if scaled:
        first = {s: torch.trunc(v) for s, v in first.items()}
    kept = {
        f"c_{s}": torch.full((-(-rows // segment) * width,), math.nan, dtype=real) for s in d.states
    }
    outputs = {f"y_{o}": torch.full((rows, width), math.nan, dtype=case.dtype) for o in d.outputs}
    outputs |= {
        f"r_{s}": torch.full((rows, width), math.nan, dtype=case.dtype) for s in case.record
    }
    counts = {f"gp_n{j}": torch.zeros(blocks, dtype=torch.float64) for j in range(made.counted)}
    plain = {k: v.clone() for k, v in outputs.items()}
    call(
        variant, "forward", shared | xs | {k: v.clone() for k, v in first.items()} | plain | counts
    )
    final = {k: v.clone() for k, v in first.items()}
    call(variant, "training", shared | xs | final | outputs | kept | counts)
    for k, v in plain.items():
        assert torch.equal(v, outputs[k]), f"{k} of forward and training differ"
    gys = {f"gy_{o}": random(rows, width).to(case.dtype) for o in d.outputs}
    gys |= {f"gr_{s}": random(rows, width).to(case.dtype) for s in case.record}
    gs = {f"gs_{s}": random(width).to(real) for s in d.states}
    ends = {k: v.clone() for k, v in gs.items()}
    gxs = {f"gx_{x}": torch.full((rows, width), math.nan, dtype=case.dtype) for x in d.inputs}
    gps = {
        f"gp_{p}": torch.zeros(width if p in case.per else blocks, dtype=torch.float64)
        for p in case.trained
    }
    call(back, "backward", shared | xs | kept | gys | gs | gxs | gps)
    sums = {k: v if k[3:] in case.per else v.sum() for k, v in (gps | counts).items()}
    given = {"xs": xs, "first": first, "gys": gys, "ends": ends, "shared": shared}
    return {**outputs, **final, **gxs, **gs, **sums, "given": given}  # type: ignore[dict-item]


def by_autograd(case: Case, given: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The same from the plain loop."""
    d, unit = case.dynamics, case.training.scale if case.training.arithmetic == "grid" else 1.0
    wide = torch.float64 if case.training.arithmetic != "float" else case.dtype
    free = {
        k: v.clone().requires_grad_()
        for k, v in {**given["xs"], **{k: v / unit for k, v in given["first"].items()}}.items()
    }
    params = {
        p: torch.as_tensor(given["shared"][f"p_{p}"], dtype=wide).clone().requires_grad_()
        for p in d.constant_names
    }
    result = reference(
        d,
        case.training,
        {x: free[f"x_{x}"] for x in d.inputs},
        params,
        {s: free[f"s_{s}"] for s in d.states},
        case.record,
    )
    loss = sum(
        (result.states[s].to(torch.float64) * given["ends"][f"gs_{s}"] * unit).sum()
        for s in d.states
    )
    for name, g in given["gys"].items():
        y = result.outputs[name[3:]].to(torch.float64)
        late = case.shift and name.startswith("gy_")
        loss = loss + ((y[:-1] * g[1:]) if late else y * g).sum()
    loss.backward()
    grads = {f"gx_{x}": free[f"x_{x}"].grad for x in d.inputs} | {
        f"gs_{s}": free[f"s_{s}"].grad / unit for s in d.states
    }
    return {
        **{f"y_{o}": result.outputs[o] for o in d.outputs},
        **{f"r_{s}": result.outputs[s] for s in case.record},
        **{f"s_{s}": v * unit for s, v in result.states.items()},
        **{k: g for k, g in grads.items() if g is not None},
        **{f"gp_{p}": params[p].grad for p in case.trained if params[p].grad is not None},
    }


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference, relative to the largest value."""
    if not a.numel():
        return 0.0
    a, b = a.detach().to(torch.float64), b.detach().to(torch.float64)
    return float((a - b).abs().max() / max(1.0, float(b.abs().max())))


def run(device: str) -> None:
    from benchmarks.gpu import check

    for name, case in CASES.items():
        ours = passes(case, "triton", device)
        given = ours.pop("given")
        cpus = passes(case, "cpu") if case.steps else ours
        torchs = by_autograd(case, given)
        print(
            json.dumps(
                {
                    "case": name,
                    "names": sorted(ours),
                    "spikes": float(
                        sum(
                            ours[f"y_{o}"].to(torch.float64).abs().sum()
                            for o in case.dynamics.outputs
                        )
                    ),
                    "overflows": float(sum(v for k, v in ours.items() if k.startswith("gp_n"))),
                    "cpu": {k: apart(v, cpus[k]) for k, v in ours.items()},
                    "torch": {k: apart(ours[k], v) for k, v in torchs.items()},
                }
            ),
            flush=True,
        )
    print(
        json.dumps({"case": "benchmark", "error": check(torch.device(device), 40, 300)}), flush=True
    )


def compile_() -> None:
    """Machine code for an H100 or H200, made without one; and by what Triton tells calls apart that
    it compiles for."""
    import triton as compiler
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, make_backend
    from triton.runtime.jit import create_function_from_signature

    target = GPUTarget("cuda", 90, 32)

    kinds = {"float32": "*fp32", "float64": "*fp64", "bfloat16": "*bf16"}
    counted = {
        "fma": r"\bfma\.",
        "local": r"(ld|st)\.local",
        "narrow": r"cvt\.rn\.bf16",
        "round": r"div\.rn",
    }
    for storage, which in (("float32", "backward"), ("bfloat16", "training")):
        variant = Variant(storage, given=frozenset({"s_out"}), trained=frozenset({"keep"}))
        source = triton.source(code(LEAKY, DETACHED), variant, which)
        pointers = {n: kinds[triton.storage(variant, n)] for n in source.names}
        signature = {"steps": "i64", "width": "i64", **pointers, "BLOCK": "constexpr"}
        kernel = compiler.compile(
            ASTSource(triton.function(source, "leaky"), signature, {"BLOCK": triton.BLOCK}),
            target=target,
            options=triton.OPTIONS,
        )
        found = {k: len(re.findall(p, kernel.asm["ptx"])) for k, p in counted.items()}
        print(
            json.dumps(
                {"case": f"{storage} {which}", **found, "machine": len(kernel.asm["cubin"])}
            ),
            flush=True,
        )
    function, x = triton.function(source, "leaky"), torch.zeros(64)
    bind = create_function_from_signature(function.signature, function.params, make_backend(target))
    keys = {
        str(bind(steps, width, *[at] * len(source.names), BLOCK=triton.BLOCK, **triton.OPTIONS)[1:])
        for steps, width in ((1, 1), (16, 32), (25, 1000), (2**33, 7))
        for at in (x, x[1:])
    }
    print(json.dumps({"case": "sizes and addresses", "keys": len(keys)}), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "compile":
        compile_()
    else:
        assert (sys.argv[1] == "interpret") == (os.environ.get("TRITON_INTERPRET") == "1")
        run("cuda" if sys.argv[1] == "cuda" else "cpu")
