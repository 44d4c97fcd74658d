"""docs/extending.md, followed to the letter: a neuron in one file of one's own, a word in three
tables."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import lavalike as lv
import netx
from lavalike import fused, slayer, snn
from lavalike.backends.numba import arithmetic
from lavalike.dynamics import Dynamics, dynamics as declarations
from lavalike.dynamics.ops import leak
from lavalike.errors import ExportError, InputError, VarError
from lavalike.fused import arithmetic as training, llvm, triton
from lavalike.fused.cpu import Variant
from lavalike.fused.scan import code
from lavalike.proc import neuron_process

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()


def section(title):
    """(files the page names, its code) of one page."""
    text = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    rows = [
        line.split("|")[2]
        for line in text.splitlines()
        if line.startswith("| ") and "what" not in line
    ]
    return rows, re.findall(r"```python\n(.*?)```", text, re.S)


@pytest.fixture(scope="module")
def decaying(tmp_path_factory):
    """The page's module, imported from the one file that it is."""
    folder = tmp_path_factory.mktemp("extending")
    (code,) = section("Add a neuron")[1]
    (folder / "decaying.py").write_text(code)
    sys.path.insert(0, str(folder))
    try:
        import decaying  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(folder))
    yield decaying
    del sys.modules["decaying"]


def test_a_neuron_takes_at_most_two_files():
    assert len(section("Add a neuron")[0]) <= 2


def test_the_process_follows(decaying):
    assert [*inspect.signature(decaying.Decaying).parameters] == [
        "shape",
        "v",
        "theta",
        "dv",
        "rest",
        "vth",
        "jump",
        "scale",
        "loihi_units",
        "checked",
        "name",
    ]
    assert inspect.signature(decaying.Decaying).parameters["vth"].default == 1.0
    assert "vth: threshold at rest, >= 0. Default 1." in decaying.Decaying.__doc__
    with pytest.raises(VarError, match=r"Decaying.dv: 1\.5 is outside 0\.\.1"):
        decaying.Decaying(shape=(2,), dv=1.5)
    x = np.random.default_rng(0).random((3, 12)).astype(np.float32)
    v, theta, spikes = np.zeros(3), np.zeros(3), []
    for now in x.T.astype(np.float64):
        v, theta = v * 0.9 + now, theta * 0.9
        spikes.append(v > 1 + theta)
        v, theta = np.where(spikes[-1], 0, v), theta + spikes[-1] * 0.25
    for config in (lv.RunConfig(), lv.RunConfig(backend="torch"), lv.RunConfig(debug=True)):
        got = lv.simulate(decaying.Decaying(shape=(3,)), {"a_in": x}, config=config)["s_out"]
        np.testing.assert_array_equal(got, np.stack(spikes, -1), err_msg=str(config))


def test_it_trains_and_its_file_computes_the_same(decaying, tmp_path):
    torch.manual_seed(0)
    blocks, params = slayer.block.family(decaying.DECAYING), {"arithmetic": "grid"}
    assert slayer.block.family(decaying.DECAYING) is blocks
    net = torch.nn.Sequential(
        blocks.Dense(params, 6, 8, weight_scale=3), blocks.Dense(params, 8, 4, weight_scale=3)
    )
    x = (torch.rand(1, 6, 20) < 0.4).float()
    y = net(x)
    (y - 1).square().sum().backward()
    dv = net[0].neuron.values["dv"]
    assert float(dv.grad.abs().sum()) > 0, "the decay is trained"
    with torch.no_grad():
        dv -= 0.03  # a step of training
    want = net(x)
    assert 5 < int(want.sum()) < want.numel() - 5
    slayer.export_hdf5(net, tmp_path / "own.net", input_shape=(6,))
    loaded = netx.Network(tmp_path / "own.net")
    got = lv.simulate(
        loaded,
        {"inp": x[0].numpy()},
        steps=20 + loaded.layers[-1].lag,
        config=lv.RunConfig(precision="fixed_pt"),
    )
    np.testing.assert_array_equal(got["out"][:, loaded.layers[-1].lag :], want[0].detach().numpy())
    floating = lv.simulate(loaded, {"inp": x[0].numpy()}, steps=20 + loaded.layers[-1].lag)["out"]
    assert (floating[:, loaded.layers[-1].lag :] != want[0].detach().numpy()).mean() < 0.2, (
        "the same numbers, without the rounding"
    )
    with pytest.raises(ExportError, match="trained with 'grid'"):
        slayer.export_hdf5(
            torch.nn.Sequential(blocks.Dense({}, 6, 4)), tmp_path / "no.net", input_shape=(6,)
        )


def test_it_trains_in_snntorchs_words_and_as_a_graph(decaying):
    x = torch.rand(12, 2, 3, generator=torch.Generator().manual_seed(1))
    neuron = snn.Neuron(decaying.DECAYING)
    spikes = neuron.sequence(x)[0]["s_out"]
    spikes.sum().backward()
    assert float(neuron.dv.grad) != 0
    module = lv.to_torch(decaying.Decaying(shape=(3,)))
    got = module(x.permute(1, 2, 0))
    torch.testing.assert_close(got.permute(2, 0, 1), spikes)
    assert len([*module.parameters()]) == 1, "dv"


def test_a_librarys_kind_is_not_taken(decaying):
    from dataclasses import replace

    with pytest.raises(InputError, match=r"kind 'CUBA' is the type of LIF in \.net files"):
        neuron_process(replace(decaying.DECAYING, kind="CUBA"))


# -- a word ----------------------------------------------------------------------------------------


def softsign(x):
    return x / (1 + np.abs(x))


def growth(x):
    return np.expm1(x)


def swinging(a_in, v, k):
    v = softsign(leak(v, k) + a_in)
    return v, v


def growing(a_in, v, k):
    v = growth(leak(v, k) + a_in)
    return v, v


def taught(monkeypatch, word, step, on_tensors):
    """``step`` once ``word`` is an entry of the tables that the page names for every word."""
    monkeypatch.setitem(declarations.WORDS, word, word.__name__)
    for name in ("float32", "float64"):
        monkeypatch.setitem(arithmetic.TABLES[name], word.__name__, word)
    monkeypatch.setitem(training.FUNCTIONS, word.__name__, on_tensors)
    return Dynamics(step, ("a_in",), ("v_out",), ("v",), fixed=False, graded=("v_out",))


def holds(d, word, slope):
    """Values on both backends and in loops, and the loops' gradients, are those of the
    definition."""
    x = np.linspace(-1, 1, 10, dtype=np.float32)[None]
    v, want, slopes = 0.0, [], []
    for now in x[0]:
        slopes.append(slope(0.7 * v + now))
        v = word(0.7 * v + now)
        want.append(v)
    for backend in ("numba", "torch"):
        got = lv.simulate(
            neuron_process(d)(shape=(1,), k=0.7),
            {"a_in": x},
            config=lv.RunConfig(backend=backend, dtype="float64"),
        )["v_out"]
        np.testing.assert_allclose(got[0], want, rtol=1e-6)
    given = torch.tensor(x.T, requires_grad=True)
    plan, numbers = fused.Training(snn.surrogate.atan()), {"k": torch.tensor(0.7)}
    out = fused.scan(d, plan, {"a_in": given}, numbers).outputs["v_out"]
    np.testing.assert_allclose(out[:, 0].detach(), want, rtol=1e-5)
    out.sum().backward()
    later, gradient = 0.0, []
    for s in reversed(slopes):  # of v[t], which is an output and goes on into v[t+1]
        gradient.append((1 + later) * s)
        later = gradient[-1] * 0.7
    np.testing.assert_allclose(given.grad[:, 0], gradient[::-1], rtol=1e-5)


def test_a_word_is_one_entry_of_one_table_a_backend(monkeypatch):
    assert [re.search(r"`(lavalike/.*)`", row)[1] for row in section("Add a word")[0]] == [
        "lavalike/dynamics/ops.py",
        "lavalike/backends/numba/arithmetic.py",
        "lavalike/fused/arithmetic.py",
        "lavalike/fused/llvm.py",
        "lavalike/fused/triton.py",
    ]
    d = taught(monkeypatch, softsign, swinging, lambda x: x / (1 + torch.abs(x)))
    assert d.equation == "v_out[t] = softsign(k v[t-1] + a_in[t])\nv[t] = v_out[t]"
    holds(d, softsign, lambda x: (1 + abs(x)) ** -2)


def test_an_operation_that_loops_lack_is_one_entry_of_each_printers_table(monkeypatch):
    d = taught(monkeypatch, growth, growing, torch.expm1)
    plan = fused.Training(snn.surrogate.atan())
    with pytest.raises(InputError, match=r"growing: aten.expm1.default is not supported in a step"):
        code(d, plan)
    (entries,) = section("Add a word")[1]
    cpu, cuda = (line.split("  #")[0].strip().rstrip(",") for line in entries.splitlines())
    for module, line in ((llvm, cpu), (triton, cuda)):
        (entry,) = eval(f"{{{line}}}", vars(module)).items()
        monkeypatch.setitem(module.WORDS, *entry)
    holds(d, growth, np.exp)
    for which in ("training", "backward"):
        made = triton.source(code(d, plan), Variant("float32", given=frozenset({"v_out"})), which)
        assert "exponential(v_" in made.text
        assert "- 1.0" in made.text
