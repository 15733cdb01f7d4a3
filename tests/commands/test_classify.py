"""The category of a request."""

from __future__ import annotations

import pytest

from dualkv.commands.classify import CommandCategory, blocks, category_of, classify_command
from dualkv.commands.table import COMMANDS
from tests.commands.writing import request, spec_of


@pytest.mark.parametrize(
    ("line", "category"),
    [
        ("GET k", "read"),
        ("get k", "read"),
        ("OBJECT ENCODING k", "read"),
        ("EVAL_RO s 1 k", "read"),
        ("SORT_RO k", "read"),
        ("SET k v", "write"),
        ("SORT k", "write"),
        ("GETEX k", "write"),
        ("PUBLISH c m", "write"),
        ("SPUBLISH c m", "write"),
        ("XGROUP CREATE s g $", "write"),
        ("FLUSHALL", "write"),
        ("BLPOP k 0", "blocking"),
        ("BZPOPMIN k 0", "blocking"),
        ("BLMOVE a b LEFT RIGHT 0", "blocking"),
        ("SUBSCRIBE c", "pubsub"),
        ("UNSUBSCRIBE", "pubsub"),
        ("PUBSUB NUMSUB c", "pubsub"),
        ("PING", "admin"),
        ("SELECT 1", "admin"),
        ("CONFIG GET x", "admin"),
        ("INFO", "admin"),
        ("CLIENT", "admin"),
        ("CLIENT NONSENSE", "admin"),
        ("MULTI", "txn"),
        ("EXEC", "txn"),
        ("WATCH k", "txn"),
        ("EVAL s 1 k", "script"),
        ("FCALL f 1 k", "script"),
        ("NONSENSE k", "unknown"),
        ("''", "unknown"),
    ],
)
def test_category(line: str, category: str) -> None:
    """Each request is in the category of its command."""
    assert classify_command(request(line)) is CommandCategory(category)


@pytest.mark.parametrize(
    ("line", "waits"),
    [
        ("XREAD STREAMS s 0", False),
        ("XREAD COUNT 1 STREAMS s 0", False),
        ("XREAD BLOCK 0 STREAMS s $", True),
        ("xread count 1 block 0 streams s $", True),
        ("XREAD STREAMS block 0", False),
        ("XREADGROUP GROUP g c STREAMS s '>'", False),
        ("XREADGROUP GROUP g c BLOCK 0 STREAMS s '>'", True),
        ("XREADGROUP GROUP g c NOACK COUNT 5 BLOCK 0 STREAMS s '>'", True),
        ("XREADGROUP GROUP block block STREAMS s '>'", False),
        ("XREADGROUP GROUP streams streams BLOCK 0 STREAMS s '>'", True),
        ("XREAD", False),
    ],
)
def test_reading_a_stream_waits_only_with_block(line: str, waits: bool) -> None:
    """BLOCK counts where an option may stand, not where a name happens to read so."""
    assert blocks(spec_of(line), request(line)) is waits


@pytest.mark.parametrize(
    ("line", "category"),
    [("XREAD STREAMS s 0", "read"), ("XREADGROUP GROUP g c STREAMS s '>'", "write")],
)
def test_without_block_a_stream_is_read_at_once(line: str, category: str) -> None:
    """XREAD is a read then; XREADGROUP moves the group on and is a write."""
    assert classify_command(request(line)) is CommandCategory(category)


def test_a_command_with_a_timeout_always_waits() -> None:
    """Only the commands that read streams can be without BLOCK."""
    always = {spec.name for spec in COMMANDS if blocks(spec, [spec.name.encode()])}

    assert always >= {
        "BLPOP",
        "BRPOP",
        "BLMOVE",
        "BLMPOP",
        "BZMPOP",
        "BZPOPMIN",
        "BZPOPMAX",
        "WAIT",
        "WAITAOF",
    }
    assert not always & {"XREAD", "XREADGROUP", "GET", "OTHER"}


def test_every_command_has_a_category_and_every_category_a_command() -> None:
    """No kind of command is forgotten."""
    assert {category_of(spec, [spec.name.encode()]) for spec in COMMANDS} == set(CommandCategory)
