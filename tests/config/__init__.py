"""Tests of `dualkv.config`: what can be set, and what is refused."""
