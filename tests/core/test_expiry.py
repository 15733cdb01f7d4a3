"""When keys expire, as far as it is known, and what effects need for it."""

from __future__ import annotations

import pytest

from dualkv.core.expiry import NEVER, ExpiryBook, Guard

KEY = (0, b"k")
NOW = 1_000_000
LAG = 10_000
FAR = NOW + 60_000
NEAR = NOW + 5_000
GONE = -2


@pytest.fixture
def book() -> ExpiryBook:
    """Return an empty book."""
    return ExpiryBook(LAG)


# --- asking --------------------------------------------------------------------------------------------


def test_unknown_key_is_asked_for(book: ExpiryBook) -> None:
    """Of a key that nobody has heard of the primary has to tell."""
    assert book.must_ask(KEY, NOW)


@pytest.mark.parametrize(
    ("expires_at_ms", "must_ask"), [(NEVER, False), (FAR, False), (NEAR, True), (NOW, True), (NOW - 1, True)]
)
def test_known_key_is_asked_for_only_if_its_end_is_near(
    book: ExpiryBook, expires_at_ms: int, must_ask: bool
) -> None:
    """No expiry, or one that no effect of now can meet, needs no question."""
    book.learn(KEY, expires_at_ms, NOW)

    assert must_ask == book.must_ask(KEY, NOW)


def test_knowledge_gets_old(book: ExpiryBook) -> None:
    """Somebody may write past this proxy: after ten seconds nothing is believed any more."""
    book.learn(KEY, NEVER, NOW)

    assert not book.must_ask(KEY, NOW + 10_000)
    assert book.must_ask(KEY, NOW + 10_001)


def test_what_is_near_depends_on_how_late_effects_may_come() -> None:
    """The lag, and the time that knowledge is believed, must pass before the key expires."""
    for lag_ms, must_ask in ((1_000, False), (100_000, True)):
        book = ExpiryBook(lag_ms)
        book.learn(KEY, NOW + 50_000, NOW)
        assert must_ask == book.must_ask(KEY, NOW)


def test_forgotten_key_is_asked_for(book: ExpiryBook) -> None:
    """A key that was written as a whole, or everything after a reconnect, is unknown again."""
    book.learn(KEY, NEVER, NOW)
    book.learn((1, b"k"), NEVER, NOW)
    book.forget(KEY)
    book.forget(KEY)
    assert book.must_ask(KEY, NOW)
    assert not book.must_ask((1, b"k"), NOW)

    book.clear()
    assert book.must_ask((1, b"k"), NOW)
    assert len(book) == 0


def test_book_is_bounded_and_the_oldest_go_first(book: ExpiryBook) -> None:
    """What is learnt again counts as new."""
    book.learn(KEY, NEVER, NOW)
    for number in range(65_535):
        book.learn((0, b"%d" % number), NEVER, NOW)
    book.learn(KEY, NEVER, NOW)
    assert len(book) == 65_536
    book.learn((0, b"one more"), NEVER, NOW)

    assert len(book) == 65_536
    assert book.must_ask((0, b"0"), NOW)
    assert not book.must_ask(KEY, NOW)


# --- guards --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer_ms", "guard"),
    [
        (NEVER, (Guard.NONE, NEVER)),
        (FAR, (Guard.NONE, FAR)),
        (NEAR, (Guard.EXPIRE_AT, NEAR)),
        (GONE, (Guard.COPY, NEVER)),
        (None, (Guard.COPY, NEVER)),
    ],
)
def test_answer_decides_what_an_effect_on_an_unknown_key_needs(
    book: ExpiryBook, answer_ms: int | None, guard: tuple[Guard, int]
) -> None:
    """Nothing for what lives on; its expiry for what ends soon; a copy if it is gone, or not known."""
    assert guard == book.guard(KEY, answer_ms, NOW)


def test_answer_is_remembered(book: ExpiryBook) -> None:
    """The next command on the key needs no question, unless the key is gone."""
    book.guard(KEY, NEVER, NOW)
    assert not book.must_ask(KEY, NOW)

    book.guard(KEY, GONE, NOW)
    assert book.must_ask(KEY, NOW)


@pytest.mark.parametrize(
    ("known_ms", "now_ms", "guard"),
    [
        (NEVER, NOW + 9_000, (Guard.NONE, NEVER)),
        (FAR, NOW, (Guard.NONE, FAR)),
        (FAR, FAR - 15_000, (Guard.EXPIRE_AT, FAR)),
        (NEAR, NEAR - 101, (Guard.EXPIRE_AT, NEAR)),
        (NEAR, NEAR - 100, (Guard.COPY, NEVER)),
        (NEAR, NEAR + 5, (Guard.COPY, NEVER)),
    ],
)
def test_known_expiry_does_without_an_answer(
    book: ExpiryBook, known_ms: int, now_ms: int, guard: tuple[Guard, int]
) -> None:
    """What the log has told holds, until it is too late to know which key the command met."""
    book.learn(KEY, known_ms, NOW)

    assert guard == book.guard(KEY, None, now_ms)


@pytest.mark.parametrize(
    ("known_ms", "answer_ms", "is_another"),
    [
        (NEVER, NEVER, False),
        (NEAR, NEAR, False),
        (NEAR, NEAR + 1_000, False),  # the guess of when a relative expiry began
        (NEAR, NEAR - 1_000, False),
        (NEAR, NEAR + 1_001, True),
        (NEAR, NEVER, True),  # expired and created anew
        (NEVER, NEAR, True),  # somebody writes past us
    ],
)
def test_key_that_is_not_what_it_was_is_copied(
    book: ExpiryBook, known_ms: int, answer_ms: int, is_another: bool
) -> None:
    """A key that has expired and was created anew must not inherit what is left over there."""
    book.learn(KEY, known_ms, NOW)

    assert is_another == (book.guard(KEY, answer_ms, NOW)[0] is Guard.COPY)
    assert book.guard(KEY, answer_ms, NOW)[0] is not Guard.COPY  # from now on it is known


# --- hashes whose fields expire


def test_hash_that_may_be_gone_over_there_gets_its_expiry_again(book: ExpiryBook) -> None:
    """While fields may have expired on one store only, its own expiry is asked for and said again."""
    far = NOW + 10_000_000
    book.learn(KEY, far, NOW)
    book.fade(KEY, NOW + 500)

    assert book.must_ask(KEY, NOW)
    assert book.guard(KEY, far, NOW + 400) == (Guard.EXPIRE_AT, far)
    assert book.guard(KEY, NEVER, NOW + 600) == (Guard.COPY, NEVER)


def test_hash_without_an_expiry_of_its_own_needs_nothing(book: ExpiryBook) -> None:
    """Whether it is gone or not, what is created anew does not expire."""
    book.fade(KEY, NOW + 500)

    assert book.guard(KEY, NEVER, NOW + 400) == (Guard.NONE, NEVER)


def test_fields_that_have_expired_long_ago_do_not_count(book: ExpiryBook) -> None:
    """Both stores have noticed."""
    far = NOW + 10_000_000
    book.fade(KEY, NOW + 500)
    book.fade(KEY, NOW + 100)  # another field, earlier
    later = NOW + 100_000

    assert book.guard(KEY, far, later) == (Guard.NONE, far)
    assert not book.must_ask(KEY, later)


def test_hash_takes_its_fields_along(book: ExpiryBook) -> None:
    """By another name they expire all the same."""
    far = NOW + 10_000_000
    book.learn(KEY, far, NOW)
    book.fade(KEY, NOW + 500)
    book.renamed(KEY, (0, b"other"))

    assert book.guard((0, b"other"), far, NOW + 400) == (Guard.EXPIRE_AT, far)
    assert book.guard(KEY, far, NOW + 400)[0] is not Guard.EXPIRE_AT
