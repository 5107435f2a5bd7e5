"""Functions: SQL-standard bodies (bound when created) and text bodies (plpgsql)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import Connection, MetaData, Table
from sqlalchemy.exc import ArgumentError

from ddl import arguments, privileges, sql
from ddl.base import Declaration, Identity, Key, Operation, State, explicit, optional
from ddl.changes import Changes
from ddl.comment_operation import CommentOperation, only_comment_differs
from ddl.kind import Kind
from ddl.kinds.grant import GrantState
from ddl.plan import Phase, Plan
from ddl.revisable import revisable

# --- declare ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class FunctionState(State):
    """One function; ``arguments`` and ``returns`` as in CREATE FUNCTION."""

    kind: ClassVar[str] = "function"
    identified_by: ClassVar[tuple[str, ...]] = ("schema", "name", "arguments")
    positional: ClassVar[tuple[str, ...]] = ("name", "arguments")
    grantable: ClassVar[bool] = True

    name: str = ""
    arguments: str = optional("")
    returns: str = explicit("void")
    language: str = explicit("sql")
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
        """(schema, name, types), the same for a model's spelling and the server's."""
        return (self.schema, self.name, arguments.types(self.signature))

    @property
    def relation(self) -> Key:
        """The function itself, as its grants name it; they are dropped with it."""
        return (self.schema, self.granted_as.replace('"', ""))

    @property
    def granted_as(self) -> str:
        """``function uuid7()``."""
        return f"function {sql.ident(self.name)}({self.signature})"

    @property
    def signature(self) -> str:
        """The arguments without defaults, as DROP FUNCTION and GRANT take them."""
        return arguments.without_defaults(self.arguments)

    @property
    def noun(self) -> str:
        """By its signature."""
        return f"FUNCTION {self.qualified}"

    @property
    def qualified(self) -> str:
        """The name with its signature, for every statement but CREATE.

        Always with the schema: without it ``numeric(integer)`` would be a function of PostgreSQL.
        """
        return f"{sql.ident(self.schema)}.{sql.ident(self.name)}({self.signature})"

    @property
    def standard_body(self) -> bool:
        """True for a body that the server parses, and binds to its tables, at creation."""
        start = re.match(r"return\b|begin\s+atomic\b", self.body, re.I)
        return self.language == "sql" and start is not None

    def title(self) -> str:
        """``function public.uuid7()``."""
        return f"function {self.schema}.{self.name}({self.signature})"

    def details(self) -> Mapping[str, Any]:
        """All but the name: the arguments have defaults that no signature shows."""
        return {**super().details(), "arguments": self.arguments}

    def text(self) -> str:
        """Types and body."""
        return f"{self.arguments} {self.returns} {self.body}"


class Function(Declaration):
    """A function, in ``__table_args__`` of the table it serves or alone with ``metadata=``.

    Functions of one name are told apart by the types of their arguments.

    Args:
        arguments: as in CREATE FUNCTION: ``"device_id uuid, note text DEFAULT ''"``.
        body: SQL-standard (``RETURN …`` or ``BEGIN ATOMIC … END``) or the text of the body.
        alternative_body: another body, of the same language, that is no difference: a command
            chooses between the two, and revisions leave the choice alone. As the server spells it.
        settings: configuration while it runs; a text body must fix ``search_path``.
        security_definer: run with the rights of the owner, not of the role that calls it.
        reason: why it may run as its owner; ``make docs`` shows it.
        grants: role to ``"execute"``; PUBLIC never has it.

    Raises:
        sqlalchemy.exc.ArgumentError: a text body without a fixed search_path, or
            ``security_definer`` without a ``reason``.
    """

    def __init__(
        self,
        name: str,
        arguments: str = "",
        *,
        returns: str,
        body: str,
        alternative_body: str | None = None,
        language: str = "sql",
        volatility: str = "volatile",
        parallel: str = "unsafe",
        strict: bool = False,
        security_definer: bool = False,
        reason: str | None = None,
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
                f"function {name} has a text body and no fixed search_path: a caller "
                f"could put other objects before the ones it names; write "
                f'settings={{"search_path": "pg_catalog, pg_temp"}} and name tables as public.x'
            )
        if security_definer and not (reason or "").strip():
            raise ArgumentError(
                f"function {self.state.schema}.{name} would run as its owner, past the grants and "
                "the row-level security of the role that calls it: leave out "
                'security_definer=True, or say why with reason="…"'
            )
        self.reason = reason
        self.grants = GrantState(
            on=self.state.granted_as,
            privileges=privileges.parse(grants or {}),
            schema=self.state.schema,
        )
        self._register(metadata, self.state, self.grants)
        if alternative_body is not None:
            if metadata is None:
                raise ArgumentError(
                    f"function {name} has an alternative_body, which needs metadata=…: declare it "
                    "outside of __table_args__"
                )
            metadata.info.setdefault(_ALTERNATIVES, {})[self.state.declared_as] = alternative_body

    def states(self, table: Table) -> Iterator[State]:
        """The function and its grants."""
        yield self.state
        yield self.grants


_ALTERNATIVES = "alternative bodies"


def alternative(metadata: MetaData, state: FunctionState) -> FunctionState | None:
    """The function with its ``alternative_body``; None where the models declare none."""
    body = metadata.info.get(_ALTERNATIVES, {}).get(state.declared_as)
    return None if body is None else replace(state, body=body)


# --- operate ---------------------------------------------------------------------------------


@revisable(FunctionState, alter="replace_function")
class FunctionOperation(Operation[FunctionState]):
    """CREATE, CREATE OR REPLACE or DROP FUNCTION; creating revokes EXECUTE from PUBLIC."""

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """An empty list of arguments is left out; a drop names their types only."""
        positional, keywords = super().arguments()
        if self.after is None:
            positional = [positional[0], self.state.signature]
        return [value for value in positional if value != ""], keywords

    def create(self, state: FunctionState, edition: str) -> list[str]:
        """CREATE, and at once REVOKE from PUBLIC: only grants give EXECUTE."""
        found = [create_function(state), f"REVOKE ALL ON FUNCTION {state.qualified} FROM PUBLIC"]
        if state.comment is not None:
            found.append(sql.comment_on(state.noun, state.comment))
        return _unchecked(state, found)

    def alter(self, before: FunctionState, after: FunctionState, edition: str) -> list[str]:
        """Another body under the same signature; the grants stay."""
        comment = sql.comment_on(after.noun, after.comment)
        return _unchecked(after, [create_function(after, replace=True), comment])

    def drop(self, state: FunctionState, edition: str) -> list[str]:
        """One statement; fails while something still uses it."""
        return [f"DROP FUNCTION {state.qualified}"]


def _unchecked(state: FunctionState, statements: list[str]) -> list[str]:
    """A text body may name tables that a later operation creates."""
    if state.standard_body or state.language != "sql":
        return statements
    check = "SET LOCAL check_function_bodies"
    return [f"{check} = off", *statements, f"{check} = on"]


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
                      AND e.objid = p.oid AND e.deptype IN ('e', 'i'))
""")


def read(connection: Connection, schemas: Sequence[str]) -> list[State]:
    """Every function of ``schemas`` that belongs to no extension."""
    rows = connection.execute(_QUERY, {"schemas": list(schemas)}).mappings()
    return [FunctionState(**{**row, "settings": tuple(sorted(row["settings"]))}) for row in rows]


# --- compare ---------------------------------------------------------------------------------


def settle(metadata: MetaData, target: FunctionState, current: FunctionState) -> FunctionState:
    """Keeps the alternative body where a command has chosen it."""
    other = alternative(metadata, target)
    return other if other is not None and other.body == current.body else target


def replaceable(before: FunctionState, after: FunctionState) -> bool:
    """True where CREATE OR REPLACE can: neither arguments nor result change."""
    return (before.arguments, before.returns) == (after.arguments, after.returns)


def seeds(changes: Changes, kind: Kind[Any]) -> Iterator[Identity]:
    """What cannot be replaced, and what is dropped while another of its name is created.

    With another signature it is another function; calls could still reach the old one.
    """
    before, after = changes.sides(FunctionState)
    names = {key[:2] for key in after}
    gone = [key for key in sorted(before.keys() - after.keys()) if key[:2] in names]
    for key in [*changes.not_alterable(kind), *gone]:
        yield (kind.name, key)


def compare(changes: Changes, plan: Plan, kind: Kind[Any]) -> None:
    """Functions are created before the tables or after those they read, and dropped last."""
    before, after = changes.sides(FunctionState)
    again = {key for name, key in changes.recreated if name == kind.name}
    dropped = sorted((before.keys() - after.keys()) | again, reverse=True)
    reading = _reading_dropped(changes, [before[key] for key in dropped])
    for key in dropped:
        identity = (kind.name, key)
        early = identity in changes.recreated | changes.in_the_way or key[1] in reading
        phase = Phase.DROP_FUNCTIONS_IN_THE_WAY if early else Phase.DROP_FUNCTIONS
        plan.add(phase, FunctionOperation(before[key], None), removes=[identity])
    needed = changes.needed_by_tables()
    altered = set(changes.changed(FunctionState)) - again
    for key in sorted((after.keys() - before.keys()) | again | altered):
        state = changes.spelled(after[key])
        beside = None if (kind.name, key) in needed else changes.beside(state)
        late = key[1] in changes.late or beside is not None
        plan.add(
            Phase.FUNCTIONS_OVER_TABLES if late else Phase.FUNCTIONS,
            _operation(before[key], after[key], state)
            if key in altered
            else FunctionOperation(None, state),
            makes=[(kind.name, key)],
            beside=beside,
        )


def _operation(
    before: FunctionState, after: FunctionState, spelled: FunctionState
) -> Operation[Any]:
    """What makes the one of the other, which a revision has in the models' spelling."""
    kind = CommentOperation if only_comment_differs(before, after) else FunctionOperation
    return kind(before, spelled)


def _reading_dropped(changes: Changes, functions: list[FunctionState]) -> set[str]:
    """Names of functions that can only be created again after a table or view."""
    # The order of declarations knows functions, and functions know this module.
    from ddl.mention import late_functions

    gone = {
        key
        for kind in changes.kinds
        if kind.relation and kind.state is not FunctionState
        for key in changes.current.of(kind.state).keys() - changes.target.of(kind.state).keys()
    }
    return late_functions(functions, gone, "")


KIND = Kind(
    FunctionState,
    FunctionOperation,
    read,
    create=Phase.FUNCTIONS,
    drop=Phase.DROP_FUNCTIONS,
    alterable=replaceable,
    relation=True,
    reads=True,
    expressions=("arguments", "body"),
    dependent_objects="""
    SELECT 'pg_proc'::regclass, p.oid, 'function',
           -- Without casts this would be an array of type name, cut to 63 bytes.
           ARRAY[n.nspname::text, p.proname::text, pg_get_function_identity_arguments(p.oid)]
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE n.nspname = ANY (CAST(:schemas AS name[]))""",
    compare=compare,
    seeds=seeds,
    settle=settle,
    rename="ALTER FUNCTION {named} RENAME TO {new}",
)
