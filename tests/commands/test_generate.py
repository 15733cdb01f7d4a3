"""From the servers' own data to the rows of the table."""

from __future__ import annotations

import ast
from typing import Any

from dualkv.commands.generate import render
from dualkv.commands.generated import ROWS


def facts(**changes: Any) -> dict[str, Any]:
    """Return what the collection says of a command, with *changes*."""
    plain: dict[str, Any] = {
        "arity": 2, "kind": "read", "flags": [], "tips": [], "key_specs": [], "in_redis_7_0": True,
    }  # fmt: skip
    return plain | changes


def key_spec(**changes: Any) -> dict[str, Any]:
    """Return what a server says of a command's only key, with *changes*."""
    plain: dict[str, Any] = {
        "flags": ["RO", "ACCESS"],
        "begin": {"index": 1},
        "find": {"range": {"last": 0, "step": 1, "limit": 0}},
    }
    return plain | changes


def rows_of(**commands: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return the rows that come out for *commands*."""
    module = ast.parse(render({"commands": commands}))
    assignment = module.body[-1]
    assert isinstance(assignment, ast.Assign)
    return list(ast.literal_eval(assignment.value))


def row_of(**changes: Any) -> tuple[Any, ...]:
    """Return the row of a single command with *changes*."""
    return rows_of(GET=facts(**changes))[0]


def test_a_row_holds_the_facts_in_order() -> None:
    """Name, arity, kind, flags, tips, key specs, and whether Redis 7.0 knows it."""
    row = row_of(flags=["readonly", "fast"], tips=["b", "a"], key_specs=[key_spec()])

    assert row == ("GET", 2, "read", "fast readonly", "a b", (("R", 1, ("range", 0, 1, 0)),), True)


def test_rows_are_sorted_by_name() -> None:
    """The same commands in another order make the same file."""
    assert [row[0] for row in rows_of(SET=facts(), GET=facts(), DEL=facts())] == ["DEL", "GET", "SET"]


def test_commands_of_a_sentinel_are_left_out() -> None:
    """They belong to another kind of server."""
    assert rows_of(GET=facts(), SENTINEL=facts(kind="sentinel")) == [row_of()]


def test_tips_with_a_value_are_left_out() -> None:
    """Nothing asks for them."""
    assert (
        row_of(tips=["request_policy:all_shards", "nondeterministic_output"])[4] == "nondeterministic_output"
    )


def test_access_is_writing_as_soon_as_one_flag_says_so() -> None:
    """A key that may be changed, overwritten or removed is a written one."""
    accesses = [row_of(key_specs=[key_spec(flags=[flag])])[5][0][0] for flag in ("RO", "RW", "OW", "RM")]

    assert accesses == ["R", "W", "W", "W"]


def test_keys_behind_a_number_and_behind_a_keyword_are_described() -> None:
    """Both parts of a key specification come in two forms."""
    found = key_spec(
        begin={"keyword": "STREAMS", "from": 1}, find={"keynum": {"num_at": 0, "first_at": 1, "step": 2}}
    )

    assert row_of(key_specs=[found])[5] == (("R", ("STREAMS", 1), ("keynum", 0, 1, 2)),)


def test_key_specs_that_do_not_say_where_keys_are_are_left_out() -> None:
    """Unknown, incomplete, or no key at all: `dualkv.commands.keys` has functions for such commands."""
    useless = [
        key_spec(begin=None),
        key_spec(find=None),
        key_spec(not_key=True),
        key_spec(incomplete=True),
    ]

    assert row_of(key_specs=useless)[5] == ()


def test_the_table_in_use_has_the_form_that_is_made() -> None:
    """The rows of `dualkv.commands.generated` have not been edited into another order or form."""
    assert [row[0] for row in ROWS] == sorted(row[0] for row in ROWS)
    assert all(flags == " ".join(sorted(flags.split())) for _, _, _, flags, _, _, _ in ROWS)
    assert all(":" not in row[4] for row in ROWS)
