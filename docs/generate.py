"""Pages that are made from docstrings: the reference (when the site is built) and errors.md.

python docs/generate.py    # writes docs/errors.md, which a test compares
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT)]

# chapter: title, what it is about, and the namespaces that begin so; the first that fits has it
CHAPTERS = {
    "processes": (
        "The library of processes",
        "Neurons, connections, sources and sinks.",
        ("lavalike.proc", "lavalike.learning", "lavalike.networks"),
    ),
    "dynamics": (
        "Equations, and their loops over time",
        "A neuron's one step, its parameters, and what training makes of it.",
        ("lavalike.dynamics", "lavalike.fused"),
    ),
    "netx": ("Files", "`.net` and NIR files as graphs of processes.", ("netx",)),
    "slayer": (
        "slayer",
        "Training in lava-dl's words.",
        ("lavalike.slayer.block", "lavalike.slayer", "lavalike.bootstrap"),
    ),
    "snn": ("snn", "Training in snnTorch's words.", ("lavalike.snn",)),
    "bss2": ("BrainScaleS-2", "Chips, emulated, in hxtorch's words.", ("lavalike.bss2",)),
    "tools": (
        "Data, plots, tests, backends",
        "What is around networks.",
        (
            "lavalike.datasets",
            "lavalike.events",
            "lavalike.weights",
            "lavalike.plot",
            "lavalike.report",
            "lavalike.testing",
            "lavalike.operations",
            "lavalike.backends",
            "lavalike.compat",
        ),
    ),
    "graph": (
        "Graphs, and how they run",
        "What `import lavalike` gives: processes, ports, Vars, models, runs.",
        ("",),
    ),
}
PRELUDE = """\
Examples take these names as imported:

.. code-block:: python

   import numpy as np
   import torch

   import lavalike as lv
   import netx
   from lavalike import bss2, datasets, learning, networks, proc, slayer, snn
"""


def literal(lines: list[str]) -> list[str]:
    """``lines`` of a docstring as reStructuredText: what is indented after an empty line, and has
    no heading, is a literal block; what would be markup outside of double backticks is text."""
    lines = _NAMES.sub(r"\1 ", "\n".join(lines)).split("\n")
    out: list[str] = []
    block: int | None = None  # the indentation that ends a literal block
    before = ""  # the last line that is not empty
    session = False  # within a doctest, up to the next empty line
    for k, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if line.strip():
            if block is not None and indent <= block:
                block = None
            opens = k and not lines[k - 1].strip() and indent > len(before) - len(before.lstrip())
            if block is None and opens and before.strip() and not before.rstrip().endswith("::"):
                block = len(before) - len(before.lstrip())
                out += [" " * block + "::", ""]
            elif block is None and opens:
                block = len(before) - len(before.lstrip())
            before = line
        session = line.lstrip().startswith(">>>") or (session and bool(line.strip()))
        plain = block is None and not session
        out.append(_escaped(line) if plain else line)
    return out


_NAMES = re.compile(r"^( +[\w, ]+,)\n +(?=[\w, ]+[,:])", re.M)  # of arguments, over two lines
_SPANS = re.compile(r"(``.*?``|:[a-z:]+:`[^`]*`|`[^`]+`_?)")


def _escaped(line: str) -> str:
    parts = _SPANS.split(line)
    bullet = re.match(r" *\* ", parts[0])
    parts[::2] = [re.sub(r"(?<!\\)([*|]|(?<=\w)_(?!\w))", r"\\\1", p) for p in parts[::2]]
    return "".join(parts) if bullet is None else "".join(parts).replace("\\*", "*", 1)


def signature(cls: type) -> str:
    """The arguments of a class's ``__init__``, without their types."""
    found = list(inspect.signature(cls.__init__).parameters.values())[1:]
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in found]
    return str(inspect.Signature(plain))


def chapter(namespace: str) -> str:
    return next(
        name
        for name, (_, _, prefixes) in CHAPTERS.items()
        if any(p == "" or f"{namespace}.".startswith(f"{p}.") for p in prefixes)
    )


def public() -> dict[str, list[str]]:
    """Namespaces in order, and the names of each that no earlier one has."""
    from tests import test_doors

    names: dict[str, list[str]] = {namespace: [] for namespace in test_doors.NAMESPACES}
    for path in test_doors.public().values():
        namespace, _, name = path.rpartition(".")
        names[namespace].append(name)
    return {n: sorted(found, key=str.lower) for n, found in names.items() if found}


def reference(folder: Path) -> None:
    """A page for each chapter, in reStructuredText, and their index."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    pages: dict[str, list[str]] = {name: [] for name in CHAPTERS}
    for namespace, names in public().items():
        module = importlib.import_module(namespace)
        page = pages[chapter(namespace)]
        page += ["", namespace, "-" * len(namespace), ""]
        page += [f".. automodule:: {namespace}", "   :no-members:", ""]
        for name in names:
            value = getattr(module, name)
            kind = "class" if inspect.isclass(value) else "function"
            if kind == "class" and issubclass(value, BaseException):
                kind = "exception"
            page += [f".. auto{kind}:: {namespace}.{name}"]
            page += ["   :members:", ""] if kind == "class" else [""]
    order = ["graph", *(name for name in CHAPTERS if name != "graph")]
    index = ["Reference", "=========", ""]
    index += [
        "Every public name, from the docstrings. An argument's kind, shape, unit, default and"
    ]
    index += [
        "range stand in its text; what is wrong is an error that says so (:doc:`/docs/errors`).",
        "",
    ]
    index += [PRELUDE, ".. toctree::", "   :maxdepth: 2", ""]
    for name in order:
        title, about, _ = CHAPTERS[name]
        head = [title, "=" * len(title), "", about.replace("`", "``"), ""]
        (folder / f"{name}.rst").write_text("\n".join(head + pages[name]) + "\n", encoding="utf-8")
        index += [f"   {name}"]
    (folder / "index.rst").write_text("\n".join(index) + "\n", encoding="utf-8")


def modules() -> Iterator[str]:
    """Every module of both packages but those that are programs."""
    for top in ("lavalike", "netx"):
        package = importlib.import_module(top)
        for found in pkgutil.walk_packages(package.__path__, f"{top}."):
            if not re.search(r"__main__|\.mpi$|compat\.lava$|triton", found.name):
                yield found.name


def ours(base: type) -> list[type]:
    """All classes of the library's that derive from ``base``, by where they are and their name."""
    for name in modules():
        importlib.import_module(name)
    found: dict[str, type] = {}
    waiting = [base]
    while waiting:
        for sub in waiting.pop().__subclasses__():
            waiting.append(sub)
            named = (
                sub.__module__.split(".")[0] in ("lavalike", "netx") and "<" not in sub.__qualname__
            )
            if named and getattr(sys.modules[sub.__module__], sub.__name__, None) is sub:
                found[f"{sub.__module__ != 'lavalike.errors'}{sub.__module__}.{sub.__name__}"] = sub
    return [found[key] for key in sorted(found)]


def told(error: type) -> dict[str, str]:
    """What a docstring of an error says: ``what``, ``Causes`` and ``Remedy``."""
    text = inspect.cleandoc(error.__doc__ or "")
    parts = re.split(r"^(Causes|Remedy|Attributes): ?", text, flags=re.M)
    said = {"what": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))
    return {key: _markdown(" ".join(value.split())) for key, value in said.items()}


def _markdown(text: str) -> str:
    text = re.sub(r":[a-z]+:`~?([^`]*)`", r"`\1`", text)
    return text.replace("``", "`")


def errors() -> str:
    """The catalogue of errors and warnings, in Markdown."""
    from lavalike.errors import LavalikeError

    out = [
        "# Errors",
        "",
        "Every error that lavalike raises on purpose, with what causes it and what to do. Made from their",
        "docstrings by `python docs/generate.py`; a test compares.",
        "",
        "All derive from `lavalike.LavalikeError`, and each from a built-in error besides, so that `except ValueError`",
        "goes on working. A message names the place (function and argument, process and port, file and key), the value and",
        "the remedy. Where a value is of the wrong kind altogether (a text for a number, an unknown keyword), the error is a",
        "`TypeError` too. What a model of yours raises in a step comes as a `RunError` that is of your error's class as well.",
    ]
    found = ours(LavalikeError)
    words = [e for e in found if e.__module__.startswith("lavalike.compat")]
    kinds = [e for e in found if issubclass(e, TypeError) and e not in words]
    for error in found:
        if error not in words and error not in kinds:
            out += _section(error)
    out += ["", "## Of the wrong kind", ""]
    out += ["The same errors for a value of the wrong kind, each a `TypeError` besides:"]
    out += [", ".join(f"`{e.__name__}`" for e in kinds) + "."]
    out += ["", "## In Lava's words", ""]
    out += ["What `lavalike.compat` raises under the names that programs for Lava catch.", ""]
    out += ["| error | is a | |", "|---|---|---|"]
    out += [f"| `{e.__name__}` | {_bases(e)} | {told(e)['what']} |" for e in words]
    out += ["", "## Warnings"]
    for warning in ours(Warning):
        out += _section(warning, "###")
    return "\n".join(out) + "\n"


def _bases(error: type) -> str:
    return ", ".join(f"`{b.__name__}`" for b in error.__bases__ if b is not object)


def _section(error: type, level: str = "##") -> list[str]:
    said = told(error)
    where = f"Is a {_bases(error)}; in `{error.__module__}`."
    lines = ["", f"{level} {error.__name__}", "", where, "", said["what"]]
    for name in ("Causes", "Remedy", "Attributes"):
        if name in said:
            lines += ["", f"**{name}.** {said[name][:1].upper()}{said[name][1:]}"]
    return lines


if __name__ == "__main__":
    (ROOT / "docs" / "errors.md").write_text(errors(), encoding="utf-8")
