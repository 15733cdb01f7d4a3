"""All seeds, from the command line's point of view."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

import attrs
import trio

from dualkv.config import SETTINGS
from dualkv.errors import BackendUnavailable, ConfigError
from dualkv.torture.faults import available_faults, choose_faults
from dualkv.torture.generate import choose_templates
from dualkv.torture.report import Result, as_json, details, line, table
from dualkv.torture.seed import Options, keys_in, run_seed
from dualkv.torture.soak import run_soak, soak_lines
from dualkv.torture.stores import Store, Stores, open_store, own_stores, throw_away_stores

__all__ = ["run_torture"]


def run_torture(
    options: Options,
    *,
    faults: str,
    seeds: range,
    addresses: tuple[str, str] | None,
    binaries: tuple[Path | None, Path | None],
    may_flush: bool,
    as_json_lines: bool,
    soak_seconds: float = 0.0,
    with_modes: bool = False,
) -> bool:
    """Run all seeds and print what became of them; stopped by Ctrl-C, what there is so far.

    Args:
        options: What every seed is like.
        faults: What may happen: names, ``all`` or ``none``.
        seeds: Which ones.
        addresses: The user's primary and secondary; None: start throw-away servers.
        binaries: The servers to start, found by themselves if None.
        may_flush: Whether the user's stores may be emptied.
        as_json_lines: Print a JSON object per seed instead of text.
        soak_seconds: Instead of seeds, one dualkv for so long (`dualkv.torture.soak`).
        with_modes: Whether its mode changes meanwhile.

    Returns:
        Whether all seeds ended equal, and all of them were run.

    Raises:
        ConfigError: Something is wrong with the options.
        FileNotFoundError: There is no server to start.
    """
    if unknown := set(options.settings) - {setting.name for setting in SETTINGS}:
        raise ConfigError(f"{', '.join(sorted(unknown))}: there is no such setting")
    own = own_stores(*addresses) if addresses else None
    options = attrs.evolve(options, faults=_faults(faults, own))
    persistent = any("-kill" in name for name in options.faults)
    stores = nullcontext(own) if own else throw_away_stores(*binaries, persistent=persistent)
    results: list[Result] = []
    with stores as pair:
        trio.run(_check, pair, options, may_flush or own is None)
        if soak_seconds:
            return trio.run(_soak, pair, options, soak_seconds, with_modes)
        trio.run(_run, pair, options, seeds, results, as_json_lines)
    if not as_json_lines:
        print("\n".join(table(results)))
    return len(results) == len(seeds) and all(result.is_good for result in results)


def _faults(text: str, own: Stores | None) -> list[str]:
    """Return the names of the faults that *text* stands for."""
    through_links = own is None or not any(
        store.tls or store.unix_path for store in (own.primary, own.secondary)
    )
    try:
        return choose_faults(text, available_faults(servers=own is None, links=through_links))
    except ValueError as error:
        raise ConfigError(f"--faults: {error}") from None


async def _run(
    stores: Stores,
    options: Options,
    seeds: range,
    results: list[Result],
    as_json_lines: bool,
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_signal, signals, nursery.cancel_scope)
            for seed in seeds:
                result = await run_seed(seed, stores, options, _say)
                results.append(result)
                _tell(result, as_json_lines=as_json_lines)
            nursery.cancel_scope.cancel()


async def _soak(stores: Stores, options: Options, seconds: float, with_modes: bool) -> bool:
    """Soak, and print what became of it, round by round; return whether all is well."""
    soak = await run_soak(stores, options, seconds, _say, with_modes=with_modes)
    _say("")
    print("\n".join(soak_lines(soak)), flush=True)
    return soak.is_good


async def _check(stores: Stores, options: Options, may_flush: bool) -> None:
    """Make sure that there are two stores, that what is in them may be removed, and something to send.

    Raises:
        ConfigError: They are one, or cannot be reached, or hold data that the user did not give up.
    """
    try:
        async with open_store(stores.primary) as primary, open_store(stores.secondary) as secondary:
            choose_templates(primary.commands, secondary.commands, options.only, options.without)
            await _check_identity(primary, secondary)
            for name, store in (("primary", primary), ("secondary", secondary)):
                if not may_flush and (count := await keys_in(store)):
                    raise ConfigError(
                        f"the {name} holds {count} keys: torture removes everything from both stores; "
                        "say --yes if that is all right"
                    )
    except BackendUnavailable as error:
        raise ConfigError(str(error)) from None


async def _check_identity(*stores: Store) -> None:
    """Raise `ConfigError` if two addresses lead to one server."""
    answers = [await store.call("INFO", "server") for store in stores]
    ids = [
        next((row for row in answer.splitlines() if row.startswith(b"run_id:")), None)
        for answer in answers
        if isinstance(answer, bytes)
    ]
    if len(ids) == 2 and ids[0] is not None and ids[0] == ids[1]:
        raise ConfigError("primary and secondary are the same server")


def _tell(result: Result, *, as_json_lines: bool) -> None:
    if as_json_lines:
        print(json.dumps(as_json(result)), flush=True)
    else:
        _say("")
        print("\n".join([line(result), *details(result)]), flush=True)


def _say(text: str) -> None:
    """Show progress, if somebody is looking."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


async def _cancel_on_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    async for _ in signals:
        scope.cancel("signal")
