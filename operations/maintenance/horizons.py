"""Of which time raw data may lack rows of a tenant (models.system.raw_data_horizons)."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from sqlalchemy import Connection


def note_horizon(
    connection: Connection, relation: str, tenant_id: uuid.UUID, complete_from: str
) -> None:
    """Note that rows of a tenant were deleted up to a moment; it is never moved back.

    What late data made before it, in the rollups over the relation, is history from now on.
    """
    values = {"relation": relation, "tenant": tenant_id, "moment": complete_from}
    connection.execute(
        sa.text("""
            INSERT INTO public.raw_data_horizons AS h (relation, of_tenant, complete_from)
            VALUES (:relation, :tenant, CAST(CAST(:moment AS text) AS timestamptz))
            ON CONFLICT (relation, of_tenant, incomplete_from)
               DO UPDATE SET complete_from = excluded.complete_from
             WHERE h.complete_from < excluded.complete_from
        """),
        values,
    )
    connection.execute(
        sa.text("""
            DELETE FROM public.late_buckets
             WHERE source = :relation AND of_tenant = :tenant
               AND bucket < CAST(CAST(:moment AS text) AS timestamptz)
        """),
        values,
    )


def forget_horizons(connection: Connection, tenant_id: uuid.UUID) -> None:
    """Delete what was noted about a tenant that is deleted."""
    for table in ("raw_data_horizons", "late_buckets"):
        connection.execute(
            sa.text(f"DELETE FROM public.{table} WHERE of_tenant = :tenant"),
            {"tenant": tenant_id},
        )
