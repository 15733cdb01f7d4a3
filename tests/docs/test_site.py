"""The built site, as `make site` leaves it: whole, and nothing in it comes from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import attrs
import pytest

pytestmark = pytest.mark.site

ROOT = Path(__file__).parent.parent.parent
SITE = ROOT / "build" / "site"


@attrs.define
class Seen(HTMLParser):
    """What there is on a page."""

    fetched: list[str] = attrs.Factory(list)
    """What a browser loads without being asked."""
    paragraphs: list[str] = attrs.Factory(list)
    headings: int = 0
    _inside: str = ""

    def __attrs_pre_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what counts."""
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "link") and values.get("rel") not in (
            "next",
            "prev",
            "canonical",
        ):
            self.fetched += filter(None, (values.get("src"), values.get("href")))
        self.headings += tag == "h1"
        if tag in ("p", "pre"):
            self._inside = tag
            self.paragraphs += [""] * (tag == "p")

    def handle_endtag(self, tag: str) -> None:
        """Leave a paragraph."""
        self._inside = "" if tag in ("p", "pre") else self._inside

    def handle_data(self, data: str) -> None:
        """Collect a paragraph's text."""
        if self._inside == "p":
            self.paragraphs[-1] += data


def pages() -> list[Path]:
    """Return all pages of the site."""
    found = sorted(SITE.rglob("index.html"))
    assert found, "not built: run `make site`"
    return found


def seen(page: Path) -> Seen:
    """Return what there is on a page."""
    parser = Seen()
    parser.feed(page.read_text())
    return parser


def test_every_document_is_a_page() -> None:
    """And the changes, and what there is in ``deploy/``."""
    documents = {
        path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in (ROOT / "docs").rglob("*.md")
    }

    built = {page.parent.relative_to(SITE).as_posix() for page in pages()}
    assert built == documents - {"README"} | {".", "changes", "deploy"}


def test_no_page_fetches_anything_from_elsewhere() -> None:
    """No fonts, scripts or pictures: it can be read without a network, and nobody learns who reads it."""
    for page in pages():
        assert [name for name in seen(page).fetched if "//" in name] == [], page
    for sheet in SITE.rglob("*.css"):
        assert re.findall(r"url\(\s*['\"]?(?:https?:)?//", sheet.read_text()) == [], sheet


def test_no_list_has_become_a_paragraph() -> None:
    """What forges show as a list needs an empty line before it here."""
    for page in pages():
        assert [
            text for text in seen(page).paragraphs if re.search(r"^(?:- |\d+\. )", text, re.MULTILINE)
        ] == [], page


def test_every_page_has_one_title() -> None:
    """Which is also its name in search."""
    assert {page for page in pages() if seen(page).headings != 1} == set()


def test_sources_are_not_published() -> None:
    """The site is pages and what they are made of, not the programs that make them."""
    assert [path for path in SITE.rglob("*") if path.suffix in (".py", ".yml", ".md")] == []
