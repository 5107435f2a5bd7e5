"""The servers that tests can run on, and how to find one that has TimescaleDB."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from sqlalchemy import URL

from database.embedded import TemporaryServer
from database.embedded.providers import DEFAULT, PROVIDERS, programs
from database.errors import FleetSchemaError
from database.readiness import wait_until_ready
from database.server_info import server_info
from database.urls import parse_url
from ddl.edition import Edition, available
from tests.support.engines import engine_of

IMAGE = "timescale/timescaledb:2.28.3-pg17"
TIMESCALEDB: dict[str, Any] = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    # Jobs of a few hundred short-lived databases would only get in the way of the tests.
    "timescaledb.max_background_workers": "0",
}


class DatabaseServer(Protocol):
    """Anything that gives the URL of any of its databases, as a superuser."""

    def url(self, database: str = ...) -> str: ...


@dataclass(frozen=True)
class ExternalServer:
    """A server that was not started here."""

    base: URL

    def url(self, database: str = "fleetschema") -> str:
        return self.base.set(database=database).render_as_string(hide_password=False)


class NoServer(Exception):  # noqa: N818 (it is the news, not a mishap)
    """There is no server with TimescaleDB; the message says where it was looked for."""


def embedded_wheel(version: int) -> str:
    """The wheel that TEST_EMBEDDED_PROVIDER names, or the first that has the version.

    Skips where it is not installed.
    """
    named = os.environ.get("TEST_EMBEDDED_PROVIDER") or DEFAULT
    having = [wheel for wheel, one in PROVIDERS.items() if version in one.installs]
    wheel = named if named in having else having[0]
    if PROVIDERS[wheel].folder is None:
        pytest.skip(f"{wheel} is not installed")
    return wheel


def embedded_programs(version: int | None = None) -> Path:
    """Programs of that wheel, of TEST_EMBEDDED_VERSION or 18 where no version is given."""
    version = version or int(os.environ.get("TEST_EMBEDDED_VERSION") or 18)
    return programs(version, embedded_wheel(version))


def machine_programs(extension: str | None = None) -> Path | None:
    """The newest PostgreSQL programs of this machine that have an extension installed."""
    for bin_dir, share in _installations():
        complete = (bin_dir / "initdb").exists() and (bin_dir / "postgres").exists()
        control = share / "extension" / f"{extension}.control"
        if complete and (extension is None or control.exists()):
            return bin_dir
    return None


def _installations() -> Iterator[tuple[Path, Path]]:
    """Pairs of a folder of programs and the folder of shared files that belongs to it."""
    roots = Path("/usr/lib/postgresql").glob("*")
    for root in sorted((r for r in roots if r.name.isdigit()), key=lambda r: -int(r.name)):
        yield root / "bin", Path("/usr/share/postgresql") / root.name
    if pg_config := shutil.which("pg_config"):
        asked = subprocess.run(
            [pg_config, "--bindir", "--sharedir"], capture_output=True, text=True, check=True
        )
        bin_dir, share = asked.stdout.splitlines()
        yield Path(bin_dir), Path(share)


@contextmanager
def running_timescaledb() -> Iterator[DatabaseServer]:
    """A server with TimescaleDB: TEST_DATABASE_URL, else Docker, else the machine's programs.

    Raises NoServer where there is none, and FleetSchemaError where the one named is unusable.
    """
    if named := os.environ.get("TEST_DATABASE_URL"):
        external = ExternalServer(parse_url(named, "TEST_DATABASE_URL"))
        wait_until_ready(external.base.set(database="postgres"))
        if _available(external) is Edition.POSTGRESQL:
            raise FleetSchemaError("TEST_DATABASE_URL names a server without TimescaleDB")
        yield external
    elif _docker_answers():
        with _container() as container:
            yield container
    elif programs := machine_programs("timescaledb"):
        with TemporaryServer(programs, **TIMESCALEDB) as server:
            yield server
    else:
        raise NoServer(
            "no TimescaleDB: TEST_DATABASE_URL is not set, no Docker engine answers, and this "
            "machine's PostgreSQL programs do not have it"
        )


def describe_server(server: DatabaseServer) -> str:
    """The edition and version of a server, for the summary at the end of the tests."""
    with engine_of(server.url("postgres")) as engine, engine.connect() as connection:
        info = server_info(connection)
    return f"{info.available} (PostgreSQL {info.version})"


def _available(server: DatabaseServer) -> Edition:
    with engine_of(server.url("postgres")) as engine, engine.connect() as connection:
        return available(connection)


def _docker_answers() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    return subprocess.run([docker, "version"], capture_output=True, check=False).returncode == 0


@contextmanager
def _container() -> Iterator[ExternalServer]:
    from testcontainers.core.container import DockerContainer

    settings = {**TIMESCALEDB, "fsync": "off", "synchronous_commit": "off"}
    container = (
        DockerContainer(os.environ.get("TEST_TIMESCALEDB_IMAGE", IMAGE))
        .with_env("POSTGRES_PASSWORD", "test")
        .with_exposed_ports(5432)
        .with_command([word for item in settings.items() for word in ("-c", "=".join(item))])
    )
    with container:
        host, port = container.get_container_host_ip(), container.get_exposed_port(5432)
        server = ExternalServer(parse_url(f"postgresql://postgres:test@{host}:{port}/postgres"))
        wait_until_ready(server.base, timeout=120)
        yield server
