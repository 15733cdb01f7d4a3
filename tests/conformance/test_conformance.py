"""Every reply through dualkv is Redis's own, byte by byte."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import trio

from dualkv.commands.table import COMMANDS
from dualkv.core.routing import Route, plan_for
from tests.conformance.compare import executed, told
from tests.conformance.corpus import FILES, left_out, load
from tests.conformance.masks import REFUSED
from tests.conformance.stage import Servers, compare, record_directly
from tests.conformance.talk import Variant, suits, variants_of

REDIS_7_0 = {spec.name: spec for spec in COMMANDS if spec.in_redis_7_0}
"""The commands and sub-commands of Redis 7.0."""


def _cases() -> Iterator[tuple[str, Variant]]:
    for file in FILES:
        conversations = load(file)
        for variant in variants_of(conversations[0].kind):
            if any(suits(conversation, variant.way) for conversation in conversations):
                yield file, variant


@pytest.mark.parametrize(("file", "variant"), list(_cases()), ids=str)
def test_replies_are_the_servers_own(
    file: str, variant: Variant, servers: Servers, through: str, summary: list[str]
) -> None:
    """All conversations of a file, one after the other: the same bytes from both sides."""
    conversations = [each for each in load(file) if suits(each, variant.way)]

    found = trio.run(compare, servers, through, conversations, variant)

    if found:
        commands = sum(len(conversation.commands) for conversation in conversations)
        title = f"{file} {variant}: {len(found)} replies to {commands} commands differ"
        summary.append(title)
        pytest.fail(f"{title}\n{told(found)}", pytrace=False)


def test_every_command_is_covered_or_left_out_with_a_reason(servers: Servers, summary: list[str]) -> None:
    """Covered is what a conversation makes Redis answer with something else than an error."""
    conversations = [conversation for file in FILES for conversation in load(file)]

    recorded = trio.run(record_directly, servers.direct, conversations)

    covered = set.union(*map(executed, recorded)) & set(REDIS_7_0)
    covered |= {name.partition(" ")[0] for name in covered}
    reasons = left_out()
    summary += [
        f"{len(covered)} of Redis 7.0's {len(REDIS_7_0)} commands and sub-commands are covered",
        f"{len(reasons)} are not:",
        *(f"  {name}: {reason}" for name, reason in sorted(reasons.items())),
    ]
    assert sorted(set(REDIS_7_0) - covered - set(reasons)) == []
    assert sorted(covered & set(reasons)) == []
    assert sorted(set(reasons) - set(REDIS_7_0)) == []


def test_what_dualkv_refuses_is_listed_with_a_reason() -> None:
    """Every command of Redis 7.0 that dualkv does not pass on stands in the list, and no other."""
    refused = {
        name
        for name, spec in REDIS_7_0.items()
        if plan_for(spec).route is Route.REFUSED and not spec.subcommands
    }

    assert sorted(refused - set(REFUSED)) == []
    assert sorted(set(REFUSED) - refused) == []
