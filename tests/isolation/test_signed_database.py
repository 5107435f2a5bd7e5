"""Signed or plain is a property of the database: who changes it, when, and what carries it."""

from __future__ import annotations

import datetime
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy import Engine

from database.context import KeyFile
from database.embedded import TemporaryServer
from database.engine import make_engine
from database.migration.runner import Runner
from database.signing import is_signed, set_signed
from database.tenancy import tenant_transaction
from operations.access import context
from tests.support.acme_and_globex import ACME, GLOBEX
from tests.support.alembic_project import alembic, config_for, failure, operations
from tests.support.commands import ROOT
from tests.support.databases import MakeDatabase
from tests.support.dumps import copy_by_dump
from tests.support.engines import engine_of, execute
from tests.support.pooler import PORT, transaction_pooler
from tests.support.servers import embedded_programs
from tests.support.signed import SignedDatabase, key_in, signed
from tests.support.time_series import migrate

DEVICES = sa.text("SELECT count(*) FROM device_registry")
LOGGED = {
    "log_statement": "all",
    "log_min_duration_statement": "0",
    "log_parameter_max_length": "-1",
    "log_parameter_max_length_on_error": "-1",
    "log_error_verbosity": "verbose",
}


@pytest.fixture
def database(make_database: MakeDatabase, tmp_path: Path) -> Iterator[SignedDatabase]:
    with signed(make_database(like=migrate), tmp_path) as found:
        yield found


def change(engine: Engine, *, to_signed: bool) -> None:
    with engine.begin() as connection:
        (context.sign if to_signed else context.plain)(connection)


def plain_url(url: sa.URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def choose(connection: sa.Connection, tenant: object) -> None:
    """What an injected statement would do."""
    setting = sa.text("SELECT set_config('app.tenant_id', :tenant, true)")
    connection.execute(setting, {"tenant": str(tenant)})


def test_a_change_counts_for_open_connections(database: SignedDatabase) -> None:
    """Also for the plans that they keep, from their next statement on."""
    prepared: dict[str, Any] = {"connect_args": {"prepare_threshold": 0}}
    with database.application(**prepared) as engine:
        backends = set()
        for to_signed in (True, False, True, True, False, False, True):
            change(database.owner, to_signed=to_signed)
            for _ in range(8):  # by the sixth the server keeps one plan for all
                with tenant_transaction(engine, ACME) as connection:
                    backends.add(connection.scalar(sa.text("SELECT pg_backend_pid()")))
                    assert connection.scalar(DEVICES) == 2
                    choose(connection, GLOBEX)
                    assert connection.scalar(DEVICES) == (2 if to_signed else 1)
        assert len(backends) == 1


def test_a_change_counts_within_a_transaction(database: SignedDatabase) -> None:
    with database.application() as engine:
        change(database.owner, to_signed=False)
        with tenant_transaction(engine, ACME) as connection:
            choose(connection, GLOBEX)
            assert connection.scalar(DEVICES) == 1
            change(database.owner, to_signed=True)
            assert connection.scalar(DEVICES) == 2


def test_keys_are_rotated_under_load(database: SignedDatabase) -> None:
    """No transaction is refused, and none sees another tenant, though each has its key once."""
    stop = threading.Event()
    failed: list[BaseException] = []
    used: set[str] = set()
    done = 0

    def work(tenant: Any, devices: int) -> None:
        nonlocal done
        with database.application() as engine:
            while not stop.is_set():
                try:
                    with tenant_transaction(engine, tenant) as connection:
                        token = connection.scalar(
                            sa.text("SELECT current_setting('app.tenant_token')")
                        )
                        assert connection.scalar(DEVICES) == devices
                except BaseException as error:
                    failed.append(error)
                    return
                used.add(token[:8])
                done += 1

    workers = [
        threading.Thread(target=work, args=pair) for pair in ((ACME, 2), (GLOBEX, 1), (ACME, 2))
    ]
    for worker in workers:
        worker.start()
    keys = [key_in(database.file).id]
    for _ in range(5):
        keys.append(context.rotate(database.owner, database.file).id)
        reached = done + 30
        while done < reached and not failed:
            stop.wait(0.01)
        context.forget(database.owner, keys[-2])
    stop.set()
    for worker in workers:
        worker.join(30)
    assert failed == []
    assert used >= set(keys[1:])
    assert done > 150


def test_a_key_that_is_gone_is_refused(database: SignedDatabase) -> None:
    old = key_in(database.file)
    context.rotate(database.owner, database.file, previous_for=datetime.timedelta(hours=1))
    with database.application(context_key=old) as engine:
        with tenant_transaction(engine, ACME) as connection:
            assert connection.scalar(DEVICES) == 2
            context.forget(database.owner, old.id)
            assert connection.scalar(DEVICES) == 0, "at once"
        with pytest.raises(Exception, match=f"takes no token of the key {old.id}"):
            tenant_transaction(engine, ACME).__enter__()
    expiring = key_in(database.file)
    context.rotate(database.owner, database.file, previous_for=datetime.timedelta(0))
    with (
        database.application(context_key=expiring) as engine,
        pytest.raises(Exception, match=f"takes no token of the key {expiring.id}"),
        tenant_transaction(engine, ACME),
    ):
        pass


def test_check_knows_both_bodies_and_no_third(database: SignedDatabase) -> None:
    for to_signed in (True, False):
        change(database.owner, to_signed=to_signed)
        command.check(config_for(database.owner))
    body = "RETURN current_setting('app.other', true)::uuid"
    execute(
        database.owner.url,
        f"CREATE OR REPLACE FUNCTION current_tenant() RETURNS uuid STABLE PARALLEL SAFE {body}",
    )
    found = alembic("check", url=plain_url(database.owner.url))
    assert "function public.current_tenant()" in found.stdout
    assert found.returncode != 0


def test_a_revision_leaves_it_signed(
    database: SignedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even one that gives the function the body of the models."""
    run = Runner._run

    def replacing(self: Runner, connection: sa.Connection) -> None:
        run(self, connection)
        set_signed(connection, signed=False)

    monkeypatch.setattr(Runner, "_run", replacing)
    command.upgrade(config_for(database.owner), "head")
    with database.owner.connect() as connection:
        assert is_signed(connection)


def test_a_downgrade_below_it_says_what_to_do(database: SignedDatabase) -> None:
    url = plain_url(database.owner.url)
    message = failure(alembic("downgrade", "0071", url=url))
    assert "verified_tenant() is in use: expected a plain database, found a signed one" in message
    assert "run `python -m operations context plain`" in message
    assert len(message) < 500
    with database.application() as engine, tenant_transaction(engine, ACME) as connection:
        choose(connection, GLOBEX)
        assert connection.scalar(DEVICES) == 2, "nothing of the revision was kept"
    change(database.owner, to_signed=False)
    for direction in ("downgrade", "0071"), ("upgrade", "head"):
        assert alembic(*direction, url=url).returncode == 0
    with database.application() as engine, tenant_transaction(engine, ACME) as connection:
        assert connection.scalar(DEVICES) == 2


def test_a_dump_of_the_schema_has_no_key(
    database: SignedDatabase, make_database: MakeDatabase, tmp_path: Path
) -> None:
    """A dump of all does, like the rest of the rows: the copy takes the same tokens."""
    with database.owner.connect() as connection:
        pads = connection.exec_driver_sql("SELECT inner_pad, outer_pad FROM signing.context_keys")
        secrets = [pad.hex() for row in pads for pad in row]
    url = plain_url(database.owner.url)
    dump = [str(embedded_programs(18) / "pg_dump"), "--dbname"]
    schema = subprocess.run([*dump, url, "--schema-only"], capture_output=True, check=True)
    assert b"verified_tenant" in schema.stdout
    everything = subprocess.run([*dump, url], capture_output=True, check=True)
    for secret in secrets:
        assert secret.encode() not in schema.stdout
        assert secret.encode() in everything.stdout
    login = plain_url(database.url)
    for schema_of in ((), ("--table", "signing.context_keys"), ("--schema", "signing")):
        refused = subprocess.run([*dump, login, *schema_of], capture_output=True, check=False)
        assert refused.returncode != 0
        assert b"permission denied" in refused.stderr
        assert not [one for one in secrets if one.encode() in refused.stdout + refused.stderr]
    copy = make_database()
    copy_by_dump(database.owner.url.render_as_string(hide_password=False), copy, tmp_path)
    with engine_of(copy) as engine:
        signing = engine.execution_options(context_key=key_in(database.file))
        with tenant_transaction(signing, ACME) as connection:
            choose(connection, GLOBEX)
            assert connection.scalar(DEVICES) == 2
        with engine.connect() as connection:
            assert is_signed(connection)


def test_the_log_has_the_reason_and_no_key(tmp_path: Path) -> None:
    """Whatever the server logs; of a forged token it has the reason, which nobody else gets."""
    with TemporaryServer(embedded_programs(18), **LOGGED) as server:
        execute(server.url("postgres"), "CREATE DATABASE logged")
        migrate(server.url("logged"))
        with signed(server.url("logged"), tmp_path) as database:
            key = key_in(database.file)
            context.rotate(database.owner, database.file)
            with database.application() as engine:
                with tenant_transaction(engine, ACME) as connection:
                    assert connection.scalar(DEVICES) == 2
                forged = {
                    "it is malformed": "x",
                    f"the key {key.id} has not signed it, for tenant {GLOBEX}": key.token(
                        ACME
                    ).replace(str(ACME), str(GLOBEX)),
                    "the key 00000000 is unknown or no longer valid": "0" * 8 + key.token(ACME)[8:],
                }
                with engine.connect() as connection:
                    for token in forged.values():
                        setting = sa.text("SELECT set_config('app.tenant_token', :token, true)")
                        connection.execute(setting, {"token": token})
                        assert connection.scalar(sa.text("SELECT current_tenant()")) is None
            with database.owner.connect() as connection:
                pads = connection.exec_driver_sql(
                    "SELECT inner_pad, outer_pad FROM signing.context_keys"
                )
                secrets = [block.hex() for pair in pads for block in pair]
                secrets += [
                    bytes(byte ^ 0x36 for byte in bytes.fromhex(one)[:32]).hex() for one in secrets
                ]
        log = (server.home / "server.log").read_text()
    for reason in forged:
        assert f"refused a tenant context: {reason}" in log
    assert "INSERT INTO signing.context_keys" in log
    assert not [one for one in secrets if one[:16] in log.lower()]


def test_behind_a_transaction_pooler(tmp_path: Path) -> None:
    """Many clients on one server connection, with keys that change and modes that change."""
    with TemporaryServer(embedded_programs(18)) as server:
        migrate(server.url("postgres"))
        with (
            signed(server.url("postgres"), tmp_path) as database,
            transaction_pooler(server, database.login) as folder,
        ):
            url = f"postgresql://any@/postgres?host={folder}&port={PORT}"
            engines = [make_engine(url, context_key=KeyFile(database.file)) for _ in range(3)]
            backends = set()
            for number in range(60):
                tenant, devices = ((ACME, 2), (GLOBEX, 1))[number % 2]
                if number % 20 == 10:
                    context.rotate(
                        database.owner, database.file, previous_for=datetime.timedelta(0)
                    )
                if number % 15 == 7:
                    change(database.owner, to_signed=number % 2 == 0)
                with tenant_transaction(engines[number % 3], tenant) as connection:
                    assert connection.scalar(DEVICES) == devices
                    backends.add(connection.scalar(sa.text("SELECT pg_backend_pid()")))
                with engines[(number + 1) % 3].connect() as connection:
                    assert connection.scalar(DEVICES) == 0
            assert len(backends) == 1
            for engine in engines:
                engine.dispose()


# --- how it is used ---


def test_the_example_for_other_languages(database: SignedDatabase, tmp_path: Path) -> None:
    """The program of docs/isolation.md signs, and psql is a tenant by its token."""
    if shutil.which("perl") is None:
        pytest.skip("no Perl on this machine")
    page = (ROOT / "docs" / "isolation.md").read_text(encoding="utf-8")
    example = {
        language: re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
        for language in ("perl", "sh")
    }
    (tmp_path / "token.pl").write_text("".join(example["perl"]))
    script = next(one for one in example["sh"] if "token.pl" in one)
    run = subprocess.run(
        ["sh", "-euc", script],
        cwd=tmp_path,
        env={
            "PATH": f"{embedded_programs(18)}:/usr/local/bin:/usr/bin:/bin",
            "DATABASE_URL": plain_url(database.url),
            "CONTEXT_KEY_FILE": str(database.file),
            "TENANT": str(ACME).upper(),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stderr == ""
    assert run.stdout.count("pump") == run.stdout.count("lamp") == 1


@pytest.mark.parametrize("to_signed", [True, False])
def test_psql_as_a_tenant(to_signed: bool, database: SignedDatabase) -> None:
    change(database.owner, to_signed=to_signed)

    def psql(*arguments: str, query: str = "") -> subprocess.CompletedProcess[str]:
        url = database.owner.url.render_as_string(hide_password=False)
        path = f"{embedded_programs(18)}:/usr/bin:/bin"
        return operations("sql", *arguments, url=url, given=query, PATH=path)

    asked = "SELECT current_user, count(*), current_tenant() FROM device_registry"
    found = psql("--tenant", "acme", "--", "-AtX", query=f"{asked}; RESET ROLE; {asked} -- again")
    assert found.stdout.splitlines()[0] == f"fleet_app|2|{ACME}", found.stderr
    with database.owner.connect() as connection:
        entry = connection.exec_driver_sql("SELECT * FROM operator_audit_log").mappings().one()
    assert (entry["action"], entry["tenant_filter"]) == ("sql", ACME)
    refused = psql("--tenant", "nobody")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "error: no tenant has the slug 'nobody'\n"


def test_without_psql(database: SignedDatabase) -> None:
    url = database.owner.url.render_as_string(hide_password=False)
    refused = operations("sql", "--tenant", "acme", url=url, PATH="/nowhere")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: psql is not on the PATH: install")
