"""``EVAL`` as a transaction: a fixed script on the real store runs the client's, and undoes what failed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs

from dualkv.resp import encode
from dualkv.resp.integers import parse_integer
from dualkv.resp.replies import elements_of, is_error, value_of
from tests.fakes.elastickv.commands import COMMANDS, HARMFUL, IN_SCRIPTS, Args
from tests.fakes.elastickv.numbers import NAN
from tests.fakes.elastickv.options import OPTIONS, ZADD_OPTIONS
from tests.fakes.elastickv.texts import NOSCRIPT

__all__ = ["RUNNER", "RUNNER_SHA", "Ran", "Refusal", "Script", "digest", "read_script", "understand"]


def _lua(value: object) -> str:
    """Return *value* as Lua writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"[{_lua(key)}]={_lua(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, tuple):
        return "{" + ",".join(map(_lua, value)) + "}"
    return f"'{value}'" if isinstance(value, str) else repr(value)


def _facts() -> str:
    commands = {
        name: (row.arity, row.flag == "write", row.first_key, row.last_key, name in HARMFUL)
        for name, row in COMMANDS.items()
        if name in IN_SCRIPTS
    }
    return (
        f"local COMMANDS, OPTIONS = {_lua(commands)}, {_lua(OPTIONS)}\n"
        f"local ZADD_OPTIONS, NAN = {_lua(dict.fromkeys(sorted(ZADD_OPTIONS), True))}, {NAN!r}\n"
    )


RUNNER: Final = (_facts() + Path(__file__).with_name("transaction.lua").read_text()).encode()
"""What the real store is given once."""


def digest(body: bytes) -> bytes:
    """Return a script's name for ``EVALSHA``."""
    return hashlib.sha1(body, usedforsecurity=False).hexdigest().encode()


RUNNER_SHA: Final = digest(RUNNER)


class Refusal(Exception):
    """A call that is answered with an error and does nothing."""


@attrs.frozen
class Script:
    """One call of a script."""

    body: bytes
    keys: Args
    arguments: Args

    def command(self, most_effects: int) -> bytes:
        """Return the command for the real store."""
        return encode.command(
            b"EVALSHA", RUNNER_SHA, len(self.keys), *self.keys, self.body, most_effects, *self.arguments
        )


@attrs.frozen
class Ran:
    """What a script did."""

    reply: bytes
    keys: int = 0
    """How many it wrote to."""
    elements: int = 0
    harms: int = 0
    """How many commands it called that kill a node."""


def read_script(name: str, args: Args, known: dict[bytes, bytes]) -> Script:
    """Return the call that *args* are, and keep its body in *known*.

    Args:
        name: ``EVAL`` or ``EVALSHA``.
        args: The command.
        known: Bodies by digest.

    Raises:
        Refusal: They are none.
    """
    count = parse_integer(args[2])
    if count is None:
        raise Refusal("ERR value is not an integer or out of range")
    if count < 0:
        raise Refusal("ERR Number of keys can't be negative")
    if count > len(args) - 3:
        raise Refusal("ERR Number of keys can't be greater than number of args")
    if name == "EVAL":
        body = args[1]
        known[digest(body)] = body
    else:
        found = known.get(args[1].lower())
        if found is None:
            raise Refusal(NOSCRIPT)
        body = found
    return Script(body, args[3 : 3 + count], args[3 + count :])


def understand(frame: bytes) -> Ran:
    """Return what the runner's reply says."""
    if is_error(frame):
        return Ran(frame)
    parts = elements_of(frame)
    if value_of(parts[0]) == 0:
        return Ran(encode.error(value_of(parts[1])))
    keys, elements, harms = map(value_of, parts[1:4])
    return Ran(parts[4] if len(parts) > 4 else encode.null(2), keys, elements, harms)
