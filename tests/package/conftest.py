"""One build for all tests, and an installation of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.package.building import ROOT, Built, build, new_environment


@pytest.fixture(name="built", scope="session")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The wheel and the sdist of this repository; the wheel is made from the sdist."""
    target = tmp_path_factory.mktemp("built")
    build(ROOT, target)
    (wheel,), (sdist,) = target.glob("*.whl"), target.glob("*.tar.gz")
    return Built(wheel, sdist)


@pytest.fixture(name="programs", scope="session")
def _programs(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the programs are of an environment with the wheel, and nothing that only developers need."""
    return new_environment(tmp_path_factory.mktemp("installed") / "venv", built.wheel)
