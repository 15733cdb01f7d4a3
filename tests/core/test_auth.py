"""Who may come in, and what they may do."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from dualkv.config import BackendOptions, ProxyConfig
from dualkv.core.auth import User, Users, parse_users, users_from
from dualkv.errors import ConfigError
from tests.core.building import planned

TEXT = f"""
# who may what
user default off
user app on >old >new ~orders:* ~carts:?? +@read +@write -flushall +@transaction
user report on #{hashlib.sha256(b"secret").hexdigest()} ~* &* +@all -@admin -client
user root on nopass allkeys +@all
"""


def refusal(user: User | None, line: str) -> bytes | None:
    """Return the error for *line* by *user*."""
    assert user is not None
    plan, request = planned(*line.split())
    return user.refusal(plan.spec, request.args)


@pytest.mark.parametrize(
    ("name", "password", "is_known"),
    [
        (b"app", b"old", True),
        (b"app", b"new", True),
        (b"app", b"", False),
        (b"app", b"secret", False),
        (b"report", b"secret", True),
        (b"root", b"anything", True),
        (b"default", b"", False),
        (b"nobody", b"old", False),
        (b"nobody", b"", False),
    ],
)
def test_user_is_known_by_any_of_the_passwords(name: bytes, password: bytes, is_known: bool) -> None:
    """Several passwords at once are for rotation; who is off or not there has none."""
    assert is_known == (parse_users(TEXT).check(name, password) is not None)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("GET orders:1", None),
        ("SET carts:ab 1", None),
        ("MULTI", None),
        ("AUTH x", None),
        ("GET carts:abc", b"access one of the keys"),
        ("MGET orders:1 other", b"access one of the keys"),
        ("FLUSHALL", b"run the 'flushall' command"),
        ("KEYS *", b"access one of the keys"),
        ("CONFIG GET x", b"run the 'config|get' command"),
        ("SUBSCRIBE c", b"run the 'subscribe' command"),
        ("EVAL x 0", b"run the 'eval' command"),
        ("BLPOP orders:1 0", b"run the 'blpop' command"),
    ],
)
def test_rules_decide_by_command_class_and_key(line: str, error: bytes | None) -> None:
    """What is not allowed gets Redis's error, and what is allowed none."""
    found = refusal(parse_users(TEXT).check(b"app", b"new"), line)

    assert (found is None) == (error is None)
    assert error is None or (found is not None and error in found and found.startswith(b"-NOPERM "))


@pytest.mark.parametrize(
    ("line", "is_allowed"),
    [("GET anything", True), ("CLIENT LIST", False), ("CONFIG GET x", False), ("EVAL x 0", True)],
)
def test_later_rules_win(line: str, is_allowed: bool) -> None:
    """All but some: what stands behind takes away again."""
    assert is_allowed == (refusal(parse_users(TEXT).check(b"report", b"secret"), line) is None)


@pytest.mark.parametrize(("name", "may_all"), [(b"root", True), (b"app", False), (b"report", False)])
def test_user_who_may_all_costs_nothing(name: bytes, may_all: bool) -> None:
    """Only who is restricted is looked at command by command."""
    user = parse_users(TEXT)._by_name[name]

    assert may_all == user.may_all


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no user in it"),
        ("usr app on", "line 1: must begin with 'user' and a name"),
        ("user", "line 1: must begin with 'user' and a name"),
        ("\nuser app on +@nosuch", "line 2: cannot read the rule '+@nosuch'"),
        ("user app on #123", "line 1: cannot read the rule '#…'"),
        ("user app on secret", "line 1: cannot read the rule 's…'"),
        ("user a on\nuser a off", "line 2: user 'a' is there already"),
    ],
)
def test_wrong_users_file_is_an_error_that_names_the_line(text: str, complaint: str) -> None:
    """The operator learns where and why, and no secret is repeated."""
    with pytest.raises(ValueError, match="^" + complaint.replace("+", r"\+")) as caught:
        parse_users(text)

    assert complaint == str(caught.value)


NO_PASSWORD = BackendOptions("redis")


@pytest.mark.parametrize(
    ("settings", "primary", "name", "password", "is_open"),
    [
        ({}, NO_PASSWORD, b"default", b"any", True),
        ({}, BackendOptions("redis", password="pw"), b"default", b"pw", False),
        ({}, BackendOptions("redis", username="svc", password="pw"), b"svc", b"pw", False),
        ({"auth": "none"}, BackendOptions("redis", password="pw"), b"default", b"any", True),
        ({"client_password": "one\ntwo"}, NO_PASSWORD, b"default", b"two", False),
        ({"users": TEXT}, BackendOptions("redis", password="pw"), b"app", b"new", False),
    ],
)
def test_settings_decide_whom_clients_must_be(
    settings: dict[str, Any],
    primary: BackendOptions,
    name: bytes,
    password: bytes,
    is_open: bool,
) -> None:
    """Without a word in the settings, clients must be whom the primary wants dualkv to be."""
    users = users_from(ProxyConfig(**settings), primary)

    assert users.check(name, password) is not None
    assert is_open == (users.check(name, b"wrong") is not None) == users.has_open_default


def test_wrong_users_are_a_config_error() -> None:
    """A users file that cannot be read ends the start."""
    with pytest.raises(ConfigError, match="users: line 1"):
        users_from(ProxyConfig(users="app on"), NO_PASSWORD)


@pytest.mark.parametrize("other", [{"client_password": "x"}, {"users": TEXT}])
def test_contradicting_settings_are_refused(other: dict[str, Any]) -> None:
    """Letting everybody in and naming passwords cannot both be meant."""
    with pytest.raises(ConfigError, match="auth: 'none' contradicts"):
        ProxyConfig(auth="none", **other)


def test_nobody_without_users_has_no_initial_user() -> None:
    """Where the default user is off or unknown, a connection begins as nobody."""
    assert parse_users(TEXT).initial() is None
    assert Users([User(name=b"other")]).initial() is None
    assert Users().initial() is not None
