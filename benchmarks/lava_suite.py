"""Lava's own tests, unmodified, through lavalike.compat: how many of the user-facing ones pass.

    pip download lava-nc==0.10.0 --no-deps --python-version 3.10 --only-binary :all:
    python -m zipfile -e lava_nc-0.10.0-py3-none-any.whl FOLDER
    python -m benchmarks.lava_suite FOLDER [--only lif dense ...] [--timeout 30] [--failures]

    python -m benchmarks.lava_suite CHECKOUT --family   # of lava-nc/lava-optimization or lava-nc/lava-dnf

Nothing of Lava's enters the project. The tests want scipy, asteval and psutil (lava-optimization's
networkx, schema, scikit-optimize and seaborn too). Each file runs in a process of its own, from a
copy of the folder's tests; a test that takes longer than the timeout fails, and where even that
cannot end it, what is left of its file fails with it. What skips itself does not count: hardware,
notebooks.
"""  # noqa: W505

from __future__ import annotations

import argparse
import ast
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# what looks at Lava's insides, wants hardware or slurm, or runs notebooks: no test of what a user
# sees
EXCLUDED = (
    "magma/compiler/",
    "magma/core/model/py/test_ports.py",
    "magma/runtime/test_runtime.py",
    "magma/runtime/test_runtime_service.py",
    "magma/core/learning/test_symbolic_equation.py",
    "magma/core/learning/test_product_series.py",
    "magma/core/learning/test_learning_rule_applier.py",
    "magma/core/learning/test_random.py",
    "tutorials/",
    "utils/test_loihi.py",
    "utils/test_slurm.py",
)
HERE = Path(__file__).resolve().parent.parent


# -- the plugin, in the process of a file


class Slow(BaseException):
    """A test took longer than its timeout."""


RECORDS: dict[str, dict[str, str]] = {}


class Missing:
    """Stands for a name that is not there, with --lenient: it can be imported and subclassed, not
    made."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise RuntimeError("a name that lavalike.compat does not have")


def pytest_configure(config: Any) -> None:
    if os.environ.get("LAVA_SUITE_LENIENT"):
        from lavalike.compat import finder, table

        table.is_module = lambda name: True
        answer = finder._Module.__getattr__

        def lenient(module: Any, name: str) -> Any:
            if name in table.TABLE.get(module.__name__, {}):
                return answer(module, name)
            if name.startswith("__"):
                raise AttributeError(name)
            if name.islower():
                return importlib.import_module(f"{module.__name__}.{name}")
            return type(name, (Missing,), {"__module__": module.__name__})

        finder._Module.__getattr__ = lenient  # type: ignore[method-assign]


def pytest_runtest_setup(item: Any) -> None:
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, _late)
        signal.alarm(int(os.environ["LAVA_SUITE_TIMEOUT"]))


def pytest_runtest_teardown(item: Any) -> None:
    if hasattr(signal, "SIGALRM"):
        signal.alarm(0)


def _late(*_: object) -> None:
    raise Slow("took too long")


def pytest_runtest_logreport(report: Any) -> None:
    name = report.nodeid.split("::", 1)[1]
    record = RECORDS.setdefault(name, {"outcome": "passed", "text": ""})
    if report.failed and record["outcome"] == "passed":
        crash = getattr(report.longrepr, "reprcrash", None)
        text = crash.message if crash is not None else str(report.longrepr)
        record.update(outcome="failed", text=text.replace("\n", " ")[:300])
    elif report.skipped:
        record.update(outcome="skipped", text=str(report.longrepr[-1])[:120])
    _write()


def pytest_collectreport(report: Any) -> None:
    if report.failed:
        lines = str(report.longrepr).strip().splitlines()
        error = [x for x in lines if x.startswith("E ")] or lines
        RECORDS["(import)"] = {"outcome": "failed", "text": error[-1].lstrip("E ")[:300]}
        _write()


def _write() -> None:
    Path(os.environ["LAVA_SUITE_REPORT"]).write_text(json.dumps(RECORDS))


# -- the command


def functions(path: Path) -> list[str]:
    """The test functions of a file, as pytest names them."""
    out = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test"):
            out.append(node.name)
        elif isinstance(node, ast.ClassDef):
            out += [
                f"{node.name}::{f.name}"
                for f in node.body
                if isinstance(f, ast.FunctionDef) and f.name.startswith("test")
            ]
    return list(dict.fromkeys(out))


def run_file(
    path: Path, folder: Path, timeout: int, sources: Sequence[Path] = ()
) -> dict[str, dict[str, str]]:
    """What became of each test function of a file. ``sources`` are folders that its imports are
    found in."""
    names = functions(path)
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    env = dict(
        os.environ,
        LAVA_SUITE_TIMEOUT=str(timeout),
        LAVA_SUITE_REPORT=str(report),
        PYTHONPATH=os.pathsep.join(
            [str(HERE), *map(str, sources), os.environ.get("PYTHONPATH", "")]
        ),
        PYTHONDONTWRITEBYTECODE="1",
        MPLBACKEND="agg",
    )
    command = [sys.executable, "-m", "lavalike.compat", "-m", "pytest", str(path), "-q"]
    command += ["-p", "benchmarks.lava_suite", "-p", "no:cacheprovider", "-c", os.devnull]
    command += ["--rootdir", str(folder), "--tb=short"]
    with open(folder / "log", "w") as log:
        limit = timeout * 3 + 5 * len(names)
        try:
            subprocess.run(
                command, cwd=folder, env=env, stdout=log, stderr=log, timeout=limit, check=False
            )
            why = "its process ended"
        except subprocess.TimeoutExpired:
            why = f"its file took longer than {limit} s"
    found = json.loads(report.read_text()) if report.exists() else {}
    worst: dict[str, dict[str, str]] = {}  # of a test's parameters
    for n, r in found.items():
        name = n.split("[")[0]
        if name not in worst or (worst[name]["outcome"] != "failed" and r["outcome"] != "skipped"):
            worst[name] = r
    found = worst
    if "(import)" in found:
        why = found.pop("(import)")["text"]
    return {n: found.get(n, {"outcome": "failed", "text": why}) for n in names}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lava_suite")
    parser.add_argument("folder", type=Path, help="where lava-nc's wheel was unzipped")
    parser.add_argument(
        "--family",
        action="store_true",
        help="the folder is a checkout of one of Lava's family libraries: src/ and tests/",
    )
    parser.add_argument("--only", nargs="*", default=[], help="files whose path holds one of these")
    parser.add_argument("--timeout", type=int, default=30, help="seconds a test may take")
    parser.add_argument("--failures", action="store_true", help="each failed test with its reason")
    parser.add_argument(
        "--lenient",
        action="store_true",
        help="names that are not there can be imported, and fail the tests that use them instead of all in the file",
    )
    given = parser.parse_args(argv)
    if given.lenient:
        os.environ["LAVA_SUITE_LENIENT"] = "1"
    source = given.folder / "tests" / "lava"
    if not source.is_dir():
        raise SystemExit(f"{given.folder} holds no tests/lava; unzip the wheel there")
    excluded = ("tutorials/",) if given.family else EXCLUDED
    sources = [(given.folder / "src").resolve()] if given.family else []
    total = passed = 0
    with tempfile.TemporaryDirectory(prefix="lava-suite-") as name:
        folder = Path(name)
        shutil.copytree(given.folder / "tests", folder / "tests")
        for path in sorted((folder / "tests" / "lava").rglob("test_*.py")):
            short = path.relative_to(folder / "tests" / "lava").as_posix()
            if short.startswith(excluded) or not any(o in short for o in given.only or [""]):
                continue
            records = run_file(path, folder, given.timeout, sources)
            counted = {n: r for n, r in records.items() if r["outcome"] != "skipped"}
            good = sum(r["outcome"] == "passed" for r in counted.values())
            total, passed = total + len(counted), passed + good
            print(f"{good:4} of {len(counted):3}  {short}", flush=True)
            for test, record in counted.items():
                if given.failures and record["outcome"] != "passed":
                    print(f"            {test}: {record['text']}", flush=True)
    lenient = ", names that are not there let through" if given.lenient else ""
    print(f"\n{passed} passed of {total}{lenient}")


if __name__ == "__main__":
    main(sys.argv[1:])
