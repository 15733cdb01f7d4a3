"""What happens, and when."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import pytest
import trio

from dualkv.torture import faults
from dualkv.torture.child import Child
from dualkv.torture.faults import (
    FAULTS,
    LIMITS,
    Fault,
    Planned,
    Scene,
    available_faults,
    choose_faults,
    inject,
    plan_faults,
)
from dualkv.torture.links import Link
from dualkv.torture.stores import Stores, open_store, throw_away_stores

ALL = available_faults(servers=True, links=True)


# --- choosing


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", []),
        ("all", ALL),
        ("primary-cut", ["primary-cut"]),
        ("proxy", ["proxy-terminate", "proxy-kill"]),
        (" proxy-kill , limits", ["proxy-kill", *LIMITS]),
        ("secondary-kill", [f"secondary-kill-{how}" for how in ("empty", "data", "forgetful", "outdated")]),
    ],
)
def test_faults_are_chosen_by_name_or_beginning(text: str, expected: list[str]) -> None:
    """Or all of them, or none."""
    assert choose_faults(text, ALL) == expected


def test_a_user_s_own_stores_are_left_alone() -> None:
    """Their processes are not ours; a name that would need them is an error that says so."""
    available = available_faults(servers=False, links=True)

    assert {FAULTS[name].needs for name in available if name in FAULTS} == {"link", ""}
    with pytest.raises(ValueError, match="secondary-stop: not with your own stores"):
        choose_faults("secondary-stop", available)
    with pytest.raises(ValueError, match="nonsense: no such fault"):
        choose_faults("proxy,nonsense", available)


# --- planning


def test_a_plan_follows_from_the_random_numbers() -> None:
    """In order, within the operations, of all lengths up to the longest, alone and mixed."""
    plans = [plan_faults(random.Random(seed), ALL, 30.0) for seed in range(300)]
    assert plans == [plan_faults(random.Random(seed), ALL, 30.0) for seed in range(300)]

    events = [one for planned, _ in plans for one in planned]
    assert {one.name for one in events} == set(FAULTS)
    assert all(0.2 <= one.seconds <= 30 and 0 < one.at < 1 for one in events)
    assert max(one.seconds for one in events) > 20
    assert {len(planned) for planned, _ in plans} == {1, 2, 3, 4}
    assert all([*planned] == sorted(planned, key=lambda one: one.at) for planned, _ in plans)
    assert 60 < sum(bool(held) for _, held in plans) < 180


def test_limits_alone_hold_in_every_seed() -> None:
    """Nothing happens then, but under tight settings."""
    plans = [plan_faults(random.Random(seed), list(LIMITS), 30.0) for seed in range(50)]

    assert all(planned == [] and len(held) == 1 for planned, held in plans)
    assert {held[0] for _, held in plans} == set(LIMITS)


# --- happening


async def test_faults_wait_for_their_time_and_for_each_other(
    stores: Stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """One at a time per target, side by side for different ones."""
    seen: list[str] = []

    def note_both(name: str) -> Callable[[Scene, float], Awaitable[None]]:
        async def happen(scene: Scene, seconds: float) -> None:
            seen.append(f"{name} begins")
            await trio.sleep(seconds)
            seen.append(f"{name} ends")

        return happen

    monkeypatch.setattr(
        faults,
        "FAULTS",
        {
            name: Fault(name.split("-")[0], note_both(name), "")
            for name in ("primary-a", "primary-b", "proxy-c")
        },
    )
    done = 0.0
    scene = Scene(stores, {}, Child({}, tmp_path), random.Random(1), [])
    plan = [Planned("primary-a", 0.1, 10), Planned("primary-b", 0.2, 1), Planned("proxy-c", 0.2, 1)]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(inject, plan, scene, lambda: done, seen.append)
        await trio.sleep(1)
        assert seen == []
        done = 0.1
        await trio.sleep(1)
        assert seen == ["primary-a 10.0s", "primary-a begins"]
        done = 1.0

    assert seen[2:] == [
        "proxy-c 1.0s", "proxy-c begins", "proxy-c ends", "primary-a ends", "primary-b 1.0s",
        "primary-b begins", "primary-b ends",
    ]  # fmt: skip


@attrs.define
class Stage:
    """A scene with servers that may be mistreated."""

    scene: Scene
    stores: Stores

    async def written(self, which: str) -> int:
        """Return how far a counter in a store is."""
        async with open_store(getattr(self.stores, which)) as store:
            return int(await store.call("GET", "n") or 0)

    async def count(self, which: str) -> None:
        """Count up until the store goes away."""
        try:
            async with open_store(getattr(self.stores, which)) as store:
                while True:
                    await store.call("INCR", "n")
        except Exception:  # noqa: BLE001 - it has been killed
            return


@pytest.mark.parametrize(
    ("name", "which", "keeps"),
    [
        ("secondary-kill-empty", "secondary", "nothing"),
        ("secondary-kill-data", "secondary", "all"),
        ("secondary-kill-forgetful", "secondary", "some"),
        ("secondary-kill-outdated", "secondary", "some"),
        ("primary-kill", "primary", "all"),
        ("primary-kill-forgetful", "primary", "some"),
    ],
)
async def test_killed_stores_come_back(
    server_binary: Path, tmp_path: Path, name: str, which: str, keeps: str
) -> None:
    """Empty, with everything that was answered, without the last moments, or as of long ago."""
    with throw_away_stores(server_binary, None, persistent=True) as stores:
        stage = Stage(Scene(stores, {}, Child({}, tmp_path), random.Random(1), []), stores)
        async with open_store(getattr(stores, which)) as store:
            await store.ask([("INCR", "n")] * 100)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.count, which)
            await trio.sleep(0.1)
            before = await stage.written(which)
            await FAULTS[name].happen(stage.scene, 0.3)
        after = await stage.written(which)

    expected = {"nothing": range(1), "some": range(100, before + 1000), "all": range(before, 10**9)}
    assert after in expected[keeps]


async def test_a_stopped_store_goes_on_afterwards(server_binary: Path, tmp_path: Path) -> None:
    """It keeps its connections and its data."""
    with throw_away_stores(server_binary, None, persistent=False) as stores:
        scene = Scene(stores, {}, Child({}, tmp_path), random.Random(1), [])
        async with open_store(stores.secondary) as store, trio.open_nursery() as nursery:
            nursery.start_soon(FAULTS["secondary-stop"].happen, scene, 0.3)
            await trio.sleep(0.1)
            started = trio.current_time()
            assert await store.call("PING") in (b"PONG", "PONG")
            assert trio.current_time() - started > 0.1


@pytest.mark.parametrize("name", [name for name in FAULTS if FAULTS[name].needs == "link"])
async def test_links_behave_well_again_afterwards(stores: Stores, tmp_path: Path, name: str) -> None:
    """Whatever they did."""
    which = FAULTS[name].target
    options = getattr(stores, which)
    link = Link(options.host, options.port, random.Random(1))
    scene = Scene(stores, {which: link}, Child({}, tmp_path), random.Random(1), [])
    async with trio.open_nursery() as nursery:
        await nursery.start(link.run)
        await FAULTS[name].happen(scene, 0.05)
        async with open_store(attrs.evolve(options, port=link.port)) as store:
            assert await store.call("ECHO", "k") == b"k"
        nursery.cancel_scope.cancel()
