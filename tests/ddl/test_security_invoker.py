"""A view has the rights of the role that queries it; what runs as its owner says why."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy import Column, Engine, Integer, MetaData, Table
from sqlalchemy.exc import ArgumentError

from ddl import Declared, Function, Grant, Policy, RowLevelSecurity, View, schema_grant
from tests.ddl.case import SETTINGS, Case, nothing
from tests.support.generated_revisions import apply, metadata_of

AS_OWNER = "It counts, and shows no row."


def rows(metadata: MetaData, *views: View) -> None:
    """Rows of two tenants, of which r_app sees one."""
    Table(
        "secured",
        metadata,
        Column("tenant", Integer, primary_key=True, autoincrement=False),
        RowLevelSecurity(),
        Policy("own", to="r_app", using="tenant = 1"),
        Policy("every", to="r_op", using="true"),
        Grant("select", to="r_app"),
        *views,
    )
    schema_grant("usage", on="public", to="r_app", metadata=metadata)


def plain(metadata: MetaData) -> None:
    rows(metadata, View("seen", "SELECT tenant FROM secured", grants={"r_app": "select"}))


def as_owner(metadata: MetaData) -> None:
    counted = "SELECT count(*) AS n FROM secured"
    given = {"security_invoker": False, "reason": AS_OWNER, "grants": {"r_app": "select"}}
    rows(metadata, View("seen", counted, **given))  # type: ignore[arg-type]


@pytest.mark.parametrize(("declare", "seen"), [(plain, [1]), (as_owner, [2])])
def test_rows_that_a_bound_role_sees(engine: Engine, declare: object, seen: list[int]) -> None:
    """The owner here is a superuser, so a view with its rights shows every row."""
    with engine.begin() as connection:
        apply(connection, metadata_of(declare))  # type: ignore[arg-type]
        connection.execute(sa.text("INSERT INTO secured VALUES (1), (2)"))
        connection.execute(sa.text("SET LOCAL ROLE r_app"))
        assert connection.scalars(sa.text("TABLE seen")).all() == seen


def test_plain_view_becomes_one_of_its_owner(engine: Engine) -> None:
    """The reason is no part of the revision: the server knows none."""
    Case(
        plain,
        as_owner,
        upgrade="""
            op.drop_view("seen")
            op.create_view("seen", "SELECT count(*) AS n FROM secured", grants={"r_app": "select"})
        """,
        downgrade=r"""
            op.drop_view("seen")
            op.create_view(
                "seen",
                (
                    "SELECT tenant\n"
                    "  FROM public.secured"
                ),
                security_invoker=True, grants={"r_app": "select"},
            )
        """,
    ).walk(engine)
    Case(nothing, as_owner).walk(engine)


def test_reasons_are_kept_with_the_declarations() -> None:
    metadata = metadata_of(as_owner)
    Function(
        "f",
        returns="int",
        body="RETURN 1",
        security_definer=True,
        reason="It reads nothing.",
        metadata=metadata,
    )
    reasons = Declared.on(metadata).reasons
    assert reasons["view", ("public", "seen")] == AS_OWNER
    assert reasons["function", ("public", "f", "")] == "It reads nothing."


@pytest.mark.parametrize("reason", [None, "", " "])
def test_owner_without_a_reason(reason: str | None) -> None:
    expected = r"view public\.v would run as its owner.*leave out security_invoker=False.*reason="
    with pytest.raises(ArgumentError, match=expected):
        View("v", "SELECT 1", security_invoker=False, reason=reason)
    expected = r"function public\.f would run as its owner.*security_definer=True.*reason="
    with pytest.raises(ArgumentError, match=expected):
        Function(
            "f",
            returns="int",
            language="plpgsql",
            body="begin return 1; end",
            settings=SETTINGS,
            security_definer=True,
            reason=reason,
        )
