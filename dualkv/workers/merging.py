"""What several workers say, as one answer.

Metrics are added up; of what is 1 while something is wrong the highest counts, of what must be so everywhere
the lowest. Pages of JSON keep their shape: what counts is added up, of a time the longest counts, lists of
named things are merged by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from dualkv.core.headline import Condition
from dualkv.core.series import STEP_SECONDS

__all__ = ["merged_metrics", "merged_pages", "merged_series"]

_HIGHEST: Final = frozenset(
    {"proxy_dirty_functions", "proxy_resync_required", "proxy_journal_gap", "proxy_stream_gate"}
)
_LOWEST: Final = frozenset(
    {"proxy_shadow_budget_share", "proxy_selftest_passed", "proxy_backend_leader_known"}
)
"""Gauges that are not added up."""

_ALL: Final = frozenset({"ready", "alive", "is_on", "shadows", "passed", "done"})
"""What is so only if it is so everywhere; everything else, if it is so anywhere."""
_NAMES: Final = ("prefix", "command", "db", "names", "id", "class")
"""What a member of a list is known by."""
_KNOBS: Final = ("before", "after", "shadow_sample", "repair_rate")
"""What each of them has been told: if all the same, it is that."""
_TIMES: Final = ("_seconds", "_ms", "seconds", "time", "share", "limit", "max_bytes")
_CONDITIONS: Final = tuple(condition.value for condition in Condition)


# --- metrics


def merged_metrics(texts: Sequence[str]) -> list[Metric]:
    """Return the metrics of several workers, as one of them would tell them.

    Args:
        texts: What each one's ``/metrics`` says.
    """
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], list[float]]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            if family.name not in families:
                families[family.name] = Metric(family.name, family.documentation, family.type, family.unit)
            samples = values.setdefault(family.name, {})
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                samples.setdefault(key, []).append(sample.value)
    for name, family in families.items():
        for (sample_name, labels), each in values[name].items():
            family.add_sample(sample_name, dict(labels), _joined(name, each))
    return list(families.values())


def _joined(name: str, values: Sequence[float]) -> float:
    if name in _HIGHEST or name.startswith("python_info"):
        return max(values)
    return min(values) if name in _LOWEST else sum(values)


# --- pages


def merged_pages(pages: Sequence[Any]) -> Any:
    """Return what several workers say of one thing.

    Args:
        pages: What each one's page says, as JSON has it; in the workers' order.
    """
    return _merged("", pages)


def _merged(name: str, values: Sequence[Any]) -> Any:
    told = [value for value in values if value is not None]
    if not told:
        return None
    if all(isinstance(value, Mapping) for value in told):
        if name == "headline":
            return _worst_headline(values)
        return {key: _merged(key, [value.get(key) for value in told]) for key in _keys(told)}
    if all(isinstance(value, list) for value in told):
        return _merged_lists(told)
    if all(isinstance(value, bool) for value in told):
        return all(told) if name in _ALL else any(told)
    if name in _KNOBS and all(value == told[0] for value in told):
        return told[0]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in told):
        return max(told) if name.endswith(_TIMES) else _sum(told)
    return told[0] if all(value == told[0] for value in told) else ", ".join(dict.fromkeys(map(str, told)))


def merged_series(series: Sequence[Sequence[Mapping[str, Any]]]) -> list[Any]:
    """Return what several workers' points of the last minutes say together.

    Args:
        series: Each worker's, as ``/series`` tells them.

    Returns:
        A point per step; the newest only if each of them has told it.
    """
    steps: dict[int, list[Mapping[str, Any]]] = {}
    for points in series:
        for point in points:
            steps.setdefault(int(point["time"] // STEP_SECONDS), []).append(point)
    newest = min((int(points[-1]["time"] // STEP_SECONDS) for points in series if points), default=0)
    return [_merged("", steps[step]) for step in sorted(steps) if step <= newest]


def _sum(numbers: Iterable[float]) -> float:
    total = sum(numbers)
    return round(total, 6) if isinstance(total, float) else total


def _keys(mappings: Iterable[Mapping[str, Any]]) -> dict[str, None]:
    return dict.fromkeys(key for mapping in mappings for key in mapping)


def _merged_lists(lists: Sequence[Sequence[Any]]) -> list[Any]:
    members: dict[Any, list[Any]] = {}
    for one in lists:
        for member in one:
            members.setdefault(_identity(member), []).append(member)
    return [each[0] if len(each) == 1 else _merged_members(each) for each in members.values()]


def _merged_members(members: Sequence[Any]) -> Any:
    if not isinstance(members[0], Mapping):
        return members[0]
    named = {key: members[0][key] for key in (*_NAMES, "backend") if key in members[0]}
    return {**_merged("", members), **named}


def _identity(member: Any) -> Any:
    if not isinstance(member, Mapping):
        return repr(member)
    return tuple((key, repr(member[key])) for key in (*_NAMES, "backend") if key in member) or repr(member)


def _worst_headline(headlines: Sequence[Mapping[str, Any] | None]) -> Mapping[str, Any]:
    told = [headline for headline in headlines if headline is not None]
    worst = max(told, key=lambda headline: _CONDITIONS.index(headline["condition"]))
    reasons: dict[str, list[int]] = {}
    for number, headline in enumerate(headlines):
        for reason in headline["reasons"] if headline is not None else ():
            reasons.setdefault(reason, []).append(number)
    return {**worst, "reasons": [_said_by(reason, who, len(told)) for reason, who in reasons.items()]}


def _said_by(reason: str, workers: Sequence[int], count: int) -> str:
    if len(workers) == count:
        return reason
    return f"worker {', '.join(map(str, workers))}: {reason}"
