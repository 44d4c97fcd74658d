"""What a release needs of the checkout: ``python .github/release.py v1.2.3`` prints the section of
CHANGELOG.md, and ends with an error where the tag is not the version of the package."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def notes(tag: str, version: str, changelog: str) -> str:
    """The section of ``changelog`` for ``tag``, which is ``v`` and ``version``; ValueError
    otherwise, and where there is no such section or it says nothing."""
    if tag != f"v{version}":
        raise ValueError(f"the tag is {tag}, the version of pyproject.toml {version}")
    found = re.search(
        rf"^## {re.escape(version)}\b[^\n]*\n(.*?)(?=^## |\Z)", changelog, re.M | re.S
    )
    if found is None or not found[1].strip():
        raise ValueError(f"CHANGELOG.md has no section '## {version}', or nothing in it")
    return found[1].strip() + "\n"


if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    try:
        print(notes(sys.argv[1], project["version"], text), end="")
    except ValueError as error:
        sys.exit(f"release: {error}")
