"""create_sequence, alter_sequence and drop_sequence; the sequences that columns own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    Identity,
    Integer,
    MetaData,
    Sequence,
    SmallInteger,
    Table,
    Text,
)

from ddl import Function, Grant
from tests.ddl.case import Case
from tests.support.databases import MakeDatabase
from tests.support.drift import fixed
from tests.support.generated_revisions import (
    Declare,
    apply,
    metadata_of,
    migration,
    nothing,
    rendered,
)
from tests.support.granted_roles import make_roles
from tests.support.servers import DatabaseServer

SEQUENCES = 'Sequence names: "Its", schema "Side Room"'


def table(*items: Any, schema: str | None = None) -> Declare:
    def declare(metadata: MetaData) -> None:
        Table(
            "items",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            *items,
            schema=schema,
        )

    return declare


def test_create_sequences_with_all_options(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        order_no = Sequence(
            "order_no",
            start=100,
            increment=5,
            minvalue=50,
            maxvalue=900,
            cache=10,
            cycle=True,
            data_type=Integer(),
            metadata=metadata,
        )
        Sequence("Count Down", increment=-1, data_type=SmallInteger(), metadata=metadata)
        table(
            Column("no", Integer, order_no, server_default=order_no.next_value()),
            Column("client", BigInteger, Sequence("client_no", metadata=metadata)),
            Grant("usage", to="r_op", on="sequence order_no"),
            Grant("select", to="Mixed Case", on="sequence Count Down"),
        )(metadata)

    Case(
        nothing,
        after,
        upgrade="""
            op.create_sequence("Count Down", data_type="smallint", increment=-1, grants={"Mixed Case": "select"})
            op.create_sequence("client_no")
            op.create_sequence(
                "order_no", data_type="integer", start=100, increment=5, minimum=50, maximum=900, cache=10, cycle=True,
                grants={"r_op": "usage"},
            )
            op.create_table(
                "items",
                sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
                sa.Column("no", sa.Integer(), server_default=sa.text("nextval('order_no')"), nullable=True),
                sa.Column("client", sa.BigInteger(), nullable=True),
                sa.PrimaryKeyConstraint("id", name=op.f("items_pkey")),
            )
        """,
        downgrade="""
            op.drop_table("items")
            op.drop_sequence("order_no")
            op.drop_sequence("client_no")
            op.drop_sequence("Count Down")
        """,
    ).walk(engine)


def test_change_options_in_place(engine: Engine) -> None:
    def before(metadata: MetaData) -> None:
        Sequence("order_no", metadata=metadata)

    def after(metadata: MetaData) -> None:
        Sequence("order_no", increment=10, maxvalue=500, data_type=Integer(), metadata=metadata)

    Case(
        before,
        after,
        rows=["SELECT nextval('order_no') FROM generate_series(1, 7)"],
        upgrade="""
            op.alter_sequence("order_no", data_type="integer", increment=10, maximum=500)
        """,
        downgrade="""
            op.alter_sequence("order_no")
        """,
    ).walk(engine)
    with engine.begin() as connection:
        assert connection.scalar(sa.text("SELECT nextval('order_no')")) == 17


def test_sequence_in_a_schema_of_its_own_with_grants(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        numbers = Sequence("Order No", schema="Side Room", metadata=metadata)
        table(
            Column("no", BigInteger, server_default=numbers.next_value()),
            Column("serial", Integer),
            Grant("usage, select", to="r_op", on="sequence Order No"),
            schema="Side Room",
        )(metadata)
        Table(
            "numbered",
            metadata,
            Column("id", Integer, primary_key=True),
            Grant("usage", to="r_op", on="sequence numbered_id_seq"),
            schema="Side Room",
        )

    Case(nothing, after).walk(engine)


def test_schema_that_only_a_sequence_is_in(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        Sequence("numbers", schema="elsewhere", metadata=metadata)

    Case(
        nothing,
        after,
        upgrade="""
            op.create_schema("elsewhere")
            op.create_sequence("numbers", schema="elsewhere")
        """,
        downgrade="""
            op.drop_sequence("numbers", schema="elsewhere")
            op.drop_schema("elsewhere")
        """,
    ).walk(engine)


def test_function_between_a_sequence_and_a_table(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        Sequence("order_no", metadata=metadata)
        Function(
            "next_order",
            returns="text",
            body="RETURN 'A' || nextval('order_no')",
            metadata=metadata,
        )
        table(Column("no", Text, server_default=sa.text("next_order()")))(metadata)

    Case(nothing, after).walk(engine)


def test_default_lets_go_of_a_sequence_that_goes(engine: Engine) -> None:
    def before(metadata: MetaData) -> None:
        numbers = Sequence("order_no", metadata=metadata)
        table(Column("no", BigInteger, server_default=numbers.next_value()))(metadata)

    Case(
        before,
        table(Column("no", BigInteger)),
        upgrade="""
            op.alter_column("items", "no", existing_type=sa.BIGINT(), server_default=None, existing_nullable=True)
            op.drop_sequence("order_no")
        """,
        downgrade=r"""
            op.create_sequence("order_no")
            op.alter_column(
                "items", "no", existing_type=sa.BIGINT(), server_default=sa.text("nextval('\"public\".order_no'::regclass)"),
                existing_nullable=True,
            )
        """,
    ).walk(engine)


def test_column_and_table_come_back_with_the_default_of_a_sequence(engine: Engine) -> None:
    def sequence(metadata: MetaData) -> Sequence:
        return Sequence("order_no", metadata=metadata)

    def before(metadata: MetaData) -> None:
        default = sequence(metadata).next_value()
        table(Column("no", Integer, server_default=default))(metadata)
        Table("keyed", metadata, Column("id", Integer, server_default=default, primary_key=True))

    def after(metadata: MetaData) -> None:
        sequence(metadata)
        table()(metadata)

    Case(before, after).walk(engine)


@pytest.mark.parametrize("of_server", [False, True])
def test_key_that_a_sequence_numbers(engine: Engine, of_server: bool) -> None:
    def after(metadata: MetaData) -> None:
        numbers = Sequence("order_no", metadata=metadata)
        default = numbers.next_value() if of_server else None
        Table(
            "items",
            metadata,
            Column("id", Integer, numbers, server_default=default, primary_key=True),
            Column("a", Text),
        )

    Case(nothing, after).walk(engine)


# --- sequences that columns own ---


def granted(column: Callable[[], Any], *, of: str = "usage") -> Declare:
    def declare(metadata: MetaData) -> None:
        items = [column(), Column("a", Text)]
        if of:
            items.append(Grant(of, to="r_op", on="sequence items_id_seq"))
        Table("items", metadata, *items)

    return declare


def serial() -> Column[int]:
    return Column("id", Integer, primary_key=True)


def bigserial() -> Column[int]:
    return Column("id", BigInteger, primary_key=True)


def identity() -> Column[int]:
    return Column("id", Integer, Identity(start=5), primary_key=True)


def plain() -> Column[int]:
    return Column("id", Integer, primary_key=True, autoincrement=False)


@pytest.mark.parametrize("column", [serial, bigserial, identity])
def test_grants_on_the_sequence_of_a_column(engine: Engine, column: Callable[[], Any]) -> None:
    Case(nothing, granted(column)).walk(engine)


@pytest.mark.parametrize("column", [serial, identity])
def test_change_grants_on_the_sequence_of_a_column(
    engine: Engine, column: Callable[[], Any]
) -> None:
    Case(
        granted(column),
        granted(column, of="select"),
        upgrade="""
            op.revoke("sequence items_id_seq", {"r_op": "usage"})
            op.grant("sequence items_id_seq", {"r_op": "select"})
        """,
        downgrade="""
            op.revoke("sequence items_id_seq", {"r_op": "select"})
            op.grant("sequence items_id_seq", {"r_op": "usage"})
        """,
    ).walk(engine)


@pytest.mark.parametrize("of", ["", "usage"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (serial, bigserial),
        (serial, plain),
        (serial, identity),
        (identity, plain),
        (plain, identity),
    ],
)
def test_column_gains_and_loses_its_sequence(
    engine: Engine, before: Callable[[], Any], after: Callable[[], Any], of: str
) -> None:
    Case(
        granted(before, of="" if before is plain else of),
        granted(after, of="" if after is plain else of),
    ).walk(engine)


def test_serial_becomes_identity(engine: Engine) -> None:
    Case(
        granted(serial),
        granted(identity),
        upgrade="""
            op.alter_column("items", "id", existing_type=sa.INTEGER(), server_default=None, existing_nullable=False)
            op.drop_sequence("items_id_seq")
            op.alter_column_identity(
                "items", "id", "BY DEFAULT START 5 INCREMENT 1 MINVALUE 1 MAXVALUE 2147483647 CACHE 1 NO CYCLE",
            )
            op.grant("sequence items_id_seq", {"r_op": "usage"})
        """,
        downgrade=r"""
            op.revoke("sequence items_id_seq", {"r_op": "usage"})
            op.alter_column_identity(
                "items", "id", None, before="BY DEFAULT START 5 INCREMENT 1 MINVALUE 1 MAXVALUE 2147483647 CACHE 1 NO CYCLE",
            )
            op.create_sequence("items_id_seq", data_type="integer", owned_by="items.id", grants={"r_op": "usage"})
            op.alter_column(
                "items", "id", existing_type=sa.INTEGER(),
                server_default=sa.text("nextval('\"public\".items_id_seq'::regclass)"), existing_nullable=False,
            )
        """,
    ).walk(engine)


@pytest.mark.parametrize("column", [serial, identity])
def test_table_goes_with_the_sequence_of_its_column(
    engine: Engine, column: Callable[[], Any]
) -> None:
    Case(granted(column), nothing).walk(engine)


def test_column_goes_with_its_sequence(engine: Engine) -> None:
    def column(column: Callable[[], Any] | None) -> Declare:
        def declare(metadata: MetaData) -> None:
            items = (
                []
                if column is None
                else [column(), Grant("usage", to="r_op", on="sequence items_id_seq")]
            )
            Table("items", metadata, Column("a", Text), *items)

        return declare

    Case(column(identity), column(None)).walk(engine)


def test_grant_on_a_sequence_that_does_not_exist(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(CommandError, match="items_id_seq"):
        migration(connection, metadata_of(granted(plain)))


# --- drift ---


def drifting(metadata: MetaData) -> None:
    Sequence("order_no", start=3, metadata=metadata)
    table(Grant("usage", to="r_op", on="sequence order_no"))(metadata)
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
    "REVOKE ALL ON SEQUENCE counted_id_seq FROM r_op": [
        "grant sequence public.counted_id_seq to r_op: missing: USAGE"
    ],
}


def test_drift_is_told_and_fixed(engine: Engine) -> None:
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


@pytest.fixture(params=["machine", pytest.param("timescaledb", marks=pytest.mark.timescaledb)])
def other(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Engine:
    """An empty database of PostgreSQL 15 and of TimescaleDB."""
    server: DatabaseServer = request.getfixturevalue(f"{request.param}_server")
    engine = sa.create_engine(make_database(server), poolclass=sa.NullPool)
    with engine.begin() as connection:
        make_roles(connection)
        if request.param == "timescaledb":
            connection.execute(sa.text("CREATE EXTENSION timescaledb"))
    return engine


def test_other_servers(other: Engine) -> None:
    Case(nothing, drifting).walk(other)
    with other.connect() as connection:
        fixed(connection, *_one_drift(), declare=drifting)


def _one_drift() -> list[str]:
    statements = "ALTER SEQUENCE numbered_id_seq INCREMENT 5"
    return [statements, *DRIFT[statements]]
