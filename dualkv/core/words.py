"""Numbers as a person reads them."""

from __future__ import annotations

__all__ = ["duration_text", "some"]


def some(count: int, what: str) -> str:
    """Return ``1 key``, ``12 keys``."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def duration_text(seconds: float) -> str:
    """Return a duration in its largest fitting unit: ``3 ms``, ``1.5 s``, ``10 min``, ``3 h``, ``5 d``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    for unit, length, most in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 48 * 3600)):
        if seconds < most:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"
