"""Tenants are made complete and deleted completely, whatever happens in between."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from typer.testing import CliRunner

from database.tenancy import tenant_transaction
from models.shared.base import PLATFORM_TENANT_ID
from operations import demo, relations, tenant_deletion, tenants
from operations.accounts import AccountError, token_hash
from operations.commands import tenant as command
from operations.demo_data import TENANTS
from operations.tenant_deletion import Step
from operations.tenants import TenantError
from tests.alembic_project import engine_of
from tests.operations.owners import plain_owner

DEVICES = 60
ACME, GLOBEX = (tenant.slug for tenant in TENANTS)


class StoppedError(Exception):
    """The process was killed, as far as the deletion can tell."""


@pytest.fixture
def engine(seeded_database: str) -> Iterator[Engine]:
    with engine_of(seeded_database) as engine:
        yield engine


@pytest.fixture
def two_tenants(engine: Engine) -> dict[str, uuid.UUID]:
    """Slug to id of two tenants with rows in many tables."""
    made = {}
    for wanted in TENANTS:
        tenant, _ = demo.ensure_tenant(engine, wanted)
        numbers = list(range(1, DEVICES + 1))
        demo.register(engine, wanted, tenant.tenant_id, numbers, lambda devices: None)
        made[tenant.slug] = tenant.tenant_id
    return made


def counts(engine: Engine, tenant_id: uuid.UUID) -> dict[str, int]:
    with engine.connect() as connection:
        return tenants.count_rows(connection, tenant_id)


def checksums(engine: Engine, tenant_id: uuid.UUID) -> dict[str, str]:
    """Relation to a checksum over every column of every row of a tenant."""
    with engine.connect() as connection:
        return {
            relation.name: connection.execute(
                sa.text(
                    "SELECT md5(coalesce(string_agg(x::text, ' ' ORDER BY x::text), ''))"
                    f" FROM {relation.sql} x WHERE tenant_id = :tenant"
                ),
                {"tenant": tenant_id},
            ).scalar_one()
            for relation in relations.tenant_relations(connection)
        }


def scalar(engine: Engine, query: str, **values: Any) -> Any:
    with engine.connect() as connection:
        return connection.execute(sa.text(query), values).scalar_one()


def execute(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def stop_after(steps: int) -> Callable[[Step], None]:
    def on_step(step: Step) -> None:
        if step.rows is None and step.number > steps:
            raise StoppedError

    return on_step


# --- create


def test_a_tenant_is_made_with_its_owner(engine: Engine) -> None:
    made = tenants.create(
        engine, slug="acme", name="Acme", owner_email="ann@example.com", owner_name="Ann", actor="x"
    )
    assert made.rows == counts(engine, made.tenant_id)
    assert made.rows["tenant_members"] == made.rows["user_roles"] == 1
    assert made.rows["roles"] == scalar(engine, "SELECT count(*) FROM role_templates")
    assert made.rows["device_templates"] == scalar(
        engine, "SELECT count(*) FROM device_templates WHERE tenant_id = :id", id=PLATFORM_TENANT_ID
    )
    assert made.owner.made
    assert made.token is not None
    stored = scalar(engine, "SELECT token_hash FROM password_reset_tokens")
    assert stored == token_hash(made.token.text)
    audit = "SELECT user_id || ' ' || action || ' ' || resource_id FROM operator_audit_log"
    assert scalar(engine, audit) == "x tenant.create acme"


def test_an_owner_who_has_an_account_gets_no_token(engine: Engine) -> None:
    first = tenants.create(engine, slug="one", name="One", owner_email="ann@example.com")
    second = tenants.create(engine, slug="two", name="Two", owner_email="Ann@example.com")
    assert (second.owner.id, second.owner.made, second.token) == (first.owner.id, False, None)
    stored = scalar(engine, "SELECT token_hash FROM password_reset_tokens")
    assert first.token is not None
    assert stored == token_hash(first.token.text)  # still works


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"slug": "taken"}, "the slug taken is taken by the tenant 'Taken'"),
        ({"slug": "platform"}, "the slug platform is taken"),
        ({"slug": "Not A Slug"}, "violates check constraint"),
        ({"slug": ""}, "violates check constraint"),
        ({"name": ""}, "violates check constraint"),
        ({"tier": "golden"}, "the tier 'golden' does not exist: expected one of .*growth"),
    ],
)
def test_what_cannot_be_made_leaves_nothing(
    engine: Engine, values: dict[str, str], said: str
) -> None:
    tenants.create(engine, slug="taken", name="Taken", owner_email="ann@example.com")
    with pytest.raises(TenantError, match=said) as raised:
        tenants.create(
            engine, **{"slug": "new", "name": "New", "owner_email": "bob@example.com", **values}
        )
    assert "\n" not in str(raised.value)
    assert scalar(engine, "SELECT count(*) FROM users WHERE email = 'bob@example.com'") == 0
    assert (
        scalar(engine, "SELECT count(*) FROM tenants WHERE tenant_id <> :id", id=PLATFORM_TENANT_ID)
        == 1
    )


def test_a_bad_address_is_refused_before_anything_happens(engine: Engine) -> None:
    with pytest.raises(AccountError, match="is not an e-mail address"):
        tenants.create(engine, slug="new", name="New", owner_email="bob")
    assert scalar(engine, "SELECT count(*) FROM operator_audit_log") == 0


def test_without_reference_data_the_mend_is_named(migrated_database: str) -> None:
    with (
        engine_of(migrated_database) as engine,
        pytest.raises(TenantError, match="Apply the reference data first"),
    ):
        tenants.create(engine, slug="new", name="New", owner_email="bob@example.com")


# --- delete


def test_nothing_of_the_tenant_stays_and_nothing_else_changes(
    engine: Engine, two_tenants: dict[str, uuid.UUID]
) -> None:
    others = (two_tenants[GLOBEX], PLATFORM_TENANT_ID)
    before = [checksums(engine, other) for other in others]
    had = counts(engine, two_tenants[ACME])
    steps: list[Step] = []

    deleted = tenant_deletion.delete(engine, ACME, actor="ann", on_step=steps.append)

    assert counts(engine, two_tenants[ACME]) == {}
    assert scalar(engine, "SELECT count(*) FROM tenants WHERE slug = :slug", slug=ACME) == 0
    assert [checksums(engine, other) for other in others] == before
    assert deleted.rows == {**had, "tenants": 1}
    assert deleted.left_over == [TENANTS[0].owner_email]
    email = "SELECT count(*) FROM users WHERE email = :email"
    assert scalar(engine, email, email=TENANTS[0].owner_email) == 1
    # Every step was announced, then done, and the tenant came last.
    assert [step.rows is None for step in steps] == [True, False] * (len(steps) // 2)
    assert steps[-1].relations == "tenant_members, tenants"
    with engine.connect() as connection:
        log = connection.execute(
            sa.text(
                "SELECT user_id, tenant_filter, resource_id FROM operator_audit_log"
                " WHERE action IN ('tenant.delete', 'tenant.delete.finish')"
            )
        ).all()
    assert log == [("ann", two_tenants[ACME], ACME)] * 2


def test_a_plain_owner_deletes_as_well(
    seeded_database: str, engine: Engine, two_tenants: dict[str, uuid.UUID]
) -> None:
    before = checksums(engine, two_tenants[GLOBEX])
    with plain_owner(seeded_database) as url, engine_of(url) as owner:
        tenant_deletion.delete(owner, ACME)
        made = tenants.create(owner, slug="new", name="New", owner_email="new@example.com")
    assert counts(engine, two_tenants[ACME]) == {}
    assert checksums(engine, two_tenants[GLOBEX]) == before
    assert counts(engine, made.tenant_id) == made.rows


def test_the_slug_is_free_afterwards(engine: Engine, two_tenants: dict[str, uuid.UUID]) -> None:
    tenant_deletion.delete(engine, ACME)
    assert demo.ensure_tenant(engine, TENANTS[0])[1]


def test_members_of_another_tenant_are_not_left_over(engine: Engine) -> None:
    tenants.create(engine, slug="one", name="One", owner_email="ann@example.com")
    tenants.create(engine, slug="two", name="Two", owner_email="ann@example.com")
    assert tenant_deletion.delete(engine, "one").left_over == []
    assert tenant_deletion.delete(engine, "two").left_over == ["ann@example.com"]


@pytest.mark.parametrize("steps", [0, 1, 7, 12, 23, 24, 34, 35])
def test_what_was_stopped_goes_on(
    engine: Engine, two_tenants: dict[str, uuid.UUID], steps: int
) -> None:
    before = checksums(engine, two_tenants[GLOBEX])
    had = counts(engine, two_tenants[ACME])
    with pytest.raises(StoppedError):
        tenant_deletion.delete(engine, ACME, on_step=stop_after(steps))
    status = "SELECT status FROM tenants WHERE slug = :slug"
    assert scalar(engine, status, slug=ACME) == "deleted"
    left = counts(engine, two_tenants[ACME])
    assert left["tenant_members"] == 1
    with pytest.raises(TenantError, match="is being deleted: finish that"):
        tenants.create(engine, slug=ACME, name="x", owner_email="x@example.com")

    deleted = tenant_deletion.delete(engine, ACME)

    assert deleted.rows == {**left, "tenants": 1}
    assert deleted.left_over == [TENANTS[0].owner_email]  # a second run still knows them
    assert set(left) <= set(had)
    assert counts(engine, two_tenants[ACME]) == {}
    assert checksums(engine, two_tenants[GLOBEX]) == before


def test_a_session_that_the_server_ends_goes_on_too(
    engine: Engine, two_tenants: dict[str, uuid.UUID]
) -> None:
    """The deletion waits for a row that another session holds, and is terminated there."""
    with engine.connect() as holder, ThreadPoolExecutor(1) as pool:
        holder.execute(
            sa.text("SELECT FROM device_registry WHERE device_id LIKE 'acme%' FOR UPDATE")
        )
        running = pool.submit(tenant_deletion.delete, engine, ACME)
        here = "wait_event_type = 'Lock' AND datname = current_database()"
        wait_for(engine, f"SELECT count(*) FROM pg_stat_activity WHERE {here}")
        execute(engine, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {here}")
        with pytest.raises(
            TenantError, match=r"stopped at device_registry .*run the command again"
        ):
            running.result()
        holder.rollback()
    assert counts(engine, two_tenants[ACME])["device_registry"] == DEVICES
    tenant_deletion.delete(engine, ACME)
    assert counts(engine, two_tenants[ACME]) == {}


def test_a_row_that_stays_locked_is_named(
    engine: Engine, two_tenants: dict[str, uuid.UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_deletion, "LOCK_TIMEOUT", "200ms")
    with engine.connect() as holder:
        holder.execute(sa.text("SELECT FROM sites WHERE name LIKE 'H%' FOR UPDATE"))
        with pytest.raises(TenantError, match=r"stopped at sites .*lock timeout") as raised:
            tenant_deletion.delete(engine, ACME)
    assert "\n" not in str(raised.value)


def test_two_at_once(engine: Engine, two_tenants: dict[str, uuid.UUID]) -> None:
    started, go_on = threading.Event(), threading.Event()

    def slowly(step: Step) -> None:
        started.set()
        assert go_on.wait(30)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(tenant_deletion.delete, engine, ACME, on_step=slowly)
        assert started.wait(30)
        try:
            with pytest.raises(TenantError, match="is being deleted by another session"):
                tenant_deletion.delete(engine, ACME)
            tenant_deletion.delete(engine, GLOBEX)  # another tenant is another matter
        finally:
            go_on.set()
        first.result()
    for tenant_id in two_tenants.values():
        assert counts(engine, tenant_id) == {}
    with pytest.raises(TenantError, match="no tenant has the slug"):
        tenant_deletion.delete(engine, ACME)


def test_what_is_written_meanwhile_goes_too(
    engine: Engine, two_tenants: dict[str, uuid.UUID]
) -> None:
    """The application may still have sessions of the tenant, even an open transaction."""
    acme = two_tenants[ACME]
    new_site = sa.text("INSERT INTO sites (tenant_id, name) VALUES (current_tenant(), :name)")
    writer = tenant_transaction(engine, acme)
    opened: list[Connection] = []
    finisher = threading.Timer(0.5, lambda: writer.__exit__(None, None, None))

    def on_step(step: Step) -> None:
        if step.rows is None and step.number == step.steps:
            with tenant_transaction(engine, acme) as connection:
                connection.execute(new_site, {"name": "committed"})
            opened.append(writer.__enter__())
            opened[0].execute(new_site, {"name": "not committed yet"})
            finisher.start()

    deleted = tenant_deletion.delete(engine, ACME, on_step=on_step)
    finisher.join()
    assert deleted.rows["sites"] == len(TENANTS[0].sites) + 2
    assert counts(engine, acme) == {}


def test_the_platform_stays(engine: Engine) -> None:
    [slug] = [
        scalar(engine, "SELECT slug FROM tenants WHERE tenant_id = :id", id=PLATFORM_TENANT_ID)
    ]
    before = checksums(engine, PLATFORM_TENANT_ID)
    with pytest.raises(TenantError, match="is the platform itself"):
        tenant_deletion.delete(engine, slug)
    assert checksums(engine, PLATFORM_TENANT_ID) == before


def test_no_such_tenant(engine: Engine) -> None:
    with pytest.raises(TenantError, match="no tenant has the slug 'nobody'"):
        tenant_deletion.delete(engine, "nobody")


def test_a_table_that_operators_cannot_empty_is_named_first(
    engine: Engine, two_tenants: dict[str, uuid.UUID]
) -> None:
    """Row security without a policy would delete nothing and report success."""
    execute(
        engine,
        "CREATE TABLE closed (tenant_id uuid REFERENCES tenants)",
        "CREATE TABLE blind (tenant_id uuid)",
        "ALTER TABLE blind ENABLE ROW LEVEL SECURITY",
        "GRANT ALL ON blind TO fleet_operator",
    )
    before = checksums(engine, two_tenants[ACME])
    with pytest.raises(TenantError, match="cannot delete from blind, closed"):
        tenant_deletion.delete(engine, ACME)
    assert checksums(engine, two_tenants[ACME]) == before
    assert scalar(engine, "SELECT status FROM tenants WHERE slug = :slug", slug=ACME) == "active"


def test_tables_that_the_models_do_not_know_and_circles_of_keys(
    engine: Engine, two_tenants: dict[str, uuid.UUID]
) -> None:
    execute(
        engine,
        "CREATE TABLE hen (tenant_id uuid REFERENCES tenants, id int, egg int,"
        " PRIMARY KEY (tenant_id, id))",
        "CREATE TABLE egg (tenant_id uuid REFERENCES tenants, id int, hen int NOT NULL,"
        " mother int, PRIMARY KEY (tenant_id, id),"
        " FOREIGN KEY (tenant_id, hen) REFERENCES hen,"
        " FOREIGN KEY (tenant_id, mother) REFERENCES egg)",
        "ALTER TABLE hen ADD FOREIGN KEY (tenant_id, egg) REFERENCES egg",
        "GRANT SELECT, DELETE ON hen, egg TO fleet_operator",
    )
    for tenant_id in two_tenants.values():
        execute(
            engine,
            f"INSERT INTO hen SELECT '{tenant_id}', n FROM generate_series(1, 9) n",
            f"INSERT INTO egg SELECT '{tenant_id}', n, n, nullif(n - 1, 0)"
            " FROM generate_series(1, 9) n",
            f"UPDATE hen SET egg = 10 - id WHERE tenant_id = '{tenant_id}'",
        )
    deleted = tenant_deletion.delete(engine, ACME)
    assert (deleted.rows["hen"], deleted.rows["egg"]) == (9, 9)
    left = counts(engine, two_tenants[GLOBEX])
    assert (left["hen"], left["egg"]) == (9, 9)


def test_children_come_first(engine: Engine) -> None:
    with engine.connect() as connection:
        order = relations.deletion_order(relations.tenant_relations(connection))
    assert all(len(group) == 1 for group in order)
    place = {group[0].oid: number for number, group in enumerate(order)}
    for group in order:
        for child in group[0].children & place.keys():
            assert place[child] < place[group[0].oid]
    assert order[-1][0].table == relations.MEMBERS


def wait_for(engine: Engine, query: str) -> None:
    deadline = time.monotonic() + 30
    while not scalar(engine, query):
        assert time.monotonic() < deadline, query
        time.sleep(0.02)


# --- the commands


@pytest.fixture
def run(seeded_database: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("DATABASE_URL", seeded_database)
    monkeypatch.delenv("MIGRATION_DATABASE_URL", raising=False)
    runner = CliRunner()
    return lambda *arguments, **options: runner.invoke(command.app, arguments, **options)


def test_the_commands(run: Callable[..., Any], engine: Engine) -> None:
    made = run("create", "--slug", "new", "--name", "New", "--owner-email", "bob@example.com")
    assert made.exit_code == 0, made.output
    [token] = re.findall(r"^Token +(\S+)$", made.output, re.M)
    stored = scalar(engine, "SELECT token_hash FROM password_reset_tokens")
    assert stored == token_hash(token)
    assert re.search(r"^tenant_members +1", made.output, re.M)

    for typed in ("", "\n", "neu\n"):
        refused = run("delete", "new", input=typed)
        assert refused.exit_code == 1
        assert scalar(engine, "SELECT status FROM tenants WHERE slug = 'new'") == "active"

    deleted = run("delete", "new", input="new\n")
    assert deleted.exit_code == 0, deleted.output
    assert "bob@example.com" in deleted.output
    assert scalar(engine, "SELECT count(*) FROM tenants WHERE slug = 'new'") == 0


def test_yes_does_not_ask(run: Callable[..., Any], engine: Engine) -> None:
    tenants.create(engine, slug="new", name="New", owner_email="bob@example.com")
    assert run("delete", "new", "--yes").exit_code == 0
    assert scalar(engine, "SELECT count(*) FROM tenants WHERE slug = 'new'") == 0
