"""Tests of `dualkv.commands`: the facts about commands."""
