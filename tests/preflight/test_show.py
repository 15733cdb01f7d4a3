"""How findings are shown."""

from __future__ import annotations

import json

import pytest

from dualkv.preflight.model import Level
from dualkv.preflight.run import show_findings
from dualkv.preflight.show import summary
from tests.preflight.building import FINDINGS

TABLE = """\
      check       store      finding
ok    reachable   primary    10.0.0.1:6379 answers.
warn  memory      secondary  At 1.0 GiB it evicts keys (allkeys-lru).
                             → Set it to noeviction.
ok    big keys    primary    The largest is a hash: [red]\\x1b[31m\\x202ek.
fail  two stores  both       Both are one.
                             → Name two.

2 ok, 1 warn, 1 fail: do not start before what fails is put right.
"""


def test_table_is_what_a_person_reads(capsys: pytest.CaptureFixture[str]) -> None:
    """A row a finding, advice below it, a line that sums up; keys are neither markup nor obeyed."""
    code = show_findings(FINDINGS, as_json=False)

    assert code == 1
    assert "".join(f"{line.rstrip()}\n" for line in capsys.readouterr().out.splitlines()) == TABLE


def test_json_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    """One object on one line, the details too."""
    code = show_findings(FINDINGS, as_json=True)

    body = json.loads(capsys.readouterr().out)
    assert code == 1
    assert (body["passed"], body["counts"]) == (False, {"ok": 2, "warn": 1, "fail": 1})
    assert body["findings"][2]["details"] == ["k: hash"]
    assert body["findings"][3] == {
        "check": "two stores", "store": "both", "level": "fail", "text": "Both are one.",
        "advice": "Name two.", "details": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("levels", "words", "code"),
    [
        ((Level.OK,), "it can start.", 0),
        ((Level.OK, Level.WARN), "it can start; read the warnings first.", 0),
        ((Level.WARN, Level.FAIL), "do not start before", 1),
    ],
)
def test_worst_finding_decides(
    levels: tuple[Level, ...], words: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Warnings are no failures."""
    findings = tuple(finding for level in levels for finding in FINDINGS if finding.level is level)

    assert words in summary(findings)
    assert show_findings(findings, as_json=True) == code
    assert json.loads(capsys.readouterr().out)["passed"] is (code == 0)
