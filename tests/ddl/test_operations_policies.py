"""set_row_level_security, create_policy, alter_policy and drop_policy."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Engine, Integer, MetaData, Table

from ddl import Grant, Policy, RowLevelSecurity
from ddl.kinds.policy import OWNER
from tests.ddl.case import Case

ROWS = ["INSERT INTO items VALUES (1), (2)"]


def table(metadata: MetaData, *items: Any) -> None:
    Table("items", metadata, Column("id", Integer, primary_key=True, autoincrement=False), *items)


def test_secure_a_table_that_has_rows(engine: Engine) -> None:
    def after(metadata: MetaData) -> None:
        table(
            metadata,
            RowLevelSecurity(),
            Policy("own", to="r_app", using="id > 1", check="id > 2"),
            Policy("add", to=["r_op", "Mixed Case"], command="insert", check="id <> 50 % 7"),
            Policy("see", to="PUBLIC", command="select", using="true"),
            Policy("no more", to="r_app", command="update", using="id < 9", permissive=False),
            Policy("gone", to="r_app", command="delete", using="':a' <> ' :b'"),
            Grant("select, insert, update, delete", to="r_app"),
            Grant("insert", to="Mixed Case"),
        )

    Case(
        table,
        after,
        rows=ROWS,
        upgrade="""
            op.set_row_level_security(
                "items", enable=True, force=True,
                policies={
                    "add": 'FOR INSERT TO "Mixed Case", r_op WITH CHECK (id <> 50 % 7)',
                    "gone": "FOR DELETE TO r_app USING (':a' <> ' :b')",
                    "no more": "AS RESTRICTIVE FOR UPDATE TO r_app USING (id < 9)",
                    "own": "FOR ALL TO r_app USING (id > 1) WITH CHECK (id > 2)",
                    "see": "FOR SELECT TO PUBLIC USING (true)",
                },
                grants={"Mixed Case": "insert", "r_app": "delete, insert, select, update"},
            )
        """,
        downgrade="""
            op.revoke("items", {"Mixed Case": "insert", "r_app": "delete, insert, select, update"})
            op.drop_policy("see", "items")
            op.drop_policy("own", "items")
            op.drop_policy("no more", "items")
            op.drop_policy("gone", "items")
            op.drop_policy("add", "items")
            op.set_row_level_security("items", enable=False, force=False)
        """,
    ).walk(engine)


def test_alter_what_alter_policy_can(engine: Engine) -> None:
    def before(metadata: MetaData) -> None:
        table(metadata, Policy("own", to="r_app", using="id > 1", check="id > 2"))
        Table(
            "b",
            metadata,
            Column("id", Integer),
            Policy("p", to="r_app", command="select", using="id > 1"),
        )

    def after(metadata: MetaData) -> None:
        table(metadata, Policy("own", to=["r_op", "r_app"], using="id > 3", check="id > 4"))
        Table(
            "b",
            metadata,
            Column("id", Integer),
            Policy("p", to="r_app", command="select", using="id > 2"),
        )

    Case(
        before,
        after,
        upgrade="""
            op.alter_policy("p", "b", to="r_app", command="select", using="id > 2")
            op.alter_policy("own", "items", to=["r_app", "r_op"], command="all", using="id > 3", check="id > 4")
        """,
        downgrade="""
            op.alter_policy("own", "items", to="r_app", command="all", using="(id > 1)", check="(id > 2)")
            op.alter_policy("p", "b", to="r_app", command="select", using="(id > 1)")
        """,
    ).walk(engine)


def test_recreate_what_alter_policy_cannot_change(engine: Engine) -> None:
    def before(metadata: MetaData) -> None:
        table(
            metadata,
            Policy("command", to="r_app", using="id > 1"),
            Policy("kind", to="r_app", using="id > 1"),
            Policy("without_check", to="r_app", using="id > 1", check="id > 2"),
        )

    def after(metadata: MetaData) -> None:
        table(
            metadata,
            Policy("command", to="r_app", command="select", using="id > 1"),
            Policy("kind", to="r_app", using="id > 1", permissive=False),
            Policy("without_check", to="r_app", using="id > 1"),
        )

    Case(
        before,
        after,
        upgrade="""
            op.drop_policy("without_check", "items")
            op.drop_policy("kind", "items")
            op.drop_policy("command", "items")
            op.create_policy("command", "items", to="r_app", command="select", using="id > 1")
            op.create_policy("kind", "items", to="r_app", command="all", using="id > 1", permissive=False)
            op.create_policy("without_check", "items", to="r_app", command="all", using="id > 1")
        """,
        downgrade="""
            op.drop_policy("without_check", "items")
            op.drop_policy("kind", "items")
            op.drop_policy("command", "items")
            op.create_policy("command", "items", to="r_app", command="all", using="(id > 1)")
            op.create_policy("kind", "items", to="r_app", command="all", using="(id > 1)")
            op.create_policy("without_check", "items", to="r_app", command="all", using="(id > 1)", check="(id > 2)")
        """,
    ).walk(engine)


def test_alter_a_restrictive_policy(engine: Engine) -> None:
    def before(metadata: MetaData) -> None:
        table(metadata, Policy("p", to="r_app", using="id > 1", permissive=False))

    def after(metadata: MetaData) -> None:
        table(metadata, Policy("p", to="r_op", using="id > 2", permissive=False))

    Case(
        before,
        after,
        upgrade="""
            op.drop_policy("p", "items")
            op.create_policy("p", "items", to="r_op", command="all", using="id > 2", permissive=False)
        """,
        downgrade="""
            op.drop_policy("p", "items")
            op.create_policy("p", "items", to="r_app", command="all", using="(id > 1)", permissive=False)
        """,
    ).walk(engine)


def test_row_level_security_without_force(engine: Engine) -> None:
    def before(metadata: MetaData) -> None:
        table(metadata, RowLevelSecurity())

    def after(metadata: MetaData) -> None:
        table(metadata, RowLevelSecurity(force=False))

    Case(
        before,
        after,
        upgrade="""
            op.set_row_level_security("items", enable=True, force=False)
        """,
        downgrade="""
            op.set_row_level_security("items", enable=True, force=True)
        """,
    ).walk(engine)


def test_a_policy_for_the_owner_of_the_table(engine: Engine) -> None:
    """By whatever name: it shows functions of the owner what is hidden from the owner."""

    def after(metadata: MetaData) -> None:
        table(metadata, RowLevelSecurity(), Policy("inside", to=[OWNER, "r_op"], using="id > 1"))

    Case(
        lambda metadata: table(metadata, RowLevelSecurity()),
        after,
        rows=ROWS,
        upgrade="""
            op.create_policy("inside", "items", to=["CURRENT_USER", "r_op"], command="all", using="id > 1")
        """,
        downgrade="""
            op.drop_policy("inside", "items")
        """,
    ).walk(engine)
