"""Conversations that nobody thought of: the same bytes through dualkv as without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.compare import told
from tests.conformance.corpus import Conversation
from tests.conformance.generated import conversations
from tests.conformance.stage import Servers, compare, running_servers
from tests.conformance.talk import Variant, Way


@pytest.fixture(name="shared_servers", scope="module")
def _shared_servers(redis_binary: Path) -> Iterator[Servers]:
    """Servers for all examples, emptied before each."""
    with running_servers(redis_binary) as servers:
        yield servers


@settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
    ],  # `through` is a string
)
@given(conversation=conversations(), protocol=st.sampled_from([2, 3]))
def test_replies_to_random_commands_are_the_servers_own(
    conversation: Conversation, protocol: int, shared_servers: Servers, through: str
) -> None:
    """Random commands on few keys, in one piece: the same bytes from both sides."""
    found = trio.run(compare, shared_servers, through, [conversation], Variant(protocol, Way.PIPELINED))

    if found:
        lines = "\n".join(command.text for command in conversation.commands)
        pytest.fail(f"{told(found)}\nin RESP{protocol}:\n{lines}", pytrace=False)
