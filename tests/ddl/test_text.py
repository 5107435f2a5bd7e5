"""Names that need quotes and text that means something to Python, SQL, drivers or Alembic.

Each passes a model, a revision's source, ``text()``, psycopg and the ``--sql`` script, and must
come out as it went in.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy import (
    CheckConstraint,
    Column,
    Computed,
    Engine,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

from ddl import Function, Grant, Policy, RowLevelSecurity, Trigger, View, schema_grant
from tests.ddl.case import SETTINGS, Case, nothing
from tests.support.catalog_states import catalog_states, unequal_states
from tests.support.generated_revisions import assert_clean, metadata_of

ROOT = Path(__file__).resolve().parents[2]
ODD = 'it\'s "100%" %s %% :name ::x \\:y \\ \\n $$ $function$ {x} é \u2028 public.x'
QUOTED = ODD.replace("'", "''")
LINES = f"first\n  {ODD}\n\nlast\n"
ENV = """
from alembic import context
import ddl

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes["metadata"],
    autogenerate_plugins=["ddl"],
    process_revision_directives=ddl.process_revision_directives,
)
with context.begin_transaction():
    context.run_migrations()
"""


def for_text(value: str) -> str:
    """What a person has to write in ``text()``, where ``:x`` is a parameter."""
    return value.replace(":", "\\:")


def odd(metadata: MetaData) -> None:
    literal = f"'{QUOTED}'"
    Table(
        "Order",
        metadata,
        Column("from", Integer, primary_key=True, autoincrement=False),
        Column("Mixed Col", Text, comment=LINES, server_default=ODD),
        Column("expression", Text, server_default=text(for_text(f"lower({literal})"))),
        Column("made", Text, Computed(for_text(f'"Mixed Col" || {literal}'), persisted=True)),
        CheckConstraint(for_text(f'"Mixed Col" <> {literal}'), name="odd"),
        Index("Ix 1%", "from", postgresql_where=text(for_text(f'"Mixed Col" <> {literal}'))),
        Index("Ix 2", text(for_text(f"(lower({literal}))"))),
        RowLevelSecurity(),
        Policy("Iso %", to="Mixed Case", using=f'"Mixed Col" <> {literal}'),
        Grant('select, update ("from", "Mixed Col")', to="Mixed Case"),
        Trigger(
            "Tr 1",
            timing="after",
            events='insert or update of "from", "Mixed Col"',
            when=f'new."Mixed Col" <> {literal}',
            function=f"\"Do It\"({literal}, 'b')",
        ),
        comment=ODD,
    )
    Table("order items", metadata, Column("id", ForeignKey("Order.from"), primary_key=True))
    Function(
        "Do It",
        returns="trigger",
        language="plpgsql",
        body=f"begin\n\t-- {ODD}\n  raise notice '%', {literal};\n  return null;\nend",
        settings=SETTINGS,
        comment=LINES,
        metadata=metadata,
    )
    Function(
        "rate",
        f'"Odd Arg" text DEFAULT {literal}, b numeric(10,2) DEFAULT round(1.5, abs(1))',
        returns="text",
        body=f'RETURN "Odd Arg" || {literal}',
        comment=ODD,
        grants={"Mixed Case": "execute"},
        metadata=metadata,
    )
    View(
        "My View",
        f'SELECT "from" AS "A b", {literal} AS c FROM "Order" -- {QUOTED.replace(chr(0x2028), "")}',
        comment=LINES,
        grants={"Mixed Case": "select"},
        metadata=metadata,
    )


def test_odd_text_is_created(engine: Engine) -> None:
    Case(nothing, odd).walk(engine)


def test_odd_text_is_dropped_and_created_again(engine: Engine) -> None:
    Case(odd, nothing).walk(engine)


def test_odd_text_in_a_revision_file(engine: Engine, tmp_path: Path) -> None:
    """Alembic indents the text and puts it into a template."""
    shutil.copy(ROOT / "alembic" / "script.py.mako", tmp_path)
    (tmp_path / "env.py").write_text(ENV)
    (tmp_path / "versions").mkdir()
    config = Config()
    config.set_main_option("script_location", str(tmp_path))
    config.attributes["metadata"] = metadata_of(odd)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.revision(config, "odd", autogenerate=True, rev_id="0001")
        command.upgrade(config, "head")
        connection.commit()
    assert_clean(engine, metadata_of(odd))
    comments = sa.text("SELECT obj_description('\"Do It\"'::regproc, 'pg_proc')")
    with engine.connect() as connection:
        assert connection.scalar(comments) == LINES
    there = catalog_states(engine)
    config.attributes["metadata"] = metadata_of(nothing)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.revision(config, "gone", autogenerate=True, rev_id="0002")
        command.upgrade(config, "head")
        command.downgrade(config, "-1")
        connection.commit()
    assert not unequal_states(catalog_states(engine), there)


def test_names_of_schemas_that_are_parts_of_others(engine: Engine) -> None:
    """Schemas a, a_b and "A b"; a table, an alias and a function of the same names."""

    def declare(metadata: MetaData) -> None:
        for schema in ("a", "a_b", "A b"):
            Table(
                "t",
                metadata,
                Column("id", Integer, primary_key=True, autoincrement=False),
                RowLevelSecurity(),
                Policy("p", to="r_app", using="id IN (SELECT id FROM a_b.t)"),
                Grant("select", to="r_app"),
                schema=schema,
            )
            Function(
                "f",
                returns="bigint",
                body=f'BEGIN ATOMIC SELECT count(*) FROM "{schema}".t; END',
                grants={"r_app": "execute"},
                schema=schema,
                metadata=metadata,
            )
            schema_grant("usage", on=schema, to="r_app", metadata=metadata)
        Table(
            "a",
            metadata,
            Column("id", Integer, primary_key=True, autoincrement=False),
            Column("t_id", ForeignKey("A b.t.id")),
        )
        View(
            "v",
            'SELECT a.id, A.f() AS f, a_b.t_id, "A b".f() AS g'
            " FROM public.a JOIN A.t x ON x.id = a.id JOIN a a_b ON true",
            metadata=metadata,
        )

    Case(nothing, declare).walk(engine)
