"""What dualkv offers to programs: every public name is there and explains itself."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import pkgutil
from typing import Any

import pytest

import dualkv

MODULES = sorted({"dualkv"} | {found.name for found in pkgutil.walk_packages(dualkv.__path__, "dualkv.")})
MODULES.remove("dualkv.__main__")  # importing it runs the program
PACKAGES = [name for name in MODULES if hasattr(importlib.import_module(name), "__path__")]


def public_names(modules: list[str]) -> list[Any]:
    """Return module, name and value of everything in their ``__all__``, as parameters of a test."""
    return [
        pytest.param(name, getattr(importlib.import_module(module), name, None), id=f"{module}.{name}")
        for module in modules
        for name in getattr(importlib.import_module(module), "__all__", ())
    ]


def is_class_or_function(value: object) -> bool:
    """Whether *value* is something that can have a docstring of its own."""
    return inspect.isclass(value) or inspect.isroutine(value)


def constants_with_docstring(source: str) -> set[str]:
    """Return the names in *source* that are assigned to and explained by a text in the next line."""
    body = ast.parse(source).body
    found = set()
    for statement, following in itertools.pairwise(body):
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            if isinstance(statement, ast.AnnAssign):
                found.add(ast.unparse(statement.target))
            elif isinstance(statement, ast.Assign):
                found |= {ast.unparse(target) for target in statement.targets}
    return found


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_for(module: str) -> None:
    """Its docstring begins with a sentence in one line."""
    docstring = importlib.import_module(module).__doc__ or ""

    assert docstring.partition("\n")[0].endswith((".", ":"))


@pytest.mark.parametrize("module", MODULES)
def test_every_promised_name_is_there(module: str) -> None:
    """What ``__all__`` promises can be imported, and nothing is promised twice."""
    namespace = importlib.import_module(module)
    promised = getattr(namespace, "__all__", [])

    assert [name for name in promised if not hasattr(namespace, name)] == []
    assert sorted(set(promised)) == sorted(promised)


@pytest.mark.parametrize(("name", "value"), public_names(MODULES))
def test_every_public_class_and_function_has_a_docstring(name: str, value: object) -> None:
    """``help(…)`` says something."""
    assert not is_class_or_function(value) or value.__doc__


@pytest.mark.parametrize(("name", "value"), public_names(PACKAGES))
def test_every_public_constant_of_a_package_is_explained(name: str, value: object) -> None:
    """A constant's docstring stands below it, where it is defined."""
    sources = [inspect.getsource(importlib.import_module(module)) for module in MODULES]

    assert is_class_or_function(value) or any(name in constants_with_docstring(source) for source in sources)


def test_the_reference_finds_its_names() -> None:
    """These are the names that programs were written against."""
    assert set(dualkv.__all__) == {
        "Backend", "BackendOptions", "CommandCategory", "Comparison", "Divergence", "DivergenceKind",
        "DualWriter", "LeaderAwareBackend", "ProxyConfig", "ProxyMetrics", "ProxyMode", "ProxyServer",
        "PubSubBackend", "RedisBackend", "SentryReporter", "ShadowReader", "classify_command", "load_config",
        "open_shadow_reader", "open_writer", "parse_proxy_mode",
    }  # fmt: skip


def test_the_package_exports_everything_it_imports() -> None:
    """``dualkv/__init__.py`` imports nothing for its own use."""
    imported = {
        name.asname or name.name
        for node in ast.parse(inspect.getsource(dualkv)).body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }

    assert imported == set(dualkv.__all__)


def test_a_constant_without_a_docstring_would_be_noticed() -> None:
    """Only a text right below counts."""
    assert constants_with_docstring('A = 1\n"""a"""\nB: int = 2\n"""b"""\nC = 3\nD = 4\n') == {"A", "B"}
