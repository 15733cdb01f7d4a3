"""What a running dualkv has seen of the application, against the other store. Pure.

The commands come from ``GET /observed`` (`dualkv.admin.observed`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from dualkv.commands.table import CommandSpec, find_command
from dualkv.core.dialect import Dialect
from dualkv.core.routing import Route, plan_for
from dualkv.errors import ConfigError
from dualkv.preflight.holding import Held, held_as
from dualkv.preflight.model import BOTH, Facts, Finding, fail, ok, warn
from dualkv.preflight.usable import is_callable, refused_options
from dualkv.preflight.words import counted, some

__all__ = ["check_used"]

_WORDS: Final = {
    Held.EXACT: "arrive as they are",
    Held.OTHER_FORM: "arrive in other commands",
    Held.SCRIPT: "arrive by a script of dualkv's",
    Held.COPY: "arrive as copies of the keys' states",
}


def check_used(facts: Facts, observed: Any) -> tuple[Finding, ...]:
    """Return what is found about the commands, options and databases that are really used.

    Args:
        facts: What is known of the stores.
        observed: The content of ``/observed``.

    Raises:
        ConfigError: It is something else.
    """
    dialect = facts.secondary.dialect
    if dialect is None or facts.secondary.error is not None:
        return ()
    try:
        uses = [*_uses(observed)]
        databases = {int(told["db"]): int(told["seen"]) for told in observed["databases"]}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ConfigError("/observed: not an answer of dualkv") from None
    if not uses:
        return (
            warn("used", "primary", "No request has been seen yet.", "Let clients use dualkv for a while."),
        )
    return (
        *_check_writes(uses, dialect),
        *_check_calls(uses, dialect),
        *_check_databases(facts, databases),
    )


Used = tuple[CommandSpec, tuple[str, ...]]
"""A command with options that were seen together."""


def _uses(observed: Mapping[str, Any]) -> Iterator[Used]:
    for told in observed["commands"]:
        name, _, sub = str(told["command"]).partition("|")
        spec = find_command(name.encode(), sub.encode() or None)
        for options in told["options"]:
            yield spec, tuple(map(str, options["names"]))


def _shown(used: Used) -> str:
    spec, options = used
    name = "commands in no table" if spec.kind == "unknown" else spec.name
    return f"{name} {'+'.join(options)}" if options else name


def _check_writes(uses: list[Used], dialect: Dialect) -> Iterator[Finding]:
    by_form: dict[Held, list[str]] = {form: [] for form in Held}
    for used in uses:
        form = held_as(used[0].name, used[1], dialect)
        if form is not None:
            by_form[form].append(_shown(used))
    for form, words in _WORDS.items():
        if names := sorted(by_form[form]):
            yield ok(
                "used writes", "secondary", f"{len(names)} {words}: {some(names)}.", details=tuple(names)
            )
    if lost := sorted(by_form[Held.LOST]):
        yield fail(
            "used writes",
            "secondary",
            f"{len(lost)} cannot be held: {some(lost)}.",
            "The application must do without them first, or their data stays behind.",
            tuple(lost),
        )
    if not any(by_form.values()):
        yield ok("used writes", "secondary", "No write has been seen.")


def _check_calls(uses: list[Used], dialect: Dialect) -> Iterator[Finding]:
    lost = sorted({text for used in uses if (text := _uncallable(used, dialect))})
    if lost:
        yield warn(
            "used calls",
            "secondary",
            f"Once it answers, {counted(len(lost), 'call')} would be refused: {some(lost)}.",
            "Change them before the mode in which the secondary answers.",
            tuple(lost),
        )
    else:
        yield ok("used calls", "secondary", "Once it answers, all that was seen can still be called.")


def _uncallable(used: Used, dialect: Dialect) -> str:
    """Return what of a use a store refuses; empty: nothing."""
    spec, options = used
    if spec.kind == "unknown" or plan_for(spec).route is Route.REFUSED:
        return ""
    if not is_callable(spec.name, dialect):
        return spec.name
    refused = refused_options(spec.name, options, dialect)
    return _shown((spec, tuple(refused))) if refused else ""


def _check_databases(facts: Facts, databases: Mapping[int, int]) -> Iterator[Finding]:
    named = ", ".join(map(str, sorted(databases)))
    assert facts.secondary.dialect is not None
    if len(databases) < 2:
        yield ok(
            "used databases", BOTH, f"Database {named} only." if named else "None but the configured one."
        )
    elif facts.secondary.dialect.has_databases:
        yield ok("used databases", BOTH, f"Databases {named}.")
    else:
        yield fail(
            "used databases",
            BOTH,
            f"Databases {named}; in the secondary all are one.",
            f"Only {facts.primary.options.db} can be mirrored: let the application use one.",
        )
