"""Commands of the project or of a copy, as a person would run them, but quicker."""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = (
    *("alembic.command", "alembic.config", "alembic.context", "mako.template", "orjson", "psycopg"),
    *("pydantic_settings", "pygments", "rich.console", "sqlalchemy.dialects.postgresql.psycopg"),
    *("sqlalchemy.ext.asyncio", "sqlalchemy.orm", "tenacity", "typer"),
)
MODULES = ("operations.cli", "models")
PROJECT = (*LIBRARIES, *MODULES)
PACKAGES = ("models", "ddl", "database", "operations")


def run(
    module: str,
    *arguments: str,
    environment: dict[str, str],
    cwd: Path = ROOT,
    given: str = "",
    together: bool = False,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """``python -m module arguments`` in a folder, with nothing but these variables.

    Args:
        given: what the command reads from its standard input.
        together: what it writes to both streams is its ``stdout``, in the order in which it came.
        timeout: seconds.

    Raises:
        subprocess.TimeoutExpired: the command took longer, and was killed.
    """
    server = _server(PROJECT) if cwd == ROOT else _server(LIBRARIES).for_copy(cwd, environment)
    with tempfile.TemporaryDirectory(prefix="command-") as folder:
        streams = {name: Path(folder) / name for name in ("input", "output", "errors")}
        for stream in streams.values():
            stream.touch()
        streams["input"].write_text(given, encoding="utf-8")
        if together:
            streams["errors"] = streams["output"]
        job = {
            "module": module,
            "arguments": arguments,
            "cwd": str(cwd),
            "environment": environment,
            **{name: str(path) for name, path in streams.items()},
        }
        code = server.run(json.dumps(job), timeout)
        output, errors = (
            streams[name].read_text(encoding="utf-8") for name in ("output", "errors")
        )
    return subprocess.CompletedProcess(
        [sys.executable, "-m", module, *arguments], code, output, "" if together else errors
    )


class _Server:
    """A process of `tests.support.command_server`; one command at a time."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.command_server", *modules],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        atexit.register(self._process.__exit__, None, None, None)
        self._copy: object = None
        """The folder whose modules are imported, and what they were made of."""
        self._imported = False

    def for_copy(self, folder: Path, environment: dict[str, str]) -> _Server:
        """The same, with the modules of a copy of the project imported as long as it is as now."""
        files = sorted(
            (str(path), found.st_mtime_ns, found.st_size)
            for package in PACKAGES
            for path in (folder / package).rglob("*.py")
            for found in [path.stat()]
        )
        copy = folder, files
        if copy != self._copy:
            if self._imported:
                self._ask(json.dumps({"end": True}))
            request = {"imports": MODULES, "cwd": str(folder), "environment": environment}
            self._copy, self._imported = copy, self._ask(json.dumps(request)) == "ready"
        return self

    def _ask(self, request: str) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{request}\n".encode())
        return self._process.stdout.readline().decode().strip()

    def run(self, job: str, timeout: float) -> int:
        assert self._process.stdout
        command = int(self._ask(job))
        late = not select.select([self._process.stdout], [], [], timeout)[0]
        if late:
            os.kill(command, signal.SIGKILL)
        code = int(self._process.stdout.readline())
        if late:
            raise subprocess.TimeoutExpired(job, timeout)
        return code


@functools.cache
def _server(modules: tuple[str, ...]) -> _Server:
    return _Server(modules)
