"""Divergences and exceptions to Sentry, if there is a DSN.

``sentry_sdk`` sends from a thread of its own, what waits for it is bounded, and nothing here waits for it
except `SentryReporter.flush` and `SentryReporter.close`. It is imported only when there is a DSN: it would
cost 10 MiB.

**What leaves.** Keys, values and the texts of exceptions may be a client's data, and Sentry makes messages
and tags searchable: so they stand in the event's contexts only, cut. Of all that the SDK would add, just what
`_KEPT` names is sent: no host name, no local variables, no breadcrumbs, no requests.
"""

from __future__ import annotations

import importlib.metadata
import logging
import re
from collections.abc import Callable
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from dualkv.core.divergence import MAX_REPORTED_BYTES, Divergence
from dualkv.observe.logs import RateLimit

if TYPE_CHECKING:
    import sentry_sdk
    from sentry_sdk.transport import Transport
    from sentry_sdk.types import Event, Hint

__all__ = ["SentryReporter"]

REPORT_INTERVAL_SECONDS: Final = 60.0
"""One report per fingerprint in this time."""

MAX_FINGERPRINTS: Final = 10_000

FLUSH_SECONDS: Final = 2.0
"""Longest wait at the end."""

MAX_WAITING: Final = 100
"""Reports that may wait for a Sentry that is slow; more are dropped."""

_MAX_TEXTS: Final = 10
"""Exceptions of a chain or a group whose texts are sent."""
_TAG_CHARACTERS: Final = 200
"""Sentry takes no longer ones."""

_KEPT: Final = frozenset(
    {
        "contexts", "environment", "event_id", "exception", "fingerprint", "level", "message", "platform",
        "release", "sdk", "tags", "timestamp",
    }
)  # fmt: skip
_HALF_AN_ESCAPE: Final = re.compile(r"\\(x[0-9a-f]?)?$")
_OUR_CONTEXTS: Final = frozenset({"divergence", "exception"})

_log = logging.getLogger("dualkv.sentry")


@attrs.define
class SentryReporter:
    """Sends what a person should look at, not too often, and never raises into the proxy.

    Begin with `start`; end with `close`. Without a DSN every method does nothing. It belongs to one thread,
    but for `flush` and `close`.

    It needs no proxy around it:

        >>> import time
        >>> from dualkv import Divergence, DivergenceKind, SentryReporter
        >>> reporter = SentryReporter.start(dsn, time.monotonic, environment="staging")
        >>> reporter.capture_divergence(
        ...     Divergence("GET", DivergenceKind.DATA_MISMATCH, b"user:1", expected=b"blue", actual=b"red")
        ... )
        >>> reporter.should_report(("data_mismatch", "GET"))  # not again within a minute
        False
        >>> reporter.close()
    """

    _client: sentry_sdk.Client | None
    _clock: Callable[[], float]
    _quiet_until: dict[tuple[str, ...], float] = attrs.field(init=False, factory=dict)
    """By fingerprint, in order of time."""

    @classmethod
    def start(
        cls,
        dsn: str,
        clock: Callable[[], float],
        *,
        environment: str = "",
        sample_rate: float = 1.0,
        transport: Any = None,
    ) -> SentryReporter:
        """Return a reporter.

        Args:
            dsn: Where to report; empty for nowhere.
            clock: Seconds, monotonic, for the interval between equal reports.
            environment: Sentry's environment; empty for the SDK's choice.
            sample_rate: Share of events to send, from 0 to 1.
            transport: A transport of ``sentry_sdk`` to use instead of HTTP (tests).

        Raises:
            ValueError: The DSN is no DSN, or the share is none.
        """
        if not 0 <= sample_rate <= 1:
            raise ValueError(f"a share is from 0 to 1, not {sample_rate}")
        if not dsn:
            return cls(None, clock)
        import sentry_sdk

        try:
            client = sentry_sdk.Client(
                dsn=dsn,
                release=_release(),
                environment=environment or None,
                sample_rate=sample_rate,
                server_name="",
                default_integrations=False,
                include_local_variables=False,
                spotlight=False,
                enable_backpressure_handling=False,
                before_send=_without_the_rest,
                transport_queue_size=MAX_WAITING,
                transport=transport or _http_transport(clock),
            )
        except sentry_sdk.utils.BadDsn as error:
            raise ValueError(str(error)) from None
        except ValueError:  # its text may hold a part of the secret
            raise ValueError("it must look like https://KEY@HOST/PROJECT") from None
        return cls(client, clock)

    def should_report(self, fingerprint: tuple[str, ...]) -> bool:
        """Whether a report with *fingerprint* may go out now; if so, it counts as sent."""
        now = self._clock()
        quiet = self._quiet_until
        if quiet.get(fingerprint, now) > now:
            return False
        quiet.pop(fingerprint, None)
        if len(quiet) >= MAX_FINGERPRINTS:
            for known in list(takewhile(lambda known: quiet[known] <= now, quiet)):
                del quiet[known]
            if len(quiet) >= MAX_FINGERPRINTS:
                return False
        quiet[fingerprint] = now + REPORT_INTERVAL_SECONDS
        return True

    def capture_divergence(self, divergence: Divergence) -> None:
        """Report a confirmed divergence: kind and command as tags, key and values as context."""
        kind, command = divergence.kind.value, divergence.command
        self._report(
            (kind, command),
            lambda: {
                "level": "warning",
                "message": f"{kind} in {command}",
                "tags": {"kind": kind, "command": command},
                "contexts": {
                    "divergence": {
                        "key": _readable(divergence.key),
                        **({"pattern": _readable(divergence.pattern)} if divergence.pattern else {}),
                        "primary": _readable(divergence.expected),
                        "secondary": _readable(divergence.actual),
                        "time": divergence.time_seconds,
                        "db": divergence.db,
                        "cause": divergence.cause.value,
                        "id": divergence.id,
                    }
                },
            },
        )

    def capture_exception(self, error: BaseException, operation: str, command: str = "") -> None:
        """Report an exception: a bug of ours.

        Args:
            error: With its traceback; its text is sent as context, like a value.
            operation: What failed, in a word.
            command: The name of the command that was being executed; empty if there was none.
        """
        client = self._client
        if client is not None:
            self._report((operation, command), lambda: _exception_event(client, error, operation, command))

    def flush(self, timeout_seconds: float = FLUSH_SECONDS) -> None:
        """Wait until everything is sent, at most *timeout_seconds*. Blocks: call it in a thread."""
        if self._client is not None:
            self._client.flush(timeout=timeout_seconds)

    def close(self, timeout_seconds: float = FLUSH_SECONDS) -> None:
        """Do what `flush` does, then let the sending thread end. What is reported later goes nowhere."""
        client, self._client = self._client, None
        if client is not None:
            client.close(timeout=timeout_seconds)

    def _report(self, fingerprint: tuple[str, ...], event: Callable[[], dict[str, Any]]) -> None:
        """Send what *event* returns, unless its like was sent lately."""
        if self._client is None or not self.should_report(fingerprint):
            return
        try:
            self._client.capture_event(cast("Event", {**event(), "fingerprint": list(fingerprint)}))
        except Exception:  # noqa: BLE001 - reporting trouble must not become trouble
            _log.exception("could not report to Sentry")


def _release() -> str:
    """Return what is running; the SDK would start Git to find out."""
    try:
        return f"dualkv@{importlib.metadata.version('dualkv')}"
    except importlib.metadata.PackageNotFoundError:
        return "dualkv"


def _exception_event(
    client: sentry_sdk.Client, error: BaseException, operation: str, command: str
) -> dict[str, Any]:
    from sentry_sdk.utils import event_from_exception

    found, _ = event_from_exception(error, client_options=client.options)
    event = dict(found)
    texts = [f"{one['type']}: {one.pop('value', '')}" for one in found["exception"]["values"]]
    event["contexts"] = {"exception": {"texts": [_cut(text) for text in texts[:_MAX_TEXTS]]}}
    tags = {"operation": operation, "command": command}
    event["tags"] = {name: value[:_TAG_CHARACTERS] for name, value in tags.items() if value}
    return event


def _without_the_rest(event: Event, _: Hint) -> Event:
    """Leave out of *event* what is none of Sentry's business."""
    fields = cast("dict[str, Any]", event)
    for name in fields.keys() - _KEPT:
        del fields[name]
    for name in fields.get("contexts", {}).keys() - _OUR_CONTEXTS:
        del fields["contexts"][name]
    return event


def _readable(value: bytes) -> str:
    """Return bytes as text, cut to the length that values have in reports."""
    return _cut(value[:MAX_REPORTED_BYTES].decode(errors="backslashreplace"))


def _cut(text: str) -> str:
    """Cut between two characters, or escapes of characters."""
    data = text.encode(errors="backslashreplace")
    if len(data) <= MAX_REPORTED_BYTES:
        return data.decode()
    return _HALF_AN_ESCAPE.sub("", data[:MAX_REPORTED_BYTES].decode(errors="ignore"))


def _http_transport(clock: Callable[[], float]) -> type[Transport]:
    """Return the SDK's transport, one that says now and then that nothing arrives."""
    from sentry_sdk.transport import HttpTransport

    limit = RateLimit(REPORT_INTERVAL_SECONDS, clock)

    class LoggingTransport(HttpTransport):
        def on_dropped_event(self, reason: str) -> None:
            suppressed = limit.allow()
            if suppressed is not None:
                _log.warning(
                    "a report did not reach Sentry", extra={"reason": reason, "suppressed": suppressed}
                )

    return LoggingTransport
