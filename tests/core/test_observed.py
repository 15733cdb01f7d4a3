"""What the application uses, in bounded memory and without its data."""

from __future__ import annotations

from dualkv.commands.table import COMMANDS, UNKNOWN, find_command
from dualkv.core.observed import Observed


def noted(observed: Observed, line: str, db: int = 0) -> bool:
    """Note one request; return whether the next one is looked at, too."""
    args = tuple(word.encode() for word in line.split())
    return observed.note(find_command(args[0], args[1] if len(args) > 1 else None), args, db)


def test_commands_options_and_databases_are_remembered() -> None:
    """Which options came together, and how often."""
    observed = Observed()
    for line, db in (("SET k v EX 1 NX", 0), ("SET k v nx ex 2", 3), ("SET k v", 0), ("CLIENT SETNAME n", 0)):
        noted(observed, line, db)

    use = observed.uses[find_command(b"SET")]
    assert (use.looked_at, dict(use.option_sets)) == (3, {("EX", "NX"): 2, (): 1})
    assert observed.uses[find_command(b"CLIENT", b"SETNAME")].looked_at == 1
    assert observed.databases == {0: 3, 3: 1}


def test_first_thousand_are_looked_at_one_by_one() -> None:
    """Of each command; then it is new no more."""
    observed = Observed()
    answers = [noted(observed, "GET k") for _ in range(1001)]

    assert answers == [True] * 999 + [False] * 2
    assert noted(observed, "SET k v")


def test_turns_come_after_many_batches() -> None:
    """Whoever handles a batch counts it down."""
    observed = Observed()
    turns = 0
    for _ in range(10_000):
        observed.passing -= 1
        turns += observed.take_turn()

    assert turns == 9


def test_memory_is_bounded_and_holds_no_data() -> None:
    """Whatever clients send: unknown commands are one, option sets and databases have a bound."""
    observed = Observed()
    for number in range(2000):
        noted(observed, f"SECRET{number} secret", db=number)
        bits = [word for bit, word in enumerate(["NX", "XX", "GT", "LT", "CH", "INCR"]) if number >> bit & 1]
        noted(observed, f"ZADD secret {' '.join(bits)} 1 secret")
        geo = ["WITHCOORD", "WITHDIST", "WITHHASH", "ANY", "ASC", "DESC", "STOREDIST", "FROMMEMBER"]
        picked = " ".join(word for bit, word in enumerate(geo) if number >> bit & 1)
        noted(observed, f"GEOSEARCH secret {picked}")

    uses = observed.uses
    assert set(uses) == {UNKNOWN, find_command(b"ZADD"), find_command(b"GEOSEARCH")}
    assert uses[UNKNOWN].option_sets == {(): 2000}
    assert len(uses[find_command(b"GEOSEARCH")].option_sets) == 64
    assert uses[find_command(b"GEOSEARCH")].other_sets > 0
    assert len(observed.databases) == 256
    assert "secret" not in repr(uses).lower()


def test_every_command_can_be_noted() -> None:
    """However short the request is: it may be one that the primary refuses."""
    observed = Observed()
    for spec in COMMANDS:
        observed.note(spec, (spec.name.encode(),), 0)

    assert len(observed.uses) == len(COMMANDS)
