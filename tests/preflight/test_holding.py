"""Which writes another store holds, and in which form."""

from __future__ import annotations

import pytest

from dualkv.commands.table import COMMANDS
from dualkv.core.dialect.holding import HOLDINGS
from dualkv.core.effects import RULES
from dualkv.core.routing import Route, plan_for
from dualkv.preflight.holding import EXAMPLES, Held, held_as, mirrored_commands
from tests.preflight.building import elastickv, redis

MODERN = {
    "XCFGSET", "ARSET", "ARMSET", "ARDEL", "ARDELRANGE", "ARSEEK", "ARINSERT", "ARRING",
    "INCREX", "LMOVEM", "BLMOVEM", "XNACK", "BLESS SET", "BLESS CLEAR", "SCRIPT LOAD", "SCRIPT FLUSH",
}  # fmt: skip
"""Newer than all servers at hand, or about scripts, which come with their calls."""


def test_every_write_that_is_mirrored_has_an_example() -> None:
    """A new command with an effect must be added, or named here."""
    refused = {spec.name for spec in COMMANDS if plan_for(spec).route is Route.REFUSED}

    assert set(RULES) - set(EXAMPLES) - refused == MODERN


def test_a_redis_holds_what_a_redis_of_its_version_does() -> None:
    """As it is, but for what is copied between any two stores."""
    forms = {
        (name, *options): held_as(name, options, redis()) for name, options in mirrored_commands(redis())
    }

    assert {name for name, form in forms.items() if form is not Held.EXACT} == {
        ("SORT", "STORE"), ("RESTORE",), ("GEORADIUS", "STORE"), ("GEORADIUS", "STOREDIST"),
        ("GEORADIUSBYMEMBER", "STORE"), ("GEORADIUSBYMEMBER", "STOREDIST"), ("XSETID",),
    }  # fmt: skip
    assert len(forms) > 100


@pytest.mark.parametrize(
    ("name", "options", "form"),
    [
        ("SADD", (), Held.EXACT),
        ("SET", ("NX",), Held.EXACT),
        ("SET", (), Held.EXACT),
        ("UNLINK", (), Held.OTHER_FORM),
        ("SPOP", ("COUNT",), Held.EXACT),
        ("SET", ("EX",), Held.OTHER_FORM),
        ("INCR", (), Held.OTHER_FORM),
        ("APPEND", (), Held.SCRIPT),
        ("XTRIM", ("MINID",), Held.SCRIPT),
        ("SINTERSTORE", (), Held.COPY),
        ("EVAL", (), Held.COPY),
        ("XREADGROUP", (), Held.LOST),
        ("HPEXPIRE", (), Held.LOST),
        ("SWAPDB", (), Held.LOST),
        ("GETEX", (), None),
        ("SORT", (), None),
        ("GET", (), None),
    ],
)
def test_elastickv_holds_what_can_be_said_there(
    name: str, options: tuple[str, ...], form: Held | None
) -> None:
    """By form; what mirrors nothing has none."""
    assert held_as(name, options, elastickv()) is form


def test_forms_on_elastickv_are_those_of_its_documentation() -> None:
    """What preflight says of a command is what ``docs/reference/elastickv.md`` says."""
    same = {
        Held.EXACT: "exact", Held.OTHER_FORM: "exact", Held.SCRIPT: "script", Held.COPY: "copy",
        Held.LOST: "lost",
    }  # fmt: skip
    forms = {
        name: held_as(name, () if "" in by_option else by_option, elastickv())
        for name, by_option in EXAMPLES.items()
        if name != "GETEX"  # by its options
    }

    assert {name: same[form] for name, form in forms.items() if form is not None} == {
        name: HOLDINGS[name].held.value for name in forms
    }


def test_worst_option_decides() -> None:
    """A request with several options is held as the one that is hardest to say."""
    plain, with_expiry = (held_as("GETEX", options, redis()) for options in ((), ("EX",)))

    assert (plain, with_expiry) == (None, Held.EXACT)
    assert held_as("XADD", ("MAXLEN", "MINID"), redis("6.0.1")) is Held.COPY
