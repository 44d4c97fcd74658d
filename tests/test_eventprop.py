"""EventProp of CUBA neurons: gradients by times of spikes are those of the neuron in continuous
time, as steps become short."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import lavalike as lv
from lavalike import fused, slayer, snn
from lavalike.dynamics import lif, membrane
from lavalike.fused.surrogate import Atan
from lavalike.snn.functional.temporal import spike_times

TAUS, LENGTH = (4.0, 8.0), 40.0  # of current and membrane; the threshold is 1
INPUT = np.array([0.6, 2.1, 5.3, 9.7])  # times of one spike each
FIRST = np.array([[0.35, 0.3, 0.2, 0.4], [0.15, 0.5, 0.3, 0.2], [0.4, 0.1, 0.35, 0.3]])
SECOND = np.array([[0.2, 0.15, 0.17]])


def crossings(times, weights, taus=TAUS, threshold=1.0):
    """Times at which ``v' = i - v / tau_v, i' = -i / tau_u`` passes the threshold, to begin at 0
    again; i is raised by weights."""
    tau_u, tau_v = taus
    out, v, i, now = [], 0.0, 0.0, 0.0
    events = sorted(zip(times, weights, strict=True))

    def at(dt):
        decayed = math.exp(-dt / tau_v)
        return v * decayed + i * (math.exp(-dt / tau_u) - decayed) / (1 / tau_v - 1 / tau_u)

    for time, weight in [*events, (LENGTH, 0.0)]:
        while now < time:
            grid = np.linspace(0, time - now, 400)
            above = np.array([at(dt) for dt in grid]) > threshold
            above[0] = False
            if not above.any():
                v, i, now = at(time - now), i * math.exp((now - time) / tau_u), time
                break
            low, high = grid[above.argmax() - 1], grid[above.argmax()]
            for _ in range(60):
                middle = (low + high) / 2
                low, high = (low, middle) if at(middle) > threshold else (middle, high)
            v, i, now = 0.0, i * math.exp(-high / tau_u), now + high
            out.append(now)
        i += weight
    return out


def continuous(first, second, *more):
    """The loss: all times of the first layer's spikes and twice the second's."""
    hidden = [crossings(INPUT, w, *more) for w in first]
    times = np.concatenate(hidden)
    weights = np.concatenate([[w] * len(h) for w, h in zip(second[0], hidden, strict=True)])
    return times.sum() + 2 * sum(crossings(times, weights, *more))


def by_weights(by=1e-5):
    out = []
    for k, w in enumerate((FIRST, SECOND)):
        grad = np.zeros_like(w)
        for index in np.ndindex(w.shape):
            ends = []
            for sign in (1, -1):
                pair = [FIRST.copy(), SECOND.copy()]
                pair[k][index] += sign * by
                ends.append(continuous(*pair))
            grad[index] = (ends[0] - ends[1]) / (2 * by)
        out.append(grad)
    return out


def by_constants(by=1e-5):
    """By both time constants and the threshold."""
    out = []
    for k in range(3):
        ends = []
        for sign in (1, -1):
            changed = [*TAUS, 1.0]
            changed[k] += sign * by
            ends.append(continuous(FIRST, SECOND, changed[:2], changed[2]))
        out.append((ends[0] - ends[1]) / (2 * by))
    return out


class Net(torch.nn.Module):
    """Both layers in ``fine`` steps a unit of time."""

    def __init__(self, fine, reset="zero"):
        super().__init__()
        self.fine = fine
        self.first, self.second = (torch.nn.Parameter(torch.tensor(w)) for w in (FIRST, SECOND))
        self.neuron = snn.Synaptic(
            *(math.exp(-1 / tau / fine) for tau in TAUS),
            **dict.fromkeys(("learn_alpha", "learn_beta", "learn_threshold"), True),
            reset_mechanism=reset,
            reset_delay=False,
            gradient="eventprop",
        ).double()
        for name, tau in zip(("alpha", "beta"), TAUS, strict=True):  # as float64 has them
            setattr(self.neuron, name, math.exp(-1 / tau / fine))

    def forward(self):
        x = torch.zeros(int(LENGTH * self.fine), 1, len(INPUT), dtype=torch.float64)
        x[np.round(INPUT * self.fine).astype(int), 0, range(len(INPUT))] = 1
        hidden = self.neuron.sequence(x @ (self.first / self.fine).T)[0]["s_out"]
        return hidden, self.neuron.sequence(hidden @ (self.second / self.fine).T)[0]["s_out"]

    def backward(self):
        """Of the loss in units of time; its gradients by weights, and by time constants and the
        threshold."""
        loss = sum(
            factor * spike_times(s[:, :, j], int(s[:, 0, j].sum())).sum() / self.fine
            for factor, s in zip((1, 2), self(), strict=True)
            for j in range(s.shape[-1])
        )
        loss.backward()
        n = self.neuron
        of_decays = [
            (x.grad * x).item() / tau**2 / self.fine
            for x, tau in zip((n.alpha, n.beta), TAUS, strict=True)
        ]
        return [self.first.grad, self.second.grad], [*of_decays, n.threshold.grad.item()]


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_gradients_of_times_are_those_of_continuous_time(reset):
    """Of weights, time constants and thresholds of two layers, through several spikes a neuron and
    their resets; the error is that of a step."""
    exact, errors = [*by_weights(), by_constants()], []
    for fine in (128, 512):
        net = Net(fine, reset)
        assert [int(s.sum()) for s in net()] == [8, 3]
        weights, constants = net.backward()
        errors.append(
            [
                np.abs(np.asarray(g) - e).max() / np.abs(e).max()
                for g, e in zip([*weights, constants], exact, strict=True)
            ]
        )
    for coarse, fine in zip(*errors, strict=True):
        assert coarse < 0.03
        assert fine < 0.4 * coarse


def test_without_a_reset_a_membrane_goes_on():
    """Spikes that reset nothing: a membrane's own gradient is the plain one, times have theirs by
    its slope alone."""
    decays = {"alpha": 0.9, "beta": 0.95}
    n = snn.Synaptic(
        **decays,
        reset_mechanism="none",
        reset_delay=False,
        gradient="eventprop",
        learn_threshold=True,
    ).double()
    x = torch.zeros(60, 1, 1, dtype=torch.float64)
    x[[3, 9]] = 0.04
    x.requires_grad_()
    out, _ = n.sequence(x, record=("mem",))
    out["mem"][40].sum().backward(retain_graph=True)
    powers = (0.95 ** torch.arange(40, -1, -1) - 0.9 ** torch.arange(40, -1, -1) * 0.9 / 0.95) / (
        1 - 0.9 / 0.95
    )
    torch.testing.assert_close(x.grad[:41, 0, 0], powers.double(), rtol=1e-5, atol=1e-9)
    assert n.threshold.grad == 0
    n.threshold = out["mem"][20].item() * 0.999
    x.grad = None
    out, _ = n.sequence(x, record=("syn", "mem"))
    first = int(out["s_out"].argmax())
    spike_times(out["s_out"]).sum().backward()
    slope = out["syn"][first].item() - 0.05 * n.threshold.item()
    torch.testing.assert_close(n.threshold.grad.item(), 1 / slope, rtol=1e-5, atol=0)


def grids(gradient, norm=None):
    """A slayer block of weights, decays and inputs that its integers hold."""
    torch.manual_seed(0)
    neuron = {"threshold": 2.0, "current_decay": 1 / 8, "voltage_decay": 1 / 16, "norm": norm}
    block = slayer.block.cuba.Dense(neuron | {"gradient": gradient, "requires_grad": True}, 4, 3)
    with torch.no_grad():
        block.synapse.weight.copy_(torch.randint(-3, 12, (3, 4, 1, 1, 1)) / 32)
    x = (torch.rand(2, 4, 60, generator=torch.Generator().manual_seed(1)) < 0.2).float()
    return block, x.requires_grad_()


def test_slayer_and_snn_have_one_gradient():
    """slayer's integers are those of snn's floating point as far as they are exact, delay_shift or
    not; a norm between current and membrane changes nothing where it does nothing."""
    recipe = torch.sin(torch.arange(2 * 3 * 60.0)).reshape(2, 3, 60)
    n = snn.Synaptic(
        7 / 8,
        15 / 16,
        2.0,
        learn_alpha=True,
        learn_beta=True,
        reset_mechanism="zero",
        reset_delay=False,
        gradient="eventprop",
    )
    grads = []
    for norm in (None, lambda pre_hook_fx: torch.nn.Identity()):
        block, x = grids("eventprop", norm)
        y = block(x)
        assert y.sum() > 20
        (y * recipe).sum().backward()
        of = block.neuron
        grads.append(
            [x.grad, block.synapse.weight.grad, of.current_decay.grad, of.voltage_decay.grad]
        )
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    block, x = grids("eventprop")
    z = block.synapse(x).movedim(-1, 0)
    s = n.sequence(z)[0]["s_out"].movedim(0, -1)
    assert torch.equal(slayer.axon.delay(s), y)
    (slayer.axon.delay(s) * recipe).sum().backward()
    expected = [x.grad, block.synapse.weight.grad, -n.alpha.grad / 4096, -n.beta.grad / 4096]
    for a, b in zip(grads[0], expected, strict=True):
        assert b.abs().max() > 0
        torch.testing.assert_close(
            a.reshape(b.shape), b, rtol=2e-2, atol=2e-2 * float(b.abs().max())
        )


def test_forward_is_that_of_surrogates_and_a_plain_loop_has_the_gradient():
    made = []
    for gradient in ("surrogate", "eventprop"):
        block, x = grids(gradient)
        made.append(block(x))
    assert torch.equal(*made)
    x = torch.rand(20, 3, generator=torch.Generator().manual_seed(0))
    states = {"u": torch.full((3,), 0.2), "v": torch.full((3,), 0.3)}
    grads = []
    for run in (fused.scan, fused.reference):
        x, *firsts = (v.detach().clone().requires_grad_() for v in (x, *states.values()))
        constants = {
            "keep_u": 0.8,
            "keep_v": torch.full((3,), 0.9),
            "gain": 1.0,
            "bias": 0.1,
            "vth": 1.5,
        }
        constants["bias"] = torch.tensor(0.1, requires_grad=True)
        out = run(
            lif.LIF,
            fused.Training(Atan(), gradient="eventprop"),
            {"a_in": x},
            constants,
            dict(zip(states, firsts, strict=True)),
            record=("v",),
        )
        ramp = torch.arange(20.0)[:, None]
        total = (
            (out.outputs["s_out"] * ramp.sin()).sum()
            + out.outputs["v"].sum()
            + out.states["u"].sum()
        )
        total.backward()
        grads.append([x.grad, *(f.grad for f in firsts), constants["bias"].grad])
    for a, b in zip(*grads, strict=True):
        assert a.abs().max() > 0
        torch.testing.assert_close(a, b)


def test_a_folded_loop_trains_by_times_and_a_single_step_is_refused():
    class Loop(torch.nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.fc = torch.nn.Linear(5, 2)
            self.lif = snn.Synaptic(
                0.8, 0.9, reset_delay=False, reset_mechanism="zero", gradient="eventprop"
            )

        def forward(self, x):
            syn, mem = self.lif.reset_mem()
            rows = []
            for now in x:
                spk, syn, mem = self.lif(self.fc(now), syn, mem)
                rows.append(spk)
            return torch.stack(rows)

    net, x = Loop(), torch.rand(15, 3, 5, generator=torch.Generator().manual_seed(2)) * 2
    with pytest.raises(lv.InputError, match=r"snn.Synaptic: gradient='eventprop'.*sequence\(x\)"):
        net(x)
    with torch.no_grad():
        spikes = net(x)
    assert spikes.sum() > 5
    weight = net.fc.weight.detach().clone().requires_grad_()
    z = torch.nn.functional.linear(x, weight, net.fc.bias.detach())
    spike_times(net.lif.sequence(z)[0]["s_out"]).sum().backward()
    optimizer = torch.optim.SGD(net.parameters(), 0.0)
    model = snn.accelerate(net, lambda out, _: spike_times(out).sum(), optimizer)
    out, _ = model(x, torch.zeros(3))
    assert torch.equal(out, spikes)
    torch.testing.assert_close(net.fc.weight.grad, weight.grad)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: snn.Synaptic(0.9, 0.9, gradient="eventprop"), "reset_delay=False"),
        (
            lambda: snn.Neuron(membrane.LEAKY["zero"], {"beta": 0.9}, gradient="eventprop"),
            "leaky_zero: EventProp is of neurons with a current",
        ),
        (
            lambda: slayer.block.cuba.Recurrent(
                {
                    "threshold": 1,
                    "current_decay": 0.5,
                    "voltage_decay": 0.1,
                    "gradient": "eventprop",
                },
                2,
                2,
            ),
            "Recurrent: neuron_params: gradient='eventprop'",
        ),
        (
            lambda: slayer.neuron.cuba.Neuron(1, 0.5, 0.1, gradient="eventprop", graded_spike=True),
            "graded_spike sends the voltage",
        ),
        (
            lambda: torch.func.vmap(
                lambda x: snn.Synaptic(0.9, 0.9, reset_delay=False, gradient="eventprop").sequence(
                    x
                )[1][0]
            )(torch.ones(2, 3, 1, 1, requires_grad=True)),
            "no operation that torch.func and traces see through",
        ),
        (
            lambda: snn.Synaptic(0.9, 0.9, reset_delay=False, gradient="eventprop").sequence(
                torch.ones(3, 1, 1).half()
            ),
            "float16",
        ),
        (lambda: fused.Training(Atan(), gradient="evenprop"), "gradient is one of"),
    ],
)
def test_what_has_no_times_is_refused(make, message):
    with pytest.raises(lv.InputError, match=message):
        make()
