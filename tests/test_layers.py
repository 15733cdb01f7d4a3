"""Inner parts of dualkv know nothing of outer ones, and the innermost nothing of I/O.

The checks are functions of a module's source text and name, so that planted violations can be tried on them.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

import dualkv

LAYERS: Final = (
    "errors", "config", "resp", "commands", "core", "observe", "net", "admin", "succession", "serve",
    "workers", "servers", "demo", "torture", "help", "ask", "preflight", "cli",
)  # fmt: skip
"""From the inside out, as the map in ``dualkv/__init__.py`` has them."""

WITHOUT_IO: Final = frozenset({"errors", "config", "resp", "commands", "core", "observe"})
"""No trio, no socket, no clock: who needs the time is given a function."""

IO_MODULES: Final = frozenset(
    {
        "asyncio", "hypercorn", "multiprocessing", "sched", "select", "selectors", "signal", "socket", "ssl",
        "starlette", "subprocess", "threading", "time", "trio",
    }
)  # fmt: skip
NOWHERE: Final = frozenset({"asyncio", "redis"})
"""This is a trio program, and it speaks RESP itself."""

SOURCES: Final = {
    ".".join(path.relative_to(Path(dualkv.__file__).parents[1]).with_suffix("").parts): path
    for path in sorted(Path(dualkv.__file__).parent.rglob("*.py"))
}
"""Every module of dualkv by name; a package's is ``….__init__``."""


def layer_of(module: str) -> str:
    """Return the part of dualkv that *module* belongs to; what is in none, as ``__main__``, is outermost."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LAYERS else "dualkv"


def depth_of(layer: str) -> int:
    """Return how far outside *layer* is."""
    return LAYERS.index(layer) if layer in LAYERS else len(LAYERS)


def imported_by(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of all that *tree* imports, at any depth; ``a.b`` for ``from a import b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{origin}.{name.name}") for name in node.names)


def violations(source: str, module: str) -> list[str]:
    """Return what *source*, the text of *module*, imports against the rules."""
    layer = layer_of(module)
    found = []
    for line, name in imported_by(ast.parse(source)):
        top = name.split(".")[0]
        if name.startswith("."):
            found.append(f"{module}:{line}: a relative import hides its layer: {name}")
        elif top in NOWHERE:
            found.append(f"{module}:{line}: dualkv does not use {top}")
        elif top in IO_MODULES and layer in WITHOUT_IO:
            found.append(f"{module}:{line}: {layer} does no I/O and has no clock, but imports {top}")
        elif top == "dualkv" and depth_of(layer_of(name)) > depth_of(layer):
            found.append(f"{module}:{line}: {layer} is further inside than {name}")
    return found


def runs_on_import(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield the statements that run on import: not those in functions, not those for type checkers."""
    waiting: list[ast.stmt] = list(tree.body)
    for statement in waiting:
        yield statement
        if isinstance(statement, ast.If):
            is_for_types = "TYPE_CHECKING" in ast.unparse(statement.test)
            waiting += statement.orelse if is_for_types else statement.body + statement.orelse
        elif isinstance(statement, ast.Try):
            waiting += statement.body + statement.orelse + statement.finalbody
            waiting += [inner for handler in statement.handlers for inner in handler.body]
        elif isinstance(statement, ast.ClassDef | ast.With):
            waiting += statement.body


def needs(source: str, modules: set[str]) -> set[str]:
    """Return which of *modules* must have been imported before *source* can run."""
    names = {
        name
        for statement in runs_on_import(ast.parse(source))
        if isinstance(statement, ast.Import | ast.ImportFrom)
        for _, name in imported_by(statement)
    }
    return {
        candidate
        for name in names
        for candidate in [name if name in modules else name.rpartition(".")[0]]
        if candidate in modules
    }


def cycle_in(sources: Mapping[str, str]) -> list[str]:
    """Return modules that import each other in a circle, the first one again at the end; or nothing."""
    graph = {module: needs(source, set(sources)) for module, source in sources.items()}
    finished: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in finished:
            return []
        for needed in sorted(graph[module]):
            if found := visit(needed, [*path, module]):
                return found
        finished.add(module)
        return []

    return next(filter(None, (visit(module, []) for module in sorted(graph))), [])


# --- dualkv itself


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_imports_only_from_further_inside(module: str) -> None:
    """The order of the layers holds, for imports inside functions and for types too."""
    assert violations(SOURCES[module].read_text(), module) == []


def test_there_is_no_circle_of_imports() -> None:
    """Modules can be read one after another."""
    sources = {name.removesuffix(".__init__"): path.read_text() for name, path in SOURCES.items()}

    assert cycle_in(sources) == []


def test_every_part_of_dualkv_has_a_place_in_the_order() -> None:
    """A new package or module must be added to the layers, and to the map."""
    parts = {module.split(".")[1] for module in SOURCES} - {"__init__", "__main__"}

    assert parts == set(LAYERS)


def test_the_map_names_every_layer_in_order() -> None:
    """What a newcomer reads first is what is checked here."""
    text = dualkv.__doc__ or ""
    listed = [line.split("`")[1] for line in text.splitlines() if line.startswith("- `dualkv.")]

    assert listed == [f"dualkv.{layer}" for layer in LAYERS]


# --- the checks themselves


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("dualkv.core.routing", "import trio"),
        ("dualkv.core.routing", "from trio import Event"),
        ("dualkv.core.routing", "import trio.lowlevel as low"),
        ("dualkv.core.routing", "import time"),
        ("dualkv.resp.encode", "from socket import socket"),
        ("dualkv.commands.table", "import threading"),
        ("dualkv.config.load", "def f():\n    import ssl"),
        ("dualkv.errors", "import selectors"),
        ("dualkv.core.routing", "from dualkv.net.lane import Lane"),
        ("dualkv.core.routing", "from dualkv import net"),
        ("dualkv.core.routing", "from dualkv import DualWriter"),
        ("dualkv.core.routing", "import dualkv"),
        (
            "dualkv.core.routing",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import dualkv.net.lane",
        ),
        (
            "dualkv.core.routing",
            "class A:\n    async def f(self):\n        from dualkv.serve import ProxyServer",
        ),
        ("dualkv.core.routing", "from ..net import lane"),
        ("dualkv.commands.table", "from dualkv.core.modes import mode_plan"),
        ("dualkv.net.lane", "from dualkv.admin.http import build_app"),
        ("dualkv.net.lane", "import asyncio"),
        ("dualkv.demo.run", "from redis import Redis"),
        ("dualkv.errors", "from dualkv.config import values"),
    ],
)
def test_a_planted_import_is_found(module: str, source: str) -> None:
    """Each way to write an import is seen through, and named with its line."""
    found = violations(source, module)

    assert len(found) == 1
    assert found[0].startswith(f"{module}:{len(source.splitlines())}: ")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("dualkv.core.routing", "import enum, attrs\nfrom dualkv.commands.table import COMMANDS"),
        ("dualkv.core.routing", "from dualkv.core import modes\nfrom dualkv import config, errors"),
        ("dualkv.net.lane", "import socket, trio, time\nfrom dualkv.observe.metrics import ProxyMetrics"),
        ("dualkv.__init__", "from dualkv.serve import ProxyServer"),
        ("dualkv.__main__", "from dualkv.cli import main"),
        ("dualkv.core.routing", "timeline = 'import trio'  # import time"),
    ],
)
def test_an_import_from_further_inside_is_fine(module: str, source: str) -> None:
    """The checker has no complaint where there is nothing to complain about."""
    assert violations(source, module) == []


@pytest.mark.parametrize(
    ("sources", "cycle"),
    [
        ({"a": "import b", "b": "import a"}, ["a", "b", "a"]),
        (
            {"a": "from b import x", "b": "import c", "c": "try:\n    import b\nexcept E:\n    pass"},
            ["b", "c", "b"],
        ),
        ({"p": "", "p.a": "from p import b", "p.b": "from p.a import x"}, ["p.a", "p.b", "p.a"]),
        ({"p": "from p.a import x", "p.a": "from p import y"}, ["p", "p.a", "p"]),
        ({"a": "import a"}, ["a", "a"]),
        ({"a": "import b, c", "b": "import c", "c": "import trio"}, []),
        ({"a": "import b", "b": "def f():\n    import a"}, []),
        ({"a": "import b", "b": "if TYPE_CHECKING:\n    import a"}, []),
    ],
)
def test_a_planted_circle_is_found(sources: dict[str, str], cycle: list[str]) -> None:
    """What runs on import counts; what is imported later or for types only does not."""
    assert cycle_in(sources) == cycle


def test_what_is_called_io_exists() -> None:
    """A typing error in the list would let a module through."""
    assert {
        "asyncio",
        "socket",
        "ssl",
        "time",
        "selectors",
        "threading",
    } <= IO_MODULES & sys.stdlib_module_names
