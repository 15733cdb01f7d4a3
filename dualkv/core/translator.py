"""From what the primary has executed to what enters the secondary stream, at one position of the log.

For each command: its effects (`dualkv.core.effects`), guarded against the hazards of keys that expire
(`dualkv.core.guarding`), said in the words that the other store has (`dualkv.core.dialect`). What cannot be
said becomes a copy of the keys' state.

Some effects depend on more than the reply. `Translator.ask` tells what to ask directly behind a command, in
the same piece, so that nothing lies between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from dualkv.commands.keys import keys_of
from dualkv.commands.table import COMMANDS, CommandSpec
from dualkv.core.context import Context
from dualkv.core.dialect import Dialect, holds_as_is, lower
from dualkv.core.effects import ASKING, CREATES, RULES, effects_of, questions_of
from dualkv.core.effects.model import NOTHING, Command, Effects, Execution, Verbatim
from dualkv.core.effects.transactions import Part, settled
from dualkv.core.expiry import NEVER, ExpiryBook, Guard
from dualkv.core.first_contact import FirstContacts
from dualkv.core.guarding import SCRIPT_RUNS, forget_keys, guarded
from dualkv.core.ledger import Queue
from dualkv.core.mirror import StreamItem, commands_item, in_one_piece, keys_by_db
from dualkv.core.one_database import confined
from dualkv.core.primary_time import PrimaryTime
from dualkv.core.retrying import FastRemovals
from dualkv.core.routing import CREATED_ARGUMENT, DERIVING, RENAMING, Plan, plan_of
from dualkv.core.scripts import ScriptCache
from dualkv.resp.encode import command, pack
from dualkv.resp.replies import is_error
from dualkv.resp.requests import Request

__all__ = ["NOT_ASKED", "Asked", "Translation", "Translator"]

Args = tuple[bytes, ...]
Key = tuple[int, bytes]

_CREATES_ONLY_WITH: Final = {"SET": b"KEEPTTL", "XGROUP CREATE": b"MKSTREAM"}
"""The option without which these create nothing whose expiry is another's."""
_TRUSTING: Final = DERIVING | {"RENAME", "RENAMENX", "MOVE"}
"""They make one key out of another, which must be right over there."""
_MAX_KEYS_ASKED: Final = 16

_NOT_RUN: Final = (
    b"-NOSCRIPT No matching script", b"-NOAUTH Authentication", b"-LOADING Redis is loading",
    b"-ERR wrong number of arguments for 'eval", b"-ERR wrong number of arguments for 'fcall",
    b"-ERR Number of keys can't be", b"-ERR Error compiling script", b"-ERR Function not found",
    b"-BUSY Redis is busy running a script",
)  # fmt: skip
"""How errors begin that a script gets before it has run. Others may be those of a command in its middle, or
its own words."""


class Asked(NamedTuple):
    """What was asked behind a command, or behind a transaction."""

    wires: tuple[bytes, ...] = ()
    """The questions, one reply each."""
    for_rules: tuple[int, ...] = ()
    """How many of them belong to each command's rule."""
    expiry_of: tuple[bytes, ...] = ()
    """The keys that the last of them ask for the expiry of."""
    counts: bool = False
    """Whether one between these and those counts the elements of the key."""


NOT_ASKED: Final = Asked()


class Translation(NamedTuple):
    """What enters the stream for one command."""

    item: StreamItem | None = None
    copies: tuple[Key, ...] = ()
    """Keys to copy, once the item has entered."""


_NOTHING: Final = Translation()


class Translator:
    """Turns executed commands into items. One for each stream; calls come in the order of the log.

    Args:
        time: The primary's clock.
        lag_seconds: The longest time that an effect takes to reach the other store.
        is_uncertain: Whether one of some keys may hold something else over there for now.
    """

    def __init__(
        self,
        time: PrimaryTime,
        lag_seconds: float,
        is_uncertain: Callable[[Sequence[Key]], bool] = lambda _: False,
    ) -> None:
        self.is_uncertain = is_uncertain
        self.time = time
        self.scripts = ScriptCache()
        self.removals = FastRemovals()
        self.contacts = FirstContacts(lambda: True)
        """What the other store may not have yet."""
        self.expiry = ExpiryBook(int(lag_seconds * 1000))
        self.has_pexpiretime = True
        """Whether the primary knows ``PEXPIRETIME`` (Redis 7.0)."""
        self.not_holdable: Counter[str] = Counter()
        """Effects that the other store cannot hold in any form, by command."""
        self._dialect: Dialect | None = None
        self.is_mirrored: Callable[[int], bool] = lambda _: True
        """Whether a database is the one that is mirrored to a store where all are one."""
        self.home_db = 0
        """That one."""
        self.on_unheld: Callable[[str, list[Key]], None] | None = None
        """Called with each command that the other store cannot hold, and the keys it is about."""
        self.require_resync: Callable[[str], object] = lambda _: None
        """Called with the reason when everything has to be copied."""
        self.is_plain: list[bool] = []
        """By `CommandSpec.index`: whether the request itself is the effect, on its first argument at most."""
        self.is_checked: list[bool] = []
        """By `CommandSpec.index`: whether the other store must give the same reply then."""
        self.speak(None)

    def speak(self, dialect: Dialect | None) -> None:
        """From now on, say effects as the other store understands them; None: nobody knows, as it is."""
        self._dialect = dialect
        self._names_expiry = dialect is not None and not dialect.has("SET KEEPTTL")
        rules = [RULES.get(spec.name) for spec in COMMANDS]
        self.is_checked = [isinstance(rule, Verbatim) and rule.is_checked for rule in rules]
        self.is_plain = [
            isinstance(rule, Verbatim)
            and spec.name not in CREATES
            and (_has_one_key(spec) or (spec.kind == "publish" and self._has_databases))
            and (dialect is None or holds_as_is(spec.name, dialect))
            for spec, rule in zip(COMMANDS, rules, strict=True)
        ]

    # --- questions

    def ask(self, plan: Plan, args: Args, db: int, now: float) -> Asked:
        """Return what to ask behind a command.

        Args:
            plan: The command's.
            args: The request, about to be sent.
            db: Where.
            now: The time on our clock.
        """
        name = plan.spec.name
        wires = tuple(map(pack, questions_of(plan.spec, args))) if name in ASKING else ()
        keys = self._expiry_wanted([(plan, args)], db, now)
        question = self.contacts.question(name, (db, args[1])) if len(args) > 1 else None
        count = () if question is None else (pack(question),)
        questions = (*wires, *count, *map(self._expiry_question, keys))
        return Asked(questions, (len(wires),), keys, counts=bool(count))

    def ask_transaction(self, queued: Sequence[tuple[Plan, Request]], db: int, now: float) -> Asked:
        """Return what to ask behind a transaction's EXEC; nothing if it ends in another database."""
        if any(plan.spec.name == "SELECT" for plan, _ in queued):
            return NOT_ASKED
        wires: list[bytes] = []
        counts: list[int] = []
        for plan, request in queued:
            questions = questions_of(plan.spec, request.args, in_transaction=True)
            wires += map(pack, questions)
            counts.append(len(questions))
        keys = self._expiry_wanted([(plan, request.args) for plan, request in queued], db, now)
        return Asked((*wires, *map(self._expiry_question, keys)), tuple(counts), keys)

    def _expiry_wanted(self, commands: Iterable[tuple[Plan, Args]], db: int, now: float) -> tuple[bytes, ...]:
        now_ms = self.time.at_ms(now)
        keys: dict[bytes, None] = {}
        for plan, args in commands:
            only_with = _CREATES_ONLY_WITH.get(plan.spec.name)
            if only_with is not None and only_with not in map(bytes.upper, args[3:]):
                continue
            position = CREATED_ARGUMENT.get(plan.spec.name, 0)
            wanted = args[position : position + 1] if position else ()
            if plan.spec.name in DERIVING:
                wanted = (keys_of(plan.spec, args) or ())[:_MAX_KEYS_ASKED]
            for key in wanted:
                if self.expiry.must_ask((db, key), now_ms):
                    keys[key] = None
            if plan.spec.name in RENAMING and not self.expiry.knows((db, args[1])):
                keys[args[2]] = None
        return tuple(keys)

    def _expiry_question(self, key: bytes) -> bytes:
        return command("PEXPIRETIME" if self.has_pexpiretime else "PTTL", key)

    def _told_expiry(self, frame: bytes, now_ms: int) -> int | None:
        """Return what an answer says: a time, `NEVER`, negative: there is no such key; None: nothing."""
        if frame[:1] != b":":
            return None
        told = int(frame[1:-2])
        if told < 0:
            return NEVER if told == -1 else told
        return told if self.has_pexpiretime else now_ms + told

    # --- translating

    def translate(
        self,
        plan: Plan,
        request: Request,
        frame: bytes,
        now: float,
        context: Context,
        asked: Asked = NOT_ASKED,
        answers: Sequence[bytes] = (),
    ) -> Translation:
        """Return what enters the stream for a command of a mirrored kind.

        Args:
            plan: The command's.
            request: What the client sent.
            frame: What the primary answered; an error only for scripts.
            now: When, on our clock.
            context: Where it was executed.
            asked: What was asked behind it.
            answers: The raw answers to that.
        """
        queue = plan.queue
        assert queue is not None
        now_ms = self.time.at_ms(now)
        if queue is Queue.SCRIPT:
            effects = self._script_effects(plan, request.args, frame, context.db)
        else:
            count = asked.for_rules[0] if asked.for_rules else 0
            effects = effects_of(Execution(plan.spec, request.args, frame, now_ms, answers[:count]))
        told = self._told(asked, answers, now_ms)
        effects = self.said(self._guarded(plan, request.args, effects, context.db, told, now_ms), context.db)
        answer = answers[sum(asked.for_rules)] if asked.counts else None
        effects = self._met(plan, request.args, effects, context.db, answer)
        copies = _with_db(effects.copies, context.db)
        commands = effects.commands
        if not commands:
            return Translation(None, copies) if copies else _NOTHING
        context = self._at_home(context)
        if len(commands) == 1 and commands[0].args is request.args:
            item = StreamItem(plan, queue, request, now, context, check=commands[0].reply)
        else:
            item = commands_item(queue, commands, now, context)
        if copies:
            item.copied = frozenset(copies)
        return Translation(item, copies)

    def translate_transaction(
        self,
        exec_plan: Plan,
        queued: Sequence[tuple[Plan, Request]],
        results: Sequence[bytes] | None,
        now: float,
        context: Context,
        wire: bytes | None = None,
        asked: Asked = NOT_ASKED,
        answers: Sequence[bytes] = (),
    ) -> Translation:
        """Return what enters the stream for a transaction that was executed: one item, applied in one piece.

        Args:
            exec_plan: The plan of EXEC, for the counters.
            queued: The commands between MULTI and EXEC.
            results: The raw elements of EXEC's reply, one per command.
            now: When it came, on our clock.
            context: Where it was executed.
            wire: The whole of it, from MULTI to EXEC, if that is at hand.
            asked: What was asked behind it.
            answers: The raw answers to that.
        """
        if results is None or not any(plan.queue is not None for plan, _ in queued):
            return _NOTHING
        executed = self._executed(queued, results, now, context.db, asked, answers)
        effects = settled([part for _, part in executed])
        parts: list[tuple[Plan, Request]] = []
        checks: list[bytes | None] = []
        copies: dict[Key, None] = {}
        for ((plan, request), part), one in zip(executed, effects, strict=True):
            copies.update(dict.fromkeys(_with_db(one.copies, part.db)))
            for said in one.commands:
                is_itself = said.args is request.args
                parts.append(
                    (plan, request)
                    if is_itself
                    else (plan_of(said.args), Request(said.args, pack(said.args)))
                )
                checks.append(said.reply)
        if all(plan.spec.name == "SELECT" for plan, _ in parts):
            return Translation(None, tuple(copies))
        is_whole = len(parts) == len(queued) and all(
            part[1] is one[1] for part, one in zip(parts, queued, strict=True)
        )
        has_script = any(plan.queue is Queue.SCRIPT for plan, _ in parts)
        context = self._at_home(context)
        item = in_one_piece(
            exec_plan, Queue.SCRIPT if has_script else Queue.WRITE, parts, now, context, tuple(checks),
            wire if is_whole else None,
        )  # fmt: skip
        item.copied = frozenset(copies)
        return Translation(item, tuple(copies))

    def _executed(
        self,
        queued: Sequence[tuple[Plan, Request]],
        results: Sequence[bytes],
        now: float,
        db: int,
        asked: Asked,
        answers: Sequence[bytes],
    ) -> list[tuple[tuple[Plan, Request], Part]]:
        """Return the commands that change anything, each with its effects as if it stood alone."""
        now_ms = self.time.at_ms(now)
        told = self._told(asked, answers, now_ms)
        executed: list[tuple[tuple[Plan, Request], Part]] = []
        position = 0
        for number, ((plan, request), result) in enumerate(zip(queued, results, strict=False)):
            count = asked.for_rules[number] if asked.for_rules else 0
            own, position = answers[position : position + count], position + count
            args = request.args
            if plan.spec.name == "SELECT" and not is_error(result):
                db = int(args[1])
                own_words = Effects((Command(args),)) if self._has_databases else NOTHING
                executed.append(((plan, request), Part(own_words, db, (), has_asked=False)))
            if plan.queue is None or (is_error(result) and plan.queue is not Queue.SCRIPT):
                continue
            if plan.queue is Queue.SCRIPT:
                effects = self._script_effects(plan, args, result, db)
            else:
                effects = effects_of(Execution(plan.spec, args, result, now_ms, own))
            effects = self.said(self._guarded(plan, args, effects, db, told, now_ms), db)
            effects = self._met(plan, args, effects, db)
            part = Part(effects, db, keys_by_db(plan, args, db), has_asked=count > 0)
            executed.append(((plan, request), part))
        return executed

    @staticmethod
    def are_plain_sets(queued: Sequence[tuple[Plan, Request]]) -> bool:
        """Whether commands are their own effects whatever they answer, but errors."""
        return all(plan.is_set and len(request.args) == 3 for plan, request in queued)

    def forget_plain(self, queued: Sequence[tuple[Plan, Request]], db: int) -> None:
        """Take note that such commands were executed."""
        if self.expiry:
            for _, request in queued:
                self.expiry.written_anew((db, request.args[1]))

    def _script_effects(self, plan: Plan, args: Args, frame: bytes, db: int) -> Effects:
        """Replay when exact, copy when not; both if the script may write keys that it does not name.

        What might harm the other store is copied in any case, as far as the keys are named.
        """
        name = plan.spec.name
        if name not in SCRIPT_RUNS:
            if not is_error(frame):
                self.scripts.learn(name, args)
            return Effects((Command(args),))
        if is_error(frame):
            if frame.startswith(_NOT_RUN):
                return Effects()
            return Effects((), tuple((None, key) for key in keys_of(plan.spec, args) or ()))
        self.scripts.learn(name, args)
        facts = self.scripts.facts(name, args)
        if not facts.writes:
            return Effects()
        dialect = self._dialect
        is_spared = dialect is not None and dialect.is_spared(facts)
        if facts.is_repeatable and not is_spared and (dialect is None or dialect.runs(facts)):
            return Effects((Command(args, frame if frame[:1] in (b":", b"+") else None),))
        copies = tuple((None, key) for key in keys_of(plan.spec, args) or ())
        if facts.names_its_keys:
            return Effects((), copies)
        itself = Effects((Command(args),), copies)
        if dialect is None or not is_spared:
            return itself
        if dialect.has(name) and self.is_mirrored(db):
            self._count_unheld((name,), itself, db)
        return Effects((), copies)

    def said(self, effects: Effects, db: int) -> Effects:
        """Return effects in the other store's dialect; what it cannot hold is counted.

        Args:
            effects: In Redis' words.
            db: Where they were executed.
        """
        dialect = self._dialect
        if dialect is None or effects == NOTHING:
            return effects
        if not dialect.has_databases:
            effects = self._confined(effects, db)
        said, unheld = lower(effects, dialect)
        if unheld:
            self._count_unheld(unheld, effects, db)
        return said if dialect.has_databases else self._confined(said, db)

    def _count_unheld(self, unheld: Sequence[str], effects: Effects, db: int) -> None:
        self.not_holdable.update(unheld)
        if self.on_unheld is not None:
            parts = (keys_by_db(plan_of(one.args), one.args, db) for one in effects.commands)
            keys = [key for part in parts for key in part or ()]
            for name in unheld:
                self.on_unheld(name, keys)

    def _confined(self, effects: Effects, db: int) -> Effects:
        """Return what concerns the one database that is mirrored; the rest is counted."""
        left, lost, must_copy_all = confined(effects, db, self.is_mirrored)
        self.not_holdable.update(lost)
        if must_copy_all:
            self.require_resync("databases were exchanged, of which the other store has one")
        return left

    @property
    def _has_databases(self) -> bool:
        return self._dialect is None or self._dialect.has_databases

    def _at_home(self, context: Context) -> Context:
        """Return where an item belongs of which only that was left that can be mirrored."""
        return context if self._has_databases else context._replace(db=self.home_db)

    def _met(self, plan: Plan, args: Args, effects: Effects, db: int, answer: bytes | None = None) -> Effects:
        """See to it that what the other store does not have of a key is found."""
        if not effects.commands or len(args) < 2 or not self.contacts.is_first(plan.spec.name, (db, args[1])):
            return effects
        if plan.spec.name == "PFADD" and self._dialect is not None and not self._dialect.holds_hll:
            self.contacts.note((db, args[1]))  # what is there cannot be copied
            return effects
        check = self.contacts.check(plan.spec.name, (db, args[1]), answer)
        if check is None:
            return self._copied(plan, args, effects, db)
        return effects._replace(commands=(*effects.commands, check))

    # --- expiry

    def _told(self, asked: Asked, answers: Sequence[bytes], now_ms: int) -> dict[bytes, int | None]:
        if not asked.expiry_of:
            return {}
        frames = answers[sum(asked.for_rules) + asked.counts :]
        return {
            key: self._told_expiry(frame, now_ms) for key, frame in zip(asked.expiry_of, frames, strict=False)
        }

    def _guarded(
        self, plan: Plan, args: Args, effects: Effects, db: int, told: dict[bytes, int | None], now_ms: int
    ) -> Effects:
        """Accompany effects by the expiry of the keys that they may create."""
        book = self.expiry
        if (
            effects.commands
            and plan.spec.name in _TRUSTING
            and self.is_uncertain(keys_by_db(plan, args, db) or ())
        ):
            return self._copied(plan, args, effects, db)
        if plan.spec.name in DERIVING and effects.commands:
            keys = keys_of(plan.spec, args) or ()
            if any(book.guard((db, key), told.get(key), now_ms)[0] is not Guard.NONE for key in keys):
                return self._copied(plan, args, effects, db)
        found = guarded(effects, book, self.scripts, db, told, now_ms, names_expiry=self._names_expiry)
        return self._copied(plan, args, effects, db) if found is None else found

    def _copied(self, plan: Plan, args: Args, effects: Effects, db: int) -> Effects:
        """Have all keys of a command copied instead of its effects."""
        self.forget(plan, args, db)
        copies = (*effects.copies, *(keys_by_db(plan, args, db) or ()))
        is_opaque = plan.queue is Queue.SCRIPT and not self.scripts.facts(plan.spec.name, args).names_its_keys
        commands = tuple(command._replace(reply=None) for command in effects.commands) if is_opaque else ()
        return Effects(commands, copies)  # what a script does not name, only the script itself can bring

    def forget(self, plan: Plan, args: Args, db: int) -> None:
        """Take note that what is known of a command's keys may be out of date."""
        forget_keys(self.expiry, plan, args, db)


def _has_one_key(spec: CommandSpec) -> bool:
    """Whether a command names one key, its first argument."""
    where = [(key_spec.begin, key_spec.find) for key_spec in spec.key_specs]
    return where == [(1, ("range", 0, 1, 0))]


def _with_db(copies: Iterable[tuple[int | None, bytes]], db: int) -> tuple[Key, ...]:
    return tuple((db if own is None else own, key) for own, key in copies)
