"""Who may control dualkv, as it is set: tokens, and addresses that need one."""

from __future__ import annotations

from pathlib import Path

import pytest

from dualkv.config import load_config
from dualkv.config.admin import AdminToken, admin_tokens
from dualkv.errors import ConfigError

TOKEN = "0123456789abcdef"
ELSEWHERE = "can be reached from elsewhere: it needs a token (admin_token_file)"


@pytest.mark.parametrize("address", ["127.0.0.1:9192", "127.9.9.9:1", "[::1]:9192", "localhost:9192", "off"])
def test_an_address_of_this_machine_needs_no_token(address: str) -> None:
    """Who is on this machine could read dualkv's memory anyway."""
    assert load_config({"admin": address}).admin_token == ()


@pytest.mark.parametrize("address", [":9192", "0.0.0.0:9192", "[::]:9192", "10.0.0.7:9192", "store:9192"])
def test_any_other_address_needs_one(address: str) -> None:
    """One clear line at the start; with a token it is taken."""
    with pytest.raises(ConfigError, match=r"^admin: ") as caught:
        load_config({"admin": address})

    assert str(caught.value).endswith(ELSEWHERE)
    assert load_config({"admin": address, "admin_token": TOKEN}).admin_token == (AdminToken("", TOKEN),)


def test_tokens_are_read_from_a_file_with_their_names(tmp_path: Path) -> None:
    """One on each line, so that a new one can be handed out before the old one goes."""
    file = tmp_path / "tokens"
    file.write_text(f"{TOKEN}\n\nalice:{TOKEN}+/~.-_==\n")

    config = load_config({"admin_token_file": str(file), "admin": ":9192"})

    assert config.admin_token == (AdminToken("", TOKEN), AdminToken("alice", f"{TOKEN}+/~.-_=="))
    assert TOKEN not in repr(config)
    assert TOKEN not in str(config.effective())


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("0123456789abcde", "token 1 is shorter than 16 characters"),
        (f"{TOKEN}\nalice:short", "token 2 is shorter than 16 characters"),
        (f"{TOKEN} {TOKEN}", "token 1 is not TOKEN or NAME:TOKEN of letters, digits and -._~+/"),
        (f"a b:{TOKEN}", "token 1 is not TOKEN or NAME:TOKEN of letters, digits and -._~+/"),
        (f"{TOKEN}\u00e4", "token 1 is not TOKEN or NAME:TOKEN of letters, digits and -._~+/"),
    ],
)
def test_a_token_that_could_not_be_said_or_is_short_is_refused(text: str, complaint: str) -> None:
    """The message does not repeat it."""
    with pytest.raises(ConfigError) as caught:
        admin_tokens(text)

    assert str(caught.value) == complaint
