"""Corrections of how Alembic writes SQL: into revisions and scripts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from alembic.autogenerate import render
from alembic.autogenerate.api import AutogenContext
from alembic.ddl import base
from alembic.ddl.postgresql import PostgresqlImpl
from alembic.operations import ops
from sqlalchemy import ClauseElement, PrimaryKeyConstraint, text
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.types import Enum, TypeEngine

from ddl import sql, types
from ddl.source import notes


class FaithfulImpl(PostgresqlImpl):
    """Alembic's PostgreSQL, with expressions that mean the same when the revision runs.

    Alembic writes what the driver would get, with every % doubled and no colon escaped. From that
    ``text()`` would double each % again and take ``' :name'`` in a string for a parameter.
    """

    __dialect__ = "postgresql"  # replaces Alembic's own

    def render_ddl_sql_expr(
        self,
        expr: ClauseElement,
        is_server_default: bool = False,
        is_index: bool = False,
        **kw: Any,
    ) -> str:
        """SQL for ``sa.text()``, or for ``sa.literal_column()`` where ``is_index``."""
        text = super().render_ddl_sql_expr(
            expr, is_server_default=is_server_default, is_index=is_index, **kw
        )
        if self.dialect.paramstyle in ("format", "pyformat"):
            text = text.replace("%%", "%")
        return text if is_index else sql.escaped(text)

    def _exec(self, construct: Any, *arguments: Any, **keywords: Any) -> Any:
        """Run a statement, or add it to the script of ``--sql`` with its tabs."""
        if not self.as_sql or arguments[1:] or keywords.get("params"):
            return super()._exec(construct, *arguments, **keywords)
        statement = text(construct) if isinstance(construct, str) else construct
        literal = self.literal_binds and not isinstance(statement, ExecutableDDLElement)
        compiled = statement.compile(
            dialect=self.dialect, compile_kwargs={"literal_binds": True} if literal else {}
        )
        self.static_output(sql.terminated(str(compiled).strip()))
        return None

    def render_type(self, type_: TypeEngine[Any], autogen_context: AutogenContext) -> Any:
        """A type of a project by its SQL, since a revision must not import it.

        The values of an enum that is text to PostgreSQL are in its constraint.
        """
        if types.is_told_by_sql(type_):
            return f"op.sql_type({type_.compile(dialect=self.dialect)!r})"
        if isinstance(type_, Enum):
            return f"sa.String(length={type_.length})"
        return super().render_type(type_, autogen_context)


def _complete(kind: type[Any], *names: str) -> None:
    """Let constraints of ``kind`` keep the options ``names`` in CREATE TABLE."""
    renderers = render._constraint_renderers  # There is no public way to these.
    original = renderers.dispatch(kind)

    @renderers.dispatch_for(kind, replace=True)
    def rendered(constraint: Any, *arguments: Any) -> Any:
        text = original(constraint, *arguments)
        options = {name: getattr(constraint, name) for name in names} | dict(constraint.kwargs)
        given = [f", {name}={value!r}" for name, value in options.items() if value]
        return text and text.removesuffix(")") + "".join(given) + ")"


def _noted(kind: type[Any]) -> None:
    """Write the comments of operations of ``kind``."""
    original = render.renderers.dispatch(kind)

    @render.renderers.dispatch_for(kind, replace=True)
    def rendered(context: AutogenContext, operation: Any) -> Any:
        return [*notes(operation), original(context, operation)]


def _quoted(name: str, quote: Callable[[str], str]) -> str:
    return quote(name)


def correct() -> None:
    """Complete what Alembic leaves out; defining the class above is enough for it to be used."""
    # Alembic takes the dot in the name of a schema for one between two names.
    base.quote_dotted = _quoted
    _noted(ops.AddColumnOp)
    _noted(ops.AlterColumnOp)
    _noted(ops.DropTableOp)
    _noted(ops.DropColumnOp)
    _complete(PrimaryKeyConstraint, "deferrable", "initially")
