"""``dualkv status`` as a person reads it."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from dualkv.ask.screen import status_screen
from dualkv.config import ProxyMode
from dualkv.core.headline import Condition
from tests.ask.statuses import status

RATE = {"ops_per_second": 20512.4, "errors_per_second": 3.0, "p50_ms": 0.214, "p99_ms": 0.9}
TRAFFIC = {
    "over_seconds": 5.0,
    "backends": {"redis": RATE, "elastickv": RATE},
    "classes": [
        {"backend": name, "class": kind, **RATE}
        for name in ("redis", "elastickv")
        for kind in ("read", "write")
    ],
}


def printed(told: dict[str, Any], width: int) -> list[str]:
    """Return the lines of the screen, without colours."""
    console = Console(width=width)
    with console.capture() as capture:
        console.print(status_screen(told, width))
    return [line.rstrip() for line in capture.get().splitlines()]


def line_of(told: dict[str, Any], name: str, width: int = 100) -> str:
    """Return what stands beside a name."""
    return next(line.split(maxsplit=1)[1] for line in printed(told, width) if line.strip().startswith(name))


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_into_the_terminal(width: int) -> None:
    """Nothing is cut: in a narrow terminal the traffic is below the facts, in a wide one beside them."""
    lines = printed(status(traffic=TRAFFIC), width)
    store = next(line for line in lines if "ops/s" in line)

    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    assert ("mode" in store) is (width == 120)
    assert sum("20,512" in line for line in lines) == 6


@pytest.mark.parametrize("condition", Condition)
def test_the_headline_comes_first(condition: Condition) -> None:
    """Whoever reads one line only reads whether all is well."""
    headline = {"condition": condition.value, "title": condition.words, "reasons": ["Because.", "And so on."]}
    lines = [line.strip() for line in printed(status(headline=headline), 80)]

    assert condition.words in lines[1]
    assert lines[2:4] == ["Because.", "And so on."]


def test_dirty_keys_and_a_resync_are_told_with_what_is_left() -> None:
    """Why they are dirty, since when, how far it is and how long it will take."""
    told = status()
    told["convergence"] |= {
        "dirty_keys": 1234, "dirty_by_reason": {"unreachable": 1230, "failed": 4}, "dirty_for_seconds": 71.3,
    }  # fmt: skip
    told["convergence"]["resync"] |= {
        "phase": "copying", "keys_done": 12000, "keys_total": 26000, "keys_per_second": 900,
        "eta_seconds": 180,
    }  # fmt: skip

    assert line_of(told, "dirty keys") == "keys  1,234 (unreachable 1,230, failed 4), oldest 71 s"
    assert line_of(told, "resync") == "copying, 12,000 of 26,000 keys, 900/s, 3 min left"


def test_divergences_are_told_by_kind_lately_and_so_far() -> None:
    """Kinds that did not occur are left out."""
    told = status()
    told["comparing"]["divergences"] |= {
        "recent": {"migration_gap": 0, "data_mismatch": 2, "extra_data": 0},
        "so_far": {"migration_gap": 1200, "data_mismatch": 3, "extra_data": 1},
    }

    assert line_of(told, "diverged") == (
        "2 data mismatch in 10 min; 1,200 migration gap, 3 data mismatch, 1 extra data so far"
    )


def test_where_nothing_is_mirrored_there_is_nothing_to_tell_of_it() -> None:
    """No stream, no books, no comparing."""
    lines = printed(status(ProxyMode.REDIS_ONLY), 80)

    assert not any(word in line for line in lines for word in ("stream", "ledger", "compared"))
    assert any("unused" in line for line in lines)


def test_what_a_store_says_cannot_command_the_terminal() -> None:
    """Errors are a store's text, and stores are not trusted that far."""
    headline = {"condition": "trouble", "title": "t", "reasons": ["\x1b[2Jgone\x07"]}

    assert any("\\x1b[2Jgone\\x07" in line for line in printed(status(headline=headline), 80))


def test_a_leader_is_told_where_there_is_one() -> None:
    """And that nobody leads, where that is so."""
    told = status()
    told["backends"]["secondary"]["leader"] = None

    assert any("leader unknown" in line for line in printed(told, 80))
