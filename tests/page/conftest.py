"""Fixtures: one browser, and one dualkv with some traffic, for all tests that only look."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.page.stage import Stage, browsing, staged


@pytest.fixture(name="browser", scope="session")
def _browser() -> Iterator[Browser]:
    """A browser."""
    with browsing() as browser:
        yield browser


@pytest.fixture(name="stage", scope="session")
def _stage() -> Iterator[Stage]:
    """A dualkv with traffic, and two differences whose keys are not what they seem."""
    with staged() as stage, stage.traffic():
        for key in KEYS:
            stage.let_differ(key)
        stage.let_differ(b"cart:7", gap=True)
        yield stage


KEYS = (b"<script>document.title='owned'</script>", b'"><img src=x onerror="document.title=1">')
