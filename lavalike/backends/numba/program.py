"""Program: buffers, and the table of kernels a step walks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lavalike.backends.base import Derivations, one_for_all
from lavalike.backends.numba import faults, kernels, loops, steps as user_steps, transfer
from lavalike.backends.numba.faults import Faults
from lavalike.backends.numba.gathering import Gathering
from lavalike.backends.numba.kernels import Spec
from lavalike.backends.numba.managing import ManagingModel
from lavalike.backends.numba.model import DynamicsModel
from lavalike.backends.numba.ops import Op, kind_of, name_of
from lavalike.backends.numba.variables import Variables, cast, model_of, port_of, time_first
from lavalike.compiler.flat import Node, Term, warn_graded
from lavalike.compiler.parts import Part
from lavalike.dynamics import Dynamics
from lavalike.errors import GraphError
from lavalike.process import OutPort, Port, Var
from lavalike.process.units import Units

Snapshot = tuple[int, int, list[np.ndarray]]  # steps and derivations done, and what steps change


class NumbaProgram:
    """See :class:`lavalike.backends.base.Program`."""

    def __init__(
        self,
        part: Part,
        batch: int,
        recordable: Sequence[Port | Var],
        constants: Mapping[Node, Any] | None = None,
        first_sample: int = 0,
    ) -> None:
        self.part, self.batch, self.options = part, batch, part.target.options
        self.constants = (
            {n: n.model.derived() for n in part.nodes} if constants is None else constants
        )
        self.step = part.step
        self.buffers: dict[Port, np.ndarray] = {}
        self.states: dict[Node, dict[str, np.ndarray]] = {}
        self.inputs: dict[Node, dict[str, np.ndarray]] = {}
        self.scratch: dict[Node, dict[str, np.ndarray]] = {}
        self.node_ops: dict[Node, Op] = {}
        self.where = np.zeros(4, np.int64)
        self.places = {node: k for k, node in enumerate(part.nodes)}
        # where graded messages arrived that count as spikes; as bytes, which compare in a moment
        words = len(part.nodes) * batch
        self.odd_bytes, self.even = bytearray(8 * words + 8), bytes(8 * words + 8)
        self.odd = np.frombuffer(self.odd_bytes, np.int64)[:words].reshape(-1, batch, 1)
        self.first_sample = first_sample  # of a batch that several programs share
        self.faults = Faults(batch, first_sample)
        self.gathering = Gathering(batch, self.buffers, self._transfer)
        self.vars = Variables(part, batch, self.buffers, self.states)
        self.finite = self.options.check == "finite" or self.options.debug
        self.own: dict[
            Node, dict[str, np.ndarray]
        ] = {}  # copies of what derive returned, for steps that write it
        self.kept: list[np.ndarray] | None = None
        for port in (*(p for node in part.nodes for p in node.process.out_ports), *part.hears):
            self.buffers[port] = np.zeros((batch, *port.shape), part.dtype_of(port))
        self.buffers |= self._elsewhere()
        self.ops: list[Op] = []
        self.table_ops: list[Op] = []
        self.laid: set[Port | Var] | None = None  # what the table records; None: it is to be laid
        self.stale = False  # an op of the table is another since it was laid
        self.rows: list[memoryview] | None = None  # of whose stepper the rows are that it works on
        self.goes_on = False  # whether ``again`` may follow
        self.derivations = 0  # how often constants were derived anew
        self.feeds = {
            p: self._transfer(transfer.feed, p.path, self.buffers[p], row=True) for p in part.hears
        }
        self._build_steps(list(dict.fromkeys(recordable)))
        # what a step may stop in the middle of is kept as it was before
        self.stops = self.finite or any(
            not op.spec.trusted or op.spec.function in transfer.CHECKED for op in self.ops
        )
        self.watched = self._watched()

    # -- building ----------------------------------------------------------------------------------

    def _build_steps(self, recordable: Sequence[Port | Var]) -> None:
        self.ops += self.feeds.values()
        beside = [n for n in self.part.nodes if n.beside is not None]
        direct = [n for n in self.part.nodes if not n.model.delay and n.beside is None]
        delayed = [n for n in self.part.nodes if n.model.delay]
        sending = {p for n in delayed for p in n.process.out_ports}
        late: list[Op] = []
        for node in direct:
            self.ops.append(
                self._node(
                    node, {k: self._gathered(t, node, k, self.ops) for k, t in node.inputs.items()}
                )
            )
            self.ops += self._finite(node)
        self.ops += self._between()
        for node in delayed:
            # a delayed sender overwrites its port in this phase: who reads it takes a copy first
            arrays = {
                k: self._gathered(t, node, k, self.ops, copy=any(x.source in sending for x in t))
                for k, t in node.inputs.items()
            }
            late.append(self._node(node, arrays))
            late += self._finite(node)
        self.records: dict[Port | Var, Op] = {}
        self.late = len(self.ops)
        self.ops += late
        self.clears: dict[Node, list[Op]] = {}
        for node in beside:
            self.ops += self._managing(node)
        self.record(recordable)

    def _managing(self, node: Node) -> list[Op]:
        """The rows of a node that acts on a Var of another: what that one works in begins anew
        where it is set."""
        model = node.model
        assert isinstance(model, ManagingModel)
        array = self.vars.array(model.var)
        assert array is not None  # which the model asked for
        op = self._node(node, {"target": array.reshape(-1)})
        self.clears[node] = self._clears(node) if model.sets else []
        return [op, *self.clears[node]]

    def _clears(self, node: Node) -> list[Op]:
        assert node.beside is not None
        acted = self.scratch[node]["acted"]
        return [
            self._transfer(transfer.clear_if, node.process.path, array.view(np.int8), acted)
            for name, array in self.scratch[node.beside].items()
            if name != "odd" and array.size  # what is to be told stays
        ]

    def _elsewhere(self) -> dict[Port, np.ndarray]:
        """Buffers of ports that lie in given memory."""
        return {}

    def _between(self) -> list[Op]:
        """Rows between those of the direct and the delayed nodes."""
        return []

    def record(self, recordable: Sequence[Port | Var]) -> None:
        """Let runs record these too: ports as sent, before the delayed nodes' rows, Vars at the end
        of a step."""
        recordable = [t for t in recordable if t not in self.records]
        ports: list[Op] = []
        for port in (t for t in recordable if isinstance(t, Port)):
            array = self.buffers.get(port)
            if array is None:
                array = self.gathering.sum(
                    self.part.terms(port), port, port.path, ports, self.part.dtype_of(port)
                )
            self.records[port] = self._transfer(transfer.record, port.path, array, row=True)
            ports.append(self.records[port])
        self.ops[self.late : self.late] = ports
        self.late += len(ports)
        for var in (t for t in recordable if isinstance(t, Var)):
            recorded = self.vars.recorded(var)
            if recorded is not None:
                function, state, more = recorded
                dtype = self.dtype_of(var)
                self.records[var] = self._transfer(
                    function, var.path, state, row=True, dtype=dtype, more=more
                )
                self.ops.append(self.records[var])

    def _finite(self, node: Node) -> list[Op]:
        """Checks of what ``node`` has sent and become, where they are asked for."""
        if not self.finite or node.model.config.fixed:
            return []
        ports = {p.name: self.buffers[p] for p in node.process.out_ports}
        arrays = (
            {name: self.inputs[node][name] for name, terms in node.inputs.items() if len(terms) > 1}
            | ports
            | self.states[node]
        )
        return [
            self._transfer(transfer.finite, f"{node.process.path}.{name}", array)
            for name, array in arrays.items()
            if array.dtype.kind in "fc"
        ]

    def _node(self, node: Node, inputs: dict[str, np.ndarray]) -> Op:
        """Allocate the node's states, derive its constants and bind its step."""
        model = model_of(node)
        self.vars.load(node, self.step)
        self.inputs[node] = inputs
        self.scratch[node] = model.scratch(self.batch)
        if model.trusted and "odd" in self.scratch[node]:
            self.scratch[node]["odd"] = self.odd[self.places[node]]
        op = self._bind(node, self.constants[node])
        if lost := self._looked_at(node, op):
            self.states[node] |= {
                k: v.astype(model.config.message_dtype)
                for k, v in self.states[node].items()
                if k in lost
            }
            op = self._bind(node, self.constants[node])
            self._looked_at(node, op, again=True)
        self.node_ops[node] = op
        return op

    def _looked_at(self, node: Node, op: Op, again: bool = False) -> list[str]:
        """GraphError where a user's step makes whole numbers of fractions; its states that have to
        be floats."""
        if isinstance(node.model, DynamicsModel):
            faults.fractions_in_fixed(node, op.spec)
        if model_of(node).trusted:
            return []
        asked = {v.name for v in node.process.vars if v.asked} | {*self.own[node]}
        return faults.floats_in_whole(node, op.spec, asked, again)

    def _bind(self, node: Node, constants: Mapping[str, Any]) -> Op:
        """The node's row: its step's arguments by name, and the kernel for their kinds."""
        model, process, messages = model_of(node), node.process, node.model.config.message_dtype
        general = isinstance(model, DynamicsModel)
        names = (*model.argument_names(), *(n for n in (loops.BITS,) if n in constants))
        shared = not any(isinstance(constants.get(n), np.ndarray) for n in names)
        looped = not (shared if general else model.batched)
        for array in self.scratch[node].values():
            array[...] = 0
        samples = (
            {p.name: self.buffers[p] for p in process.out_ports}
            | self.inputs[node]
            | self.states[node]
            | self.scratch[node]
        )
        values = {v.name: v for v in process.vars}
        own = model.trusted and not general and kernels.NUMBERS in names
        unknown = [
            n
            for n in names
            if n not in samples
            and n not in constants
            and n not in values
            and n != "t"
            and not (own and n == kernels.NUMBERS)
        ]
        if unknown:
            raise GraphError(
                f"{process.path}: {type(model).__name__}.step asks for {unknown[0]!r}; there are ports and states "
                f"{sorted(samples)}, Vars {sorted(values)}, derived {sorted(constants)} and 't'"
            )
        if not model.trusted:
            self._own(node, samples, constants)
            samples |= self.own[node]
        if model.draws:
            names = (*names, kernels.DRAWS)
        if model.draws or own:
            samples[kernels.DRAWS if model.draws else kernels.NUMBERS] = self._numbers(node)
        bound, per_sample, arguments = [], [], []
        for name in names:
            if name in samples:
                value = samples[name]
                if (
                    name == kernels.DRAWS and not looped
                ):  # a step that draws for all samples at once
                    value = value[0]
                if general:
                    value = value.reshape(self.batch, -1) if looped else value.reshape(-1)
                dtype, axes = kind_of(value)
                kind = (dtype, axes - looped)
            elif (name in constants or name in values) and not (
                general and name == "t"
            ):  # a Dynamics' t is the step
                value = (
                    constants[name]
                    if name in constants
                    else cast(
                        np.array(time_first(values[name], values[name].value), order="C"),
                        values[name].path,
                        node,
                    )
                )
                if isinstance(value, float | np.floating) and not node.model.config.fixed:
                    value = messages.type(value)
                kind = kind_of(value)
            else:
                value, kind = None, ("t", 0)
            bound.append(value)
            per_sample.append(name in samples)
            arguments.append((name, kind))
        spec = Spec(
            model.function(),
            tuple(arguments),
            name_of(messages) if general else "",
            general and Units.of(process.proc_params).checked,
            model.trusted,
            model.trusted and model.returns,
            not model.trusted and model.bounds,
            model.draws,
        )
        return Op(spec, bound, per_sample, process.path, looped)

    def _numbers(self, node: Node) -> np.ndarray:
        """What a sample's random numbers follow from: the node's key and the sample."""
        samples = self.first_sample + np.arange(self.batch)
        return np.stack([np.full(self.batch, self.part.flat.key(node)), samples], 1)

    def _own(
        self, node: Node, samples: Mapping[str, np.ndarray], constants: Mapping[str, Any]
    ) -> None:
        """Look at a user's step; what it writes of ``constants`` becomes each sample's own."""
        model = model_of(node)
        shared = {v.name: v.value.ndim for v in node.process.vars if v.role == "parameter"}
        shared |= {k: v.ndim for k, v in constants.items() if isinstance(v, np.ndarray)}
        written = user_steps.check(
            model,
            shared | {k: v.ndim - (not model.batched) for k, v in samples.items()},
            set(shared),
        )
        batch = () if model.batched else (self.batch,)
        self.own[node] = {
            k: np.array(np.broadcast_to(constants[k], (*batch, *constants[k].shape)), order="C")
            for k in written
        }

    def _gathered(
        self, terms: list[Term], node: Node, name: str, ops: list[Op], copy: bool = False
    ) -> np.ndarray:
        path, dtype = f"{node.process.path}.{name}", node.model.config.message_dtype
        return self.gathering.sum(terms, port_of(node, name), path, ops, dtype, copy)

    def _transfer(
        self,
        function: Any,
        path: str,
        *arrays: np.ndarray,
        row: bool = False,
        dtype: np.dtype | None = None,
        more: tuple[Any, ...] = (),
    ) -> Op:
        """An op of :mod:`transfer`. Arrays of messages are flat over the batch but for gathers; a
        feed or a record (``row``) has its rows (set by each run; of ``dtype``), the step and the
        first step after them, then ``more``."""
        values: list[Any] = (
            list(arrays)
            if function in (transfer.gather, transfer.gather_add)
            else [a.reshape(-1) for a in arrays]
        )
        names = list(function.__code__.co_varnames[: function.__code__.co_argcount])
        if row:
            rows = np.zeros((1, values[0].size), dtype or values[0].dtype)
            values = [values[0], rows, None, 0, *more]
        kinds = [("t", 0) if v is None else kind_of(v) for v in values]
        function = (
            transfer.WHOLE.get(function, function) if arrays[0].dtype == np.int32 else function
        )
        spec = Spec(
            function, tuple(zip(names, kinds, strict=True)), returns=function in transfer.RETURNS
        )
        return Op(spec, values, [False] * len(values), path)

    # -- running -----------------------------------------------------------------------------------

    def run(
        self,
        steps: int,
        stimuli: Mapping[Port, np.ndarray],
        recordings: Mapping[Port | Var, np.ndarray],
    ) -> None:
        indirect = (
            [t for t in recordings if t not in self.records and isinstance(t, Var)]
            if recordings
            else ()
        )
        if steps > 1 and indirect and any(self.vars.is_state(t, self.step) for t in indirect):
            # held in another form than the Var's: read after every step
            for k in range(steps):
                self.run(
                    1,
                    {p: x[k : k + 1] for p, x in stimuli.items()},
                    {t: x[k : k + 1] for t, x in recordings.items()},
                )
            return
        if self.stale or recordings.keys() != self.laid:
            self._lay(recordings)
        self._work_on(stimuli, recordings)
        self.goes_on = not indirect
        self.again(steps)
        for target in indirect:
            recordings[target][...] = self.values(target).reshape(self.batch, -1)

    def again(self, steps: int) -> None:
        """See :meth:`lavalike.runtime.engine.Engine.again`."""
        if self.stale:
            assert self.laid is not None
            self._lay(self.laid)
        if self.options.debug:
            self._run_python(self.table_ops, self.step + 1, steps)
        else:
            self._run_compiled(self.step + 1, steps)
        if self.watched and self.odd_bytes != self.even:
            nodes = [self.part.nodes[k] for k in np.flatnonzero(self.odd.any((1, 2)))]
            self.odd[...] = 0
            for node in nodes:
                if node not in self.part.told:
                    self.part.told.add(node)
                    self.watched = self._watched()
                    warn_graded(node.process)

    def _watched(self) -> bool:
        """Whether a node has something to tell that it has not told."""
        return any("odd" in s and node not in self.part.told for node, s in self.scratch.items())

    def stepper(
        self, heard: Mapping[Port, np.ndarray], rows: Mapping[Port | Var, np.ndarray]
    ) -> Callable[[], None]:
        """A call that does one step as ``run(1, heard, rows)`` does, in the same rows every
        time."""
        if self.options.debug or not rows.keys() <= self.records.keys():
            return lambda: self.run(1, heard, rows)
        # where the blocks of feeds and records have the step of their first row
        first: list[memoryview] = []

        def step() -> None:
            if self.stale or self.rows is not first:
                self._lay(rows)
                self._work_on(heard, rows)
                self.rows = first
                ops = (*self.feeds.values(), *(self.records[t] for t in rows))
                first[:] = [memoryview(op.packed[0])[5:] for op in ops if op.packed is not None]
            now = self.step + 1
            for slot in first:
                slot[0] = now
            self.again(1)

        return step

    def _lay(self, recordings: Iterable[Port | Var]) -> None:
        """The table for runs that record ``recordings``: laid when those or an op changed, not in
        every run."""
        self.laid, self.stale = {*recordings}, True
        skipped = {id(op) for target, op in self.records.items() if target not in self.laid}
        self.table_ops = [op for op in self.ops if id(op) not in skipped]
        if not self.options.debug:
            self.table = np.array([op.row(self.batch) for op in self.table_ops], np.int64).reshape(
                -1
            )
            self.block = kernels.engine_block(self.table, self.where)
            self.walk = kernels.engine(self.block)
            self.slots, self.stopped = self.block.data, self.where.data
        self.stale = False

    def _work_on(
        self, stimuli: Mapping[Port, np.ndarray], recordings: Mapping[Port | Var, np.ndarray]
    ) -> None:
        """Let feeds and records work on these rows from the next step on."""
        self.rows, first = None, self.step + 1
        for port, op in self.feeds.items():
            self._rows(op, stimuli[port], first)
        for target, rows in recordings.items():
            if target in self.records:
                self._rows(self.records[target], rows, first)

    def _rows(self, op: Op, rows: np.ndarray, first: int) -> None:
        """Let a feed or a record work on ``rows`` from step ``first`` on: (steps, batch, size),
        possibly some samples of a larger batch, as rows with the larger batch's pitch: kernels know
        no strides, and touch only as much of a row as they have samples."""
        pitch = rows.strides[0] // rows.itemsize
        if op.packed is not None:
            block = memoryview(
                op.packed[0]
            )  # see transfer.feed: after the buffer's address and size
            block[2], block[3], block[4], block[5] = (
                kernels.address_of(rows),
                len(rows),
                pitch,
                first,
            )
        else:
            op.values[1] = np.lib.stride_tricks.as_strided(
                rows, (len(rows), pitch), (rows.strides[0], rows.itemsize)
            )
            op.values[3] = first

    def _run_compiled(self, first: int, steps: int) -> None:
        if self.stops:
            self._keep()
        slots, stopped = self.slots, self.stopped
        slots[3], slots[4], stopped[3] = first, steps, first - 1
        try:
            status = self.walk()
        finally:  # Ctrl-C is delivered as the call returns, with its steps done
            self.step = stopped[3]
        if status:
            self._stop(status, self.table_ops, first)

    def _walk(self, table: np.ndarray, first: int, steps: int) -> int:
        """So many steps of ``table``; a status, and where it stopped in ``where``."""
        block = kernels.engine_block(table, self.where)
        block[3], block[4], self.where[3] = first, steps, first - 1
        return kernels.engine(block)()

    def _mutable(self, derived: bool = True) -> list[np.ndarray]:
        """What steps change; last, and only if ``derived``, what follows from parameters too."""
        groups = (self.states, self.scratch, self.own) if derived else (self.states,)
        parts: list[Any] = [self.buffers, *(arrays for g in groups for arrays in g.values())]
        return [array for part in parts for array in part.values()]

    def _keep(self) -> None:
        """Keep everything that steps change as it is now."""
        if self.kept is None:
            self.kept = [a.copy() for a in self._mutable()]
        for old, array in zip(self.kept, self._mutable(), strict=True):
            np.copyto(old, array)

    def _restore(self) -> None:
        assert self.kept is not None
        for old, array in zip(self.kept, self._mutable(), strict=True):
            np.copyto(array, old)

    def _stop(self, status: int, ops: list[Op], first: int) -> None:
        """Raise what ``status`` means; a step of a user's, or a check, leaves the states of the
        last whole step."""
        if not self.stops:
            row, t, sample, _ = (int(x) for x in self.where)
            raise self.faults.of(status, ops[row], t, sample)
        error = None
        while status:
            row, t, sample, _ = (int(x) for x in self.where)
            if status == kernels.RAISED:
                # once more up to where it stopped, and that one call by itself: what it raised is
                # Python's then
                self._restore()
                self._walk(self.table, first, t - first)
                table = self.table.copy().reshape(-1, 4)[: row + 1]
                table[row, 3] = sample
                self._walk(table.reshape(-1), t, 1)
                error = self.faults.raised(ops[row], t, sample)
            else:
                error = self.faults.of(status, ops[row], t, sample)
            self._restore()
            # not 0 where it depends on more than its arguments
            status = self._walk(self.table, first, t - first)
            self.step = int(self.where[3])
        assert error is not None
        raise error

    def _run_python(self, ops: list[Op], first: int, steps: int) -> None:
        functions = [kernels.python_kernel(op.spec) for op in ops]
        for t in range(first, first + steps):
            self._keep()
            try:
                with np.errstate(all="ignore"):  # as compiled
                    self._step_python(ops, functions, t)
            except Exception:
                self._restore()
                raise
            self.step = t

    def _step_python(self, ops: list[Op], functions: list[Any], t: int) -> None:
        for op, function in zip(ops, functions, strict=True):
            for k in range(self.batch if op.looped else 1):
                values = [
                    np.int64(t) if kind[0] == "t" else v
                    for v, kind in zip(op.sample(k), op.kinds, strict=True)
                ]
                numbers = faults.drawn(op, values)
                try:
                    with faults.seeded(op, numbers, t):
                        status = function(*values)
                except Exception as e:
                    error = self.faults.told(e, op, t, k)
                    raise error from e
                if status is not None and not op.spec.trusted:
                    raise faults.returned(op.owner, op.spec)
                if status and (op.spec.returns or isinstance(op.spec.function, Dynamics)):
                    raise self.faults.of(status, op, t, k)

    # -- Vars --------------------------------------------------------------------------------------

    def dtype_of(self, target: Port | Var) -> np.dtype:
        if isinstance(target, Port):
            return self.part.dtype_of(target)
        return self.vars.dtype_of(target, self.step)

    def values(self, var: Var) -> np.ndarray:
        """The Var over the batch, (batch, *shape)."""
        return self.vars.values(var, self.step)

    def read(self, var: Var) -> np.ndarray:
        return var.value if var.role == "parameter" else self.values(var)[0]

    def write(self, var: Var, value: np.ndarray) -> None:
        node = self.part.node_of(var.process)
        if node is not None and var.role == "parameter":
            self._rederive(node, var, value)
        else:
            self.put(var, value, None)

    def put(self, var: Var, value: np.ndarray, sample: int | None) -> None:
        """Set a state, also in one sample alone."""
        node = self.part.node_of(var.process)
        if node is None:
            return
        if var.role == "parameter":
            raise one_for_all(var.path)
        for scratch in self.scratch[node].values():
            scratch[...] = 0
        self.vars.put(var, value, sample, self.step)

    def ahead(self, port: OutPort, steps: int) -> np.ndarray:
        if steps == 1:
            return self.buffers[port].reshape(1, self.batch, -1)
        node = self.part.node_of(port.process)
        assert node is not None
        var = next(v for v, name in model_of(node).sends.items() if name == port.name)
        columns = self.values(next(v for v in node.process.vars if v.name == var))
        return np.moveaxis(columns, -1, 0)[:steps].reshape(steps, self.batch, -1)

    def snapshot(self) -> Snapshot:
        return self.step, Derivations(self.derivations), [a.copy() for a in self._mutable()]

    def restore(self, snapshot: Snapshot) -> None:
        self.step, derivations, arrays = snapshot
        settled = derivations == self.derivations
        for old, array in zip(arrays, self._mutable(settled), strict=settled):
            np.copyto(array, old)
        if not settled:  # a parameter was set since, and stays: what steps made of it begins anew
            for scratch in self.scratch.values():
                for array in scratch.values():
                    array[...] = 0
            for node in [n for n, own in self.own.items() if own]:
                self.rebind(node, node.model.derived())

    def _rederive(self, node: Node, var: Var, value: np.ndarray) -> None:
        old, var.value = var.value, value
        try:
            self.rebind(node, node.model.derived())
        except Exception:
            var.value = old
            raise

    def rebind(self, node: Node, constants: Mapping[str, Any]) -> None:
        """Bound anew, not patched: other values may want another kernel (one number, then one
        each), or more to work in."""
        arrays = self.scratch[node]
        for name, array in model_of(node).scratch(self.batch).items():
            if array.shape != arrays[name].shape:
                arrays[name] = array
        op = self._bind(node, constants)
        self._looked_at(node, op, again=True)
        self.ops[self.ops.index(self.node_ops[node])] = op
        self.node_ops[node] = op
        for other, clears in self.clears.items():
            if other.beside is node and clears:
                self.clears[other] = self._clears(other)
                for old, new in zip(clears, self.clears[other], strict=True):
                    self.ops[self.ops.index(old)] = new
        self.stale, self.kept = True, None
        self.derivations += 1
