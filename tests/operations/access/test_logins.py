"""Login roles: a password that is stored nowhere, exactly one role, and nothing more."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from typer.testing import CliRunner

from database import roles
from database.embedded import TemporaryServer
from database.roles import timeouts
from ddl.sql import send
from models.shared.roles import ROLE_NAMES
from operations.access import logins
from operations.access.logins import LoginError
from operations.commands import login as command
from tests.support.engines import engine_of
from tests.support.servers import embedded_programs, machine_programs

OWNER = "house owner"
LATER = datetime.datetime(2040, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture(scope="module", params=["16 and newer", "15"])
def server(request: pytest.FixtureRequest) -> Iterator[TemporaryServer]:
    """A separate cluster, whose roles were created by an owner that is not a superuser.

    Membership has had options of its own since PostgreSQL 16, so both kinds are tried.
    """
    programs = embedded_programs(18) if request.param == "16 and newer" else machine_programs()
    if programs is None:
        pytest.skip("no PostgreSQL programs on this machine")
    with TemporaryServer(programs) as server:
        with engine_of(server.url("postgres")) as engine, engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql(f"CREATE ROLE \"{OWNER}\" LOGIN CREATEROLE PASSWORD 'x'")
            connection.exec_driver_sql(f'CREATE DATABASE house OWNER "{OWNER}"')
        with engine_of(url_of(server, OWNER)) as engine, engine.begin() as connection:
            for statement in roles.creation():
                send(connection, statement)
        yield server


def url_of(server: TemporaryServer, user: str, password: str = "x") -> str:
    url = sa.make_url(server.url("house")).set(username=user, password=password)
    return url.render_as_string(hide_password=False)


@pytest.fixture(params=["superuser", "owner"])
def engine(request: pytest.FixtureRequest, server: TemporaryServer) -> Iterator[Engine]:
    """The engine that creates logins, which are dropped after the test."""
    url = server.url("house") if request.param == "superuser" else url_of(server, OWNER)
    with engine_of(url) as engine:
        yield engine
    with engine_of(server.url("house")) as engine, engine.begin() as connection:
        found = connection.scalars(sa.text("SELECT rolname FROM pg_roles WHERE rolname LIKE 't %'"))
        for name in list(found):
            connection.exec_driver_sql(f'DROP ROLE "{name}"')


@contextmanager
def logged_in(server: TemporaryServer, made: logins.Credentials) -> Iterator[psycopg.Connection]:
    """A session with the URL as it is shown, read by libpq itself."""
    url = made.url(sa.make_url(server.url("house")))
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def verifier_matches(verifier: str, password: str) -> bool:
    """RFC 5802 and 7677, as PostgreSQL stores it: SCRAM-SHA-256$iterations:salt$stored:server."""
    found = re.fullmatch(r"SCRAM-SHA-256\$(\d+):(.+)\$(.+):(.+)", verifier)
    assert found
    rounds, (salt, stored) = int(found[1]), map(base64.b64decode, found.group(2, 3))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    key = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(key).digest() == stored


def stored(server: TemporaryServer, name: str) -> str:
    with engine_of(server.url("house")) as engine, engine.connect() as connection:
        query = sa.text("SELECT rolpassword FROM pg_authid WHERE rolname = :name")
        return connection.execute(query, {"name": name}).scalar_one()


@pytest.mark.parametrize("role", ROLE_NAMES)
def test_a_login_has_one_role_and_nothing_more(
    server: TemporaryServer, engine: Engine, role: str
) -> None:
    made = logins.create(engine, "t app", role, valid_until=LATER, connection_limit=3)
    assert verifier_matches(stored(server, "t app"), made.password)
    assert len(made.password) >= 22  # 128 bits and more, six a letter
    assert made.password not in repr(made)

    with engine_of(server.url("house")) as superuser, superuser.connect() as connection:
        row = connection.exec_driver_sql(
            "SELECT rolcanlogin, rolinherit, rolsuper, rolcreatedb, rolcreaterole, rolreplication,"
            " rolbypassrls, rolconnlimit, rolvaliduntil FROM pg_roles WHERE rolname = 't app'"
        ).one()
    assert row == (True, True, False, False, False, False, False, 3, LATER)

    with logged_in(server, made) as connection:
        connection.execute(f"SET ROLE {role}")
        connection.execute("RESET ROLE")
        for other in {*ROLE_NAMES, "postgres", OWNER} - {role}:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f'SET ROLE "{other}"')
        usage = "SELECT pg_has_role(current_user, %s, 'usage')"
        assert connection.execute(usage, [role]).fetchone() == (True,)
        for what, time in timeouts(role).items():
            shown = connection.execute(f"SHOW {what}_timeout").fetchone()
            assert shown is not None
            same = "SELECT %s::interval = %s::interval"
            assert connection.execute(same, [shown[0], time]).fetchone() == (True,)
        path = connection.execute("SHOW search_path").fetchone()
        assert path is not None
        assert (path[0] == "timeseries, public") is role.startswith("fleet_operator")


def test_a_rotated_password_replaces_the_old_one(server: TemporaryServer, engine: Engine) -> None:
    first = logins.create(engine, "t app", "fleet_app", valid_until=LATER)
    with logged_in(server, first) as connection:
        second = logins.rotate(engine, "t app")
        assert second.connections == 1
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert (second.name, second.role, second.valid_until) == ("t app", "fleet_app", LATER)
    assert second.password != first.password
    assert verifier_matches(stored(server, "t app"), second.password)
    with logged_in(server, second):
        pass
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        logged_in(server, first).__enter__()


def test_an_expired_login_needs_a_new_end(server: TemporaryServer, engine: Engine) -> None:
    made = logins.create(engine, "t app", "fleet_app")
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER ROLE \"t app\" VALID UNTIL '2020-01-01'")
    with pytest.raises(psycopg.OperationalError):
        logged_in(server, made).__enter__()
    with pytest.raises(LoginError, match=r"expired at 20.*--valid-until"):
        logins.rotate(engine, "t app")
    made = logins.rotate(engine, "t app", valid_until=LATER)
    with logged_in(server, made):
        pass


def test_a_login_without_an_end_can_be_rotated(engine: Engine) -> None:
    logins.create(engine, "t app", "fleet_app")
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER ROLE \"t app\" VALID UNTIL 'infinity'")
    assert logins.rotate(engine, "t app").valid_until is None


def test_neither_the_server_nor_its_log_sees_the_password(engine: Engine) -> None:
    sent: list[str] = []
    sa.event.listen(
        engine,
        "before_cursor_execute",
        lambda c, cursor, sql, params, *_: sent.append(sql + repr(params)),
    )
    first = logins.create(engine, "t app", "fleet_app")
    second = logins.rotate(engine, "t app")
    everything = "\n".join(sent)
    assert everything.count("SCRAM-SHA-256$") == 2
    assert first.password not in everything
    assert second.password not in everything


def test_list_describes_each_login(server: TemporaryServer, engine: Engine) -> None:
    made = logins.create(engine, "t one", "fleet_app", valid_until=LATER, connection_limit=7)
    logins.create(engine, "t two", "fleet_auth")
    with logged_in(server, made):
        found = {login.name: login for login in logins.listed(engine)}
    assert found["t one"] == logins.Login("t one", ("fleet_app",), LATER, 7, 1)
    assert found["t two"] == logins.Login("t two", ("fleet_auth",), None, None, 0)
    assert set(found[OWNER].roles) == set(ROLE_NAMES)
    assert "postgres" not in found


@pytest.mark.parametrize(
    ("name", "role", "options", "message"),
    [
        (
            "t app",
            "fleet_ap",
            {},
            "'fleet_ap' is not a role of the project: expected one of fleet_app",
        ),
        ("t app", "postgres", {}, "'postgres' is not a role of the project"),
        ("postgres", "fleet_app", {}, "the role postgres exists already"),
        ("fleet_app", "fleet_app", {}, "the role fleet_app exists already"),
        ("", "fleet_app", {}, "is not a valid name"),
        ("t " + "ä" * 31, "fleet_app", {}, "is not a valid name"),
        ("pg_app", "fleet_app", {}, "the login pg_app cannot be created: role name .* is reserved"),
        ("t app", "fleet_app", {"connection_limit": 0}, "allows no session"),
        (
            "t app",
            "fleet_app",
            {"valid_until": LATER.replace(year=2020)},
            "expected a time that has not passed",
        ),
    ],
)
def test_invalid_logins_are_rejected(
    engine: Engine, name: str, role: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(LoginError, match=message) as raised:
        logins.create(engine, name, role, **options)
    assert "\n" not in str(raised.value)
    assert [login.name for login in logins.listed(engine)] == [OWNER]


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (None, "it does not exist"),
        ("SUPERUSER LOGIN IN ROLE fleet_app", "it is a superuser"),
        ("NOLOGIN IN ROLE fleet_app", "it cannot log in"),
        ("LOGIN BYPASSRLS IN ROLE fleet_app", "an attribute such as"),
        ("LOGIN", "expected exactly one role of the project, found none"),
        ("LOGIN IN ROLE fleet_app, fleet_auth", "found fleet_app, fleet_auth"),
    ],
)
def test_only_logins_of_the_project_are_rotated(
    server: TemporaryServer, engine: Engine, definition: str | None, message: str
) -> None:
    if definition:
        with engine_of(server.url("house")) as superuser, superuser.begin() as connection:
            connection.exec_driver_sql(f'CREATE ROLE "t odd" {definition}')
    with pytest.raises(LoginError, match=message):
        logins.rotate(engine, "t odd")


def test_the_owner_is_not_rotated(engine: Engine) -> None:
    with pytest.raises(LoginError, match="it owns a database"):
        logins.rotate(engine, OWNER)


def test_a_login_with_a_second_role_through_a_group_is_not_rotated(
    server: TemporaryServer, engine: Engine
) -> None:
    logins.create(engine, "t app", "fleet_app")
    with engine_of(server.url("house")) as superuser, superuser.begin() as connection:
        connection.exec_driver_sql('CREATE ROLE "t group" IN ROLE fleet_operator ROLE "t app"')
    with pytest.raises(LoginError, match="found fleet_app, fleet_operator"):
        logins.rotate(engine, "t app")


def test_a_missing_privilege_is_named(server: TemporaryServer) -> None:
    with engine_of(server.url("house")) as superuser, superuser.begin() as connection:
        modern = connection.dialect.server_version_info >= (16,)
        connection.exec_driver_sql("CREATE ROLE \"t weak\" LOGIN PASSWORD 'x'")
        connection.exec_driver_sql("CREATE ROLE \"t half\" LOGIN CREATEROLE PASSWORD 'x'")
        connection.exec_driver_sql('CREATE ROLE "t app" LOGIN IN ROLE fleet_app')
    try:
        with engine_of(url_of(server, "t weak")) as engine:
            with pytest.raises(
                LoginError, match=r'lacks CREATEROLE.*ALTER ROLE "t weak" CREATEROLE'
            ):
                logins.create(engine, "t new", "fleet_app")
            with pytest.raises(LoginError, match="lacks CREATEROLE"):
                logins.rotate(engine, "t app")
        with engine_of(url_of(server, "t half")) as engine:
            if modern:
                fix = 'GRANT fleet_app TO "t half" WITH ADMIN OPTION'
                with pytest.raises(LoginError, match=f"lacks the ADMIN option.*{fix}"):
                    logins.create(engine, "t new", "fleet_app")
                fix = 'GRANT "t app" TO "t half" WITH ADMIN OPTION'
                with pytest.raises(LoginError, match=f"lacks the ADMIN option.*{fix}"):
                    logins.rotate(engine, "t app")
            else:
                logins.create(engine, "t new", "fleet_app")
                logins.rotate(engine, "t app")
    finally:
        with engine_of(server.url("house")) as superuser, superuser.begin() as connection:
            for name in ("t new", "t app", "t half", "t weak"):
                connection.exec_driver_sql(f'DROP ROLE IF EXISTS "{name}"')


def test_without_the_roles_the_command_is_named() -> None:
    with (
        TemporaryServer(embedded_programs(18)) as empty,
        engine_of(empty.url("postgres")) as engine,
        pytest.raises(LoginError, match=r"fleet_app does not exist.*alembic upgrade head"),
    ):
        logins.create(engine, "t app", "fleet_app")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2030-12-31", datetime.datetime(2030, 12, 31, tzinfo=datetime.UTC)),
        ("2030-12-31T18:00+02:00", datetime.datetime(2030, 12, 31, 16, tzinfo=datetime.UTC)),
        (" 2030-12-31 18:00Z ", datetime.datetime(2030, 12, 31, 18, tzinfo=datetime.UTC)),
    ],
)
def test_valid_dates(text: str, moment: datetime.datetime) -> None:
    assert logins.moment(text) == moment


def test_an_invalid_date() -> None:
    with pytest.raises(LoginError, match="'next year' is not a date"):
        logins.moment("next year")


def test_the_commands_show_the_password_once(
    server: TemporaryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", url_of(server, OWNER))
    monkeypatch.delenv("MIGRATION_DATABASE_URL", raising=False)
    run = CliRunner()
    try:
        made = run.invoke(command.app, ["create", "t app", "--role", "fleet_app"])
        assert made.exit_code == 0, made.output
        [password] = re.findall(r"^Password +(\S+)$", made.output, re.M)
        [url] = re.findall(r"^URL +(\S+)$", made.output, re.M)
        with psycopg.connect(url) as connection:
            assert connection.info.user == "t app"
        assert made.output.count(password) == 2  # by itself, and in the URL

        rotated = run.invoke(command.app, ["rotate", "t app", "--valid-until", "2040-01-01"])
        assert rotated.exit_code == 0, rotated.output
        assert "2040-01-01 00:00 UTC" in rotated.output
        assert password not in rotated.output
        [url] = re.findall(r"^URL +(\S+)$", rotated.output, re.M)
        psycopg.connect(url).close()

        listed = run.invoke(command.app, ["list"])
        assert re.search(r"^t app +fleet_app +2040-01-01 00:00 UTC +none +0", listed.output, re.M)
    finally:
        with engine_of(server.url("house")) as superuser, superuser.begin() as connection:
            connection.exec_driver_sql('DROP ROLE IF EXISTS "t app"')
