"""The CUDA kernels without a GPU: their text here, what they compute in Triton's interpreter, and
Triton's compiler.

The last two run in a process of an environment with torch and triton: this one (the extra ``test``
brings triton on Linux), or LAVALIKE_TRITON_PYTHON's.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from benchmarks import gpu
from lavalike.dynamics.lif import LIF
from lavalike.dynamics.resonator import RF
from lavalike.errors import InputError
from lavalike.fused import Training, cpu, llvm, triton
from lavalike.fused.cpu import Variant
from lavalike.fused.operators import code, engine_of
from lavalike.fused.surrogate import Atan, Exponential
from lavalike.fused.trace import Op
from tests.triton_cases import CASES, DETACHED, LEAKY

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable if triton.supported() else os.environ.get("LAVALIKE_TRITON_PYTHON", "")
needs_triton = pytest.mark.skipif(
    not PYTHON,
    reason="Triton is not installed; LAVALIKE_TRITON_PYTHON may name a Python that has it",
)
GIVEN = frozenset({"s_out"})
TWO = {
    "add",
    "sub",
    "rsub",
    "mul",
    "div",
    "maximum",
    "minimum",
    "clamp_min",
    "clamp_max",
    "pow",
    "remainder",
    "sigmoid_backward",
    "tanh_backward",
    *("gt", "ge", "lt", "le", "eq", "ne", "logical_and", "logical_or"),
}
GRID = Training(Exponential(), arithmetic="grid")
NEURONS = {
    "leaky": (LEAKY, DETACHED, {}),
    "cuba": (LIF, DETACHED, {}),
    "resonator": (RF, DETACHED, {}),
    "cuba on the grid": (LIF, GRID, {"wide": True, "scaled": True}),
}


def lines_of(mode: str, cache: Path, **environment: str) -> dict[str, dict]:
    """What ``python -m tests.triton_cases mode`` tells of each case."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "TRITON_CACHE_DIR": str(cache), "PYTHONPATH": path, **environment}
    command = [PYTHON, "-m", "tests.triton_cases", mode]
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {told.pop("case"): told for told in map(json.loads, done.stdout.splitlines())}


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    return lines_of("interpret", tmp_path_factory.mktemp("triton"), TRITON_INTERPRET="1")


@needs_triton
def test_kernels_compute_what_the_cpu_and_autograd_do(interpreted):
    # one test, so that one worker alone waits for the interpreter
    assert interpreted.keys() >= CASES.keys()
    wrong = []
    for name, case in CASES.items():
        told = interpreted[name]
        for tensor, difference in told["cpu"].items():
            # bit for bit; sums over neurons are taken in another order, in float64
            shared = tensor.startswith("gp_") and tensor[3:] not in case.per
            if not difference <= (1e-13 if shared else 0.0):
                wrong.append(f"{name}: {tensor} differs from the CPU's by {difference}")
        if (
            case.dtype == torch.bfloat16
        ):  # autograd keeps its states in bfloat16, and a spike more or less is a whole one
            continue
        wanted = (
            {
                *(f"y_{o}" for o in case.dynamics.outputs),
                *(f"r_{s}" for s in case.record),
                *(f"s_{s}" for s in case.dynamics.states),
                *(f"gx_{x}" for x in case.dynamics.inputs),
            }
            if case.steps
            else set()
        )
        assert wanted <= told["torch"].keys(), name
        for tensor, difference in told["torch"].items():
            if not difference <= (1e-12 if case.dtype == torch.float64 else 2e-6):
                wrong.append(f"{name}: {tensor} differs from autograd's by {difference}")
    assert not wrong, "\n".join(wrong)
    assert interpreted["cuba on the grid"]["spikes"] > 100
    assert interpreted["resonator"]["spikes"] > 100
    assert interpreted["cuba on the grid, overflows"]["overflows"] > 100
    assert interpreted["benchmark"]["error"] < 1e-6


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_benchmark_without_a_gpu_says_so(capsys):
    gpu.main([])
    assert capsys.readouterr().out == "no CUDA device, or no Triton: nothing is measured here\n"


@pytest.mark.skipif(
    not (torch.cuda.is_available() and triton.supported()), reason="no GPU with Triton"
)
def test_kernels_on_a_gpu(tmp_path):
    for name, told in lines_of("cuda", tmp_path, TRITON_INTERPRET="0").items():
        for tensor, difference in told.get("cpu", {}).items():
            # spikes and states bit for bit; a GPU flushes quotients below 1e-38
            assert difference <= (1e-6 if tensor[0] == "g" else 0.0), (
                f"{name}: {tensor} differs from the CPU's by {difference}"
            )


@needs_triton
def test_machine_code_neither_contracts_nor_spills(tmp_path):
    told = lines_of("compile", tmp_path, TRITON_INTERPRET="0")
    assert told.pop("sizes and addresses")["keys"] == 1, (
        "T, a width or an address would be compiled for"
    )
    assert len(told) == 2
    for name, case in told.items():
        assert case["machine"] > 0, name
        assert case["fma"] == 0, f"{name}: a contracted product rounds otherwise than the CPU"
        assert case["local"] == 0, f"{name}: registers are spilled"
    assert told["float32 backward"]["round"] > 0
    assert told["bfloat16 training"]["narrow"] > 0


@pytest.mark.parametrize("which", ["forward", "training", "backward"])
@pytest.mark.parametrize("name", NEURONS)
def test_nothing_is_compiled_anew_for_a_length_a_width_or_a_number(name, which):
    dynamics, training, kind = NEURONS[name]
    made = triton.source(code(dynamics, training), Variant("float32", given=GIVEN, **kind), which)
    assert re.findall(r"(\w+): tl\.constexpr", made.text) == ["BLOCK"]
    listed = re.search(r"do_not_specialize=(\[.*?\])", made.text)
    assert ast.literal_eval(listed[1]) == ["steps", "width", *made.names]
    arguments = next(
        f
        for f in ast.parse(made.text).body
        if isinstance(f, ast.FunctionDef) and f.name == "kernel"
    ).args
    assert [a.arg for a in arguments.args] == ["steps", "width", *made.names, "BLOCK"]
    assert not arguments.defaults


def test_numbers_of_the_surrogate_are_arguments():
    one, other = (
        triton.source(code(LEAKY, Training(Atan(a))), Variant("float32", given=GIVEN), "backward")
        for a in (2.0, 3.0)
    )
    assert one == other
    assert "surrogate_alpha" in one.names


@pytest.mark.parametrize(
    ("name", "storage", "most"),
    [
        ("leaky", "float32", 20.5),
        ("cuba", "float32", 21.0),
        ("cuba on the grid", "float32", 22.0),
        ("leaky", "bfloat16", 10.5),
        ("cuba", "bfloat16", 11.0),
        ("cuba on the grid", "bfloat16", 12.0),
    ],
)
def test_bytes_of_a_neuron_step(name, storage, most):
    """x, y, x, gy and gx once each, and a checkpoint of every state, written and read, in SEGMENT
    steps. On the grid states are float64."""
    dynamics, training, kind = NEURONS[name]
    traced, variant = code(dynamics, training), Variant(storage, given=GIVEN, **kind)
    assert triton.bytes_per_neuron_step(traced, variant) == most
    size = triton.BYTES[storage]
    for which, moved in (("training", 2), ("backward", 3)):
        whole = (
            triton.source(traced, variant, which)
            .text.split("while whole > 0:")[1]
            .split("whole -= 1")[0]
        )
        rows = [m[1] for m in re.finditer(r"tl\.(?:load|store)\((\w+) \+ \(?r\d+", whole)]
        kept = re.findall(r"tl\.(?:load|store)\((c_\w+) \+ keep", whole)
        assert len(rows) == moved * triton.SEGMENT
        assert len(kept) == len(dynamics.states)
        assert len(re.findall(r"tl\.(?:load|store)\(", whole)) == len(rows) + len(kept)
        assert (
            size * len(rows) + (8 if kind else 4) * len(kept)
            == triton.source(traced, variant, which).moved
        )


def test_gradients_that_do_not_arrive_are_not_read():
    made = triton.source(code(LIF, DETACHED), Variant("float32", given=frozenset()), "backward")
    assert not any(n.startswith("gy_") for n in made.names)


@pytest.mark.parametrize("real", ["float32", "float64"])
def test_every_word_of_the_tracer_is_printed(real):
    writer = triton._Writer(code(LEAKY, DETACHED), Variant(real), "forward", False)
    assert triton.WORDS.keys() == llvm.WORDS.keys()
    for name in llvm.WORDS:
        count = 3 if name in ("where", "clamp", "threshold_backward") else 2 if name in TWO else 1
        for args in (("a", "b", "c"), ("a", 3.0, 4.0)):
            ast.parse(
                writer.word(Op("w", name, args[:count], True), [str(a) for a in args[:count]]),
                mode="eval",
            )
    with pytest.raises(
        InputError, match=r"leaky: erfinv has no CUDA form; write the step without it"
    ):
        writer.word(Op("w", "erfinv", ("a",), True), ["a"])


def test_without_triton_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setattr(triton, "supported", lambda: False)
    made = code(LEAKY, DETACHED)
    x = torch.zeros(2, 3)
    with pytest.raises(
        InputError,
        match=r"leaky: tensors on a GPU need Triton.*pip install triton, or move the tensors to the CPU",
    ):
        triton.launch(
            made, Variant("float32"), "forward", {"x_a_in": x, "y_s_out": x.clone()}, 2, 3
        )


def test_blocks():
    assert [
        triton.blocks_of(n, Variant("float32")) for n in (1, triton.BLOCK, triton.BLOCK + 1)
    ] == [1, 1, 2]


def test_only_tensors_on_cuda_go_to_triton():
    """Triton beside torch changes nothing on the CPU, and other devices are refused by name."""
    assert engine_of(torch.device("cpu")) is cpu
    assert engine_of(torch.device("cuda")) is triton
    with pytest.raises(
        InputError,
        match=r"tensors on mps: compiled loops run on the CPU and on CUDA; .* lavalike.fused.plain_loops\(\)",
    ):
        engine_of(torch.device("mps"))
