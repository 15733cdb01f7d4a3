"""The connection to the primary that all subscribers share.

It is opened with the first subscription and speaks RESP2. A client's subscription is confirmed when the
primary has confirmed it, so that nothing published afterwards is missed; what another client has subscribed
to already needs no question. If the connection is lost, all subscribers are disconnected, as they would be
by the primary. A store that knows no way back from a subscription (ElasticKV) goes on sending to nobody.

Pub/Sub knows no databases; users of the primary (``auth = pass-through``) have a connection each. A message
goes to each subscriber as it came, at once; who does not read is disconnected at the limit of unread bytes.
"""

from __future__ import annotations

import logging
import socket
from collections import Counter, deque
from collections.abc import Collection, Sequence
from typing import Final, Protocol

import attrs
import trio

from dualkv.core.subscriptions import Kind, SubscriberBook
from dualkv.errors import ConnectionLost, LoginRefused, ReplyProtocolError
from dualkv.net.backend import PubSubBackend
from dualkv.net.connection import Connection
from dualkv.net.hub import ReadinessHub
from dualkv.net.logins import Logins
from dualkv.net.transport import RECEIVE_BYTES, receive_some, send_some
from dualkv.resp.encode import PONG, command
from dualkv.resp.replies import ReplySplitter, elements_of, is_error, value_of

__all__ = ["Heard", "SharedSubscriptions", "Subscriber", "SubscriptionPool", "SubscriptionWatcher"]

Heard = tuple[Kind, bytes, list[bytes]]
"""A message: by which kind of subscription and to what it came, and its elements as raw frames."""

_KINDS: Final = {
    kind.value + word: (kind, word) for kind in Kind for word in (b"message", b"subscribe", b"unsubscribe")
}
_PING: Final = command("PING")
_PINGS_PER_TIMEOUT: Final = 3

_log = logging.getLogger("dualkv.pubsub")


class Subscriber(Protocol):
    """A client's session."""

    def subscribed(self, kind: Kind, name: bytes) -> bytes:
        """Take note of a subscription; return its confirmation, as RESP2 writes it."""

    def deliver(self, messages: list[bytes]) -> None:
        """Take messages and confirmations, as RESP2 writes them."""

    def abort(self, reason: str) -> None:
        """Disconnect: messages may have been missed."""


class SubscriptionWatcher(Protocol):
    """Who wants to know what the primary has confirmed and delivered. No method may raise."""

    def began(self, source: SharedSubscriptions, kind: Kind, name: bytes) -> None:
        """The primary has confirmed a subscription that was not."""

    def ended(self, source: SharedSubscriptions, kind: Kind, name: bytes) -> None:
        """Nobody is subscribed to it any more."""

    def lost(self, source: SharedSubscriptions) -> None:
        """All of a connection's subscriptions have ended, since the connection has."""

    def heard(self, source: SharedSubscriptions, messages: Sequence[Heard]) -> None:
        """Messages have come, and have been handed to the subscribers."""


@attrs.define(eq=False)
class _Question:
    """A subscribing or unsubscribing that the primary has not answered."""

    kind: Kind
    names: deque[bytes]
    """Those that are not confirmed."""
    subscriber: Subscriber | None
    """Who wants to subscribe; None: this is an unsubscribing, or nobody wants it any more."""
    is_end: bool = False
    """Whether it is an unsubscribing."""
    done: trio.Event = attrs.field(factory=trio.Event)
    error: bytes | None = None
    is_lost: bool = False


class SharedSubscriptions:
    """All subscriptions, and the one connection that carries them.

    Args:
        backend: The primary.
        hub: Calls it when bytes arrive.
        login: The request that makes the connection a user's; empty: it is dualkv's own.
        watcher: Is told of subscriptions and messages.
    """

    def __init__(
        self,
        backend: PubSubBackend,
        hub: ReadinessHub,
        login: bytes,
        watcher: SubscriptionWatcher | None = None,
    ) -> None:
        self._login = login
        self._watcher = watcher
        self._messages: list[Heard] = []
        """Those of one read, for the watcher."""
        self.book: SubscriberBook[Subscriber] = SubscriberBook()
        self._backend = backend
        self._hub = hub
        self._sock: socket.socket | None = None
        self._opening = trio.Lock()
        self._splitter = ReplySplitter()
        self._questions: deque[_Question] = deque()
        self._subscribed: set[tuple[Kind, bytes]] = set()
        """What the primary has confirmed."""
        self._kept: set[tuple[Kind, bytes]] = set()
        """What nobody is subscribed to, and the primary did not let us unsubscribe from."""
        self._wanted: Counter[tuple[Kind, bytes]] = Counter()
        """Subscriptions that the primary has not answered."""
        self._unsent: deque[bytes | memoryview] = deque()
        self._deliveries: dict[Subscriber, list[bytes]] = {}
        """Messages of one read: a subscriber gets all of its own in one piece."""
        self._has_write_interest = False
        self._heard = trio.Event()
        """Set by whatever the primary says."""

    # --- for sessions

    async def subscribe(
        self, kind: Kind, names: Sequence[bytes], subscriber: Subscriber, request: bytes
    ) -> bytes | None:
        """Subscribe a client. It gets each confirmation at its place between the messages.

        Args:
            kind: What is subscribed to.
            names: To which.
            subscriber: Who.
            request: The client's.

        Returns:
            The primary's error reply if it refuses.

        Raises:
            BackendUnavailable: The primary cannot be reached.
            ConnectionLost: The connection broke.
            LoginRefused: The user is another one than it was.
        """
        async with self._opening:
            if self._sock is None:
                self._start(await self._open())
        self._wanted.update((kind, name) for name in names)
        question = self._ask(_Question(kind, deque(names), subscriber), request)
        try:
            await question.done.wait()
        except BaseException:
            question.subscriber = None
            raise
        if question.is_lost:
            raise ConnectionLost("the connection that subscribers share was lost")
        return question.error

    async def unsubscribe(self, kind: Kind, names: Sequence[bytes], subscriber: Subscriber) -> None:
        """End subscriptions; return when the primary has confirmed that, where it has to."""
        for question in [self.remove(kind, name, subscriber) for name in names]:
            if question is not None:
                await question.done.wait()

    def remove(self, kind: Kind, name: bytes, subscriber: Subscriber) -> _Question | None:
        """Deliver nothing more; return what the primary has to confirm, if anything."""
        self.book.remove(kind, name, subscriber)
        return self._drop_unused(kind, name)

    def _drop_unused(self, kind: Kind, name: bytes) -> _Question | None:
        """Unsubscribe from what nobody is subscribed to, or is about to be."""
        key = (kind, name)
        if key not in self._subscribed or self._wanted[key] or self.book.has(kind, name):
            return None
        self._subscribed.discard(key)
        if self._watcher is not None:
            self._watcher.ended(self, kind, name)
        request = command(kind.value + b"unsubscribe", name)
        return self._ask(_Question(kind, deque([name]), None, is_end=True), request)

    def _ask(self, question: _Question, request: bytes) -> _Question:
        self._questions.append(question)
        self._unsent.append(request)
        self._flush()
        return question

    async def _open(self) -> socket.socket:
        sock, greeting = await self._backend.open("pubsub")
        if not self._login:
            return sock
        try:
            with trio.fail_after(self._backend.options.read_timeout_seconds):
                (reply,) = await Connection(sock, greeting).exchange(self._login, 1)
            if is_error(reply):
                raise LoginRefused(reply)
        except trio.TooSlowError:
            sock.close()
            self._backend.closed("pubsub", lost=True)
            raise ConnectionLost("no reply from the primary") from None
        except BaseException:
            sock.close()
            self._backend.closed("pubsub", lost=True)
            raise
        return sock

    def __bool__(self) -> bool:
        return bool(self.book) or bool(self._kept)

    def surplus(self, kind: Kind, channel: bytes) -> int:
        """Return how many subscriptions to a name the primary does not see; negative: it sees too many."""
        return self.book.surplus(kind, channel) - ((kind, channel) in self._kept)

    def surplus_receivers(self, kind: Kind, channel: bytes) -> int:
        """Return by how much the primary's count of a message's receivers is too low."""
        return self.book.surplus_receivers(kind, channel) - ((kind, channel) in self._kept)

    # --- in another mode, at another store

    async def prepare(self, names: Collection[tuple[Kind, bytes]]) -> None:
        """Subscribe to *names* for nobody yet; `take_over` says for whom.

        Raises as `subscribe` does.
        """
        async with self._opening:
            if self._sock is None:
                self._start(await self._open())
        for _ in range(2):  # once for the question, and once so that they stay
            self._wanted.update(names)
        questions = [
            self._ask(_Question(kind, deque([name]), None), command(kind.value + b"subscribe", name))
            for kind, name in names
        ]
        for question in questions:
            await question.done.wait()
            if question.is_lost or question.error is not None:
                raise ConnectionLost("the store does not take the subscriptions")

    def take_over(self, others: SharedSubscriptions) -> None:
        """Deliver to another connection's subscribers from now on; it has been prepared for them.

        What both have received by now, the other one delivers; then it is closed.
        """
        others.on_readable()
        self.on_readable()
        self.book, others.book = others.book, SubscriberBook()
        others._break("closed")
        self._wanted.clear()
        for kind, name in [*self._subscribed]:  # somebody may have left meanwhile
            self._drop_unused(kind, name)

    # --- life

    async def run(self) -> None:
        """See to it that a dead connection is noticed; close it when cancelled."""
        try:
            while True:
                await trio.sleep(self._backend.options.read_timeout_seconds / _PINGS_PER_TIMEOUT)
                if self._sock is None:
                    continue
                with trio.move_on_after(self._backend.options.read_timeout_seconds) as patience:
                    self._heard = trio.Event()
                    self._unsent.append(_PING)
                    self._flush()
                    await self._heard.wait()
                if patience.cancelled_caught:
                    self._break(f"no answer to a PING in {self._backend.options.read_timeout_seconds:g} s")
        finally:
            self._break("closed")

    def _start(self, sock: socket.socket) -> None:
        self._sock = sock
        self._splitter = ReplySplitter()
        self._has_write_interest = False
        self._hub.register(sock, self)

    def _break(self, why: str) -> None:
        if self._sock is None:
            return
        sock, self._sock = self._sock, None
        self._hub.unregister(sock)
        sock.close()
        self._heard.set()
        self._backend.closed("pubsub", lost=why != "closed")
        self._unsent.clear()
        self._subscribed.clear()
        self._kept.clear()
        self._wanted.clear()
        self._messages.clear()
        if self._watcher is not None:
            self._watcher.lost(self)
        questions, self._questions = self._questions, deque()
        for question in questions:
            question.is_lost = True
            question.done.set()
        subscribers = self.book.everybody()
        self.book = SubscriberBook()
        if why != "closed":
            _log.warning("subscribers lost", extra={"why": why, "subscribers": len(subscribers)})
        for subscriber in subscribers:
            subscriber.abort("subscriptions lost")

    # --- called by the hub

    def on_readable(self) -> None:
        """Deliver messages, take confirmations."""
        if self._sock is None:
            return None
        self._heard.set()
        try:
            data = receive_some(self._sock, RECEIVE_BYTES)
            if data == b"":
                return self._break("the primary closed the connection")
            frames = self._splitter.feed(data or b"")
        except (OSError, ReplyProtocolError) as error:
            return self._break(str(error))
        for frame in frames:
            self._take(frame)
        deliveries, self._deliveries = self._deliveries, {}
        for subscriber, messages in deliveries.items():
            subscriber.deliver(messages)
        if self._messages and self._watcher is not None:
            heard, self._messages = self._messages, []
            self._watcher.heard(self, heard)

    def on_writable(self) -> None:
        """Send more of what did not fit."""
        self._flush()

    def on_failure(self, error: Exception) -> None:
        """A bug of ours: the connection cannot be trusted any more."""
        _log.error("pubsub failed", exc_info=error)
        self._break(f"internal error: {error!r}")

    def _take(self, frame: bytes) -> None:
        if frame == PONG:  # nobody is subscribed: the server is not in its subscriber mode
            return None
        if is_error(frame):
            return self._refused(frame)
        elements = elements_of(frame)
        word = value_of(elements[0])
        if word == b"pong":
            return None
        kind, word = _KINDS[word]
        name = value_of(elements[1])
        if word != b"message":
            return self._confirmed(kind, name, word == b"subscribe")
        for subscriber in self.book.subscribers(kind, name):
            self._deliveries.setdefault(subscriber, []).append(frame)
        if self._watcher is not None and (kind, name) not in self._kept:
            self._messages.append((kind, name, elements))

    def _confirmed(self, kind: Kind, name: bytes, is_subscribed: bool) -> None:
        question = self._questions[0]
        question.names.popleft()
        if is_subscribed:
            if self._watcher is not None and (kind, name) not in self._subscribed:
                self._watcher.began(self, kind, name)
            self._subscribed.add((kind, name))
            self._kept.discard((kind, name))
            self._unwant(kind, name)
            if question.subscriber is not None:
                self.book.add(kind, name, question.subscriber)
                confirmation = question.subscriber.subscribed(kind, name)
                self._deliveries.setdefault(question.subscriber, []).append(confirmation)
            else:
                self._drop_unused(kind, name)
        if not question.names:
            self._questions.popleft()
            question.done.set()

    def _refused(self, error: bytes) -> None:
        """The primary refuses a request as a whole."""
        question = self._questions.popleft()
        if question.is_end:
            self._kept.update((question.kind, name) for name in question.names)
            question.done.set()
            return
        for name in question.names:
            self._unwant(question.kind, name)
            self._drop_unused(question.kind, name)
        question.error = error
        question.done.set()

    def _unwant(self, kind: Kind, name: bytes) -> None:
        self._wanted[kind, name] -= 1
        if not self._wanted[kind, name]:
            del self._wanted[kind, name]

    def _flush(self) -> None:
        sock, unsent = self._sock, self._unsent
        if sock is None:
            return None
        try:
            while unsent:
                data = unsent[0]
                sent = send_some(sock, data)
                if sent < len(data):
                    unsent[0] = memoryview(data)[sent:]
                    break
                unsent.popleft()
        except OSError as error:
            return self._break(str(error))
        if bool(unsent) != self._has_write_interest:
            self._has_write_interest = bool(unsent)
            self._hub.set_interest(sock, read=True, write=self._has_write_interest)


class SubscriptionPool:
    """The shared connections: one for each user of the primary that clients are.

    `run` must be running; it ends them.
    """

    def __init__(self, backend: PubSubBackend, hub: ReadinessHub, logins: Logins) -> None:
        self._backend = backend
        self._hub = hub
        self._logins = logins
        self._by_login: dict[bytes, SharedSubscriptions] = {}
        self._nursery: trio.Nursery | None = None
        self.watcher: SubscriptionWatcher | None = None
        """Is told of the subscriptions and messages of connections that are opened from now on."""

    def __bool__(self) -> bool:
        return any(self._by_login.values())

    def of(self, login: bytes) -> SharedSubscriptions:
        """Return the connection of a user; it is opened with the first subscription."""
        shared = self._by_login.get(login)
        if shared is None:
            request = self._logins.request(login) if login else b""  # ours is said when it is opened
            shared = SharedSubscriptions(self._backend, self._hub, request, self.watcher)
            self._by_login[login] = shared
            assert self._nursery is not None
            self._nursery.start_soon(shared.run)
        return shared

    async def unsubscribe(self, kind: Kind, names: Sequence[bytes], subscriber: Subscriber) -> None:
        """End subscriptions, as whichever user they were made."""
        for shared in self._by_login.values():
            await shared.unsubscribe(kind, names, subscriber)

    def remove(self, kind: Kind, name: bytes, subscriber: Subscriber) -> None:
        """Deliver nothing more, as whichever user it was subscribed."""
        for shared in self._by_login.values():
            shared.remove(kind, name, subscriber)

    def surplus(self, kind: Kind, channel: bytes) -> int:
        """Return how many subscriptions to a name the primary does not see."""
        return sum(shared.surplus(kind, channel) for shared in self._by_login.values())

    def surplus_receivers(self, kind: Kind, channel: bytes) -> int:
        """Return by how much the primary's count of a message's receivers is too low."""
        return sum(shared.surplus_receivers(kind, channel) for shared in self._by_login.values())

    @property
    def subscribers(self) -> int:
        """Return how many clients are subscribed to anything."""
        return sum(len(shared.book.everybody()) for shared in self._by_login.values())

    async def prepare(self, others: SubscriptionPool) -> None:
        """Subscribe to all that clients are subscribed to elsewhere; then `take_over`.

        Raises as `SharedSubscriptions.subscribe` does.
        """
        for login, shared in others._by_login.items():
            if names := shared.book.names():
                await self.of(login).prepare(names)

    def take_over(self, others: SubscriptionPool) -> None:
        """Deliver to the others' subscribers from now on; all has been prepared."""
        for login, shared in others._by_login.items():
            if shared.book:
                self.of(login).take_over(shared)

    async def run(self) -> None:
        """Watch the connections until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await trio.sleep_forever()
