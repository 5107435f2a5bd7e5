"""Mistakes in the declaration of a hypertable or rollup."""

from __future__ import annotations

import pytest
from sqlalchemy import TIMESTAMP, Column, MetaData, Table, Uuid
from sqlalchemy.exc import ArgumentError

from ddl import Hypertable, Rollup
from ddl.kinds.hypertable import HypertableOperation, HypertableState
from tests.support.declared_time_series import fleet
from tests.support.generated_revisions import metadata_of


def test_key_without_time() -> None:
    with pytest.raises(ArgumentError, match=r"write a primary key over \(tenant_id, ts\)"):
        Table(
            "events",
            MetaData(),
            Column("tenant_id", Uuid, primary_key=True),
            Column("ts", TIMESTAMP(timezone=True)),
            Hypertable("ts", chunk_interval="1 day"),
        )


def test_rollup_without_bucket() -> None:
    with pytest.raises(ArgumentError, match="time_bucket"):
        Rollup("r", "SELECT count(*) FROM t", metadata=MetaData())


def test_dropping_a_hypertable_is_never_left_out() -> None:
    """DROP TABLE does not drop all of its chunks."""
    context = metadata_of(fleet())
    state = context.info["ddl"].of(HypertableState)[("timeseries", "telemetry")]
    assert not HypertableOperation(state, None).is_removal
