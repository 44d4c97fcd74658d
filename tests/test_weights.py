"""save_weights and load_weights: strict names, shapes and dtypes, no code."""

from __future__ import annotations

import sys

import pytest
import torch

from lavalike import InputError, slayer, snn, weights

PARAMS = {"threshold": 1.0, "current_decay": 0.5, "voltage_decay": 0.1, "requires_grad": True}


def trained():
    """A slayer network with a norm, and an snn one; forward gives lazy tensors their sizes."""
    norm = {**PARAMS, "norm": slayer.neuron.norm.MeanOnlyBatchNorm}
    net = torch.nn.Sequential(
        slayer.block.cuba.Conv(norm, 2, 3, 3, weight_norm=True),
        slayer.block.cuba.Flatten(),
        slayer.block.cuba.Dense(norm, 12, 2, delay=True),
    )
    net(torch.ones(1, 2, 4, 4, 5))
    return net


@pytest.fixture(autouse=True)
def _installed():
    pytest.importorskip("safetensors")


@pytest.mark.parametrize(
    "make",
    [trained, lambda: torch.nn.Sequential(torch.nn.Linear(3, 2), snn.Leaky(0.9, learn_beta=True))],
)
def test_weights_both_ways(tmp_path, make):
    torch.manual_seed(0)
    net, other = make(), make()
    weights.save_weights(tmp_path / "w.safetensors", net)
    weights.load_weights(tmp_path / "w.safetensors", other)
    one, two = net.state_dict(), other.state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_tied_weights_and_views_are_written(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    net[1].weight = net[0].weight
    net[0].bias = torch.nn.Parameter(torch.arange(6.0)[::2])
    weights.save_weights(tmp_path / "w", net)
    again = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    weights.load_weights(tmp_path / "w", again)
    assert again[0].bias.tolist() == [0, 2, 4]
    assert torch.equal(again[0].weight, again[1].weight)


def test_what_does_not_fit_is_told_and_nothing_is_changed(tmp_path):
    path = tmp_path / "w.safetensors"
    weights.save_weights(path, torch.nn.Sequential(torch.nn.Linear(3, 2)))
    for module, problem in (
        (
            torch.nn.Linear(3, 2),
            "its names are not those of Linear: 2 are missing: bias, weight; 2 are too many: 0.bias, 0.weight",
        ),
        (torch.nn.Sequential(torch.nn.Linear(3, 2, bias=False)), "1 are too many: 0.bias"),
        (
            torch.nn.Sequential(torch.nn.Linear(4, 2)),
            r"0.weight has shape \(2, 3\), the module's \(2, 4\)",
        ),
        (
            torch.nn.Sequential(torch.nn.Linear(3, 2)).double(),
            r"0.\w+ is torch.float32, the module's torch.float64",
        ),
    ):
        before = {k: v.clone() for k, v in module.state_dict().items()}
        with pytest.raises(InputError, match=problem) as e:
            weights.load_weights(path, module)
        assert "\n" not in str(e.value)
        assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    for content in (b"", b"hello", path.read_bytes()[:-3]):
        (tmp_path / "damaged").write_bytes(content)
        with pytest.raises(InputError, match="no safetensors file, or damaged"):
            weights.load_weights(tmp_path / "damaged", torch.nn.Linear(3, 2))
    with pytest.raises(FileNotFoundError, match="no such file"):
        weights.load_weights(tmp_path / "none", torch.nn.Linear(3, 2))


class Extra(torch.nn.Module):
    def get_extra_state(self):
        return {"a": 1}


def test_what_is_no_tensor_is_told(tmp_path):
    with pytest.raises(
        TypeError, match=r"_extra_state is a dict, and such a file holds tensors only"
    ):
        weights.save_weights(tmp_path / "w", Extra())
    assert not (tmp_path / "w").exists()


def test_without_safetensors_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lavalike\[weights\]'"):
        weights.save_weights(tmp_path / "w", torch.nn.Linear(3, 2))
