"""PostgreSQL's client programs: which ones fit a server, and how they are told where it is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from sqlalchemy import URL

from database import libpq
from database.embedded.providers import PROVIDERS
from database.errors import FleetSchemaError
from database.settings import Settings, embedded_server

_DEBIAN = Path("/usr/lib/postgresql")


class ProgramError(FleetSchemaError):
    """A program is missing, or failed; the text has what it wrote."""


def psql() -> str:
    """The machine's, or the one that comes with the embedded server."""
    found = shutil.which("psql")
    if found is None:
        settings = Settings()
        if settings.database_url is None and settings.migration_database_url is None:
            found = shutil.which("psql", path=embedded_server(settings).bin_dir)
    if found is None:
        raise ProgramError(
            "psql is not on the PATH: install PostgreSQL's client programs "
            "(postgresql-client, libpq)"
        )
    return found


def client_program(name: str, server: int) -> Path:
    """pg_dump or pg_restore for a server of this major version.

    Of the same version, since a newer pg_restore sets what an older server does not know; else the
    oldest that is newer. An older pg_dump refuses the server.

    Raises:
        ProgramError: there is none; says which were found.
    """
    found = {version: path for path in _installed(name) if (version := _version(path))}
    fitting = sorted(version for version in found if version >= server)
    if not fitting:
        versions = ", ".join(map(str, sorted(found))) or "none"
        raise ProgramError(
            f"{name}: expected that of PostgreSQL {server}, found {versions}: install the client "
            f"programs of the server's version (postgresql-client-{server})"
        )
    return found[fitting[0]]


def _installed(name: str) -> Iterator[Path]:
    """The machine's last, so that they win."""
    for provider in PROVIDERS.values():
        if provider.folder is not None:
            for install in provider.installs.values():
                yield provider.folder / install / "bin" / name
    yield from sorted(_DEBIAN.glob(f"*/bin/{name}"))
    if on_path := shutil.which(name):
        yield Path(on_path)


def _version(program: Path) -> int | None:
    if not program.exists():
        return None
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", said.stdout)
    return int(found[1]) if found else None


def address(url: URL) -> str:
    """The URL for libpq, without the password, which others of the machine could see."""
    text = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    return text.replace(" ", "%20")


def environment(url: URL) -> dict[str, str]:
    """The variables of a program that connects to a URL: nothing else steers libpq."""
    found = bare_environment()
    if url.password is not None:
        found["PGPASSWORD"] = str(url.password)
    return found


def bare_environment() -> dict[str, str]:
    """What is set, but for what says which server is meant."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in libpq.variables() or name.startswith(("PGPASS", "PGSSL"))
    }


_SAID = 12
"""Lines of a program's errors that are worth showing."""


def run(
    program: Path | str,
    arguments: Sequence[str | Path],
    *,
    variables: Mapping[str, str],
    heard: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Run a program to its end; the warnings that it wrote.

    Args:
        heard: gets each line of its standard error, as it comes.

    Raises:
        ProgramError: it cannot be started, or its exit code is not 0.
    """
    name = Path(program).name
    command = [str(program), *map(str, arguments)]
    said: list[str] = []
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**variables, "LC_ALL": "C"},
        )
    except OSError as error:
        raise ProgramError(f"{name} cannot be started: {error.strerror}") from error
    with process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                heard(line)
                # What it is at is no news once it has ended.
                if _NEWS.search(line) or (said and line[:1].isspace()) or not line.startswith(name):
                    said.append(line.rstrip())
        except BaseException:
            process.kill()
            raise
    code = process.returncode
    if code != 0:
        ended = f"exit code {code}" if code > 0 else f"killed by signal {-code}"
        lines = "\n".join(said[-_SAID:]) or f"{ended}, without a word"
        raise ProgramError(f"{name} failed:\n{lines}")
    return said


_NEWS = re.compile(r"\b(error|warning|fatal|detail|hint):", re.IGNORECASE)
