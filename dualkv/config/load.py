"""Where settings come from: flags > environment > file > default.

A wrong one is a `ConfigError` in one line that names where it stands.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dualkv.config.settings import SETTINGS, ProxyConfig
from dualkv.errors import ConfigError

__all__ = ["load_config"]


def load_config(
    flags: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> ProxyConfig:
    """Return the effective settings.

    Args:
        flags: By setting name, as text. A secret also as ``…_file``: a path to read it from.
        environment: Variables; those that begin with ``DUALKV_`` must be known.
        file: A TOML file.

    Raises:
        ConfigError: Anything is wrong, in one line that names the place.
    """
    found = _read_file(file) if file is not None else {}
    found |= _read_environment(environment or {})
    found |= {_canonical(name): (name_as_flag(name), value) for name, value in (flags or {}).items()}
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        place, text = found.pop(setting.name, (None, None))
        if setting.secret and setting.name + "_file" in found:
            place, path = found.pop(setting.name + "_file")
            text = _read_secret(place, path)
        if place is None or text is None:
            continue
        try:
            values[setting.field] = setting.parse(text)
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from None
    for place, _ in found.values():
        raise ConfigError(f"{place}: there is no such setting")
    return ProxyConfig(**values)


def name_as_flag(name: str) -> str:
    """Return the flag of the setting called *name*."""
    return "--" + name.replace("_", "-")


_ALIASES: Final = {alias: setting.name for setting in SETTINGS for alias in setting.aliases}
_LISTS: Final = frozenset(setting.name for setting in SETTINGS if setting.is_list)
_NOT_A_SETTING: Final = re.compile(
    r"DUALKV_(CONFIG|(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?))"
)
"""The file's path, and what Kubernetes sets in every container for a service called ``dualkv…``."""


def _canonical(name: str) -> str:
    name = name.lower().replace("-", "_")
    return _ALIASES.get(name, name)


def _read_file(path: Path) -> dict[str, tuple[str, str]]:
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    found = {}
    for name, value in content.items():
        if isinstance(value, list) and _canonical(name) in _LISTS:
            if not all(isinstance(text, str) for text in value):
                raise ConfigError(f"{path}: {name}: must be an array of texts")
            text = ";".join(value)
        elif not isinstance(value, str | int | float):
            raise ConfigError(f"{path}: {name}: must be a text, a number, true or false")
        else:
            text = str(value).lower() if isinstance(value, bool) else str(value)
        found[_canonical(name)] = (f"{path}: {name}", text)
    return found


def _read_environment(environment: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    found = {}
    for variable, value in environment.items():
        name = _canonical(variable.removeprefix("DUALKV_"))
        if variable.startswith("DUALKV_") and not _NOT_A_SETTING.fullmatch(variable):
            found[name] = (variable, value)
    return found


def _read_secret(place: str, path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{place}: cannot read {path}: {error}") from None
