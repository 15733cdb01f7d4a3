"""Tests of the effects of commands."""
