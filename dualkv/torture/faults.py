"""What happens to the stores, to the connections and to dualkv while clients write; each by name.

`LIMITS` are no events: they are settings under which a whole seed runs.
"""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final

import attrs
import trio

from dualkv.servers import EmbeddedServer
from dualkv.torture.child import Child
from dualkv.torture.links import REFUSALS, Behaviour, Link
from dualkv.torture.stores import Stores, open_store

__all__ = [
    "FAULTS",
    "LIMITS",
    "Planned",
    "Scene",
    "available_faults",
    "choose_faults",
    "inject",
    "plan_faults",
]

_SHORTEST_SECONDS: Final = 0.2


@attrs.define
class Scene:
    """All that a fault can happen to."""

    stores: Stores
    links: Mapping[str, Link]
    """In front of ``primary`` and ``secondary``, as far as there are any."""
    child: Child
    rng: random.Random
    complaints: list[str]
    """What must not be, and was."""

    def server(self, which: str) -> EmbeddedServer:
        """Return the server in a role, which is one of ours."""
        server = self.stores.primary_server if which == "primary" else self.stores.secondary_server
        assert server is not None
        return server


Happen = Callable[[Scene, float], Awaitable[None]]


@attrs.frozen
class Fault:
    """Something that can happen."""

    target: str
    """``primary``, ``secondary`` or ``proxy``: one thing at a time happens to each."""
    happen: Happen
    needs: str
    """``server``: a store of ours; ``link``: a connection that we can get into; or nothing."""


# --- servers: only throw-away ones


async def _restart(server: EmbeddedServer, *options: str, empty: bool = False) -> None:
    await trio.to_thread.run_sync(lambda: server.restart(*options, empty=empty))


def _stop(which: str) -> Happen:
    async def happen(scene: Scene, seconds: float) -> None:
        server = scene.server(which)
        server.pause()
        try:
            await trio.sleep(seconds)
        finally:
            server.resume()

    return happen


def _kill(which: str, *, empty: bool = False) -> Happen:
    async def happen(scene: Scene, seconds: float) -> None:
        server = scene.server(which)
        server.kill()
        await trio.sleep(seconds)
        await _restart(server, empty=empty)

    return happen


def _kill_forgetful(which: str) -> Happen:
    """It comes back without the last moments, as with ``appendfsync everysec`` and a power cut."""

    async def happen(scene: Scene, seconds: float) -> None:
        server = scene.server(which)
        files = {
            path: path.stat().st_size for path in server.directory.rglob("*.aof") if ".incr." in path.name
        }
        await trio.sleep(min(seconds, 1.0))
        server.kill()
        for path, size in files.items():
            if path.exists():
                with path.open("rb+") as file:
                    file.truncate(size)
        await _restart(server)

    return happen


async def _kill_outdated(scene: Scene, seconds: float) -> None:
    """The secondary comes back with an old snapshot."""
    server = scene.server("secondary")
    async with open_store(scene.stores.secondary) as store:
        await store.call("SAVE")
    await trio.sleep(seconds)
    server.kill()
    for path in server.directory.glob("appendonly*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    await _restart(server, "--appendonly", "no")
    async with open_store(scene.stores.secondary) as store:
        await store.call("CONFIG", "SET", "appendonly", "yes")


# --- links


def _cut(which: str) -> Happen:
    async def happen(scene: Scene, seconds: float) -> None:
        with trio.move_on_after(seconds):
            while True:
                scene.links[which].cut()
                await trio.sleep(scene.rng.uniform(0.05, 0.5))

    return happen


def _behave(which: str, make: Callable[[random.Random], Behaviour]) -> Happen:
    async def happen(scene: Scene, seconds: float) -> None:
        link = scene.links[which]
        link.behave(make(scene.rng))
        try:
            await trio.sleep(seconds)
        finally:
            link.behave()

    return happen


def _always(which: str, behaviour: Behaviour) -> Happen:
    return _behave(which, lambda _: behaviour)


def _slow(rng: random.Random) -> Behaviour:
    return Behaviour(delay_seconds=rng.choice((0.005, 0.05, 0.3)))


# --- dualkv itself


async def _terminate(scene: Scene, seconds: float) -> None:
    code = await scene.child.terminate()
    if code:
        scene.complaints.append(f"dualkv ended with {code} after SIGTERM")
    await trio.sleep(min(seconds, 1.0))
    await scene.child.start()


async def _kill_proxy(scene: Scene, seconds: float) -> None:
    await scene.child.remember()
    scene.child.kill()
    await trio.sleep(min(seconds, 1.0))
    await scene.child.start()


FAULTS: Final[Mapping[str, Fault]] = {
    "secondary-stop": Fault("secondary", _stop("secondary"), "server"),
    "secondary-kill-empty": Fault("secondary", _kill("secondary", empty=True), "server"),
    "secondary-kill-data": Fault("secondary", _kill("secondary"), "server"),
    "secondary-kill-forgetful": Fault("secondary", _kill_forgetful("secondary"), "server"),
    "secondary-kill-outdated": Fault("secondary", _kill_outdated, "server"),
    "secondary-cut": Fault("secondary", _cut("secondary"), "link"),
    "secondary-slow": Fault("secondary", _behave("secondary", _slow), "link"),
    "secondary-silent": Fault("secondary", _always("secondary", Behaviour(is_silent=True)), "link"),
    "secondary-closed": Fault("secondary", _always("secondary", Behaviour(is_closed=True)), "link"),
    "secondary-garbage": Fault("secondary", _always("secondary", Behaviour(garbles=True)), "link"),
    **{
        f"secondary-{name}": Fault("secondary", _always("secondary", behaviour), "link")
        for name, behaviour in REFUSALS.items()
    },
    "primary-stop": Fault("primary", _stop("primary"), "server"),
    "primary-kill": Fault("primary", _kill("primary"), "server"),
    "primary-kill-forgetful": Fault("primary", _kill_forgetful("primary"), "server"),
    "primary-cut": Fault("primary", _cut("primary"), "link"),
    "primary-slow": Fault("primary", _behave("primary", _slow), "link"),
    "primary-silent": Fault("primary", _always("primary", Behaviour(is_silent=True)), "link"),
    "proxy-terminate": Fault("proxy", _terminate, ""),
    "proxy-kill": Fault("proxy", _kill_proxy, ""),
}

LIMITS: Final[Mapping[str, Mapping[str, str]]] = {
    "limits-queues": {
        "secondary_write_queue_size": "64",
        "secondary_script_queue_size": "4",
        "secondary_blocking_replay_queue_size": "4",
        "secondary_queue_bytes": "64KiB",
    },
    "limits-deadlines": {"secondary_timeout": "50ms", "secondary_script_timeout": "50ms"},
    "limits-dirty-keys": {"dirty_keys": "40"},
}


def available_faults(*, servers: bool, links: bool) -> list[str]:
    """Return the names of what can be done.

    Args:
        servers: Whether the stores are ours.
        links: Whether dualkv can be made to reach them through links.
    """
    possible = {"": True, "server": servers, "link": links}
    return [*(name for name, fault in FAULTS.items() if possible[fault.needs]), *LIMITS]


def choose_faults(text: str, available: Collection[str]) -> list[str]:
    """Return the names that ``all``, ``none``, or a list of names and beginnings of names stands for.

    Raises:
        ValueError: One of them stands for nothing, or cannot be done to these stores.
    """
    if text == "none":
        return []
    chosen: dict[str, None] = {}
    for part in (part.strip() for part in text.split(",")):
        found = [name for name in available if part == "all" or name == part or name.startswith(f"{part}-")]
        if not found:
            known = any(name == part or name.startswith(f"{part}-") for name in (*FAULTS, *LIMITS))
            raise ValueError(f"{part}: " + ("not with your own stores" if known else "no such fault"))
        chosen.update(dict.fromkeys(found))
    return list(chosen)


@attrs.frozen
class Planned:
    """A fault, and when it is to happen."""

    name: str
    at: float
    """At this share of the operations."""
    seconds: float


def plan_faults(
    rng: random.Random, names: Sequence[str], longest_seconds: float
) -> tuple[list[Planned], list[str]]:
    """Return what happens in one seed: events in their order, and the limits that hold all the time.

    A third of the seeds have one fault alone, the others up to four, which may overlap.
    """
    events = [name for name in names if name in FAULTS]
    limits = [name for name in names if name in LIMITS]
    held = [rng.choice(limits)] if limits and (not events or rng.random() < 0.4) else []
    if not events:
        return [], held
    count = 1 if rng.random() < 0.34 else rng.randint(2, 4)
    planned = []
    for _ in range(count):
        # Mostly short, now and then long.
        seconds = math.exp(rng.uniform(math.log(_SHORTEST_SECONDS), math.log(longest_seconds)))
        planned.append(Planned(rng.choice(events), rng.uniform(0.05, 0.9), seconds))
    return sorted(planned, key=lambda one: one.at), held


async def inject(
    planned: Sequence[Planned],
    scene: Scene,
    share_done: Callable[[], float],
    note: Callable[[str], None],
) -> None:
    """Let everything happen when it is its time; return when all is over.

    Args:
        planned: What, in order.
        scene: To what.
        share_done: Which share of the operations has been done.
        note: Called with what happens.
    """
    locks = {target: trio.Lock() for target in ("primary", "secondary", "proxy")}

    async def one(plan: Planned) -> None:
        fault = FAULTS[plan.name]
        async with locks[fault.target]:
            note(f"{plan.name} {plan.seconds:.1f}s")
            await fault.happen(scene, plan.seconds)

    async with trio.open_nursery() as nursery:
        for plan in planned:
            while share_done() < plan.at:  # noqa: ASYNC110 - a count, which sets no event
                await trio.sleep(0.02)
            nursery.start_soon(one, plan)
