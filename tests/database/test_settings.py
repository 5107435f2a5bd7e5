"""Settings and URLs: everything that people write works, and what does not says so."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from sqlalchemy import URL, NullPool, make_url

from database import settings as settings_module
from database.engine import make_async_engine, make_engine
from database.settings import (
    PROJECT_ROOT,
    ConfigurationError,
    Settings,
    application_url,
    embedded_server,
    migration_url,
)
from database.urls import describe, is_local, parse_url

SECRET = "s3cr3t"
passwords = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30
)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the developer's environment nor their `.env` counts here."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("PGSSLMODE", raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    settings_module._warn_if_unencrypted.cache_clear()


@pytest.mark.parametrize(
    "text",
    [
        "postgres://app:pw@db:6432/fleet",
        "postgresql://app:pw@db:6432/fleet",
        "postgresql+psycopg://app:pw@db:6432/fleet",
        "POSTGRES://app:pw@db:6432/fleet",
        '  "postgres://app:pw@db:6432/fleet"\n',
        "postgres:///?host=db&port=6432&user=app&password=pw&dbname=fleet",
        "postgres://other:pw@db/fleet?user=app&port=6432",
    ],
)
def test_spellings(text: str) -> None:
    """All the ways to write one address are one address."""
    assert parse_url(text) == URL.create("postgresql+psycopg", "app", "pw", "db", 6432, "fleet")


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://app@/fleet?host=/var/run/postgresql",
        "postgresql://app@/fleet?host=%2Fvar%2Frun%2Fpostgresql",
        "postgresql://app@%2Fvar%2Frun%2Fpostgresql/fleet",
    ],
)
def test_sockets(text: str) -> None:
    """The folder of a socket reaches the driver as its host."""
    url = parse_url(text)
    arguments = url.get_dialect()().create_connect_args(url)[1]
    assert arguments == {"host": "/var/run/postgresql", "user": "app", "dbname": "fleet"}
    assert describe(url) == "socket /var/run/postgresql"
    assert is_local(url)


def test_host_without_user_and_options_with_at() -> None:
    """An @ in an option's value is no end of a password."""
    url = parse_url("postgres://db/fleet?application_name=me@office&sslmode=require")
    assert (url.username, url.host, url.database) == (None, "db", "fleet")
    assert url.query["application_name"] == "me@office"


def test_ipv6() -> None:
    url = parse_url("postgres://app:pw@[::1]:5433/fleet")
    assert (url.host, url.port) == ("::1", 5433)
    assert make_url(url.render_as_string(hide_password=False)) == url


@given(passwords)
@example("%41")
@example("p@ss/w?r#d:%")
def test_encoded_passwords(password: str) -> None:
    """A percent-encoded password is decoded, whatever it holds."""
    url = parse_url(f"postgres://app:{quote(password, safe='')}@db:5432/fleet")
    assert url.password == password
    assert (url.username, url.host, url.port, url.database) == ("app", "db", 5432, "fleet")
    assert parse_url(url.render_as_string(hide_password=False)) == url


@given(passwords, st.sampled_from(["db", "db:5432", "[::1]:5432", ""]), st.booleans())
@example("a/b", "db", True)
@example("12/b@c", "db", True)
@example("a#b", "db:5432", False)
@example("a?b", "db", True)
@example("a@b@", "db", True)
@example("100%", "db", False)
@example("a:b::", "", True)
@example("%ff%00", "db", True)
@example("x://y", "db", True)
def test_raw_passwords(password: str, host: str, option: bool) -> None:
    """A password as it is works too, where only one reading makes sense."""
    assume(not re.search(r"%[0-9a-fA-F]{2}", password) or password == "%ff%00")
    # `1/fleet?user=x` is a port, a database and an option as much as it is a password.
    assume(not ("?" in password and "=" in password))
    end = "?host=/tmp" if not host else "?sslmode=require" if option else ""
    url = parse_url(f"postgres://app:{password}@{host}/fleet{end}")
    assert url.password == password
    assert (url.username, url.database) == ("app", "fleet")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"app:{SECRET}@db/fleet", "no scheme"),
        (f"host=db password={SECRET}", "no scheme"),
        (f"mysql://app:{SECRET}@db/fleet", "'mysql', not PostgreSQL"),
        (f"postgresql+asyncpg://app:{SECRET}@db/fleet", "driver 'asyncpg'"),
        (f"postgresql+psycopg_async://app:{SECRET}@db/fleet", "driver 'psycopg_async'"),
        (f"postgresql+psycopg2://app:{SECRET}@db/fleet", "driver 'psycopg2'"),
        (f"postgres://app:{SECRET}@db:port/fleet", "port that is not a number 'port'"),
        (f"postgres://app:{SECRET}@db:70000/fleet", "port outside 1 to 65535 '70000'"),
        (f"postgres://app:{SECRET}@db:0/fleet", "port outside"),
        (f"postgres://app:{SECRET}@db", "no database name"),
        (f"postgres://app:{SECRET}@db/", "no database name"),
        (f"postgres://app:{SECRET}@db:5432?sslmode=require", "no database name"),
        (f"postgres://app:{SECRET}/x@db", "no database name"),
        (f"postgres://app:{SECRET}/fleet", "port that is not a number"),
        (f"postgres://app:{SECRET}@d b/fleet", "told apart"),
        (f"postgres://app:{SECRET}@db/fleet?schema=x", "libpq does not know 'schema'"),
        (f"postgres://app:{SECRET}@db/fleet?sslmode", "without a value"),
        ("postgres://", "no database name"),
        ("", "no scheme"),
    ],
)
def test_malformed(text: str, says: str) -> None:
    """One line that names the setting and the mistake, and never the password."""
    with pytest.raises(ConfigurationError, match=says) as caught:
        parse_url(text, "MIGRATION_DATABASE_URL")
    message = str(caught.value)
    assert message.startswith("MIGRATION_DATABASE_URL ")
    assert "\n" not in message
    assert SECRET not in message


@given(passwords.filter(str.isalnum).map(lambda text: f"zz{text}"), st.text(max_size=20))
def test_malformed_never_shows_password(password: str, rest: str) -> None:
    """Whatever stands behind the host, no message shows what stands before the last @."""
    assume("@" not in rest and password not in rest)
    with pytest.raises(ConfigurationError) as caught:
        parse_url(f"postgres://app:{password}@db:x{rest}")
    assert password not in str(caught.value)


def test_defaults() -> None:
    settings = Settings()
    assert settings.database_url is None
    assert settings.database_pool_size == 20
    assert settings.database_max_overflow == 10
    assert settings.database_pool_timeout == 30
    assert settings.embedded_postgres_version == 18


def test_environment_wins_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.env` counts, the environment counts more, and nothing counts as none."""
    file = tmp_path / ".env"
    file.write_text("DATABASE_URL=postgres://file/x\nDATABASE_POOL_SIZE=3\nDATABASE_SSLMODE=\n")
    monkeypatch.setitem(Settings.model_config, "env_file", file)
    monkeypatch.setenv("DATABASE_URL", "postgres://environment/x")
    monkeypatch.setenv("DATABASE_POOL_TIMEOUT", "")
    settings = Settings()
    assert settings.database_url == "postgres://environment/x"
    assert settings.database_pool_size == 3
    assert settings.database_pool_timeout == 30
    assert settings.database_sslmode is None


def test_the_file_is_that_of_the_project() -> None:
    """From whatever folder a command is run."""
    assert (settings_module.PROJECT_ROOT / "database" / "settings.py").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("DATABASE_POOL_SIZE", "many"), ("DATABASE_SSLMODE", "always")]
)
def test_wrong_setting(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=rf"^{name} is not valid "):
        Settings()


def test_password_is_not_in_repr() -> None:
    assert SECRET not in repr(Settings(database_url=f"postgres://app:{SECRET}@db/x"))


def test_migration_url_defaults_to_application_url() -> None:
    settings = Settings(database_url="postgres://localhost/a")
    assert migration_url(settings) == application_url(settings)
    settings = Settings(
        database_url="postgres://localhost:6432/a", migration_database_url="postgres://localhost/a"
    )
    assert application_url(settings).port == 6432
    assert migration_url(settings).port is None


def test_error_names_the_variable() -> None:
    with pytest.raises(ConfigurationError, match=r"^MIGRATION_DATABASE_URL has no scheme"):
        migration_url(Settings(migration_database_url="nonsense"))


def test_tls_where_the_url_does_not_say() -> None:
    """The settings fill in what the URL leaves open, and nothing for a socket."""
    settings = Settings(
        database_url="postgres://db/a", database_sslmode="verify-full", database_sslrootcert="/ca"
    )
    assert application_url(settings).query == {"sslmode": "verify-full", "sslrootcert": "/ca"}
    settings = settings.model_copy(update={"database_url": "postgres://db/a?sslmode=require"})
    assert application_url(settings).query["sslmode"] == "require"
    settings = settings.model_copy(update={"database_url": "postgres:///a?host=/tmp"})
    assert application_url(settings).query == {"host": "/tmp"}


@pytest.mark.parametrize(
    ("url", "mode", "warns"),
    [
        ("postgres://db.example.com/a", None, True),
        ("postgres://db.example.com/a?sslmode=prefer", None, True),
        ("postgres://192.0.2.1/a?sslmode=disable", "verify-full", True),
        ("postgres://db.example.com/a?sslmode=require", None, False),
        ("postgres://db.example.com/a", "verify-ca", False),
        ("postgres://localhost/a", None, False),
        ("postgres://127.0.0.53/a", None, False),
        ("postgres://[::1]/a", None, False),
        ("postgres:///a?host=/tmp", None, False),
        ("postgres:///a?host=db.example.com", None, True),
    ],
)
def test_warning_without_tls(
    url: str, mode: str | None, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once, for a server across a network, without the password."""
    settings = Settings(database_url=url, database_sslmode=mode)
    with caplog.at_level(logging.WARNING):
        application_url(settings)
        application_url(settings)
    assert len(caplog.records) == int(warns)
    assert not warns or "DATABASE_SSLMODE=verify-full" in caplog.text


def test_environment_of_libpq_counts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    application_url(Settings(database_url="postgres://db.example.com/a"))
    assert not caplog.records


def test_without_url_the_embedded_server_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No setting at all is enough to get a URL that leads to a running server."""
    monkeypatch.setattr(settings_module, "PROJECT_ROOT", tmp_path)
    try:
        url = application_url()
        assert embedded_server().status().running
        assert url.database == "fleetschema"
        engine = make_engine(url.set(database="postgres"))
        with engine.connect() as connection:
            assert connection.exec_driver_sql("show application_name").scalar() == "fleetschema"
        engine.dispose()
    finally:
        embedded_server().destroy()
    assert list(tmp_path.iterdir()) == []


def test_engine_follows_the_settings() -> None:
    settings = Settings(database_pool_size=3, database_max_overflow=4, database_pool_timeout=5)
    for pool in (
        make_engine("postgres://localhost/a", settings=settings).pool,
        make_async_engine("postgres://localhost/a", settings=settings).pool,
    ):
        assert pool.size() == 3  # type: ignore[attr-defined]
        assert pool._max_overflow == 4  # type: ignore[attr-defined]
        assert pool._timeout == 5  # type: ignore[attr-defined]
    make_engine("postgres://localhost/a", settings=settings, poolclass=NullPool)


def test_engine_prepares_nothing(embedded_server: object) -> None:
    """A statement prepared on one server connection is unknown to the pooler's next one."""
    engine = make_engine(embedded_server.url("postgres"))  # type: ignore[attr-defined]
    with engine.connect() as connection:
        for _ in range(10):
            connection.exec_driver_sql("select 1")
        count = connection.exec_driver_sql("select count(*) from pg_prepared_statements").scalar()
        assert count == 0
    engine.dispose()


def test_the_example_lists_every_setting() -> None:
    example = (PROJECT_ROOT / ".env.example").read_text(encoding="utf-8")
    listed = set(re.findall(r"^# ([A-Z_]+)=", example, flags=re.MULTILINE))
    assert listed == {name.upper() for name in Settings.model_fields}
