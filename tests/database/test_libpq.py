"""What a person's environment says of other servers changes nothing that a URL of ours says."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import pq
from sqlalchemy import NullPool, text

from database.embedded import TemporaryServer
from database.engine import make_engine
from database.libpq import connect_arguments, variables
from database.readiness import wait_until_ready
from database.urls import parse_url
from tests.support.alembic_project import alembic
from tests.support.engines import execute
from tests.support.servers import DatabaseServer

# A value that libpq cannot read, and one that it can and that leads astray.
POISON = {
    "PGHOST": ["no-such-host.invalid"],
    "PGHOSTADDR": ["nonsense", "127.0.0.1"],
    "PGPORT": ["1", "nonsense"],
    "PGUSER": ["mallory"],
    "PGDATABASE": ["nothing"],
    "PGPASSWORD": ["wrong"],
    "PGPASSFILE": ["/no/such/file"],
    "PGSERVICE": ["no-such-service"],
    "PGSERVICEFILE": ["/no/such/file"],
    "PGOPTIONS": ["-c nonsense=1", "-c default_transaction_read_only=on", "-c role=pg_monitor"],
    "PGCLIENTENCODING": ["nonsense", "LATIN1"],
    "PGCONNECT_TIMEOUT": ["nonsense"],
    "PGTARGETSESSIONATTRS": ["standby", "nonsense"],
    "PGSSLMODE": ["verify-full", "nonsense"],
    "PGSSLROOTCERT": ["system", "/no/such/file"],
    "PGSSLNEGOTIATION": ["direct"],
    "PGSSLCERTMODE": ["require"],
    "PGREQUIREAUTH": ["scram-sha-256"],
    "PGREQUIREPEER": ["mallory"],
    "PGCHANNELBINDING": ["require"],
    "PGGSSENCMODE": ["require"],
    "PGLOADBALANCEHOSTS": ["nonsense"],
    "PGTZ": ["Asia/Tokyo", "nonsense"],
    "PGDATESTYLE": ["German", "nonsense"],
    "PGGEQO": ["nonsense"],
}
CASES = [
    (name, value)
    for name in sorted(variables() | POISON.keys())
    for value in POISON.get(name, ["nonsense"])
]
STATE = text("""
    select current_user, session_user, current_database(),
           current_setting('timezone'), current_setting('datestyle'),
           current_setting('client_encoding'), current_setting('transaction_read_only')
""")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in variables():
        monkeypatch.delenv(name, raising=False)


def test_every_variable_of_libpq_is_tried() -> None:
    known = {option.envvar.decode() for option in pq.Conninfo.get_defaults() if option.envvar}
    assert known <= {name for name, _ in CASES}


@pytest.mark.parametrize(("name", "value"), CASES)
def test_an_embedded_server_is_reached(
    name: str, value: str, embedded_server: DatabaseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    url = parse_url(embedded_server.url("postgres"))
    wait_until_ready(url, timeout=2)
    engine = make_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        assert tuple(connection.execute(STATE).one()) == (
            *("postgres", "postgres", "postgres"),
            *("UTC", "ISO, MDY", "UTF8", "off"),
        )
        assert connection.scalar(text("show application_name")) == "fleetschema"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PGREQUIREAUTH", "none"),
        ("PGPASSWORD", "wrong"),
        ("PGCHANNELBINDING", "require"),
        ("PGUSER", "mallory"),
    ],
)
def test_a_login_with_a_password(
    name: str, value: str, embedded_server: TemporaryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    administration = embedded_server.url("postgres")
    execute(administration, "create role lonely login password 'right'")
    monkeypatch.setenv(name, value)
    try:
        url = embedded_server.url("postgres", user="lonely", password="right")
        with make_engine(url, poolclass=NullPool).connect() as connection:
            assert connection.scalar(text("select current_user")) == "lonely"
    finally:
        monkeypatch.undo()
        execute(administration, "drop role lonely")


ALL = {name: values[0] for name, values in POISON.items()}


@pytest.mark.parametrize("command", [("upgrade", "0001"), ("current",)])
def test_alembic_with_all_of_them_at_once(
    command: tuple[str, ...], make_database: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    url: str = make_database()  # type: ignore[operator]
    result = alembic(*command, url=url, DATABASE_WAIT_TIMEOUT="2", **ALL)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "PGSERVICE is ignored" in result.stderr


def test_the_programs_run_without_them(
    embedded_server: TemporaryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ALL.items():
        monkeypatch.setenv(name, value)
    with TemporaryServer(embedded_server.bin_dir) as server:
        assert server.status().running
        assert server.stop()


@pytest.fixture
def listener() -> Iterator[tuple[int, list[bool]]]:
    """A port that takes connections and ends them, and whether there was one."""
    heard: list[bool] = []

    def take() -> None:
        with server:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                heard.append(True)
                client.close()

    server = socket.create_server(("127.0.0.1", 0))
    port = int(server.getsockname()[1])
    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    yield port, heard
    server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_url_that_names_a_server_reaches_no_other(
    listener: tuple[int, list[bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Host, port, user and database that a URL names are those that are used."""
    port, heard = listener
    for name, value in {"PGHOSTADDR": "127.0.0.9", "PGPORT": "1", "PGHOST": "elsewhere"}.items():
        monkeypatch.setenv(name, value)
    url = parse_url(f"postgresql://app@localhost:{port}/fleet")
    with pytest.raises(psycopg.OperationalError) as refused:
        psycopg.connect(
            **{**url.get_dialect()().create_connect_args(url)[1], **connect_arguments(url)}
        )
    assert "127.0.0.9" not in str(refused.value)
    assert heard


def test_what_a_url_does_not_say_comes_from_the_environment(tmp_path: Path) -> None:
    """A password in PGPASSFILE, say; so the arguments are only those that a URL implies."""
    assert connect_arguments(parse_url("postgresql://app@db.example/fleet")) == {
        "client_encoding": "UTF8",
        "hostaddr": "",
        "port": 5432,
    }
    assert connect_arguments(parse_url(f"postgresql://app@:6432/fleet?host={tmp_path}")) == {
        "client_encoding": "UTF8",
        "hostaddr": "",
    }
    assert connect_arguments(parse_url("postgresql://app@/fleet")) == {"client_encoding": "UTF8"}


def test_a_password_file_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded_server: TemporaryServer
) -> None:
    with TemporaryServer(embedded_server.bin_dir, tcp=True) as server:
        administration = make_engine(server.url("postgres"), poolclass=NullPool)
        with administration.begin() as connection:
            connection.exec_driver_sql("create role app login password 'right'")
        file = tmp_path / "pgpass"
        file.write_text(f"127.0.0.1:{server.port}:postgres:app:right\n")
        file.chmod(0o600)
        monkeypatch.setenv("PGPASSFILE", os.fspath(file))
        monkeypatch.setenv("PGUSER", "mallory")
        url = f"postgresql://app@127.0.0.1:{server.port}/postgres"
        with make_engine(url, poolclass=NullPool).connect() as connection:
            assert connection.scalar(text("select current_user")) == "app"
