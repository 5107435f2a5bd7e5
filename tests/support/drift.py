"""The models of the drift tests, and what must happen when the database is changed by hand."""

from __future__ import annotations

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    Connection,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint

from ddl import Function, Grant, Policy, RowLevelSecurity, Trigger, View, found_by, schema_grant
from ddl.differences import lines
from tests.ddl.case import SETTINGS
from tests.support.catalog_states import catalog_states_in, unequal_states
from tests.support.generated_revisions import Declare, metadata_of, migration, rendered, run_in

OWN = "tenant_id = (SELECT tenant())"


def models(metadata: MetaData) -> None:
    Function(
        "tenant",
        returns="uuid",
        body="RETURN nullif(current_setting('app.tenant', true), '')::uuid",
        volatility="stable",
        parallel="safe",
        grants={"r_app": "execute"},
        comment="Whose rows",
        metadata=metadata,
    )
    Function(
        "bump",
        returns="trigger",
        language="plpgsql",
        body="""
        begin
          new.changed_at := now();
          return new;
        end
        """,
        settings=SETTINGS,
        metadata=metadata,
    )
    Table(
        "sites",
        metadata,
        Column("tenant_id", Uuid, primary_key=True),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("name", Text, nullable=False, comment="What people call it"),
        Column("size", Integer, server_default="5"),
        Column("twice", Integer, Computed("size * 2", persisted=True)),
        Column("number", BigInteger, Identity(always=True, start=10, increment=5), nullable=False),
        Column("changed_at", TIMESTAMP(timezone=True), server_default=text("now()")),
        CheckConstraint("size BETWEEN 1 AND 100", name="size"),
        UniqueConstraint("tenant_id", "name", deferrable=True, initially="DEFERRED"),
        ExcludeConstraint((text("int4range(id, size)"), "&&"), name="sites_range", using="gist"),
        Index("sites_name_idx", "name", postgresql_where=text("size > 3")),
        Index("sites_size_idx", "size", postgresql_include=["name"]),
        Index("sites_pattern_idx", "name", postgresql_ops={"name": "text_pattern_ops"}),
        RowLevelSecurity(),
        Policy("own", to="r_app", using=OWN, check=OWN),
        Policy("all_rows", to=["r_op", "r_read"], command="select", using="true"),
        Policy("not_small", to="r_app", using="size > 0", permissive=False),
        Grant("select, insert, update (name, size)", to="r_app"),
        Grant("select", to="r_op"),
        Trigger(
            "bump",
            timing="before",
            events="update of name, size",
            function="bump()",
            when="old.name IS DISTINCT FROM new.name",
        ),
        comment="Places",
        postgresql_with={"fillfactor": "90"},
    )
    Table(
        "parts",
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("tenant_id", Uuid),
        Column("site_id", Integer),
        ForeignKeyConstraint(
            ["tenant_id", "site_id"],
            ["sites.tenant_id", "sites.id"],
            ondelete="SET NULL (site_id)",
        ),
    )
    Function(
        "count_sites",
        "of_tenant uuid, minimum int DEFAULT 0",
        returns="bigint",
        body="""
        BEGIN ATOMIC
          SELECT count(*) FROM sites WHERE tenant_id = of_tenant AND size > minimum;
        END
        """,
        grants={"r_op": "execute"},
        metadata=metadata,
    )
    View(
        "site_names",
        "SELECT tenant_id, name, count(*) AS n FROM sites GROUP BY 1, 2",
        grants={"r_app": "select"},
        comment="Names",
        metadata=metadata,
    )
    View("counts", "SELECT n FROM site_names", metadata=metadata)
    schema_grant("usage", on="public", to="r_app", metadata=metadata)


def fixed(
    connection: Connection, statements: str, *expected: str, declare: Declare = models
) -> None:
    """Exactly the lines ``expected`` report ``statements``; the upgrade reverts them, the
    downgrade brings them back."""
    start = catalog_states_in(connection)
    connection.exec_driver_sql(statements, execution_options={"no_parameters": True})
    changed = catalog_states_in(connection)
    script = migration(connection, metadata_of(declare))
    found = [" ".join(line.split()[1:]) for line in lines(found_by(script))]
    assert found == list(expected)

    run_in(connection, rendered(script.upgrade_ops))
    traces = unequal_states(catalog_states_in(connection), start)
    assert not traces, "the upgrade does not fix it:\n" + "\n".join(traces)

    run_in(connection, rendered(script.downgrade_ops))
    traces = unequal_states(catalog_states_in(connection), changed)
    assert not traces, "the downgrade does not bring it back:\n" + "\n".join(traces)
