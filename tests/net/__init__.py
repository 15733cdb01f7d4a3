"""Tests of `dualkv.net`, against scripted backends and real sockets."""
