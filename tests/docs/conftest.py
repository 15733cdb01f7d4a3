"""The stand-in for ElasticKV, for the page about it."""

from __future__ import annotations

from tests.support.elastickv import elastickv, elastickv_store

__all__ = ["elastickv", "elastickv_store"]
