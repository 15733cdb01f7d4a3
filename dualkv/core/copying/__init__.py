"""Copying one key's state: what to read on the primary's lane, and what to write at that position.

- `copy`: `KeyCopy`, from a look at the key to its last write, whichever way it goes
- `asking`: what it reads, at one position
- `dump`: ``DUMP`` and ``RESTORE``, where the other store can read the payload
- `by_type`: every type in its own commands, `streams` with groups and pending entries
- `chunks`: big hashes, sets and sorted sets, a part at a time beside live writes; why that is exact
"""

from dualkv.core.copying.asking import Asked, asked_together
from dualkv.core.copying.by_type import reads, writes
from dualkv.core.copying.chunks import ChunkedCopy, disturbs
from dualkv.core.copying.copy import BIG_BYTES, KeyCopy, can_chunk
from dualkv.core.copying.dump import dump_reads, dump_writes, fits, is_payload_refusal
from dualkv.core.copying.model import Copied, CopyFailed

__all__ = [
    "BIG_BYTES",
    "Asked",
    "ChunkedCopy",
    "Copied",
    "CopyFailed",
    "KeyCopy",
    "asked_together",
    "can_chunk",
    "disturbs",
    "dump_reads",
    "dump_writes",
    "fits",
    "is_payload_refusal",
    "reads",
    "writes",
]
