"""Learning in Lava's spelling: rules, the library's processes, and models of a program's own beside
the compiled ones."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from lavalike.compat import install, uninstall
from lavalike.errors import RuleError


@pytest.fixture(scope="module", autouse=True)
def lava():
    """Lava's names, while these tests run."""
    install()
    yield
    uninstall()


def of(module, name):
    return getattr(importlib.import_module(f"lava.{module}"), name)


def test_what_a_program_reads_of_a_rule():
    rule = of("magma.core.learning.learning_rule", "Loihi2FLearningRule")(
        dw="2^-1 * x0 * y1 - x1 * y0 * (x2 + 1)",
        dt="u3 * (w - 3) * y2",
        x1_impulse=16,
        x1_tau=10,
        t_epoch=2,
    )
    assert isinstance(rule.dw, of("magma.core.learning.product_series", "ProductSeries"))
    assert rule.dd is None
    assert [*rule.active_product_series] == ["dw", "dt"]
    assert rule.active_traces == {"x1", "x2", "y1", "y2"}
    assert rule.active_traces_per_dependency == {"x0": {"y1"}, "y0": {"x1", "x2"}, "u": {"y2"}}
    assert (rule.decimate_exponent, rule.x1_tau, rule.y1_tau, rule.t_epoch) == (3, 10, 0, 2)
    rule.x1_tau = 4
    assert rule.core.x1.tau == 4
    third = of("magma.core.learning.learning_rule", "Loihi3FLearningRule")(dw="u0 * y3")
    assert third.core.received == ("y1", "y2", "y3")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, "nothing is learnt; give dw, dd or dt"),
        ({"dw": "x0 * x9"}, "'x9' is no variable of a rule"),
        ({"dw": "u1 * y1", "dt": "u2 * y1"}, "a rule has one uk, got u1, u2"),
        ({"dw": "x0", "x1_tau": -1}, "x1_tau is a number >= 0, got -1"),
        ({"dw": "x0", "y3_impulse": -2}, "y3_impulse is a number >= 0, got -2"),
        ({"dw": "x0", "t_epoch": 0}, "t_epoch is a number of steps >= 1, got 0"),
        ({"dw": "x0", "t_epoch": 2.5}, r"t_epoch is a number of steps >= 1, got 2\.5"),
        ({"dw": "x0", "t_epoch": "2"}, r"t_epoch is a number of steps >= 1, got '2' \(str\)"),
        ({"dw": "x0", "x1_tau": "3"}, r"x1_tau is a number >= 0, got '3' \(str\)"),
        ({"dw": 3}, r"dw is a text or None, got 3 \(int\)"),
    ],
)
def test_what_is_no_rule(given, why):
    with pytest.raises(RuleError, match=why):
        of("magma.core.learning.learning_rule", "LoihiLearningRule")(**given)


def test_what_is_no_number_of_a_rule():
    literal = of("magma.core.learning.utils", "float_to_literal")
    for value in ("3", float("nan")):
        with pytest.raises(RuleError, match="learning_parameter is a finite number, got"):
            literal(value)
    with pytest.raises(RuleError, match="graded_spike_cfg is a GradedSpikeCfg, got 'set'"):
        of("proc.dense.process", "LearningDense")(
            weights=[[1]], learning_rule=rule(), graded_spike_cfg="set"
        )


def test_tags_are_cut_for_fixed_pt_and_said_so():
    dense = of("proc.dense.process", "LearningDense")(
        weights=[[4]], learning_rule=rule(), tag_1=300.5
    )
    with pytest.warns(
        UserWarning, match=r"tag_1: .* in \(-257, 255\); tag_1 are cut.* by at most 45.5"
    ):
        run(dense, 1, "fixed_pt", [[0]], [[0]])
    assert dense.tag_1.get().tolist() == [[255]]


def test_numbers_are_rounded_to_powers_of_two_as_in_lava():
    literal = of("magma.core.learning.utils", "float_to_literal")
    found = [literal(x) for x in (0, 1, -3, 0.1, 0.3, 1.5, -2.7, 0.25)]
    assert found == [
        *("0", "(1)", "(-3)", "(1) * 2 ^ -3", "(1) * 2 ^ -2", "(1) * 2 ^ 1"),
        *("(-2) * 2 ^ 0", "(1) * 2 ^ -2"),
    ]
    rule = of("proc.learning_rules.stdp_learning_rule", "STDPLoihi")(0.1, 1, -2, 8, 9, t_epoch=3)
    assert [str(p) for p in rule.dw.products] == ["-1/4 * x0 * y1", "1/8 * y0 * x1"]
    assert (rule.x1_tau, rule.y1_tau, rule.y1_impulse, rule.t_epoch) == (8, 9, 16, 3)


def run(connection, steps, tag, pre, post):
    """Run between two sources; the weights."""
    source = of("proc.io.source", "RingBuffer")
    source(data=pre).s_out.connect(connection.s_in)
    source(data=post).s_out.connect(connection.s_in_bap)
    config = of("magma.core.run_configs", "Loihi2SimCfg")(select_tag=tag)
    connection.run(condition=of("magma.core.run_conditions", "RunSteps")(steps), run_cfg=config)
    return connection.weights.get()


def rule(seed=3):
    return of("magma.core.learning.learning_rule", "Loihi2FLearningRule")(
        dw="y0 * x1 * 2^-2 - x0 * y1 * 2^-2",
        dt="x0 * y1",
        x1_impulse=16,
        x1_tau=10,
        y1_impulse=20.5,
        y1_tau=6,
        t_epoch=2,
        rng_seed=seed,
    )


@pytest.mark.parametrize("tag", ["floating_pt", "fixed_pt"])
def test_a_programs_own_learning_model_computes_what_the_library_does(tag):
    """A subclass of LearningDense with a model of the program's own, whose run_spk begins with the
    base's, is the kernel's equal; the rule is set between runs."""
    learning_dense = of("proc.dense.process", "LearningDense")
    floating = tag == "floating_pt"
    learning, dense = (
        of(m, n + ("Float" if floating else end))
        for m, n, end in (
            ("magma.core.model.py.connection", "LearningConnectionModel", "BitApproximate"),
            ("proc.dense.models", "AbstractPyDenseModel", "BitAcc"),
        )
    )
    implements, requires, mark = (
        of("magma.core.decorator", n) for n in ("implements", "requires", "tag")
    )
    protocol = of("magma.core.sync.protocols.loihi_protocol", "LoihiProtocol")
    learnt = []

    class Mine(learning_dense):
        pass

    @implements(proc=Mine, protocol=protocol)
    @requires(of("magma.core.resources", "CPU"))
    @mark(tag)
    class MineModel(learning, dense):
        def run_lrn(self):
            learnt.append(self.time_step)
            super().run_lrn()

    g = np.random.default_rng(1)
    pre, post = ((g.random((n, 20)) < 0.4).astype(int) for n in (4, 3))
    weights = g.integers(-20, 20, (3, 4)) * 2
    found = []
    for kind in (learning_dense, Mine):
        connection = kind(weights=weights, learning_rule=rule())
        before = run(connection, 11, tag, pre, post)
        connection.dw.set("x0 * x1 * 2^-3")
        connection.x1_tau.set(3)
        connection.run(of("magma.core.run_conditions", "RunSteps")(9))
        found.append(
            (before, connection.weights.get(), connection.tag_1.get(), connection.y1.get())
        )
        assert isinstance(connection.model_class, type)
    assert learnt == [*range(2, 21, 2)]
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=0 if tag == "fixed_pt" else 1e-12)
    assert (found[0][0] != weights).any()
    assert (found[0][0] != found[0][1]).any()


def test_what_is_set_of_one_connections_rule_stays_its():
    """A rule that two connections were made with, whose models are a program's own."""

    class Mine(of("proc.dense.process", "LearningDense")):
        pass

    @of("magma.core.decorator", "implements")(proc=Mine)
    class MineModel(
        of("magma.core.model.py.connection", "LearningConnectionModelFloat"),
        of("proc.dense.models", "AbstractPyDenseModelFloat"),
    ):
        pass

    both = rule()
    first = Mine(weights=[[4.0]], learning_rule=both)
    run(first, 2, None, [[1, 0]], [[0, 1]])
    first.x1_impulse.set(0)
    first.run(of("magma.core.run_conditions", "RunSteps")(2))
    assert both.x1_impulse == 16
    second = Mine(weights=[[4.0]], learning_rule=both)
    learnt = run(second, 2, None, [[1, 0]], [[0, 1]])
    assert learnt == pytest.approx(4 + 16 * np.exp(-1 / 10) / 4)


def test_a_connection_of_a_programs_own():
    """LearningConnectionProcess alone has the ports and Vars of a rule."""
    base = of("magma.core.process.connection", "LearningConnectionProcess")
    connection = base(shape=(2, 3), learning_rule=rule(), tag_1=4)
    shapes = {v.name: v.shape for v in connection.vars}
    assert (shapes["x1"], shapes["y3"], shapes["tag_2"], shapes["y1_tau"]) == (
        (3,),
        (2,),
        (2, 3),
        (1,),
    )
    assert connection.tag_1.init == 4
    assert connection.y1_impulse.init == 20.5
    assert {p.name for p in connection.in_ports} == {"s_in_bap", "s_in_y1", "s_in_y2", "s_in_y3"}
    with pytest.raises(RuleError, match=r"learning_rule is a LoihiLearningRule, got 'x0'"):
        base(shape=(2, 3), learning_rule="x0")


@pytest.mark.parametrize("tag", ["floating_pt", "fixed_pt"])
def test_stored_synapses_are_scipys_matrices(tag):
    sparse = pytest.importorskip("scipy.sparse")
    g = np.random.default_rng(4)
    pre, post = ((g.random((n, 12)) < 0.5).astype(int) for n in (4, 3))
    weights = g.integers(1, 20, (3, 4)) * 2 * (g.random((3, 4)) < 0.6)
    tags = np.where(weights, 5, 0)
    dense = of("proc.dense.process", "LearningDense")(
        weights=weights, learning_rule=rule(), tag_1=tags
    )
    stored = of("proc.sparse.process", "LearningSparse")(
        weights=sparse.csr_matrix(weights), learning_rule=rule(), tag_1=sparse.csr_matrix(tags)
    )
    expected = run(dense, 12, tag, pre, post) * (weights != 0)
    np.testing.assert_allclose(run(stored, 12, tag, pre, post).toarray(), expected, rtol=1e-12)
    found = stored.tag_1.get().toarray()
    np.testing.assert_allclose(found, dense.tag_1.get() * (weights != 0), rtol=1e-12)


@pytest.mark.parametrize("tag", ["floating_pt", "fixed_pt"])
def test_a_neuron_of_a_programs_own_sends_the_third_factor(tag):
    """R-STDP: a LIF in Python whose surroundings learn by what it sends, against a loop."""
    floating = tag == "floating_pt"
    lif = of("proc.lif.process", "LearningLIF")
    neuron = of(
        "magma.core.model.py.neuron", f"LearningNeuronModel{'Float' if floating else 'Fixed'}"
    )
    base = of("proc.lif.models", f"AbstractPyLifModel{'Float' if floating else 'Fixed'}")
    implements, requires, mark = (
        of("magma.core.decorator", n) for n in ("implements", "requires", "tag")
    )
    typed, out = (
        of("magma.core.model.py.type", "LavaPyType"),
        of("magma.core.model.py.ports", "PyOutPort"),
    )

    class Rewarded(lif):
        pass

    @implements(
        proc=Rewarded, protocol=of("magma.core.sync.protocols.loihi_protocol", "LoihiProtocol")
    )
    @requires(of("magma.core.resources", "CPU"))
    @mark(tag)
    class RewardedModel(neuron, base):
        s_out = typed(out.VEC_DENSE, float if floating else np.int32)
        vth = typed(float if floating else int, float if floating else np.int32)

        def scale_threshold(self):
            self.effective_vth = self.vth << self.vth_shift
            self.isthrscaled = True

        def spiking_activation(self):
            return self.v > (self.vth if floating else self.effective_vth)

        def run_spk(self):
            super().run_spk()
            self.y1[:] = np.floor(self.y1 / 2) + self._learning_rule.x1_impulse * self.s_out_buff
            self.y2[:] = self.a_third_factor_in.recv()
            for port, value in (
                (self.s_out_bap, self.s_out_buff),
                (self.s_out_y1, self.y1),
                (self.s_out_y2, self.y2),
                (self.s_out_y3, self.y3),
            ):
                port.send(value)

    learning_rule = of("magma.core.learning.learning_rule", "Loihi3FLearningRule")(
        dw="x0 * y1 + u0 * y2", x1_impulse=8, x1_tau=5
    )
    source = of("proc.io.source", "RingBuffer")
    neurons = Rewarded(
        shape=(2,),
        du=1 if floating else 4095,
        dv=1 if floating else 4096,
        vth=3,
        learning_rule=learning_rule,
    )
    dense = of("proc.dense.process", "LearningDense")(
        weights=np.zeros((2, 1)), learning_rule=learning_rule
    )
    g = np.random.default_rng(6)
    pre, drive, reward = (
        (g.random((1, 15)) < 0.5).astype(int),
        g.integers(0, 7, (2, 15)),
        (g.random((2, 15)) < 0.3).astype(int),
    )
    source(data=pre).s_out.connect(dense.s_in)
    source(data=drive).s_out.connect(neurons.a_in)
    source(data=reward).s_out.connect(neurons.a_third_factor_in)
    for port, to in (
        (neurons.s_out_bap, dense.s_in_bap),
        (neurons.s_out_y1, dense.s_in_y1),
        (neurons.s_out_y2, dense.s_in_y2),
        (neurons.s_out_y3, dense.s_in_y3),
    ):
        port.connect(to)
    config = of("magma.core.run_configs", "Loihi2SimCfg")(select_tag=tag)
    dense.run(condition=of("magma.core.run_conditions", "RunSteps")(15), run_cfg=config)
    y1, w = np.zeros(2), np.zeros((2, 1))
    for k in range(15):
        y1 = np.floor(y1 / 2) + 8 * (drive[:, k] > 3)
        w += (y1 * pre[0, k] + reward[:, k])[:, None]
    # a received trace decays within its epoch, by 1 / 65535 a step: in fixed_pt a draw may take 1
    # of it
    np.testing.assert_allclose(dense.weights.get(), w, rtol=1e-3, atol=0 if floating else 3)
