"""The stand-in for ElasticKV."""

from __future__ import annotations

from tests.support.elastickv import elastickv, elastickv_store  # noqa: F401
