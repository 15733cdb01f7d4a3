"""Divergences and exceptions to Sentry, if there is a DSN.

``sentry_sdk`` sends from a thread of its own; nothing here waits for it except `SentryReporter.flush`.
It is imported only when there is a DSN: it would cost 10 MiB.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import attrs

from dualkv.core.divergence import Divergence

if TYPE_CHECKING:
    import sentry_sdk

__all__ = ["SentryReporter"]

REPORT_INTERVAL_SECONDS: Final = 60.0
"""One report per fingerprint in this time."""

MAX_FINGERPRINTS: Final = 10_000

_log = logging.getLogger("dualkv.sentry")


@attrs.define
class SentryReporter:
    """Sends what a person should look at, not too often, and never raises into the proxy.

    Without a DSN every method does nothing.
    """

    _client: sentry_sdk.Client | None
    _clock: Callable[[], float]
    _quiet_until: dict[tuple[str, ...], float] = attrs.field(init=False, factory=dict)

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
            clock: Seconds, for the interval between equal reports.
            environment: Sentry's environment.
            sample_rate: Share of events to send.
            transport: A transport to use instead of HTTP (tests).

        Raises:
            ValueError: The DSN is no DSN.
        """
        if not dsn:
            return cls(None, clock)
        import sentry_sdk

        try:
            client = sentry_sdk.Client(
                dsn=dsn,
                environment=environment or None,
                sample_rate=sample_rate,
                default_integrations=False,
                include_local_variables=False,
                transport=transport,
            )
        except sentry_sdk.utils.BadDsn as error:
            raise ValueError(str(error)) from None
        return cls(client, clock)

    def should_report(self, fingerprint: tuple[str, ...]) -> bool:
        """Whether a report with *fingerprint* may go out now; if so, it counts as sent."""
        now = self._clock()
        quiet = self._quiet_until
        if quiet.get(fingerprint, now) > now:
            return False
        quiet.pop(fingerprint, None)
        if len(quiet) >= MAX_FINGERPRINTS:
            # In order of time: the expired ones are at the front.
            for known in [known for known, until in quiet.items() if until <= now]:
                del quiet[known]
            if len(quiet) >= MAX_FINGERPRINTS:
                return False
        quiet[fingerprint] = now + REPORT_INTERVAL_SECONDS
        return True

    def capture_divergence(self, divergence: Divergence) -> None:
        """Report a confirmed divergence: kind and command as tags, key and values as context."""
        fingerprint = (divergence.kind.value, divergence.command)
        self._send(
            fingerprint,
            {
                "level": "warning",
                "message": f"{divergence.kind.value} in {divergence.command}",
                "tags": {"kind": divergence.kind.value, "command": divergence.command},
                "contexts": {
                    "divergence": {
                        "key": _text(divergence.key),
                        "primary": _text(divergence.expected),
                        "secondary": _text(divergence.actual),
                        "time": divergence.time_seconds,
                    }
                },
            },
        )

    def capture_exception(self, error: BaseException, operation: str, command: str = "") -> None:
        """Report an exception: a bug of ours."""
        if self._client is None:
            return
        from sentry_sdk.utils import event_from_exception

        event, _ = event_from_exception(error, client_options=self._client.options)
        event["tags"] = {"operation": operation, "command": command}
        self._send(("exception", operation, command), dict(event))

    def flush(self, timeout_seconds: float = 2.0) -> None:
        """Wait until everything is sent, at most *timeout_seconds*. Blocks: call it in a thread."""
        if self._client is not None:
            self._client.close(timeout=timeout_seconds)

    def _send(self, fingerprint: tuple[str, ...], event: dict[str, Any]) -> None:
        if self._client is None or not self.should_report(fingerprint):
            return
        try:
            self._client.capture_event({**event, "fingerprint": list(fingerprint)})  # type: ignore[typeddict-item]
        except Exception:  # noqa: BLE001 - reporting trouble must not become trouble
            _log.exception("could not report to Sentry")


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")
