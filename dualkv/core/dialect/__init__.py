"""What a backend can do, and how effects are said in what it has.

- `model`: `Dialect`, commands and options by the names one would write them with
- `learning`: what to ask at connect, and what follows from the answers
- `payloads`: whose ``DUMP`` who can ``RESTORE``
- `lowering`: old forms for new commands; else a copy of the keys; else it cannot be held
"""

from dualkv.core.dialect.learning import LEARNING, learn
from dualkv.core.dialect.lowering import Lowered, holds_as_is, lower
from dualkv.core.dialect.model import Dialect
from dualkv.core.dialect.payloads import payload_version, reads_payload, reads_version

__all__ = [
    "LEARNING",
    "Dialect",
    "Lowered",
    "holds_as_is",
    "learn",
    "lower",
    "payload_version",
    "reads_payload",
    "reads_version",
]
