"""The command table: finding a command, and what is known of it."""

from __future__ import annotations

from collections import Counter

import pytest

from dualkv.commands.table import COMMANDS, UNKNOWN, find_command
from tests.commands.writing import spec_of


@pytest.mark.parametrize("name", [b"get", b"GET", b"Get", b"gEt"])
def test_a_command_is_found_in_any_case(name: bytes) -> None:
    """A client may write a command's name as it likes."""
    assert find_command(name).name == "GET"


@pytest.mark.parametrize("line", ["client setname", "CLIENT SETNAME", "Client SetName"])
def test_a_subcommand_is_found_in_any_case(line: str) -> None:
    """A container's sub-command is a command of its own, in any case."""
    assert spec_of(line).name == "CLIENT SETNAME"


@pytest.mark.parametrize("line", ["CLIENT", "CLIENT NONSENSE", "CLIENT ''"])
def test_a_container_stands_for_a_subcommand_that_nobody_knows(line: str) -> None:
    """Without a known sub-command, the container itself is found."""
    spec = spec_of(line)

    assert (spec.name, spec.kind) == ("CLIENT", "container")


def test_an_argument_is_no_subcommand_of_an_ordinary_command() -> None:
    """Only containers look at the argument behind the name."""
    assert find_command(b"GET", b"SETNAME") is find_command(b"GET")


@pytest.mark.parametrize("name", [b"NONSENSE", b"", b"CLIENT SETNAME", b"GET ", b"\xff\x00", b"OTHER"])
def test_what_is_not_in_the_table_is_unknown(name: bytes) -> None:
    """Every other name is `UNKNOWN`, also one with a blank in it, and the label that stands for them."""
    assert find_command(name) is UNKNOWN


def test_the_unknown_command_takes_anything() -> None:
    """Nothing is assumed of a command that is not in the table."""
    assert all(UNKNOWN.takes(count) for count in (1, 2, 100))
    assert (UNKNOWN.label, UNKNOWN.key_specs, UNKNOWN.flags) == ("other", (), frozenset())


@pytest.mark.parametrize(
    ("line", "taken", "refused"),
    [
        ("GET", [2], [1, 3]),
        ("DEL", [2, 3, 50], [1]),
        ("PING", [1, 2, 3], []),
        ("CLIENT SETNAME", [3], [2, 4]),
        ("OBJECT ENCODING", [3], [2, 4]),
        ("XGROUP CREATE", [5, 6, 8], [4]),
        ("HSET", [4, 6], [1, 2, 3]),
        ("EVAL", [3, 4], [1, 2]),
    ],
)
def test_arity_counts_all_arguments_with_the_name(line: str, taken: list[int], refused: list[int]) -> None:
    """A fixed arity is met exactly, a negative one is a minimum; the container counts, too."""
    spec = spec_of(line)

    assert [count for count in taken + refused if spec.takes(count)] == taken


@pytest.mark.parametrize(
    ("line", "label"), [("GET", "get"), ("CLIENT SETNAME", "client|setname"), ("CLIENT X", "client")]
)
def test_a_label_is_written_as_redis_does(line: str, label: str) -> None:
    """Metrics and error texts show lower case, with a bar before the sub-command."""
    assert spec_of(line).label == label


def test_the_index_is_the_place_in_the_table() -> None:
    """Counters are lists by index, so it has neither gaps nor duplicates."""
    assert [spec.index for spec in COMMANDS] == list(range(len(COMMANDS)))
    assert COMMANDS[UNKNOWN.index] is UNKNOWN


def test_no_command_stands_twice_in_the_table() -> None:
    """Names and labels name one command each."""
    assert [name for name, count in Counter(spec.name for spec in COMMANDS).items() if count > 1] == []
    assert len({spec.label for spec in COMMANDS}) == len(COMMANDS)


def test_every_row_is_found_by_its_name() -> None:
    """Looking a row up by its name leads to this row."""
    for spec in COMMANDS[:-1]:
        name, _, subcommand = spec.name.encode().partition(b" ")
        assert find_command(name, subcommand or None) is spec


def test_containers_are_those_with_subcommands() -> None:
    """The kind ``container`` says the same as having sub-commands."""
    named = {spec.name for spec in COMMANDS if spec.kind == "container"}
    having = {spec.name for spec in COMMANDS if spec.subcommands}

    assert named == having


def test_subcommands_stand_in_the_table_too() -> None:
    """What a container leads to is what the table holds, under the container's name."""
    for container in COMMANDS:
        for name, spec in container.subcommands.items():
            assert COMMANDS[spec.index] is spec
            assert spec.name == f"{container.name} {name.decode()}"


def test_the_servers_flags_agree_with_the_kind() -> None:
    """What a server calls a write we do not call a read, and the other way round."""
    assert [spec.name for spec in COMMANDS if spec.kind == "read" and "write" in spec.flags] == []
    assert [spec.name for spec in COMMANDS if spec.kind == "write" and "readonly" in spec.flags] == []


def test_old_and_new_commands_are_told_apart() -> None:
    """The table knows which commands Redis 7.0 has."""
    assert find_command(b"GET").in_redis_7_0
    assert not find_command(b"HSETEX").in_redis_7_0
    assert not UNKNOWN.in_redis_7_0
