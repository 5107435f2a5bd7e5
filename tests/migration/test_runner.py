"""The runner: doubled, killed, blocked, refused; and by an owner that is no superuser."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy import Engine

from database import privileges
from database.embedded import TemporaryServer
from database.migration.preparation import LOCK_KEY
from models.shared.roles import ROLE_NAMES
from tests.support.alembic_project import ROOT, alembic, config_for, copy_project, environment
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.pooler import PORT, transaction_pooler
from tests.support.servers import DatabaseServer
from tests.support.snapshot import differences, snapshot


def start(url: str, *arguments: str, **settings: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "alembic", *arguments],
        cwd=ROOT,
        env=environment(url, **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def current(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return connection.scalar(sa.text("SELECT version_num FROM alembic_version"))


def refused(result: subprocess.CompletedProcess[str]) -> str:
    """The one clear text of a refusal."""
    text = result.stdout + result.stderr
    assert result.returncode != 0, text
    assert "Traceback" not in text, text
    assert text.count("FAILED: ") == 1, text
    return text.split("FAILED: ")[1]


# --- doubled, killed, blocked ---


def test_runners_at_once_all_succeed(make_database: MakeDatabase) -> None:
    """Three pods that start together: one works, the others wait and find nothing to do."""
    url = make_database()
    runners = [start(url, "upgrade", "head") for _ in range(3)]
    outputs = [runner.communicate(timeout=120)[0] for runner in runners]
    assert [runner.returncode for runner in runners] == [0, 0, 0], outputs
    applied = [line for output in outputs for line in output.splitlines() if " + 0" in line]
    assert len(applied) == len(set(re.findall(r"\+ (\d{4})_", "\n".join(applied))))
    with engine_of(url) as engine:
        command.check(config_for(engine))


@pytest.mark.parametrize("lines", [1, 4])
def test_killed_runner_is_continued(
    lines: int, make_database: MakeDatabase, migrated_database: str
) -> None:
    """SIGKILL after some revisions: whole ones are kept, the rest is done by the next run."""
    url = make_database()
    runner = start(url, "upgrade", "head")
    assert runner.stdout is not None
    for line in runner.stdout:
        lines -= " + 0" in line
        if lines == 0:
            break
    runner.send_signal(signal.SIGKILL)
    runner.communicate()
    assert alembic("upgrade", "head", url=url).returncode == 0
    with engine_of(url) as found, engine_of(migrated_database) as expected:
        with found.begin() as one, expected.begin() as other:
            assert differences(snapshot(one), snapshot(other)) == []
        command.check(config_for(found))


def test_busy_table_is_tried_again(migrated_database: str) -> None:
    """A lock held by somebody delays the deploy; it does not queue everybody behind it."""
    with engine_of(migrated_database) as engine:
        command.downgrade(config_for(engine), "-1")
        with engine.connect() as holder:
            holder.execute(sa.text("LOCK TABLE tenants IN ACCESS EXCLUSIVE MODE"))
            said = ""
            short = {"MIGRATION_LOCK_TIMEOUT": "0.3"}
            with start(migrated_database, "upgrade", "head", **short) as runner:
                assert runner.stdout is not None
                for line in runner.stdout:
                    said += line
                    if "busy" in line:
                        holder.rollback()
            assert runner.returncode == 0, said
            assert "busy" in said
        command.check(config_for(engine))


def test_lock_that_stays_is_reported(migrated_database: str) -> None:
    """After the bounded wait the message says who holds the migration lock."""
    with engine_of(migrated_database) as engine, engine.connect() as holder:
        holder.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_KEY})
        result = alembic("upgrade", "head", url=migrated_database, MIGRATION_LOCK_WAIT="0.5")
        pid = holder.scalar(sa.text("SELECT pg_backend_pid()"))
        assert f"process {pid} of postgres" in refused(result)


def test_pooler_is_refused(lone_server: TemporaryServer) -> None:
    """Session locks and settings do not hold through a transaction pooler."""
    with transaction_pooler(lone_server, "postgres") as folder:
        url = f"postgresql://any@/postgres?host={folder}&port={PORT}"
        assert "MIGRATION_DATABASE_URL" in refused(alembic("upgrade", "head", url=url))


# --- history, privileges ---


def test_history_says_what_was_done(make_database: MakeDatabase) -> None:
    """One row per step, in order, with the checksum of the file; nobody else may touch it."""
    with engine_of(make_database()) as engine:
        config = config_for(engine)
        command.upgrade(config, "0002")
        command.downgrade(config, "base")
        with engine.connect() as connection:
            rows = (
                connection.execute(sa.text("SELECT * FROM schema_history ORDER BY id"))
                .mappings()
                .all()
            )
            assert [(row["revision"], row["direction"]) for row in rows] == [
                ("0001", "upgrade"),
                ("0002", "upgrade"),
                ("0002", "downgrade"),
                ("0001", "downgrade"),
            ]
            assert all(re.fullmatch("[0-9a-f]{64}", row["checksum"]) for row in rows)
            assert all(row["duration_ms"] >= 0 and row["applied_by"] for row in rows)
            for role in ROLE_NAMES:
                exists = connection.scalar(
                    sa.text("SELECT count(*) FROM pg_roles WHERE rolname = :r"), {"r": role}
                )
                assert not exists or not connection.scalar(
                    sa.text("SELECT has_table_privilege(:r, 'schema_history', 'select, insert')"),
                    {"r": role},
                )


def test_database_privileges_are_read_back(migrated_database: str) -> None:
    """What a restore or a hand changed on the database itself is found, and mended."""
    with engine_of(migrated_database) as engine:
        name = engine.url.database
        with engine.begin() as connection:
            assert privileges.problems(connection) == []
            connection.execute(sa.text(f'GRANT TEMP ON DATABASE "{name}" TO PUBLIC'))
            connection.execute(sa.text(f'ALTER DATABASE "{name}" RESET timezone'))
            found = "\n".join(privileges.problems(connection))
            assert "PUBLIC expected nothing, found temp" in found
            assert "timezone expected UTC, found no setting" in found
        command.upgrade(config_for(engine), "head")
        with engine.connect() as connection:
            assert privileges.problems(connection) == []


# --- an owner that is no superuser ---


@pytest.fixture
def owned(lone_server: DatabaseServer) -> tuple[str, str]:
    """(URL of its owner, URL of a superuser) of a database on a cluster of its own."""
    admin = lone_server.url("postgres")
    with engine_of(admin) as engine, engine.connect() as connection:
        connection = connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(sa.text("DROP DATABASE IF EXISTS owned WITH (FORCE)"))
        for role in ("owner", *ROLE_NAMES):
            connection.execute(sa.text(f"DROP ROLE IF EXISTS {role}"))
        connection.execute(sa.text("CREATE ROLE owner LOGIN PASSWORD 'secret'"))
        connection.execute(sa.text("CREATE DATABASE owned OWNER owner"))
    url = sa.make_url(lone_server.url("owned"))
    mine = url.set(username="owner", password="secret").render_as_string(hide_password=False)
    return mine, url.render_as_string(hide_password=False)


def as_superuser(url: str, *statements: str) -> None:
    with engine_of(url) as engine, engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def test_owner_with_createrole(owned: tuple[str, str]) -> None:
    """The whole history and back; at the end the roles are gone, since nothing uses them."""
    mine, admin = owned
    as_superuser(admin, "ALTER ROLE owner CREATEROLE")
    for arguments in (("upgrade", "head"), ("check",), ("downgrade", "base")):
        result = alembic(*arguments, url=mine)
        assert result.returncode == 0, result.stdout + result.stderr
    with engine_of(admin) as engine, engine.connect() as connection:
        left = sa.text("SELECT rolname FROM pg_roles WHERE rolname LIKE 'fleet%'")
        assert connection.scalars(left).all() == []
    assert alembic("upgrade", "head", url=mine).returncode == 0


def test_owner_with_roles_made_beforehand(owned: tuple[str, str]) -> None:
    """An owner without CREATEROLE needs the roles, and membership without inheritance."""
    mine, admin = owned
    missing = refused(alembic("upgrade", "head", url=mine))
    assert "nothing was changed" in missing
    assert "CREATEROLE, to make fleet_app" in missing
    as_superuser(admin, *(f"CREATE ROLE {role} NOLOGIN" for role in ROLE_NAMES))
    missing = refused(alembic("upgrade", "head", url=mine))
    for role in ROLE_NAMES:
        assert f"GRANT {role} TO owner" in missing
    as_superuser(admin, *(f"GRANT {r} TO owner WITH INHERIT FALSE, SET TRUE" for r in ROLE_NAMES))
    result = alembic("upgrade", "head", url=mine)
    assert result.returncode == 0, result.stdout + result.stderr
    assert alembic("check", url=mine).returncode == 0


def test_login_without_ownership_is_refused(owned: tuple[str, str]) -> None:
    """Somebody who does not own the database is told so before anything is tried."""
    mine, admin = owned
    as_superuser(
        admin,
        "ALTER DATABASE owned OWNER TO postgres",
        "GRANT CREATE ON SCHEMA public TO owner",
    )
    assert "ownership of database owned, which is postgres's" in refused(
        alembic("upgrade", "head", url=mine)
    )


# --- bad input ---


def test_unreachable_server() -> None:
    url = "postgresql://postgres@127.0.0.1:1/fleetschema"
    message = refused(alembic("upgrade", "head", url=url, DATABASE_WAIT_TIMEOUT="1"))
    assert "127.0.0.1" in message


def test_wrong_password(owned: tuple[str, str]) -> None:
    begin = time.monotonic()
    message = refused(alembic("upgrade", "head", url=owned[0].replace("secret", "guess")))
    assert "password" in message
    assert "guess" not in message
    assert time.monotonic() - begin < 20, "a wrong password does not get right by waiting"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mysql://root@localhost/fleet", "mysql"),
        ("postgresql://localhost:port/fleet", "port"),
        ("localhost/fleet", "postgresql://"),
    ],
)
def test_malformed_url(url: str, expected: str) -> None:
    assert expected in refused(alembic("upgrade", "head", url=url))


def test_database_ahead_of_the_code(migrated_database: str) -> None:
    with engine_of(migrated_database) as engine, engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    for arguments in (("upgrade", "head"), ("downgrade", "-1"), ("check",)):
        message = refused(alembic(*arguments, url=migrated_database))
        assert "9999" in message, arguments


def test_looking_creates_no_database(embedded_server: TemporaryServer) -> None:
    """A mistyped name is an error for check and current; only a deploy makes a database."""
    url = embedded_server.url("mistyped")
    for command_name in ("check", "current"):
        assert "alembic upgrade head" in refused(alembic(command_name, url=url))
    with engine_of(embedded_server.url("postgres")) as engine, engine.connect() as connection:
        found = sa.text("SELECT count(*) FROM pg_database WHERE datname = 'mistyped'")
        assert connection.scalar(found) == 0


def test_unknown_revision(migrated_database: str) -> None:
    assert "nosuch" in refused(alembic("upgrade", "nosuch", url=migrated_database))


def test_check_without_roles_names_the_command(lone_server: DatabaseServer, owned: object) -> None:
    message = refused(alembic("check", url=lone_server.url("owned")))
    assert "alembic upgrade head" in message


def test_failing_revision_says_what_the_server_said(migrated_database: str, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    assert alembic("revision", "-m", "breaks", url=migrated_database, cwd=project).returncode == 0
    path = next((project / "alembic/versions").glob("*_breaks.py"))
    path.write_text(path.read_text().replace("pass", "op.execute('SELECT no_such_column')", 1))
    message = refused(alembic("upgrade", "head", url=migrated_database, cwd=project))
    assert 'column "no_such_column" does not exist' in message
    assert "nothing of that revision was kept" in message


# --- revision files ---


def test_revisions_are_numbered(migrated_database: str, tmp_path: Path) -> None:
    """The number is given, HEAD follows, and no difference writes no file."""
    project = copy_project(tmp_path / "project")
    versions = project / "alembic/versions"
    head = int((versions / "HEAD").read_text())
    before = set(versions.iterdir())
    result = alembic("revision", "--autogenerate", "-m", "x", url=migrated_database, cwd=project)
    assert "No difference" in result.stdout, result.stdout + result.stderr
    assert set(versions.iterdir()) - before <= {versions / "__pycache__"}
    assert alembic("revision", "-m", "By hand", url=migrated_database, cwd=project).returncode == 0
    assert (versions / f"{head + 1:04d}_by_hand.py").exists()
    assert (versions / "HEAD").read_text().strip() == f"{head + 1:04d}"
    assert alembic("upgrade", "head", url=migrated_database, cwd=project).returncode == 0


def test_edited_revision_is_refused(migrated_database: str, tmp_path: Path) -> None:
    """Released: it has been applied somewhere in its old form."""
    project = copy_project(tmp_path / "project")
    versions = project / "alembic/versions"
    assert released(project)
    path = next(versions.glob("0005_*.py"))
    path.write_text(path.read_text() + "\n# edited\n")
    for arguments in (("upgrade", "head"), ("check",), ("revision", "-m", "next")):
        message = refused(alembic(*arguments, url=migrated_database, cwd=project))
        assert "0005" in message
        assert "never edited" in message


def test_edited_revision_that_is_not_released_gives_a_warning(
    migrated_database: str, tmp_path: Path
) -> None:
    """One line that says how to renew the database; released, the same is an error."""
    project = copy_project(tmp_path / "project")
    assert released(project)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return alembic(*arguments, url=migrated_database, cwd=project)

    assert run("revision", "-m", "In work").returncode == 0
    assert run("upgrade", "head").returncode == 0
    path = next((project / "alembic/versions").glob("*_in_work.py"))
    path.write_text(path.read_text() + "\n# edited\n")
    renewal = "alembic downgrade -1 && alembic upgrade head"
    warning = f"{path.name} changed after this database was upgraded with it: in development, run:"
    for arguments in (("upgrade", "head"), ("check",)):
        result = run(*arguments)
        assert result.returncode == 0, result.stderr
        assert result.stdout.count(f"  ! {warning} {renewal}\n") == 1, result.stdout
    assert released(project) == f"Locked 1 revision: {path.name[:4]}\n"
    message = refused(run("check"))
    assert "expected the text that this database was upgraded with" in message
    assert message.rstrip().endswith(renewal)
    assert run("downgrade", "-1").returncode == 0
    assert run("upgrade", "head").returncode == 0
    result = run("check")
    assert result.returncode == 0, result.stderr
    assert path.name not in result.stdout


def released(project: Path) -> str:
    """Release all revisions of a copy; returns what the command said."""
    result = subprocess.run(
        [sys.executable, "-m", "operations", "revision", "release"],
        cwd=project, env=environment(None), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return result.stdout


def test_two_heads_are_refused(migrated_database: str, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    newest = max((project / "alembic/versions").glob("0*.py"))
    number = newest.name[:4]
    other = newest.with_name("9000_other.py")
    other.write_text(newest.read_text().replace(f'revision = "{number}"', 'revision = "9000"', 1))
    message = refused(alembic("upgrade", "head", url=migrated_database, cwd=project))
    assert "one head" in message


TEN_LINES = '''
class Pump(TenantScoped, Identified, Timestamped, Base):
    """A pump."""

    __tablename__ = "pumps"

    site_id: Mapped[uuid.UUID]
    flow: Mapped[float | None] = mapped_column(comment="Litres per minute.")

    __table_args__ = (
        tenant_reference("site_id", "sites"),
        Index(None, "tenant_id", "site_id"),
        {"comment": "Pumps at a site."},
    )
'''


def test_a_model_of_ten_lines(migrated_database: str, tmp_path: Path) -> None:
    """A new table gets key, isolation, grants and trigger by saying nothing."""
    project = copy_project(tmp_path / "project")
    module = project / "models/pumps.py"
    module.write_text(
        "import uuid\n\n"
        "from sqlalchemy import Index\n"
        "from sqlalchemy.orm import Mapped, mapped_column\n\n"
        "from models.shared.base import Base, Identified, TenantScoped, Timestamped\n"
        "from models.shared.base import tenant_reference\n" + TEN_LINES
    )
    init = project / "models/__init__.py"
    text = init.read_text()
    init.write_text(text.replace("from models import (", "from models import (\n    pumps,", 1))
    url = migrated_database
    result = alembic("check", url=url, cwd=project)
    assert result.returncode != 0
    assert "pumps" in result.stdout + result.stderr
    result = alembic("revision", "--autogenerate", "-m", "pumps", url=url, cwd=project)
    assert result.returncode == 0, result.stderr
    text = max((project / "alembic/versions").glob("0*.py")).read_text()
    for expected in (
        'op.create_table(\n        "pumps"',
        'op.set_row_level_security("pumps", enable=True, force=True)',
        'op.create_policy(\n        "tenant_isolation",\n        "pumps"',
        'op.create_trigger("set_updated_at", "pumps"',
        'op.drop_table("pumps")',
    ):
        assert expected in text, text
    assert "import models" not in text
    for arguments in (("upgrade", "head"), ("check",), ("downgrade", "-1"), ("upgrade", "head")):
        result = alembic(*arguments, url=url, cwd=project)
        assert result.returncode == 0, result.stdout + result.stderr
    with engine_of(url) as engine, engine.connect() as connection:
        granted = sa.text("SELECT has_table_privilege('fleet_app', 'pumps', 'select')")
        assert connection.scalar(granted)
