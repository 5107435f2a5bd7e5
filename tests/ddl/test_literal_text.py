"""What a model writes is what the server gets: names of schemas, colons, percent signs, tabs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import (
    CheckConstraint,
    Column,
    Computed,
    Engine,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

from ddl import Function, Policy, RowLevelSecurity, View
from ddl.sql import compiled, escaped
from tests.ddl.case import SETTINGS, Case, nothing

SAYS = "See Public.t, PUBLIC.t, public.t, \"public\".t and 'PuBLiC.t'"


def items(metadata: MetaData, *more: Any, **options: Any) -> None:
    Table("t", metadata, Column("id", Integer), Column("a", Text), *more, **options)


def body(query: str) -> Callable[[MetaData], None]:
    def declare(metadata: MetaData) -> None:
        items(metadata)
        Function(
            "n",
            returns="bigint",
            language="plpgsql",
            settings=SETTINGS,
            body=f"begin\n\treturn ({query}); -- {SAYS}\nend",
            comment=SAYS,
            metadata=metadata,
        )

    return declare


def spelled_in_texts(metadata: MetaData) -> None:
    said = SAYS.replace("'", "''")
    items(
        metadata,
        Column("b", Text, server_default=SAYS, comment=SAYS),
        CheckConstraint(f"a <> '{said}'", name="said"),
        comment=SAYS,
    )
    View("v", f"SELECT '{said}' AS x FROM PUBLIC.t", comment=SAYS, metadata=metadata)


@pytest.mark.parametrize(
    "query",
    [
        "select count(*) from PUBLIC.t",
        'select count(*) from "public"."t"',
        "select count(*) from Public.t join PUBLIC.t u on u.a = 'Public.t'",
    ],
)
def test_schema_spelled_in_a_body(engine: Engine, query: str) -> None:
    Case(nothing, body(query)).walk(engine)


def test_schema_spelled_in_texts(engine: Engine) -> None:
    """As the server has them, not only as two equal sides."""
    Case(nothing, spelled_in_texts).walk(engine)
    queries = (
        "SELECT obj_description('v'::regclass, 'pg_class')",
        "SELECT obj_description('t'::regclass, 'pg_class')",
        "SELECT col_description('t'::regclass, 3)",
    )
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO t DEFAULT VALUES"))
        assert [connection.scalar(text(query)) for query in queries] == [SAYS] * 3
        assert connection.execute(text("SELECT b, x FROM t, v")).one() == (SAYS, SAYS)


WORDS = "at :noon, 5 %, %s %(x)s %% ::text, a:b :1 :é $1"


def plain_words(metadata: MetaData) -> None:
    """Nobody escapes the colons: models are no queries."""
    items(
        metadata,
        Column("b", Text, server_default=text(f"'{WORDS}'"), comment=WORDS),
        Column("c", Text, Computed(f"a || '{WORDS}'", persisted=True)),
        CheckConstraint(f"a <> '{WORDS}' AND a <> ' :noon'", name="words"),
        Index("i", "a", postgresql_where=f"a <> '{WORDS}'"),
        Index("j", text(f"(a || '{WORDS}')")),
        RowLevelSecurity(),
        Policy("p", to="r_app", using=f"a <> '{WORDS}'"),
        comment=WORDS,
    )
    View("v", f"SELECT '{WORDS}' AS words", metadata=metadata)


def test_colons_and_percent_signs(engine: Engine) -> None:
    Case(nothing, plain_words).walk(engine)
    Case(plain_words, plain_words).walk(engine)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO t (a) VALUES ('')"))
        found = connection.execute(text("SELECT b, c, words FROM t, v")).one()
        assert found == (WORDS, WORDS, WORDS)
        with pytest.raises(sa.exc.IntegrityError):
            connection.execute(text("INSERT INTO t (a) VALUES (:words)"), {"words": WORDS})


def test_value_of_a_parameter_is_kept(engine: Engine) -> None:
    def declare(metadata: MetaData) -> None:
        limit = text("id > :least AND a <> ' :least' OR id > :least").bindparams(least=3)
        items(metadata, CheckConstraint(limit, name="least"))

    Case(nothing, declare).walk(engine)


def tabs(metadata: MetaData) -> None:
    """Where Alembic writes the script, it made four spaces of each tab."""
    items(
        metadata,
        Column("b", Text, server_default="a\tb\r\n\tc", comment="a\tb"),
        CheckConstraint("a <> 'a\tb'", name="tab"),
        Index("i", "a", postgresql_where=text("a <> '\t'")),
        comment="\tone\n\ttwo\t",
    )
    View("v", "SELECT '\t' AS tab", comment="\t", metadata=metadata)


def test_tabs(engine: Engine) -> None:
    Case(nothing, tabs).walk(engine)


@given(st.text(st.sampled_from(":\\a1_é'\" %$(),.;\n"), max_size=30))
def test_escaped_text_is_the_text(value: str) -> None:
    assert compiled(text(escaped(f"x{value}x"))) == f"x{value}x"
