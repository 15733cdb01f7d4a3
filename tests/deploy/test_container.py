"""The image: what its file says, and how dualkv behaves as the first process on a read-only file system."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from tests.deploy.behind import DEPLOY
from tests.deploy.container import contained
from tests.deploy.programs import find_program
from tests.support.client import connect
from tests.support.proxy import wait_until
from tests.support.servers import Pair
from tests.support.stores import contents

pytestmark = pytest.mark.deploy

DOCKERFILE = DEPLOY / "Dockerfile"


async def test_process_1_on_a_read_only_file_system_drains_on_sigterm(pair: Pair) -> None:
    """It needs to write nowhere but to its journal, has no complaints, and ends with 0 and nothing left."""
    async with contained(pair) as container, connect(container.port) as client:
        await client.pipeline([("RPUSH", "list", number) for number in range(5000)])
        code, last_words, errors = await container.end()

    assert (code, last_words["message"], errors) == (0, "stopped", b"")
    ledger = last_words["ledger"]
    assert isinstance(ledger, dict)
    assert (ledger["offered"], ledger["applied"]) == (5000, 5000)
    assert contents(pair.primary) == contents(pair.secondary)


async def test_process_1_leaves_no_zombies(pair: Pair) -> None:
    """An orphan that became its child is gone once it has ended, though nobody waits for it."""
    async with contained(pair) as container:
        await wait_until(lambda: not container.children())
        code, _, _ = await container.end()

    assert code == 0


async def test_end_fits_into_the_grace_period_whatever_hangs(pair: Pair) -> None:
    """With a silent secondary and a client that blocks: lame duck, three drains, Sentry, and a rest."""
    async with (
        contained(pair, "--lame-duck", "1s", "--drain", "1s") as container,
        connect(container.port) as client,
        connect(container.port) as blocked,
    ):
        await client.call("SET", "k", 1)
        pair.secondary.pause()
        try:
            await client.pipeline([("SET", f"k:{number}", number) for number in range(1000)])
            await blocked.send(b"BLPOP none 0\r\n")
            started = time.monotonic()
            code, _, _ = await container.end()
            seconds = time.monotonic() - started
        finally:
            pair.secondary.resume()

    assert code == 0
    assert 1 <= seconds < 1 + 3 * 1 + 2 + 5


def test_dockerfile_passes_hadolint() -> None:
    """Without exceptions."""
    hadolint = find_program("hadolint") or str(Path(sys.executable).parent / "hadolint")
    found = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)

    assert (found.returncode, found.stdout) == (0, "")


async def test_health_check_of_the_image_tells_life_from_death(pair: Pair) -> None:
    """Its command, as it stands in the file, says 0 for a live dualkv and 1 when nobody is there."""
    text = DOCKERFILE.read_text()
    ((retries, command),) = re.findall(r"HEALTHCHECK[^\n]* --retries=(\d+) \\\n\s+CMD (\[.*\])", text)
    async with contained(pair) as container:
        check = [sys.executable, *json.loads(command.replace(":9191/", f":{container.http_port}/"))[1:]]
        for _ in range(int(retries)):  # as the engine does: the machine may be busy
            alive = await trio.run_process(check, check=False, capture_stderr=True)
            if alive.returncode == 0:
                break
    dead = await trio.run_process(check, check=False, stderr=subprocess.DEVNULL)

    assert (alive.returncode, dead.returncode) == (0, 1), alive.stderr


def test_image_is_made_of_what_it_copies() -> None:
    """Each file that is copied exists, and is not ignored; nothing else is sent to the builder."""
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    names = {name.rstrip("/") for line in copied for name in line.split()}
    ignore = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()

    assert all((DEPLOY.parent / name).exists() for name in names)
    assert {line[1:] for line in ignore if line.startswith("!")} == names
