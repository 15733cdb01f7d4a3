"""TLS with real servers and real processes, and the how-to's commands."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from dualkv.config import ProxyMode, load_config
from dualkv.errors import ConfigError
from dualkv.net.start_check import check_tls_files
from dualkv.resp import encode
from dualkv.servers import EmbeddedServer, free_port
from tests.support.proxy import running_proxy, wait_until
from tests.support.servers import Pair
from tests.support.stores import contents
from tests.support.tls import Pems, tls_connect

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "tls.md"


@pytest.fixture(name="pems")
def _pems(tmp_path: Path) -> Pems:
    return Pems(tmp_path)


@pytest.fixture(name="tls_pair")
def _tls_pair(pems: Pems) -> Iterator[tuple[Pair, list[str]]]:
    """Two of Debian's servers that ask for certificates, and their TLS addresses."""
    binary = shutil.which("redis-server")
    assert binary is not None
    ports = [free_port(), free_port()]
    servers = [
        EmbeddedServer(
            Path(binary), "--tls-port", str(port), "--tls-cert-file", pems.cert, "--tls-key-file", pems.key,
            "--tls-ca-cert-file", pems.ca, "--tls-auth-clients", "yes",
        )
        for port in ports
    ]  # fmt: skip
    with servers[0] as primary, servers[1] as secondary:
        yield Pair(primary, secondary), [f"rediss://localhost:{port}" for port in ports]


async def test_all_three_legs_speak_tls(pems: Pems, tls_pair: tuple[Pair, list[str]]) -> None:
    """Client, primary and secondary, each with certificates on both sides: all is mirrored and compared."""
    pair, addresses = tls_pair
    mine = pems.of_client("dualkv")
    async with (
        running_proxy(
            addresses[0], addresses[1],
            tls_cert=pems.cert, tls_key=pems.key, tls_client_ca=pems.ca,
            primary_tls_ca=pems.ca, primary_tls_cert=mine,
            secondary_tls_ca=pems.ca, secondary_tls_cert=mine,
        ) as proxy,
        tls_connect(proxy.port, pems.context(pems.of_client())) as (client, _),
    ):  # fmt: skip
        for number in range(200):
            assert await client.call("SET", f"k{number}", "x" * number * 500) == encode.OK
            assert await client.call("GET", f"k{number}") == encode.bulk("x" * number * 500)
        assert b"subscribe" in await client.call("SUBSCRIBE", "channel")
        await proxy.wait_repaired()

        assert contents(pair.primary) == contents(pair.secondary)
        assert proxy.metrics.shadow_matches > 0
        assert not proxy.metrics.divergences


async def test_store_that_wants_a_certificate_refuses_without(
    pems: Pems, tls_pair: tuple[Pair, list[str]]
) -> None:
    """Clients get the usual error; the reason is there to be read."""
    _, addresses = tls_pair
    async with running_proxy(addresses[0], mode=ProxyMode.REDIS_ONLY, primary_tls_ca=pems.ca) as proxy:
        await wait_until(lambda: proxy.server.writer.primary.last_error is not None)
        error = proxy.server.writer.primary.last_error
        assert error is not None
        assert re.search("certificate required|closed", error), error


def _get(port: int, context: ssl.SSLContext, path: str = "/healthz") -> str:
    with urllib.request.urlopen(f"https://localhost:{port}{path}", context=context, timeout=20) as answer:
        text: str = answer.read().decode()
        return text


async def test_http_speaks_tls_with_the_newest_certificate(pems: Pems, pair: Pair) -> None:
    """Its certificate changes with that of the listener; an old authority is not believed any more."""
    async with running_proxy(
        pair.primary.address, mode=ProxyMode.REDIS_ONLY, tls_cert=pems.cert, tls_key=pems.key,
        metrics_tls="on",
    ) as proxy:  # fmt: skip
        old = pems.context()
        assert "alive" in await trio.to_thread.run_sync(_get, proxy.http_port, old)
        other = Pems(_made(pems.directory / "other"))
        pems.issue(authority=other.authority)
        assert "alive" in await trio.to_thread.run_sync(_get, proxy.http_port, other.context())
        with pytest.raises(urllib.error.URLError, match="certificate verify failed"):
            await trio.to_thread.run_sync(_get, proxy.http_port, old)


async def test_control_speaks_tls_and_can_ask_for_certificates(pems: Pems, pair: Pair) -> None:
    """`admin_tls` is to the admin address what `metrics_tls` is to the other one."""
    async with running_proxy(
        pair.primary.address, mode=ProxyMode.REDIS_ONLY, tls_cert=pems.cert, tls_key=pems.key,
        tls_client_ca=pems.ca, admin_tls="mutual",
    ) as proxy:  # fmt: skip
        context = pems.context(pems.of_client())
        assert "redis-only" in await trio.to_thread.run_sync(_get, proxy.admin_port, context, "/api/mode")
        with pytest.raises(OSError, match=r"(?i)certificate required|reset|closed|eof"):
            await trio.to_thread.run_sync(_get, proxy.admin_port, pems.context(), "/api/mode")


async def test_http_can_ask_for_certificates(pems: Pems, pair: Pair) -> None:
    """With 'mutual', who reads metrics must show one."""
    async with running_proxy(
        pair.primary.address, mode=ProxyMode.REDIS_ONLY, tls_cert=pems.cert, tls_key=pems.key,
        tls_client_ca=pems.ca, metrics_tls="mutual",
    ) as proxy:  # fmt: skip
        context = pems.context(pems.of_client())
        text = await trio.to_thread.run_sync(_get, proxy.http_port, context, "/metrics")
        assert "proxy_active_connections" in text
        with pytest.raises(OSError, match=r"(?i)certificate required|reset|closed|eof"):
            await trio.to_thread.run_sync(_get, proxy.http_port, pems.context())


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


@pytest.mark.parametrize("how", ["file change", "signal"])
async def test_process_takes_a_new_certificate_and_keeps_its_clients(
    pems: Pems, pair: Pair, how: str
) -> None:
    """``kill -HUP`` ends nobody; who was there goes on, who comes sees the new certificate."""
    port = free_port()
    popen = subprocess.Popen(  # noqa: ASYNC220 - returns as soon as it is started
        [
            sys.executable, "-m", "dualkv", "serve", "--mode", "redis-only", "--auth", "none",
            "--primary", pair.primary.address, "--listen", f"127.0.0.1:{port}", "--metrics", "off",
            "--admin", "off", "--tls-cert", pems.cert, "--tls-key", pems.key,
        ],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        await _wait_listening(port)
        async with tls_connect(port, pems.context()) as (client, stream):
            before = stream.getpeercert()["serialNumber"]
            pems.issue()
            if how == "signal":
                popen.send_signal(signal.SIGHUP)
            async with tls_connect(port, pems.context()) as (new, new_stream):
                assert new_stream.getpeercert()["serialNumber"] != before
                assert await new.call("SET", "a", "1") == encode.OK
            assert await client.call("GET", "a") == encode.bulk("1")
        popen.send_signal(signal.SIGTERM)
        output, _ = await trio.to_thread.run_sync(lambda: popen.communicate(timeout=30))
    finally:
        popen.kill()
        popen.communicate()

    assert popen.returncode == 0
    assert b"certificates reloaded" in output


async def _wait_listening(port: int) -> None:
    """Wait until something accepts connections; a process has to start first."""
    with trio.fail_after(30):
        while True:
            try:
                await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                return
            except OSError:
                await trio.sleep(0.02)


def test_warning_tells_of_stores_that_are_not_verified(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever switched it off to try something is reminded at each start."""
    check_tls_files(load_config({"secondary": "rediss://store:1", "secondary_tls_verify": "false"}))

    (record,) = [record for record in caplog.records if record.name == "dualkv.tls"]
    assert record.message == "secondary_tls_verify is off: anybody can pretend to be this store"


def test_files_of_stores_are_checked_at_the_start(tmp_path: Path) -> None:
    """A wrong path is a wrong setting, whether the store is there or not."""
    config = load_config({"primary": "rediss://store:1", "primary_tls_ca": str(tmp_path / "nowhere")})
    with pytest.raises(ConfigError, match=f"^primary_tls_ca: {tmp_path}/nowhere: No such file or directory$"):
        check_tls_files(config)


def _free_ports(text: str, store: int) -> str:
    """Return commands or settings of the how-to with ports that nobody uses."""
    for port in ("6479", "6480", "9191"):
        text = text.replace(port, str(_PORTS[port]))
    return text.replace("127.0.0.1:6379", f"127.0.0.1:{store}")


_PORTS = {port: free_port() for port in ("6479", "6480", "9191")}

_WAIT = """\
await() { for _ in $(seq 300); do (echo > /dev/tcp/127.0.0.1/$1) 2>/dev/null && return; sleep 0.1; done; }
"""


def test_commands_of_the_how_to_work(tmp_path: Path, valkey_port: int) -> None:
    """One after the other in a shell, with other ports, they print what the page says they print."""
    text = HOW_TO.read_text()
    settings = re.search(r"```toml\n# tls.toml\n(.*?)```", text, re.DOTALL)
    assert settings is not None
    (tmp_path / "tls.toml").write_text(_free_ports(settings[1], valkey_port))
    commands: list[str] = []
    expected: list[str] = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            is_command = line.startswith("$ ")
            (commands if is_command else expected).append(line.removeprefix("$ "))
    python = shlex.quote(sys.executable)
    script = [f'dualkv() {{ exec {python} -m dualkv "$@"; }}', _WAIT, "set -e"]
    for command in (_free_ports(command, valkey_port) for command in commands):
        if command.endswith("&"):
            port = _PORTS["6480" if str(_PORTS["6480"]) in command else "6479"]
            script += [f'{command.removesuffix("&")} > log.{port} & PIDS="$PIDS $!"', f"await {port}"]
        elif command.startswith("pkill"):
            script.append("kill -HUP ${PIDS% *}")  # not everything that has this name on this machine
        elif command.startswith("dualkv"):
            script.append(f"({command} > checked)")
        else:
            script.append(command)
    script.append("kill $PIDS; wait $PIDS")
    outcome = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(HOW_TO.parents[2])}, check=False,
    )  # fmt: skip

    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.replace("}", "}\n").split() == expected
    assert "certificates reloaded" in (tmp_path / f"log.{_PORTS['6479']}").read_text()
