"""create_extension, the types of extensions, and the messages where one cannot be created."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import op
from alembic.util import CommandError
from sqlalchemy import (
    CheckConstraint,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    Table,
)
from sqlalchemy.dialects.postgresql import CITEXT, HSTORE
from sqlalchemy.exc import ArgumentError
from sqlalchemy.types import UserDefinedType

from ddl import Extension, Function, Policy, View, found_by, schema_grant
from ddl.differences import lines
from ddl.kinds.extension import missing
from tests.ddl.case import Case, nothing
from tests.support.databases import MakeDatabase, named_server, servers
from tests.support.engines import engine_of, execute
from tests.support.generated_revisions import (
    Declare,
    apply,
    assert_clean,
    metadata_of,
    migration,
    rendered,
    run,
    run_offline,
)
from tests.support.granted_roles import make_roles


class Ltree(UserDefinedType[Any]):
    """A path, of extension ltree."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "ltree"


@pytest.fixture(params=servers("machine", "timescaledb"))
def contrib(request: pytest.FixtureRequest, make_database: MakeDatabase) -> Iterator[Engine]:
    """An empty database of a server with the extensions of PostgreSQL's contrib."""
    with engine_of(make_database(named_server(request))) as engine:
        with engine.begin() as connection:
            make_roles(connection)
            known = set(connection.scalars(sa.text("SELECT name FROM pg_available_extensions")))
            if absent := {"citext", "hstore", "ltree", "pg_trgm"} - known:
                pytest.skip(f"the server does not have {', '.join(sorted(absent))}")
            if request.param == "timescaledb":
                connection.execute(sa.text("CREATE EXTENSION timescaledb"))
        yield engine


def table(*items: Any, extensions: tuple[Extension, ...] = ()) -> Declare:
    def declare(metadata: MetaData) -> None:
        for extension in extensions:
            Extension(extension.state.name, schema=extension.state.schema, metadata=metadata)
        own = [item._copy() if isinstance(item, Column) else item for item in items]
        key = Column("id", Integer, primary_key=True, autoincrement=False)
        Table("items", metadata, key, *own)

    return declare


def test_columns_of_its_types_in_the_same_revision(contrib: Engine) -> None:
    Case(
        table(),
        table(
            Column("mail", CITEXT),
            Column("extra", HSTORE),
            Column("path", Ltree),
            extensions=(Extension("citext"), Extension("hstore"), Extension("ltree")),
        ),
        upgrade="""
            op.create_extension("citext")
            op.create_extension("hstore")
            op.create_extension("ltree")
            op.add_column("items", sa.Column("mail", postgresql.CITEXT(), nullable=True))
            op.add_column("items", sa.Column("extra", postgresql.HSTORE(text_type=sa.Text()), nullable=True))
            op.add_column("items", sa.Column("path", op.sql_type("ltree"), nullable=True))
        """,
        downgrade="""
            op.drop_column("items", "path")
            op.drop_column("items", "extra")
            op.drop_column("items", "mail")
        """,
    ).walk(contrib)


def test_stays_with_the_table_that_uses_it(contrib: Engine) -> None:
    def after(metadata: MetaData) -> None:
        Table("mails", metadata, Column("mail", CITEXT, primary_key=True), Extension("citext"))
        Function(
            "known",
            "address citext",
            returns="boolean",
            body="RETURN EXISTS (SELECT FROM mails WHERE mail = address)",
            metadata=metadata,
        )

    Case(
        nothing,
        after,
        downgrade="""
            op.drop_function("known", "address citext")
            op.drop_table("mails")
        """,
        upgrade="""
            op.create_extension("citext")

            op.create_table(
                "mails",
                sa.Column("mail", postgresql.CITEXT(), nullable=False),
                sa.PrimaryKeyConstraint("mail", name=op.f("mails_pkey")),
            )
            op.create_function(
                "known", "address citext", returns="boolean", language="sql",
                body="RETURN EXISTS (SELECT FROM mails WHERE mail = address)",
            )
        """,
    ).walk(contrib)


@pytest.mark.parametrize("schema", ["ext", "Side Room"])
def test_in_a_schema_of_its_own(contrib: Engine, schema: str) -> None:
    def after(metadata: MetaData) -> None:
        table(Column("mail", CITEXT), extensions=(Extension("citext", schema=schema),))(metadata)
        Table("mails", metadata, Column("mail", CITEXT, primary_key=True))
        schema_grant("usage", on=schema, to="r_op", metadata=metadata)

    with contrib.begin() as connection:
        apply(connection, metadata_of(table()))
    with contrib.connect() as connection:
        script = migration(connection, metadata_of(after))
    up, down = rendered(script.upgrade_ops), rendered(script.downgrade_ops)
    quoted = "ext" if schema == "ext" else '"Side Room"'
    assert up.startswith(f'op.create_extension("citext", schema="{schema}")\n')
    assert f"{quoted}.citext" in up
    assert "schema(" not in up + down
    assert "extension" not in down
    for _ in range(2):  # The way back leaves the extension, which the next upgrade finds.
        run(contrib, up)
        assert_clean(contrib, metadata_of(after))
        run(contrib, down)
        assert_clean(contrib, metadata_of(table()))
    run_offline(contrib, up)
    assert_clean(contrib, metadata_of(after))


def test_type_is_found_where_the_extension_is(contrib: Engine) -> None:
    """An administrator created it, in a schema that is not on the search_path of revisions."""
    with contrib.begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA ext"))
        connection.execute(sa.text("CREATE EXTENSION citext SCHEMA ext"))
    for extensions in ((), (Extension("citext"),)):
        Case(
            table(),
            table(Column("mail", CITEXT, nullable=False), extensions=extensions),
            upgrade="""
                # fails where public.items has rows: mail is NOT NULL without a default
                op.add_column("items", sa.Column("mail", op.sql_type("ext.citext"), nullable=False))
            """,
            downgrade="""
                op.drop_column("items", "mail")
            """,
        ).walk(contrib)
        Case(table(Column("mail", CITEXT)), table()).walk(contrib)
        with contrib.begin() as connection:
            connection.execute(sa.text("DROP TABLE items"))


@pytest.mark.parametrize("named", ["ext.gin_trgm_ops", "gin_trgm_ops"])
def test_operator_class_in_a_schema_of_its_own(contrib: Engine, named: str) -> None:
    """A model need not say where the extension is; revisions do."""
    with contrib.begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA ext"))

    def after(metadata: MetaData) -> None:
        table(
            Column("name", sa.Text),
            Index(
                "items_name_idx",
                "name",
                postgresql_using="gin",
                postgresql_ops={"name": named},
            ),
            extensions=(Extension("pg_trgm", schema="ext"),),
        )(metadata)

    Case(table(Column("name", sa.Text)), after).walk(contrib)


CALLING: dict[str, Callable[[str], Any]] = {
    "view public.near": lambda call: View("near", f"SELECT {call} FROM items"),
    "index items_idx": lambda call: Index("items_idx", sa.text(f"({call})")),
    "table public.items": lambda call: CheckConstraint(f"{call} >= 0", name="near"),
    "policy public.items.near": lambda call: Policy("near", to="r_app", using=f"{call} > 0"),
    "function public.near(name text)": lambda call: Function(
        "near", "name text", returns="real", body=f"RETURN {call}"
    ),
}


@pytest.mark.parametrize("title", CALLING)
def test_call_of_a_function_in_a_schema_of_its_own(contrib: Engine, title: str) -> None:
    """Revisions look for functions in public only."""

    def after(call: str) -> Declare:
        extensions = (Extension("pg_trgm", schema="ext"),)
        item = CALLING[title](call)
        return table(Column("name", sa.Text), item, extensions=extensions)

    with contrib.connect() as connection, pytest.raises(CommandError) as refused:
        migration(connection, metadata_of(after("similarity(name, 'similarity(')")))
    assert str(refused.value) == (
        f"{title} calls similarity(), which extension pg_trgm has in schema ext, where revisions do"
        " not look for it; write ext.similarity(…)"
    )
    declared = metadata_of(after("ext.similarity(name, 'similarity(')"))
    with contrib.begin() as connection:
        apply(connection, declared)
    assert_clean(contrib, declared)


EXPRESSIONS: dict[str, Callable[[str], Any]] = {
    "table public.items": lambda condition: CheckConstraint(condition, name="c"),
    "policy public.items.own": lambda condition: Policy("own", to="r_app", using=condition),
    "view public.some": lambda condition: View("some", f"SELECT id FROM items WHERE {condition}"),
    "function public.is_one(mail ext.citext)": lambda condition: Function(
        "is_one", "mail ext.citext", returns="boolean", body=f"RETURN {condition}"
    ),
    "computed": lambda condition: Column(
        "is_one", sa.Boolean, sa.Computed(condition, persisted=True)
    ),
}


def addressed(title: str, condition: str) -> MetaData:
    extensions = (Extension("citext", schema="ext"),)
    item = EXPRESSIONS[title](condition)
    return metadata_of(table(Column("mail", CITEXT), item, extensions=extensions))


@pytest.mark.parametrize("title", EXPRESSIONS)
def test_operator_of_an_extension_in_a_schema_of_its_own(contrib: Engine, title: str) -> None:
    """Revisions would find the operator of text instead, which tells upper case from lower."""
    on = {"view": title, "function": "function public.is_one"}.get(title.split()[0])
    with contrib.connect() as connection, pytest.raises(CommandError) as refused:
        migration(connection, addressed(title, "mail <> 'One'"))
    assert str(refused.value) == (
        f"{on or 'table public.items'}: operator <> is that of extension citext in schema ext, where revisions do not look"
        " for it, and would find another one; write OPERATOR(ext.<>), and instead of NOT IN"
        " (…) OPERATOR(ext.<>) ALL (ARRAY[…])"
    )
    declared = addressed(title, "mail OPERATOR(ext.<>) 'One'")
    with contrib.begin() as connection:
        apply(connection, declared)
    assert_clean(contrib, declared)


@pytest.mark.parametrize("cast", ["'One'::citext", "CAST(lower('One') AS citext)"])
def test_cast_to_a_type_in_a_schema_of_its_own(contrib: Engine, cast: str) -> None:
    title = "table public.items"
    with contrib.connect() as connection, pytest.raises(CommandError) as refused:
        migration(connection, addressed(title, f"mail OPERATOR(ext.<>) {cast}"))
    assert str(refused.value) == (
        f"{title} casts to citext, which extension citext has in schema ext, where revisions do not"
        " look for it; write ext.citext"
    )
    declared = addressed(title, "mail OPERATOR(ext.<>) " + cast.replace("citext", "ext.citext"))
    with contrib.begin() as connection:
        apply(connection, declared)
    assert_clean(contrib, declared)


def test_moved_and_dropped_by_hand(contrib: Engine) -> None:
    def declared(metadata: MetaData) -> None:
        Extension("citext", schema="ext", metadata=metadata)

    with contrib.begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA elsewhere"))
        apply(connection, metadata_of(declared))
        connection.execute(sa.text("ALTER EXTENSION citext SET SCHEMA elsewhere"))
        script = migration(connection, metadata_of(declared))
        assert _told(script) == ["extension citext schema: expected ext, found elsewhere"]
        assert rendered(script.upgrade_ops) == 'op.alter_extension("citext", schema="ext")'
        assert rendered(script.downgrade_ops) == 'op.alter_extension("citext", schema="elsewhere")'
    run(contrib, rendered(script.upgrade_ops))
    assert_clean(contrib, metadata_of(declared))
    with contrib.begin() as connection:
        connection.execute(sa.text("DROP EXTENSION citext"))
        script = migration(connection, metadata_of(declared))
        assert _told(script) == ["extension citext expected, missing"]
        assert rendered(script.downgrade_ops) == "pass"


def test_undeclared_extension_is_named_and_kept(contrib: Engine) -> None:
    with contrib.begin() as connection:
        connection.execute(sa.text("CREATE EXTENSION citext"))
        script = migration(connection, metadata_of(table(extensions=())))
        assert _told(script) == [
            "table public.items expected, missing",
            "extension citext found, not declared; run: DROP EXTENSION citext",
        ]
        assert "citext" not in rendered(script.upgrade_ops)


def _told(script: Any) -> list[str]:
    found = [" ".join(line.split()[1:]) for line in lines(found_by(script))]
    return [line for line in found if not line.startswith("grant ")]


def test_comparison_leaves_nothing_behind(contrib: Engine) -> None:
    declared = metadata_of(table(extensions=(Extension("hstore", schema="ext"),)))
    with contrib.begin() as connection:
        migration(connection, declared)
    with contrib.connect() as connection:
        assert connection.scalar(sa.text("SELECT to_regnamespace('ext')")) is None
        count = "SELECT count(*) FROM pg_extension WHERE extname = 'hstore'"
        assert connection.scalar(sa.text(count)) == 0


def test_there_is_no_drop() -> None:
    assert hasattr(op, "create_extension")
    assert not hasattr(op, "drop_extension")


def test_declared_twice() -> None:
    metadata = MetaData()
    Extension("citext", schema="ext", metadata=metadata)
    with pytest.raises(ArgumentError, match="extension citext is declared twice"):
        Extension("citext", metadata=metadata)


# --- what cannot be created ---


def declared(*names: str) -> MetaData:
    metadata = MetaData()
    for name in names:
        Extension(name, metadata=metadata)
    return metadata


@pytest.fixture
def plain_role(contrib: Engine) -> Iterator[Connection]:
    """A session of a role that may do nothing in the database."""
    with contrib.connect() as connection:
        connection.execute(sa.text("SET LOCAL ROLE r_op"))
        yield connection


def test_extension_that_the_server_does_not_have(engine: Engine) -> None:
    metadata = declared("no such thing")
    with engine.connect() as connection:
        expected = (
            "extension no such thing, which the server does not have (install its package on the"
            " server, such as postgresql-contrib; SELECT name FROM pg_available_extensions lists"
            " what there is)"
        )
        assert missing(connection, metadata) == [expected]
        with pytest.raises(CommandError, match="no such thing"):
            migration(connection, metadata)


def test_superuser_lacks_nothing(contrib: Engine) -> None:
    with contrib.connect() as connection:
        assert missing(connection, declared("citext", "file_fdw")) == []


def test_extension_that_the_role_may_not_create(contrib: Engine, plain_role: Connection) -> None:
    database = contrib.url.database
    assert missing(plain_role, declared("citext", "file_fdw")) == [
        f"extension citext, which r_op may not create (as the owner: GRANT CREATE ON DATABASE {database} TO r_op)",
        f"extension file_fdw, which only a superuser may create (as a superuser, in database {database}: CREATE EXTENSION file_fdw)",
    ]


def test_owner_may_create_trusted_ones_and_use_those_that_exist(
    contrib: Engine, plain_role: Connection
) -> None:
    execute(contrib.url, "CREATE EXTENSION file_fdw")
    execute(contrib.url, f'GRANT CREATE ON DATABASE "{contrib.url.database}" TO r_op')
    assert missing(plain_role, declared("citext", "file_fdw")) == []
