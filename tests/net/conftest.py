"""Fixtures of the network tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from tests.support.elastickv import elastickv, elastickv_store

__all__ = ["elastickv", "elastickv_store"]


@pytest.fixture(name="authority")
def _authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """An authority that this process trusts."""
    authority = trustme.CA()
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    return authority
