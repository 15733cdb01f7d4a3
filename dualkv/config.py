"""Settings: what can be set, where it comes from, what is refused.

Every setting is one field of `ProxyConfig`, and each field is a flag, an environment variable and a key
of the TOML file (flag ``--shadow-timeout``, variable ``DUALKV_SHADOW_TIMEOUT``, key ``shadow_timeout``).
Flags win over the environment, the environment over the file, the file over the default. A wrong one is
a `ConfigError` in one line that names where it stands.
"""

from __future__ import annotations

import enum
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import attrs

from dualkv.errors import ConfigError

__all__ = [
    "SETTINGS",
    "BackendOptions",
    "ProxyConfig",
    "ProxyMode",
    "Setting",
    "load_config",
    "parse_proxy_mode",
]


class ProxyMode(enum.Enum):
    """Who answers and who follows; the migration path in its order."""

    REDIS_ONLY = "redis-only"
    DUAL_WRITE = "dual-write"
    DUAL_WRITE_SHADOW = "dual-write-shadow"
    ELASTICKV_PRIMARY = "elastickv-primary"
    ELASTICKV_ONLY = "elastickv-only"


_MODE_ALIASES: Final = {
    "primary-only": ProxyMode.REDIS_ONLY,
    "secondary-primary": ProxyMode.ELASTICKV_PRIMARY,
    "secondary-only": ProxyMode.ELASTICKV_ONLY,
}


def parse_proxy_mode(text: str) -> ProxyMode:
    """Return the mode called *text*.

    Raises:
        ConfigError: No such mode.
    """
    if text in _MODE_ALIASES:
        return _MODE_ALIASES[text]
    try:
        return ProxyMode(text)
    except ValueError:
        known = ", ".join([mode.value for mode in ProxyMode] + list(_MODE_ALIASES))
        raise ConfigError(f"{text!r} is not a mode ({known})") from None


# --- values -----------------------------------------------------------------------------------------

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(\d+)\s*([KMG]i?B|B)?", re.IGNORECASE)
_BYTES: Final = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def _duration(text: str) -> float:
    parts = _DURATION.findall(text)
    if text == "0":
        return 0.0
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ConfigError(f"{text!r} is not a duration such as 500ms, 3s or 5m")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _positive_duration(text: str) -> float:
    seconds = _duration(text)
    if seconds <= 0:
        raise ConfigError("must be more than 0")
    return seconds


def _count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a whole number") from None
    if number < 0:
        raise ConfigError("must not be negative")
    return number


def _positive_count(text: str) -> int:
    number = _count(text)
    if number == 0:
        raise ConfigError("must be more than 0")
    return number


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{text!r} is not a size such as 65536, 512KiB or 64MiB")
    number = int(found[1]) * _BYTES[(found[2] or "b")[:1].lower()]
    if number <= 0:
        raise ConfigError("must be more than 0")
    return number


def _fraction(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ConfigError(f"{text!r} is not a number") from None
    if not 0 <= number <= 1:
        raise ConfigError("must lie between 0 and 1")
    return number


def _listen_address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"{text!r} is not an address such as :6479 or 127.0.0.1:6479")
    return host.strip("[]"), int(port)


def _optional_listen_address(text: str) -> tuple[str, int] | None:
    return None if text in ("", "off") else _listen_address(text)


def _log_level(text: str) -> str:
    if text.lower() not in ("debug", "info", "warning", "error"):
        raise ConfigError(f"{text!r} is not a log level (debug, info, warning, error)")
    return text.lower()


def _label(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", text):
        raise ConfigError(f"{text!r} is not a name (lower case, at most 31 characters)")
    return text


# --- backends ---------------------------------------------------------------------------------------


@attrs.frozen
class BackendOptions:
    """How to reach one backend and how much of it to use."""

    name: str
    """Its label in metrics and logs."""
    host: str = "localhost"
    port: int = 6379
    unix_path: str | None = None
    """Path of a Unix socket; host and port are not used then."""
    tls: bool = False
    """Speak TLS; the certificate is verified against the system's authorities."""
    username: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    db: int = 0
    pool_size: int = 128
    """Most connections of every kind at once."""
    dial_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 3.0
    write_timeout_seconds: float = 3.0

    @property
    def address(self) -> str:
        """Where it is, without secrets."""
        if self.unix_path is not None:
            return f"unix://{self.unix_path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss://' if self.tls else ''}{host}:{self.port}"


def _backend_address(text: str) -> dict[str, Any]:
    """Return the fields of `BackendOptions` that an address or URL gives."""
    if "," in text:
        raise ConfigError("a list of seeds (leader-aware backend) is not supported yet: name one address")
    if "://" not in text:
        host, port = _listen_address(text)
        return {"host": host or "localhost", "port": port}
    url = urlsplit(text)
    if url.scheme not in ("redis", "rediss", "unix"):
        raise ConfigError(f"{url.scheme}:// is not a scheme (redis, rediss, unix)")
    found: dict[str, Any] = {}
    if url.username:
        found["username"] = unquote(url.username)
    if url.password:
        found["password"] = unquote(url.password)
    db = url.path.strip("/")
    if url.scheme == "unix":
        found["unix_path"] = url.path
        db = dict(pair.split("=", 1) for pair in url.query.split("&") if "=" in pair).get("db", "")
    else:
        found["tls"] = url.scheme == "rediss"
        found["host"] = url.hostname or "localhost"
        try:
            found["port"] = url.port or 6379
        except ValueError:
            raise ConfigError("the port is not a number up to 65535") from None
    if db:
        found["db"] = _count(db)
    return found


def _backend(text: str) -> str:
    _backend_address(text)
    return text


def _without_secret(address: str) -> str:
    return re.sub(r"(://[^/@]*:)[^@]*@", r"\1***@", address)


# --- the settings -----------------------------------------------------------------------------------


@attrs.frozen
class Setting:
    """One thing that can be set."""

    name: str
    """As in the TOML file."""
    field: str
    """The attribute of `ProxyConfig`; differs from the name where that carries a unit."""
    default: str
    parse: Callable[[str], Any]
    help: str
    secret: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The command line's option."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment's variable."""
        return "DUALKV_" + self.name.upper()


def _setting(
    default: str,
    parse: Callable[[str], Any],
    help_text: str,
    *,
    name: str | None = None,
    secret: bool = False,
    aliases: tuple[str, ...] = (),
) -> Any:
    return attrs.field(
        default=parse(default),
        repr=not secret,
        metadata={
            "name": name, "default": default, "parse": parse, "help": help_text,
            "secret": secret, "aliases": aliases,
        },
    )  # fmt: skip


@attrs.frozen
class ProxyConfig:
    """The effective settings. Make one with `load_config`, or directly in a program or test."""

    mode: ProxyMode = _setting("dual-write", parse_proxy_mode, "Who answers and who follows.")
    listen: tuple[str, int] = _setting(
        ":6479", _listen_address, "Where clients connect; port 0 takes a free one."
    )
    metrics: tuple[str, int] | None = _setting(
        ":9191", _optional_listen_address, "Where HTTP serves /metrics, /healthz, /readyz; 'off': nowhere."
    )

    primary: str = _setting(
        "localhost:6379",
        _backend,
        "The store of the redis-* modes: host:port, redis://, rediss:// or unix://.",
    )
    primary_db: int = _setting("0", _count, "Its database number.")
    primary_password: str = _setting("", str, "Its password (better: the _FILE form).", secret=True)
    primary_name: str = _setting("redis", _label, "Its name in metrics and logs.")
    primary_pool_size: int = _setting("128", _positive_count, "Most connections to it, of all kinds.")
    secondary: str = _setting("localhost:6380", _backend, "The store of the elastickv-* modes.")
    secondary_db: int = _setting("0", _count, "Its database number.")
    secondary_password: str = _setting("", str, "Its password (better: the _FILE form).", secret=True)
    secondary_name: str = _setting("elastickv", _label, "Its name in metrics and logs.")
    secondary_pool_size: int = _setting(
        "192",
        _positive_count,
        "Most connections to it, of all kinds.",
        aliases=("elastickv_pool_size",),
    )
    dial_timeout_seconds: float = _setting(
        "5s",
        _positive_duration,
        "Longest time to connect to a backend, handshake included.",
        name="dial_timeout",
    )
    read_timeout_seconds: float = _setting(
        "3s",
        _positive_duration,
        "Longest silence of a backend that owes a reply.",
        name="read_timeout",
    )
    write_timeout_seconds: float = _setting(
        "3s", _positive_duration, "Longest time to hand bytes to a backend.", name="write_timeout"
    )

    secondary_write_concurrency: int = _setting(
        "0",
        _count,
        "Connections that mirrored writes are spread over, by key; 0: one, which carries a pipeline.",
    )
    secondary_script_concurrency: int = _setting(
        "0",
        _count,
        "Batches with mirrored scripts in flight at once; 0: a thirty-second of it, 1 to 3.",
    )
    secondary_blocking_replay_concurrency: int = _setting(
        "0",
        _count,
        "Effects of blocking commands in flight at once; 0: what the pool has left, at most 32.",
    )
    secondary_write_queue_size: int = _setting(
        "0", _count, "Mirrored writes that may wait; 0: 64 x concurrency, within 64 and 8192."
    )
    secondary_script_queue_size: int = _setting("0", _count, "Mirrored scripts that may wait; 0: as above.")
    secondary_blocking_replay_queue_size: int = _setting(
        "0", _count, "Effects of blocking commands that may wait; 0: as above."
    )
    secondary_queue_bytes: int = _setting(
        "64MiB", _size, "Bytes that everything waiting for the secondary may take."
    )
    secondary_timeout_seconds: float = _setting(
        "30s",
        _positive_duration,
        "Longest life of a mirrored write, from offer to answer.",
        name="secondary_timeout",
    )
    secondary_script_timeout_seconds: float = _setting(
        "5m",
        _duration,
        "The same for scripts, at most 5m; 0: as for writes.",
        name="secondary_script_timeout",
    )
    shadow_timeout_seconds: float = _setting(
        "3s",
        _positive_duration,
        "Longest wait of a shadow read before it is given up.",
        name="shadow_timeout",
    )
    shadow_queue_size: int = _setting("1024", _positive_count, "Shadow reads at once.")

    pubsub_compare_window_seconds: float = _setting(
        "2s",
        _positive_duration,
        "How long a message waits for its twin.",
        name="pubsub_compare_window",
    )
    pubsub_sweep_seconds: float = _setting(
        "500ms",
        _positive_duration,
        "How often waiting messages are looked through.",
        name="pubsub_sweep",
    )

    max_clients: int = _setting("10000", _positive_count, "Most clients at once.")
    client_outstanding: int = _setting(
        "1024",
        _positive_count,
        "Commands of one client that may wait for a reply; then it is not read.",
    )
    client_output_bytes: int = _setting(
        "32MiB", _size, "Replies that one client may leave unread; then it is disconnected."
    )

    lame_duck_seconds: float = _setting(
        "0s",
        _duration,
        "Between SIGTERM and closing the door, for load balancers to notice.",
        name="lame_duck",
    )
    drain_seconds: float = _setting(
        "10s",
        _positive_duration,
        "Longest time for clients to finish, and again for the queue to empty.",
        name="drain",
    )

    sentry_dsn: str = _setting("", str, "Where divergences are reported; empty: nowhere.", secret=True)
    sentry_env: str = _setting("", str, "Sentry's environment.")
    sentry_sample: float = _setting("1.0", _fraction, "Share of events sent to Sentry.")
    log_level: str = _setting("info", _log_level, "debug, info, warning or error.")

    def __attrs_post_init__(self) -> None:
        """Check what no single setting can see."""
        pool = self.secondary_pool_size
        for name in (
            "secondary_write_concurrency",
            "secondary_script_concurrency",
            "secondary_blocking_replay_concurrency",
        ):
            if getattr(self, name) > pool:
                raise ConfigError(f"{name}: {getattr(self, name)} is more than secondary_pool_size ({pool})")
        if self.secondary_script_timeout_seconds > 300:
            raise ConfigError("secondary_script_timeout: must not be more than 5m")
        if self.primary_name == self.secondary_name:
            raise ConfigError(f"secondary_name: {self.secondary_name!r} is the primary's name")

    # --- what follows from the settings

    def backend_options(self, which: str) -> BackendOptions:
        """Return how to reach ``"primary"`` or ``"secondary"`` (as configured, whatever the mode)."""
        options: dict[str, Any] = {
            "db": getattr(self, f"{which}_db"),
            "password": getattr(self, f"{which}_password") or None,
            **_backend_address(getattr(self, which)),
        }
        return BackendOptions(
            name=getattr(self, f"{which}_name"),
            pool_size=getattr(self, f"{which}_pool_size"),
            dial_timeout_seconds=self.dial_timeout_seconds,
            read_timeout_seconds=self.read_timeout_seconds,
            write_timeout_seconds=self.write_timeout_seconds,
            **options,
        )

    @property
    def shards(self) -> int:
        """Into how many ordered streams, by key, the mirrored writes are split; a connection each."""
        return self.secondary_write_concurrency or 1

    @property
    def _write_share(self) -> int:
        """The part of the secondary's pool that the sizes of queues are measured by."""
        return self.secondary_write_concurrency or max(1, self.secondary_pool_size // 2)

    @property
    def script_concurrency(self) -> int:
        """Batches with mirrored scripts in flight at once."""
        return self.secondary_script_concurrency or min(3, max(1, self._write_share // 32))

    @property
    def blocking_replay_concurrency(self) -> int:
        """Effects of blocking commands in flight at once."""
        left = self.secondary_pool_size - self._write_share - self.script_concurrency
        return self.secondary_blocking_replay_concurrency or min(32, max(1, left))

    @property
    def queue_sizes(self) -> dict[str, int]:
        """Items that may wait, by queue."""
        return {
            "write": self.secondary_write_queue_size or _queue_size(self._write_share),
            "script": self.secondary_script_queue_size or _queue_size(self.script_concurrency),
            "blocking": self.secondary_blocking_replay_queue_size
            or _queue_size(self.blocking_replay_concurrency),
            "shadow": self.shadow_queue_size,
        }

    @property
    def script_timeout_seconds(self) -> float:
        """Longest life of a mirrored script, from offer to answer."""
        return self.secondary_script_timeout_seconds or self.secondary_timeout_seconds

    def effective(self) -> dict[str, str]:
        """Return every setting by name as a person reads it, secrets blanked."""
        return {setting.name: _shown(setting, getattr(self, setting.field)) for setting in SETTINGS}


def _queue_size(concurrency: int) -> int:
    return min(8192, max(64, 64 * concurrency))


def _shown(setting: Setting, value: Any) -> str:
    if setting.secret:
        return "***" if value else ""
    if isinstance(value, ProxyMode):
        return value.value
    if setting.parse in (_listen_address, _optional_listen_address):
        return "off" if value is None else f"{value[0]}:{value[1]}"
    if setting.parse in (_duration, _positive_duration):
        return f"{value:g}s"
    if setting.parse is _backend:
        return _without_secret(value)
    return str(value)


SETTINGS: Final = tuple(
    Setting(
        name=field.metadata["name"] or field.name,
        field=field.name,
        default=field.metadata["default"],
        parse=field.metadata["parse"],
        help=field.metadata["help"],
        secret=field.metadata["secret"],
        aliases=field.metadata["aliases"],
    )
    for field in attrs.fields(ProxyConfig)
)
"""All settings, in the order of the documentation."""


# --- where they come from ---------------------------------------------------------------------------


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
_NOT_SETTINGS: Final = frozenset({"config"})


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
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ConfigError(f"{path}: {name}: must be a text or a number")
        found[_canonical(name)] = (f"{path}: {name}", str(value))
    return found


def _read_environment(environment: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    found = {}
    for variable, value in environment.items():
        name = _canonical(variable.removeprefix("DUALKV_"))
        if variable.startswith("DUALKV_") and name not in _NOT_SETTINGS:
            found[name] = (variable, value)
    return found


def _read_secret(place: str, path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{place}: cannot read {path}: {error}") from None
