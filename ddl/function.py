"""Functions: SQL-standard bodies (bound when created) and text bodies (plpgsql)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy import Connection, MetaData, Table
from sqlalchemy.exc import ArgumentError

from ddl import sql
from ddl.base import DDLOperation, Declaration, Key, State
from ddl.grant import GrantState

# --- declare ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class FunctionState(State):
    """One function; ``arguments`` and ``returns`` in the words of CREATE FUNCTION."""

    kind: ClassVar[str] = "function"

    name: str
    arguments: str = ""
    returns: str = "void"
    language: str = "sql"
    volatility: str = "volatile"
    parallel: str = "unsafe"
    strict: bool = False
    security_definer: bool = False
    leakproof: bool = False
    settings: tuple[str, ...] = ()
    body: str = ""
    comment: str | None = None
    schema: str = sql.DEFAULT_SCHEMA

    @property
    def key(self) -> Key:
        """(schema, name, types of the arguments)."""
        return (self.schema, self.name, self.signature)

    @property
    def declared_as(self) -> Key:
        """(schema, name): one name, one function, so that the server's spelling can differ."""
        return (self.schema, self.name)

    @property
    def relation(self) -> Key:
        """The function itself, as its grants call it: they go with it."""
        return (self.schema, self.on.replace('"', ""))

    @property
    def on(self) -> str:
        """The function as its grants call it."""
        return f"function {sql.ident(self.name)}({self.signature})"

    @property
    def signature(self) -> str:
        """The arguments without defaults, as DROP FUNCTION and GRANT want them."""
        return ", ".join(_without_default(argument) for argument in sql.split_list(self.arguments))

    @property
    def qualified(self) -> str:
        """The name with its signature, for every statement but CREATE."""
        return f"{sql.qualified(self.schema, self.name)}({self.signature})"

    @property
    def standard_body(self) -> bool:
        """True for a body that the server parses, and binds to its tables, at creation."""
        start = re.match(r"return\b|begin\s+atomic\b", self.body, re.I)
        return self.language == "sql" and start is not None

    def title(self) -> str:
        """The function as a person would name it."""
        return f"function {self.name}({self.signature})"

    def text(self) -> str:
        """Types and body."""
        return f"{self.arguments} {self.returns} {self.body}"


def _without_default(argument: str) -> str:
    return re.split(r"\sdefault\s|:?=", argument, maxsplit=1, flags=re.I)[0].strip()


class Function(Declaration):
    """A function, in ``__table_args__`` of the table it serves or alone with ``metadata=``.

    Args:
        arguments: as in CREATE FUNCTION: ``"wanted uuid, note text DEFAULT ''"``.
        body: SQL-standard (``RETURN …`` or ``BEGIN ATOMIC … END``) or the text of the body.
        settings: configuration while it runs; a text body must fix ``search_path``.
        grants: role to ``"execute"``; PUBLIC never has it.

    Raises:
        sqlalchemy.exc.ArgumentError: a text body without a fixed search_path.
    """

    def __init__(
        self,
        name: str,
        arguments: str = "",
        *,
        returns: str,
        body: str,
        language: str = "sql",
        volatility: str = "volatile",
        parallel: str = "unsafe",
        strict: bool = False,
        security_definer: bool = False,
        leakproof: bool = False,
        settings: Mapping[str, str] | None = None,
        grants: Mapping[str, str] | None = None,
        comment: str | None = None,
        schema: str | None = None,
        metadata: MetaData | None = None,
    ) -> None:
        self.state = FunctionState(
            name=name,
            arguments=", ".join(sql.split_list(arguments)),
            returns=returns,
            language=language,
            volatility=volatility,
            parallel=parallel,
            strict=strict,
            security_definer=security_definer,
            leakproof=leakproof,
            settings=tuple(f"{key}={value}" for key, value in sorted((settings or {}).items())),
            body=textwrap.dedent(body).strip(),
            comment=comment,
            schema=schema or sql.DEFAULT_SCHEMA,
        )
        if not self.state.standard_body and "search_path" not in (settings or {}):
            raise ArgumentError(
                f"function {name} has a text body and no fixed search_path: whoever calls it "
                f"could put objects of his own before ours; write "
                f'settings={{"search_path": "pg_catalog, pg_temp"}} and name tables as public.x'
            )
        self.grants = GrantState(
            on=self.state.on,
            privileges=GrantState.parse(dict(grants or {})),
            schema=self.state.schema,
        )
        self._register(metadata, self.state)
        self._register(metadata, self.grants)

    def states(self, table: Table) -> Iterator[State]:
        """The function and its grants."""
        yield self.state
        yield self.grants


# --- operate ---------------------------------------------------------------------------------


@Operations.register_operation("create_function")
@Operations.register_operation("drop_function")
class FunctionOperation(DDLOperation):
    """CREATE, CREATE OR REPLACE or DROP FUNCTION; creating takes EXECUTE from PUBLIC."""

    noun = "function"

    @classmethod
    def create_function(
        cls,
        operations: Operations,
        name: str,
        arguments: str = "",
        *,
        returns: str = "void",
        body: str = "",
        language: str = "sql",
        volatility: str = "volatile",
        parallel: str = "unsafe",
        strict: bool = False,
        security_definer: bool = False,
        leakproof: bool = False,
        settings: str | Sequence[str] = (),
        comment: str | None = None,
        schema: str = "public",
        replace: bool = False,
    ) -> None:
        """Create a function that PUBLIC may not execute; grant it with ``op.grant``.

        ``replace`` gives one of the same signature another body and keeps its grants.
        """
        values = {k: v for k, v in locals().items() if k not in ("cls", "operations", "replace")}
        values["settings"] = (settings,) if isinstance(settings, str) else tuple(settings)
        state = FunctionState(**values)
        operations.invoke(cls(state if replace else None, state))

    @classmethod
    def drop_function(
        cls, operations: Operations, name: str, arguments: str = "", *, schema: str = "public"
    ) -> None:
        """Drop a function; fails while something still uses it."""
        operations.invoke(cls(FunctionState(name, arguments, schema=schema), None))

    @property
    def verb(self) -> str:
        """Replacing is written as creating with ``replace=True``."""
        return "drop_function" if self.after is None else "create_function"

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """Dropping names the signature, everything else comes as keywords."""
        state: FunctionState = self.state
        positional, keywords = super().arguments()
        arguments = keywords.pop("arguments", "")
        if self.after is None:
            arguments = state.signature
        elif self.before is not None:
            keywords["replace"] = True
        return positional + ([arguments] if arguments else []), keywords

    def statements(self) -> list[str]:
        """CREATE takes EXECUTE from PUBLIC at once: nobody may call what was not granted."""
        state: FunctionState = self.state
        if self.after is None:
            return [f"DROP FUNCTION {state.qualified}"]
        found = [create_function(state, replace=self.before is not None)]
        if self.before is None:
            found.append(f"REVOKE ALL ON FUNCTION {state.qualified} FROM PUBLIC")
        if state.comment is not None or self.before is not None:
            found.append(sql.comment_on(f"FUNCTION {state.qualified}", state.comment))
        if not state.standard_body and state.language == "sql":
            # A text body may name tables that a later operation creates.
            check = "SET LOCAL check_function_bodies"
            found = [f"{check} = off", *found, f"{check} TO DEFAULT"]
        return found


def create_function(state: FunctionState, *, replace: bool = False) -> str:
    """CREATE [OR REPLACE] FUNCTION for ``state``."""
    name = sql.qualified(state.schema, state.name)
    lines = [
        f"CREATE {'OR REPLACE ' if replace else ''}FUNCTION {name}({state.arguments})",
        f"RETURNS {state.returns}",
        (
            f"LANGUAGE {sql.ident(state.language)} {state.volatility.upper()}"
            f" PARALLEL {state.parallel.upper()}"
            f"{' STRICT' if state.strict else ''}"
            f"{' SECURITY DEFINER' if state.security_definer else ''}"
            f"{' LEAKPROOF' if state.leakproof else ''}"
        ),
    ]
    for setting in state.settings:
        key, _, value = setting.partition("=")
        lines.append(f"SET {key} TO {sql.setting_value(key, value)}")
    body = state.body if state.standard_body else f"AS {sql.dollar_quoted(state.body)}"
    return "\n".join([*lines, body])


# --- reflect ---------------------------------------------------------------------------------

_QUERY = sa.text("""
SELECT n.nspname AS schema, p.proname AS name,
       pg_get_function_arguments(p.oid) AS arguments,
       pg_get_function_result(p.oid) AS returns, l.lanname AS language,
       CASE p.provolatile WHEN 'v' THEN 'volatile' WHEN 's' THEN 'stable' ELSE 'immutable' END
           AS volatility,
       CASE p.proparallel WHEN 'u' THEN 'unsafe' WHEN 'r' THEN 'restricted' ELSE 'safe' END
           AS parallel,
       p.proisstrict AS strict, p.prosecdef AS security_definer, p.proleakproof AS leakproof,
       coalesce(p.proconfig, '{}') AS settings,
       coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) AS body,
       obj_description(p.oid, 'pg_proc') AS comment
  FROM pg_proc p
  JOIN pg_namespace n ON n.oid = p.pronamespace
  JOIN pg_language l ON l.oid = p.prolang
 WHERE n.nspname = ANY (CAST(:schemas AS name[])) AND p.prokind = 'f'
   AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass
                      AND e.objid = p.oid AND e.deptype = 'e')
""")


def reflect(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """Every function of ``schemas`` that belongs to no extension."""
    rows = connection.execute(_QUERY, {"schemas": list(schemas)}).mappings()
    return [FunctionState(**{**row, "settings": tuple(sorted(row["settings"]))}) for row in rows]


# --- compare ---------------------------------------------------------------------------------


def replaceable(before: FunctionState, after: FunctionState) -> bool:
    """True where CREATE OR REPLACE does: same names and types in, same type out."""
    return (before.arguments, before.returns) == (after.arguments, after.returns)
