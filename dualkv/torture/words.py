"""What stands for a key, a value, a time in a template of a command.

Keys of a type have its letter in front, ``h:0`` … ``h:2`` are hot hashes, ``h:c7`` a cold one: most commands
find the type they want, and now and then one does not.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Final

from dualkv.resp.replies import value_of
from dualkv.torture.scripts import LIBRARIES, SCRIPTS

__all__ = ["KEY_LETTERS", "Memory", "Words"]

KEY_LETTERS: Final = {
    "string": "s", "number": "n", "float": "f", "bits": "b", "hll": "p", "list": "l", "numbers": "i",
    "hash": "h", "set": "t", "zset": "z", "geo": "g", "stream": "x", "vset": "v",
}  # fmt: skip
"""The letter in front of a key, by the word that stands for such a key."""

_HOT_KEYS: Final = 3
_COLD_KEYS: Final = 100
_HOT_SHARE: Final = 0.6
_WRONG_SHARE: Final = 0.02

_ID: Final = re.compile(rb"\r\n(\d+-\d+)\r\n")


class Memory:
    """What replies have shown, for later commands: the ids in streams, payloads of DUMP. Bounded."""

    def __init__(self) -> None:
        self._ids: dict[bytes, deque[bytes]] = defaultdict(lambda: deque(maxlen=30))
        self._payloads: dict[bytes, deque[bytes]] = defaultdict(lambda: deque(maxlen=5))

    def learn(self, args: tuple[bytes, ...], frame: bytes) -> None:
        """Take note of a command's raw reply."""
        name = args[0].upper()
        if name == b"DUMP" and frame[:1] == b"$" and len(frame) < 4096:
            payload = value_of(frame)
            if payload is not None:
                self._payloads[args[1][:1]].append(payload)
        elif name in (b"XADD", b"XRANGE"):
            self._ids[args[1]].extend(_ID.findall(frame[:4096]))
        elif name == b"FUNCTION" and args[1] == b"DUMP" and frame[:1] == b"$":
            self._payloads[b"FUNCTION"].append(value_of(frame))

    def id_in(self, rng: random.Random, stream: bytes) -> bytes:
        """Return the id of an entry that is or was in *stream*."""
        return rng.choice(self._ids.get(stream) or (b"1-1",))

    def payload(self, rng: random.Random, kind: bytes) -> bytes:
        """Return what DUMP answered for a key with this letter."""
        return rng.choice(self._payloads.get(kind) or (b"no payload",))


class Words:
    """Draws what the words of templates stand for.

    Args:
        rng: What is random comes from it.
        now_ms: Tells the time of day, in milliseconds.
        memory: What replies have shown.
        databases: How many databases to name.
    """

    def __init__(
        self, rng: random.Random, now_ms: Callable[[], int], memory: Memory, databases: int = 3
    ) -> None:
        self.rng = rng
        self.now_ms = now_ms
        self.memory = memory
        self.databases = databases
        self.key = b""
        """The newest key: what follows may depend on it."""

    def draw(self, word: str) -> bytes:
        """Return what stands for *word* this time.

        Raises:
            KeyError: It is no word.
        """
        if word in KEY_LETTERS:
            return self.new_key(KEY_LETTERS[word])
        kind, _, argument = word.partition(":")
        if argument:
            return _NAMED[kind][argument]
        return _WORDS[kind](self)

    def new_key(self, letter: str | None = None) -> bytes:
        """Return a key with a letter in front, or with any."""
        rng = self.rng
        if letter is None or rng.random() < _WRONG_SHARE:
            letter = rng.choice(list(KEY_LETTERS.values()))
        is_hot = rng.random() < _HOT_SHARE
        number = rng.randrange(_HOT_KEYS) if is_hot else f"c{rng.randrange(_COLD_KEYS)}"
        self.key = f"{letter}:{number}".encode()
        return self.key


def _value(words: Words) -> bytes:
    rng = words.rng
    kind = rng.random()
    if kind < 0.8:
        return f"v{rng.randrange(10**6)}".encode()
    if kind < 0.9:
        return b""
    if kind < 0.99:
        return rng.choice((b"\r\n", b"\0", b"\xff\xfe", b"+OK\r\n", b"nan", b"0x10", b" 1")) * 3
    return rng.randbytes(3000)


def _element(words: Words) -> bytes:
    return b"e%d" % words.rng.randrange(8) if words.rng.random() < 0.8 else _value(words)


def _int(words: Words) -> bytes:
    return b"%d" % words.rng.randint(-50, 50) if words.rng.random() < 0.98 else b"9223372036854775806"


def _real(words: Words) -> bytes:
    rng = words.rng
    if rng.random() < 0.05:
        return rng.choice((b"inf", b"-inf", b"1e300", b"3.0e-7", b"0.1", b"-0"))
    return repr(round(rng.uniform(-20, 20), rng.randrange(5))).encode()


def _range(low: int, high: int) -> Callable[[Words], bytes]:
    return lambda words: b"%d" % words.rng.randint(low, high)


def _from_now(low_ms: int, high_ms: int) -> Callable[[Words], bytes]:
    return lambda words: b"%d" % (words.now_ms() + words.rng.randint(low_ms, high_ms))


def _numbered(letter: str, count: int) -> Callable[[Words], bytes]:
    return lambda words: f"{letter}{words.rng.randrange(count)}".encode()


def _one_of(*values: str) -> Callable[[Words], bytes]:
    encoded = [value.encode() for value in values]
    return lambda words: words.rng.choice(encoded)


_WORDS: Final[Mapping[str, Callable[[Words], bytes]]] = {
    "any": lambda words: words.new_key(),
    "like": lambda words: words.new_key(chr(words.key[0])),
    "id": lambda words: words.memory.id_in(words.rng, words.key),
    "payload": lambda words: words.memory.payload(words.rng, words.key[:1]),
    "library_dump": lambda words: words.memory.payload(words.rng, b"FUNCTION"),
    "value": _value,
    "element": _element,
    "field": _numbered("f", 12),
    "number_field": _numbered("n", 3),
    "member": _numbered("m", 20),
    "place": _numbered("p", 12),
    "group": _numbered("g", 2),
    "consumer": _numbered("c", 3),
    "int": _int,
    "real": _real,
    "longitude": lambda words: f"{words.rng.uniform(5, 15):.6f}".encode(),
    "latitude": lambda words: f"{words.rng.uniform(45, 55):.6f}".encode(),
    "unit_real": lambda words: f"{words.rng.uniform(-1, 1):.3f}".encode(),
    "index": _range(-4, 8),
    "offset": _range(0, 200),
    "count": _range(1, 5),
    "length": _range(0, 30),
    "db": lambda words: b"%d" % words.rng.randrange(words.databases),
    "side": _one_of("LEFT", "RIGHT"),
    "int_type": _one_of("u8", "i16", "u3", "i64"),
    "timeout": _one_of("0.01", "0.05", "0.2"),
    "timeout_ms": _one_of("10", "50", "200"),
    # Times. What is short expires while the clients are at work, what is long never does.
    "short_ms": _range(100, 1500),
    "long_ms": _range(200_000, 9_000_000),
    "long": _range(200, 9000),
    "soon": _from_now(100, 1500),
    "later": _from_now(200_000, 9_000_000),
    "past": _from_now(-100_000, -1),
    "past_seconds": lambda words: b"%d" % (words.now_ms() // 1000 - 5),
    "later_seconds": lambda words: b"%d" % (words.now_ms() // 1000 + words.rng.randint(200, 9000)),
    "future_id": lambda words: b"%d-%d" % (words.now_ms(), words.rng.randrange(3)),
}

_NAMED: Final[Mapping[str, Mapping[str, bytes]]] = {
    "script": SCRIPTS,
    "sha": {
        name: hashlib.sha1(body, usedforsecurity=False).hexdigest().encode() for name, body in SCRIPTS.items()
    },
    "library": LIBRARIES,
    "function": {name: name.encode() for name in LIBRARIES},
}
