"""slayer.utils: Assistant, statistics, filters, shifts, recurrence, checkpoints."""

from __future__ import annotations

import copy
import hashlib
import math
import pickle
import zipfile

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.nn import functional

from lavalike import InputError
from lavalike.slayer import classifier, utils
from lavalike.slayer.utils import (
    LearningStat,
    LearningStats,
    filter,
    load_checkpoint,
    save_checkpoint,
    time,
)

matplotlib.use("Agg")

# -- statistics ------------------------------------------------------------------------------------


def test_best_is_the_same_before_and_after_update():
    """lava-dl's flag, read before update() as its tutorial does, was that of the epoch before, and
    never of epoch 0."""
    stat = LearningStat()
    assert not stat.best_loss
    for loss, accuracy, best in (
        (3.0, 0.5, (True, True)),
        (4.0, 0.6, (False, True)),
        (2.0, 0.6, (True, False)),
        (math.nan, 0.1, (False, False)),
        (1.0, 0.1, (True, False)),
    ):
        stat.add(loss, 10, 10 * accuracy)
        assert (stat.best_loss, stat.best_accuracy) == best
        stat.update()
        assert (stat.best_loss, stat.best_accuracy) == best
    assert (stat.min_loss, stat.max_accuracy) == (1.0, 0.6)
    stat.update()  # an epoch without samples is no best one
    assert (stat.best_loss, stat.min_loss, len(stat.loss_log)) == (False, 1.0, 6)
    assert math.isnan(stat.loss_log[-1])


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_best_loss_marks_the_running_minima(losses):
    stat = LearningStat()
    for k, loss in enumerate(losses):
        stat.add(loss, 1)
        assert stat.best_loss == all(loss < before for before in losses[:k])
        stat.update()
    assert stat.min_loss == min(losses)


def test_samples_counted_by_hand():
    stat = LearningStat()
    stat.num_samples += 4
    stat.loss_sum += 8.0
    assert (stat.loss, stat.accuracy) == (2.0, None)
    stat.correct_samples += 3
    assert stat.accuracy == 0.75


def test_text():
    stats = LearningStats(accuracy_unit="%")
    stats.training.add(0.08724, 2)
    assert str(stats) == "Train loss =     0.08724"
    stats.testing.add(0.5, 2, 1)
    stats.update()
    assert str(stats) == (
        "Train loss =     0.08724 (min =     0.08724) | "
        "Test  loss =     0.50000 (min =     0.50000)    accuracy =     0.50000 % (max =     0.50000)"
    )
    stats.training.add(1, 1)
    assert str(stats.training) == "loss =     1.00000 (min =     0.08724)"


def test_print(capsys):
    stats = LearningStats("error", "rad")
    stats.training.add(0.25, 2)
    stats.print(3, 4, 0.01234, ["header"], dataloader=range(10))
    stats.print(3)
    assert capsys.readouterr().out == (
        "header\nEpoch    3, batch     4 of 10 (50 %), 0.0123 s a batch\nTrain error =     0.25000 rad\n"
        "Epoch    3\nTrain error =     0.25000 rad\n"
    )
    with pytest.raises(InputError, match="give iter too"):
        stats.print(0, dataloader=range(3))


FLOATS = st.one_of(st.floats(width=64), st.just(math.nan))


@given(st.lists(st.tuples(FLOATS, FLOATS, FLOATS, st.floats(0, 1)), max_size=6))
@settings(max_examples=40, deadline=None)
def test_save_and_load_keep_every_bit(tmp_path_factory, rows):
    """lava-dl's load did nothing."""
    folder = tmp_path_factory.mktemp("stats") / "new"
    stats = LearningStats()
    for train, test, valid, accuracy in rows:
        stats.training.add(train, 1, accuracy)
        stats.testing.add(test, 1)
        stats.validation.add(valid, 1)
        stats.update()
    stats.save(folder)
    if rows:
        np.testing.assert_array_equal(
            np.loadtxt(folder / "loss.txt").reshape(-1, 3)[:, 0], stats.training.loss_log
        )
    other = LearningStats()
    other.training.add(9, 9)
    other.load(folder)
    for a, b in (
        (stats.training, other.training),
        (stats.testing, other.testing),
        (stats.validation, other.validation),
    ):
        for name in ("loss_log", "accuracy_log"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert (a.min_loss, a.max_accuracy, a.best_loss, a.best_accuracy, a.num_samples) == (
            b.min_loss,
            b.max_accuracy,
            b.best_loss,
            b.best_accuracy,
            b.num_samples,
        )
    third = LearningStats()
    third.load_state_dict(stats.state_dict())
    assert str(third) == str(stats)


def test_damaged_logs_are_told(tmp_path):
    stats = LearningStats()
    with pytest.raises(FileNotFoundError):
        stats.load(tmp_path)
    stats.training.add(1, 1)
    stats.update()
    stats.save(tmp_path)
    for text, message in (
        ("# a\n1 2\n", r"loss.txt: line 2 is '1 2'; three numbers"),
        ("1 2 x\n", "line 1 is '1 2 x'"),
        ("", "0 epochs"),
    ):
        (tmp_path / "loss.txt").write_text(text)
        with pytest.raises(InputError, match=message):
            stats.load(tmp_path)
    assert stats.training.loss_log == [1.0]


def test_plot(tmp_path):
    from matplotlib import pyplot as plt

    stats = LearningStats(loss_unit="rad")
    stats.plot(figures=(7, 8))  # nothing to draw is fine
    for loss in (3.0, 2.0, 1.0):
        stats.training.add(loss, 1)
        stats.testing.add(2 * loss, 1)
        stats.update()
    stats.plot((7, 8), (4, 3), tmp_path)
    axes = plt.figure(7).axes[0]
    assert [line.get_ydata().tolist() for line in axes.lines] == [[3, 2, 1], [6, 4, 2]]
    assert (axes.get_yscale(), axes.get_ylabel(), plt.figure(7).get_size_inches().tolist()) == (
        "log",
        "loss [rad]",
        [4, 3],
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["loss.png"]  # no accuracy was counted
    stats.training.add(-1, 4, 3)
    stats.update()
    stats.plot((7, 8), path=tmp_path)
    assert plt.figure(7).axes[0].get_yscale() == "linear"
    assert (tmp_path / "accuracy.png").exists()
    plt.close("all")


# -- Assistant -------------------------------------------------------------------------------------


class Net(nn.Module):
    """Returns what is asked for: the output, a loss of its own, a count."""

    def __init__(self, *extra: str) -> None:
        super().__init__()
        self.linear, self.extra = nn.Linear(3, 2), extra

    def forward(self, x):
        y = self.linear(x)
        more = {"loss": self.linear.weight.square().sum(), "count": torch.tensor([1.0, 2.0])}
        return (y, *(more[e] for e in self.extra)) if self.extra else y


def assistant(*extra, **options):
    torch.manual_seed(1)
    net = Net(*extra)
    stats = LearningStats()
    return utils.Assistant(
        net, functional.cross_entropy, torch.optim.SGD(net.parameters(), 0.1), stats, **options
    ), stats


X, LABEL = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2


def test_assistant_trains_tests_and_validates_plain_modules():
    """lava-dl's valid asked plain modules for a .device they do not have."""
    helper, stats = assistant(classifier=lambda y: y.argmax(1))
    before = copy.deepcopy(helper.net.state_dict())
    want = functional.cross_entropy(helper.net(X), LABEL)
    (slope,) = torch.autograd.grad(want, helper.net.linear.bias)
    right = int((helper.net(X).argmax(1) == LABEL).sum())
    for call, stat in ((helper.valid, stats.validation), (helper.test, stats.testing)):
        out = call(X, LABEL)
        assert not out.requires_grad
        assert not helper.net.training
        assert (stat.loss, stat.correct_samples, stat.num_samples) == (
            pytest.approx(want.item()),
            right,
            8,
        )
    assert all(torch.equal(v, before[k]) for k, v in helper.net.state_dict().items())
    assert helper.train(X, LABEL).shape == (8, 2)
    assert helper.net.training
    np.testing.assert_allclose(
        helper.net.linear.bias.detach(), before["linear.bias"] - 0.1 * slope, rtol=1e-5
    )
    helper.reduce_lr()
    assert helper.optimizer.param_groups[0]["lr"] == pytest.approx(0.03)


def test_assistant_with_counts_and_a_loss_of_the_network():
    helper, stats = assistant("loss", "count", count_log=True, lam=0.5)
    weight = helper.net.linear.weight
    y, own, _ = helper.net(X)
    loss = functional.cross_entropy(y, LABEL)
    want = torch.autograd.grad(loss + 0.5 * own, weight)[0]
    before = weight.detach().clone()
    output, count = helper.train(X, LABEL)
    assert torch.equal(output, y)
    assert count.tolist() == [1, 2]
    np.testing.assert_allclose(weight.detach(), before - 0.1 * want, rtol=1e-5)
    assert stats.training.loss == pytest.approx(loss.item())  # without the network's own
    output, own = assistant("loss", lam=1.0)[0].net(X)
    assert assistant("loss", lam=1.0)[0].test(X, LABEL).shape == (8, 2)


def test_assistant_counts_steps_as_shares_of_a_sample():
    net = nn.Identity()
    stats = LearningStats()
    spike = torch.zeros(2, 2, 4)
    spike[0, 1], spike[1, 0] = 1, 1
    helper = utils.Assistant(net, lambda y, t: y.sum(), None, stats, classifier.MovingWindow(1))
    helper.test(spike, torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]))
    assert stats.testing.accuracy == pytest.approx(3 / 8)


def test_assistant_tells_what_does_not_fit():
    with pytest.raises(
        InputError, match="count_log=True and lam=None the network returns 2 values"
    ):
        assistant(count_log=True)[0].train(X, LABEL)
    helper, _ = assistant(
        classifier=lambda y: y.argmax(1, keepdim=True)
    )  # (8, 1) == (8,) would be (8, 8)
    with pytest.raises(InputError, match=r"labels have shape \(8, 1\), the targets \(8,\)"):
        helper.test(X, LABEL)


# -- filters, time, small helpers ------------------------------------------------------------------


@given(
    st.integers(1, 12), st.integers(1, 15), st.sampled_from([1, 0.5, 2.0]), st.integers(0, 2**31)
)
@settings(max_examples=40, deadline=None)
def test_conv_and_corr_are_numpys_and_adjoint(steps, length, dt, seed):
    rng = np.random.default_rng(seed)
    x, y, h = (
        rng.normal(size=(2, 3, steps)),
        rng.normal(size=(2, 3, steps)),
        rng.normal(size=length),
    )
    tx, ty, th = map(torch.from_numpy, (x, y, h))
    got = filter.conv(tx, th, dt)
    want = (
        np.stack([np.convolve(row, h)[:steps] for row in x.reshape(-1, steps)]).reshape(x.shape)
        * dt
    )
    np.testing.assert_allclose(got, want, atol=1e-12)
    np.testing.assert_allclose((got * ty).sum(), (tx * filter.corr(ty, th, dt)).sum(), atol=1e-9)
    bank = filter.FIRBank(2, length * dt, dt).double()
    z = bank(tx[:, None])
    assert z.shape == (2, 2, 3, steps)
    for k in range(2):
        np.testing.assert_allclose(
            z[:, k].detach(),
            filter.conv(tx, bank.weight[k].ravel().flip(0).detach(), dt),
            atol=1e-12,
        )


def test_fir():
    impulse = torch.zeros(1, 2, 2, 2, 30)
    impulse[..., 2] = 1
    fir = filter.FIR(time_constant=4, length=10)
    y = fir(impulse)[0, 1, 1, 0]
    np.testing.assert_allclose(y[2:12], np.exp(-np.arange(10) / 4), rtol=1e-6)
    assert y[:2].abs().sum() + y[12:].abs().sum() == 0
    assert filter.FIR(time_constant=4, length=10, sampling_time=2).filter[
        3
    ].item() == pytest.approx(math.exp(-1.5))
    assert filter.FIR([1, 2, 3])(torch.tensor([1, 0, 0, 0])).tolist() == [1, 2, 3, 0]
    assert [k for k, _ in fir.named_parameters()] == []


def test_fir_bank_learns():
    torch.manual_seed(0)
    bank = filter.FIRBank(1, 5, scale=0.5)
    assert bank.weight.shape == (1, 1, 1, 1, 5)
    assert float(bank.weight.detach().abs().max()) <= 0.5 / math.sqrt(5)
    target = filter.FIR(time_constant=2, length=5)
    x = torch.randn(4, 1, 60)
    optimizer = torch.optim.LBFGS(bank.parameters(), max_iter=50)

    def closure():
        optimizer.zero_grad()
        loss = functional.mse_loss(bank(x), target(x))
        loss.backward()
        return loss

    optimizer.step(closure)
    np.testing.assert_allclose(bank.weight.detach().ravel().flip(0), target.filter, atol=1e-3)


@given(st.integers(1, 9), st.integers(-12, 12), st.sampled_from([1, 0.5]))
@settings(max_examples=60, deadline=None)
def test_shift(steps, n, dt):
    x = torch.arange(1.0, 2 * 3 * steps + 1).reshape(2, 3, steps).requires_grad_()
    want = np.zeros((2, 3, steps))
    for t in range(steps):
        if 0 <= t - n < steps:
            want[..., t] = x[..., t - n].detach()
    y = time.shift(x, n * dt, dt)
    np.testing.assert_array_equal(y.detach(), want)
    y.sum().backward()
    np.testing.assert_array_equal(time.shift(torch.ones_like(x), -n), x.grad)
    each = time.shift(x.detach(), torch.tensor([n, 0, -n]))
    for c, d in enumerate((n, 0, -n)):
        np.testing.assert_array_equal(each[:, c], time.shift(x.detach()[:, c], d))


def test_replicate():
    y = time.replicate(torch.arange(6.0).reshape(2, 3), 4)
    assert y.shape == (2, 3, 4)
    assert torch.equal(y[..., 0], y[..., 3])
    assert y.stride(-1) == 0


def test_event_rate():
    x = torch.zeros(2, 3, 5)
    x[..., 0], x[0, 0, 1], x[1, 2, 4] = 1, -0.5, 2
    assert utils.event_rate(x).item() == pytest.approx(2 / 24)
    assert utils.event_rate(x[..., :1]) == 1
    assert utils.event_rate(x.bool()).item() == pytest.approx(2 / 24)
    ones = torch.ones(1, 1001, 2, dtype=torch.bfloat16)
    ones[0, 0] = 0
    assert utils.event_rate(ones).item() == pytest.approx(1000 / 1001, rel=1e-6)


def test_diagonal_mask():
    assert torch.equal(utils.diagonal_mask(4, 1), torch.eye(4))
    assert (
        utils.diagonal_mask(3, 3).tolist()
        == utils.diagonal_mask(3, 2).tolist()
        == [[1, 1, 0], [1, 1, 1], [0, 1, 1]]
    )
    assert bool((utils.diagonal_mask(3, 99) == 1).all())


def test_dotdict_and_staticproperty():
    d = utils.dotdict(a=1)
    d.b = 2
    assert (d["b"], d.a, dict(d)) == (2, 1, {"a": 1, "b": 2})
    del d.a
    with pytest.raises(AttributeError, match="no item 'a'; there are b"):
        _ = d.a
    assert pickle.loads(pickle.dumps(d)) == copy.deepcopy(d) == {"b": 2}

    class C:
        @utils.staticproperty
        def n():
            return 5

    assert (C.n, C().n) == (5, 5)


def test_right_shift_to_zero(conformance):
    with np.load(conformance("lava-dl/slayer/right_shift_to_zero.npz"), allow_pickle=False) as z:
        x, want = torch.from_numpy(z["x"]), z["out12"]
    np.testing.assert_array_equal(utils.int_utils.right_shift_to_zero(x, 12), want)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 63))
@settings(max_examples=200, deadline=None)
def test_right_shift_is_division_towards_zero(x, bits):
    want = (abs(x) >> bits) * (1 if x >= 0 else -1)
    assert utils.int_utils.right_shift_to_zero(torch.tensor([x]), bits).item() == want


def test_q2zero():
    x = torch.tensor([-1.7, -0.2, 0.2, 1.7], requires_grad=True)
    y = utils.int_utils.Q2Zero.apply(x)
    assert y.tolist() == [-1, 0, 0, 1]
    (3 * y).sum().backward()
    assert x.grad.tolist() == [3] * 4


def leaky(decay):
    """A smooth neuron that keeps its own membrane."""
    state = [0.0]

    def neuron(z):
        state[0] = decay * state[0] + z
        return torch.tanh(state[0])

    return neuron


def test_recurrent_gradient_flows_through_the_membrane():
    """lava-dl detached the neuron's state at every step: only the feedback path carried a
    gradient."""
    torch.manual_seed(0)
    z = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)

    def run(z, weight):
        return utils.recurrent.custom_recurrent(
            z, leaky(0.9), lambda s: torch.einsum("oi,nit->not", weight, s)
        )

    y = run(z, weight)
    assert y.shape == z.shape
    assert torch.autograd.gradcheck(run, (z, weight))
    alone = utils.recurrent.custom_recurrent(z, leaky(0.9), lambda s: 0 * s)
    (g,) = torch.autograd.grad(alone[..., -1].sum(), z)
    slope = 1 - alone[..., -1].detach() ** 2
    np.testing.assert_allclose(
        g[..., 0], slope * 0.9**5
    )  # through five steps of membrane, without feedback
    neuron = leaky(0.9)
    synapse = lambda s: torch.einsum("oi,nit->not", weight, s)  # noqa: E731
    first = utils.recurrent.custom_recurrent(z[..., :2], neuron, synapse)
    second = utils.recurrent.custom_recurrent(z[..., 2:], neuron, synapse, last=first[..., -1:])
    np.testing.assert_array_equal(torch.cat((first, second), -1).detach(), y.detach())


def test_a_weighed_loss_leaves_the_errors_own_as_it_is():
    class Net(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x), self.weight.square().sum()

    torch.manual_seed(0)
    net, seen, stats = Net(3, 2), [], utils.LearningStats()
    penalty = float(net.weight.detach().square().sum())

    def error(y, target):
        seen.append(((y - target) ** 2).mean())
        return seen[-1]

    before = net.weight.detach().clone()
    assistant = utils.Assistant(net, error, torch.optim.SGD(net.parameters(), 0.1), stats, lam=10.0)
    assistant.train(
        torch.zeros(4, 3), torch.ones(4, 2)
    )  # of a zero input the error has no gradient to the weight
    assert stats.training.loss == pytest.approx(seen[0].item())
    assert seen[0].item() < 10 * penalty  # or the above would not tell
    np.testing.assert_allclose(net.weight.detach(), before * (1 - 0.1 * 2 * 10.0), rtol=1e-5)
    with pytest.raises(InputError, match="train: input is a torch tensor, got"):
        assistant.train([1.0], torch.ones(4, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: filter.conv(torch.zeros(2, 3), torch.zeros(2, 2)),
            r"a filter has one axis.*got \(2, 2\)",
        ),
        (lambda: filter.conv(torch.zeros(2, 0), torch.zeros(2)), r"got \(2, 0\)"),
        (lambda: filter.FIR(time_constant=0), "time_constant is a number > 0, got 0"),
        (lambda: filter.FIRBank(2, 0.5), "filter_length is >= sampling_time, got 0.5, 1"),
        (
            lambda: filter.FIRBank(2, 3)(torch.zeros(3, 4)),
            r"expected \(batch, channels, ..., time\)",
        ),
        (lambda: time.shift(torch.zeros(2, 3, 4), [1, 2]), r"\(2,\) shifts for input \(2, 3, 4\)"),
        (lambda: time.shift(torch.zeros(2, 3, 4), 1, 0), "sampling_time is a number > 0"),
        (lambda: time.replicate(torch.zeros(2), 0), "num_steps is an integer >= 1, got 0"),
        (lambda: utils.event_rate(torch.zeros(2, 3, 0)), r"got \(2, 3, 0\)"),
        (lambda: utils.diagonal_mask(3, 0), "num_diagonals is an integer >= 1, got 0"),
        (
            lambda: utils.int_utils.right_shift_to_zero(torch.zeros(2), 3),
            "an integer tensor is expected, got torch.float32",
        ),
        (
            lambda: utils.int_utils.right_shift_to_zero(torch.zeros(2, dtype=torch.int32), 32),
            r"bits of a torch.int32 are 0\.\.31",
        ),
        (
            lambda: utils.recurrent.custom_recurrent(torch.zeros(2, 3, 0), leaky(1), torch.relu),
            r"got \(2, 3, 0\)",
        ),
        (
            lambda: utils.recurrent.custom_recurrent(
                torch.zeros(2, 3, 2), leaky(1), torch.relu, torch.zeros(2, 3)
            ),
            r"expected \(2, 3, 1\)",
        ),
    ],
)
def test_bad_input_is_told(call, message):
    with pytest.raises(InputError, match=message):
        call()


# -- checkpoints -----------------------------------------------------------------------------------


class Run:
    """A training with every kind of randomness: initial weights, dropout, order of the data."""

    def __init__(self, seed):
        torch.manual_seed(seed)
        self.net = nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, 3))
        self.optimizer = torch.optim.Adam(self.net.parameters(), 1e-2)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 6)
        self.stats, self.order, self.losses = (
            LearningStats(),
            torch.Generator().manual_seed(seed),
            [],
        )
        g = torch.Generator().manual_seed(0)
        data = torch.utils.data.TensorDataset(
            torch.randn(30, 6, generator=g), torch.randint(3, (30,), generator=g)
        )
        self.loader = torch.utils.data.DataLoader(
            data, 8, shuffle=True, generator=self.order
        )  # the last batch has 6
        self.helper = utils.Assistant(
            self.net, functional.cross_entropy, self.optimizer, self.stats, lambda y: y.argmax(1)
        )

    def epochs(self, n):
        for _ in range(n):
            for x, y in self.loader:
                self.losses.append(self.helper.train(x, y).sum().item())
            self.stats.update()
            self.schedule.step()
        return self

    def parts(self):
        return {
            "net": self.net,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "stats": self.stats,
        }

    def save(self, path):
        state = {k: v.state_dict() for k, v in self.parts().items()}
        save_checkpoint(path, **state, rng=torch.get_rng_state(), order=self.order.get_state())

    def load(self, path):
        state = load_checkpoint(path)
        for k, v in self.parts().items():
            v.load_state_dict(state[k])
        torch.set_rng_state(state["rng"])
        self.order.set_state(state["order"])
        return self


def test_an_interrupted_training_resumes_to_the_same_numbers(tmp_path):
    whole = Run(1).epochs(6)
    Run(1).epochs(2).save(tmp_path / "c.pt")
    torch.manual_seed(99)
    resumed = Run(2).load(tmp_path / "c.pt").epochs(4)
    assert resumed.losses == whole.losses[-len(resumed.losses) :]
    assert str(resumed.stats) == str(whole.stats)
    np.testing.assert_array_equal(resumed.stats.training.loss_log, whole.stats.training.loss_log)
    assert all(
        torch.equal(a, b)
        for a, b in zip(resumed.net.parameters(), whole.net.parameters(), strict=True)
    )


def test_a_failed_save_leaves_the_checkpoint_before(tmp_path):
    path = tmp_path / "c.pt"
    save_checkpoint(path, a=torch.arange(3), nested={"x": [1, 2.5, "s", None, (True, b"raw")]})
    whole = path.read_bytes()
    for bad in (lambda x: x, nn.Linear(2, 2), np.float64(1), np.zeros(2)):
        with pytest.raises(
            InputError, match=r"save_checkpoint: bad \(.*\) is not made of tensors.*state_dict"
        ):
            save_checkpoint(path, good=1, bad=bad)
        assert path.read_bytes() == whole
        assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]
    back = load_checkpoint(path)
    assert back["nested"] == {"x": [1, 2.5, "s", None, (True, b"raw")]}
    assert back["a"].tolist() == [0, 1, 2]
    with pytest.raises(FileNotFoundError):
        save_checkpoint(tmp_path / "no" / "c.pt", a=1)


class Evil:
    def __reduce__(self):
        return (open, ("made", "w"))


def test_foreign_files_are_told_and_run_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "c.pt"
    with pytest.raises(FileNotFoundError):
        load_checkpoint(path)
    for content in (b"", b"hello", pickle.dumps({"a": 1})):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"c\.pt: damaged, or no checkpoint"):
            load_checkpoint(path)
    torch.save({"a": torch.zeros(2)}, path)  # a torch file of another program
    with pytest.raises(InputError, match=r"c\.pt: damaged, or no checkpoint"):
        load_checkpoint(path)
    for content, message in (
        ({"a": 1}, "no checkpoint written by save_checkpoint"),
        (
            {"format": "lavalike.checkpoint", "version": 2, "state": {}},
            "version 2; this lavalike reads version 1",
        ),
        (
            {"format": "lavalike.checkpoint", "version": 1, "state": {"a": Evil()}},
            "Weights only load failed",
        ),
    ):
        torch.save(content, path)
        path.write_bytes(path.read_bytes() + hashlib.sha256(path.read_bytes()).hexdigest().encode())
        with pytest.raises(InputError, match=message):
            load_checkpoint(path)
    assert not (tmp_path / "made").exists()


def test_damage_is_told(tmp_path):
    """torch loads changed weights without a word."""
    path = tmp_path / "c.pt"
    save_checkpoint(path, weight=torch.arange(300.0), epoch=3)
    whole = path.read_bytes()
    assert (
        torch.load(path, weights_only=True)["state"]["epoch"] == 3
    )  # still an ordinary torch file
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None

    @given(st.integers(0, len(whole) - 1), st.integers(1, 255), st.booleans())
    @settings(max_examples=150, deadline=None)
    def check(at, flip, cut):
        path.write_bytes(
            whole[:at] if cut else whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :]
        )
        with pytest.raises(InputError, match="damaged"):
            load_checkpoint(path)

    check()
