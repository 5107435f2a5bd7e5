"""Drift of sequences, independent ones and those of columns."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Engine, Identity, Integer, MetaData, Sequence, Table

from ddl import Grant
from tests.ddl.case import Case, nothing
from tests.support.drift import fixed
from tests.support.generated_revisions import apply, metadata_of, migration, rendered


def drifting(metadata: MetaData) -> None:
    Sequence("order_no", start=3, metadata=metadata)
    Table(
        "items",
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=False),
        Grant("usage", to="r_op", on="sequence order_no"),
    )
    Table(
        "numbered",
        metadata,
        Column("id", Integer, primary_key=True),
        Grant("usage", to="r_op", on="sequence numbered_id_seq"),
    )
    Table(
        "counted",
        metadata,
        Column("id", Integer, Identity(), primary_key=True),
        Grant("usage", to="r_op", on="sequence counted_id_seq"),
    )


COUNTED = "BY DEFAULT START 1 INCREMENT 1 MINVALUE 1 MAXVALUE 2147483647 CACHE {} NO CYCLE"
NUMBERED = "nextval('public.numbered_id_seq'::regclass)"
DRIFT = {
    "ALTER SEQUENCE order_no INCREMENT 7": [
        "sequence public.order_no increment: expected 1, found 7"
    ],
    "ALTER SEQUENCE order_no CYCLE": ["sequence public.order_no cycle: expected false, found true"],
    "ALTER SEQUENCE order_no START 9": ["sequence public.order_no start: expected 3, found 9"],
    "ALTER SEQUENCE order_no MINVALUE -9": [
        "sequence public.order_no minimum: expected nothing, found -9"
    ],
    "ALTER SEQUENCE order_no CACHE 9": ["sequence public.order_no cache: expected 1, found 9"],
    "COMMENT ON SEQUENCE order_no IS 'It''s :x 50%'": [
        "sequence public.order_no comment: expected nothing, found It's :x 50%"
    ],
    "ALTER SEQUENCE order_no OWNED BY items.id": [
        "sequence public.order_no owned_by: expected nothing, found items.id"
    ],
    "DROP SEQUENCE order_no": ["sequence public.order_no expected, missing"],
    'CREATE SEQUENCE "More"': ["sequence public.More found, not declared"],
    "REVOKE ALL ON SEQUENCE order_no FROM r_op": [
        "grant sequence public.order_no to r_op: missing: USAGE"
    ],
    "ALTER SEQUENCE numbered_id_seq INCREMENT 5": [
        "sequence public.numbered_id_seq increment: expected 1, found 5"
    ],
    "ALTER SEQUENCE numbered_id_seq CYCLE": [
        "sequence public.numbered_id_seq cycle: expected false, found true"
    ],
    "GRANT UPDATE ON SEQUENCE numbered_id_seq TO r_app": [
        "grant sequence public.numbered_id_seq to r_app: not declared: UPDATE"
    ],
    "ALTER SEQUENCE counted_id_seq CACHE 5": [
        f"column public.counted.id identity: expected {COUNTED.format(1)}, found {COUNTED.format(5)}"
    ],
    "ALTER TABLE numbered ALTER id DROP DEFAULT": [
        f"column public.numbered.id default: expected {NUMBERED}, found nothing"
    ],
    "REVOKE ALL ON SEQUENCE counted_id_seq FROM r_op": [
        "grant sequence public.counted_id_seq to r_op: missing: USAGE"
    ],
}


def test_drift_is_found_and_fixed(engine: Engine) -> None:
    with engine.begin() as connection:
        apply(connection, metadata_of(drifting))
    for statements, expected in DRIFT.items():
        with engine.connect() as connection:
            fixed(connection, statements, *expected, declare=drifting)


def test_sequences_of_excluded_tables_are_not_compared(engine: Engine) -> None:
    # Alembic's own table is excluded by its name.
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (id serial)"))
        connection.execute(sa.text("GRANT USAGE ON SEQUENCE alembic_version_id_seq TO r_op"))
        left = rendered(migration(connection, metadata_of(nothing)).upgrade_ops)
        assert "sequence" not in left


def test_other_versions(other_version: Engine) -> None:
    Case(nothing, drifting).walk(other_version)
    with other_version.connect() as connection:
        fixed(connection, *_one_drift(), declare=drifting)


def _one_drift() -> list[str]:
    statements = "ALTER SEQUENCE numbered_id_seq INCREMENT 5"
    return [statements, *DRIFT[statements]]
