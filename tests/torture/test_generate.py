"""What clients send."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest

from dualkv.errors import ConfigError
from dualkv.torture.generate import Generator, Pipeline, choose_templates, known_commands
from dualkv.torture.templates import TEMPLATES
from dualkv.torture.words import Memory

EVERYTHING = frozenset(template.name for template in TEMPLATES)


def new_generator(seed: int = 1, only: tuple[str, ...] = (), *, transactions: bool = True) -> Generator:
    """Return a generator at a fixed time of day."""
    return Generator(
        random.Random(seed),
        lambda: 1_700_000_000_000,
        Memory(),
        choose_templates(EVERYTHING, EVERYTHING, only),
        transactions=transactions,
        watches=transactions,
    )


def turns(generator: Generator, count: int) -> list[list[Pipeline]]:
    """Return what it sends."""
    return [generator.turn() for _ in range(count)]


def commands(generator: Generator, count: int) -> list[bytes]:
    """Return the names of all commands of *count* turns."""
    return [args[0] for turn in turns(generator, count) for pipeline in turn for args in pipeline]


def test_a_seed_always_gives_the_same() -> None:
    """So a failure can be tried again; another seed gives something else."""
    assert turns(new_generator(), 300) == turns(new_generator(), 300)
    assert turns(new_generator(), 300) != turns(new_generator(2), 300)


def test_every_template_is_drawn_sooner_or_later() -> None:
    """Also the rare ones."""
    drawn = set(commands(new_generator(), 30_000))

    assert {name.split()[0].encode() for name in EVERYTHING} <= drawn


def test_pipelines_are_of_all_sizes() -> None:
    """Single commands, some, and many."""
    sizes = Counter(len(turn[0]) for turn in turns(new_generator(transactions=False), 2000))

    assert sizes[1] > 500
    assert sizes[150] > 2
    assert sum(sizes[size] for size in range(9, 41)) > 50


def test_transactions_are_whole() -> None:
    """Each MULTI has its EXEC or DISCARD, in the same piece; some are preceded by WATCH."""
    watched = discarded = 0
    for turn in turns(new_generator(), 3000):
        names = [args[0] for args in itertools.chain(*turn)]
        assert names.count(b"MULTI") == names.count(b"EXEC") + names.count(b"DISCARD")
        if names[0] == b"WATCH":
            watched += 1
            assert len(turn) == 3
            assert (turn[2][0][0], turn[2][-1][0]) == (b"MULTI", b"EXEC")
        discarded += names.count(b"DISCARD")
    assert watched > 50
    assert discarded > 5


def test_databases_and_protocols_change() -> None:
    """Some clients speak RESP3, some change their mind."""
    sent = [args for turn in turns(new_generator(), 3000) for pipeline in turn for args in pipeline]

    assert {args[1] for args in sent if args[0] == b"SELECT"} == {b"0", b"1", b"2"}
    assert {args[1] for args in sent if args[0] == b"HELLO"} == {b"2", b"3"}


def test_only_some_commands() -> None:
    """Then there are no others, but for the session's."""
    generator = new_generator(only=("SET", "LPUSH"), transactions=False)

    assert set(commands(generator, 500)) == {b"SET", b"LPUSH", b"SELECT", b"HELLO"}


def test_what_a_server_does_not_know_is_not_sent() -> None:
    """Nor what was excluded, nor what empties databases if that is not wanted."""
    templates = choose_templates(
        {"SET", "GET", "FLUSHDB", "XGROUP *"}, EVERYTHING, without=("GET",), flushes=False
    )

    assert {template.name for template in templates} == {
        "SET", "XGROUP CREATE", "XGROUP SETID", "XGROUP DESTROY", "XGROUP CREATECONSUMER",
        "XGROUP DELCONSUMER",
    }  # fmt: skip


def test_what_the_secondary_cannot_hold_is_not_sent() -> None:
    """Expiry of fields, vectors, functions: where the other store has no command for it."""
    old = {"SET", "HSET"}
    left_out = {template.name for template in TEMPLATES} - {
        template.name for template in choose_templates(EVERYTHING, old)
    }

    assert {"HEXPIRE", "HSETEX", "VADD", "FUNCTION LOAD", "FCALL"} <= left_out
    assert not {"SET", "HSET", "XADD", "RESTORE", "LMPOP"} & left_out


@pytest.mark.parametrize(
    ("known", "only", "complaint"),
    [
        ({"SET"}, ("SET", "NONSENSE"), "no such command to send: NONSENSE"),
        ({"SET"}, ("GET",), "the primary knows none of the commands to send"),
    ],
)
def test_names_that_lead_nowhere_are_errors(known: set[str], only: tuple[str, ...], complaint: str) -> None:
    """In one clear line."""
    with pytest.raises(ConfigError, match=complaint):
        choose_templates(known, known, only)


def test_commands_of_a_server_are_read_from_its_reply() -> None:
    """With sub-commands where the server tells them (Redis 7), with a mark where it does not."""
    newer = [[b"get", 2, [], 1, 1, 1, [], [], [], []], [b"x", 2, [], 0, 0, 0, [], [], [], [[b"x|y", 2]]]]
    older = [[b"xgroup", -2, [b"write"], 2, 2, 1, []]]

    assert known_commands(newer) == {"GET", "X", "X Y"}
    assert known_commands(older) == {"XGROUP", "XGROUP *"}
