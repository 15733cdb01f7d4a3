"""The blocks of code in the documents, and a shell that runs those of a page."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import attrs

__all__ = ["ROOT", "Block", "blocks_of", "run_page"]

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 180
ANSWER_SECONDS = 30

SETUP = """\
set -eu
redis-cli() { command redis-cli --no-raw "$@"; }   # prints what it prints on a terminal
curl() {   # what is changed must be changed; a question may be answered with 503
    case " $* " in *" -X "*) command curl --fail-with-body "$@" ;; *) command curl "$@" ;; esac
}
reachable() { for _ in $(seq 300); do (echo > /dev/tcp/127.0.0.1/$1) 2>/dev/null && return; sleep 0.1; done; }
expect() {
    local end=$((SECONDS + $3))
    while true; do
        printed=$(eval "$1" 2>&1) || true
        [[ $printed == $2 ]] && return
        ((SECONDS < end)) || break
        sleep 0.2
    done
    printf '%s\\nprinted: %s\\n' "$1" "$printed"
    exit 1
}
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
"""
"""What stands before the commands of a page. An answer may need a moment, so it is asked for again."""


DOORS = {"LISTEN": "6479", "METRICS": "9191", "ADMIN": "9192"}
SETTINGS = """\
mode = "dual-write-shadow"
primary = "redis.internal:6379"
secondary = "new-store.internal:6379"
"""
"""The file that pages speak of which do not show it."""


@attrs.frozen
class Block:
    """A block of code."""

    page: str
    language: str
    text: str

    @property
    def first_line(self) -> str:
        """Return what tells it from the others of its page."""
        return self.text.partition("\n")[0]

    def commands(self) -> Iterator[tuple[str, str]]:
        """Yield each command of a console, and what it prints."""
        for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield re.sub(r" {2,}# .*", "", command), output.strip("\n")


def blocks_of(page: str) -> list[Block]:
    """Return the blocks of code of a document, in their order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    return [Block(page, language, text) for language, text in found]


def run_page(
    page: str,
    folder: Path,
    stands_for: Mapping[str, object],
    *,
    leave_out: Collection[Block] = (),
    serving: str | None = None,
) -> None:
    """Run the commands of a page, one after the other in one shell; they print what the page says.

    Files of settings are written where the page shows them. `…` in what is printed stands for anything.

    Args:
        page: Its path in the repository.
        folder: Where the commands run; empty.
        stands_for: What is replaced in commands, files and answers: names of hosts, and the ports of a dualkv
            that is started (6479, 9191, 9192).
        leave_out: Blocks that are not run.
        serving: The mode of the dualkv that the page is about, if it runs already.
    """
    addresses = {name: f"127.0.0.1:{stands_for[port]}" for name, port in DOORS.items()}
    script = [SETUP, *(f"export DUALKV_{name}={address}" for name, address in addresses.items())]
    script += [
        _file("dualkv.toml", _replaced(SETTINGS, stands_for)),
        f"ports='{stands_for['6479']} {stands_for['9191']}'",
    ]
    if serving is not None:
        script += _steps(f"dualkv serve --config dualkv.toml --mode {serving}", "")
    for block in blocks_of(page):
        if block.language == "toml" and re.fullmatch(r"# \w+\.toml", block.first_line):
            settings = re.sub(r'^\w+_file = "/run/.*\n', "", block.text, flags=re.MULTILINE)
            script.append(_file(block.first_line[2:], _replaced(settings, stands_for)))
        elif block.language == "console" and block not in leave_out:
            for command, output in block.commands():
                script += _steps(_replaced(command, stands_for), _replaced(output, stands_for))
    program = folder / "bin" / "dualkv"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m dualkv "$@"\n')
    program.chmod(0o755)
    (folder / "script").write_text("\n".join(script))
    ended = subprocess.run(
        [
            # It ends all that is started, too.
            "timeout", str(PATIENCE_SECONDS),
            "bash", "-c", 'PATH="$PWD/bin:$PATH" PYTHONPATH="$0" exec bash script', ROOT,
        ],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout


def _file(name: str, text: str) -> str:
    return f"cat > {name} <<'END'\n{text}END"


def _replaced(text: str, stands_for: Mapping[str, object]) -> str:
    for name, value in stands_for.items():
        text = re.sub(rf"(?<![\w.]){re.escape(name)}(?!\d)", str(value), text)
    return text


def _steps(command: str, output: str) -> Iterator[str]:
    if command.startswith("dualkv serve"):
        yield command.removesuffix("&") + " &"
        yield "for port in $ports; do reachable $port; done"
    elif output:
        pattern = re.sub(r"([\\*?\[\]])", r"\\\1", output).replace("…", "*")
        pattern = re.sub(r"\b\d+(\.\d+)? (m?s)\b", r"* \2", pattern)  # how long it took
        seconds = 0 if command.startswith("dualkv ctl") else ANSWER_SECONDS  # asking does not change anything
        yield f"expect {_quoted(command)} {_quoted(pattern)} {seconds}"
    elif re.match(r"dualkv (preflight|readiness|divergences)", command):
        yield f"{command} || [ $? = 1 ]"  # an answer is an answer
    elif found := re.match(r"redis-server --port (\d+) .*&$", command):
        yield f"{command}\nreachable {found[1]}"
    else:
        yield command


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
