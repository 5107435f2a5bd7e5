"""``operations context``: keys come and go, and no command shows one."""

from __future__ import annotations

import datetime
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from typer.testing import CliRunner

from database.context import ContextKey, ContextKeyError, KeyFile
from database.engine import make_engine
from database.settings import Settings
from database.tenancy import tenant_transaction
from operations.access import context
from operations.access.context import ContextError
from operations.commands import context as command
from operations.owner import owner_engine
from tests.support.plain_owner import plain_owner
from tests.support.signed import key_in

TENANT = UUID(int=7)


@pytest.fixture
def database(migrated_database: str) -> str:
    return migrated_database


@pytest.fixture
def run(database: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command; its output, or that of the error that ends it."""
    monkeypatch.setenv("DATABASE_URL", database)
    for name in ("MIGRATION_DATABASE_URL", "CONTEXT_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)

    def invoke(*arguments: str) -> str:
        result = CliRunner().invoke(command.app, arguments)
        if isinstance(result.exception, ContextError):
            return f"error: {result.exception}"
        return result.output

    return invoke


def ids(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [key.id for key in context.read(connection).valid]


def test_from_plain_to_signed_and_on(
    run: Callable[..., str], engine: Engine, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    assert "plain" in run("status")
    assert "has no key" in run("status")
    assert run("sign").startswith("error: no key is valid")
    said = [run("rotate", "--key-file", str(file)), run("sign")]
    first = key_in(file)
    assert ids(engine) == [first.id]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    said.append(run("rotate", "--key-file", str(file)))
    second = key_in(file)
    assert ids(engine) == [second.id, first.id]
    assert first.id in said[-1]
    refused = run("rotate", "--key-file", str(file))
    assert refused.endswith(f"run `operations context forget {first.id}`")
    assert key_in(file).id == second.id, "no file without a key"
    assert run("forget", first.id) == f"The key {first.id} is gone\n"
    assert (
        run("forget", "00000000") == f"error: the database has no key 00000000: it has {second.id}"
    )
    assert f"{second.id} is the only valid key of a signed database" in run("forget", second.id)
    said.append(run("rotate", "--key-file", str(file), "--previous-for", "0"))
    third = key_in(file)
    assert ids(engine) == [third.id]
    said += [run("status"), run("plain"), run("forget", third.id), run("status")]
    assert "signed: a tenant needs a token" in said[-4]
    assert "has no key" in said[-1]
    for digits in (one._secret.hex() for one in (first, second, third)):
        assert digits not in "\n".join(said)
    assert list(tmp_path.iterdir()) == [file]


def test_the_previous_key_may_have_an_end(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "key"
    first = context.rotate(engine, file)
    second = context.rotate(engine, file, previous_for=datetime.timedelta(hours=24))
    assert ids(engine) == [second.id, first.id]
    with engine.connect() as connection:
        ends = context.read(connection).keys[1].valid_until
    assert ends is not None
    left = ends - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(hours=23) < left <= datetime.timedelta(hours=24)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"UPDATE signing.context_keys SET valid_until = now() WHERE id = '{first.id}'"
        )
    third = context.rotate(engine, file)
    assert ids(engine) == [third.id, second.id]


def test_a_file_that_cannot_be_written_makes_no_key(
    run: Callable[..., str], engine: Engine, tmp_path: Path
) -> None:
    missing = tmp_path / "missing" / "key"
    assert "No such file or directory): no key was made" in run(
        "rotate", "--key-file", str(missing)
    )
    assert ids(engine) == []
    assert "expected --key-file or CONTEXT_KEY_FILE" in CliRunner().invoke(
        command.app, ["rotate"]
    ).output.replace("\n", " ").replace("│", "").replace("  ", " ")


def test_the_signature_is_hmac(engine: Engine, tmp_path: Path) -> None:
    """The server's pads and the application's key give the same one."""
    context.rotate(engine, tmp_path / "key")
    token = key_in(tmp_path / "key").token(TENANT)
    assert len(token) == 121
    with engine.begin() as connection:
        setting = sa.text("SELECT set_config('app.tenant_token', :token, true)")
        connection.execute(setting, {"token": token})
        assert connection.scalar(sa.text("SELECT verified_tenant()")) == TENANT


def test_commands_of_the_owner_sign_by_themselves(database: str, tmp_path: Path, run: Any) -> None:
    """An owner that is no superuser, and a setting whose file is not there yet."""
    run("status")
    with plain_owner(database) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", url)
        patch.setenv("CONTEXT_KEY_FILE", str(tmp_path / "key"))
        assert "Made the key" in run("rotate")
        assert "is signed" in run("sign")
        (tmp_path / "key").unlink()
        with owner_engine() as engine, tenant_transaction(engine, TENANT) as connection:
            assert connection.scalar(sa.text("SELECT current_tenant()")) == TENANT
        assert "is plain" in run("plain")


# --- the application's file ---


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, r"cannot be read \(No such file or directory\): correct CONTEXT_KEY_FILE"),
        (b"", "expected 64 hexadecimal digits, found something else, of 0 characters"),
        (b"secret" * 8, "expected 64 hexadecimal digits, found something else, of 48 characters"),
        (b"\xff" * 64, r"cannot be read \(it is not text\)"),
    ],
)
def test_a_file_without_a_key(
    content: bytes | None, said: str, database: str, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    settings = Settings(context_key_file=file)
    engine = make_engine(database, settings=settings)
    with (
        pytest.raises(ContextKeyError, match=said) as raised,
        tenant_transaction(engine, TENANT),
    ):
        pass
    assert f"rotate --key-file {file}`" in str(raised.value)
    assert "secret" not in str(raised.value)
    engine.dispose()


def test_a_new_key_counts_from_the_next_token_on(tmp_path: Path) -> None:
    file = tmp_path / "key"
    signer = KeyFile(file)
    for byte in (1, 2, 3):
        secret = bytes([byte]) * 32
        (tmp_path / "next").write_text(secret.hex() + "\n")
        (tmp_path / "next").replace(file)
        assert signer.token(TENANT)[:8] == ContextKey(secret).id


def test_a_key_has_a_length() -> None:
    with pytest.raises(ContextKeyError, match="expected 32 bytes, found 3"):
        ContextKey(b"abc")
