"""What follows from the facts about one store. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from dualkv.core.dialect import Dialect
from dualkv.core.dialect.model import ELASTICKV
from dualkv.preflight.hazards import check_hazards
from dualkv.preflight.model import Finding, StoreFacts, fail, ok, warn
from dualkv.preflight.words import counted, size, some

__all__ = ["check_store"]

_OLDEST_REDIS: Final = (6, 2)
_SLOW_SECONDS: Final = {"primary": 0.005, "secondary": 0.05}


def check_store(store: StoreFacts) -> Iterator[Finding]:
    """Return what is found about one store, whether it can be reached or not."""
    yield from _check_reach(store)
    if store.dialect is None or store.error is not None:
        return
    for check in _CHECKS:
        yield from check(store)
    if store.dialect.product == ELASTICKV:
        yield from check_hazards(store)


def _check_reach(store: StoreFacts) -> Iterator[Finding]:
    if store.error is not None:
        is_about_us = any(word in store.error for word in ("AUTH", "WRONGPASS", "NOPERM"))
        advice = f"Look at {store.which} and its port; it must be reachable from where dualkv runs."
        if is_about_us:
            advice = f"Look at the user and password of {store.which}; an ElasticKV takes none."
        yield fail("reachable", store.which, f"It cannot be reached: {store.error}.", advice)
        return
    yield ok("reachable", store.which, f"{store.options.address} answers.")
    if store.info.get("loading", "0") == "1":
        yield fail("reachable", store.which, "It is still loading its data.", "Wait until it has.")
    if store.error_since:
        yield warn(
            "reachable",
            store.which,
            f"It stopped answering while it was asked: {store.error_since}.",
            "Ask again.",
        )


def _version(dialect: Dialect) -> str:
    version = ".".join(map(str, dialect.version))
    redis = ".".join(map(str, dialect.redis_version))
    if dialect.product == "Redis":
        return f"Redis {redis}"
    if dialect.product == ELASTICKV:
        version = ""  # its own it does not tell
    return f"{dialect.product}{f' {version}' if version else ''}, which says it is Redis {redis}"


def _check_version(store: StoreFacts) -> Iterator[Finding]:
    dialect = store.dialect
    assert dialect is not None
    resp = "RESP2 and RESP3" if 3 in store.protocols else "RESP2 only"
    if not store.knows_commands:
        yield warn(
            "version",
            store.which,
            f"{_version(dialect)}; it does not tell its commands (COMMAND).",
            "Let our user execute COMMAND: without it nothing else is asked, and the rest is a guess.",
        )
    elif dialect.product == "Redis" and dialect.redis_version < _OLDEST_REDIS:
        yield warn(
            "version",
            store.which,
            f"{_version(dialect)}, {resp}: older than what dualkv is tested with.",
            "Try it first with `dualkv torture` against a copy.",
        )
    else:
        count = sum(" " not in name for name in dialect.commands)
        yield ok("version", store.which, f"{_version(dialect)}, {count} commands, {resp}.")


def _check_role(store: StoreFacts) -> Iterator[Finding]:
    if store.identity is not None and store.identity.master:
        yield fail(
            "role",
            store.which,
            f"It is a replica of {store.identity.master}: it takes no writes.",
            f"Name its primary as {store.which}, or make it one (REPLICAOF NO ONE).",
        )
    elif store.info.get("cluster_enabled") == "1":
        yield fail(
            "role",
            store.which,
            "It is a node of a Redis Cluster: other nodes have the other keys.",
            "dualkv speaks to one server; a Cluster is not supported.",
        )
    elif role := store.info.get("role"):
        yield ok("role", store.which, "It takes writes." if role == "master" else f"Its role: {role}.")


def _check_rights(store: StoreFacts) -> Iterator[Finding]:
    if store.denied:
        yield fail(
            "rights",
            store.which,
            f"User {store.user} must not execute {some(store.denied)}.",
            "Give the user these commands, on all keys (ACL SETUSER).",
            store.denied,
        )
    elif store.rights_are_known:
        yield ok("rights", store.which, f"User {store.user} may do all that dualkv needs.")
    elif store.user not in ("", "default"):
        yield warn(
            "rights",
            store.which,
            f"What user {store.user} may do cannot be asked (ACL DRYRUN).",
            "Compare its ACL with the documentation.",
        )


def _check_memory(store: StoreFacts) -> Iterator[Finding]:
    limit = store.number("maxmemory")
    policy = store.settings.get("maxmemory-policy", store.info.get("maxmemory_policy", ""))
    if limit is None:
        return
    if not limit:
        yield ok("memory", store.which, "It has no memory limit of its own.")
    elif policy == "noeviction":
        yield ok("memory", store.which, f"At {size(limit)} it refuses writes; nothing is evicted.")
    else:
        text = f"At {size(limit)} it evicts keys ({policy})"
        if store.which == "primary":
            yield warn(
                "memory",
                store.which,
                f"{text}: evictions are not mirrored.",
                "Keys that only the secondary has are found by a resync only.",
            )
        else:
            yield warn(
                "memory",
                store.which,
                f"{text}: what it evicts is reported as a migration gap.",
                "Set maxmemory-policy noeviction, or expect gaps.",
            )


def _check_latency(store: StoreFacts) -> Iterator[Finding]:
    seconds = store.latency_seconds
    if seconds is None:
        return
    text = f"A PING takes {seconds * 1000:.2f} ms (median)"
    if seconds <= _SLOW_SECONDS[store.which]:
        yield ok("latency", store.which, f"{text}.")
    elif store.which == "primary":
        yield warn(
            "latency",
            store.which,
            f"{text}: clients wait for it with each request.",
            "Run dualkv near the primary.",
        )
    else:
        yield warn(
            "latency",
            store.which,
            f"{text}: the stream needs more at once.",
            "Set secondary_write_concurrency.",
        )


def _check_connections(store: StoreFacts) -> Iterator[Finding]:
    limit = store.number("maxclients")
    pool = store.options.pool_size
    if limit is None:
        return
    used = store.number("connected_clients") or 0
    name = f"{store.which}_pool_size"
    if pool > limit - used:
        yield warn(
            "connections",
            store.which,
            f"It lets {limit:,} clients in and has {used:,}; {name} allows {pool:,} more.",
            f"Raise its maxclients, or lower {name}.",
        )
    else:
        yield ok(
            "connections",
            store.which,
            f"It lets {limit:,} clients in and has {used:,}; {name} is {pool:,}.",
        )


def _check_count(store: StoreFacts) -> Iterator[Finding]:
    if store.tells_keyspace:
        count = sum(store.keys_by_db.values())
        used = store.number("used_memory")
        memory = f" in {size(used)}" if used and store.which == "primary" else ""
        text = f"It holds {counted(count, 'key')}{memory}"
        if count and store.which == "secondary":
            yield warn(
                "keys",
                store.which,
                f"{text}.",
                "A back-fill or a resync removes those that the primary has not.",
            )
        else:
            yield ok("keys", store.which, f"{text}.")
    else:
        yield ok("keys", store.which, "Its keys cannot be counted without harm; they were not.")


_CHECKS: Final[tuple[Callable[[StoreFacts], Iterator[Finding]], ...]] = (
    _check_version,
    _check_role,
    _check_rights,
    _check_latency,
    _check_connections,
    _check_memory,
    _check_count,
)
