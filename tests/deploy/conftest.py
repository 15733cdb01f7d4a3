"""Tests that need a program are left out, and said to be, where there is none; in CI they must run."""

from __future__ import annotations

import os

import pytest

from tests.deploy.programs import find_program


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what cannot run."""
    if os.environ.get("CI"):
        return
    missing = [item for item in items if _missing(item)]
    if missing:
        config.hook.pytest_deselected(items=missing)
        items[:] = [item for item in items if item not in missing]


def _missing(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("needs")
    return marker is not None and find_program(marker.args[0]) is None
