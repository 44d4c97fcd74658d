"""``lv.compile``: a graph with its models chosen, cut into parts and bound, before its first
step."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from lavalike.arguments import PATH, TEXT, Rule, arguments, did_you_mean, instance, optional
from lavalike.compiled import explain, store
from lavalike.compiler.order import unique
from lavalike.errors import InputError
from lavalike.model.config import RunConfig
from lavalike.process import AbstractProcess
from lavalike.process.process import component, walk
from lavalike.runtime import runtime

if TYPE_CHECKING:
    from lavalike.runtime.conditions import RunCondition

_CONFIG = optional(instance("lavalike.model.config.RunConfig", words="a RunConfig"))
_ALLOW = Rule(
    "a sequence of module names and classes",
    lambda v: isinstance(v, list | tuple) and all(isinstance(a, str | type) for a in v),
)


class Compiled:
    """A graph that is compiled: its processes, the RunConfig, and what that came to. Made by
    :func:`lavalike.compile` and :meth:`load`.

    ``run`` gives the same bits as ``process.run``: it is the same program. A change of the graph,
    or another RunConfig, compiles it anew, with a warning, as it does there.

    Attributes: ``process``, the one that was asked for; ``config``; ``compiled["net.lif"]`` is the
        process of that path.

    Example:
        >>> compiled = lv.compile(proc.LIF(shape=(3,), name="lif"))
        >>> compiled.run(lv.RunSteps(10))
        >>> compiled["lif"].step
        10
    """

    def __init__(self, process: AbstractProcess, config: RunConfig) -> None:
        self.process, self.config = process, config

    def run(
        self,
        condition: RunCondition,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        every: int | None = None,
    ) -> None:
        """Run everything, as ``process.run(condition, config, ...)`` does."""
        self.process.run(condition, self.config, checkpoint=checkpoint, every=every)

    def stop(self) -> None:
        """See :meth:`AbstractProcess.stop`."""
        self.process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def processes(self) -> dict[str, AbstractProcess]:
        """All processes by path; a second one of the same path goes by ``path#2``."""
        found = [p for top in component(self.process) for p in walk(top)]
        return dict(zip(unique(p.path for p in found), found, strict=True))

    @arguments(path=TEXT)
    def __getitem__(self, path: str) -> AbstractProcess:
        found = self.processes
        if path not in found:
            raise InputError(
                f"Compiled: path: no process {path!r}{did_you_mean(path, found)}; there are {', '.join(found)}"
            )
        return found[path]

    def __repr__(self) -> str:
        return f"Compiled({', '.join(self.processes)})"

    def explain(self) -> str:
        """What the graph came to, as text: the order of a step with each process's model, backend,
        precision and delay; the parts and what passes between them; phases after a step; RefPorts;
        what is recorded."""
        return explain.text(runtime.prepare(self.process, self.config).program)

    @arguments(path=PATH)
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the graph with its present values to an HDF5 file, whole or not at all.

        The file says which classes the processes are made of, with which arguments, how they are
        connected, what their Vars hold, the step, what monitors and recorders record (not what they
        recorded), and the RunConfig. It is read back before it has its name.

        Raises:
            GraphFileError: what a file cannot say: a class that is not found by its module and
                name, an argument that is no data or is gone, what was added to a process after it
                was made, a chip or a function in the RunConfig.
            RunError: while it is running. OSError: the file cannot be written.
        """
        store.save(self, path)

    @classmethod
    @arguments(path=PATH, allow=_ALLOW, config=_CONFIG)
    def load(
        cls,
        path: str | os.PathLike[str],
        allow: Sequence[str | type] = (),
        config: RunConfig | None = None,
    ) -> Self:
        """The graph of a file that :meth:`save` wrote, compiled; ``reset()`` goes back to the
        values of the file.

        A file is not trusted: it names classes and holds data, and nothing in it is run. Processes
        are made by their constructors, which check their arguments, and only of classes of
        lavalike, netx, and those that are allowed.

        Args:
            path: of the file.
            allow: names of modules (``"mine"`` allows ``"mine.parts"``, too), which are imported,
                and classes.
            config: in place of the file's RunConfig. Default None: the file's.

        Raises:
            GraphFileError: the file is damaged, of another form, or names what is not allowed or
                not there; it says which.
            Whatever compiling raises.
        """
        process, found, drawn = store.load(path, allow)
        config = config or found
        runtime.prepare(process, config, drawn)
        return cls(process, config)


@arguments(
    process=instance(AbstractProcess, words="a process"),
    config=_CONFIG,
)
def compile(process: AbstractProcess, config: RunConfig | None = None) -> Compiled:
    """Choose models, cut and compile everything that ``process`` is connected to, and run no step.

    Args:
        process: any process of the graph.
        config: default None: the last one used, or ``RunConfig()``.

    Returns:
        :class:`Compiled`, which runs, explains itself, and can be saved.

    Whatever a run would raise before its first step is raised here: ModelSelectionError,
        GraphError, VarError, InputError.

    Example::

        compiled = lv.compile(net, RunConfig(precision="fixed_pt"))
        print(compiled.explain())
        compiled.run(RunSteps(100))
        compiled.save("net.h5")
        again = lv.Compiled.load("net.h5", allow=["mynetworks"])
    """
    return Compiled(process, runtime.prepare(process, config).config)
