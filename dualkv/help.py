"""How the help of each command ends: examples, exit codes, environment, files. One shape for all of them."""

from __future__ import annotations

from typing import Final

from dualkv.config import ProxyMode

__all__ = ["DONE", "WITH_SETTINGS", "WRONG_SETTING", "complete_modes", "ending"]

Rows = tuple[tuple[str, str], ...]

DONE: Final = ("0", "done")
WRONG_SETTING: Final = ("2", "a wrong setting or option: one line on stderr says which")
WITH_SETTINGS: Final[dict[str, Rows]] = {
    "environment": (
        ("DUALKV_CONFIG", "the file with settings, unless --config names it"),
        ("DUALKV_…", "every setting: --shadow-timeout is DUALKV_SHADOW_TIMEOUT"),
    ),
    "files": (("dualkv.toml", "named by --config: settings, as shadow_timeout = \"3s\""),),
}  # fmt: skip
"""For commands that take the settings."""


def ending(
    *,
    examples: Rows,
    exit_codes: Rows = (DONE, WRONG_SETTING),
    environment: Rows = (),
    files: Rows = (),
) -> str:
    r"""Return the end of a command's help, for `epilog`.

    Args:
        examples: What for, and the command line.
        exit_codes: Code and meaning.
        environment: Variable and meaning.
        files: Name and meaning.

    Returns:
        Paragraphs that begin with ``\b``, so that their lines stay as they are.
    """
    sections = [("Examples", [f"  {what}:\n    {line}" for what, line in examples])]
    for title, rows in (("Exit codes", exit_codes), ("Environment", environment), ("Files", files)):
        width = max((len(name) for name, _ in rows), default=0)
        sections.append((title, [f"  {name:{width}}  {meaning}" for name, meaning in rows]))
    return "\n\n".join("\n".join(("\b", title + ":", *lines)) for title, lines in sections if lines)


def complete_modes(incomplete: str) -> list[str]:
    """Return the modes that begin like this, for the shell's completion."""
    return [mode.value for mode in ProxyMode if mode.value.startswith(incomplete)]
