"""Facts about stores as they could be, for checks that ask nobody."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import attrs

from dualkv.commands.table import COMMANDS
from dualkv.config import ProxyConfig
from dualkv.core.dialect import Dialect, learn
from dualkv.core.identity import Identity
from dualkv.preflight.checks import check_all
from dualkv.preflight.model import Facts, Finding, Level, StoreFacts
from dualkv.resp import encode
from tests.fakes.elastickv.replies import about_commands

__all__ = ["FINDINGS", "elastickv", "facts", "found", "levels", "redis"]


def _redis_commands() -> bytes:
    names = [spec.name.lower().replace(" ", "|") for spec in COMMANDS if spec.in_redis_7_0]
    return encode.array(encode.array([encode.bulk(name)]) for name in names)


@functools.cache
def redis(version: str = "7.0.15") -> Dialect:
    """Return what a Redis of some version understands, with the commands of 7.0."""
    return learn([encode.bulk(f"redis_version:{version}\r\n"), _redis_commands()])


@functools.cache
def elastickv() -> Dialect:
    """Return what an ElasticKV understands."""
    told = "redis_version:7.2.0\r\nrole:master\r\nraft_leader_redis:10.0.0.9:6379\r\n"
    return learn([encode.bulk(told), about_commands((b"COMMAND",))])


_INFO: Mapping[str, str] = {
    "role": "master", "maxmemory": "0", "used_memory": "1048576", "connected_clients": "3",
    "keyspace_hits": "1", "db0": "keys=12,expires=0,avg_ttl=0",
}  # fmt: skip
_SETTINGS: Mapping[str, str] = {
    "maxmemory": "0", "maxmemory-policy": "noeviction", "proto-max-bulk-len": "536870912", "databases": "16",
    "notify-keyspace-events": "", "maxclients": "10000",
}  # fmt: skip


def _store(config: ProxyConfig, which: str, run_id: str) -> StoreFacts:
    empty = {name: value for name, value in _INFO.items() if name != "db0"}
    return StoreFacts(
        which,
        config.backend_options(which),
        dialect=redis(),
        identity=Identity(run_id, is_empty=False, logs_writes=True),
        info=_INFO if which == "primary" else empty,
        settings=_SETTINGS,
        protocols=frozenset({2, 3}),
        clock_offset_seconds=0.001,
        latency_seconds=0.0001,
        user="default",
        rights_are_known=True,
    )


def facts(
    primary: Mapping[str, Any] | None = None, secondary: Mapping[str, Any] | None = None, **settings: Any
) -> Facts:
    """Return two good stores, but for some fields.

    ``info`` and ``settings`` are added to what is there.
    """
    config = ProxyConfig(**settings)
    stores = []
    for which, run_id, changes in (("primary", "a", primary or {}), ("secondary", "b", secondary or {})):
        store = _store(config, which, run_id)
        merged: dict[str, Any] = {
            name: {**getattr(store, name), **value} if name in ("info", "settings") else value
            for name, value in changes.items()
        }
        stores.append(attrs.evolve(store, **merged))
    return Facts(config, *stores)


def found(known: Facts, check: str, store: str) -> list[Finding]:
    """Return what a check says of a store."""
    return [finding for finding in check_all(known) if (finding.check, finding.store) == (check, store)]


def levels(known: Facts) -> set[tuple[str, str, str]]:
    """Return whatever is not as it should be."""
    return {
        (finding.check, finding.store, finding.level.value)
        for finding in check_all(known)
        if finding.level is not Level.OK
    }


FINDINGS = (
    Finding("reachable", "primary", Level.OK, "10.0.0.1:6379 answers."),
    Finding(
        "memory", "secondary", Level.WARN, "At 1.0 GiB it evicts keys (allkeys-lru).", "Set it to noeviction."
    ),
    Finding(
        "big keys", "primary", Level.OK, "The largest is a hash: [red]\x1b[31m\u202ek.", details=("k: hash",)
    ),
    Finding("two stores", "both", Level.FAIL, "Both are one.", "Name two."),
)  # fmt: skip
"""One of each kind, one of them with what a terminal must not obey."""
