"""The help of every command: it reads well on a narrow screen, has the same parts, and its examples work."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from dualkv.cli import app
from dualkv.help import complete_modes, ending

COLUMNS = 80
LONGEST_SUMMARY = 63
"""What fits beside the longest name in the list of commands."""


def commands(command: Any, names: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command below *command* with the words that call it."""
    yield names, command
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*names, name))


ALL = dict(commands(typer.main.get_command(app)))


def help_of(words: tuple[str, ...]) -> str:
    """Return what ``--help`` says on a screen of 80 columns."""
    command = ALL[words]
    context = command.context_class(
        command, info_name=" ".join(("dualkv", *words)), terminal_width=COLUMNS - 2
    )
    return str(command.get_help(context))


def examples_of(text: str) -> list[list[str]]:
    """Return the command lines under ``Examples:``, without what a shell makes of them."""
    _, _, behind = text.partition("\n  Examples:\n")
    block = behind.partition("\n\n")[0]
    lines = [line.strip() for line in block.splitlines() if line.startswith("      ")]
    return [shlex.split(line.partition(" | ")[0].partition(" > ")[0].partition(" && ")[0]) for line in lines]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_fits_80_columns(words: tuple[str, ...]) -> None:
    """No line is cut or wrapped by the terminal."""
    assert max(map(len, help_of(words).splitlines())) <= COLUMNS


@pytest.mark.parametrize("words", [words for words in ALL if words], ids=" ".join)
def test_help_begins_with_a_sentence_that_the_list_of_commands_has_room_for(words: tuple[str, ...]) -> None:
    """It says what the command does, and is not cut short with dots."""
    summary = (ALL[words].help or "").strip().partition("\n")[0]

    assert summary.endswith(".")
    assert summary in help_of(words[:-1])
    assert len(summary) <= LONGEST_SUMMARY


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_has_examples_and_exit_codes(words: tuple[str, ...]) -> None:
    """In this order, behind the options."""
    text = help_of(words)
    parts = [text.index(part) for part in ("\nOptions:\n", "\n  Examples:\n", "\n  Exit codes:\n    0  ")]

    assert parts == sorted(parts)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_examples_in_help_are_understood(words: tuple[str, ...]) -> None:
    """Their commands and options exist."""
    examples = examples_of(help_of(words))

    assert examples
    for program, *arguments in examples:
        assert program == "dualkv"
        if "--help" in arguments:
            continue
        command = ALL[()]
        while arguments and arguments[0] in getattr(command, "commands", {}):
            command = command.commands[arguments.pop(0)]
        with command.make_context(program, arguments, resilient_parsing=False):
            pass


def test_an_example_with_an_option_that_there_is_not_is_noticed() -> None:
    """The test above can fail."""
    with pytest.raises(Exception, match="No such option: --shadow"):
        ALL[("serve",)].make_context("dualkv", ["--shadow", "1"])


def test_an_ending_has_its_parts_and_leaves_out_empty_ones() -> None:
    """Columns are as wide as their longest name."""
    text = ending(examples=(("Try it", "dualkv x"),), environment=(("A", "a"), ("LONG", "b")))

    assert text == (
        "\b\nExamples:\n  Try it:\n    dualkv x\n\n"
        "\b\nExit codes:\n  0  done\n  2  a wrong setting or option: one line on stderr says which\n\n"
        "\b\nEnvironment:\n  A     a\n  LONG  b"
    )


def test_modes_are_completed_by_their_beginning() -> None:
    """As a shell asks for them."""
    assert complete_modes("elastickv-p") == ["elastickv-primary"]
    assert {"redis-only", "dual-write"} <= set(complete_modes(""))
