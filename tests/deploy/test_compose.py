"""The Compose file: by the specification, with settings that dualkv takes."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from dualkv.config import load_config
from dualkv.config.values import positive_duration
from tests.deploy.behind import DEPLOY
from tests.deploy.programs import find_program, package

pytestmark = pytest.mark.deploy

TEXT = (DEPLOY / "compose.yaml").read_text()


def services() -> dict[str, Any]:
    """Return the services."""
    found: dict[str, Any] = package("yaml").safe_load(TEXT)["services"]
    return found


def test_compose_file_follows_the_specification() -> None:
    """Unknown keys and wrong types are errors."""
    compose = package("compose_spec").PyCompose.from_yaml(TEXT)
    compose.validate()
    compose.to_spec()

    assert set(compose.service_names()) == {"primary", "secondary", "dualkv", "prometheus"}


def test_settings_in_the_compose_file_are_what_dualkv_takes() -> None:
    """Both stores are services there, and the time to stop is more than three times ``drain``."""
    service = services()["dualkv"]
    config = load_config(environment=service["environment"])

    assert {config.primary, config.secondary} == {"primary:6379", "secondary:6379"}
    assert positive_duration(service["stop_grace_period"]) >= 3 * config.drain_seconds + 2
    volume, _, target = service["volumes"][0].partition(":")
    assert volume in package("yaml").safe_load(TEXT)["volumes"]
    assert config.journal_dir.startswith(target)
    assert f'VOLUME ["{target}"]' in (DEPLOY / "Dockerfile").read_text()


def test_files_that_services_mount_and_build_from_exist() -> None:
    """The folder with Prometheus' configuration, and the Dockerfile."""
    found = services()
    context = (DEPLOY / found["dualkv"]["build"]["context"]).resolve()

    assert (context / found["dualkv"]["build"]["dockerfile"]).is_file()
    assert (DEPLOY / found["prometheus"]["volumes"][0].split(":")[0] / "prometheus.yml").is_file()


def test_prometheus_takes_its_configuration() -> None:
    """With the rules that it names."""
    promtool = find_program("promtool")
    assert promtool is not None, "Debian has it in a package: prometheus"
    found = subprocess.run(
        [promtool, "check", "config", DEPLOY / "prometheus" / "prometheus.yml"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (found.returncode, found.stderr) == (0, "")
    assert "rules found" in found.stdout
