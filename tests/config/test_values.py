"""Values as people write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dualkv.config import values
from dualkv.errors import ConfigError

Parse = Callable[[str], Any]


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (values.duration, "0", 0.0),
        (values.duration, "0s", 0.0),
        (values.duration, "500ms", 0.5),
        (values.duration, "3s", 3.0),
        (values.duration, "1.5s", 1.5),
        (values.duration, "5m", 300.0),
        (values.duration, "2h", 7200.0),
        (values.duration, "1m30s", 90.0),
        (values.duration, "1h1m1s1ms", 3661.001),
        (values.positive_duration, "1ms", 0.001),
        (values.count, "0", 0),
        (values.count, "128", 128),
        (values.positive_count, "1", 1),
        (values.size, "65536", 65536),
        (values.size, "1B", 1),
        (values.size, "512KiB", 512 * 1024),
        (values.size, "64MiB", 64 * 1024**2),
        (values.size, "64mb", 64 * 1024**2),
        (values.size, " 2 GiB ", 2 * 1024**3),
        (values.fraction, "0", 0.0),
        (values.fraction, "0.25", 0.25),
        (values.fraction, "1", 1.0),
        (values.fraction, "10%", 0.1),
        (values.fraction, "0.5%", 0.005),
        (values.listen_address, ":6479", ("", 6479)),
        (values.listen_address, "127.0.0.1:0", ("127.0.0.1", 0)),
        (values.listen_address, "localhost:65535", ("localhost", 65535)),
        (values.listen_address, "[::1]:1", ("::1", 1)),
        (values.listen_address, "[::]:6479", ("::", 6479)),
        (values.optional_listen_address, ":9191", ("", 9191)),
        (values.optional_listen_address, "off", None),
        (values.optional_listen_address, "", None),
        (values.log_level, "info", "info"),
        (values.log_level, "WARNING", "warning"),
        (values.label, "redis", "redis"),
        (values.label, "store-2_b", "store-2_b"),
        (values.label, "a" * 31, "a" * 31),
    ],
)
def test_a_value_is_read(parse: Parse, text: str, value: object) -> None:
    """What people write for durations, numbers, sizes, addresses and names is understood."""
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "complaint"),
    [
        (values.duration, "", "'' is not a duration such as 500ms, 3s or 5m"),
        (values.duration, "10", "'10' is not a duration such as 500ms, 3s or 5m"),
        (values.duration, "-1s", "'-1s' is not a duration such as 500ms, 3s or 5m"),
        (values.duration, "3 s", "'3 s' is not a duration such as 500ms, 3s or 5m"),
        (values.duration, "3d", "'3d' is not a duration such as 500ms, 3s or 5m"),
        (values.duration, "s", "'s' is not a duration such as 500ms, 3s or 5m"),
        (values.duration, "1s,2s", "'1s,2s' is not a duration such as 500ms, 3s or 5m"),
        (values.duration, "inf", "'inf' is not a duration such as 500ms, 3s or 5m"),
        (values.positive_duration, "0", "must be more than 0"),
        (values.positive_duration, "0ms", "must be more than 0"),
        (values.count, "-1", "must not be negative"),
        (values.count, "1.5", "'1.5' is not a whole number"),
        (values.count, "", "'' is not a whole number"),
        (values.positive_count, "0", "must be more than 0"),
        (values.positive_count, "-5", "must not be negative"),
        (values.size, "0", "must be more than 0"),
        (values.size, "0MiB", "must be more than 0"),
        (values.size, "-1", "'-1' is not a size such as 65536, 512KiB or 64MiB"),
        (values.size, "1.5GiB", "'1.5GiB' is not a size such as 65536, 512KiB or 64MiB"),
        (values.size, "64M", "'64M' is not a size such as 65536, 512KiB or 64MiB"),
        (values.fraction, "1.01", "must lie between 0 and 1"),
        (values.fraction, "-0.1", "must lie between 0 and 1"),
        (values.fraction, "nan", "must lie between 0 and 1"),
        (values.fraction, "101%", "must lie between 0 and 1"),
        (values.fraction, "%", "'%' is not a number"),
        (values.fraction, "half", "'half' is not a number"),
        (values.listen_address, "6479", "'6479' is not an address such as :6479 or 127.0.0.1:6479"),
        (values.listen_address, "localhost", "'localhost' is not an address such as :6479 or 127.0.0.1:6479"),
        (values.listen_address, "host:", "'host:' is not an address such as :6479 or 127.0.0.1:6479"),
        (
            values.listen_address,
            "host:65536",
            "'host:65536' is not an address such as :6479 or 127.0.0.1:6479",
        ),
        (values.listen_address, "host:-1", "'host:-1' is not an address such as :6479 or 127.0.0.1:6479"),
        (values.optional_listen_address, "on", "'on' is not an address such as :6479 or 127.0.0.1:6479"),
        (values.log_level, "trace", "'trace' is not a log level (debug, info, warning, error)"),
        (values.label, "Redis", "'Redis' is not a name (lower case, at most 31 characters)"),
        (values.label, "", "'' is not a name (lower case, at most 31 characters)"),
        (values.label, "1st", "'1st' is not a name (lower case, at most 31 characters)"),
        (values.label, "a" * 32, f"'{'a' * 32}' is not a name (lower case, at most 31 characters)"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_wrong(parse: Parse, text: str, complaint: str) -> None:
    """The complaint shows the text, or the bound that it misses."""
    with pytest.raises(ConfigError) as caught:
        parse(text)

    assert str(caught.value) == complaint
