"""Fixtures: a stand-in cluster beside the servers."""

from __future__ import annotations

from tests.support.elastickv import elastickv, elastickv_store

__all__ = ["elastickv", "elastickv_store"]
