"""What PromQL expressions ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

__all__ = ["metrics_in", "unknown_in"]

_OF_TARGETS = {"job", "instance"}


def metrics_in(expression: str) -> set[str]:
    """Return the metrics that an expression names."""
    return set(re.findall(r"\bproxy_\w+", expression))


def unknown_in(expression: str, shown: Mapping[str, AbstractSet[str]]) -> set[str]:
    """Return the metrics and labels that an expression names and that are not there.

    Args:
        expression: PromQL.
        shown: The labels of each metric, as a scrape shows them.
    """
    unknown = metrics_in(expression) - shown.keys()
    labels: set[str] = set(_OF_TARGETS)
    for metric, matchers in re.findall(r"\b(proxy_\w+)(?:\{([^}]*)\})?", expression):
        known = shown.get(metric, set()) | _OF_TARGETS
        labels |= known
        unknown |= set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", matchers)) - known
    for names in re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression):
        unknown |= {name.strip() for name in names.split(",")} - labels
    return unknown
