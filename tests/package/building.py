"""Builds what is published, and installs it where nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import attrs

__all__ = ["Built", "build", "new_environment", "run"]

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 300
"""An installation fetches packages."""

WITHOUT_REPOSITORY = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
"""What is started sees what is installed, and not this repository."""


def run(*command: str | Path, cwd: Path, **more: str) -> str:
    """Run a program to its end, which must be a good one.

    Args:
        command: The program and its arguments.
        cwd: Where it runs.
        more: Variables for it.

    Returns:
        What it said, errors included.
    """
    ended = subprocess.run(
        command,
        cwd=cwd,
        env=WITHOUT_REPOSITORY | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


@attrs.frozen
class Built:
    """A wheel and an sdist."""

    wheel: Path
    sdist: Path

    def names_in_wheel(self) -> set[str]:
        """Return the paths in the wheel."""
        with ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def names_in_sdist(self) -> set[str]:
        """Return the paths in the sdist, without the folder that everything is in."""
        with tarfile.open(self.sdist) as archive:
            return {name.partition("/")[2] for name in archive.getnames()}

    def metadata(self) -> str:
        """Return the wheel's METADATA."""
        with ZipFile(self.wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            return archive.read(name).decode()


def build(source: Path, target: Path, *options: str) -> None:
    """Build *source* into *target*, in an environment of its own."""
    run(sys.executable, "-m", "build", *options, "--outdir", target, source, cwd=target)


def new_environment(folder: Path, *packages: str | Path) -> Path:
    """Make a virtual environment with these packages only; return where its programs are."""
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    run(folder / "bin" / "pip", "install", "--disable-pip-version-check", *packages, cwd=folder)
    return folder / "bin"
