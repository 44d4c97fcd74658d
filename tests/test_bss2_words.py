"""hxtorch's words: module paths, handles, parameters, functions, data, placements, measurements.
What the same words compute elsewhere is written out again here."""

from __future__ import annotations

import importlib
import logging
import math
import sys
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lavalike import bss2
from lavalike.bss2 import Chip, Noise, facts, halco, logger, snn, spiking
from lavalike.bss2.errors import HandleError, OperandError, RoutingError
from lavalike.bss2.spiking import functional as F
from lavalike.bss2.spiking.datasets.yinyang import YinYangDataset
from lavalike.bss2.spiking.neuron import Recorded
from lavalike.bss2.spiking.observables import AnalogObservable
from lavalike.bss2.spiking.transforms.encode import CoordinatesToSpikes
from lavalike.bss2.spiking.transforms.weight_transforms import linear_saturating
from lavalike.bss2.spiking.utils import calib_helper
from lavalike.bss2.spiking.utils.dynamic_range.boundary import get_dynamic_range
from lavalike.bss2.spiking.utils.dynamic_range.threshold import get_trace_scaling
from lavalike.bss2.spiking.utils.dynamic_range.weight_scaling import get_weight_scaling
from lavalike.bss2.spiking.utils.readout_source import ReadoutSource
from lavalike.datasets import yin_yang
from lavalike.errors import InputError, InputTypeError

DT = 1e-6


def drive(steps=40, batch=2, n=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    return (torch.rand((steps, batch, n), generator=g) < 0.2).float()


# -- paths -----------------------------------------------------------------------------------------

PATHS = {
    "spiking.modules.neuron": "LIF LI AELIF EventPropLIF NeuronExp ReadoutNeuronExp",
    "spiking.modules.synapse": "Synapse EventPropSynapse",
    "spiking.modules.sparse_synapse": "SparseSynapse",
    "spiking.modules.hx_module": "HXModule",
    "spiking.modules.hx_module_wrapper": "HXModuleWrapper",
    "spiking.modules.batch_dropout": "BatchDropout",
    "spiking.modules.input_neuron": "InputNeuron",
    "spiking.modules.types": "Projection Population InputPopulation",
    "spiking.execution_instance": "ExecutionInstance",
    "spiking.experiment": "Experiment",
    "spiking.handle": "Handle LIFObservables LIObservables SynapseHandle TensorHandle",
    "spiking.observables": "AnalogObservable",
    "spiking.parameter": "HXParameter MixedHXModelParameter HXTransformedModelParameter ModelParameter",
    "spiking.morphology": "SingleCompartmentNeuron",
    "spiking.datasets.yinyang": "YinYangDataset",
    "spiking.functional.lif": "exp_cuba_lif_integration",
    "spiking.functional.li": "exp_cuba_li_integration",
    "spiking.functional.aelif": "cuba_aelif_integration",
    "spiking.functional.step_integration_code_factory": "CuBaStepCode",
    "spiking.functional.eventprop": "EventPropLIFFunction EventPropSynapseFunction",
    "spiking.functional.linear": "linear linear_sparse linear_exponential_clamp",
    "spiking.functional.threshold": "threshold",
    "spiking.functional.dropout": "batch_dropout",
    "spiking.functional.spike_source": "input_neuron",
    "spiking.utils.calib_helper": "nightly_calib_path nightly_calix_native_path",
    "spiking.utils.readout_source": "ReadoutSource",
    "spiking.utils.model_mapper": "MixinHXModelMapper",
    "spiking.utils.dynamic_range.boundary": "get_dynamic_range",
    "spiking.utils.dynamic_range.threshold": "get_trace_scaling",
    "spiking.utils.dynamic_range.weight_scaling": "get_weight_scaling",
    "spiking.transforms.weight_transforms": "linear_saturating",
    "spiking.transforms.encode": "PixelsToSpikeTimes SpikeTimesToDense CoordinatesToSpikes",
    "spiking.transforms.decode": "MaxOverTime SumOverTime MeanOverTime",
    "perceptron.nn": "Linear Conv1d Conv2d ExpandedConv1d ReLU ConvertingReLU",
    "perceptron.constants": "synaptic_weight_max hardware_matrix_height defaults",
    "logger": "get LogLevel default_config",
}


@pytest.fixture
def named_hxtorch(monkeypatch):
    monkeypatch.setitem(sys.modules, "hxtorch", bss2)
    yield
    for name in [n for n in sys.modules if n.startswith("hxtorch.")]:
        del sys.modules[name]


@pytest.mark.parametrize("path", PATHS)
def test_modules_lie_where_hxtorch_has_them_and_no_class_is_made_twice(named_hxtorch, path):
    module = importlib.import_module(f"hxtorch.{path}")
    here = importlib.import_module(f"lavalike.bss2.{path}")
    older = path.replace("spiking.", "snn.").replace("perceptron.", "ann.")
    assert importlib.import_module(f"hxtorch.{older}") is module is here
    assert importlib.import_module(f"lavalike.bss2.{older}") is here
    for name in PATHS[path].split():
        thing = getattr(module, name)
        if isinstance(thing, type) and hasattr(spiking, name):
            assert thing is getattr(spiking, name)


def test_a_package_that_is_elsewhere_is_found_by_others(named_hxtorch, tmp_path, monkeypatch):
    """As a program's own hxtorch.examples."""
    with pytest.raises(ModuleNotFoundError, match=r"hxtorch\.examples"):
        importlib.import_module("hxtorch.examples.spiking")
    (tmp_path / "spiking.py").write_text("HERE = 3")
    package = type(sys)("hxtorch.examples")
    package.__path__ = [str(tmp_path)]
    monkeypatch.setitem(sys.modules, "hxtorch.examples", package)
    assert importlib.import_module("hxtorch.examples.spiking").HERE == 3


def test_the_function_run_is_callable_whatever_was_imported(named_hxtorch):
    import hxtorch
    from hxtorch.spiking.run import run

    for name in (run, hxtorch.spiking.run, spiking.run, snn.run):
        e = spiking.Experiment(mock=True)
        h = spiking.Synapse(3, 2, e)(spiking.LIFObservables(spikes=drive()))
        name(e, 40)
        assert h.graded_spikes.shape == (40, 2, 2)
    with pytest.raises(AttributeError):
        snn.__file_that_is_not_there__  # noqa: B018
    assert snn.__name__ == "lavalike.bss2.snn"


def test_constants_and_loggers(caplog):
    c = bss2.perceptron.constants
    assert (c.synaptic_weight_min, c.input_activation_max, c.output_activation_min) == (
        -63,
        31,
        -128,
    )
    assert (c.hardware_matrix_height, c.hardware_matrix_width) == (128, 256)
    assert (c.defaults.wait_between_events, c.defaults.gain, c.defaults.noise_std) == (
        5,
        0.002,
        2.0,
    )
    log = bss2.logger.get("lavalike.words")
    logger.set_loglevel(log, logger.LogLevel.INFO)
    with caplog.at_level(logging.DEBUG, "root"):
        log.DEBUG("not this")
        log.WARN("accuracy", 0.5)
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [("WARNING", "accuracy 0.5")]
    with pytest.raises(InputTypeError, match="set_loglevel: level is"):
        logger.set_loglevel(log, "INFO")
    logger.set_loglevel(log, logger.LogLevel.FATAL)


# -- handles ---------------------------------------------------------------------------------------


def test_a_handles_class_is_its_observables():
    Handle = spiking.Handle
    assert type(Handle("current", "spikes", "membrane_madc", "membrane_cadc")) is (
        spiking.LIFObservables
    )
    assert type(Handle("membrane_cadc", "current", "membrane_madc")) is spiking.LIObservables
    assert type(Handle("graded_spikes")) is spiking.SynapseHandle
    assert type(Handle("tensor")) is type(Handle(torch.ones(1))) is spiking.TensorHandle
    x, y = torch.ones(2), torch.zeros(2)
    both = Handle(spikes=x, adaptation=y)
    assert (
        type(both) is type(Handle("spikes", "adaptation")) is type(Handle("adaptation", "spikes"))
    )
    assert both.names == ("adaptation", "spikes")
    assert torch.equal(type(both)(y, x).spikes, x)  # by position: in the order of the alphabet
    assert both.holds("spikes")
    assert not both.holds("rate")
    both.spikes = None
    assert not both.holds("spikes")
    assert both == Handle(spikes=None, adaptation=torch.zeros(2))
    assert both != Handle(spikes=x, adaptation=y)
    assert both != Handle(adaptation=y)


def test_a_handle_takes_over_from_one_that_has_no_more():
    x = torch.ones(2)
    wide, narrow = spiking.Handle("spikes", "rate"), spiking.Handle(rate=x)
    wide.clone(narrow)
    assert (wide.rate is x, wide.spikes) == (True, None)
    for error in (AssertionError, InputError, HandleError):
        with pytest.raises(error, match="has no spikes to take over from Handle_rate_spikes"):
            narrow.clone(wide)
    for wrong in (("1a",), ("clone",), ("_x",)):
        with pytest.raises(InputError, match="named by words that a handle has no other use for"):
            spiking.Handle(*wrong)
    with pytest.raises(InputTypeError, match="rate is none of the observables spikes"):
        spiking.Handle("spikes", rate=x)
    with pytest.raises(InputTypeError, match="spikes is a tensor"):
        spiking.Handle(spikes=[1.0])


def test_what_an_adaptive_neuron_returns_follows_its_terms():
    e = spiking.Experiment(mock=True)
    names = {
        (f, a): set(spiking.AELIF(2, e, fire=f, subthreshold_adaptation=a,
                                  spike_triggered_adaptation=a).output_type.names)
        for f in (True, False) for a in (True, False)
    }  # fmt: skip
    base = {"membrane_cadc", "membrane_madc", "current"}
    adapted = base | {"adaptation_cadc", "adaptation_madc"}
    assert names == {
        (True, True): adapted | {"spikes"},
        (True, False): base | {"spikes"},
        (False, True): adapted,
        (False, False): base,
    }


def test_a_layer_computes_a_function_of_tensors_or_hands_on_what_it_gets():
    e = spiking.Experiment(mock=True)
    x = drive()
    double = spiking.HXModule(e, lambda x: 2 * x)
    add = spiking.HXModule(e, lambda a, b: a + b)
    h = add(double(spiking.TensorHandle(x)), spiking.TensorHandle(x))
    same = spiking.HXModule(e, None)(spiking.TensorHandle(x))
    spiking.run(e)
    assert torch.equal(h.tensor, 3 * x)
    assert torch.equal(same.tensor, x)

    class Apart(spiking.HXModule):
        def forward_func(self, *input, hw_data=None):
            return sum(h.tensor for h in input)

    h = Apart(e)(*[spiking.TensorHandle(x)] * 4)
    spiking.run(e)
    assert torch.equal(h.tensor, 4 * x)
    with pytest.raises(InputTypeError, match="HXModule: func is a function or None"):
        spiking.HXModule(e, func=3)


def test_what_waits_for_a_run_is_shown_as_a_graph():
    e = spiking.Experiment(mock=True)
    syn, lif = spiking.Synapse(3, 2, e), spiking.LIF(2, e)
    x = spiking.LIFObservables(spikes=drive())
    g = syn(x)
    z = lif(g)
    assert set(e.modules.nodes) == {syn, lif}
    graph, at = e.modules.graph, e.modules.nodes
    passes = {
        "in": [d["handle"] for *_, d in graph.in_edges(at[syn], data=True)],
        "between": [d["handle"] for *_, d in graph.in_edges(at[lif], data=True)],
        "out": [d["handle"] for *_, d in graph.out_edges(at[lif], data=True)],
    }
    assert [list(map(id, h)) for h in passes.values()] == [[id(x)], [id(g)], [id(z)]]
    spiking.run(e)
    assert not e.modules.nodes
    e.connect(spiking.HXModule(e), x, z)  # by hand, without tuples
    assert len(e.modules.nodes) == 1


def test_a_wrapper_is_asked_of_one_layer_and_of_several_and_exchanges_them():
    e = spiking.Experiment(mock=True)
    lif, rec, other = spiking.LIF(3, e), spiking.Synapse(3, 3, e), spiking.LIF(3, e)
    wrapper = spiking.HXModuleWrapper(e, rec=rec, lif=lif)
    assert wrapper.contains(lif)
    assert wrapper.contains([lif, rec])
    assert not wrapper.contains(other)
    wrapper.update(lif=other)
    assert wrapper.population is other
    assert wrapper.modules_wrapped == (rec, other)
    assert {n for n, _ in wrapper.named_children()} == {"rec", "lif"}
    for wrong, words in (({"lyf": lif}, "no layer 'lyf'.*did you mean 'lif'"), ({"lif": 3}, "int")):
        with pytest.raises(InputTypeError, match=words):
            wrapper.update(**wrong)


# -- parameters ------------------------------------------------------------------------------------


def test_parameters_are_set():
    both = spiking.HXParameter(80.0)
    both.hardware_value = 10.0
    assert (both.model_value, both.hardware_value) == (10.0, 10.0)
    mixed = spiking.MixedHXModelParameter(1.0, 80.0)
    mixed.hardware_value, mixed.model_value = torch.full((3,), 90.0), torch.zeros(3)
    assert {n for n, _ in mixed.named_buffers()} == {"model_value", "_hardware_value"}
    mixed.hardware_value, mixed.model_value = 10.0, 80.0
    assert (mixed.model_value, mixed.hardware_value) == (80.0, 10.0)
    made = spiking.HXTransformedModelParameter(1.0, transform_func=lambda x: 80 * x)
    made.model_value = 2.0
    assert (made.model_value, made.hardware_value) == (2.0, 160.0)
    model = spiking.ModelParameter(1.0)
    model.model_value = 2.0
    assert (model.model_value, model.hardware_value, model()) == (2.0, 2.0, 2.0)
    assert model.told() is None  # the chip's follows from the scales
    for p in (made, model):
        with pytest.raises(
            InputError, match="the chip's value follows from the model's; set model"
        ):
            p.hardware_value = 3.0
    assert not model.is_trainable()
    trained = model.make_trainable()
    assert trained.is_trainable()
    trained.model_value = 5.0  # and back
    assert not list(trained.parameters())


def test_the_next_run_takes_what_was_set_and_a_checkpoint_of_hxtorchs_loads():
    e = spiking.Experiment(mock=True)
    lif = spiking.LIF(3, e, leak=0.0, reset=0.0, threshold=1.0)
    x = spiking.SynapseHandle(torch.ones(30, 1, 3))
    counts = []
    for threshold in (1.0, 0.1):
        lif.threshold.model_value = threshold
        h = lif(x)
        spiking.run(e)
        counts.append(float(h.spikes.sum()))
    assert counts[1] > counts[0] > 0
    assert set(lif.params_dict()) >= {"leak", "threshold", "tau_mem", "refractory_time"}
    syn = spiking.Synapse(2, 3, e, transform=partial(linear_saturating, scale=70.0))
    syn.weight_transform.keywords["scale"] = 60.0
    assert syn.transform.keywords == {"scale": 60.0}
    syn.weight_transform = torch.nn.Identity()
    assert isinstance(syn.transform, torch.nn.Identity)
    lif.tau_mem.make_trainable()
    lif.load_state_dict({"tau_mem._model_value": torch.tensor(3e-6)})
    assert lif.tau_mem.model_value.item() == pytest.approx(3e-6)


def test_time_constants_are_told_in_hxtorchs_order():
    e = spiking.Experiment(mock=True)
    lif = spiking.LIF(1, e, 80, 80, 125, 2e-5, 5e-6)
    li = spiking.LI(1, e, 80, 2e-5, 5e-6)
    aelif = spiking.AELIF(1, e, 80, 80, 125, 2e-5, 5e-6)
    for layer in (lif, li, aelif):
        assert (layer.tau_mem.model_value, layer.tau_syn.model_value) == (2e-5, 5e-6)


# -- functions -------------------------------------------------------------------------------------


def adaptive(x, c, gl, leak, reset, th, tau_syn, slope, knee, a, b, tau_w, period, hw=None):
    """hxtorch's step, neuron by neuron and step by step."""
    v, i, w, hold = np.full(x.shape[1:], leak), *(np.zeros(x.shape[1:]) for _ in range(3))
    vs, ws, zs = [], [], []
    for t, now in enumerate(x):
        v = v + DT / c * (i + gl * (leak - v) + gl * slope * np.exp((v - knee) / slope) - w)
        i = i * (1 - DT / tau_syn) + now
        if hw is not None:
            v = hw[1][t]
        z = (v > th).astype(float) if hw is None else hw[0][t]
        w = w * (1 - DT / tau_w) + DT / tau_w * a * (v - leak) + b * z
        if hw is not None:
            w = hw[2][t]
        else:
            v = np.where(z == 1, reset, v)
            v = np.where(hold > 0, reset, v)
            z = z * (hold <= 0)
        hold = np.where(z == 1, period, np.maximum(hold - 1, 0))
        vs.append(v), ws.append(w), zs.append(z)
    return np.array(vs), np.array(ws), np.array(zs)


NUMBERS = {
    "leak": 0.0,
    "reset": -0.1,
    "threshold": 0.7,
    "tau_syn": 1e-5,
    "c_mem": 1e-5,
    "g_l": 1.0,
    "refractory_time": 3e-6,
    "exp_slope": 0.2,
    "exp_threshold": 0.3,
    "subthreshold_adaptation_strength": 1.0,
    "spike_triggered_adaptation_increment": 0.2,
    "tau_adap": 1e-4,
    "method": "superspike",
    "alpha": 50.0,
}
TERMS = dict.fromkeys(F.TERMS, True)


def test_the_adaptive_neuron_as_a_function_and_what_is_injected():
    x = drive(n=4).double() * 0.6
    step = F.CuBaStepCode(**TERMS).generate()
    assert type(step) is str
    v, madc, current, w, w_madc, z = F.cuba_aelif_integration(
        x, **NUMBERS, **TERMS, integration_step_code=step
    )
    plain = (1e-5, 1.0, 0.0, -0.1, 0.7, 1e-5, 0.2, 0.3, 1.0, 0.2, 1e-4, 3)
    want = adaptive(x.numpy(), *plain)
    for got, expected in zip((v, w, z), want, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)
    assert z.sum() > 3
    assert (madc, w_madc) == (None, None)
    assert current.shape == x.shape
    hw = (1 - z[5:35], v[:30] + 0.05, w[:30] - 0.02)
    told = spiking.Handle(
        spikes=hw[0],
        voltage=AnalogObservable(cadc=hw[1], madc=torch.ones(1)),
        adaptation=AnalogObservable(cadc=hw[2]),
    )
    step = F.CuBaStepCode(**TERMS, **dict.fromkeys(F.STEP_FLAGS[6:], True)).generate()
    grown = (x * 1.0).requires_grad_()
    v, madc, _, w, _, z = F.cuba_aelif_integration(
        grown, **NUMBERS, **TERMS, hw_data=told, integration_step_code=step
    )
    assert torch.equal(v, hw[1])
    assert torch.equal(w, hw[2])
    assert torch.equal(z, hw[0])
    assert madc is told.voltage.madc
    (v.sum() + w.sum()).backward()  # straight through to the model
    assert grown.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"integration_step_code": "v = v + dv"}, OperandError, "source text is not executed"),
        ({"fire": False}, InputError, "fire is False here and True in the step"),
        (
            {"integration_step_code": F.CuBaStepCode(**TERMS, hw_spikes_available=True).generate()},
            InputError,
            "the step has hw_spikes_available, but hw_data holds no such recording",
        ),
        ({"input": 3}, TypeError, "input is a tensor"),
        ({"c_mem": 0.0}, InputError, "c_mem is"),
    ],
)
def test_what_the_function_refuses(changed, error, words):
    given = {"input": drive(), "integration_step_code": F.CuBaStepCode(**TERMS).generate()}
    given |= NUMBERS | TERMS | changed
    with pytest.raises(error, match=words):
        F.cuba_aelif_integration(given.pop("input"), **given)


def exponential(x, keep_mem, keep_syn, leak, reset, th):
    v, i = np.full(x.shape[1:], leak), np.zeros(x.shape[1:])
    vs, zs = [], []
    for now in x:
        v = keep_mem * (v - leak) + leak + (1 - keep_mem) * i
        i = keep_syn * i + now
        z = (v > th).astype(float)
        v = np.where(z == 1, reset, v)
        vs.append(v), zs.append(z)
    return np.array(vs), np.array(zs)


def test_the_older_form_as_functions_and_as_layers():
    x = drive().double() * 4
    k, s = math.exp(-0.1), math.exp(-1 / 6)
    z, v, current, madc = F.exp_cuba_lif_integration(
        x, leak=0.1, reset=-0.1, threshold=0.7, tau_mem_exp=k, tau_syn_exp=s,
        method="superspike", alpha=50.0,
    )  # fmt: skip
    want = exponential(x.numpy(), k, s, 0.1, -0.1, 0.7)
    np.testing.assert_allclose(v, want[0], rtol=1e-12)
    np.testing.assert_array_equal(z, want[1])
    assert z.sum() > 3
    assert (current.shape, madc) == (x.shape, None)
    v += 1  # theirs may be changed in place
    membrane, _, _ = F.exp_cuba_li_integration((x, x), leak=0.1, tau_mem_exp=k, tau_syn_exp=s)
    np.testing.assert_allclose(membrane, exponential(2 * x.numpy(), k, s, 0.1, 0, 1e9)[0])

    e = spiking.Experiment(mock=True)
    keep = spiking.HXTransformedModelParameter(k, lambda k: -DT / math.log(k))
    lif = spiking.NeuronExp(3, e, leak=0.1, reset=-0.1, threshold=0.7, tau_mem=keep, tau_syn=s,
                            refractory_time=0.0)  # fmt: skip
    h = lif(spiking.SynapseHandle(x))
    spiking.run(e)
    np.testing.assert_allclose(h.membrane_cadc, want[0], rtol=1e-12)
    physics = lif.physics()  # the chip's circuits, of time constants in s
    assert (physics.tau_mem, physics.exact) == (pytest.approx(1e-5), True)
    assert lif.tau_mem.hardware_value == pytest.approx(1e-5)
    default = spiking.ReadoutNeuronExp(3, e)
    assert default.tau_syn.hardware_value == pytest.approx(1e-5)
    with pytest.raises(
        InputError, match=r"tau_mem is what a step of 1e-06 s keeps, exp\(-dt / tau"
    ):
        spiking.NeuronExp(3, e, tau_mem=1e-5)


def test_eventprop_as_functions_is_eventprop_of_the_layers():
    from lavalike.bss2.spiking.modules import EventPropLIF, EventPropSynapse

    class OwnSynapse(spiking.Synapse):
        def forward_func(self, input):
            return spiking.SynapseHandle(
                graded_spikes=F.EventPropSynapseFunction.apply(input.spikes, self.weight)
            )

    class OwnLIF(spiking.LIF):
        def forward_func(self, input, hw_data=None):
            values = (self.leak, self.reset, self.threshold, self.tau_syn, self.tau_mem)
            made = F.EventPropLIFFunction.apply(
                input.graded_spikes, *(torch.as_tensor(p.model_value) for p in values), hw_data, DT
            )
            return spiking.LIFObservables(spikes=made[0], membrane_cadc=made[1], current=made[2])

    found = []
    for synapse, lif in ((EventPropSynapse, EventPropLIF), (OwnSynapse, OwnLIF)):
        e = spiking.Experiment(mock=True)
        torch.manual_seed(0)
        syn = synapse(3, 4, e)
        torch.nn.init.uniform_(syn.weight, 0.5, 1.0)
        neurons = lif(4, e, leak=0.0, reset=0.0, threshold=0.5, tau_mem=6e-6, tau_syn=6e-6)
        h = neurons(syn(spiking.LIFObservables(spikes=drive())))
        spiking.run(e)
        (h.spikes * torch.arange(40.0).view(-1, 1, 1)).sum().backward()
        found.append((h.spikes, syn.weight.grad))
    assert found[0][0].sum() > 3
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])


def test_the_small_functions():
    x = torch.tensor([-0.5, 0.0, 0.5], requires_grad=True)
    z = F.threshold(x, "superspike", 10.0)
    z.sum().backward()
    assert z.tolist() == [0.0, 0.0, 1.0]
    torch.testing.assert_close(x.grad, torch.tensor([1 / 36, 1.0, 1 / 36]))
    w = torch.tensor([[3.0, -0.2], [0.1, -9.0]], requires_grad=True)
    one = torch.eye(2)
    torch.testing.assert_close(F.linear(one, w, torch.ones(2)), w.t() + 1)
    some = torch.tensor([[1, 0], [0, 1]])
    torch.testing.assert_close(F.linear_sparse(one, w, some), (w * some).t())
    cap, start = 1.5, 31.5  # half way
    out = F.linear_exponential_clamp(one, w, cap=cap, start_weight=start)
    bent = [0.75 + 0.75 * (1 - math.exp(-(v - 0.75) / 0.75)) for v in (3.0, 9.0)]
    torch.testing.assert_close(out.t(), torch.tensor([[bent[0], -0.2], [0.1, -bent[1]]]))
    (gradient,) = torch.autograd.grad(out.sum(), w)
    slopes = [math.exp(-(v - 0.75) / 0.75) for v in (3.0, 9.0)]
    torch.testing.assert_close(gradient, torch.tensor([[slopes[0], 1.0], [1.0, slopes[1]]]))
    steps = F.linear_exponential_clamp(one, w, cap=1.5, quantize=True) * 42
    torch.testing.assert_close(steps, steps.round())
    assert torch.equal(
        F.batch_dropout(torch.ones(2, 2), torch.tensor([1, 0])), one[:1].repeat(2, 1)
    )
    spikes = torch.zeros(4, requires_grad=True)
    seen = F.input_neuron(spikes, torch.ones(3))
    seen.sum().backward()
    assert seen.tolist() == [1.0, 1.0, 1.0]
    assert spikes.grad.tolist() == [1.0, 1.0, 1.0, 0.0]


# -- on an emulated chip ---------------------------------------------------------------------------


def net(chip, neuron=None, lif=spiking.LIF, n=4):
    e = spiking.Experiment(chip=chip)
    torch.manual_seed(0)
    syn = spiking.Synapse(3, n, e)
    torch.nn.init.uniform_(syn.weight, 0.3, 1.0)
    neurons = lif(n, e, leak=0.0, reset=0.0, threshold=1.0, **neuron or {})
    return e, neurons, lambda x: neurons(syn(spiking.LIFObservables(spikes=x)))


QUIET = Chip(noise=Noise.none())
NO_EXP = {"exponential": False, "spike_triggered_adaptation_increment": 0.1}


def test_adaptation_is_read_where_a_readout_source_asks_for_it():
    x = drive(batch=2)
    seen = {}
    for source in ReadoutSource:
        sources = dict.fromkeys(("cadc_readout_source", "madc_readout_source"), source)
        fast = {"enable_madc_recording": True, "record_neuron_id": 1}
        e, _, go = net(QUIET, NO_EXP | sources | fast, spiking.AELIF)
        h = go(x)
        assert h.adaptation_cadc is None
        spiking.run(e, 40)
        seen[source] = h
    plain, read = (seen[source] for source in ReadoutSource)
    assert plain.adaptation_madc is None
    assert plain.membrane_madc.shape == (2, 1177, 2)
    model = plain.adaptation_cadc.detach()
    assert model.abs().max() > 0.05
    assert read.membrane_cadc.shape == read.adaptation_cadc.shape == (40, 2, 4)
    # 8 bits every 1.7 us of what the circuits had, which without spreads is what the model has
    torch.testing.assert_close(read.adaptation_cadc.detach(), model, atol=0.15, rtol=0)
    assert not torch.equal(read.adaptation_cadc, model)
    assert read.membrane_madc is None
    on_grid = np.interp(np.arange(39) * DT, *read.adaptation_madc[:, :, 0].numpy())
    np.testing.assert_allclose(on_grid, model[:39, 0, 1], atol=0.15)


def test_a_fraction_of_a_step_shifts_what_the_cadc_read():
    found = {}
    for shift in (0, 1, 0.5, -0.25, 2.0):
        torch.manual_seed(1)
        e, _, go = net(
            QUIET, {"cadc_time_shift": shift, "trace_scale": 0.02, "trace_offset": -48.0}
        )
        h = go(drive())
        spiking.run(e, 40)
        found[shift] = h.membrane_cadc.detach()
    v = found[0]
    torch.testing.assert_close(found[1][:-1], v[1:])
    torch.testing.assert_close(found[1][-1], v[-1])
    torch.testing.assert_close(found[2.0][:-2], v[2:])
    torch.testing.assert_close(found[0.5][:-1], (v[1:] + v[:-1]) / 2)
    torch.testing.assert_close(found[-0.25][1:], 0.75 * v[1:] + 0.25 * v[:-1])
    torch.testing.assert_close(found[-0.25][0], v[0])
    for wrong in ("1", float("nan"), torch.tensor(1.0)):
        with pytest.raises(InputError, match="cadc_time_shift is a finite number of steps"):
            net(QUIET, {"cadc_time_shift": wrong})


def lying(e, neurons):
    return e.outcome.placement[neurons.name].circuits.tolist()


def test_neurons_lie_where_they_are_asked_to():
    asked = [300, 7, 511, 8]
    e, neurons, go = net(QUIET, {"placement_constraint": asked})
    go(drive())
    spiking.run(e, 40)
    assert lying(e, neurons) == [[k] for k in asked]
    assert e.outcome.notes == []
    # coordinates in halco's words are numbers; joined circuits follow in the row
    anchor = spiking.morphology.SingleCompartmentNeuron(2)
    coordinates = [
        halco.LogicalNeuronOnDLS(
            anchor.compartments,
            halco.AtomicNeuronOnDLS(halco.NeuronRowOnDLS(1), halco.NeuronColumnOnDLS(c)),
        )
        for c in (0, 2, 9, 254)
    ]
    e, neurons, go = net(QUIET, {"placement_constraint": coordinates, "neuron_structure": anchor})
    go(drive())
    spiking.run(e, 40)
    assert lying(e, neurons) == [[256 + c, 257 + c] for c in (0, 2, 9, 254)]
    assert [a.circuit for a in coordinates[3].get_atomic_neurons()] == [510, 511]
    assert sum(1 for _ in halco.iter_all(halco.AtomicNeuronOnDLS)) == facts.CIRCUITS
    # its mismatch is those circuits'
    chip = Chip(seed=2, noise=Noise.none().__class__(**{**vars(Noise.none()), "leak": 5.0}))
    at = {}
    for places in (None, [5, 6, 7, 8]):
        e, neurons, go = net(chip, {"placement_constraint": places})
        h = go(torch.zeros(40, 1, 3))
        spiking.run(e, 40)
        at[places is None] = h.membrane_cadc[20, 0].detach()
    assert not torch.equal(at[True], at[False])


def test_others_are_placed_around_them():
    e = spiking.Experiment(chip=QUIET)
    syn, out = spiking.Synapse(3, 4, e), spiking.Synapse(4, 2, e)
    first = spiking.LIF(4, e, leak=0.0, reset=0.0, threshold=1.0, placement_constraint=[1, 2, 4, 0])
    second = spiking.LI(2, e, leak=0.0)
    second(out(first(syn(spiking.LIFObservables(spikes=drive())))))
    spiking.run(e, 40)
    assert lying(e, first) == [[1], [2], [4], [0]]
    assert lying(e, second) == [[5], [6]] or lying(e, second) == [[3], [5]]


@pytest.mark.parametrize(
    ("places", "more", "error", "words"),
    [
        ([1, 2], {}, InputError, "has a place for each of the 4 neurons, got 2"),
        ([1, 2, 3, 512], {}, InputError, r"0\.\.511, or coordinates, got 512"),
        ([1, 2, 3, True], {}, InputTypeError, "or coordinates, got True"),
        (3, {}, InputTypeError, "placement_constraint is a list of places"),
        ("abcd", {}, InputTypeError, "placement_constraint is a list of places"),
        ([1, 2, 3, 3], {}, RoutingError, "overlap at circuit 3"),
        (
            [1, 2, 5, 8],
            {"neuron_structure": 2},
            RoutingError,
            "of 2 circuits.*overlap at circuit 2",
        ),
        (
            [1, 3, 5, 255],
            {"neuron_structure": 2},
            RoutingError,
            "do not fit at circuit 255, which is column 255 of 256",
        ),
    ],
)
def test_places_that_cannot_be_had(places, more, error, words):
    def placed():
        e, _, go = net(QUIET, {"placement_constraint": places, **more})
        go(drive())
        spiking.run(e, 40)

    with pytest.raises(error, match=words):
        placed()


def test_a_real_chips_coordinates_are_reported():
    class LogicalNeuronOnDLS:
        pass

    e, _, go = net(QUIET, {"placement_constraint": [LogicalNeuronOnDLS() for _ in range(4)]})
    go(drive())
    spiking.run(e, 40)
    assert len(e.outcome.notes) == 1
    assert (
        "LIF 1: placement_constraint holds a real chip's coordinates (LogicalNeuronOnDLS)"
        in str(e.outcome)
    )


def test_thresholds_at_and_below_leak_fire_without_end():
    """As in a sweep of a calibration: told in the chip's unit they are legal."""
    e = spiking.Experiment(chip=QUIET)
    syn = spiking.Synapse(2, 4, e)
    lif = spiking.LIF(
        4,
        e,
        leak=spiking.HXParameter(80.0),
        reset=spiking.HXParameter(60.0),
        threshold=spiking.HXParameter(torch.tensor([70.0, 80.0, 90.0, 120.0])),
    )
    torch.nn.init.zeros_(syn.weight)
    h = lif(syn(spiking.LIFObservables(spikes=torch.zeros(60, 1, 2))))
    spiking.run(e, 60)
    counts = h.spikes.sum((0, 1))
    assert counts[0] > 3
    assert counts[1:].sum() == 0
    lif.threshold.hardware_value = torch.tensor([75.0, 75.0, 90.0, 120.0])
    h = lif(syn(spiking.LIFObservables(spikes=torch.zeros(60, 1, 2))))
    spiking.run(e, 60)
    assert h.spikes.sum((0, 1))[1] > 3


def test_a_real_chips_configuration_is_refused_by_name():
    e, _, go = net(QUIET)
    e.default_execution_instance.chip = object()
    go(drive())
    with pytest.raises(RoutingError, match="default: chip is a real chip's"):
        spiking.run(e, 40)


def test_nightly_calibrations_are_nominal_on_an_emulated_chip():
    with bss2.use(Chip(seed=3)):
        path = calib_helper.nightly_calib_path()
        assert path.name == "spiking_cocolist.pbin"
        assert calib_helper.nightly_calix_native_path("hagen").name == "hagen_calix-native.pkl"
        e, _, go = net(None)
        e.default_execution_instance.load_calib(calib_path=path)
        go(drive())
        with pytest.warns(bss2.EmulatedChipWarning, match="that has its nominal one"):
            spiking.run(e, 40)
    with pytest.raises(bss2.NoChipError):
        calib_helper.nightly_calib_path()


def test_an_empty_file_of_a_real_chips_name_is_one(tmp_path):
    (tmp_path / "spiking_calix-native.pkl").touch()
    e, _, go = net(Chip())
    e.default_execution_instance.load_calib(tmp_path / "spiking_calix-native.pkl")
    go(drive())
    with pytest.warns(bss2.EmulatedChipWarning, match="is a real chip's calibration"):
        spiking.run(e, 40)


# -- measurements ----------------------------------------------------------------------------------

PARAMS = {
    "threshold": spiking.MixedHXModelParameter(1.0, 125),
    "leak": spiking.MixedHXModelParameter(0.0, 80),
    "reset": spiking.MixedHXModelParameter(0.0, 80),
    "tau_mem": 10e-6,
    "tau_syn": 10e-6,
}


def test_a_chips_ranges_and_scales_are_measured():
    eight = spiking.morphology.SingleCompartmentNeuron(8)
    with bss2.use(Chip(seed=1)):
        rest, high, low = get_dynamic_range(eight, params=PARAMS)
        trace = get_trace_scaling(PARAMS, neuron_structure=eight)
        weight = get_weight_scaling(PARAMS, 5, neuron_structure=eight)
        wider = get_trace_scaling(
            PARAMS | {"threshold": spiking.MixedHXModelParameter(1.0, 150)}, neuron_structure=eight
        )
    assert float(rest) == pytest.approx(80 - 128, abs=1.5)
    assert (float(high), float(low)) == (100.0, -103.0)
    # 45 LSB from leak to threshold are the model's 1; membranes are seen up to a step short of it
    assert 0.8 < float(trace) * 45 < 1.25
    assert 0.8 < float(wider) * 70 < 1.25
    assert float(weight) == pytest.approx(1 / float(trace), rel=0.05)


def test_what_is_measured_aligns_the_chip_with_the_model():
    """As the programs do: one spike, the same bump in LSB that was scaled and in the model."""
    eight = spiking.morphology.SingleCompartmentNeuron(8)
    x = torch.zeros(50, 5, 1)
    x[10] = 1
    peaks = []
    for chip in (Chip(seed=1), None):
        e = spiking.Experiment(chip=chip, mock=chip is None)
        syn = spiking.Synapse(1, 64, e, transform=partial(linear_saturating, scale=45.0))
        torch.nn.init.ones_(syn.weight)
        lif = spiking.LIF(
            64, e, **PARAMS, trace_offset=-48.0, trace_scale=1 / 45, neuron_structure=eight
        )
        h = lif(syn(spiking.LIFObservables(spikes=x)))
        spiking.run(e, 50)
        peaks.append(float(h.membrane_cadc.detach().mean((1, 2)).max()))
    assert peaks[0] == pytest.approx(peaks[1], rel=0.1)


# -- data ------------------------------------------------------------------------------------------


def test_the_yin_yang_points_are_kept():
    data = YinYangDataset(size=20, seed=3)
    samples, labels = yin_yang(20, 3)
    assert len(data) == 20
    for i, (x, label) in enumerate(data[k] for k in range(20)):
        assert (x.dtype, x.shape, type(label)) == (np.float64, (4,), int)
        np.testing.assert_array_equal(x.astype(np.float32), samples[i].numpy())
        assert label == labels[i]
        assert x[0] + x[2] == x[1] + x[3] == 1.0
        assert data.which_class(x[0], x[1]) == label
    assert data[4][0].tolist() == data[4][0].tolist()
    names = [data.class_names[data.which_class(*p)] for p in
             ((0.26, 0.52), (0.74, 0.48), (0.76, 0.34), (0.23, 0.65))]  # fmt: skip
    assert names == ["dot", "dot", "yin", "yang"]
    assert data.dist_to_right_dot(0.4, 0.1) == pytest.approx(0.531507, abs=1e-6)
    assert data.dist_to_left_dot(0.4, 0.1) == pytest.approx(0.427200, abs=1e-6)
    for goal in range(3):
        x, y, label = data.get_sample(goal)
        assert label == goal == data.which_class(x, y)
    spikes = CoordinatesToSpikes(30, 2e-6, 26e-6)(torch.from_numpy(data[3][0]).unsqueeze(0))
    assert (spikes.dtype, spikes.sum()) == (torch.float32, 4)  # as weights are, of float64 points
    tensors = YinYangDataset(size=2, transform=torch.from_numpy)
    assert isinstance(tensors[1][0], torch.Tensor)
    with pytest.raises(IndexError):
        data[20]
    with pytest.raises(InputError, match="goal is the number of a class"):
        data.get_sample(3)
    with pytest.raises(ValueError, match="r_small"):
        YinYangDataset(r_small=0.25)


def test_recorded_reads_in_hxtorchs_words_and_unpacks_in_its_older_ones():
    x = torch.ones(2)
    hw = Recorded(x, None, x)
    spikes, cadc, madc = hw
    assert (spikes is x, cadc, madc is x) == (True, None, True)
    assert (hw.voltage.cadc, hw.voltage.madc is x, hw.adaptation.cadc) == (None, True, None)
