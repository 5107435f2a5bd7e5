"""Hypertables and rollups: what the models declare, and that mistakes fail at import."""

from __future__ import annotations

import datetime
import re
import uuid
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import ForeignKey, MetaData, PrimaryKeyConstraint
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Mapped, mapped_column, registry

import models
from ddl import Columnstore, Declared, Hypertable, RefreshPolicy, RetentionPolicy, RowLevelSecurity
from ddl.kinds.columnstore import ColumnstoreState
from ddl.kinds.function import FunctionState
from ddl.kinds.grant import GrantState
from ddl.kinds.hypertable import HypertableState
from ddl.kinds.kept_history import KeptHistoryState
from ddl.kinds.refresh_policy import RefreshPolicyState
from ddl.kinds.retention_policy import RetentionPolicyState
from ddl.kinds.trigger import TriggerState
from ddl.kinds.view import ViewState
from models.monitoring.check_history import LATENCY_BOUNDS_MS, bucket_columns
from models.shared import rollups
from models.shared.access import OF_ROLLUP, OWN_ROWS
from models.shared.base import TIMESERIES, Base, TenantTimeSeries
from models.shared.rollups import tenant_rollup
from models.shared.time_series_checks import days
from tests.support.declared_tables import (
    HYPERTABLES,
    ROLLUPS,
    TENANT_HYPERTABLES,
    assert_none,
    keys,
)

DECLARED = Declared.on(models.metadata)
OPERATORS = ("fleet_operator", "fleet_operator_read")
NOT_APPENDED_BY_TENANTS = {"quarantine_events", "notification_log"}

# --- what stands there ---


def time_column(name: str) -> str:
    column: str = DECLARED.of(HypertableState)[(TIMESERIES, name)].time_column
    return column


def test_the_hypertables_are_those_of_the_domain_model() -> None:
    expected = {
        "telemetry": ("device_id", "ts", "msg_type", "seq"),
        "tag_values": ("tag_id", "ts"),
        "device_health_telemetry": ("device_id", "ts"),
        "device_connection_events": ("device_id", "ts", "seq"),
        "quarantine_events": ("ts", "id"),
        "health_checks": ("endpoint_id", "checked_at"),
        "notification_log": ("ts", "id"),
        "audit_events": ("ts", "id"),
    }
    found = {
        table.name: tuple(column.name for column in table.primary_key.columns)
        for table in TENANT_HYPERTABLES
    }
    ours = {name: key for name, key in found.items() if name in expected}
    assert ours == {name: ("tenant_id", *key) for name, key in expected.items()}
    assert "system_metrics" in {table.name for table in HYPERTABLES} - found.keys()


def test_tenant_and_time_come_first_and_stand_in_every_unique_key() -> None:
    """TimescaleDB checks the wrong column after a dropped one, and partitions by time."""
    findings = []
    for table in TENANT_HYPERTABLES:
        time = time_column(table.name)
        first = [column.name for column in table.columns][:2]
        if first != ["tenant_id", time]:
            findings.append(f"{table.name}: columns start with {first}")
        unique = {str(table.primary_key.name), *(str(i.name) for i in table.indexes if i.unique)}
        for name, columns, _ in keys(table):
            if columns[0] != "tenant_id" or (name in unique and time not in columns):
                findings.append(f"{name}: {columns}")
    assert_none(findings)


def test_every_hypertable_and_rollup_is_compressed_and_dropped_in_time() -> None:
    """Tables that grow without limit fill the disk; compression must come before dropping."""
    findings = []
    for key in [*DECLARED.of(HypertableState), *ROLLUPS]:
        store = DECLARED.of(ColumnstoreState).get(key)
        retention = DECLARED.of(RetentionPolicyState).get(key)
        if store is None or retention is None:
            findings.append(f"{key}: columnstore {store}, retention {retention}")
        elif days(store.after) >= days(retention.drop_after):
            findings.append(f"{key}: compressed after {store.after}, {retention.drop_after} kept")
    assert_none(findings)
    assert {table.name for table in HYPERTABLES} == {key[1] for key in DECLARED.of(HypertableState)}


def test_batches_of_the_columnstore_hold_one_tenant() -> None:
    """Without tenant_id first, a query of one tenant decompresses the batches of all tenants."""
    assert_none(
        [
            f"{state.title()}: segmentby {state.segmentby}"
            for key, state in DECLARED.of(ColumnstoreState).items()
            if not key[1].startswith("system_metrics")
            if state.segmentby.split(",")[0] != "tenant_id"
        ]
    )


def test_the_columnstore_orders_by_the_rest_of_the_key() -> None:
    """So that redelivery into compressed chunks finds its batch without reading the others."""
    findings = []
    for table in HYPERTABLES:
        store = DECLARED.of(ColumnstoreState)[(TIMESERIES, table.name)]
        arranged = {part.split()[0] for part in f"{store.segmentby},{store.orderby}".split(",")}
        missing = {column.name for column in table.primary_key.columns} - arranged
        if missing:
            findings.append(f"{table.name}: {sorted(missing)} neither segment nor order")
    assert_none(findings)


def test_a_refresh_reaches_whatever_raw_data_and_rollup_have() -> None:
    """What is older vanished from a rollup with its first refresh, and late rows waited for a day.

    That is safe since each keeps its history.
    """
    retained, findings = DECLARED.of(RetentionPolicyState), []
    for key, rollup in ROLLUPS.items():
        window = days(DECLARED.of(RefreshPolicyState)[key].start_offset)
        kept = {days(retained[key].drop_after)}
        for source in re.findall(rf"\b{TIMESERIES}\.(\w+)", rollup.definition):
            # A chunk stays until all of it is too old.
            kept.add(days(retained[TIMESERIES, source].drop_after) + 1)
        if window < min(kept):
            findings.append(f"{key[1]}: window of {window:g} days, expected {min(kept):g}")
    assert_none(findings)
    assert len(ROLLUPS) >= 8
    assert DECLARED.of(KeptHistoryState).keys() >= ROLLUPS.keys()


def test_tenants_have_a_view_and_nothing_behind_it() -> None:
    """Grants on a hypertable are copied to its chunks, which no view filters."""
    findings = []
    grants = DECLARED.of(GrantState)
    for name in [*(table.name for table in HYPERTABLES), *(key[1] for key in ROLLUPS)]:
        behind = {(held.role, held.name) for held in grants[(TIMESERIES, name)].privileges}
        allowed = {("fleet_operator", "select"), ("fleet_operator_read", "select")}
        sent = name not in {"audit_events", "notification_log"}
        if sent and any(table.name == name for table in HYPERTABLES):
            allowed.add(("fleet_ingest", "insert"))
        if name == "notification_log":
            allowed.add(("fleet_operator", "insert"))  # with the job that it is about
        if behind != allowed:
            findings.append(f"{TIMESERIES}.{name}: {sorted(behind)}")
        view = DECLARED.of(ViewState).get(("public", name))
        if (view is None) is not name.startswith("system_metrics"):
            findings.append(f"{name}: view {view}")
    assert_none(findings)
    schema = next(state for key, state in grants.items() if key[-1] == f"schema {TIMESERIES}")
    assert "fleet_app" not in {held.role for held in schema.privileges}


def test_views_are_for_reading_and_appending_only() -> None:
    findings = []
    series = {table.name: table for table in TENANT_HYPERTABLES}
    rolled = [key[1] for key in ROLLUPS if not key[1].startswith("system_metrics")]
    for name in [*series, *rolled]:
        view = DECLARED.of(ViewState)[("public", name)]
        privileges = DECLARED.of(GrantState)[("public", name)].privileges
        found = {(held.role, held.name) for held in privileges}
        appended = name in series and name not in NOT_APPENDED_BY_TENANTS
        expected = {(role, "select") for role in ("fleet_app", *OPERATORS)}
        expected |= {("fleet_app", "insert")} if appended else set()
        if found != expected:
            findings.append(f"{name}: {sorted(found)}")
        if ("public", f"{name}_to_store") in DECLARED.of(ViewState):
            stored = DECLARED.of(ViewState)[("public", f"{name}_to_store")]
            if not (appended and stored.security_barrier and stored.check_option == "cascaded"):
                findings.append(f"{name}: {stored}")
            kept = DECLARED.of(RetentionPolicyState)[TIMESERIES, name].drop_after
            if f">= now() - make_interval(secs => extract(epoch FROM interval '{kept}'))" not in (
                stored.definition
            ):
                findings.append(f"{name}: a tenant makes chunks as old as it likes")
        elif appended:
            findings.append(f"{name}: nothing stores its rows")
        listed = view.definition.split("\n")[0].removeprefix("SELECT ").split(", ")
        listed = [column.removeprefix("s.") for column in listed]
        if name in series and listed != [column.name for column in series[name].columns]:
            findings.append(f"{name}: the view lists {listed}")
        ending = "  LEFT JOIN conditions_in_order() o ON o.tenant_id = s.tenant_id"
        ending = f" WHERE {OF_ROLLUP}" if name in rolled else f"{ending}\n WHERE {OWN_ROWS}"
        if not view.definition.endswith(f" s\n{ending}") or view.security_barrier != (
            name in rolled
        ):
            findings.append(f"{name}: {view.definition}")
    assert_none(findings)


def test_a_tenant_cannot_set_when_an_audit_event_was_recorded() -> None:
    privileges = DECLARED.of(GrantState)[("public", "audit_events")].privileges
    given = {held.column for held in privileges if held.name == "insert"}
    columns = set(models.metadata.tables["timeseries.audit_events"].columns.keys())
    assert given == columns - {"recorded_at"}


def test_ids_come_with_the_message() -> None:
    """A default would give redelivery another id, and store it twice."""
    assert_none(
        [
            f"{table.name}.{column.name} has default {column.server_default.arg}"  # type: ignore[union-attr]
            for table in HYPERTABLES
            for column in table.primary_key.columns
            if column.server_default is not None and column.computed is None
            if str(column.server_default.arg) not in ("0", "", "telemetry")  # type: ignore[union-attr]
        ]
    )


def test_averages_leave_out_what_no_average_can_take() -> None:
    """One such value would abort the refresh, and so the rollups of all tenants."""
    limit = re.compile(r"1e100|avg\((rssi|signal_quality|battery_pct)\)")
    assert_none(
        [
            f"{key[1]}: {line.strip()}"
            for key, state in ROLLUPS.items()
            for line in state.definition.splitlines()
            if "avg(" in line and not limit.search(line) and "1e100" not in _where(state.definition)
        ]
    )


def _where(definition: str) -> str:
    """The condition of a rollup, or of the function that it reads its values from."""
    if "numeric_metrics(t.*)" in definition:
        key = ("public", "numeric_metrics", "timeseries.telemetry")
        definition = DECLARED.of(FunctionState)[key].body
    return definition.partition(" WHERE ")[2] if "\n WHERE " in definition else ""


def test_latency_buckets_are_adjacent_and_known_to_the_function() -> None:
    conditions = list(bucket_columns().values())
    assert len(conditions) == len(LATENCY_BOUNDS_MS) + 1
    for lower, upper in pairwise(conditions):
        assert lower.rsplit(" ", 1)[1] == re.findall(r">= (\d+)", upper)[0]
    body = next(
        state.body
        for state in DECLARED.of(FunctionState).values()
        if state.name == "percentile_from_buckets"
    )
    assert f"cardinality(counts) = {len(conditions)}" in body
    assert f"({len(conditions)}, {LATENCY_BOUNDS_MS[-1]}, NULL)" in body


def test_telemetry_is_notified_per_statement_not_per_row() -> None:
    triggers = [s for k, s in DECLARED.of(TriggerState).items() if k[0] == TIMESERIES]
    each_row = {s.name for s in triggers if s.level == "row"}
    assert each_row == {"count_ingested"}  # whose condition spares tenants without a rate
    assert {s.new_table for s in triggers} == {None}
    assert [s.table for s in triggers if s.name == "notify_own_telemetry"] == ["telemetry"]


# --- mistakes ---

STORE = {"segmentby": "tenant_id, device_id", "orderby": "ts DESC", "after": "7 days"}


@pytest.fixture
def base() -> type[Base]:
    """A separate base, so that wrong declarations stay out of the models."""
    own = registry(metadata=MetaData(), type_annotation_map=Base.type_annotation_map)
    # What DeclarativeBase.__init_subclass__ looks for below the first base.
    body = {"_sa_registry": own, "metadata": own.metadata, "__abstract__": True}
    return type("OwnBase", (Base,), body)


def series(base: type[Base], **changes: Any) -> None:
    """Declare a hypertable that is correct except for ``changes``."""
    parts: dict[str, Any] = {
        "key": PrimaryKeyConstraint("tenant_id", "device_id", "ts"),
        "hypertable": Hypertable("ts", chunk_interval="1 day"),
        "columnstore": Columnstore(**STORE),
        "retention": RetentionPolicy("90 days"),
        "more": None,
        "options": {"schema": TIMESERIES, "comment": "Tried."},
        "ts_order": -19,
        "device": mapped_column(),
    } | changes
    names = ("key", "hypertable", "columnstore", "retention", "more", "options")
    body = {
        "__tablename__": f"tried_{uuid.uuid4().hex}",
        "__annotations__": {"ts": Mapped[datetime.datetime], "device_id": Mapped[str]},
        "__module__": __name__,
        "ts": mapped_column(sort_order=parts["ts_order"]),
        "device_id": parts["device"],
        "__table_args__": tuple(parts[name] for name in names if parts[name] is not None),
    }
    type("Tried", (TenantTimeSeries, base), body)


def test_a_correct_declaration_passes(base: type[Base]) -> None:
    series(base)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": None}, r'has no primary key.*write PrimaryKeyConstraint\("tenant_id", …, "ts"\)'),
        (
            {"key": PrimaryKeyConstraint("tenant_id", "device_id")},
            r"lacks the time column ts.*over \(tenant_id, device_id, ts\)",
        ),
        (
            {"key": PrimaryKeyConstraint("device_id", "tenant_id", "ts")},
            r"primary key that starts with tenant_id.*found \(device_id, tenant_id, ts\)",
        ),
        (
            {"ts_order": 5},
            "as first columns, found tenant_id, device_id; write ts with sort_order=-19",
        ),
        ({"options": {"comment": "Tried."}}, 'in schema public.*write {"schema": TIMESERIES}'),
        ({"hypertable": None}, r'declares no hypertable; write Hypertable\("ts", '),
        ({"columnstore": None}, r"declares no columnstore; write Columnstore\("),
        ({"retention": None}, r"declares no retention policy; write RetentionPolicy\("),
        (
            {"columnstore": Columnstore(**STORE | {"segmentby": "device_id"})},
            'segmentby="device_id" does not start.*write segmentby="tenant_id, device_id"',
        ),
        (
            {"columnstore": Columnstore(**STORE | {"segmentby": "device_id, tenant_id"})},
            'write segmentby="tenant_id, device_id"',
        ),
        ({"retention": RetentionPolicy("7 days")}, "would never be compressed; write after="),
        (
            {"retention": RetentionPolicy("a while")},
            'interval "a while": write a number and one of',
        ),
        ({"more": RowLevelSecurity()}, r"remove RowLevelSecurity\(\)"),
        (
            {"device": mapped_column(ForeignKey("device_registry.device_id"))},
            "has a foreign key.*remove it",
        ),
    ],
)
def test_a_mistake_in_a_hypertable_says_what_to_write(
    base: type[Base], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        series(base, **changes)


def rollup(**changes: Any) -> None:
    """Declare a rollup of telemetry that is correct except for ``changes``."""
    given = {
        "definition": "SELECT tenant_id, time_bucket('1 hour', ts) AS bucket"
        " FROM timeseries.raw GROUP BY 1, 2",
        "columns": ("tenant_id", "bucket"),
        "refresh": RefreshPolicy("3 days", "1 hour", "1 hour"),
        "columnstore": Columnstore("tenant_id", "bucket DESC", "30 days"),
        "retention": "1 year",
        "comment": "Tried.",
    } | changes
    tenant_rollup("tried", **given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        (
            {"retention": "2 days", "columnstore": None},
            "starts 3 days ago, but the rollup keeps only 2 days",
        ),
        ({"refresh": RefreshPolicy(None, "1 hour", "1 hour")}, 'write RefreshPolicy."1 year", …'),
        ({"indexes": ["bucket DESC"]}, 'does not start with .* write "tenant_id, bucket DESC"'),
        (
            {"columnstore": Columnstore("device_id", "bucket DESC", "30 days")},
            'rollup tried: segmentby="device_id" does not start with tenant_id',
        ),
        ({"retention": "20 days"}, "dropped after 20 days and would never be compressed"),
        (
            {"definition": "SELECT tenant_id FROM timeseries.raw GROUP BY 1"},
            "time_bucket.* AS bucket and group by it",
        ),
    ],
)
def test_a_mistake_in_a_rollup_says_what_to_write(
    base: type[Base], monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str | None
) -> None:
    monkeypatch.setattr(rollups, "Base", base)
    if message is None:
        rollup(**changes)
        return
    with pytest.raises(ArgumentError, match=message):
        rollup(**changes)


@pytest.mark.parametrize(
    ("interval", "length"), [("36 hours", 1.5), ("1 year", 365), ("2 months", 60), ("1 week", 7)]
)
def test_intervals_have_a_length_in_days(interval: str, length: float) -> None:
    assert days(interval) == length
