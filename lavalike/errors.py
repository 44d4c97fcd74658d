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
    """Two ports cannot be connected; the message names both ends."""


class GraphError(LavalikeError, ValueError):
    """The process graph cannot be compiled (a cycle without delay, for example)."""


class ModelSelectionError(LavalikeError, LookupError):
    """No ProcessModel fits a process; the message lists the candidates and why each was refused."""


class VarError(LavalikeError, ValueError):
    """A value does not fit a Var: shape, dtype or range."""


class RuleError(LavalikeError, ValueError):
    """A learning rule that cannot be read, with the place, or not be computed as it is asked
    for."""


class InputError(LavalikeError, ValueError):
    """Data handed to a run, a network or a layer does not fit it."""


class NotAvailableError(InputError, NotImplementedError):
    """A layer is asked for what it cannot do by its nature."""


class MissingFileError(InputError, FileNotFoundError):
    """A file or folder of data is not there; the message says which, and what was expected."""


class BackendError(ModelSelectionError, InputError):
    """No backend of that name."""


class RunError(LavalikeError, RuntimeError):
    """The call is not possible in the present state of the run; the message says what to do
    first."""


class DeadlockError(RunError):
    """What is left of a step waits: the message names processes, ports and the circle."""


class ChannelDeadlockError(DeadlockError):
    """The program around a graph waits for a run, or a run for it between two steps, and no thread
    is left that could go on."""


class WorkerError(RunError):
    """A worker process (``RunConfig(workers=)``) cannot be started, has ended, or does not
    answer."""


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
    """A fixed-point accumulator left its 24 bits in a network that promised it would not."""


class NetFileError(LavalikeError, ValueError):
    """A .net file is damaged, foreign or hostile.

    Attributes: ``path`` (the file), ``key`` (the HDF5 path inside it, or "").
    """

    def __init__(self, path: object, key: str, problem: str) -> None:
        self.path, self.key = str(path), key
        where = f"{path}: {key}" if key else str(path)
        super().__init__(f"{where}: {problem}")


class NirError(NetFileError):
    """A NIR graph or file that is damaged or hostile, or says what cannot be read or written as it
    is meant.

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
    """A value that fixed point cannot hold: which layer's, and what to do."""


class GraphFileError(LavalikeError, ValueError):
    """What a file of a compiled graph cannot hold, or what is wrong with one: file and place."""


class ExportError(LavalikeError, ValueError):
    """A layer cannot be exported so that the file computes what was trained."""


class ConformanceError(LavalikeError, AssertionError):
    """A model or a backend does not compute what every one does; see :mod:`lavalike.testing`."""


class NotRecordedError(InputError, KeyError):
    """A :class:`lavalike.Recording` was asked for something it does not hold."""

    def __str__(self) -> str:  # KeyError quotes
        return str(self.args[0]) if self.args else ""


class GradedMessageWarning(UserWarning):
    """Messages that are neither 0 nor 1 reach a connection that takes each as a spike."""


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
