"""The code of README.md and of the pages runs, block after block; docs/extending.md has tests of
its own, which follow it. Links between pages lead somewhere, and every page is on the site. The
site itself is built by ``make docs``, without a warning."""

from __future__ import annotations

import importlib.util
import re
import sys

import pytest

from tests.conftest import ROOT

TEXTS = {
    page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8")
    for page in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
}
PAGES = {
    name: [
        (text[: block.start(1)].count("\n"), block[1])
        for block in re.finditer(r"```python\n(.*?)```", text, re.S)
    ]
    for name, text in TEXTS.items()
    if name != "docs/extending.md"
}
MADE = ("docs/reference/",)  # when the site is built


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    path = [*sys.path]
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


@pytest.mark.parametrize("page", [name for name, blocks in PAGES.items() if blocks])
def test_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for line, block in PAGES[page]:
        exec(compile("\n" * line + block, ROOT / page, "exec"), names)


def test_every_block_of_code_says_what_it_is():
    """A block that is marked as something near Python would not be run: ``py`` is of a package that
    nothing here depends on, and is compiled."""
    kinds = {
        kind
        for text in TEXTS.values()
        for kind in re.findall(r"^ *```([^\n`]+)\n", text, re.M)
        if not kind.startswith("{")
    }
    assert kinds <= {"python", "py", "toml"}
    for name, text in TEXTS.items():
        for block in re.findall(r"```py\n(.*?)```", text, re.S):
            compile(block, name, "exec")


def test_links_between_pages_lead_somewhere():
    dead = []
    for name, text in TEXTS.items():
        text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
        for target in re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            path = (ROOT / name).parent.joinpath(target).resolve()
            if not path.exists() and not path.as_posix().startswith(
                tuple(f"{ROOT.as_posix()}/{made}" for made in MADE)
            ):
                dead.append(f"{name}: {target}")
    assert dead == []


def test_every_page_is_on_the_site():
    listed = set()
    for name, text in TEXTS.items():
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.S | re.M):
            for entry in re.findall(r"^(?!:)(?:.*<)?([^<>\n]+?)>?$", block, re.M):
                listed.add((ROOT / name).parent.joinpath(f"{entry}.md").resolve())
    pages = {ROOT / name for name in TEXTS} - {ROOT / "README.md", ROOT / "docs/index.md"}
    assert sorted(p.relative_to(ROOT).as_posix() for p in pages - listed) == []


def test_the_reference_has_every_public_name_once(generate):
    from tests import test_doors

    found = [f"{n}.{name}" for n, names in generate.public().items() for name in names]
    assert sorted(found) == sorted(test_doors.public().values())
    assert {generate.chapter(n) for n in generate.public()} <= generate.CHAPTERS.keys()


def test_the_catalogue_of_errors_is_that_of_their_docstrings(generate):
    assert TEXTS["docs/errors.md"] == generate.errors(), "run python docs/generate.py"


def test_every_error_says_what_causes_it_and_what_to_do(generate):
    from lavalike.errors import LavalikeError

    silent = [
        error.__name__
        for error in (*generate.ours(LavalikeError), *generate.ours(Warning))
        if not issubclass(error, TypeError)
        and not error.__module__.startswith("lavalike.compat")
        and not {"Causes", "Remedy"} <= generate.told(error).keys()
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a sum::\n\n    x * y\n\nend *", "a sum::\n\n    x * y\n\nend \\*"),
        ("As computed:\n\n    v = v * du\n\nend", "As computed:\n\n::\n\n    v = v * du\n\nend"),
        (
            "Example:\n    >>> 2 * x\n    [2 *]\n\na * b",
            "Example:\n    >>> 2 * x\n    [2 *]\n\na \\* b",
        ),
        ("**kwargs and ``a * b`` of v_", "\\*\\*kwargs and ``a * b`` of v\\_"),
        (
            "Args:\n    x: one\n        more\n    y: two",
            "Args:\n    x: one\n        more\n    y: two",
        ),
        ("Args:\n    a, b,\n        c: of d\n\n* one", "Args:\n    a, b, c: of d\n\n* one"),
    ],
)
def test_docstrings_are_plain_text(generate, text, shown):
    assert generate.literal(text.split("\n")) == shown.split("\n")


def test_a_process_is_shown_with_its_own_arguments(generate):
    from lavalike.proc import Dense, Recorder

    assert generate.signature(Recorder) == "(*, ring=None, to=None, name=None)"
    assert generate.signature(Dense).startswith("(*, weights, ")
