"""The documentation: complete, up to date, and with links that lead somewhere."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest
import typer
from starlette.routing import Route

from docs.generate import PAGES, renewed
from dualkv.admin.http import build_app
from dualkv.admin.sampler import Sampler
from dualkv.admin.status import convergence
from dualkv.cli import app
from dualkv.commands.classify import CommandCategory
from dualkv.commands.table import COMMANDS
from dualkv.config import SETTINGS, ProxyConfig, ProxyMode, load_config
from dualkv.core.compare import Reason
from dualkv.core.coverage import Outcome
from dualkv.core.dirty import DirtyReason
from dualkv.core.divergence import Cause, Divergence, DivergenceKind
from dualkv.core.divergence_record import RecordMaker
from dualkv.core.gate import GateState
from dualkv.core.headline import Condition
from dualkv.core.ledger import DropReason, Queue
from dualkv.core.pubsub_matching import Doubt
from dualkv.core.rejection import Rejection
from dualkv.net.writer import DualWriter
from dualkv.observe.collector import FAMILIES
from dualkv.observe.divergence_log import DROP_REASONS
from dualkv.resp import encode

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "deploy/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


def read(name: str) -> str:
    """Return the text of a document."""
    return (ROOT / name).read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_generated_tables_are_up_to_date(page: Path) -> None:
    """``make docs`` was run after the last change of what they are made of."""
    assert renewed(page) == page.read_text()


def test_every_setting_is_documented_with_its_flag() -> None:
    """Each key, each flag and each other name stands in the table."""
    text = read("docs/reference/settings.md")

    for setting in SETTINGS:
        assert f"| `{setting.name}` | `{setting.flag}`" in text
        assert all(f"`--{alias.replace('_', '-')}`" in text for alias in setting.aliases)


def test_every_metric_is_documented_with_its_labels() -> None:
    """Each metric by the name that Prometheus shows, and what its labels can be."""
    text = read("docs/reference/metrics.md")

    for family in FAMILIES:
        assert f"| `{family.exposed_name}` |" in text
        assert all(f"`{label}`" in text for label in family.labels)


def test_every_reason_of_a_drop_is_documented() -> None:
    """Whoever sees a reason in a metric can look it up."""
    text = read("docs/discussion/drops.md")

    assert all(f"| `{reason.value}` |" in text for reason in DropReason)


def written_reasons() -> set[str]:
    """Return the labels of shadow reads that stand as texts in the code."""
    found: set[str] = set()
    for path in (ROOT / "dualkv" / "net").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            values: list[ast.expr] = []
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("inconclusive"):
                values = node.args
            elif isinstance(node, ast.Assign) and (path.name, ast.unparse(node.targets[0])) == (
                "shard.py", "reason",
            ):  # fmt: skip
                values = [node.value]
            found |= {str(value.value) for value in values if isinstance(value, ast.Constant)}
    return found


def test_every_reason_why_a_read_is_not_judged_is_documented() -> None:
    """Whoever sees one in a metric can look it up; and no row is about a reason that there is not."""
    page = read("docs/discussion/comparing.md").partition("### Several dualkvs")[0]
    written = written_reasons()

    assert {"being_confirmed", "near_expiry", "primary_error", "connection_lost"} <= written
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == {
        "reason", *written, *Reason, *DropReason,
    }  # fmt: skip


def test_every_doubt_of_a_message_is_documented() -> None:
    """The same for messages that are not compared."""
    text = read("docs/discussion/comparing.md")

    assert all(f"| `{doubt.value}` |" in text for doubt in Doubt)


def test_every_reason_why_a_key_is_dirty_is_documented() -> None:
    """Whoever sees one in a metric or in ``/readyz`` can look it up."""
    text = read("docs/discussion/repair.md")

    assert all(f"| `{reason.value}` |" in text for reason in DirtyReason)


def test_every_state_of_the_gate_is_documented() -> None:
    """The same for what the stream does."""
    text = read("docs/discussion/repair.md")

    assert all(f"| `{state.value}` |" in text for state in GateState)


def test_every_queue_and_every_account_is_documented() -> None:
    """The values of labels stand below the metrics."""
    text = read("docs/reference/metrics.md")

    accounts = {"offered", "applied", "failed", "dropped", "deferred", "queued", "in_flight"}
    assert all(f"`{name}`" in text for name in {*Queue, *accounts})


def test_every_field_of_convergence_is_documented() -> None:
    """What ``/readyz`` tells of convergence stands in its table and its example."""
    writer = DualWriter(ProxyConfig())
    told = convergence(writer)
    text = read("docs/reference/http.md")

    assert told is not None
    assert all(f'"{name}"' in text for name in (*told, *told["resync"]))
    assert all(f"`{name}`" in text for name in told.keys() - {"resync"})


def test_every_field_of_the_status_is_documented() -> None:
    """What ``/status`` tells stands in its table and its example, and so does each condition."""
    writer = DualWriter(ProxyConfig())
    told = Sampler(lambda: writer, lambda: False, lambda: 0.0).status()
    text = read("docs/reference/http.md")

    inner = ("headline", "clients", "traffic", "stream", "comparing", "readiness")
    assert all(f'"{name}"' in text for name in (*told, *(field for name in inner for field in told[name])))
    assert all(f"`{name}`" in text for name in told.keys() - {"headline"})
    assert all(f"`{condition.value}`" in text for condition in Condition)
    assert all(f"`{category.value}`" in text for category in CommandCategory)


def test_every_field_of_a_divergence_and_every_cause_is_documented() -> None:
    """What a record tells stands in its table and its example, and so does why stores differ."""
    text = read("docs/reference/divergences.md")
    record = RecordMaker(False, b"")(Divergence("get", DivergenceKind.EXTRA_DATA, b"k", b"", b""))

    assert all(f'"{name}"' in text and f"`{name}`" in text for name in record)
    assert all(f"| `{cause.value}` |" in text for cause in Cause)
    assert all(f"`{kind.value}`" in text for kind in DivergenceKind)
    assert all(f"`{outcome.value}`" in text for outcome in Outcome)
    assert all(f"`{setting.name}`" in text for setting in SETTINGS if setting.name.startswith("ready_"))


def test_every_page_and_every_command_is_documented() -> None:
    """What somebody can ask for over HTTP or on the command line stands in a table."""
    http, cli = read("docs/reference/http.md"), read("docs/reference/cli.md")
    writer = DualWriter(ProxyConfig())
    pages = [
        route.path
        for route in build_app(
            lambda: writer, lambda: False, Sampler(lambda: writer, lambda: False, lambda: 0.0)
        ).routes
        if isinstance(route, Route)
    ]

    assert all(f"| `{page.replace('{id}', 'ID')}` |" in http for page in pages)
    commands = vars(typer.main.get_command(app))["commands"]
    assert all(f"`dualkv {name}" in cli for name in commands)


def test_every_reason_why_a_divergence_is_not_in_the_file_is_documented() -> None:
    """Whoever sees one in a metric can look it up."""
    text = read("docs/reference/metrics.md")

    assert all(f"`{reason}`" in text for reason in DROP_REASONS)


def test_every_reason_why_a_connection_is_rejected_is_documented() -> None:
    """The same for who does not get in."""
    text = read("docs/reference/metrics.md")

    assert all(f"`{reason.value}` (" in text for reason in Rejection)


def test_every_mode_is_in_the_readme() -> None:
    """The table of modes is whole."""
    text = read("README.md")

    assert all(f"| `{mode.value}`" in text for mode in ProxyMode)


def test_errors_of_our_own_are_documented_word_for_word() -> None:
    """Whoever sees one in a log can search for it."""
    text = read("docs/reference/errors.md")

    for error in (
        encode.PRIMARY_UNREACHABLE,
        encode.OUTCOME_UNKNOWN,
        encode.TOO_MANY_CLIENTS,
        encode.not_supported("X"),
        encode.refused("X", (b"X",)),
    ):
        assert error[1:-2].decode() in text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(document: Path) -> None:
    """No link of ours is broken."""
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        linked = (document.parent / name).resolve() if name else document
        assert linked.exists(), target
        if anchor:
            assert anchor in headings(linked), target


def headings(document: Path) -> set[str]:
    """Return the anchors of a document's headings."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings_files_in_the_text_are_right(document: Path, tmp_path: Path) -> None:
    """Each TOML block is a file that dualkv takes, but for secrets that are not there."""
    for block in re.findall(r"```toml\n(.*?)```", document.read_text(), re.DOTALL):
        said = tomllib.loads(block)
        settings = {name: value for name, value in said.items() if not name.endswith("_file")}
        if "admin_token_file" in said:  # without one an address would be refused
            settings["admin_token"] = "0123456789abcdef"
        file = tmp_path / "dualkv.toml"
        file.write_text("\n".join(f"{name} = {json.dumps(value)}" for name, value in settings.items()))
        load_config(file=file)


def test_settings_named_in_the_text_exist() -> None:
    """A variable or an option that a document names is one."""
    variables = {setting.variable for setting in SETTINGS} | {
        setting.variable + "_FILE" for setting in SETTINGS if setting.secret
    }
    known = variables | {"DUALKV_CONFIG", "DUALKV_SERVICE_HOST", "DUALKV_PORT_"}
    for document in DOCUMENTS:
        assert set(re.findall(r"DUALKV_\w+", document.read_text())) <= known


def test_metrics_named_in_the_text_exist() -> None:
    """A metric that a document names is one."""
    known = {family.exposed_name for family in FAMILIES} | {setting.name for setting in SETTINGS}
    for document in DOCUMENTS:
        assert set(re.findall(r"\bproxy_\w+", document.read_text())) <= known, document


def test_command_labels_in_the_text_exist() -> None:
    """The examples of labels are labels."""
    labels = {spec.label for spec in COMMANDS}

    assert {"get", "client|setname", "exec", "other", "smembers"} <= labels
