"""What the other store has to do so that it becomes equal, command by command: pure functions.

A *rule* turns what was executed (request, reply, time, answers to questions) into commands that are exact
there: ``SPOP`` → ``SREM`` of the members it took, ``EXPIRE`` → ``PEXPIREAT``. Where no command says it, the
rule asks for a copy of the key's state. Facts: what Redis and Valkey send to their replicas.

- `model`    what an effect is made of, and what a rule is given
- `parsing`  words of requests and frames of replies
- `strings`, `keyspace`, `lists`, `sets`, `hashes`, `zsets`, `streams`, `groups`  the rules
- `rules`    all of them by command, and the questions behind commands
- `transactions`  what is different between ``MULTI`` and ``EXEC``
"""

from dualkv.core.effects.rules import (
    ASKING,
    CREATES,
    RULES,
    WRITES_INTO,
    effects_after_waiting,
    effects_of,
    questions_after_waiting,
    questions_of,
)
from dualkv.core.effects.transactions import Part, settled

__all__ = [
    "ASKING",
    "CREATES",
    "RULES",
    "WRITES_INTO",
    "Part",
    "effects_after_waiting",
    "effects_of",
    "questions_after_waiting",
    "questions_of",
    "settled",
]
