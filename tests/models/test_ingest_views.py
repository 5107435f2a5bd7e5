"""What rows of fleet_ingest refer to, it must be able to read."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import ArgumentError

import models
from models.shared.ingest_views import Registered, check_registered

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
