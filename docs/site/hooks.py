"""What makes a site of documents that are written to be read on the forge as well.

MkDocs calls these functions. The navigation follows from the lists in ``docs/README.md``. Some documents that
do not live in ``docs/`` become pages, and links to other files of the repository lead to the forge.
"""

from __future__ import annotations

import posixpath
import re
from importlib import import_module
from pathlib import Path
from typing import Any, Final

__all__ = ["navigation", "on_config", "on_files", "on_page_markdown", "relinked"]

ROOT: Final = Path(__file__).parent.parent.parent
FORGE: Final = "https://github.com/dualkv/dualkv/blob/main/"
FROM_ELSEWHERE: Final = {"CHANGELOG.md": "changes.md", "deploy/README.md": "deploy.md"}
"""Documents outside of ``docs/``, and the pages that they are."""


def on_config(config: Any) -> None:
    """Give the site its navigation."""
    config["nav"] = navigation((ROOT / "docs" / "README.md").read_text())


def on_files(files: Any, config: Any) -> None:
    """Add the pages from elsewhere."""
    file = import_module("mkdocs.structure.files").File
    for document, page in FROM_ELSEWHERE.items():
        files.append(file.generated(config, page, content=(ROOT / document).read_text()))


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001 - MkDocs names them
    """Let the links of a page lead somewhere on the site."""
    return relinked(markdown, page.file.src_uri)


def navigation(index: str) -> list[dict[str, Any]]:
    """Return MkDocs' navigation as the lists in *index* have it: a section for each heading."""
    sections: list[dict[str, Any]] = [{"Documentation": "README.md"}]
    for title, text in re.findall(r"^## (.+)\n([^#]+)", index, re.MULTILINE):
        entries = re.findall(r"^- \[(.+?)\]\((.+?)\)", text, re.MULTILINE)
        sections.append({title: [{name: _page_of("docs/" + target)} for name, target in entries]})
    return sections


def relinked(markdown: str, page: str) -> str:
    """Return the text of *page* with links that work on the site."""
    documents = {page: document for document, page in FROM_ELSEWHERE.items()}
    folder = posixpath.dirname(documents.get(page, "docs/" + page))

    def link(match: re.Match[str]) -> str:
        name, hash_sign, anchor = match[1].partition("#")
        target = _page_of(posixpath.join(folder, name))
        if not target.startswith(FORGE):
            target = posixpath.relpath(target, posixpath.dirname(page) or ".")
        return f"]({target}{hash_sign}{anchor})"

    text = re.sub(r"\]\((?!https?://|#)([^)\s]+)\)", link, markdown)
    # Forges want a | in a table's code escaped, Python-Markdown shows the backslash.
    return re.sub(r"`[^`\n]*`", lambda code: code[0].replace("\\|", "|"), text)


def _page_of(path: str) -> str:
    """Return the page that a file of the repository is, or where the forge has it."""
    document = posixpath.normpath(path)
    if document in FROM_ELSEWHERE:
        return FROM_ELSEWHERE[document]
    if document.startswith("docs/"):
        return document.removeprefix("docs/")
    return FORGE + document
