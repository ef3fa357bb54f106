"""What must stay true of every file, whoever writes the next one."""

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import agent

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for path in (ROOT / "agent").rglob("*.py") if "lab" not in path.relative_to(ROOT / "agent").parts)

STARTERS = {
    "os": {"fork", "forkpty", "system", "popen", "posix_spawn", "posix_spawnp"},
    "asyncio": {"create_subprocess_exec", "create_subprocess_shell", "subprocess"},
    "asyncio.subprocess": {"*"},
    "subprocess": {"*"},
    "multiprocessing": {"*"},
    "concurrent.futures": {"ProcessPoolExecutor"},
    "pty": {"*"},
}
"""A fork copies our handlers and descriptors, of which some hold a pod's namespace; starting a program needs a shell's worth of trust."""


def forbidden_uses(tree: ast.AST) -> Iterator[str]:
    """Names as they are written: an import, or an attribute of a module. Exec and spawn families by prefix."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _starts_programs(alias.name, "*"))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names if _starts_programs(node.module, alias.name))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and _starts_programs(node.value.id, node.attr):
            yield f"{node.value.id}.{node.attr}"
        elif isinstance(node, ast.Attribute) and node.attr in ("subprocess_exec", "subprocess_shell"):
            yield node.attr


def _starts_programs(module: str, name: str) -> bool:
    if module == "os":
        return name in STARTERS["os"] or name.startswith(("exec", "spawn"))
    for known, names in STARTERS.items():
        if module == known or (module.startswith(f"{known}.") and "*" in names):
            return "*" in names or name in names
    return False


def test_the_agent_never_starts_a_program() -> None:
    assert len(SOURCES) > 10
    found = {str(path.relative_to(ROOT)): list(forbidden_uses(ast.parse(path.read_text()))) for path in SOURCES}
    assert {path: uses for path, uses in found.items() if uses} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import subprocess",
        "import subprocess as sp",
        "from subprocess import run",
        "import os\nos.system('true')",
        "from os import fork",
        "import os\nos.execvp('ip', ['ip'])",
        "import os\nos.spawnl(0, 'ip')",
        "import multiprocessing.pool",
        "from multiprocessing import Process",
        "import pty",
        "import asyncio\nasyncio.create_subprocess_exec('ip')",
        "from asyncio import create_subprocess_shell",
        "from asyncio.subprocess import Process",
        "loop.subprocess_exec(None, 'ip')",
        "from concurrent.futures import ProcessPoolExecutor",
    ],
)
def test_the_walk_sees_each_way_to_start_one(code: str) -> None:
    assert list(forbidden_uses(ast.parse(code)))


def test_who_may_import_whom() -> None:
    """The contracts of pyproject.toml."""
    code = (
        "import sys; sys.argv = ['lint-imports', '--no-cache']; from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]


def test_importing_the_agent_costs_no_kubernetes_package() -> None:
    """21 to 105 MiB in a process that runs on every node: only inside functions, only where it is needed."""
    for path in SOURCES:
        for node in ast.parse(path.read_text()).body:
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in modules if name.split(".")[0] == "kubernetes"], path


def test_every_module_says_why_it_exists() -> None:
    silent = [str(path.relative_to(ROOT)) for path in (ROOT / "agent").rglob("*.py") if path.stat().st_size and not _docstring(path)]
    assert silent == []


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text())) or ""


def ours() -> list[Path]:
    """Every text file of the repository that people wrote."""
    skipped = {".git", ".venv", "build", "dist", "__pycache__", ".hypothesis"}
    suffixes = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".json", ".jsonl", ".sh", ".html", ".css", ".js", ""}
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in skipped and not name.endswith(("_cache", ".egg-info"))]
        found += [Path(folder) / name for name in names if Path(name).suffix in suffixes]
    return found


MACHINE = re.compile(r"\.\./shared\b|(?<![\w.}])/(?:work|root|Users)/[a-z.]")


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    """Only CI may look beside the checkout, for the programs of a real API server."""
    exempt = {ROOT / ".ci" / "run", Path(__file__).resolve()}
    guilty = [
        str(path.relative_to(ROOT)) for path in ours() if path.resolve() not in exempt and MACHINE.search(path.read_text(errors="replace"))
    ]
    assert guilty == []


def test_the_version_is_the_same_everywhere() -> None:
    version = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert version
    assert version[1] == agent.__version__
    assert f"lhnet-agent:{version[1]}" in (ROOT / "manifests/base/daemonset.yaml").read_text()
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_command_line_imports_without_its_heavy_parts() -> None:
    """`--help` must be quick, and `explain-event` must run where there is no Linux."""
    heavy = {"pyroute2", "aiohttp", "kubernetes", "psutil"}
    importlib.import_module("agent.cli")
    code = "import sys, agent.cli as c; c._modules(); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert heavy.isdisjoint(result.stdout.split())
