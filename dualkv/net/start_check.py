"""Looks at files of TLS before anything starts, and at both stores before anything is mirrored.

A store that does not answer at once is looked at later, when the stream reaches it: until then nothing is
mirrored anyway (`dualkv.core.same_server.Acquaintance`).
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import Final

import trio

from dualkv.config import BackendOptions, ProxyConfig
from dualkv.config.tls import tls_of_clients
from dualkv.core.identity import IDENTIFYING, Identity, identify
from dualkv.core.modes import mode_plan
from dualkv.core.same_server import objection_to
from dualkv.errors import BackendUnavailable, ConfigError, ConnectionLost, ReplyProtocolError
from dualkv.net.one_off import connected
from dualkv.net.tls import client_context, server_context
from dualkv.resp.encode import pack

__all__ = ["check_tls_files", "refuse_one_server"]

_TROUBLE: Final = (BackendUnavailable, ConnectionLost, ReplyProtocolError)

_PATIENCE_SECONDS: Final = 1.0
"""The start does not wait longer for a store: clients must not depend on the one that follows."""

_log = logging.getLogger("dualkv.tls")


def check_tls_files(config: ProxyConfig) -> None:
    """Return if all files of TLS can be used; warn of a store whose certificate nobody looks at.

    Raises:
        ConfigError: One cannot.
    """
    files = tls_of_clients(config)
    if files is not None:
        server_context(files)
    for which in ("primary", "secondary"):
        options = config.backend_options(which)
        if options.tls or options.sentinel_tls:
            client_context(options.tls_files)
            if not options.tls_files.is_verified:
                what = f"{which}_tls_verify is off: anybody can pretend to be this store"
                _log.warning(what, extra={"backend": options.name})


async def refuse_one_server(config: ProxyConfig) -> None:
    """Return if writes may be mirrored from one store to the other, as far as both tell now.

    Raises:
        ConfigError: Both are the same server, or one is a replica of the other.
    """
    plan = mode_plan(config.mode)
    if plan.follows is None or config.allow_same_server:
        return
    options = [config.backend_options(which) for which in (plan.answers, plan.follows)]
    told: dict[str, Identity] = {}
    async with trio.open_nursery() as nursery:
        for one in options:
            nursery.start_soon(partial(_ask, one, told))
    if len(told) < len(options):
        return
    answers, follows = options
    objection = objection_to(told[answers.name], told[follows.name], answers, follows)
    if objection is not None:
        raise ConfigError(f"{objection} (allow_same_server: mirror all the same)")


async def _ask(options: BackendOptions, told: dict[str, Identity]) -> None:
    with trio.move_on_after(_PATIENCE_SECONDS), suppress(*_TROUBLE):
        async with connected(options, "start") as connection:
            replies = await connection.exchange(b"".join(map(pack, IDENTIFYING)), len(IDENTIFYING))
            told[options.name] = identify(replies)
