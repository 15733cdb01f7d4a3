"""What follows from the facts about both stores together. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from dualkv.core.dialect import reads_version
from dualkv.core.same_server import is_one_server, objection_to
from dualkv.preflight.holding import Held, held_as, mirrored_commands
from dualkv.preflight.model import BOTH, Facts, Finding, Level, fail, ok, warn
from dualkv.preflight.samples import check_big_keys
from dualkv.preflight.words import counted, size, some

__all__ = ["check_pair"]

_MAX_SKEW_SECONDS: Final = 0.2


def check_pair(facts: Facts) -> Iterator[Finding]:
    """Return what is found about two stores that both can be reached."""
    for check in _CHECKS:
        yield from check(facts)


def _check_same(facts: Facts) -> Iterator[Finding]:
    one, other = facts.primary, facts.secondary
    assert one.identity is not None
    assert other.identity is not None
    objection = objection_to(one.identity, other.identity, one.options, other.options)
    if objection is not None and facts.config.allow_same_server:
        yield warn("two stores", BOTH, f"{objection}.", "It is allowed (allow_same_server).")
    elif objection is not None:
        yield fail(
            "two stores",
            BOTH,
            f"{objection}.",
            "Name two different stores; `dualkv serve` refuses to start so (allow_same_server).",
        )
    elif is_one_server(one.identity, other.identity):
        yield warn(
            "two stores",
            BOTH,
            "Both are one server, and two databases of it.",
            "FLUSHALL, scripts, functions and messages of one are those of the other.",
        )
    elif one.identity.run_id and other.identity.run_id:
        yield ok("two stores", BOTH, "They are two servers, and neither follows the other.")
    else:
        yield ok("two stores", BOTH, "Nothing says that they are the same server.")


_FORMS: Final = {
    Held.EXACT: (Level.OK, "arrive as they are", ""),
    Held.OTHER_FORM: (Level.OK, "arrive in other commands", ""),
    Held.SCRIPT: (Level.OK, "arrive by a script of dualkv's", ""),
    Held.COPY: (Level.OK, "arrive as copies of the keys' states", ""),
    Held.LOST: (
        Level.WARN,
        "cannot be held",
        "An application that needs them cannot move as it is: `dualkv preflight --observed` tells.",
    ),
}


def _check_commands(facts: Facts) -> Iterator[Finding]:
    primary, secondary = facts.primary.dialect, facts.secondary.dialect
    assert primary is not None
    assert secondary is not None
    by_form: dict[Held, list[str]] = {form: [] for form in Held}
    for name, options in mirrored_commands(primary):
        form = held_as(name, options, secondary)
        if form is not None:
            by_form[form].append(" ".join((name, *options)))
    for form, names in by_form.items():
        level, words, advice = _FORMS[form]
        if names:
            which = "" if form is Held.EXACT else f": {some(names)}"
            yield Finding(
                "write commands", "secondary", level, f"{len(names)} {words}{which}.", advice, tuple(names)
            )


def _check_payloads(facts: Facts) -> Iterator[Finding]:
    primary, secondary = facts.primary.dialect, facts.secondary.dialect
    assert primary is not None
    assert secondary is not None
    if primary.has("DUMP") and reads_version(secondary, primary.rdb_version):
        yield ok("copies", BOTH, "Whole keys can be copied with DUMP and RESTORE.")
    else:
        why = "reads no payloads" if not secondary.rdb_version else "does not read the primary's payloads"
        yield ok("copies", BOTH, f"Keys are copied by their type, in several steps: the secondary {why}.")


def _check_databases(facts: Facts) -> Iterator[Finding]:
    primary, secondary = facts.primary, facts.secondary
    used = sorted(primary.keys_by_db)
    own = primary.options.db
    others = [db for db in used if db != own]
    named = ", ".join(f"{db} ({counted(primary.keys_by_db[db], 'key')})" for db in used)
    there = secondary.number("databases")
    assert secondary.dialect is not None
    if not others:
        yield ok("databases", BOTH, f"The primary uses database {own} only.")
    elif not secondary.dialect.has_databases:
        yield fail(
            "databases",
            BOTH,
            f"The primary uses databases {named}; in the secondary all are one.",
            f"Only database {own} can be mirrored: move the other keys there, or to another store.",
        )
    elif primary.options.db != secondary.options.db:
        yield warn(
            "databases",
            BOTH,
            f"The primary uses databases {named}; only {own} is mirrored.",
            "With primary_db and secondary_db alike, all of them would be.",
        )
    elif there is not None and max(used) >= there:
        yield fail(
            "databases",
            BOTH,
            f"The primary uses databases {named}; the secondary has {there}.",
            "Raise `databases` there.",
        )
    else:
        yield ok("databases", BOTH, f"The primary uses databases {named}; the secondary has them too.")


def _check_clocks(facts: Facts) -> Iterator[Finding]:
    offsets = {store.which: store.clock_offset_seconds for store in facts.stores}
    known = {which: seconds for which, seconds in offsets.items() if seconds is not None}
    if not known:
        return
    told = ", ".join(f"{which} {seconds * 1000:+.0f} ms" for which, seconds in known.items())
    untold = "".join(f"; the {which} does not tell" for which, seconds in offsets.items() if seconds is None)
    spread = max(0.0, *known.values()) - min(0.0, *known.values())
    if spread > _MAX_SKEW_SECONDS:
        yield warn(
            "clocks",
            BOTH,
            f"Seen from here: {told}{untold}; keys expire at different moments.",
            "Synchronise the clocks (NTP).",
        )
    else:
        yield ok("clocks", BOTH, f"Seen from here: {told}{untold}.")


def _check_room(facts: Facts) -> Iterator[Finding]:
    limit, used = facts.secondary.number("maxmemory"), facts.primary.number("used_memory")
    if limit and used and used > limit:
        yield fail(
            "memory",
            BOTH,
            f"The primary uses {size(used)}; the secondary may take {size(limit)}: not all fits.",
            "Raise maxmemory of the secondary.",
        )


def _check_sizes(facts: Facts) -> Iterator[Finding]:
    name = "proto-max-bulk-len"
    here, there = facts.primary.number(name), facts.secondary.number(name)
    if here is None or there is None:
        return
    if there < here:
        yield warn(
            "values",
            BOTH,
            f"The primary takes values up to {size(here)}, the secondary up to {size(there)}.",
            f"Raise {name} of the secondary.",
        )
    else:
        yield ok("values", BOTH, f"The secondary takes values as large as the primary does ({size(there)}).")


def _check_notifications(facts: Facts) -> Iterator[Finding]:
    name = "notify-keyspace-events"
    here, there = facts.primary.settings.get(name), facts.secondary.settings.get(name)
    if here and set(here) != set(there or ""):
        told = f"'{there}'" if there is not None else "not told"
        yield warn(
            "notifications",
            BOTH,
            f"{name} is '{here}' on the primary; on the secondary it is {told}.",
            "Who listens to keyspace events would miss them once the secondary answers.",
        )
    elif here is not None and there is not None:
        yield ok("notifications", BOTH, f"{name} is alike: '{there}'.")


_CHECKS: Final[tuple[Callable[[Facts], Iterator[Finding]], ...]] = (
    _check_same,
    _check_commands,
    _check_payloads,
    _check_databases,
    _check_clocks,
    _check_room,
    _check_sizes,
    _check_notifications,
    check_big_keys,
)
