"""What is shipped: metadata, typing marker, changelog, and pins that agree."""

from __future__ import annotations

import re
import tomllib
import zipfile

import pytest
from hatchling.builders.wheel import WheelBuilder

import lavalike
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_versions_agree(project):
    assert project["version"] == lavalike.__version__
    assert f"version: {lavalike.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert lavalike.__version__ in (ROOT / "CHANGELOG.md").read_text()


def test_the_core_is_light(project):
    names = {re.split(r"[<>=]", d)[0] for d in project["dependencies"]}
    assert names == {"numpy", "numba", "h5py", "greenlet", "multiprocessing-logging"}


def test_constraints_pin_what_the_extras_name(project):
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pins["torch"] == "2.13.0"
    wanted = project["dependencies"] + [
        d for extra in project["optional-dependencies"].values() for d in extra
    ]
    names = {re.split(r"[<>=\[]", d)[0] for d in wanted} - {"lavalike"}
    assert names <= set(pins)


def test_the_wheel_holds_both_packages_and_their_typing(tmp_path):
    path = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    names = set(zipfile.ZipFile(path).namelist())
    assert {
        "lavalike/py.typed",
        "netx/py.typed",
        "lavalike/slayer/block/families.py",
        "netx/hdf5.py",
    } <= names
    assert not any(n.startswith(("tests", "benchmarks")) for n in names)
