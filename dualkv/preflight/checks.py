"""Facts → findings. Pure."""

from __future__ import annotations

from dualkv.preflight.model import Facts, Finding
from dualkv.preflight.pair import check_pair
from dualkv.preflight.samples import check_expiry
from dualkv.preflight.stores import check_store

__all__ = ["check_all"]


def check_all(facts: Facts) -> tuple[Finding, ...]:
    """Return all findings, in the order in which they are read best."""
    found = [finding for store in facts.stores for finding in check_store(store)]
    if all(store.dialect is not None and store.error is None for store in facts.stores):
        found += check_pair(facts)
    found += check_expiry(facts)
    return tuple(found)
