"""One seed: empty both stores, write through dualkv, compare."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import hiredis
import trio

from dualkv.config import SETTINGS, BackendOptions
from dualkv.torture.child import Child, has_converged, unsettled
from dualkv.torture.clients import Client, Tally
from dualkv.torture.compare import Comparison, compare_stores
from dualkv.torture.faults import FAULTS, LIMITS, Planned, Scene, inject, plan_faults
from dualkv.torture.generate import Generator, choose_templates
from dualkv.torture.grammar import Template
from dualkv.torture.history import History
from dualkv.torture.links import Link
from dualkv.torture.report import Result
from dualkv.torture.stores import Store, Stores, open_store
from dualkv.torture.words import Memory

__all__ = [
    "Options",
    "compare_both",
    "empty_store",
    "keys_in",
    "links_before",
    "run_seed",
    "settings_of",
    "traffic",
    "wait_converged",
]

_POLL_SECONDS: Final = 0.1
_POLLS_IN_A_ROW: Final = 3


@attrs.frozen
class Options:
    """What a run is like, whatever the seed."""

    operations: int = 20_000
    clients: int = 20
    databases: int = 3
    only: Sequence[str] = ()
    without: Sequence[str] = ()
    flushes: bool = True
    rate: float = 0.0
    """Operations per second, all clients together; 0: as fast as it goes."""
    faults: Sequence[str] = ()
    """Names of what may happen."""
    longest_fault_seconds: float = 30.0
    settings: Mapping[str, str] = attrs.field(factory=dict)
    """More of dualkv's settings, by name."""
    tolerance_ms: int = 1000
    converge_seconds: float = 60.0
    history: int = 12


async def run_seed(seed: int, stores: Stores, options: Options, say: Callable[[str], None]) -> Result:
    """Empty both stores, let clients write through dualkv, and compare.

    Args:
        seed: What is random comes from it.
        stores: The primary and the secondary.
        options: What the run is like.
        say: Called with what is going on.
    """
    result = Result(seed)
    started = trio.current_time()
    async with open_store(stores.primary) as primary, open_store(stores.secondary) as secondary:
        for store in (primary, secondary):
            await empty_store(store)
        templates = choose_templates(
            primary.commands, secondary.commands, options.only, options.without, flushes=options.flushes
        )
    rng = random.Random(f"{seed}/faults")
    planned, limits = plan_faults(rng, options.faults, options.longest_fault_seconds)
    result.faults += limits
    with tempfile.TemporaryDirectory(prefix="dualkv-torture-") as directory:
        async with links_before(stores, options, rng) as links:
            child = Child(settings_of(stores, links, options, limits, Path(directory)), Path(directory))
            with child:
                await child.start()
                scene = Scene(stores, links, child, rng, result.complaints)
                history = History(options.history)
                await traffic(seed, scene, planned, templates, history, options, result, say)
                say(f"seed {seed}: settling")
                await wait_converged(child, options, result)
                say(f"seed {seed}: comparing")
                await compare_both(stores, history, options, result)
                code = await child.terminate()
        if code:
            result.complaints.append(f"dualkv ended with {code}")
        result.complaints += child.faults()[:5]
        result.drops = child.total("proxy_async_drops_total")
        result.repairs = child.total("proxy_repaired_keys_total")
    result.seconds = trio.current_time() - started
    return result


@asynccontextmanager
async def links_before(
    stores: Stores, options: Options, rng: random.Random
) -> AsyncIterator[dict[str, Link]]:
    """Run links in front of both stores for the block, if any fault needs them."""
    if not any(FAULTS[name].needs == "link" for name in options.faults if name in FAULTS):
        yield {}
        return
    async with trio.open_nursery() as nursery:
        links = {}
        for which, backend in (("primary", stores.primary), ("secondary", stores.secondary)):
            links[which] = Link(backend.host, backend.port, rng)
            await nursery.start(links[which].run)
        yield links
        nursery.cancel_scope.cancel("the seed is over")


async def empty_store(store: Store) -> None:
    """Remove everything."""
    await store.call("FLUSHALL")
    await store.call("SCRIPT", "FLUSH")
    if store.knows("FUNCTION FLUSH"):
        await store.call("FUNCTION", "FLUSH")


def settings_of(
    stores: Stores, links: Mapping[str, Link], options: Options, limits: Sequence[str], directory: Path
) -> dict[str, str]:
    """Return dualkv's settings, by name."""
    settings: dict[str, str] = {}
    for which, backend in (("primary", stores.primary), ("secondary", stores.secondary)):
        link = links.get(which)
        settings[which] = _address(
            attrs.evolve(backend, host="127.0.0.1", port=link.port) if link else backend
        )
        settings[f"{which}_password"] = backend.password or ""
    if any(name.startswith("proxy-") for name in options.faults):
        settings["journal_dir"] = str(directory / "journal")
    for name in limits:
        settings |= LIMITS[name]
    known = {setting.name for setting in SETTINGS}
    return {name: value for name, value in settings.items() if name in known} | dict(options.settings)


def _address(backend: BackendOptions) -> str:
    if backend.username is None or backend.unix_path is not None:
        return backend.address
    scheme, _, host = backend.address.rpartition("://")
    return f"{scheme or 'redis'}://{backend.username}@{host}"


async def traffic(
    seed: int,
    scene: Scene,
    planned: Sequence[Planned],
    templates: Sequence[Template],
    history: History,
    options: Options,
    result: Result,
    say: Callable[[str], None],
) -> None:
    """Let the clients do their operations, while everything happens that is planned."""
    tally, memory = Tally(), Memory()
    started = trio.current_time()

    def clock() -> float:
        return trio.current_time() - started

    has_happened = trio.Event()

    def is_over() -> bool:
        return tally.operations >= options.operations and has_happened.is_set()

    async def let_happen() -> None:
        await inject(
            planned,
            scene,
            lambda: tally.operations / options.operations,
            lambda what: result.faults.append(f"{what} at {clock():.1f}s"),
        )
        has_happened.set()

    def wait_seconds() -> float:
        return max(0.0, tally.operations / options.rate - clock()) if options.rate else 0.0

    session_commands = options.only or ("MULTI", "WATCH")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_tell_progress, seed, tally, options, say)
        async with trio.open_nursery() as clients:
            clients.start_soon(let_happen)
            for number in range(options.clients):
                rng = random.Random(f"{seed}/{number}")
                generator = Generator(
                    rng,
                    lambda: time.time_ns() // 1_000_000,
                    memory,
                    templates,
                    transactions="MULTI" in session_commands and "MULTI" not in options.without,
                    watches="WATCH" in session_commands and "WATCH" not in options.without,
                    databases=options.databases,
                )
                client = Client(
                    number,
                    scene.child.options,
                    generator,
                    rng,
                    memory,
                    tally,
                    history,
                    is_over,
                    wait_seconds,
                    clock,
                )
                clients.start_soon(client.run)
        nursery.cancel_scope.cancel()
    result.operations, result.errors, result.disconnects = tally.operations, tally.errors, tally.disconnects
    for count, what in (
        (tally.stuck, "replies never came"),
        (tally.garbled, "connections got something that is no reply"),
    ):
        if count:
            result.complaints.append(f"{count} {what}")


async def _tell_progress(seed: int, tally: Tally, options: Options, say: Callable[[str], None]) -> None:
    while True:
        say(f"seed {seed}: {tally.operations} of {options.operations} operations")
        await trio.sleep(0.5)


async def wait_converged(child: Child, options: Options, result: Result) -> None:
    """Wait until dualkv says that all is settled, several times in a row."""
    repairs = options.settings.get("repair") != "off"
    started = trio.current_time()
    agreeing = 0
    while agreeing < _POLLS_IN_A_ROW:
        if trio.current_time() > started + options.converge_seconds:
            left = unsettled(await child.scrape(), repairs=repairs) or ["no answer"]
            result.complaints.append(f"not settled after {options.converge_seconds:g} s: {', '.join(left)}")
            result.complaints += child.last_words(5)
            return
        agreeing = agreeing + 1 if has_converged(await child.scrape(), repairs=repairs) else 0
        await trio.sleep(_POLL_SECONDS)
    result.converged_seconds = trio.current_time() - started


async def compare_both(stores: Stores, history: History, options: Options, result: Result) -> None:
    """Compare both stores; *result* is told what differs."""
    async with open_store(stores.primary) as primary, open_store(stores.secondary) as secondary:
        found: Comparison = await compare_stores(primary, secondary, options.databases, options.tolerance_ms)
    result.keys = found.keys
    result.differences = [(difference, history.of(difference.key)) for difference in found.differences]
    result.further_differences = found.further


async def keys_in(store: Store) -> int:
    """Return how many keys a store has, in all its databases."""
    info: Any = await store.call("INFO", "keyspace")
    if isinstance(info, hiredis.ReplyError):
        return int(await store.call("DBSIZE"))
    fields = (line.partition(b"keys=")[2] for line in info.splitlines())
    return sum(int(field.split(b",")[0]) for field in fields if field)
