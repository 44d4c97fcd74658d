"""snn.Online and slayer.Online: gradients from eligibility traces are those of back-propagation
through time where the theory says so, with memory that does not grow with the steps."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import lavalike as lv
from lavalike import slayer, snn
from lavalike.dynamics import Dynamics, Parameter
from lavalike.dynamics.ops import above, leak, reset

STEPS, BATCH = 12, 3
TARGET = torch.sin(torch.arange(STEPS * BATCH * 4.0, dtype=torch.float64)).reshape(STEPS, BATCH, 4)


def adapting(a_in, v, b, beta, rho, vth):
    # a threshold that rises with each spike: two states, of which one follows from the other
    v = leak(v, beta) + a_in
    s = above(v, vth + b)
    return s, reset(s, v, 0), leak(b, rho) + s * 0.3


ADAPTING = Dynamics(
    adapting,
    inputs=("a_in",),
    outputs=("s_out",),
    states=("v", "b"),
    parameters=(Parameter("beta", 0.8), Parameter("rho", 0.9), Parameter("vth", 1.0)),
    fixed=False,
)
SPREAD = torch.tensor([0.7, 0.8, 0.9, 0.95])
NEURONS = {
    "detach": lambda: snn.Leaky(0.8, learn_beta=True, learn_threshold=True),
    "full": lambda: snn.Leaky(
        SPREAD, reset_mechanism="zero", reset_grad="full", reset_delay=False, learn_beta=True
    ),
    "current": lambda: snn.Synaptic(0.7, SPREAD, reset_mechanism="zero", learn_alpha=True),
    "graded": lambda: snn.Leaky(
        0.8, graded_spikes_factor=2.0, learn_graded_spikes_factor=True, reset_delay=False
    ),
    "own": lambda: snn.Neuron(ADAPTING, learn=["beta", "rho", "vth"], reset_grad="full"),
    "voltage": lambda: snn.Leaky(0.8, reset_mechanism="none", learn_beta=True),
}
ALIKE = {
    "slayer": lambda: snn.Leaky(0.8, learn_threshold=True, reset_grad="slayer"),
    "zero": lambda: snn.Synaptic(
        0.7, 0.8, reset_mechanism="zero", reset_grad="slayer", learn_beta=True
    ),
}


def spikes(*shape):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(0)) < 0.4).double()


def gradients(module, loss):
    module.zero_grad()
    loss()
    return {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def alike(got, expected):
    assert got.keys() == expected.keys()
    for n, g in got.items():
        assert g.abs().max() > 0, n
        torch.testing.assert_close(g, expected[n], rtol=1e-9, atol=1e-12)


def of_steps(out, states, t):
    """A loss of one step's spikes and of its last state."""
    return (out * TARGET[t]).sum() + (states[-1] - TARGET[t]).square().mean()


def through_time(synapse, neuron, x):
    out, _ = neuron.sequence(synapse(x), record=neuron.state_names)
    seen = [out[n] for n in neuron.state_names]
    for s in out["s_out"], *seen:
        assert s.abs().sum() > 0
    sum(of_steps(out["s_out"][t], [s[t] for s in seen], t) for t in range(len(x))).backward()


@pytest.mark.parametrize(
    ("rule", "make"),
    [*(("eprop", m) for m in NEURONS.values()), *(("online", m) for m in ALIKE.values())],
    ids=[*NEURONS, *ALIKE],
)
def test_of_one_layer_it_is_the_gradient_through_time(rule, make):
    """Of weights, biases and what the neuron learns; also of losses of its states; with resets
    differentiated or not, decays of one a neuron, a neuron of one's own."""
    torch.manual_seed(1)
    layer = snn.Online(torch.nn.Linear(5, 4), make(), rule).double()
    x = spikes(STEPS, BATCH, 5) * 1.5

    def forward():
        for t, now in enumerate(x):
            out, *states = layer(now)
            of_steps(out, states, t).backward()

    got = gradients(layer, forward)
    alike(got, gradients(layer, lambda: through_time(layer.synapse, layer.neuron, x)))
    layer.reset()
    alike(gradients(layer, forward), got)
    with torch.no_grad():
        layer.reset()
        whole = layer.neuron.sequence(layer.synapse(x))[0]["s_out"]
        assert torch.equal(torch.stack([layer(now)[0] for now in x]), whole)


def test_any_affine_synapse_has_traces_of_its_inputs():
    torch.manual_seed(1)
    synapse = torch.nn.Sequential(
        torch.nn.Conv2d(2, 3, 3), torch.nn.AvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, 4)
    )
    layer = snn.Online(
        synapse, snn.Leaky(0.8, threshold=0.2, reset_grad="slayer"), "online"
    ).double()
    x = spikes(STEPS, BATCH, 2, 6, 6)

    def forward():
        for t, now in enumerate(x):
            out, *states = layer(now)
            of_steps(out, states, t).backward()

    def whole(x):
        return synapse(x.flatten(0, 1)).unflatten(0, (STEPS, BATCH))

    alike(gradients(layer, forward), gradients(layer, lambda: through_time(whole, layer.neuron, x)))


@pytest.mark.parametrize("rule", ["eprop", "online"])
def test_a_lower_layer_has_it_where_the_upper_one_keeps_no_state(rule):
    """And where it does, e-prop's differs, as what spikes do through other neurons' states is not
    followed."""
    torch.manual_seed(1)
    x = spikes(STEPS, BATCH, 5) * 2
    grads = []
    for beta in (0.0, 0.8):
        lower = snn.Online(torch.nn.Linear(5, 6), snn.Leaky(0.8, reset_grad="slayer"), rule)
        upper = snn.Online(torch.nn.Linear(6, 4), snn.Leaky(beta, reset_mechanism="none"), rule)
        net = torch.nn.ModuleList([lower, upper]).double()

        def forward(lower=lower, upper=upper):
            for t, now in enumerate(x):
                out, *states = upper(lower(now)[0])
                of_steps(out, states, t).backward()

        def whole(lower=lower, upper=upper):
            s = lower.neuron.sequence(lower.synapse(x))[0]["s_out"]
            through_time(upper.synapse, upper.neuron, s)

        grads.append([gradients(net, f) for f in (forward, whole)])
    alike(*grads[0])
    upper = [{n: g for n, g in by.items() if n.startswith("1.")} for by in grads[1]]
    alike(*upper)
    a, b = (by["0.synapse.weight"] for by in grads[1])
    assert (a - b).abs().max() > 0.01 * b.abs().max()
    assert torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0) > 0.5


@pytest.mark.parametrize("rule", ["eprop", "online"])
def test_a_recurrent_layer_follows_each_neurons_own_states(rule):
    """As through time with the outputs that come back cut off the graph."""
    torch.manual_seed(1)
    neuron = snn.Leaky(0.8, reset_grad="slayer")
    layer = snn.Online(torch.nn.Linear(5, 4), neuron, rule, torch.nn.Linear(4, 4)).double()
    x = spikes(STEPS, BATCH, 5) * 2

    def forward():
        for t, now in enumerate(x):
            out, *states = layer(now)
            of_steps(out, states, t).backward()

    def whole():
        s, mem = torch.zeros(BATCH, 4, dtype=torch.float64), None
        total = 0.0
        for t, now in enumerate(x):
            s, mem = neuron(layer.synapse(now) + layer.recurrent(s.detach()), mem)
            total = total + of_steps(s, [mem], t)
        total.backward()

    got = gradients(layer, forward)
    alike(got, gradients(layer, whole))
    assert {n.split(".")[0] for n in got} == {"synapse", "recurrent"}


@pytest.mark.parametrize("rule", ["eprop", "online"])
def test_memory_does_not_grow_with_the_steps(rule):
    """What autograd has saved, and what the layer keeps, after each step of short and of long
    runs."""
    torch.manual_seed(1)
    layer = snn.Online(torch.nn.Linear(5, 4), snn.Synaptic(0.7, 0.8), rule, torch.nn.Linear(4, 4))
    alive: set[int] = set()

    class Saved:
        def __init__(self, tensor):
            self.tensor = tensor
            alive.add(id(self))

        def __del__(self):
            alive.discard(id(self))

    def most(steps):
        layer.reset()
        largest = after = 0
        with torch.autograd.graph.saved_tensors_hooks(Saved, lambda s: s.tensor):
            for _ in range(steps):
                out, *_, mem = layer(torch.rand(BATCH, 5))
                largest = max(largest, len(alive))
                (out.sum() + mem.sum()).backward()
                del out, mem, _
                after = max(after, len(alive))
        kept = layer._traces
        held = [*kept.states.values(), *kept.of_bias.values()]
        held += [e for of in kept.of_weights for e in of.values()]
        return largest, after, sum(t.numel() for t in held), any(t.requires_grad for t in held)

    short, long = most(3), most(40)
    assert short == long
    assert short[1] == 0
    assert not short[3]


BLOCKS = {
    "cuba": lambda p: slayer.block.cuba.Dense(
        p | {"current_decay": 0.3, "voltage_decay": 0.1}, 5, 4, weight_scale=4, delay_shift=False
    ),
    "lif": lambda p: slayer.block.lif.Dense(
        p | {"voltage_decay": 0.1},
        5,
        4,
        weight_scale=4,
        delay_shift=False,
        mask=torch.ones(4, 5).tril(),
    ),
    "conv": lambda p: slayer.block.cuba.Conv(
        p | {"current_decay": 0.3, "voltage_decay": 0.1}, 1, 2, 2, weight_scale=4, delay_shift=False
    ),
}


@pytest.mark.parametrize(
    ("kind", "rule"),
    [("cuba", "eprop"), ("cuba", "online"), ("lif", "eprop"), ("conv", "online")],
)
def test_a_block_of_slayer_has_the_gradient_through_time(kind, rule):
    """On its grid, of quantised weights and of decays; spikes and voltages are the block's own."""
    torch.manual_seed(2)
    block = BLOCKS[kind]({"threshold": 1.0, "requires_grad": True, "tau_grad": 0.1})
    shape = (1, 3, 3) if kind == "conv" else (5,)
    x = spikes(BATCH, *shape, STEPS).float()
    layer = slayer.Online(block, rule)
    whole = block(x)
    recipe = torch.sin(torch.arange(float(whole.numel()))).reshape(whole.shape)
    assert whole.sum() > 2

    def forward():
        for t in range(STEPS):
            s, v = layer(x[..., t : t + 1])
            assert torch.equal(s, whole[..., t : t + 1])
            assert v.shape == s.shape
            (s * recipe[..., t : t + 1]).sum().backward()

    got = gradients(layer, forward)
    expected = gradients(layer, lambda: (block(x) * recipe).sum().backward())
    assert got.keys() == expected.keys()
    for n, g in got.items():
        assert g.abs().max() > 0, n
        torch.testing.assert_close(g, expected[n], rtol=1e-4, atol=1e-5 * float(g.abs().max()))


def test_a_task_is_learnt():
    """To fire in the second half after an input in the first: a spike's effect lies steps later."""
    torch.manual_seed(0)
    hidden = snn.Online(torch.nn.Linear(4, 30), snn.Leaky(0.9), recurrent=torch.nn.Linear(30, 30))
    read = snn.Online(torch.nn.Linear(30, 2), snn.Leaky(0.8, reset_mechanism="none"))
    net = torch.nn.ModuleList([hidden, read])
    optimizer = torch.optim.Adam(net.parameters(), 0.05)
    x = torch.zeros(16, 2, 4)
    x[:4, 0, :2] = 2
    x[:4, 1, 2:] = 2
    losses = []
    for _ in range(12):
        snn.reset(net)
        total = 0.0
        for t, now in enumerate(x):
            spk, _ = hidden(now)
            _, mem = read(spk)
            if t >= 8:
                loss = torch.nn.functional.cross_entropy(mem, torch.tensor([0, 1]))
                loss.backward()
                total += loss.item()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
    assert losses[-1] < 0.3 * losses[0]


def twice(layer):
    layer(torch.ones(1, 2))
    layer(torch.ones(1, 2))


def other(call, message):
    return pytest.param(call, message, id=message[:24])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        other(
            lambda: snn.Online(torch.nn.Conv2d(1, 1, 3), snn.Leaky(0.9)),
            r"snn.Online: synapse: rule='eprop'.*take rule='online'",
        ),
        other(
            lambda: twice(
                snn.Online(torch.nn.Linear(2, 2), snn.Leaky(torch.tensor([0.8, 0.9])), "online")
            ),
            r"slopes of mem differ among its neurons, 0.8..0.9; .*rule='eprop'",
        ),
        other(
            lambda: snn.Online(torch.nn.Sigmoid(), snn.Leaky(0.9), "online")(torch.ones(1, 2)),
            "Sigmoid is not affine in x",
        ),
        other(
            lambda: snn.Online(torch.nn.Linear(2, 2), snn.Leaky(0.9, init_hidden=True)),
            "init_hidden=False",
        ),
        other(
            lambda: snn.Online(
                torch.nn.Linear(2, 2),
                snn.Synaptic(0.9, 0.9, reset_delay=False, gradient="eventprop"),
            ),
            "gradient='eventprop' needs all steps",
        ),
        other(
            lambda: snn.Online(torch.nn.Linear(2, 2), snn.RLeaky(0.9, linear_features=2)),
            "snn.RLeaky has a recurrent layer of its own",
        ),
        other(
            lambda: snn.Online(torch.nn.Linear(2, 2), snn.Leaky(0.9, inhibition=True)),
            "inhibition acts between steps",
        ),
        other(
            lambda: slayer.Online(slayer.block.cuba.Flatten()),
            "cuba.Flatten: block is a Dense or Conv block",
        ),
        other(
            lambda: slayer.Online(BLOCKS["conv"]({"threshold": 1.0})),
            "cuba.Conv: weights without a matrix; take rule='online'",
        ),
        other(
            lambda: slayer.Online(
                BLOCKS["cuba"]({"threshold": 1.0, "norm": slayer.neuron.norm.MeanOnlyBatchNorm})
            ),
            "a norm, whose mean",
        ),
        other(
            lambda: slayer.Online(BLOCKS["cuba"]({"threshold": 1.0}))(torch.ones(1, 5, 2)),
            r"\(batch, channel, ..., 1\) of .*got \(1, 5, 2\)",
        ),
        other(
            lambda: snn.Online(torch.nn.Linear(2, 2), snn.Leaky(0.9))(torch.ones(2)),
            r"\(batch, ...\) of float32, float64 or bfloat16, got \(2,\)",
        ),
        other(
            lambda: snn.Online(torch.nn.Linear(2, 2), snn.Leaky(0.9))(torch.ones(1, 2).half()),
            r"got \(1, 2\), torch.float16",
        ),
        other(
            lambda: snn.Online(torch.nn.Linear(2, 2), snn.Leaky(0.9))(torch.ones(1, 2) * 1j),
            r"got \(1, 2\), torch.complex64",
        ),
        other(
            lambda: snn.Online(torch.nn.Linear(2, 2), snn.Leaky(0.9))(
                torch.ones(1, 2, device="meta")
            ),
            "the input is on meta, the layer on cpu; move one to the other",
        ),
    ],
)
def test_nonsense_is_refused_by_name(call, message):
    with pytest.raises(lv.InputError, match=message):
        call()


def test_another_batch_needs_a_reset():
    layer = snn.Online(torch.nn.Linear(2, 2), snn.Leaky(0.9))
    layer(torch.ones(3, 2))
    with pytest.raises(lv.InputError, match=r"the states are of a batch of 3; call reset\(\)"):
        layer(torch.ones(1, 2))
    snn.reset(layer)
    layer(torch.ones(1, 2))
