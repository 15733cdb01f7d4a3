"""What a backend can do, and how effects are said in what it has.

- `model`: `Dialect`, commands and options by the names one would write them with
- `learning`: what to ask at connect, and what follows from the answers
- `separation`: whether ``SELECT`` separates anything there
- `payloads`: whose ``DUMP`` who can ``RESTORE``
- `lowering`: old forms for new commands; else a copy of the keys; else it cannot be held
- `elastickv`, `scripts`, `speaking`: the same for a store with 84 commands, a part of it in fixed scripts
  and at the moment of sending
- `holding`: how each write command reaches it, for people
- `reads`, `sorted_sets`, `reading`: reads in what that store has, and the replies built back
"""

from dualkv.core.dialect.holding import HOLDINGS, Held, Holding, holding_of
from dualkv.core.dialect.learning import LEARNING, learn
from dualkv.core.dialect.lowering import Lowered, holds_as_is, lower
from dualkv.core.dialect.model import Dialect
from dualkv.core.dialect.payloads import payload_version, reads_payload, reads_version
from dualkv.core.dialect.reading import Reading
from dualkv.core.dialect.reads import lower_read, reads_through
from dualkv.core.dialect.separation import canary, is_back_home, is_one_database
from dualkv.core.dialect.speaking import Spoken, is_scriptable, said_now, script_call, speak

__all__ = [
    "HOLDINGS",
    "LEARNING",
    "Dialect",
    "Held",
    "Holding",
    "Lowered",
    "Reading",
    "Spoken",
    "canary",
    "holding_of",
    "holds_as_is",
    "is_back_home",
    "is_one_database",
    "is_scriptable",
    "learn",
    "lower",
    "lower_read",
    "payload_version",
    "reads_payload",
    "reads_through",
    "reads_version",
    "said_now",
    "script_call",
    "speak",
]
