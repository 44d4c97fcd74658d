"""Every error lavalike raises on purpose.

    LavalikeError
     +- ConnectError (ValueError)        a connection that cannot be made
     +- GraphError (ValueError)          a graph that cannot be compiled
     +- ModelSelectionError (LookupError) no process model fits, with the candidates and why
     +- VarError (ValueError)            a Var's value, shape or range
     +- RuleError (ValueError)           a learning rule that cannot be read, or not be computed as asked
     +- InputError (ValueError)          data handed to a run, a network or a layer
     |   +- NotRecordedError (KeyError)  what a Recording does not hold
     |   +- NotAvailableError (NotImplementedError)  what a layer cannot do by its nature
     |   +- MissingFileError (FileNotFoundError)  a file or folder that is not there
     +- RunError (RuntimeError)          a life-cycle call that is not possible now
     |   +- DeadlockError              all that is left of a step waits for each other
     |       +- ChannelDeadlockError   a run and the program around it wait for each other, or nobody is left to wait for
     |   +- WorkerError                a worker process that cannot be started, has ended or does not answer
     +- OverflowError24 (ArithmeticError) a fixed-point accumulator left its 24 bits
     +- NetFileError (ValueError)        a .net file: file, key, expected, found
     |   +- NirError                     a NIR graph or file: file, node, parameter, found, remedy
     +- GraphFileError (ValueError)      a file of a compiled graph: what it cannot hold, or what is wrong with it
     +- FixedPointError (ValueError)     a value that fixed point cannot hold: layer, value, remedy
     +- ExportError (ValueError)         a layer that cannot be exported faithfully
     +- MissingExtraError (ModuleNotFoundError)  a package that only some calls need is not installed
     +- ConformanceError (AssertionError) a model or backend that does not compute what all do
     (lavalike.testing)

Each is also the built-in error named in parentheses, so generic handlers keep working. Where a
value is of the wrong kind altogether (a text for a number, an unknown keyword), what is raised is a
TypeError besides: InputTypeError, VarTypeError and so on, see :func:`kind_error`.
"""  # noqa: W505

from __future__ import annotations


class LavalikeError(Exception):
    """Base of all errors raised by lavalike and netx."""


class ConnectError(LavalikeError, ValueError):
    """Two ports cannot be connected; the message names both ends.

    Causes: shapes that differ; an InPort where an OutPort is needed; a port of no process.
    Remedy: make the shapes equal, or put a view between: ``out.flatten().connect(inp)``,
    ``reshape``, ``transpose``, ``concat_with``.
    """


class GraphError(LavalikeError, ValueError):
    """The process graph cannot be compiled.

    Causes: a cycle without a delay; a model that forgets a port or that Numba cannot compile; two
    inner processes of one name; a port or Var whose name means something in a process; in fixed_pt
    a step that makes whole numbers of fractions.
    Remedy: the message names processes, ports and line. In a cycle, put a connection with
    ``delay=1`` (Dense, Sparse, Conv, Delay).
    """


class ModelSelectionError(LavalikeError, LookupError):
    """No ProcessModel fits a process; the message lists the candidates and why each was refused.

    Causes: a process of one's own without a model; a backend or precision that none of its models
    has; a package that a backend needs and that is not installed.
    Remedy: another ``backend`` or ``precision``, ``RunConfig(select={...})`` for this process
    alone, or a model with :func:`lavalike.implements`.
    """


class VarError(LavalikeError, ValueError):
    """A value does not fit a Var: shape, dtype or range.

    Causes: an array of another shape; NaN; a weight beyond its bits, a decay outside 0..1;
    fractions in fixed_pt.
    Remedy: the message names the Var, its range and the value. ``lavalike.to_fixed`` makes whole
    numbers of a floating-point network.
    """


class RuleError(LavalikeError, ValueError):
    """A learning rule that cannot be read, or not be computed as it is asked for.

    Causes: a name that rules do not have; a product without a gate; a trace or tag that is used and
    not declared; on a chip, a product that its sensors do not measure.
    Remedy: the message shows the place in the text; docs/learning.md has the language.
    """


class InputError(LavalikeError, ValueError):
    """An argument, or data handed to a run, a network or a layer, does not fit it.

    Causes: a value out of range; an array whose shape is not ``(*port.shape, time)`` or ``(batch,
    *port.shape, time)``; an option that is not there.
    Remedy: the message names function, argument, what it takes and what it got.
    """


class NotAvailableError(InputError, NotImplementedError):
    """A layer is asked for what it cannot do by its nature.

    Causes: for example inhibition or a reset of ``snn.LeakyParallel``, which computes all steps at
    once.
    Remedy: the message names the layer to take instead.
    """


class MissingFileError(InputError, FileNotFoundError):
    """A file or folder of data is not there; the message says which, and what was expected.

    Causes: a path that is not right; data that was not downloaded.
    Remedy: the folder that the message names, with the files that it lists.
    """


class BackendError(ModelSelectionError, InputError):
    """No backend of that name.

    Causes: a misspelt name; a package with a backend that is not installed.
    Remedy: one of those that the message lists; ``lavalike doctor`` says which are usable.
    """


class RunError(LavalikeError, RuntimeError):
    """The call is not possible in the present state of the run, or a step failed.

    Causes: ``run`` while it is running; ``pause`` when nothing runs; a model that raised (the error
    is of that error's class too); with ``check="finite"`` a NaN.
    Remedy: the message says what to do first, or names process, Var and step.
    ``RunConfig(debug=True)`` runs kernels as plain Python.
    """


class DeadlockError(RunError):
    """What is left of a step waits: the message names processes, ports and the circle.

    Causes: models in Python that all receive before they send.
    Remedy: let one send before it receives, or put a connection with ``delay=1`` between.
    """


class ChannelDeadlockError(DeadlockError):
    """The program around a graph waits for a run, or a run for it between two steps, and no thread
    is left that could go on.

    Causes: ``receive`` of an Extractor when no run can send to it; a run that waits for a message
    that the same thread would have to send.
    Remedy: send before the run, or run with ``RunSteps(n, blocking=False)`` and receive meanwhile.
    """


class WorkerError(RunError):
    """A worker process (``RunConfig(workers=)``) cannot be started, has ended, or does not answer.

    Causes: a program without ``if __name__ == "__main__":``; a class from a notebook; no shared
    memory left; a worker that was killed; a step longer than ``RunConfig(timeout=)``.
    Remedy: the message says which; docs/scaling.md has a table. ``stop()`` leaves the Vars as they
    were when they were compiled.
    """


def step_error(text: str, cause: BaseException) -> RunError:
    """A RunError with ``text`` that is of ``cause``'s class too: what a model's step raised, with
    process and step."""
    kind = _step_errors.get(type(cause))
    if kind is None:
        names = {
            "__module__": type(cause).__module__,
            "__init__": _plain_init,
            "__str__": lambda e: e.args[0],
            "__reduce__": lambda e: (_step_error_again, (type(cause), e.args[0])),
        }
        try:
            kind = type(
                type(cause).__name__,
                (RunError,) if isinstance(cause, RunError) else (RunError, type(cause)),
                names,
            )
            kind(text)
        except TypeError:  # a class that cannot have a second base, or is not made of a text
            kind = RunError
        _step_errors[type(cause)] = kind
    return kind(text)


_step_errors: dict[type, type[RunError]] = {}


def _plain_init(error: Exception, text: str) -> None:
    Exception.__init__(error, text)


def _step_error_again(kind: type[BaseException], text: str) -> RunError:
    return step_error(text, kind.__new__(kind))


class OverflowError24(LavalikeError, ArithmeticError):
    """A fixed-point accumulator left its 24 bits in a network that promised it would not.

    Causes: inputs, weights or a gain larger than those it was trained with.
    Remedy: inputs of the range of training, smaller weights or a larger threshold; slayer counts
    such values while it trains (``neuron.overflows``).
    """


class NetFileError(LavalikeError, ValueError):
    """A .net file is damaged, foreign or hostile.

    Causes: a file that is cut or altered (its digest tells), links, storage outside of it, sizes
    beyond the bounds, types or layers that no network has.
    Remedy: the message names file and key. Export or download it again; a file of lava-dl's that is
    merely unusual loads with a NetFileWarning.

    Attributes: ``path`` (the file), ``key`` (the HDF5 path inside it, or "").
    """

    def __init__(self, path: object, key: str, problem: str) -> None:
        self.path, self.key = str(path), key
        where = f"{path}: {key}" if key else str(path)
        super().__init__(f"{where}: {problem}")


class NirError(NetFileError):
    """A NIR graph or file that is damaged or hostile, or says what cannot be read or written as it
    is meant.

    Causes: no ``dt``, a node that is not known, shapes that do not fit, a loop in which nothing
    takes time, a time constant below half a step; in writing, what NIR has no word for; a file that
    is cut, links, sizes beyond the bounds.
    Remedy: the message names file, node, parameter and what to do. ``netx.nir.explain`` says what
    becomes of each node.

    Attributes: ``file`` ("graph" where there is none), ``node`` (its name, within subgraphs with
    ``/``, or ""), ``parameter`` (of that node, or ""), ``found``, ``remedy``.
    """

    def __init__(
        self, file: object, node: str = "", parameter: str = "", found: str = "", remedy: str = ""
    ) -> None:
        self.file, self.node, self.parameter = str(file), node, parameter
        self.found, self.remedy = found, remedy
        key = ": ".join(part for part in (node, parameter) if part)
        super().__init__(file, key, "; ".join(part for part in (found, remedy) if part))

    def __reduce__(self) -> tuple[object, ...]:
        return NirError, (self.file, self.node, self.parameter, self.found, self.remedy)


class FixedPointError(LavalikeError, ValueError):
    """A value that fixed point cannot hold: which layer's, and what to do.

    Causes: weights or states whose range asks for more bits than there are; a parameter that is not
    a number of its grid.
    Remedy: the message has the value and the largest that fits; another scale, or training with it.
    """


class GraphFileError(LavalikeError, ValueError):
    """What a file of a compiled graph, a checkpoint or a recording cannot hold, or what is wrong
    with one.

    Causes: a class that is not found by its name, or not allowed; an argument that is no data; a
    damaged file; a checkpoint of another graph.
    Remedy: put the class into a module and allow it (``Compiled.load(path, allow=["module"])``);
    make the graph as it was.
    """


class ExportError(LavalikeError, ValueError):
    """A layer cannot be exported so that the file computes what was trained.

    Causes: a block that no file can say; a ``forward`` that does more than its blocks; weights or
    thresholds off their grid.
    Remedy: the message names the layer and why. Nothing was written.
    """


class MissingExtraError(LavalikeError, ModuleNotFoundError):
    """A package that this call needs, and others do not, is not installed. ``name`` is the
    package's.

    Causes: an extra that was not installed, such as [plot].
    Remedy: the command that the message has, ``pip install 'lavalike[plot]'``.
    """


class ConformanceError(LavalikeError, AssertionError):
    """A model or a backend does not compute what every one does; see :mod:`lavalike.testing`.

    Causes: a step of one's own that differs from the Dynamics, or keeps state outside of its Vars.
    Remedy: the message shows the first element and step that differ.
    """


class NotRecordedError(InputError, KeyError):
    """A :class:`lavalike.Recording` was asked for something it does not hold.

    Causes: a port or Var that was not recorded; a name that is not there.
    Remedy: ``simulate(record=[...])``; the message lists what there is.
    """

    def __str__(self) -> str:  # KeyError quotes
        return str(self.args[0]) if self.args else ""


class GradedMessageWarning(UserWarning):
    """Messages that are neither 0 nor 1 reach a connection that takes each as a spike.

    Causes: a sender of graded messages before a connection with ``num_message_bits=0``.
    Remedy: ``num_message_bits=8`` or more where values are meant.
    """


class InputTypeError(InputError, TypeError):
    """An argument of the wrong kind: a text for a number, an unknown keyword."""


class VarTypeError(VarError, TypeError):
    """A value of the wrong kind for a Var."""


class ConnectTypeError(ConnectError, TypeError):
    """Something that is no port, or no shape, where one is needed."""


class GraphTypeError(GraphError, TypeError):
    """A model or process of the wrong kind."""


class RuleTypeError(RuleError, TypeError):
    """What a learning rule is made of is of the wrong kind."""


class ExportTypeError(ExportError, TypeError):
    """What was to be exported is of the wrong kind."""


KINDS: dict[type[LavalikeError], type[LavalikeError]] = {
    InputError: InputTypeError,
    VarError: VarTypeError,
    ConnectError: ConnectTypeError,
    GraphError: GraphTypeError,
    ExportError: ExportTypeError,
    RuleError: RuleTypeError,
}


def kind_error(error: type[LavalikeError]) -> type[LavalikeError]:
    """The error for a value of the wrong kind where ``error`` is the one for a wrong value: it is
    ``error`` and a TypeError."""
    if issubclass(error, TypeError):
        return error
    return next((KINDS[base] for base in error.__mro__ if base in KINDS), InputTypeError)
