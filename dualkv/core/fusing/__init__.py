"""Effects in one transaction, for a store where each write costs a commit (`Dialect.fuses`).

- `folding`: neighbouring effects on one key become one command, and its reply theirs again
- `script`: how the effects are executed at once, and what the answer means
- `batches`: which items of a batch go together
"""

from dualkv.core.fusing.batches import Stretch, effects_in, outcomes_of, portions, stretches
from dualkv.core.fusing.folding import Folded, fold
from dualkv.core.fusing.script import Call, Verdict, call, call_one, judge, results

__all__ = [
    "Call",
    "Folded",
    "Stretch",
    "Verdict",
    "call",
    "call_one",
    "effects_in",
    "fold",
    "judge",
    "outcomes_of",
    "portions",
    "results",
    "stretches",
]
