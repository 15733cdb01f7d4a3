"""Renders the chart with Helm's own engine, which a package from PyPI brings along.

``python -m tests.deploy.rendering`` (`make manifests`) writes ``deploy/kubernetes`` anew.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from tests.deploy.behind import DEPLOY
from tests.deploy.programs import package

__all__ = ["CHART", "MANIFESTS", "by_kind", "documents", "plain_manifests", "render"]

CHART: Final = DEPLOY / "helm" / "dualkv"
MANIFESTS: Final = DEPLOY / "kubernetes"

_HEAD: Final = """\
# Rendered from deploy/helm/dualkv with deploy/kubernetes/values.yaml: `make manifests`. Do not edit.
"""
_FILES: Final[dict[str, tuple[tuple[str, ...], dict[str, Any]]]] = {
    "autoscaler.yaml": (("autoscaler",), {"autoscaling": {"enabled": True}}),
    "dualkv.yaml": (("config", "service", "workload", "disruption", "network"), {}),
    "servicemonitor.yaml": (("monitor",), {"serviceMonitor": {"enabled": True}}),
}
"""The files of `MANIFESTS`, the templates that each is made of, and the values that make them appear."""


def render(values: dict[str, Any] | None = None, name: str = "dualkv") -> dict[str, str]:
    """Return what each template becomes, by its name; empty ones left out.

    Args:
        values: What differs from ``values.yaml``.
        name: The release's name.
    """
    with package("helm_python").Chart.load(CHART) as chart:
        rendered = chart.render(values or {}, name=name, namespace="default")
    return {Path(path).stem: text.strip() + "\n" for path, text in rendered.items() if text.strip()}


def documents(rendered: dict[str, str]) -> list[dict[str, Any]]:
    """Return all objects of a rendering."""
    load = package("yaml").safe_load_all
    return [found for name, text in rendered.items() if name != "NOTES" for found in load(text) if found]


def by_kind(values: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """Render, and return the objects by kind and name: ``Service/dualkv``."""
    return {f"{found['kind']}/{found['metadata']['name']}": found for found in documents(render(values))}


def plain_manifests() -> dict[str, str]:
    """Return what the files of `MANIFESTS` must be, by name."""
    values = package("yaml").safe_load((MANIFESTS / "values.yaml").read_text())
    texts = {}
    for file, (names, more) in _FILES.items():
        rendered = render(values | more)
        texts[file] = _HEAD + "---\n".join(_without_helm(rendered[name]) for name in names)
    return texts


def _without_helm(text: str) -> str:
    return re.sub(r"^ +(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n", "", text, flags=re.MULTILINE)


if __name__ == "__main__":
    for file, text in plain_manifests().items():
        (MANIFESTS / file).write_text(text)
