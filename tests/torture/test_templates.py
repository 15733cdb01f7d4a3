"""The commands that torture sends."""

from __future__ import annotations

import random

import pytest

from dualkv.commands.table import COMMANDS, find_command
from dualkv.torture.grammar import Template
from dualkv.torture.templates import NOT_GENERATED, TEMPLATES
from dualkv.torture.words import Memory, Words


def test_every_write_command_is_drawn_or_explained() -> None:
    """Of the whole command table."""
    drawn = {template.name for template in TEMPLATES}
    writes = {spec.name for spec in COMMANDS if spec.kind in ("write", "script") and not spec.subcommands}

    assert writes - drawn == set(NOT_GENERATED)
    assert all(NOT_GENERATED.values())


def test_no_template_is_of_an_unknown_command() -> None:
    """A typing error would be an error reply, and nothing more."""
    assert "OTHER" not in {template.name for template in TEMPLATES}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.name)
def test_a_template_draws_its_command_with_enough_arguments(template: Template) -> None:
    """All its words exist, and the arity is right."""
    words = Words(random.Random(1), lambda: 1_700_000_000_000, Memory())
    for _ in range(50):
        args = template.draw(words)
        spec = find_command(*args[:2])
        assert spec.name == template.name
        assert spec.takes(len(args))
