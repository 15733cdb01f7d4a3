"""What follows from a sample of the primary's keys. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dualkv.core.dialect.model import ELASTICKV
from dualkv.core.printable import text_of
from dualkv.preflight.model import Facts, Finding, Level, StoreFacts
from dualkv.preflight.sampling import TTL_CLASSES
from dualkv.preflight.words import counted

__all__ = ["check_big_keys", "check_expiry"]

_MIB: Final = 1024 * 1024
_ELASTICKV_BYTES: Final = 16 * _MIB
"""So large a value has worked there; 64 MiB has not."""
_MANY_ELEMENTS: Final = 1_000_000
_SHOWN: Final = 60


def check_big_keys(facts: Facts) -> Iterator[Finding]:
    """Tell the largest key of the sample, and whether it is too large for what is configured."""
    sample = facts.primary.sample
    if sample is None or not sample.largest:
        return
    length, unit, kind, key = sample.largest[0]
    details = tuple(
        f"{text_of(key)[:_SHOWN]}: {kind}, {length:,} {unit}" for length, unit, kind, key in sample.largest
    )
    shown = text_of(key)[:_SHOWN]
    text = f"The largest of {counted(sample.keys, 'sampled key')} is a {kind} of {length:,} {unit}: {shown}"
    level, why, advice = Level.OK, "", ""
    assert facts.secondary.dialect is not None
    queue = facts.config.secondary_queue_bytes
    if unit == "bytes" and facts.secondary.dialect.product == ELASTICKV and length > _ELASTICKV_BYTES:
        level, why = Level.WARN, "; the secondary takes values of 16 MiB, but not of 64 MiB"
        advice = "Split it, or take it out before the migration."
    elif unit == "bytes" and length > queue:
        level, why = Level.WARN, f"; secondary_queue_bytes is {queue:,}"
        advice = (
            "Set secondary_queue_bytes above the largest value, or it is dropped and copied again and again."
        )
    elif length > (facts.config.copy_bytes if unit == "bytes" else _MANY_ELEMENTS):
        level, why = Level.WARN, "; it is copied in chunks, which takes a while"
        advice = "Expect its repairs to be slow, or split it."
    yield Finding("big keys", "primary", level, f"{text}{why}.", advice, details)


def check_expiry(facts: Facts) -> Iterator[Finding]:
    """Tell how many keys expire when: so long what is on one store only can stay unnoticed."""
    store: StoreFacts = facts.primary
    sample = store.sample
    if sample is None or store.error is not None:
        return
    if not sample.keys:
        yield Finding("expiry", "primary", Level.OK, "There is no key to look at.")
        return
    shares = [
        f"{name}: {sample.ttl_classes[name] / sample.keys:.0%}"
        for name in TTL_CLASSES
        if sample.ttl_classes[name]
    ]
    text = f"Of {counted(sample.keys, 'sampled key')} the time to live is {', '.join(shares)}"
    lasting = sample.ttl_classes["none"] + sample.ttl_classes["longer"] + sample.ttl_classes["< 1 day"]
    advice = "Those that last do not come over by themselves: `backfill`." if lasting else ""
    yield Finding("expiry", "primary", Level.OK, f"{text}.", advice)
