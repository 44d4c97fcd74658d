"""Programs of models in Python around compiled parts: a solver, an environment, audio."""

from __future__ import annotations

import itertools

import h5py
import numpy as np

import lavalike as lv
import netx
from lavalike.proc import LIF, Dense, Recorder
from netx import writer

F64 = lv.RunConfig(dtype="float64")


# -- a QUBO, minimised by stochastic units


class Units(lv.AbstractProcess):
    """Binary variables: one in a step looks whether to flip, the less readily for the worse the
    colder it is."""

    def __init__(self, diagonal, seed):
        super().__init__(diagonal=diagonal, seed=seed)
        self.a_in, self.s_out = lv.InPort(diagonal.shape), lv.OutPort(diagonal.shape)
        self.x, self.temperature = lv.Var(diagonal.shape, 0.0), lv.Var((1,), 8.0)


@lv.implements(Units, backend="numpy")
class UnitsModel(lv.NumpyModel):
    """Metropolis' rule."""

    def __init__(self, process, config):
        super().__init__(process, config)
        self.random = np.random.default_rng(self.proc_params["seed"])

    def run_spk(self):
        self.s_out.send(self.x)  # first, so that what comes back is of this step
        field = self.proc_params["diagonal"] + self.a_in.recv()
        k = (self.time_step - 1) % len(self.x)
        worse = field[k] * (1 - 2 * self.x[k])
        if self.random.random() < np.exp(-max(worse, 0) / self.temperature[0]):
            self.x[k] = 1 - self.x[k]
        self.temperature *= 0.99


class Best(lv.AbstractProcess):
    """Looks at the variables after every step, keeps the best, and ends the run at a cost that is
    good enough."""

    def __init__(self, q, target):
        super().__init__(q=q, target=target)
        self.look = lv.RefPort((len(q),))
        self.cost, self.best, self.at = lv.Var((1,), 0.0), lv.Var((len(q),), 0.0), lv.Var((1,), 0)


@lv.implements(Best, backend="numpy")
class BestModel(lv.NumpyModel):
    """After the step of the variables."""

    def post_guard(self):
        return True

    def run_post_mgmt(self):
        x = self.look.read()
        cost = x @ self.proc_params["q"] @ x
        if cost < self.cost[0]:
            self.cost[0], self.best[:], self.at[0] = cost, x, self.time_step
        if cost <= self.proc_params["target"]:
            self.request_pause()


def test_a_qubo_is_solved_by_units_that_hear_each_other_through_a_dense():
    n = 10
    q = np.random.default_rng(3).integers(-9, 10, (n, n)).astype(float)
    q = (q + q.T) / 2
    every = np.array(list(itertools.product((0.0, 1.0), repeat=n)))
    least = ((every @ q) * every).sum(1).min()
    units, couple = (
        Units(np.diag(q).copy(), 7),
        Dense(weights=2 * (q - np.diag(np.diag(q))), delay=0),
    )
    best = Best(q, least)
    units.s_out.connect(couple.s_in)
    couple.a_out.connect(units.a_in)
    best.look.connect_var(units.x)
    units.run(lv.RunContinuous(), F64)
    units.wait()

    random, x, temperature, found = np.random.default_rng(7), np.zeros(n), 8.0, (0.0, None, 0)
    for t in itertools.count(1):
        k = (t - 1) % n
        worse = (q[k, k] + 2 * (q[k] @ x - q[k, k] * x[k])) * (1 - 2 * x[k])
        if random.random() < np.exp(-max(worse, 0) / temperature):
            x[k] = 1 - x[k]
        temperature *= 0.99
        if x @ q @ x < found[0]:
            found = x @ q @ x, x.copy(), t
        if found[0] <= least:
            break
    assert units.step == best.at.get()[0] == found[2] > 1
    assert best.cost.get()[0] == least < 0
    np.testing.assert_array_equal(best.best.get(), found[1])
    np.testing.assert_array_equal(units.x.get(), found[1])


# -- an environment that is stepped in every step


def pushed(place, speed, angle, turn, force):
    """A pole on a cart (Barto, Sutton, Anderson 1983), a fiftieth of a second on."""
    sine, cosine = np.sin(angle), np.cos(angle)
    drive = (force + 0.05 * turn**2 * sine) / 1.1
    back = (9.8 * sine - cosine * drive) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
    along = drive - 0.05 * back * cosine / 1.1
    return place + 0.02 * speed, speed + 0.02 * along, angle + 0.02 * turn, turn + 0.02 * back


class CartPole(lv.AbstractProcess):
    """Sends where the pole is, and takes spikes that push to the left or right."""

    def __init__(self):
        super().__init__()
        self.push, self.seen = lv.InPort((2,)), lv.OutPort((4,))
        self.where = lv.Var((4,), [0.0, 0.0, 0.05, 0.0])


@lv.implements(CartPole, backend="numpy")
class CartPoleModel(lv.NumpyModel):
    """Tells first, so that it is pushed by what a step without delay makes of it."""

    def run_spk(self):
        self.seen.send(self.where)
        left, right = self.push.recv()
        self.where = np.array(pushed(*self.where, 10.0 * (right - left)))


READ = np.array([[-0.5, -1.0, -12.0, -2.0], [0.5, 1.0, 12.0, 2.0]])


def controlled(see, steer, steps):
    """By hand: where the pole is after each step, with the delays of the two connections."""
    where, rows, seen, spikes = np.array([0.0, 0.0, 0.05, 0.0]), [], [], [np.zeros(2)]
    v = np.zeros(2)
    for t in range(steps):
        seen.append(where)
        v = v * 0.5 + (READ @ seen[t - see] if t >= see else 0)
        s = (v > 0.1).astype(float)
        v = np.where(s, 0, v)
        spikes.append(s)
        left, right = spikes[-1 - steer]
        where = np.array(pushed(*where, 10.0 * (right - left)))
        rows.append(where)
    return np.array(rows)


def test_a_pole_is_kept_up_by_neurons_within_the_step():
    pole, look = CartPole(), Dense(weights=READ, num_message_bits=24, delay=0)
    neurons = LIF(shape=(2,), du=1.0, dv=0.5, vth=0.1)
    pole.seen.connect(look.s_in)
    look.a_out.connect(neurons.a_in)
    neurons.s_out.connect(pole.push)
    path = Recorder()
    path.add(pole.where)
    for part in (1, 2, 297):
        pole.run(lv.RunSteps(part), F64)
    by_hand = controlled(0, 0, 300)
    np.testing.assert_allclose(path[pole.where], by_hand, rtol=1e-9, atol=1e-12)
    assert np.abs(by_hand[:, 2]).max() < 0.2  # upright: some 11 degrees
    free = np.array([0.0, 0.0, 0.05, 0.0])
    for _ in range(300):
        free = np.array(pushed(*free, 0.0))
    assert abs(free[2]) > 1


def test_the_same_pole_in_the_callers_loop():
    """A program that steps its environment itself: set, run one step, get."""
    look = Dense(weights=READ, num_message_bits=24, delay=0)
    eyes = lv.proc.io.source.RingBuffer(data=np.zeros((4, 1)))
    neurons = LIF(shape=(2,), du=1.0, dv=0.5, vth=0.1)
    eyes.s_out.connect(look.s_in)
    look.a_out.connect(neurons.a_in)
    spikes = Recorder()
    spikes.add(neurons.s_out)
    where, rows = np.array([0.0, 0.0, 0.05, 0.0]), []
    with neurons:
        for t in range(100):
            eyes.data.set(where.reshape(4, 1))
            neurons.run(lv.RunSteps(1), F64)
            left, right = spikes[neurons.s_out][t]
            where = np.array(pushed(*where, 10.0 * (right - left)))
            rows.append(where)
    np.testing.assert_allclose(rows, controlled(0, 0, 100), rtol=1e-9, atol=1e-12)


# -- audio: models in Python around a network of a file


HOP, BINS = 16, 17


def magnitudes(frame):
    """(32,) -> (17,), whole numbers."""
    return np.floor(np.abs(np.fft.rfft(frame * np.hanning(2 * HOP))) * 8).astype(int)


class Frames(lv.AbstractProcess):
    """Cuts a sound into frames that overlap by half, and sends the magnitudes of each."""

    def __init__(self, sound):
        super().__init__()
        self.sound, self.s_out = lv.Var(sound.shape, sound), lv.OutPort((BINS,))


@lv.implements(Frames, backend="numpy")
class FramesModel(lv.NumpyModel):
    """A frame a step."""

    s_out = lv.Declared(int)

    def run_spk(self):
        at = (self.time_step - 1) * HOP
        self.s_out.send(magnitudes(self.sound[at : at + 2 * HOP]))


class Masked(lv.AbstractProcess):
    """Lets through of each frame what the network's spikes of some frames allow, and adds the
    frames up again."""

    def __init__(self, sound, lag):
        super().__init__(lag=lag)
        self.mask, self.clean = lv.InPort((BINS,)), lv.Var(sound.shape, 0.0)
        self.sound = lv.Var(sound.shape, sound)


@lv.implements(Masked, backend="numpy")
class MaskedModel(lv.NumpyModel):
    """The mask of frame t - lag comes in step t."""

    def run_spk(self):
        mask, k = self.mask.recv(), self.time_step - 1 - self.proc_params["lag"]
        if k >= 0:
            masked(self.sound, self.clean, k * HOP, mask)


def masked(sound, clean, at, mask):
    """Add the frame at ``at`` to ``clean``, what ``mask`` holds back left out."""
    spectrum = np.fft.rfft(sound[at : at + 2 * HOP] * np.hanning(2 * HOP)) * (mask > 0)
    clean[at : at + 2 * HOP] += np.fft.irfft(spectrum)


def test_audio_through_a_network_of_a_file(tmp_path):
    rng, steps = np.random.default_rng(5), 60
    n = (steps + 1) * HOP
    tone = np.sin(2 * np.pi * np.arange(n) * 5 / 32)
    sound = tone + 0.1 * rng.standard_normal(n)
    neuron = {"type": "CUBA", "iDecay": 4096, "vDecay": 2048, "vThMant": 80, "refDelay": 1}
    weight = np.where(np.eye(BINS), 4, 0)
    path = tmp_path / "mask.net"
    with h5py.File(path, "w") as file:
        group = file.create_group("layer/0")
        writer.write_type(group, "dense")
        writer.write_neuron(group.create_group("neuron"), neuron)
        group.create_dataset("shape", data=[BINS])
        group.create_dataset("inFeatures", data=BINS)
        group.create_dataset("outFeatures", data=BINS)
        group.create_dataset("weight", data=weight)
        group.attrs["delay_shift"] = True
        writer.sign(file)
    net = netx.hdf5.Network(net_config=path, input_message_bits=16)
    frames, out = Frames(sound), Masked(sound, lag=1)
    frames.s_out.connect(net.inp)
    net.out.connect(out.mask)
    frames.run(
        lv.RunSteps(steps), lv.RunConfig(precision="fixed_pt", select={Masked: "floating_pt"})
    )

    clean, v, arriving = np.zeros(n), np.zeros(BINS, int), np.zeros(BINS, int)
    for t in range(steps):
        v = ((v * (4096 - 2048)) >> 12) + (arriving << 6)
        spikes = v > 80 << 6
        v[spikes] = 0
        if t:
            masked(sound, clean, (t - 1) * HOP, spikes)
        arriving = weight @ magnitudes(sound[t * HOP : t * HOP + 2 * HOP])
    np.testing.assert_allclose(out.clean.get(), clean, rtol=0, atol=1e-12)
    middle = slice(2 * HOP, -4 * HOP)
    scale = (clean[middle] @ tone[middle]) / (clean[middle] @ clean[middle])
    noise = np.std(scale * clean[middle] - tone[middle])
    assert noise < 0.5 * np.std((sound - tone)[middle])
