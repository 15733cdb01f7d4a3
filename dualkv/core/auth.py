"""Who may come in, and what they may do: a small part of Redis's ACLs.

A users file has a line per user, as ``ACL LIST`` prints them:

    user default off
    user app on >secret ~orders:* +@read +@write
    user report on #5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8 ~* +@read -keys

Rules are read from left to right. ``on``, ``off``; ``>password`` or ``#sha256`` (several: any will do),
``nopass``; ``~pattern`` or ``allkeys``; ``+command``, ``-command``, ``+container|sub``, and the classes
``@all @read @write @blocking @pubsub @admin @transaction @scripting``. Channel rules (``&…``) are taken and
mean nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Final

import attrs

from dualkv.commands.classify import CommandCategory, category_of
from dualkv.commands.keys import keys_of
from dualkv.commands.table import CommandSpec
from dualkv.config import BackendOptions, ProxyConfig
from dualkv.core.glob import matches
from dualkv.errors import ConfigError
from dualkv.resp import encode

__all__ = ["User", "Users", "parse_users", "users_from"]

Args = tuple[bytes, ...]

_CLASSES: Final = {
    "read": CommandCategory.READ,
    "write": CommandCategory.WRITE,
    "blocking": CommandCategory.BLOCKING,
    "pubsub": CommandCategory.PUBSUB,
    "admin": CommandCategory.ADMIN,
    "transaction": CommandCategory.TXN,
    "scripting": CommandCategory.SCRIPT,
    "unknown": CommandCategory.UNKNOWN,
}
_ALWAYS: Final = frozenset({"AUTH", "HELLO", "RESET", "QUIT"})


@attrs.frozen(eq=False)
class User:
    """Somebody who may come in."""

    name: bytes = b"default"
    is_enabled: bool = True
    needs_no_password: bool = True
    password_hashes: frozenset[str] = frozenset()
    """SHA-256, hexadecimal; any will do."""
    commands: tuple[tuple[bool, str], ...] = ((True, "@all"),)
    """Whether something is allowed, and what; the last that applies decides."""
    key_patterns: tuple[bytes, ...] | None = None
    """None: all keys."""

    @property
    def may_all(self) -> bool:
        """Whether nothing is forbidden to them."""
        return self.commands[-1:] == ((True, "@all"),) and self.key_patterns is None

    def refusal(self, spec: CommandSpec, args: Args) -> bytes | None:
        """Return the error for a request that this user may not make; None if they may."""
        if self.may_all or spec.name in _ALWAYS:
            return None
        if not self._may_command(spec, args):
            return encode.error(f"NOPERM this user has no permissions to run the '{spec.label}' command")
        if self.key_patterns is not None:
            keys = keys_of(spec, args)
            if keys is None or not all(self._may_key(key) for key in keys):
                return encode.error(
                    "NOPERM this user has no permissions to access one of the keys used as arguments"
                )
        return None

    def _may_command(self, spec: CommandSpec, args: Args) -> bool:
        names = {spec.label, spec.label.partition("|")[0], "@all"}
        category = category_of(spec, args)
        names |= {f"@{name}" for name, known in _CLASSES.items() if known is category}
        return next((allowed for allowed, what in reversed(self.commands) if what in names), False)

    def _may_key(self, key: bytes) -> bool:
        return any(matches(pattern, key) for pattern in self.key_patterns or ())


class Users:
    """All who may come in.

    Args:
        users: By whatever order; the last of a name counts.
    """

    def __init__(self, users: Iterable[User] = (User(),)) -> None:
        self._by_name = {user.name: user for user in users}

    @classmethod
    def with_passwords(cls, passwords: Iterable[str], name: str = "default") -> Users:
        """Return one user who may do everything, with any of some passwords."""
        hashes = frozenset(_hash(password.encode()) for password in passwords)
        return cls([User(name=name.encode(), needs_no_password=False, password_hashes=hashes)])

    def initial(self) -> User | None:
        """Return who a new connection is before it has said anything; None: it must say."""
        user = self._by_name.get(b"default")
        return user if user is not None and user.is_enabled and user.needs_no_password else None

    @property
    def has_open_default(self) -> bool:
        """Whether the default user needs no password."""
        return self.initial() is not None

    def check(self, name: bytes, password: bytes) -> User | None:
        """Return the user with this name and password, if there is one; takes as long for all wrong ones."""
        user = self._by_name.get(name)
        given = _hash(password)
        known = user.password_hashes if user is not None else frozenset({_hash(b"")})
        is_right = sum(hmac.compare_digest(given, one) for one in known) > 0
        if user is None or not user.is_enabled or not (is_right or user.needs_no_password):
            return None
        return user


def users_from(config: ProxyConfig, primary: BackendOptions) -> Users:
    """Return who may come in according to the settings.

    Args:
        config: The settings. If they say nothing, clients must be whom dualkv is at the primary.
        primary: The store that answers.

    Raises:
        ConfigError: The users cannot be read.
    """
    if config.auth == "none":
        return Users()
    if config.auth == "pass-through":  # whom the primary lets in; without a word, if it lets dualkv in so
        return Users() if primary.password is None else Users([])
    if config.users:
        try:
            return parse_users(config.users)
        except ValueError as error:
            raise ConfigError(f"users: {error}") from None
    if config.client_password:
        return Users.with_passwords(config.client_password.splitlines())
    if primary.password is not None:
        return Users.with_passwords([primary.password], primary.username or "default")
    return Users()


def _hash(password: bytes) -> str:
    return hashlib.sha256(password).hexdigest()


def parse_users(text: str) -> Users:
    """Return the users that a users file describes.

    Raises:
        ValueError: A line is wrong; the text tells which and why, and no password.
    """
    users: dict[bytes, User] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] != "user" or len(words) < 2:
            raise ValueError(f"line {number}: must begin with 'user' and a name")
        name = words[1].encode()
        if name in users:
            raise ValueError(f"line {number}: user {words[1]!r} is there already")
        users[name] = _parse_user(name, words[2:], number)
    if not users:
        raise ValueError("no user in it")
    return Users(users.values())


def _parse_user(name: bytes, rules: list[str], number: int) -> User:
    is_enabled = needs_no_password = False
    hashes: set[str] = set()
    patterns: list[bytes] | None = []
    commands: list[tuple[bool, str]] = []
    for rule in rules:
        if rule in ("on", "off"):
            is_enabled = rule == "on"
        elif rule == "nopass":
            needs_no_password = True
        elif rule.startswith(">"):
            hashes.add(_hash(rule[1:].encode()))
        elif rule.startswith("#") and len(rule) == 65 and set(rule[1:]) <= set("0123456789abcdef"):
            hashes.add(rule[1:])
        elif rule in ("allkeys", "~*"):
            patterns = None
        elif rule.startswith("~") and len(rule) > 1:
            if patterns is not None:
                patterns.append(rule[1:].encode())
        elif rule in ("allcommands", "nocommands"):
            commands.append((rule == "allcommands", "@all"))
        elif rule[:1] in "+-" and len(rule) > 1 and _is_command(rule[1:]):
            commands.append((rule[0] == "+", rule[1:].lower()))
        elif rule not in ("allchannels", "resetchannels", "sanitize-payload") and not rule.startswith("&"):
            shown = rule if rule[0] in "+-~&@" else rule[:1] + "…"
            raise ValueError(f"line {number}: cannot read the rule {shown!r}")
    return User(
        name, is_enabled, needs_no_password, frozenset(hashes), tuple(commands),
        None if patterns is None else tuple(patterns),
    )  # fmt: skip


def _is_command(what: str) -> bool:
    if what.startswith("@"):
        return what == "@all" or what[1:].lower() in _CLASSES
    return True
