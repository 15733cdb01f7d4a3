"""What is special about ElasticKV: facts observed on a real cluster (``elastickv.md``). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dualkv.preflight.model import Finding, StoreFacts, ok, warn

__all__ = ["check_hazards"]

_PEER_CONNECTIONS: Final = 512
"""Its default for one peer's connections."""
_RESERVED: Final = 128
_LIMIT_NAME: Final = "ELASTICKV_REDIS_PER_PEER_CONNECTIONS"


def check_hazards(store: StoreFacts) -> Iterator[Finding]:
    """Tell what one has to know before such a store is used.

    Args:
        store: An ElasticKV.
    """
    yield _check_peers(store)
    for text, advice in _HAZARDS:
        yield warn("ElasticKV", store.which, text, advice)


def _check_peers(store: StoreFacts) -> Finding:
    pool = store.options.pool_size
    processes = max(0, (_PEER_CONNECTIONS - _RESERVED - 1) // pool)
    name = f"{store.which}_pool_size"
    rule = f"{_LIMIT_NAME} must exceed processes x {name} ({pool}) + {_RESERVED}"
    if processes:
        noun = "process" if processes == 1 else "processes"
        return ok(
            "ElasticKV",
            store.which,
            f"{rule}: its default of {_PEER_CONNECTIONS} is enough for {processes} {noun} of dualkv.",
            "Raise it before more are run behind one address.",
        )
    return warn(
        "ElasticKV",
        store.which,
        f"{rule}: its default of {_PEER_CONNECTIONS} is not enough.",
        f"Raise it, or lower {name}.",
    )


_HAZARDS: Final = (
    (
        "A node dies of SCAN, KEYS and DBSIZE, and when a connection ends that was subscribed.",
        "dualkv sends none of these; let nobody else do it, and keep shadow_pubsub off.",
    ),
    (
        "It knows no passwords: everybody who reaches it may do everything.",
        "Keep it in a private network, and let clients come through dualkv.",
    ),
    (
        "All its databases are one, whatever SELECT answers.",
        "One database of the primary can be mirrored.",
    ),
    (
        "MULTI takes 12 commands only; with another one EXEC applies nothing.",
        "Transactions with other commands fail once it answers: use scripts there.",
    ),
    (
        "Each write is committed through Raft: some hundred per second one by one, about 2,000 fused.",
        "Compare with the primary's writes per second; what comes faster is copied key by key.",
    ),
)
