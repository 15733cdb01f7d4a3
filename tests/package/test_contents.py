"""What is in the wheel and the sdist, and what they say of themselves."""

from __future__ import annotations

import re
import sys
from email import message_from_string
from pathlib import Path

import pytest

from tests.package.building import ROOT, Built, build, run

pytestmark = pytest.mark.package


def known_files() -> set[str]:
    """Return the files of the package that are under version control."""
    return set(run("git", "ls-files", "dualkv", cwd=ROOT).splitlines())


def test_the_wheel_is_the_package_and_nothing_else(built: Built) -> None:
    """Every file under version control, data included, and none that lies about; no tests, no documents."""
    names = {name for name in built.names_in_wheel() if ".dist-info/" not in name}

    assert "dualkv/py.typed" in names
    assert names == known_files()


def test_the_sdist_is_the_package_and_what_builds_it(built: Built) -> None:
    """And the licence, the README and the changes."""
    assert built.names_in_sdist() == known_files() | {
        ".gitignore", "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml",
    }  # fmt: skip


def test_the_sdist_builds_the_same_wheel_as_the_repository(built: Built, tmp_path: Path) -> None:
    """Byte by byte: whoever builds it gets what was published."""
    build(ROOT, tmp_path, "--wheel")

    assert (tmp_path / built.wheel.name).read_bytes() == built.wheel.read_bytes()


def test_the_index_can_show_them(built: Built) -> None:
    """Their description is rendered without a warning."""
    said = run(sys.executable, "-m", "twine", "check", "--strict", built.wheel, built.sdist, cwd=ROOT)

    assert said.count("PASSED") == 2


def test_the_metadata_tell_licence_and_python(built: Built) -> None:
    """What an index or a licence scanner looks at."""
    metadata = message_from_string(built.metadata())

    assert metadata["Name"] == "dualkv"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["License-File"] == "LICENSE"
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Framework :: Trio" in (metadata.get_all("Classifier") or ())
    assert {"demo", "dev"} == set(metadata.get_all("Provides-Extra") or ())


def test_links_of_the_readme_work_on_the_index(built: Built) -> None:
    """Those that are relative in the repository lead into it from elsewhere."""
    targets = re.findall(r"\]\(([^)]+)\)", built.metadata())

    assert len(targets) > 10
    assert all(target.startswith("https://") for target in targets)
