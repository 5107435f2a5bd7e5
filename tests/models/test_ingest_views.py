"""What rows of fleet_ingest refer to, it must be able to read."""

from __future__ import annotations

import pytest
from sqlalchemy import CheckConstraint, Column, DateTime, Integer, MetaData, Table
from sqlalchemy.exc import ArgumentError

import models
from models.shared.base import Base
from models.shared.ingest_views import check_registered
from models.shared.judgement import Expected, Registered, refusals
from models.shared.naming import NAMING_CONVENTION
from models.telemetry.tag_values import TagValue

KNOWN = Registered("device_id", "device_registry", brings="site_id")


def test_what_it_can_read_passes() -> None:
    check_registered(models.metadata, "readings", [KNOWN])


@pytest.mark.parametrize(
    ("one", "columns"),
    [
        (Registered("webhook_id", "users", key="id"), "tenant_id, id"),
        (Registered("device_id", "device_registry", brings="notes"), "tenant_id, device_id, notes"),
        (Registered("x", "no_such_table"), "tenant_id, x"),
    ],
)
def test_what_it_cannot_read_is_refused(one: Registered, columns: str) -> None:
    with pytest.raises(ArgumentError) as refused:
        check_registered(models.metadata, "readings", [KNOWN, one])
    assert f"hypertable readings: its rows refer to {one.table}, which" in str(refused.value)
    assert f'write *access("fleet_ingest", "select ({columns})")' in str(refused.value)


def test_constraints_say_the_reasons() -> None:
    table = Table(
        "readings",
        MetaData(naming_convention=NAMING_CONVENTION),
        Column("ts", DateTime),
        Column("low", Integer),
        Column("high", Integer),
        CheckConstraint("low > 0", name="low"),
        CheckConstraint("low < high", name="order"),
        CheckConstraint("ts > '2000-01-01'", name="ts"),
    )
    assert refusals(table, "ts", ()) == {
        "ck_readings_low": "bad_low",
        "ck_readings_order": "rejected_by_database",
        "ck_readings_ts": "bad_ts",
    }
    both = Expected("span", columns=("low", "high"))
    assert refusals(table, "ts", [both])["ck_readings_order"] == "bad_span"
    assert refusals(Base.metadata.tables["timeseries.tag_values"], "ts", TagValue.__expected__) == {
        "ck_tag_values_one_value": "bad_value",
        "ck_tag_values_ts_not_ahead": "bad_ts",
        "ck_tag_values_v_json_value": "bad_value",
        "ck_tag_values_v_json_written_out": "bad_value",
    }
