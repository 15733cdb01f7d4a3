"""A Sentry that keeps what it gets."""

from __future__ import annotations

import time
from typing import Any

from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from dualkv.observe.sentry import SentryReporter

__all__ = ["RecordingSentry"]


class RecordingSentry(Transport):
    """A transport of sentry-sdk that sends nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []
        self.reporter = SentryReporter.start("https://key@sentry.invalid/1", time.monotonic, transport=self)
        """Reports to it."""

    def capture_envelope(self, envelope: Envelope) -> None:
        """Keep the event."""
        event = envelope.get_event()
        if event is not None:
            self.events.append(dict(event))

    def divergences(self) -> set[tuple[str, str]]:
        """Return key and kind of each reported divergence."""
        return {
            (event["contexts"]["divergence"]["key"], event["tags"]["kind"])
            for event in self.events
            if "divergence" in event.get("contexts", {})
        }
