"""Rules about reads: what they say, and which are none."""

from __future__ import annotations

import pytest

from dualkv.config.shadow_rules import ShadowRule, parse_shadow_rules
from dualkv.errors import ConfigError


def test_no_text_is_no_rule() -> None:
    """Blanks and separators alone do not count."""
    assert parse_shadow_rules("") == parse_shadow_rules(" ;\n; ") == ()


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("cache:* * ignore", ShadowRule("cache:* * ignore", "cache:", "*", is_ignored=True)),
        ("* lrange sample=10%", ShadowRule("* lrange sample=10%", "", "LRANGE", share=0.1)),
        ("a* @read sample=0", ShadowRule("a* @read sample=0", "a", "@READ", share=0.0)),
        ("s:* TTL tolerance=1m", ShadowRule("s:* TTL tolerance=1m", "s:", "TTL", ttl_milliseconds=60_000)),
        ("* PFCOUNT counts=0.1", ShadowRule("* PFCOUNT counts=0.1", "", "PFCOUNT", count_share=0.1)),
        ("r* ZRANGE ties=set", ShadowRule("r* ZRANGE ties=set", "r", "ZRANGE", are_ties_ordered=False)),
        (
            "é* XINFO|STREAM trimming=approximate",
            ShadowRule("é* XINFO|STREAM trimming=approximate", "é", "XINFO|STREAM", is_trimming_exact=False),
        ),
        (
            " x:*\tXPENDING   deliveries=ignored sample=1 ",
            ShadowRule(
                "x:* XPENDING deliveries=ignored sample=1", "x:", "XPENDING",
                share=1.0, are_deliveries_counted=False,
            ),
        ),
    ],
)  # fmt: skip
def test_a_rule_says_what_is_done_with_which_reads(text: str, rule: ShadowRule) -> None:
    """Every action, alone or with others, and every way to name commands."""
    assert parse_shadow_rules(text) == (rule,)
    assert str(rule) == " ".join(text.split())


def test_several_rules_keep_their_order() -> None:
    """The first that fits decides, so that order matters."""
    found = parse_shadow_rules("b* GET ignore;a* GET ignore\nc* GET ignore")

    assert [rule.prefix for rule in found] == ["b", "a", "c"]


_ACTIONS = "(ignore, ties=set, trimming=approximate, deliveries=ignored, sample=, tolerance=, counts=)"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a* GET", "a rule is PREFIX* COMMAND ACTION, such as session:* TTL tolerance=5s"),
        ("ignore", "a rule is PREFIX* COMMAND ACTION, such as session:* TTL tolerance=5s"),
        ("a GET ignore", "'a' is not what keys begin with, and one * behind it"),
        ("*:a GET ignore", "'*:a' is not what keys begin with, and one * behind it"),
        ("a?* GET ignore", "'a?*' is not what keys begin with, and one * behind it"),
        ("a:*:* GET ignore", "'a:*:*' is not what keys begin with, and one * behind it"),
        ("a* GET forget", f"'forget' is no action {_ACTIONS}"),
        ("a* GET ties=none", f"'ties=none' is no action {_ACTIONS}"),
        ("a* GET ignore=1", f"'ignore=1' is no action {_ACTIONS}"),
        ("a* GET sample", f"'sample' is no action {_ACTIONS}"),
        ("a* GET sample=", "sample: '' is not a number"),
        ("a* GET sample=200%", "sample: must lie between 0 and 1"),
        ("a* TTL tolerance=5", "tolerance: '5' is not a duration such as 500ms, 3s or 5m"),
        ("a* PFCOUNT counts=x", "counts: 'x' is not a number"),
        ("a* GET sample=1 sample=0", "sample is there twice"),
        ("a* GET ignore sample=0", "what is ignored needs no other action"),
    ],
)
def test_a_wrong_rule_is_named_with_what_is_wrong(text: str, complaint: str) -> None:
    """Among many, the operator finds it."""
    with pytest.raises(ConfigError) as caught:
        parse_shadow_rules(f"b* GET ignore; {text}; c* GET ignore")

    assert str(caught.value) == f"{text!r}: {complaint}"


def test_a_rule_that_is_there_twice_is_refused() -> None:
    """The second would never decide, and could not be told apart in the metric."""
    with pytest.raises(ConfigError, match=r"^'a\* GET ignore' is there twice$"):
        parse_shadow_rules("a* GET ignore;a*  GET  ignore")


def test_a_rule_that_is_no_text_is_refused() -> None:
    """An environment may hold any bytes; a metric's label may not."""
    with pytest.raises(ConfigError, match=r"^not UTF-8$"):
        parse_shadow_rules("\udcff* GET ignore")
