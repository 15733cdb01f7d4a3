"""Shell completion: installed as a user does it, and asked as the shells ask."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.package.building import run

pytestmark = pytest.mark.package

ASK = {
    # What the shell does at a Tab behind these words. zsh's own completion needs a terminal: what the script
    # hands to it is printed instead.
    "bash": """
        source ~/.bashrc
        COMP_WORDS=({words}) COMP_CWORD={last}
        _dualkv_completion dualkv
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """,
    "zsh": """
        compdef() {{ }}
        _arguments() {{ print -r -- "$@" }}
        words=({words}) CURRENT={last}+1
        source ~/.zfunc/_dualkv
        _dualkv_completion
    """,
    "fish": "complete -C '{line}'",
}


@pytest.fixture(name="ask", params=list(ASK), scope="module")
def _ask(request: pytest.FixtureRequest, programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell in which ``dualkv --install-completion`` was run."""
    assert shutil.which(request.param), f"no {request.param}: run `make test-package`"
    return Shell(request.param, programs, tmp_path_factory.mktemp("home"))


class Shell:
    """A user's shell, with a home of its own."""

    def __init__(self, name: str, programs: Path, home: Path) -> None:
        self._name = name
        self._home = home
        self._path = f"{programs}:/usr/bin:/bin"
        self._run("dualkv --install-completion\n:")  # with `:` the shell stays, so that dualkv can see which

    def __call__(self, *words: str) -> str:
        """Return what is offered in place of the last of *words*."""
        line = " ".join(("dualkv", *words))
        quoted = " ".join(f"'{word}'" for word in ("dualkv", *words))
        return self._run(ASK[self._name].format(words=quoted, last=len(words), line=line))

    def _run(self, script: str) -> str:
        home = str(self._home)
        return run(
            self._name,
            "-c",
            script,
            cwd=self._home,
            HOME=home,
            XDG_CONFIG_HOME=home + "/.config",
            PATH=self._path,
        )


def test_commands_are_offered(ask: Shell) -> None:
    """By their first letters, and the commands of a command too."""
    assert "selftest" in ask("sel")
    assert "serve" not in ask("sel")
    assert "check" in ask("config", "")
    assert "export" in ask("divergences", "ex")


def test_options_are_offered(ask: Shell) -> None:
    """Those of the settings as well as those of one command."""
    offered = ask("serve", "--secondary-p")

    assert "--secondary-password-file" in offered
    assert "--primary-password" not in offered
    assert "--longest-fault" in ask("torture", "--lo")


def test_modes_are_offered(ask: Shell) -> None:
    """The value that one does not want to look up."""
    offered = ask("serve", "--mode", "elastickv")

    assert "elastickv-primary" in offered
    assert "redis-only" not in offered
