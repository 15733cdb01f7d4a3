"""How results are told."""

from __future__ import annotations

import json

from dualkv.torture.compare import Difference
from dualkv.torture.history import Operation
from dualkv.torture.report import Result, as_json, details, line, table


def good() -> Result:
    """Return a result without a fault."""
    return Result(7, operations=1000, seconds=2.5, keys=30, converged_seconds=0.5)


def bad() -> Result:
    """Return a result with a difference."""
    difference = Difference(1, b"z:3", [("member 'm'", 1.5, None), ("value", b"a", b"b")])
    operation = Operation(1, 0.1, 0.2, 4, 1, (b"ZADD", b"z:3", b"1.5", b"m"), b":1\r\n")
    return Result(
        8, operations=500, drops=3, repairs=2, faults=["primary-kill 1.0s at 0.5s"],
        differences=[(difference, [operation])], complaints=["not settled after 60 s"],
    )  # fmt: skip


def test_a_line_tells_the_seed_and_what_became_of_it() -> None:
    """Faults, drops and repairs are in it."""
    assert line(good()) == (
        "seed 7: equal; 1000 operations in 2.5s, 30 keys, 0 drops, 0 repairs, settled after 0.5s; "
        "faults: none"
    )
    assert line(bad()).startswith("seed 8: 1 keys differ; 500 operations")
    assert line(bad()).endswith("3 drops, 2 repairs, settled after never; faults: primary-kill 1.0s at 0.5s")


def test_details_tell_each_difference_with_its_operations() -> None:
    """Both values, then what was done to the key."""
    assert details(good()) == []
    assert details(bad()) == [
        "  ! not settled after 60 s",
        "  db 1 key 'z:3'",
        "    member 'm': 1.5 at the primary, absent at the secondary",
        "    value: 'a' at the primary, 'b' at the secondary",
        "      #1 0.100-0.200s client 4 db 1 ZADD 'z:3' '1.5' m -> ':1\\r\\n'",
    ]


def test_details_are_cut() -> None:
    """A thousand differing keys are not listed."""
    result = bad()
    result.differences *= 30
    result.further_differences = 5

    assert details(result)[-1] == "  … and 25 more keys"
    assert sum(text.startswith("  db ") for text in details(result)) == 10


def test_the_table_sums_up_and_names_the_bad_ones() -> None:
    """One row per bad seed, and one for all."""
    rows = [row.split() for row in table([good(), bad()])]

    assert rows[1] == ["8", "500", "1", "3", "2", "0", "1", "keys", "differ"]
    assert rows[2] == ["all", "1500", "1", "3", "2", "30", "1", "of", "2", "good"]


def test_json_has_everything() -> None:
    """Plain data, ready to be dumped."""
    told = json.loads(json.dumps(as_json(bad())))

    assert (told["seed"], told["good"], told["drops"]) == (8, False, 3)
    assert told["differences"][0]["aspects"][1] == ["value", "'a'", "'b'"]
    assert told["differences"][0]["operations"][0].startswith("#1 ")


def test_a_complaint_alone_is_not_good_either() -> None:
    """Equal, but something else is wrong."""
    result = Result(1, complaints=["dualkv ended with -11"])

    assert (result.is_good, result.verdict) == (False, "complaints")
