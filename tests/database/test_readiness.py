"""Waiting for a server: bounded, only for what time may mend, and clear at the end."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL

from database import readiness
from database.embedded import TemporaryServer
from database.readiness import DatabaseUnavailable, ensure_database, wait_until_ready
from database.urls import ConfigurationError, parse_url
from tests.support.servers import embedded_programs, machine_programs


@pytest.fixture(scope="module")
def server() -> Iterator[TemporaryServer]:
    """A server by TCP, since passwords and TLS are asked for there."""
    with TemporaryServer(embedded_programs(18), tcp=True) as server:
        sql(server, "create role app login password 'right'")
        sql(server, "create role creator login createdb password 'right'")
        sql(server, "create database fleet owner app")
        yield server


def sql(server: TemporaryServer, statement: str, database: str = "postgres") -> None:
    with psycopg.connect(
        host=str(server.socket_directory),
        port=server.port,
        user="postgres",
        dbname=database,
        autocommit=True,
    ) as connection:
        connection.execute(statement.encode())


def by_network(server: TemporaryServer, **parts: str) -> URL:
    url = parse_url(f"postgres://app:right@127.0.0.1:{server.port}/fleet")
    options = {key: parts.pop(key) for key in ("sslmode", "sslrootcert") if key in parts}
    return url.set(**parts).update_query_dict(options)  # type: ignore[arg-type]


def refusal(url: URL | str, timeout: float = 20) -> str:
    """The one line, which comes at once although there was time to wait."""
    begin = time.monotonic()
    with pytest.raises(DatabaseUnavailable) as caught:
        wait_until_ready(url, timeout)
    assert time.monotonic() - begin < 3
    message = str(caught.value)
    assert "\n" not in message
    assert "right" not in message
    return message


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_ready(server: TemporaryServer) -> None:
    wait_until_ready(by_network(server), timeout=0)
    wait_until_ready(server.url("fleet"), timeout=0)


def test_no_server_listens() -> None:
    """The wait is bounded; the error names host, port, database, user and the reason."""
    port = free_port()
    begin = time.monotonic()
    with pytest.raises(DatabaseUnavailable) as caught:
        wait_until_ready(f"postgres://app:secret@127.0.0.1:{port}/fleet", timeout=1)
    assert 0.9 < time.monotonic() - begin < 4
    assert str(caught.value) == (
        f'cannot connect to database "fleet" at 127.0.0.1:{port} as "app" after waiting 1 s: '
        "Connection refused. Start the server, or correct host and port in the URL."
    )


def test_no_socket(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=rf"at socket {tmp_path} .*No such file"):
        wait_until_ready(f"postgres:///fleet?host={tmp_path}", timeout=0.3)


def test_unknown_host() -> None:
    """A name may be on its way into the DNS, so it is waited for, but not for ever."""
    with pytest.raises(DatabaseUnavailable, match=r"after waiting .*Correct the host"):
        wait_until_ready("postgres://app@no-such-host.invalid/fleet", timeout=0.3)


def test_a_server_that_does_not_answer() -> None:
    """It accepts and is silent: every attempt is bounded."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgres://app@127.0.0.1:{silent.getsockname()[1]}/fleet?connect_timeout=2"
        begin = time.monotonic()
        with pytest.raises(DatabaseUnavailable, match=r"after waiting 1 s: .*timeout"):
            wait_until_ready(url, timeout=1)
        assert time.monotonic() - begin < 6


def test_a_server_that_starts_later(capfd: pytest.CaptureFixture[str]) -> None:
    """The wait ends as soon as the server is there, and it was said that there is one."""
    with TemporaryServer(embedded_programs(18), tcp=True) as late:
        late.stop()
        url, folder = parse_url(late.url("postgres")), late.socket_directory
        capfd.readouterr()
        thread = threading.Timer(1.5, late.start)
        thread.start()
        try:
            wait_until_ready(url, timeout=30)
        finally:
            thread.join()
    said = capfd.readouterr().err.splitlines()[0]
    assert said.startswith(f'Waiting for database "postgres" at socket {folder}, at most 30 s: ')
    assert "No such file" in said


def test_no_word_of_a_server_that_is_there(
    server: TemporaryServer, capfd: pytest.CaptureFixture[str]
) -> None:
    wait_until_ready(by_network(server))
    assert capfd.readouterr().err == ""


REFUSING = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
fields = "\\0".join(["SFATAL", "VFATAL", "C" + sys.argv[1], "M" + sys.argv[2], "", ""]).encode()
while True:
    client, _ = listener.accept()
    with client:
        # Requests for GSS or TLS come first, and are declined.
        while client.recv(4096)[4:8] in (bytes.fromhex("04d21630"), bytes.fromhex("04d2162f")):
            client.sendall(b"N")
        client.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
"""


@contextlib.contextmanager
def refusing_server(state: str, words: str) -> Iterator[str]:
    """A server that answers every attempt with one error; another process, since libpq's ping
    holds all threads of this one."""
    process = subprocess.Popen(
        [sys.executable, "-c", REFUSING, state, words], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        yield f"postgres://app@127.0.0.1:{process.stdout.readline().strip()}/fleet"
        process.kill()


def test_starting_up_in_another_language() -> None:
    """What the server says is understood by its code, not by its words."""
    with (
        refusing_server("57P03", "das Datenbanksystem startet") as url,
        pytest.raises(DatabaseUnavailable, match=r"after waiting 0.5 s: .*startet"),
    ):
        wait_until_ready(url, timeout=0.5)


def test_refused_in_another_language() -> None:
    with refusing_server("28P01", "Passwort-Authentifizierung fehlgeschlagen") as url:
        assert "fehlgeschlagen" in refusal(url)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"password": "wrong"}, 'authentication failed for user "app". Correct the user and'),
        ({"username": "nobody"}, 'authentication failed for user "nobody". Correct the user'),
        ({"database": "nothing"}, 'database "nothing" does not exist. Correct the URL'),
        ({"sslmode": "require"}, "server does not support SSL, but SSL was required. Correct ssl"),
        ({"sslmode": "nonsense"}, 'invalid sslmode value: "nonsense"'),
    ],
)
def test_at_once(server: TemporaryServer, parts: dict[str, str], says: str) -> None:
    """Time mends none of these."""
    message = refusal(by_network(server, **parts))
    assert says in message
    assert f"127.0.0.1:{server.port}" in message


def test_unknown_role_by_the_socket(server: TemporaryServer) -> None:
    assert "password" in refusal(parse_url(server.url("fleet", user="stranger")))


def test_malformed() -> None:
    with pytest.raises(ConfigurationError, match=r"^the URL has no scheme"):
        wait_until_ready("db/fleet")


def test_database_is_created(server: TemporaryServer) -> None:
    url = by_network(server, username="creator", database='odd "name" é')
    assert ensure_database(url) is True
    assert ensure_database(url) is False
    wait_until_ready(url, timeout=0)


def test_database_created_through_template1(server: TemporaryServer) -> None:
    """Where the maintenance database is closed to ordinary roles."""
    sql(server, "revoke connect on database postgres from public")
    try:
        url = by_network(server, username="creator", database="by_template")
        assert ensure_database(url) is True
    finally:
        sql(server, "grant connect on database postgres to public")


def test_database_in_utf8_whatever_the_server_prefers() -> None:
    bin_dir = embedded_programs(18)
    with TemporaryServer(bin_dir) as server:
        sql(server, "update pg_database set encoding = 0 where datname = 'template1'")
        assert ensure_database(server.url("fleet")) is True
        with psycopg.connect(
            host=str(server.socket_directory), user="postgres", dbname="fleet"
        ) as connection:
            assert connection.execute("show server_encoding").fetchone() == ("UTF8",)


def test_no_right_to_create(server: TemporaryServer) -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        ensure_database(by_network(server, database="missing"))
    message = str(caught.value)
    assert "\n" not in message
    assert 'database "missing" is missing' in message
    assert 'ALTER ROLE "app" CREATEDB' in message


def test_no_right_to_connect(server: TemporaryServer) -> None:
    """The database is there, so the server's own reason is told."""
    sql(server, "create database closed")
    sql(server, "revoke connect on database closed from public")
    with pytest.raises(DatabaseUnavailable, match="permission denied for database"):
        ensure_database(by_network(server, database="closed"))


def test_wrong_password_while_creating(server: TemporaryServer) -> None:
    with pytest.raises(DatabaseUnavailable, match="authentication failed"):
        ensure_database(by_network(server, password="wrong", database="missing"))


def test_absent_server_while_creating() -> None:
    with pytest.raises(DatabaseUnavailable, match=r"after waiting 0.3 s: Connection refused"):
        ensure_database(f"postgres://app@127.0.0.1:{free_port()}/fleet", timeout=0.3)


def test_created_by_many_at_once(server: TemporaryServer) -> None:
    """All of them go on with the database."""
    url = by_network(server, username="creator", database="raced")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: ensure_database(url), range(6)))
    assert any(answers)
    wait_until_ready(url, timeout=0)


def test_created_between_two_looks(
    server: TemporaryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look finds no database, the second one finds what another process created."""
    create = readiness._create

    def after_another(url: URL, timeout: float) -> bool:
        assert create(url, timeout)
        return create(url, timeout)

    monkeypatch.setattr(readiness, "_create", after_another)
    assert not ensure_database(by_network(server, username="creator", database="overtaken"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_verified_tls(tmp_path: Path) -> None:
    """verify-full works against a good certificate, and nothing less than that."""
    programs = machine_programs()
    if programs is None:
        pytest.skip("the wheel's PostgreSQL has no TLS, and this machine has no other")
    with TemporaryServer(programs, tcp=True) as server:
        sql(server, "create role app login password 'right'")
        sql(server, "create database fleet owner app")
        server.stop()
        folder = server.home / "tls"
        folder.mkdir(mode=0o755)
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
                *("-keyout", folder / "key", "-out", folder / "certificate"),
            ],
            check=True,
            capture_output=True,
        )
        if server.account is not None:
            os.chown(folder / "key", server.account.uid, server.account.gid)
        server.parameters |= {
            "ssl": "on",
            "ssl_cert_file": str(folder / "certificate"),
            "ssl_key_file": str(folder / "key"),
        }
        server.start()
        trusted = {"sslmode": "verify-full", "sslrootcert": str(folder / "certificate")}
        wait_until_ready(by_network(server, host="localhost", **trusted), timeout=0)
        wait_until_ready(by_network(server, sslmode="require"), timeout=0)
        # The certificate is for the name, not for the address.
        assert "certificate" in refusal(by_network(server, **trusted))
        other = {"sslmode": "verify-full", "sslrootcert": str(tmp_path / "missing")}
        assert "DATABASE_SSLMODE" in refusal(by_network(server, host="localhost", **other))
