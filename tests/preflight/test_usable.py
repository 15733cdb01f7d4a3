"""What clients may call once a store answers them."""

from __future__ import annotations

import pytest

from dualkv.core.option_words import OPTIONS
from dualkv.preflight import usable
from dualkv.preflight.usable import has_option, is_callable, refused_options
from tests.fakes.elastickv.options import OPTIONS as TAKEN
from tests.preflight.building import elastickv, redis


@pytest.mark.parametrize(
    "name", ["GET", "ACL WHOAMI", "CLIENT SETNAME", "SELECT", "XREAD", "MULTI", "COMMAND DOCS"]
)
def test_what_the_store_or_dualkv_answers_can_be_called(name: str) -> None:
    """Dualkv answers some commands whatever the store knows; a container without a list has its own."""
    assert is_callable(name, elastickv())


@pytest.mark.parametrize("name", ["MGET", "WATCH", "XGROUP CREATE", "PSUBSCRIBE", "SCRIPT LOAD", "INCRBY"])
def test_what_the_store_lacks_cannot_be_called(name: str) -> None:
    """Though it can be mirrored there."""
    assert not is_callable(name, elastickv())
    assert is_callable(name, redis())


def test_options_are_refused_by_the_store_that_lacks_them() -> None:
    """By version of Redis; by observation of ElasticKV."""
    options = ("EX", "GET", "KEEPTTL", "PXAT")

    assert refused_options("SET", options, redis("7.0.1")) == []
    assert refused_options("SET", options, redis("6.0.1")) == ["GET", "PXAT"]
    assert refused_options("SET", options, elastickv()) == ["KEEPTTL", "PXAT"]
    assert refused_options("LPOP", ("COUNT",), elastickv()) == ["COUNT"]
    assert has_option("LPOS", "RANK", elastickv())


def test_options_that_are_judged_exist() -> None:
    """A name that is misspelt would judge nothing."""
    judged = {
        *usable._VERSION,
        *((name, word) for name, words in usable._ELASTICKV.items() for word in words.split()),
    }
    shapes = {"COUNT", "EXPLICIT-ID", "PARTIAL-ID", "~", "DIFF", "DIFF1", "ANDOR", "ONE"}

    assert {
        (name, word)
        for name, word in judged
        if word not in shapes and word.encode() not in OPTIONS[name].words
    } == set()


def test_stand_in_takes_the_same_options() -> None:
    """What the tests' ElasticKV refuses is what preflight says that it does."""
    for name in ("SET", "EXPIRE", "PEXPIRE", "ZRANGE"):
        assert set(usable._ELASTICKV[name].split()) == set(TAKEN[name][1])
