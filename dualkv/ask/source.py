"""Where records of divergences come from: a running dualkv, or the file that one writes.

A source that cannot be read is a `ConfigError` in one line: whoever asks has named the wrong place, or
nobody is there.
"""

from __future__ import annotations

import http.client
import json
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

import attrs

from dualkv.config import ProxyConfig
from dualkv.config.values import DATABASE_SUFFIXES
from dualkv.core.printable import data_of
from dualkv.errors import ConfigError

__all__ = [
    "DatabaseSource",
    "HttpSource",
    "LinesSource",
    "Record",
    "Source",
    "Wanted",
    "address_of",
    "open_source",
]

_PATIENCE_SECONDS: Final = 10.0
_MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024

Record = dict[str, Any]


@attrs.frozen
class Wanted:
    """Which records are wanted; by default all."""

    command: str = ""
    kind: str = ""
    key_prefix: str = ""
    """As keys are shown."""
    since_seconds: float = 0.0
    """Unix time."""

    def takes(self, record: Record) -> bool:
        """Whether a record of a file is wanted; what is no record is not."""
        try:
            return (
                self.command in ("", record["command"])
                and self.kind in ("", record["kind"])
                and data_of(record["key"]).startswith(data_of(self.key_prefix))
                and (
                    not self.since_seconds
                    or datetime.fromisoformat(record["time"]).timestamp() >= self.since_seconds
                )
                and isinstance(record["id"], str)
            )
        except (KeyError, TypeError, ValueError):
            return False


class Source(Protocol):
    """Where records come from."""

    def find(self, wanted: Wanted, limit: int) -> list[Record]:
        """Return the newest records, oldest first."""

    def later(self, wanted: Wanted) -> list[Record]:
        """Return what has come since the last call of this or of `find`."""

    def get(self, divergence_id: str) -> Record | None:
        """Return one record; None: there is no such one."""


@attrs.define
class HttpSource:
    """A running dualkv.

    Args:
        url: Its HTTP address.
        token: What lets in there; empty: nothing is said.
    """

    url: str
    token: str = attrs.field(default="", repr=False)
    _last_id: str = attrs.field(init=False, default="")

    def fetch(self, path: str, **parameters: object) -> tuple[int, Any]:
        """Return status and content of a page.

        Raises:
            ConfigError: Nobody answers there, or somebody else does.
        """
        query = urllib.parse.urlencode({name: value for name, value in parameters.items() if value})
        return self._ask("GET", path + ("?" + query if query else ""))

    def change(
        self,
        method: str,
        path: str,
        body: Mapping[str, object],
        *,
        user: str = "",
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> tuple[int, Any]:
        """Ask for a change; return status and content of the answer.

        Args:
            method: As of `dualkv.admin.operations.Operation`.
            path: The same.
            body: What is wanted.
            user: Who says that he wants it.
            patience_seconds: How long to wait for the answer.

        Raises:
            ConfigError: Nobody answers there, or somebody else does.
        """
        headers = {"Content-Type": "application/json", **({"X-Dualkv-User": user} if user else {})}
        return self._ask(method, path, json.dumps(body).encode(), headers, patience_seconds)

    def _ask(
        self,
        method: str,
        path: str,
        data: bytes | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> tuple[int, Any]:
        url = self.url.rstrip("/") + path
        if not _is_address(url):
            raise ConfigError(f"--url {self.url}: not an address such as http://127.0.0.1:9191")
        said = {**headers, **({"Authorization": f"Bearer {self.token}"} if self.token else {})}
        request = urllib.request.Request(url, data, said, method=method)  # noqa: S310 - http or https
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _StayHere)  # it is near
        try:
            try:
                with opener.open(request, timeout=patience_seconds) as answer:
                    return answer.status, json.loads(answer.read(_MAX_ANSWER_BYTES))
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, json.loads(error.read(_MAX_ANSWER_BYTES))
        except urllib.error.URLError as error:
            reason = getattr(error.reason, "strerror", None) or error.reason
            raise ConfigError(f"cannot reach dualkv at {self.url}: {reason}") from None
        except OSError as error:
            raise ConfigError(f"cannot reach dualkv at {self.url}: {error.strerror or error}") from None
        except (ValueError, http.client.HTTPException) as error:
            raise ConfigError(f"{self.url}{path}: not an answer of dualkv: {error}") from None

    def find(self, wanted: Wanted, limit: int) -> list[Record]:
        """Return the newest records, oldest first."""
        return self._records(wanted, limit, "")

    def later(self, wanted: Wanted) -> list[Record]:
        """Return what has come since the last call of this or of `find`."""
        return self._records(wanted, 1000, self._last_id)

    def _records(self, wanted: Wanted, limit: int, after: str) -> list[Record]:
        status, body = self.fetch(
            "/divergences",
            command=wanted.command,
            kind=wanted.kind,
            key_prefix=wanted.key_prefix,
            since=wanted.since_seconds,
            after=after,
            limit=limit,
        )
        if status != 200:
            raise ConfigError(
                f"{self.url}: {body.get('error', status) if isinstance(body, dict) else status}"
            )
        try:
            records: list[Record] = body["divergences"]
            if records:
                self._last_id = records[-1]["id"]
        except (KeyError, TypeError):
            raise ConfigError(f"{self.url}/divergences: not an answer of dualkv") from None
        return records

    def get(self, divergence_id: str) -> Record | None:
        """Return one record; None: there is no such one."""
        status, body = self.fetch(f"/divergences/{urllib.parse.quote(divergence_id, safe='')}")
        return body if status == 200 else None


@attrs.define
class LinesSource:
    """A file of JSON lines, and the one that was moved away before it."""

    path: Path
    _position: int = attrs.field(init=False, default=0)
    _file_number: int = attrs.field(init=False, default=0)

    def find(self, wanted: Wanted, limit: int) -> list[Record]:
        """Return the newest records, oldest first."""
        return _last(filter(wanted.takes, self._all()), limit)

    def later(self, wanted: Wanted) -> list[Record]:
        """Return what has come since the last call of this or of `find`."""
        return [*filter(wanted.takes, self._rest())]

    def get(self, divergence_id: str) -> Record | None:
        """Return one record; None: there is no such one."""
        return next((record for record in self._all() if _id_of(record) == divergence_id), None)

    def _all(self) -> Iterator[Record]:
        before = Path(f"{self.path}.1")
        if before.exists():
            yield from _parsed(_read(before, 0))
        self._position = 0
        yield from self._rest()

    def _rest(self) -> Iterator[Record]:
        """Yield what is in the file and has not been read; a last line that is not finished is left."""
        try:
            state = self.path.stat()
        except OSError as error:
            raise ConfigError(f"cannot read {self.path}: {error.strerror}") from None
        if state.st_ino != self._file_number or state.st_size < self._position:
            self._position = 0  # it was moved away, and another one is there now
        self._file_number = state.st_ino
        data = _read(self.path, self._position)
        whole = data[: data.rfind(b"\n") + 1]
        self._position += len(whole)
        yield from _parsed(whole)


@attrs.define
class DatabaseSource:
    """A SQLite database."""

    path: Path
    _last_number: int = attrs.field(init=False, default=0)

    def find(self, wanted: Wanted, limit: int) -> list[Record]:
        """Return the newest records, oldest first."""
        return _last(filter(wanted.takes, self._records("WHERE number > ? ORDER BY number", 0)), limit)

    def later(self, wanted: Wanted) -> list[Record]:
        """Return what has come since the last call of this or of `find`."""
        return [*filter(wanted.takes, self._records("WHERE number > ? ORDER BY number", self._last_number))]

    def get(self, divergence_id: str) -> Record | None:
        """Return one record; None: there is no such one."""
        return next(self._records("WHERE id = ?", divergence_id), None)

    def _records(self, where: str, value: object) -> Iterator[Record]:
        name = urllib.parse.quote(str(self.path.absolute()))
        try:
            with closing(sqlite3.connect(f"file:{name}?mode=ro", uri=True)) as database:
                for number, text in database.execute(
                    f"SELECT number, record FROM divergences {where}",  # noqa: S608 - one of ours
                    (value,),
                ):
                    self._last_number = max(self._last_number, number)
                    yield from _parsed(text.encode())
        except sqlite3.Error as error:
            raise ConfigError(f"cannot read {self.path}: {error}") from None


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Goes nowhere else: a token is for who was named."""

    def redirect_request(self, *_: object) -> None:
        """Return nothing: the answer is what it is."""


def address_of(config: ProxyConfig, setting: Literal["metrics", "admin"] = "metrics") -> str:
    """Return the HTTP address of a dualkv that runs on this machine with these settings.

    Args:
        config: The settings.
        setting: Which address.

    Raises:
        ConfigError: It serves no HTTP there.
    """
    address: tuple[str, int] | None = getattr(config, setting)
    if address is None:
        raise ConfigError(f"{setting}: is off: there is nobody to ask")
    host, port = address
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not bound here
    scheme = "http" if getattr(config, f"{setting}_tls") == "off" else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def open_source(url: str, file: Path | None) -> Source:
    """Return where records come from: the file if one is named, else the address."""
    if file is None:
        return HttpSource(url)
    return DatabaseSource(file) if file.name.endswith(DATABASE_SUFFIXES) else LinesSource(file)


def _is_address(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _last(records: Iterable[Record], limit: int) -> list[Record]:
    kept = list(records)
    return kept[max(0, len(kept) - limit) :]


def _read(path: Path, position: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(position)
            return file.read()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None


def _parsed(data: bytes) -> Iterator[Record]:
    """Yield the records in lines; a torn line is none."""
    for line in data.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def _id_of(record: Record) -> object:
    return record.get("id")
