"""Programs and packages that only the tests of ``deploy/`` use."""

from __future__ import annotations

import os
import shutil
from importlib import import_module
from typing import Any

__all__ = ["find_program", "package"]


def find_program(name: str) -> str | None:
    """Return the path of a program, also of one that only root has on the PATH."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin")))


def package(name: str) -> Any:
    """Return a package that `make test-deploy` installs, which type checkers need not know."""
    return import_module(name)
