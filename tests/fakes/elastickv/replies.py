"""What a node says of itself and of its commands, without asking the leader."""

from __future__ import annotations

from dualkv.resp import encode
from dualkv.resp.integers import parse_integer
from tests.fakes.elastickv.commands import COMMANDS, Args, Command, has_right_arity, keys_of, name_of
from tests.fakes.elastickv.texts import SYNTAX, wrong_arity

__all__ = ["about_client", "about_commands", "hello", "info", "select"]

_VERSION = "7.2.0"


def info(leader_address: str, *, is_leader: bool) -> bytes:
    """Answer ``INFO``: the same, whatever section is asked for."""
    lines = [
        "# Server",
        f"redis_version:{_VERSION}",
        "",
        "# Replication",
        f"role:{'master' if is_leader else 'slave'}",
        f"raft_leader_redis:{leader_address}",
        "",
    ]
    return encode.bulk("\r\n".join(lines))


def hello(args: Args, number: int, *, is_leader: bool) -> bytes:
    """Answer ``HELLO``: RESP2 only, and no passwords."""
    if len(args) > 1 and args[1] != b"2":
        is_number = parse_integer(args[1]) is not None
        return encode.error(
            "NOPROTO unsupported protocol version"
            if is_number
            else "ERR Protocol version is not an integer or out of range"
        )
    if any(argument.upper() == b"AUTH" for argument in args[2:]):
        return encode.error("NOPERM AUTH is not supported")
    facts = {
        "server": encode.bulk("redis"),
        "version": encode.bulk(_VERSION),
        "proto": encode.integer(2),
        "id": encode.integer(number),
        "mode": encode.bulk("standalone"),
        "role": encode.bulk("master" if is_leader else "slave"),
        "modules": encode.array([]),
    }
    return encode.mapping(facts, 2)


def select(args: Args) -> bytes:
    """Answer ``SELECT``: there is one keyspace, under any number."""
    index = parse_integer(args[1])
    return encode.error("ERR invalid DB index") if index is None or index < 0 else encode.OK


def about_client(args: Args, number: int, name: bytes | None) -> bytes:
    """Answer ``CLIENT``, ``SETNAME`` apart."""
    subcommand = name_of(args[1:])
    if subcommand == "SETINFO" and len(args) == 4:
        return encode.OK
    if subcommand == "GETNAME":
        return encode.null(2) if name is None else encode.bulk(name)
    if subcommand == "ID":
        return encode.integer(number)
    if subcommand == "INFO":
        return encode.bulk(b"id=%d addr=127.0.0.1:0 name=%b" % (number, name or b""))
    return encode.error(f"ERR unsupported CLIENT subcommand '{subcommand}'")


def about_commands(args: Args) -> bytes:
    """Answer ``COMMAND`` and its sub-commands."""
    if len(args) == 1:
        return encode.array(map(_row, COMMANDS.values()))
    subcommand = name_of(args[1:])
    if subcommand == "COUNT":
        return encode.integer(len(COMMANDS))
    if subcommand == "LIST":
        if len(args) > 2:
            return encode.error(SYNTAX)
        return encode.array(encode.bulk(row.name) for row in COMMANDS.values())
    if subcommand == "INFO":
        asked = [name_of((name,)) for name in args[2:]] or list(COMMANDS)
        return encode.array(
            _row(COMMANDS[name]) if name in COMMANDS else encode.null_array(2) for name in asked
        )
    if subcommand == "DOCS":
        asked = [name_of((name,)) for name in args[2:]] or list(COMMANDS)
        return encode.mapping({COMMANDS[name].name: _doc(name) for name in asked if name in COMMANDS}, 2)
    if subcommand == "GETKEYS" and len(args) > 2:
        return _keys(args[2:])
    return encode.error(f"ERR unsupported COMMAND subcommand '{subcommand}'")


def _row(command: Command) -> bytes:
    return encode.array(
        [
            encode.bulk(command.name),
            encode.integer(command.arity),
            encode.array([b"+%b\r\n" % command.flag.encode()]),
            encode.integer(command.first_key),
            encode.integer(command.last_key),
            encode.integer(command.step),
        ]
    )


def _doc(name: str) -> bytes:
    return encode.mapping({"summary": encode.bulk(name), "since": encode.bulk("1.0.0")}, 2)


def _keys(args: Args) -> bytes:
    command = COMMANDS.get(name_of(args))
    if command is None:
        return encode.error("ERR Invalid command specified")
    if not has_right_arity(command, args):
        return encode.error(wrong_arity(command.name))
    keys = keys_of(command, args)
    if not keys:
        return encode.error("ERR The command has no key arguments")
    return encode.array(map(encode.bulk, keys))
