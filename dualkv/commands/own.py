"""The commands that dualkv has itself; rows as in `dualkv.commands.generated`."""

from __future__ import annotations

from typing import Final

__all__ = ["OWN_ROWS"]

OWN_ROWS: Final = (
    ("DUALKV", -2, "container", "", "", (), False),
    ("DUALKV HELP", 2, "conn", "", "", (), False),
    ("DUALKV KEY", 3, "conn", "", "", (("R", 2, ("range", 0, 1, 0)),), False),
    ("DUALKV STATUS", 2, "conn", "", "", (), False),
    ("DUALKV WHOAMI", 2, "conn", "", "", (), False),
)
