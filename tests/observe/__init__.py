"""Tests of `dualkv.observe`."""
