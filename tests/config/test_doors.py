"""Where clients come in, as it is written."""

from __future__ import annotations

import ipaddress

import pytest

from dualkv.config.doors import UnixAddress, client_address, networks, shown_listen_address
from dualkv.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":6479", ("", 6479)),
        ("[::1]:1", ("::1", 1)),
        ("unix:///run/dualkv.sock", UnixAddress("/run/dualkv.sock", 0o660)),
        ("unix:///run/a%20b.sock?mode=0600", UnixAddress("/run/a b.sock", 0o600)),
        ("unix:///run/dualkv.sock?mode=777", UnixAddress("/run/dualkv.sock", 0o777)),
    ],
)
def test_address_is_understood(text: str, address: object) -> None:
    """TCP as ever, Unix sockets with the bits of their mode."""
    assert client_address(text) == address


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("unix:dualkv.sock", "'unix:dualkv.sock' is not a Unix socket such as unix:///run/dualkv.sock"),
        ("unix://run/x", "'unix://run/x' is not a Unix socket such as unix:///run/dualkv.sock"),
        ("unix:///", "'unix:///' is not a Unix socket such as unix:///run/dualkv.sock"),
        ("unix:///x?mode=rw", "mode: 'rw' is not three octal digits such as 660"),
        ("unix:///x?mode=4777", "mode: '4777' is not three octal digits such as 660"),
        ("unix:///x?user=me", "'user' is not an option of unix:// (mode)"),
        ("6479", "'6479' is not an address such as :6479 or 127.0.0.1:6479"),
    ],
)
def test_wrong_address_is_refused_with_what_is_wrong(text: str, complaint: str) -> None:
    """Each is one clear line."""
    with pytest.raises(ConfigError) as caught:
        client_address(text)

    assert str(caught.value) == complaint


@pytest.mark.parametrize("text", [":6479", "unix:///run/dualkv.sock?mode=600"])
def test_address_is_shown_as_it_could_be_set(text: str) -> None:
    """What is shown is understood again."""
    assert shown_listen_address(client_address(text)) == text
    assert shown_listen_address(None) == "off"


def test_networks_are_a_list() -> None:
    """Separated as one likes; a lone address is a network of one."""
    assert networks("10.0.0.0/8; ::1,192.0.2.0/24 fd00::/8") == (
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("::1/128"),
        ipaddress.ip_network("192.0.2.0/24"),
        ipaddress.ip_network("fd00::/8"),
    )
    assert networks("") == ()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("10.0.0.0/33", "'10.0.0.0/33' is not a network such as 10.0.0.0/8"),
        ("localhost", "'localhost' is not a network such as 10.0.0.0/8"),
        ("10.0.0.1/8", "10.0.0.1/8 has host bits set"),
    ],
)
def test_wrong_network_is_refused_with_what_is_wrong(text: str, complaint: str) -> None:
    """Also one that says less than was meant."""
    with pytest.raises(ConfigError) as caught:
        networks(text)

    assert str(caught.value) == complaint
