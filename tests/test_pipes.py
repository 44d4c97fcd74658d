"""What passes between a graph that runs and the program around it, what acts at set steps, and
models beside the steps."""

from __future__ import annotations

import contextlib
import copy
import pickle
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import lavalike as lv
from lavalike.backends.numpy import library
from lavalike.errors import ChannelDeadlockError, DeadlockError
from lavalike.proc import LIF, BitCheck, DelayDense, Delta, Dense, Monitor, Sigma, clp, io
from lavalike.proc.io import (
    ChannelConfig,
    DroppedMessageWarning,
    MissingMessageWarning,
    ReceiveEmpty,
    ReceiveNotEmpty,
    SendFull,
)
from lavalike.proc.io.channel import LOOK, Channel

ZEROS = ChannelConfig(receive_empty=ReceiveEmpty.NON_BLOCKING_ZEROS)
DROP = ChannelConfig(send_full=SendFull.NON_BLOCKING_DROP)
SUM = ChannelConfig(
    receive_empty=ReceiveEmpty.NON_BLOCKING_ZEROS, receive_not_empty=ReceiveNotEmpty.ACCUMULATE
)


def relay(size: int = 50, config: ChannelConfig | None = None) -> tuple[io.Injector, io.Extractor]:
    """From the program and to it."""
    injector = io.Injector(shape=(2,), buffer_size=size, channel_config=config)
    extractor = io.Extractor(shape=(2,), buffer_size=size, channel_config=config)
    injector.out_port.connect(extractor.in_port)
    return injector, extractor


def beside(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """A thread that does ``work``, and what came of it."""
    out: list[Any] = []

    def run() -> None:
        try:
            out.append(work())
        except Exception as e:
            out.append(e)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, out


def until(come: Callable[[], Any]) -> None:
    """Look until it has; an AssertionError where it does not come."""
    begun = time.monotonic()
    while not come():
        assert time.monotonic() - begun < 60


# -- channels


def test_what_is_sent_comes_out_in_order_and_is_a_copy():
    injector, extractor = relay()
    x = np.zeros(2)
    for k in range(3):
        x[:] = k, -k
        injector.send(x)
    injector.run(lv.RunSteps(3))
    assert [extractor.receive().tolist() for _ in range(3)] == [[0, 0], [1, -1], [2, -2]]


def test_a_run_that_does_not_block_takes_messages_as_they_come():
    injector, extractor = relay()
    injector.run(lv.RunSteps(20, blocking=False))
    for k in range(20):
        injector.send([k, 2 * k])
        assert extractor.receive().tolist() == [k, 2 * k]
    injector.wait()
    assert injector.step == 20


def test_a_run_without_end_does_as_many_steps_as_there_are_messages_and_is_paused_between_two():
    injector, extractor = relay(3)
    injector.run(lv.RunContinuous())
    for k in range(10):
        injector.send([k, 0])
        extractor.receive()
    injector.pause()
    assert injector.step == 10
    injector.send([5, 5])
    injector.run(lv.RunSteps(1))  # and goes on
    assert extractor.receive().tolist() == [5, 5]
    assert injector.step == 11


def test_the_program_may_answer_within_the_step():
    """The step begins as the program waits for what it brings; what it answers is for the same
    step."""

    class Source(lv.AbstractProcess):
        def __init__(self):
            super().__init__()
            self.s_out = lv.OutPort((2,))
            self.a_in = lv.InPort((2,))
            self.total = lv.Var((2,), 0.0)

    @lv.implements(Source, backend="numpy")
    class SourceModel(lv.NumpyModel):
        def run_spk(self):
            self.s_out.send([self.time_step, 1])
            self.total[:] += self.a_in.recv()

    source, injector, extractor = Source(), io.Injector(shape=(2,)), io.Extractor(shape=(2,))
    source.s_out.connect(extractor.in_port)
    injector.out_port.connect(source.a_in)
    source.run(lv.RunSteps(3, blocking=False))
    for k in range(3):
        seen = extractor.receive()
        assert seen.tolist() == [k + 1, 1]
        injector.send(10 * seen)
    source.wait()
    assert source.total.get().tolist() == [60, 30]


def test_among_compiled_parts_in_fixed_pt():
    injector, lif = io.Injector(shape=(2,)), LIF(shape=(2,), vth=1, du=4095, dv=4095)
    extractor, wire = io.Extractor(shape=(2,)), io.VarWire()
    injector.out_port.connect(lif.a_in)
    lif.s_out.connect(extractor.in_port)
    wire.connect_var(lif.u)
    for x in ([1, 2], [3, 0]):
        injector.send(x)
    lif.run(lv.RunSteps(2), lv.RunConfig(precision="fixed_pt"))
    assert [extractor.receive().tolist() for _ in range(2)] == [[0, 1], [1, 0]]
    assert [wire.receive().tolist() for _ in range(2)] == [[64, 128], [192, 0]]
    assert extractor.receive.__self__ is extractor


def test_a_message_that_is_none_is_told():
    injector, _ = relay()
    for wrong in ([1], [[1, 2]], ["a", "b"], None):
        with pytest.raises(lv.InputError, match=r"send takes numbers of shape \(2,\)"):
            injector.send(wrong)
    with pytest.raises(TypeError, match="timeout is a number of seconds > 0"):
        injector.send([1, 2], timeout="1")


def test_zeros_where_nothing_was_sent():
    injector, extractor = relay(config=ZEROS)
    assert extractor.receive().tolist() == [0, 0]
    injector.send([1, 2])
    injector.run(lv.RunSteps(2))
    assert [extractor.receive().tolist() for _ in range(3)] == [[1, 2], [0, 0], [0, 0]]


def test_what_waits_adds_up():
    injector, extractor = relay(config=SUM)
    for x in ([1, 2], [10, 20]):
        injector.send(x)
    injector.run(lv.RunSteps(2))
    assert extractor.receive().tolist() == [11, 22]
    assert extractor.receive().tolist() == [0, 0]


def test_what_finds_no_room_is_dropped_with_a_warning():
    injector, _ = relay(1, DROP)
    injector.send([1, 2])
    with pytest.warns(DroppedMessageWarning, match="Injector: 1 messages wait, and one more is"):
        injector.send([3, 4])
    injector, extractor = relay(2)
    extractor = io.Extractor(shape=(2,), buffer_size=1, channel_config=DROP)
    injector.out_port.connect(extractor.in_port)
    for k in range(2):
        injector.send([k, k])
    with pytest.warns(DroppedMessageWarning, match="Extractor: 1 messages wait"):
        injector.run(lv.RunSteps(2))
    assert extractor.receive().tolist() == [0, 0]


def test_what_nobody_will_send_or_take_is_told_at_once():
    injector, extractor = relay(1)
    with pytest.raises(
        ChannelDeadlockError, match="Extractor: receive: no step has sent a message"
    ):
        extractor.receive()
    with pytest.raises(ChannelDeadlockError, match=r"step 1: Injector waits for send\(data\)"):
        injector.run(lv.RunSteps(1))
    injector.send([1, 2])
    with pytest.raises(ChannelDeadlockError, match="Injector: send: 1 messages are there"):
        injector.send([3, 4])
    injector.run(lv.RunSteps(1))  # nothing was half done
    injector.send([3, 4])
    with pytest.raises(ChannelDeadlockError, match=r"step 2: Extractor waits for receive\(\)"):
        injector.run(lv.RunSteps(1))
    assert extractor.receive().tolist() == [1, 2]
    assert injector.step == 1


def test_the_program_and_a_run_that_wait_for_each_other_are_told():
    injector, extractor = relay()
    injector.run(lv.RunContinuous())
    # whoever looks last sees that the other waits; the run may have begun a step for the program's
    # sake
    with pytest.raises(ChannelDeadlockError, match="Extractor: receive: no step has sent"):
        extractor.receive()
    with warnings.catch_warnings(), contextlib.suppress(ChannelDeadlockError, DeadlockError):
        warnings.simplefilter("ignore", MissingMessageWarning)
        injector.stop()
    assert not injector.running


def test_threads_without_work_keep_nobody_waiting():
    with ThreadPoolExecutor(2) as pool:
        assert [*pool.map(abs, range(8))] == [*range(8)]  # whose threads stay
        test_the_program_and_a_run_that_wait_for_each_other_are_told()
        injector, extractor = relay()
        injector.run(lv.RunContinuous())

        def later():
            threading.Event().wait(4 * LOOK)
            injector.send([1, 2])

        done = pool.submit(later)  # a task may send, whatever it waits for
        assert extractor.receive().tolist() == [1, 2]
        done.result(60)
        with warnings.catch_warnings(), contextlib.suppress(ChannelDeadlockError, DeadlockError):
            warnings.simplefilter("ignore", MissingMessageWarning)
            injector.stop()


def test_who_waits_for_a_run_that_waits_is_told():
    injector, extractor = relay()
    injector.run(lv.RunSteps(3, blocking=False))
    injector.send([1, 2])
    with pytest.raises(ChannelDeadlockError, match=r"step 2: Injector waits for send\(data\)"):
        injector.wait()
    assert extractor.receive().tolist() == [1, 2]
    assert injector.step == 1


def test_two_threads_that_receive_get_a_message_each(monkeypatch):
    channel = Channel(None, (1,), 5)
    take, took, threads = channel.take, [], []

    def late():
        """Another thread is there between what it waits for and what it takes, if it can be."""
        if not threads:
            threads.append(threading.Thread(target=lambda: took.append(channel.receive(5))))
            threads[0].start()
            threads[0].join(0.1)
        return take()

    monkeypatch.setattr(channel, "take", late)
    channel.send([1], None)
    took.append(channel.receive(None))
    channel.send([2], None)
    threads[0].join()
    assert [x.tolist() for x in took] == [[1], [2]]


def test_a_wait_ends_with_stop_and_with_its_time():
    injector, extractor = relay()
    injector.run(lv.RunSteps(1, blocking=False))
    thread, out = beside(extractor.receive)
    # the step has begun, as the thread asks for what it brings
    until(lambda: injector.runtime.program.programs[0].scheduler.parks)
    with pytest.warns(MissingMessageWarning, match=r"Injector: paused in step 1"):
        injector.stop()
    thread.join()
    assert out[0].tolist() == [0, 0]
    assert injector.step == 1
    thread, out = beside(lambda: extractor.receive(timeout=0.06))
    thread.join()
    assert "did not come in 0.06 s" in str(out[0])


def test_stop_lets_a_thread_that_receives_have_what_is_there():
    injector, extractor = relay(20)
    for k in range(20):
        injector.send([k, k])
    go = threading.Event()

    def receive() -> list[float]:
        first = extractor.receive()[0]
        go.wait()
        return [first, *(extractor.receive()[0] for _ in range(19))]

    thread, out = beside(receive)
    injector.run(lv.RunSteps(20))
    until(lambda: len(extractor.channel.messages) < 20)
    go.set()
    injector.stop()
    assert not extractor.channel.filled
    thread.join()
    assert out == [list(range(20))]


def test_channels_go_on_after_stop_and_in_copies():
    injector, extractor = relay()
    injector.send([1, 2])
    other = pickle.loads(pickle.dumps(injector))
    injector.run(lv.RunSteps(1))
    injector.stop()
    assert extractor.receive().tolist() == [1, 2]
    assert other.channel.take().tolist() == [1, 2]
    assert copy.deepcopy(injector).channel.messages is not injector.channel.messages


def test_a_batch_has_no_channel():
    extractor, lif = io.Extractor(shape=(2,)), LIF(shape=(2,))
    lif.s_out.connect(extractor.in_port)
    with pytest.raises(lv.GraphError, match="a channel is of one sample, not of a batch of 2"):
        lv.simulate(lif, {lif.a_in: np.ones((2, 2, 1))})


def test_a_wire_refers_once():
    wire, lif = io.VarWire(), LIF(shape=(2,))
    with pytest.raises(lv.GraphError, match="wire_tap: a RefPort that refers to nothing"):
        wire.run(lv.RunSteps(1))
    wire.connect_var(lif.v)
    with pytest.raises(lv.GraphError, match="wire_tap refers to"):
        wire.connect_var(lif.u)


# -- what acts at set steps


def counting() -> tuple[Sigma, io.source.RingBuffer]:
    """Sigma that counts its steps."""
    source, sigma = io.source.RingBuffer(data=np.ones((2, 1))), Sigma(shape=(2,))
    source.s_out.connect(sigma.a_in)
    return sigma, source


def test_reset_acts_at_its_steps_whatever_the_cut():
    for cuts in ((8,), (3, 1, 4)):
        sigma, _ = counting()
        reset, monitor = io.Reset(reset_value=-1, interval=4, offset=5), Monitor()
        reset.connect_var(sigma.sigma)
        monitor.probe(sigma.sigma, 8)
        for n in cuts:
            sigma.run(lv.RunSteps(n))
        # steps 2 and 6: what is recorded is what was set
        seen = monitor.get_data()[sigma.name or "Sigma"]["sigma"][:, 0]
        assert seen.tolist() == [1, -1, 0, 1, 2, -1, 0, 1]
        assert sigma.sigma.get().tolist() == [1, 1]


def test_steps_may_be_set_later():
    sigma, _ = counting()
    reset = io.Reset(reset_value=-1, interval=100)
    reset.connect_var(sigma.sigma)
    sigma.run(lv.RunSteps(1))
    reset.interval.set(4)
    reset.offset.set(6)
    sigma.run(lv.RunSteps(3))  # step 3
    assert sigma.sigma.get().tolist() == [0, 0]
    with pytest.raises(lv.VarError, match=r"Reset\.interval: steps, at least 1, got 0"):
        reset.interval.set(0)


def test_read_keeps_the_last_values():
    sigma, _ = counting()
    read = io.Read(buffer=2, interval=3, offset=1)
    read.connect_var(sigma.sigma)
    sigma.run(lv.RunSteps(9))  # steps 2, 5, 8
    assert read.data.get().tolist() == [[8, 5], [8, 5]]


IN_PYTHON = {
    io.Reset: lv.Choice(model=library.ResetModel),
    io.Read: lv.Choice(model=library.ReadModel),
    BitCheck: lv.Choice(model=library.BitCheckModel),
}


def managed(make: Callable[[], tuple[Any, Any, Any]], fixed: bool, cuts: tuple[int, ...]) -> Any:
    """What is recorded and read of the Var and the port of ``make()``'s process, by rows and by
    models in Python."""
    found = []
    for python in (False, True):
        process, var, out = make()
        read, again = io.Read(buffer=3, interval=2), io.Read(buffer=2, interval=3, offset=-1)
        reset = io.Reset(reset_value=3, interval=4, offset=1)
        check, monitor, sent = BitCheck(bits=3), Monitor(), Monitor()
        for watches in (read, reset, again, check):  # one before, one after
            watches.connect_var(var)
        monitor.probe(var, sum(cuts))
        sent.probe(out, sum(cuts))
        config = lv.RunConfig(
            precision="fixed_pt" if fixed else "floating_pt", select=IN_PYTHON if python else {}
        )
        for k, n in enumerate(cuts):
            process.run(lv.RunSteps(n), config)
            if k == 0:
                reset.reset_value.set(1)
                reset.interval.set(3)
                read.offset.set(1)
        names = {type(n.model).__module__ for n in process.runtime.program.flat.nodes}
        assert ("lavalike.backends.numpy.library" in names) == python
        rows = [*monitor.get_data().values(), *sent.get_data().values()]
        found.append(
            [
                *(x.tolist() for each in rows for x in each.values()),
                read.data.get().tolist(),
                again.data.get().tolist(),
                read.data.get().dtype,
                check.overflowed,
            ]
        )
        process.stop()
        found[-1] += [read.data.get().tolist(), check.overflowed, var.get().tolist()]
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize("fixed", [False, True])
def test_rows_do_what_the_models_in_python_do(fixed):
    """In phase and bits: what is set is recorded, kept and goes on from there, and a neuron at rest
    wakes."""

    def lif() -> tuple[Any, Any, Any]:
        lif = LIF(shape=(6,), du=0 if fixed else 0.25, vth=10, bias_mant=np.arange(6))
        return lif, lif.v, lif.s_out

    def delta() -> tuple[Any, Any, Any]:
        source, delta = io.source.RingBuffer(data=np.full((300, 1), 2)), Delta(shape=(300,), vth=1)
        source.s_out.connect(delta.a_in)
        return delta, delta.act, delta.s_out

    def dense() -> tuple[Any, Any, Any]:
        """Whose port holds the Var: what is set is what is sent next."""
        source, dense = io.source.RingBuffer(data=np.eye(2)), Dense(weights=2 * np.eye(2))
        source.s_out.connect(dense.s_in)
        return dense, dense.a_buff, dense.a_out

    for make in (lif, delta, dense):
        managed(make, fixed, (3, 6))


def test_rows_in_turns_with_models_in_python_and_in_a_batch():
    """A part among Python models has them too; a Var that such a one refers to stays with
    Python."""
    injector = io.Injector(shape=(2,), channel_config=ZEROS)
    sigma, sink = Sigma(shape=(2,)), io.sink.RingBuffer(shape=(2,), buffer=4)
    injector.out_port.connect(sigma.a_in)
    sigma.s_out.connect(sink.a_in)
    reset, wire = io.Reset(interval=2), io.VarWire()
    reset.connect_var(sigma.sigma)
    for x in (1, 2, 3, 4):
        injector.send([x, -x])
    sigma.run(lv.RunSteps(4))
    node = sigma.runtime.program.flat.node_of(reset)
    assert node.beside.process is sigma
    assert sink.data.get()[0].tolist() == [1, 2, 5, 4]
    sigma.stop()
    wire.connect_var(sigma.sigma)
    sigma.run(lv.RunSteps(2))
    assert sigma.runtime.program.flat.node_of(reset).beside is None
    assert [wire.receive().tolist() for _ in range(2)] == [[0, 0], [0, 0]]

    sigma, reset, read = Sigma(shape=(1,)), io.Reset(interval=3, offset=1), io.Read(buffer=2)
    reset.connect_var(sigma.sigma)
    read.connect_var(sigma.sigma)
    x = np.array([[[1, 1, 1, 1]], [[2, 2, 2, 2]], [[3, 3, 3, 3]]])
    for threads in (1, 2):
        rec = lv.simulate(
            sigma, {"a_in": x}, config=lv.RunConfig(threads=threads), record=["sigma", read.data]
        )
        assert rec["sigma"][:, 0].tolist() == [[1, 0, 1, 2], [2, 0, 2, 4], [3, 0, 3, 6]]
        assert rec[read.data][:, 0, :, -1].tolist() == [[1, 2], [2, 4], [3, 6]]


def test_rows_are_in_the_part_that_has_their_var():
    """Of two parts that take turns, a model in Python between them, each with rows of its own."""
    sigma, _ = counting()
    extractor, last = io.Extractor(shape=(2,)), Sigma(shape=(2,))
    sigma.s_out.connect(extractor.in_port)
    extractor.out_port.connect(last.a_in)
    resets = [io.Reset(interval=3), io.Reset(interval=4, reset_value=10)]
    for reset, var in zip(resets, (sigma.sigma, last.sigma), strict=True):
        reset.connect_var(var)
    sigma.run(lv.RunSteps(6))
    flat = sigma.runtime.program.flat
    assert [flat.node_of(r).beside.process for r in resets] == [sigma, last]
    assert [extractor.receive()[0] for _ in range(6)] == [1, 1, 2, 3, 1, 2]
    assert last.sigma.get().tolist() == [12, 12]  # 10 after step 1, 10 after step 5, and 2


def test_a_var_that_rows_cannot_hold_stays_with_python():
    """A parameter, and a buffer that the program turns, are read and set by models in Python."""
    dense = DelayDense(weights=np.eye(1), delays=1)
    for var in (dense.weights, dense.a_buff):
        reset = io.Reset(reset_value=2, interval=2, offset=1)
        reset.connect_var(var)
        dense.run(lv.RunSteps(2))
        assert (dense.runtime.program.flat.node_of(reset).beside is None, var.get().min()) == (
            True,
            2,
        )
        dense.stop()
    sigma, reset = Sigma(shape=(1,)), io.Reset(reset_value=0.5)
    reset.connect_var(sigma.sigma)
    with pytest.raises(lv.VarError, match=r"Reset\.reset_value: fixed_pt holds whole numbers"):
        sigma.run(lv.RunSteps(1), lv.RunConfig(precision="fixed_pt"))


SAMPLES = [(np.arange(6).reshape(2, 3) + 10 * k, k) for k in range(3)]


def test_spikes_of_a_dataset_are_sent_step_by_step():
    for interval, expected in (
        (3, [0, 0, 0, 1, 2, 10, 11, 12, 20]),
        (2, [0, 0, 0, 1, 10, 11, 20, 21, 0]),
        (4, [0, 0, 0, 1, 2, 0, 10, 11, 12]),
    ):
        loader = io.SpikeDataloader(dataset=SAMPLES, interval=interval, offset=1)
        out, labels = (io.sink.RingBuffer(shape=(n,), buffer=9) for n in (2, 1))
        loader.s_out.connect(out.a_in)
        loader.ground_truth.connect(labels.a_in)
        loader.run(lv.RunSteps(4))
        loader.run(lv.RunSteps(5))
        assert out.data.get()[0].tolist() == expected
        steps = np.arange(1, 10)
        loaded = np.where(steps > 2, (steps - 3) // interval % 3, 0)
        assert labels.data.get()[0].tolist() == loaded.tolist()
        loader.reset()
        loader.run(lv.RunSteps(9))
        assert out.data.get()[0].tolist() == expected


def test_a_sample_is_followed_by_zeros_where_the_interval_was_set_to_a_longer_one():
    loader, out = (
        io.SpikeDataloader(dataset=SAMPLES, interval=2),
        io.sink.RingBuffer(shape=(2,), buffer=9),
    )
    loader.s_out.connect(out.a_in)
    loader.run(lv.RunSteps(1))
    loader.interval.set(4)
    loader.run(lv.RunSteps(8))  # loads in steps 1, 5 and 9
    assert out.data.get()[0].tolist() == [0, 0, 1, 0, 0, 10, 11, 12, 0]


def test_a_dataset_is_left_as_it_is():
    samples = [(np.ones((2, 1)), np.array([k, 0.0])) for k in range(3)]
    loader = io.SpikeDataloader(dataset=samples, interval=2)
    loader.run(lv.RunSteps(1))
    loader.label.set(np.array([7.0, 8.0]))
    loader.run(lv.RunSteps(1))
    assert [label.tolist() for _, label in samples] == [[0, 0], [1, 0], [2, 0]]
    assert loader.label.get().tolist() == [7, 8]


def test_states_of_a_dataset_are_set():
    sigma, source = counting()
    samples = [(np.full((2, 1), float(10**k)), k) for k in range(2)]
    loader = io.StateDataloader(dataset=samples, interval=2)
    loader.connect_var(source.data)
    sigma.run(lv.RunSteps(5))
    assert sigma.sigma.get().tolist() == [1 + 1 + 1 + 10 + 10] * 2  # steps 1; 2, 3 ; 4, 5
    with pytest.raises(lv.InputError, match=r"samples have shape \(2, 1\), and .* has \(2,\)"):
        io.StateDataloader(dataset=samples).connect_var(sigma.sigma)
    ragged = [(np.ones(2), 0), (np.ones(3), 0)]
    sigma, _ = counting()
    loader = io.StateDataloader(dataset=ragged)
    loader.connect_var(sigma.sigma)
    with pytest.raises(lv.InputError, match=r"dataset\[1\] has data of shape \(3,\)"):
        sigma.run(lv.RunSteps(2))


def test_bits_are_checked_to_the_last():
    for bits, steps, expected in ((3, 3, False), (3, 4, True), (31, 4, False)):
        sigma, _ = counting()
        check = BitCheck(bits=bits)
        check.connect_var(sigma.sigma)
        sigma.run(lv.RunSteps(steps), lv.RunConfig(precision="fixed_pt"))
        assert check.overflowed is expected
        assert check.shape == (2,)


# -- models beside the steps


class Beside(lv.AbstractProcess):
    def __init__(self):
        super().__init__()
        self.a_in, self.s_out = lv.InPort((1,)), lv.OutPort((1,))
        self.count, self.ended = lv.Var((1,), 0), lv.Var((1,), 0)


class Counts(lv.AsyncModel):
    def run_async(self):
        assert self.num_steps in (5, sys.maxsize)
        while True:
            self.count += 1
            if self.over():
                self.ended += 1
                return


class Doubles(lv.AsyncModel):
    def run_async(self):
        while True:
            self.s_out.send(2 * self.a_in.recv())
            self.count += 1


class Fails(lv.AsyncModel):
    def run_async(self):
        self.over()
        raise ZeroDivisionError("in the second step")


for _model in (Counts, Doubles, Fails):
    lv.implements(Beside, backend="numpy")(_model)


def config(model):
    return lv.RunConfig(select={Beside: model})


def test_a_model_beside_the_steps_takes_one_after_another_and_is_told_of_the_end():
    process = Beside()
    process.run(lv.RunSteps(5), config(Counts))
    assert process.count.get() == 5
    assert process.ended.get() == 1
    process.run(lv.RunSteps(5))
    assert process.count.get() == 10
    assert process.ended.get() == 2
    process.run(lv.RunContinuous())
    process.pause()
    assert process.count.get() == process.step
    assert process.ended.get() == 3


def test_a_model_beside_the_steps_answers_within_one():
    process = Beside()
    source = io.source.RingBuffer(data=np.arange(5).reshape(1, 5))
    sink = io.sink.RingBuffer(shape=(1,), buffer=5)
    source.s_out.connect(process.a_in)
    process.s_out.connect(sink.a_in)
    process.run(lv.RunSteps(2), config(Doubles))
    process.run(lv.RunSteps(3))
    assert sink.data.get().tolist() == [[0, 2, 4, 6, 8]]
    assert process.count.get() == 5


def test_what_a_model_beside_the_steps_raises_says_where():
    process = Beside()
    with pytest.raises(ZeroDivisionError) as info:
        process.run(lv.RunSteps(5), config(Fails))
    assert info.value.__notes__ == ["in Beside, run_async, step 2"]


# -- prototypes


def played(data, port):
    source = io.source.RingBuffer(data=np.asarray(data))
    source.s_out.connect(port)


def heard(port, steps):
    sink = io.sink.RingBuffer(shape=port.shape, buffer=steps)
    port.connect(sink.a_in)
    return sink.data


def test_novelty_is_told_once_where_no_output_came():
    steps = 14
    comes, known = np.zeros((1, steps), int), np.zeros((1, steps), int)
    comes[0, [1, 8]] = 1
    known[0, [10]] = 1
    detector, allocator = clp.NoveltyDetector(t_wait=3), clp.Allocator(n_protos=4)
    played(comes, detector.input_aval_in)
    played(known, detector.output_aval_in)
    detector.novelty_detected_out.connect(allocator.trigger_in)
    novel, number = (
        heard(detector.novelty_detected_out, steps),
        heard(allocator.allocate_out, steps),
    )
    detector.run(lv.RunSteps(steps), lv.RunConfig(precision="fixed_pt"))
    expected = np.zeros((1, steps))
    expected[0, 5] = 1  # 4 steps after the input, the first with more than t_wait
    assert novel.get().tolist() == number.get().tolist() == expected.tolist()
    assert allocator.next_alloc_id.get() == 2


def test_readout_labels_and_judges():
    answers = np.zeros((2, 8), int)
    answers[0, [1, 4]] = answers[1, 6] = 1
    given = np.array([[0, 0, 7, 0, 0, 7, 0, 7]])
    readout = clp.Readout(n_protos=2, proto_labels=[0, 3])
    played(answers, readout.inference_in)
    played(given, readout.label_in)
    out = [heard(p, 8) for p in (readout.user_output, readout.feedback, readout.trigger_alloc)]
    readout.run(lv.RunSteps(8), lv.RunConfig(precision="fixed_pt"))
    label, feedback, trigger = (x.get()[0].tolist() for x in out)
    assert label == [0, -1, 7, 0, 7, 0, 3, 0]
    assert feedback == [0, 0, 0, 0, 0, 1, 0, -1]
    assert trigger == [0, 0, 0, 0, 0, 0, 0, 1]
    assert readout.proto_labels.get().tolist() == [7, 3]


def test_a_prototype_is_told_to_learn_and_is_reset():
    told, clear = np.zeros((2, 4), int), np.zeros((2, 4), int)
    told[:, 1] = 2
    clear[1, 3] = 1
    lif = clp.PrototypeLIF(shape=(2,), vth=2, bias_mant=64)
    played(told, lif.a_third_factor_in)
    played(clear, lif.reset_in)
    spikes, bap, y1 = (heard(p, 4) for p in (lif.s_out, lif.s_out_bap, lif.s_out_y1))
    lif.run(lv.RunSteps(4), lv.RunConfig(precision="fixed_pt"))
    assert spikes.get().tolist() == [[0, 0, 1, 0], [0, 1, 0, 0]]
    assert bap.get().tolist() == [[0, 0, 0, 0], [0, 1, 0, 0]]
    assert y1.get().tolist() == [[0, 0, 0, 0], [0, 127, 127, 127]]
    assert lif.v.get()[1] == 0 < lif.v.get()[0]
