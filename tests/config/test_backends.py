"""How a backend's address is written."""

from __future__ import annotations

from typing import Any

import pytest

from dualkv.config import BackendOptions, load_config
from dualkv.config.backends import backend_address, without_secret
from dualkv.config.tls import TlsFiles
from dualkv.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("store:6380", {"host": "store", "port": 6380}),
        (":6379", {"host": "localhost", "port": 6379}),
        ("10.0.0.1:1", {"host": "10.0.0.1", "port": 1}),
        ("[::1]:6379", {"host": "::1", "port": 6379}),
        ("redis://store", {"host": "store", "port": 6379, "tls": False}),
        ("redis://store:7000", {"host": "store", "port": 7000, "tls": False}),
        ("redis://store:7000/3", {"host": "store", "port": 7000, "tls": False, "db": 3}),
        ("redis://store/", {"host": "store", "port": 6379, "tls": False}),
        ("redis://[::1]:7000", {"host": "::1", "port": 7000, "tls": False}),
        ("redis://:pw@store", {"host": "store", "port": 6379, "tls": False, "password": "pw"}),
        (
            "redis://user:pw@store",
            {"host": "store", "port": 6379, "tls": False, "username": "user", "password": "pw"},
        ),
        (
            "redis://us%40er:p%3Aw%2F@store",
            {"host": "store", "port": 6379, "tls": False, "username": "us@er", "password": "p:w/"},
        ),
        ("rediss://store", {"host": "store", "port": 6379, "tls": True}),
        ("rediss://user@store:1/2", {"host": "store", "port": 1, "tls": True, "username": "user", "db": 2}),
        ("unix:///run/redis.sock", {"unix_path": "/run/redis.sock"}),
        ("unix:///run/redis.sock?db=4", {"unix_path": "/run/redis.sock", "db": 4}),
        ("unix://:pw@/run/redis.sock", {"unix_path": "/run/redis.sock", "password": "pw"}),
        ("a:1,b:2", {"host": "a", "port": 1, "seeds": (("a", 1), ("b", 2))}),
        ("a:1,a:1,b:2,a:1", {"host": "a", "port": 1, "seeds": (("a", 1), ("b", 2))}),
        (":1,[::1]:2", {"host": "localhost", "port": 1, "seeds": (("localhost", 1), ("::1", 2))}),
        (
            "rediss://us%40er:pw@a,b:2,[::1]/3",
            {
                "host": "a", "port": 6379, "seeds": (("a", 6379), ("b", 2), ("::1", 6379)), "tls": True,
                "username": "us@er", "password": "pw", "db": 3,
            },
        ),
        (
            "sentinel://s1/main",
            {
                "host": "s1", "port": 26379, "seeds": (("s1", 26379),), "sentinel": "main",
                "tls": False, "sentinel_tls": False,
            },
        ),
        (
            "sentinels://s1/main",
            {
                "host": "s1", "port": 26379, "seeds": (("s1", 26379),), "sentinel": "main",
                "tls": True, "sentinel_tls": True,
            },
        ),
        (
            "sentinels://s1/main?sentinel_tls=false",
            {
                "host": "s1", "port": 26379, "seeds": (("s1", 26379),), "sentinel": "main",
                "tls": True, "sentinel_tls": False,
            },
        ),
        (
            "sentinel://s1/main?sentinel_tls=true",
            {
                "host": "s1", "port": 26379, "seeds": (("s1", 26379),), "sentinel": "main",
                "tls": False, "sentinel_tls": True,
            },
        ),
        (
            "sentinel://user:p%3Aw@s1:1,s2/my%20main?db=2&sentinel_username=su&sentinel_password=s%26w",
            {
                "host": "s1", "port": 1, "seeds": (("s1", 1), ("s2", 26379)), "sentinel": "my main",
                "username": "user", "password": "p:w", "db": 2,
                "sentinel_username": "su", "sentinel_password": "s&w", "tls": False, "sentinel_tls": False,
            },
        ),
    ],
)  # fmt: skip
def test_an_address_says_where_the_backend_is(text: str, found: dict[str, Any]) -> None:
    """A host with a port, a list of them, or a URL with user, password and database."""
    assert backend_address(text) == found


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("store", "'store' is not an address such as :6479 or 127.0.0.1:6479"),
        ("http://store", "http:// is not a scheme (redis, rediss, unix, sentinel, sentinels)"),
        ("redis://store:port", "the port is not a number up to 65535"),
        ("redis://store:65536", "the port is not a number up to 65535"),
        ("redis://store/data", "'data' is not a whole number"),
        ("redis://store/-1", "must not be negative"),
        ("unix:///run/redis.sock?db=x", "'x' is not a whole number"),
        ("a:6379,", "'' is not an address such as :6479 or 127.0.0.1:6479"),
        ("a:6379,b", "'b' is not an address such as :6479 or 127.0.0.1:6479"),
        (
            "redis://a:1,redis://b:1",
            "several nodes are one URL: redis://user:password@host:port,host:port",
        ),
        ("redis://a:1,b:x", "the port is not a number up to 65535"),
        (
            "sentinel://a:1,b:2",
            "the name of the primary is missing: sentinel://host:port,host:port/name",
        ),
        (
            "sentinel://a/main?database=1",
            "'database' is no option of sentinel:// (db, sentinel_username, sentinel_password, sentinel_tls)",
        ),
        ("sentinel://a/main?db=x", "'x' is not a whole number"),
    ],
)
def test_a_wrong_address_is_refused(text: str, complaint: str) -> None:
    """The complaint says what is wrong with it."""
    with pytest.raises(ConfigError) as caught:
        backend_address(text)

    assert str(caught.value) == complaint


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("store:6380", "store:6380"),
        ("[::1]:6380", "[::1]:6380"),
        ("redis://user:secret@store/3", "store:6379"),
        ("rediss://user:secret@store", "rediss://store:6379"),
        ("unix://:secret@/run/redis.sock", "unix:///run/redis.sock"),
        ("a:1,[::1]:2", "a:1,[::1]:2"),
        ("rediss://:secret@a:1,b:2/3", "rediss://a:1,b:2"),
        ("sentinel://u:secret@a,b:2/main?sentinel_password=secret", "sentinel://a:26379,b:2/main"),
        ("sentinels://u:secret@a,b:2/main?sentinel_password=secret", "sentinels://a:26379,b:2/main"),
    ],
)
def test_the_address_in_logs_has_no_secret(text: str, address: str) -> None:
    """Where it is, how it is reached, and nothing about who we are."""
    options = BackendOptions("redis", **backend_address(text))

    assert options.address == address
    assert "secret" not in repr(options)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://user:pw@h", "redis://user:***@h"),
        ("rediss://user:pw@h:1/2", "rediss://user:***@h:1/2"),
        ("redis://:pw@h", "redis://:***@h"),
        ("unix://user:pw@/run/redis.sock", "unix://user:***@/run/redis.sock"),
        ("redis://user@h", "redis://user@h"),
        (
            "sentinel://u:pw@a:1,b:2/main?sentinel_password=pw&db=1",
            "sentinel://u:***@a:1,b:2/main?sentinel_password=***&db=1",
        ),
        ("sentinel://a:1,b:2/main", "sentinel://a:1,b:2/main"),
        ("redis://h:6379", "redis://h:6379"),
        ("h:6379", "h:6379"),
    ],
)
def test_a_url_is_shown_without_its_password(text: str, shown: str) -> None:
    """Only the password is blanked."""
    assert without_secret(text) == shown


def test_options_of_a_backend_come_from_its_settings() -> None:
    """Primary and secondary have settings of their own, and share the timeouts."""
    config = load_config(
        {
            "primary": "p:1",
            "primary_db": "2",
            "primary_password": "pw",
            "primary_name": "old",
            "primary_pool_size": "7",
            "secondary": "unix:///s",
            "secondary_name": "new",
            "dial_timeout": "1s",
            "read_timeout": "2s",
            "write_timeout": "4s",
        }
    )

    assert config.backend_options("primary") == BackendOptions(
        "old",
        host="p",
        port=1,
        password="pw",
        db=2,
        pool_size=7,
        dial_timeout_seconds=1.0,
        read_timeout_seconds=2.0,
        write_timeout_seconds=4.0,
        tls_files=TlsFiles("primary_tls"),
    )
    secondary = config.backend_options("secondary")
    assert (secondary.name, secondary.unix_path, secondary.password, secondary.pool_size) == (
        "new", "/s", None, 192,
    )  # fmt: skip


def test_what_the_url_says_wins_over_the_settings_beside_it() -> None:
    """User, password and database of a URL are those that are used."""
    config = load_config({"primary": "redis://:url@h/5", "primary_password": "setting", "primary_db": "1"})
    options = config.backend_options("primary")

    assert (options.password, options.db) == ("url", 5)


def test_without_a_password_in_the_url_the_setting_is_used() -> None:
    """A URL without one leaves the setting alone."""
    options = load_config({"primary": "redis://h", "primary_password": "pw"}).backend_options("primary")

    assert (options.password, options.db) == ("pw", 0)


def test_with_leader_aware_one_address_is_a_seed() -> None:
    """The flag asks one node who leads; a Unix socket has nobody else beside it."""
    config = load_config({"leader_aware": "true", "primary": "unix:///s", "secondary": "redis://h:7"})

    assert config.backend_options("primary").seeds == ()
    assert config.backend_options("secondary").seeds == (("h", 7),)
    assert load_config({"secondary": "h:7"}).backend_options("secondary").seeds == ()


@pytest.mark.parametrize(
    ("text", "store", "sentinel"),
    [
        ("sentinel://s/main", False, False),
        ("sentinels://s/main", True, True),
        ("sentinels://s/main?sentinel_tls=false", True, False),
        ("sentinel://s/main?sentinel_tls=true", False, True),
    ],
)
def test_store_and_sentinels_speak_tls_or_not(text: str, store: bool, sentinel: bool) -> None:
    """The name that the store's certificate must have is not asked of a Sentinel's."""
    settings = {"primary": text} | ({"primary_tls_server_name": "store"} if store else {})
    options = load_config(settings).backend_options("primary")
    node, watcher = options.at(("n", 1)), options.at_sentinel(("s", 26379))

    assert (node.tls, watcher.tls) == (store, sentinel)
    assert (node.tls_files.server_name, watcher.tls_files.server_name) == ("store" if store else "", "")


def test_a_node_is_reached_as_the_store_and_a_sentinel_as_itself() -> None:
    """The store's user, password and database are not the Sentinels'."""
    text = "sentinel://user:pw@s1,s2/main?db=2&sentinel_password=other"
    options = load_config({"primary": text}).backend_options("primary")
    node, sentinel = options.at(("n", 1)), options.at_sentinel(("s2", 26379))

    assert (node.address, node.username, node.password, node.db) == ("n:1", "user", "pw", 2)
    assert (sentinel.address, sentinel.username, sentinel.password, sentinel.db) == (
        "s2:26379", None, "other", 0,
    )  # fmt: skip
