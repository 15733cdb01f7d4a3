"""All rules together: which there are, and that none of them fails."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualkv.commands.table import COMMANDS, UNKNOWN, CommandSpec, KeySpec, find_command
from dualkv.core.effects import ASKING, CREATES, RULES, WRITES_INTO, effects_of, questions_of
from dualkv.core.effects.model import Execution, Verbatim
from dualkv.core.routing import plan_for
from dualkv.resp import encode
from tests.commands.writing import request, spec_of
from tests.core.building import flat, one
from tests.core.effects.random_commands import random_commands
from tests.core.effects.telling import NOW_MS, lines_of

SCRIPTS = {"EVAL", "EVALSHA", "FCALL"}


def test_every_command_that_is_mirrored_has_a_rule() -> None:
    """But scripts, which are somebody else's, and what is unknown."""
    mirrored = {spec.name for spec in COMMANDS if spec.kind == "write" or plan_for(spec).queue is not None}

    assert mirrored - SCRIPTS - {UNKNOWN.name} == RULES.keys()


def test_nothing_else_is_named() -> None:
    """Sets of names are of commands that there are."""
    names = {spec.name for spec in COMMANDS}

    assert (ASKING | CREATES | WRITES_INTO.keys()) - names == set()
    assert ASKING - RULES.keys() == set()


def execution(line: str, spec: CommandSpec | None = None) -> Execution:
    """Return a request that was answered with 1."""
    return Execution(spec or spec_of(line), request(line), encode.integer(1), NOW_MS)


def test_verbatim_is_the_request_itself() -> None:
    """The very same words, as the client wrote them."""
    done = execution("sadd k a")

    (command,) = effects_of(done).commands
    assert isinstance(RULES["SADD"], Verbatim)
    assert command.args is done.args
    assert command.reply == done.reply


@pytest.mark.parametrize(
    "line", ["LMOVEM a b LEFT LEFT COUNT 2", "INCREX k BYINT 3", "HIMPORT SET k set v", "MODULE.WRITE a"]
)
def test_what_nobody_can_tell_is_copied(line: str) -> None:
    """New commands, and unknown ones as far as their keys are known."""
    spec = spec_of(line)
    if spec is UNKNOWN:
        spec = attrs.evolve(UNKNOWN, name="MODULE.WRITE", key_specs=(KeySpec("W", 1, ("range", 0, 1, 0)),))

    assert lines_of(effects_of(execution(line, spec))) == [
        f"copy {key}" for key in line.split() if key in ("a", "b", "k")
    ]


def test_unknown_command_of_unknown_keys_is_executed_there_too() -> None:
    """There is nothing to copy: the request is all that can be said."""
    assert effects_of(execution("MODULE.WRITE a", UNKNOWN)) == (((((b"MODULE.WRITE", b"a"), None),)), ())


REPLIES = st.recursive(
    st.one_of(
        st.integers(-3, 3).map(one),
        st.sampled_from(["", "a", "5-1"]).map(one),
        st.sampled_from(
            [b"$-1\r\n", b"*-1\r\n", b"_\r\n", b"+OK\r\n", b",1.5\r\n", b"#t\r\n", b"*0\r\n", b"-ERR x\r\n"]
        ),
    ),
    lambda inner: st.lists(inner, max_size=3).map(encode.array),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    cut=st.integers(0, 3),
    reply=REPLIES,
    answers=st.lists(REPLIES, max_size=2),
)
def test_no_rule_fails_whatever_was_answered(seed: int, cut: int, reply: bytes, answers: list[bytes]) -> None:
    """Nor any question, whatever was asked: what is not understood is copied."""
    for whole in random_commands(seed, 5):
        args = whole[: max(1, len(whole) - cut)]
        spec = find_command(args[0], args[1] if len(args) > 1 else None)
        questions_of(spec, args)
        effects_of(Execution(spec, args, reply, NOW_MS, answers))


def test_strange_reply_has_its_keys_copied() -> None:
    """A rule that stumbles leaves the state of what its request names."""
    done = attrs.evolve(execution("ZADD k NX 1 a"), answers=[flat("x")])

    assert lines_of(effects_of(done)) == ["copy k"]
