"""dualkv as a user has it: installed from the wheel, with nothing that only developers need."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from tests.package.building import Built, run
from tests.support.client import connect
from tests.support.process import serving
from tests.support.servers import Pair
from tests.support.stores import contents

pytestmark = pytest.mark.package

IMPORT_ALL = """
import importlib, pkgutil, dualkv
names = [module.name for module in pkgutil.walk_packages(dualkv.__path__, "dualkv.")]
for name in names:
    if name != "dualkv.__main__":
        importlib.import_module(name)
print(len(names), dualkv.__file__)
"""


def test_it_says_its_version(programs: Path, tmp_path: Path) -> None:
    """The one that was built."""
    said = run(programs / "dualkv", "--version", cwd=tmp_path)

    assert said == f"dualkv {importlib.metadata.version('dualkv')}\n"


def test_it_tells_its_commands(programs: Path, tmp_path: Path) -> None:
    """Help is what one asks for first."""
    said = run(programs / "dualkv", "--help", cwd=tmp_path)

    assert {"serve", "preflight", "demo", "torture"} <= set(said.split())


def test_every_module_can_be_imported(programs: Path, tmp_path: Path) -> None:
    """None needs a package that only developers have, and all come from where it was installed."""
    count, file = run(programs / "python", "-c", IMPORT_ALL, cwd=tmp_path).split()

    assert int(count) > 100
    assert Path(file).is_relative_to(programs.parent)


async def test_it_serves_between_two_servers(
    programs: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client's writes are on both after an orderly end."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    async with serving(pair, program=(str(programs / "dualkv"),)) as process:
        async with connect(process.port) as client:
            assert await client.call("SET", "greeting", "hello") == b"+OK\r\n"
            assert await client.call("GET", "greeting") == b"$5\r\nhello\r\n"
        process.popen.terminate()
        code, _ = await process.wait()

    assert code == 0
    assert contents(pair.secondary) == contents(pair.primary) != {}


def test_the_demo_runs_with_a_server_of_ones_own(programs: Path, server_binary: Path, tmp_path: Path) -> None:
    """Without the extra that brings one."""
    said = run(programs / "dualkv", "demo", "--seconds", "1", "--server-binary", server_binary, cwd=tmp_path)

    assert "ended: dual-write-shadow" in said


def test_pipx_installs_it(built: Built, tmp_path: Path) -> None:
    """A command of its own in an environment of its own."""
    folders = {f"PIPX_{name}": str(tmp_path / name) for name in ("HOME", "BIN_DIR", "MAN_DIR")}
    run(
        sys.executable,
        "-m",
        "pipx",
        "install",
        "--python",
        sys.executable,
        built.wheel,
        cwd=tmp_path,
        **folders,
    )

    assert run(tmp_path / "BIN_DIR" / "dualkv", "--version", cwd=tmp_path).startswith("dualkv ")
