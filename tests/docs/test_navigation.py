"""How documents become a site: the navigation, and links between what lives in different places."""

from __future__ import annotations

import pytest

from docs.site.hooks import FORGE, ROOT, navigation, relinked


def test_every_document_is_in_the_index() -> None:
    """``docs/README.md`` lists them all, and the site's navigation is made of it."""
    first, *sections = navigation((ROOT / "docs" / "README.md").read_text())
    listed = [
        page
        for section in sections
        for entries in section.values()
        for entry in entries
        for page in entry.values()
    ]

    assert first == {"Documentation": "README.md"}
    assert sorted(listed) == sorted(
        {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")} - {"README.md"}
        | {"changes.md", "deploy.md"}
    )  # fmt: skip


def test_sections_are_headings() -> None:
    """Each with its list."""
    index = (
        "# All\n\nText [x](x.md).\n\n## Do\n\n"
        "- [This](how-to/this.md): and that [too](y.md)\n- [Changes](../CHANGELOG.md)\n"
    )

    assert navigation(index) == [
        {"Documentation": "README.md"},
        {"Do": [{"This": "how-to/this.md"}, {"Changes": "changes.md"}]},
    ]


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("how-to/tls.md", "../reference/cli.md#signals", "../reference/cli.md#signals"),
        ("how-to/tls.md", "torture.md", "torture.md"),
        ("how-to/tls.md", "../../CHANGELOG.md", "../changes.md"),
        ("how-to/tls.md", "../../deploy/README.md#what", "../deploy.md#what"),
        ("how-to/tls.md", "../../deploy/compose.yaml", FORGE + "deploy/compose.yaml"),
        ("changes.md", "docs/how-to/tls.md", "how-to/tls.md"),
        ("deploy.md", "Dockerfile", FORGE + "deploy/Dockerfile"),
        ("README.md", "../README.md", FORGE + "README.md"),
        ("README.md", "#do", "#do"),
        ("README.md", "https://example.org/", "https://example.org/"),
    ],
)
def test_links_lead_to_pages_or_to_the_forge(page: str, link: str, expected: str) -> None:
    """Wherever the document lives in the repository."""
    assert relinked(f"See [it]({link}).", page) == f"See [it]({expected})."


def test_a_bar_in_code_loses_its_backslash() -> None:
    """Forges need it in a table; the site would show it."""
    assert relinked("| `object\\|encoding` | x |", "README.md") == "| `object|encoding` | x |"
