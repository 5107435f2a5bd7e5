"""The demonstration: created once, the same in every run, and shown correctly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine
from typer.testing import CliRunner

from models.shared.base import PLATFORM_TENANT_ID
from operations.access import context
from operations.cli import main
from operations.commands import demo as command
from operations.demo import registration, visibility
from operations.demo.registration import DemoError
from operations.demo.tenant_data import GATEWAY_SPAN, TENANTS
from operations.tenants import deletion
from operations.tenants.creation import create_tenant
from operations.tenants.tenant import Tenant, find_tenant
from operations.tenants.tenant_tables import count_rows
from tests.support.context import SIGNED
from tests.support.engines import engine_of
from tests.support.plain_owner import plain_owner

DEVICES = 60  # of each tenant: more than one gateway, not a whole batch


@pytest.fixture
def run(seeded_database: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setenv("DATABASE_URL", seeded_database)
    monkeypatch.delenv("MIGRATION_DATABASE_URL", raising=False)
    runner = CliRunner()
    # A day of telemetry shows what a week does, in a fifth of the time.
    return lambda *arguments: runner.invoke(command.app, [*arguments, "--days", "1"])


def make(engine: Engine, devices: int = DEVICES) -> list[Tenant]:
    made = []
    for demo_tenant in TENANTS:
        tenant, _ = registration.ensure_tenant(engine, demo_tenant)
        numbers = registration.missing_devices(engine, demo_tenant, tenant.tenant_id, devices)
        registration.register(engine, demo_tenant, tenant.tenant_id, numbers, lambda devices: None)
        made.append(tenant)
    return made


def scalar(engine: Engine, query: str, **values: Any) -> Any:
    with engine.connect() as connection:
        return connection.execute(sa.text(query), values).scalar_one()


def execute(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)


def everything(engine: Engine) -> dict[str, int]:
    """Table to rows, all tenants together; the audit log always grows."""
    tables = (
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    with engine.connect() as connection:
        return {
            name: connection.execute(sa.text(f"SELECT count(*) FROM {name}")).scalar_one()
            for name in connection.scalars(sa.text(tables)).all()
            if name != "operator_audit_log"
        }


def registered(engine: Engine) -> str:
    """A checksum over everything except IDs and times that the database generates."""
    return scalar(
        engine,
        """
        SELECT md5(string_agg(concat_ws(' ', d.device_id, d.status, d.parent_device_id, s.name,
                                        d.serial_number, d.mac_address, d.fw_version, t.slug,
                                        m.metric_key, m.status, m.last_value, g.tag, g.value),
                              ' ' ORDER BY d.device_id, m.metric_key, g.tag))
          FROM device_registry d
          JOIN sites s USING (tenant_id, site_id)
          JOIN (SELECT tenant_id, id AS template_id, slug FROM device_templates) t
               USING (tenant_id, template_id)
          LEFT JOIN device_sensors m USING (tenant_id, device_id)
          LEFT JOIN device_tags g USING (tenant_id, device_id)
        """,
    )


def test_a_second_run_adds_nothing(run: Callable[..., Any], engine: Engine) -> None:
    first = run("--devices", str(2 * DEVICES))
    assert first.exit_code == 0, first.output
    assert f"device_registry {DEVICES}" in first.output
    before, rows = everything(engine), registered(engine)
    assert before["device_registry"] == before["device_state"] == 2 * DEVICES

    second = run("--devices", str(2 * DEVICES))
    assert second.exit_code == 0, second.output
    assert second.output.count("was there; added nothing") == 2
    assert (everything(engine), registered(engine)) == (before, rows)

    fewer = run("--devices", "10")
    assert fewer.output.count("was there; added nothing") == 2
    more = run("--devices", str(2 * DEVICES + 1))
    assert "device_registry 1," in more.output
    assert everything(engine)["device_registry"] == 2 * DEVICES + 1


def test_every_run_creates_the_same_rows(engine: Engine) -> None:
    make(engine)
    first = registered(engine)
    registration.remove(engine, deletion.silent)
    make(engine)
    assert registered(engine) == first


def test_an_interrupted_run_continues(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    make(engine)
    whole = registered(engine)
    registration.remove(engine, deletion.silent)

    monkeypatch.setattr(registration, "BATCH", GATEWAY_SPAN)
    demo_tenant = TENANTS[0]
    tenant, _ = registration.ensure_tenant(engine, demo_tenant)

    def stop(devices: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        registration.register(
            engine, demo_tenant, tenant.tenant_id, list(range(1, DEVICES + 1)), stop
        )
    missing = registration.missing_devices(engine, demo_tenant, tenant.tenant_id, DEVICES)
    assert missing == list(range(GATEWAY_SPAN + 1, DEVICES + 1))
    make(engine)
    assert registered(engine) == whole


def test_the_counts_shown_are_correct(engine: Engine) -> None:
    made = make(engine)
    for tenant in made:
        seen = visibility.seen_by_tenant(engine, tenant)
        whole = tenants_rows(engine, tenant)
        assert seen["tenants"] == seen["people"] == 1
        assert seen["devices"] == whole["device_registry"] == DEVICES
        assert seen["sensors"] == whole["device_sensors"]
        assert seen["sites"] == whole["sites"]
        for what in ("devices", "sensors"):
            parts = [count for name, count in seen.items() if name.startswith(f"{what} ")]
            assert sum(parts) == seen[what]
    nothing = visibility.seen_without_tenant(engine)
    assert set(nothing.values()) == {0}
    assert {"tenants", "people", "sites", "devices", "sensors"} <= set(nothing)


def tenants_rows(engine: Engine, tenant: Tenant) -> dict[str, int]:
    with engine.connect() as connection:
        return count_rows(connection, tenant.tenant_id)


def test_an_operator_sees_all_tenants_and_is_logged(engine: Engine) -> None:
    made = make(engine)
    rows, audit = visibility.seen_by_operator(engine)
    assert [(row.slug, row.devices) for row in rows] == [
        *((tenant.slug, DEVICES) for tenant in made),
        ("all 3 tenants", 2 * DEVICES),
    ]
    assert (audit.action, audit.login) == ("demo.look", engine.url.username)


def test_every_attempt_is_rejected(engine: Engine) -> None:
    one, other = make(engine)
    for intruder, victim in ((one, other), (other, one)):
        before = visibility.fingerprint(engine, victim)
        answers = {a.attempt: a for a in visibility.attempts(engine, intruder, victim)}
        assert all(answer.rejected for answer in answers.values())
        assert answers["change a device"].text == "UPDATE 0"
        assert answers["insert a site for that tenant"].text.startswith(
            "ERROR 42501: new row violates"
        )
        assert answers["add a sensor to their device"].text.startswith("ERROR 23503: ")
        assert visibility.fingerprint(engine, victim) == before
        shown = 0 if SIGNED else DEVICES  # to who sets the tenant by hand
        assert visibility.chosen_tenant(engine, intruder, victim) == shown


def test_a_successful_attempt_is_shown(run: Callable[..., Any], engine: Engine) -> None:
    """Without policies the demonstration must show NO, keep nothing, and fail."""
    make(engine)
    execute(engine, "CREATE POLICY hole ON device_registry TO fleet_app USING (true)")
    one, other = [
        tenant for demo_tenant in TENANTS if (tenant := registration.find(engine, demo_tenant))
    ]
    before = visibility.fingerprint(engine, one)
    through = {a.attempt for a in visibility.attempts(engine, other, one) if not a.rejected}
    assert {"read a device, naming tenant and id", "change a device"} <= through
    assert visibility.fingerprint(engine, one) == before
    result = run("--devices", "2")
    assert result.exit_code == 1
    assert "NO" in result.output


def test_an_attempt_with_another_error_counts_as_successful(engine: Engine) -> None:
    one, other = make(engine)
    execute(engine, "DROP TABLE device_sensors CASCADE")
    failed = [a for a in visibility.attempts(engine, one, other) if not a.rejected]
    assert [answer.text for answer in failed] == [
        'ERROR 42P01: relation "device_sensors" does not exist'
    ]


def test_as_a_plain_owner(engine: Engine, seeded_database: str) -> None:
    with plain_owner(seeded_database) as url, engine_of(url) as owner:
        one, other = make(owner)
        assert all(a.rejected for a in visibility.attempts(owner, one, other))
        assert set(visibility.seen_without_tenant(owner).values()) == {0}
        assert len(registration.remove(owner, deletion.silent)) == 2


def test_removal_deletes_everything(run: Callable[..., Any], engine: Engine) -> None:
    before = everything(engine)
    run("--devices", "60")
    removed = run("--remove")
    assert removed.exit_code == 0, removed.output
    assert removed.output.count("Deleted the tenant") == 2
    assert everything(engine) == before
    again = run("--remove")
    assert "Nothing to remove" in again.output
    assert (
        scalar(engine, "SELECT count(*) FROM tenants WHERE tenant_id <> :id", id=PLATFORM_TENANT_ID)
        == 0
    )


def test_an_interrupted_removal_is_finished_first(engine: Engine) -> None:
    make(engine)

    def stop(step: deletion.Step) -> None:
        if step.number == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        registration.remove(engine, stop)
    with pytest.raises(
        DemoError, match="finish the deletion with `python -m operations demo --remove`"
    ):
        registration.ensure_tenant(engine, TENANTS[0])
    assert len(registration.remove(engine, deletion.silent)) == 2


def test_a_tenant_of_the_same_slug_is_left_alone(engine: Engine) -> None:
    slug = TENANTS[0].slug
    theirs = create_tenant(engine, slug=slug, name="Real", owner_email="ann@example.com")
    for touch in (
        lambda: registration.ensure_tenant(engine, TENANTS[0]),
        lambda: registration.remove(engine, deletion.silent),
    ):
        with pytest.raises(DemoError, match="that the demonstration did not create"):
            touch()
    found = find_tenant(engine, slug)
    assert found is not None
    assert tenants_rows(engine, found) == theirs.rows


def test_without_reference_data_the_command_is_named(
    migrated_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", migrated_database)
    monkeypatch.delenv("MIGRATION_DATABASE_URL", raising=False)
    monkeypatch.setattr("sys.argv", ["operations", "demo"])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert "the reference data is missing" in str(exit_.value)
    assert str(exit_.value).endswith("run: python -m operations reference")


def test_in_a_signed_database(run: Callable[..., Any], engine: Engine, tmp_path: Path) -> None:
    """The owner's commands sign for themselves, and a chosen tenant is not taken."""
    context.rotate(engine, tmp_path / "key")
    with engine.begin() as connection:
        context.sign(connection)
    result = run("--devices", "6", "--reporting", "0")
    assert result.exit_code == 0, result.output
    shown = " ".join(result.output.split())
    assert "11 of 11 attempts were rejected" in shown
    assert "This database is signed" in shown
    assert "counts 0 devices of demo-acme" in shown
