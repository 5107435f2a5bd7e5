"""create_trigger and drop_trigger."""

from __future__ import annotations

from sqlalchemy import Column, Engine, Integer, MetaData, Table, Text

from ddl import Function, Trigger
from tests.ddl.case import SETTINGS, Case

ROWS = ["INSERT INTO items VALUES (1, 1, 'a')"]


def table(metadata: MetaData, *triggers: Trigger) -> None:
    Function(
        "touched",
        returns="trigger",
        language="plpgsql",
        body="begin return new; end",
        settings=SETTINGS,
        metadata=metadata,
    )
    Table(
        "items",
        metadata,
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("from", Integer),
        Column("name", Text),
        *triggers,
    )


def test_create_triggers(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        table(
            metadata,
            Trigger(
                "before_row",
                timing="before",
                events='insert or update of "from", name',
                function="touched()",
                when="new.name <> ' :x 50% EXECUTE FUNCTION ' AND new.id > 0",
            ),
            Trigger(
                "after all",
                timing="after",
                events="update",
                level="statement",
                function="touched('a', 'it''s, :b')",
                old_table="was",
                new_table="New Rows",
            ),
            Trigger(
                "truncated",
                timing="before",
                events="truncate",
                level="statement",
                function="touched()",
            ),
            Trigger(
                "checked",
                timing="after",
                events="insert or delete",
                function="touched()",
                constraint=True,
                initially_deferred=True,
            ),
            Trigger(
                "deferrable",
                timing="after",
                events="delete",
                function="touched()",
                constraint=True,
                deferrable=True,
            ),
        )

    Case(
        table,
        after,
        rows=ROWS,
        upgrade="""
            op.create_trigger(
                "after all", "items", "after", "update", level="statement", function="touched('a', 'it''s, :b')",
                old_table="was", new_table="New Rows",
            )
            op.create_trigger(
                "before_row", "items", "before", 'insert or update of "from", name', level="row", function="touched()",
                when="new.name <> ' :x 50% EXECUTE FUNCTION ' AND new.id > 0",
            )
            op.create_trigger(
                "checked", "items", "after", "insert or delete", level="row", function="touched()", constraint=True,
                deferrable=True, initially_deferred=True,
            )
            op.create_trigger(
                "deferrable", "items", "after", "delete", level="row", function="touched()", constraint=True, deferrable=True,
            )
            op.create_trigger("truncated", "items", "before", "truncate", level="statement", function="touched()")
        """,
        downgrade="""
            op.drop_trigger("truncated", "items")
            op.drop_trigger("deferrable", "items")
            op.drop_trigger("checked", "items")
            op.drop_trigger("before_row", "items")
            op.drop_trigger("after all", "items")
        """,
    ).walk(engine)


def test_change_is_dropping_and_creating(engine: Engine) -> None:
    def before(metadata: MetaData) -> None:
        table(metadata, Trigger("t", timing="before", events="update", function="touched()"))

    def after(metadata: MetaData) -> None:
        table(metadata, Trigger("t", timing="after", events="update of name", function="touched()"))

    Case(
        before,
        after,
        rows=ROWS,
        upgrade="""
            op.drop_trigger("t", "items")
            op.create_trigger("t", "items", "after", "update of name", level="row", function="touched()")
        """,
        downgrade="""
            op.drop_trigger("t", "items")
            op.create_trigger("t", "items", "before", "update", level="row", function="public.touched()")
        """,
    ).walk(engine)
