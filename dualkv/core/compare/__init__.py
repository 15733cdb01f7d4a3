"""Whether two replies to the same read mean the same: pure functions.

Frames that are equal as bytes match without looking further, and that is nearly all of them. What differs
is turned into values and judged as the command's meaning demands: servers order sets and hashes as they
like, write one score as ``0.1`` or ``0.10000000000000001``, and one map as an array or as a map.

- `model`      what a judgement is: `Verdict` and its closed sets of words; `Tolerance`
- `rules`      which rule a command has, and which requests have none because of their arguments
- `arguments`  options of requests
- `values`     one meaning, several forms: nil, numbers, maps, in RESP2 and RESP3
- `plain`      values, lists, sets, maps, counts
- `numbers`    scores, estimates, times to live
- `zsets`, `geo`, `streams`, `scans`  what is special about those
- `sampled`    replies that have several right answers: `SORT`, `LCS`, scripts
- `big`        replies that are never held as values all at once
- `judging`    all of it together: `judge`
"""

from dualkv.core.compare.judging import judge
from dualkv.core.compare.model import Detail, Outcome, Reason, Tolerance, Verdict
from dualkv.core.compare.rules import CONDITIONAL, Rule, comparator_for, excuse_of, rule_of

__all__ = [
    "CONDITIONAL", "Detail", "Outcome", "Reason", "Rule", "Tolerance", "Verdict", "comparator_for",
    "excuse_of", "judge", "rule_of",
]  # fmt: skip
