"""Templates of commands."""

from __future__ import annotations

import random

import pytest

from dualkv.torture.grammar import parse_templates


class Echo:
    """Draws every word as itself, in upper case."""

    def __init__(self) -> None:
        self.rng = random.Random(1)

    def draw(self, word: str) -> bytes:
        """Return the word."""
        return word.upper().encode()


def drawn(line: str, times: int = 200) -> set[str]:
    """Return everything that a template draws in many attempts."""
    (template,) = parse_templates(line)
    echo = Echo()
    return {b" ".join(template.draw(echo)).decode() for _ in range(times)}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GET key", {"GET KEY"}),
        ("SET key 1 [|NX]", {"SET KEY 1", "SET KEY 1 NX"}),
        ("SET key [a|B c]", {"SET KEY A", "SET KEY B C"}),
        ("SET [a [|X]|b]", {"SET A", "SET A X", "SET B"}),
        ("DEL {key}", {"DEL" + " KEY" * count for count in (1, 2, 3, 4)}),
        ("MSETEX #{k v} XX", {f"MSETEX {count}" + " K V" * count + " XX" for count in (1, 2, 3, 4)}),
        ("EVAL script:bump 0", {"EVAL SCRIPT:BUMP 0"}),
        ("XADD key MAXLEN ~ 5 * f", {"XADD KEY MAXLEN ~ 5 * F"}),
    ],
)
def test_a_template_draws_each_of_its_forms(line: str, expected: set[str]) -> None:
    """Options are chosen, braces repeated and counted; words are drawn and the rest is itself."""
    assert drawn(line) == expected


def test_lines_have_weights_names_and_comments() -> None:
    """A number in front is a weight; a container's sub-command belongs to the name."""
    templates = parse_templates("\n# strings\n2.5 GET key\n  XGROUP DESTROY key g  # rare\n")

    assert [(template.name, template.weight) for template in templates] == [
        ("GET", 2.5),
        ("XGROUP DESTROY", 1.0),
    ]


@pytest.mark.parametrize("line", ["GET [a|b", "GET {a", "GET a]", "GET a|b", "GET a}", "GET [a}"])
def test_what_does_not_fit_together_is_an_error(line: str) -> None:
    """The line is named."""
    with pytest.raises(ValueError, match="not a template: GET"):
        parse_templates(line)
