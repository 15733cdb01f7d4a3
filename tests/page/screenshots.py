"""Takes the pictures of the documentation, in some minutes: ``make screenshots``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from playwright.sync_api import Browser

from tests.page.stage import DESKTOP, PHONE, Stage, browsing, opened, staged

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
_SECONDS: Final = 150
_SETTLE_SECONDS: Final = 8


def take(browser: Browser, stage: Stage, name: str, size: dict[str, int], scheme: str) -> None:
    """Take one picture."""
    with opened(browser, stage.url, viewport=size, color_scheme=scheme) as page:
        page.locator("#connection[data-state=live]").wait_for()
        time.sleep(1)
        page.screenshot(path=IMAGES / f"{name}.png")


def main() -> None:
    """Take all of them."""
    IMAGES.mkdir(exist_ok=True)
    with staged() as stage, browsing() as browser:
        with stage.traffic(100):
            time.sleep(_SECONDS / 3)
        with stage.traffic(400):
            time.sleep(_SECONDS / 3)
            take(browser, stage, "status-page", {**DESKTOP, "height": 800}, "light")
        for number in range(4):
            stage.let_differ(b"cart:%d" % number, gap=number == 2)
        time.sleep(_SETTLE_SECONDS)  # until they are confirmed
        stage.secondary.kill()
        with stage.traffic(200):
            time.sleep(_SETTLE_SECONDS)
            take(browser, stage, "status-page-trouble", {**DESKTOP, "height": 1060}, "dark")
            take(browser, stage, "status-page-phone", PHONE, "light")


if __name__ == "__main__":
    main()
