"""Privileges as GRANT lists them: parsed, written, and as statements."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy.exc import ArgumentError

from ddl import sql

_OPTION = " with grant option"


class Privilege(NamedTuple):
    """One privilege of one role; ``column`` is empty for the whole object."""

    role: str
    name: str
    column: str = ""
    grantable: bool = False


def parse(grants: Mapping[str, str]) -> frozenset[Privilege]:
    """Read ``{"fleet_app, fleet_auth": "select, update (name, email)"}``.

    Raises:
        sqlalchemy.exc.ArgumentError: text that is no list of privileges, or ALL.
    """
    found = set()
    for roles, text in grants.items():
        for part in sql.split_list(text):
            match = re.fullmatch(rf"(\w+)(?: ?\((.*)\))?({_OPTION})?", part, re.I)
            # ALL means more on each new version of the server.
            if match is None or match[1].lower() == "all":
                raise ArgumentError(
                    f'grant to {roles}: expected "select, update (name)", found {part!r}'
                )
            for column in sql.split_list(match[2] or "") or [""]:
                name = sql.unquoted(column) if column else ""
                for role in _roles(roles):
                    found.add(Privilege(role, match[1].lower(), name, bool(match[3])))
    return frozenset(found)


def _roles(text: str) -> list[str]:
    """The names in ``a, b``; a name that is not a word stands alone, one with a comma in quotes."""
    if text.startswith('"') and text.endswith('"') and "," in text:
        return [sql.unquoted(text)]
    return text.split(", ") if re.fullmatch(r"\w+(, \w+)*", text) else [text]


def by_role(privileges: Iterable[Privilege]) -> dict[str, str]:
    """The reverse of :func:`parse`, role by role, with the columns of a privilege gathered."""
    gathered: dict[str, dict[tuple[str, bool, bool], list[str]]] = {}
    for role, name, column, grantable in sorted(privileges):
        parts = gathered.setdefault(role, {})
        parts.setdefault((name, bool(column), grantable), []).append(sql.ident(column))
    return {
        role: ", ".join(
            name
            + (f" ({', '.join(columns)})" if of_columns else "")
            + (_OPTION if grantable else "")
            for (name, of_columns, grantable), columns in parts.items()
        )
        for role, parts in gathered.items()
    }


def spell(privileges: Iterable[Privilege]) -> dict[str, str]:
    """The reverse of :func:`parse`, sorted; roles that hold the same stand together."""
    together: dict[str, list[str]] = {}
    for role, text in by_role(privileges).items():
        single = text if re.fullmatch(r"\w+", role) else f"{text}\0{role}"
        together.setdefault(single, []).append(role)
    return {_spelled_roles(roles): text.partition("\0")[0] for text, roles in together.items()}


def _spelled_roles(roles: list[str]) -> str:
    text = ", ".join(roles)
    return sql.ident(text) if len(roles) == 1 and "," in text else text


def statements(
    on: str, schema: str, privileges: Iterable[Privilege], *, revoke: bool = False
) -> list[str]:
    """One GRANT or REVOKE per role and grant option, on an object as GRANT names it."""
    target = _target(on, schema)
    found = []
    for role, text in by_role(privileges).items():
        parts = sql.split_list(text)
        for grantable in (False, True):
            listed = [
                _upper(part.removesuffix(_OPTION))
                for part in parts
                if part.endswith(_OPTION) is grantable
            ]
            if not listed:
                continue
            what = ", ".join(listed)
            if revoke:
                # What the role granted by its option must be revoked, too.
                cascade = " CASCADE" if grantable else ""
                found.append(f"REVOKE {what} ON {target} FROM {sql.role(role)}{cascade}")
            else:
                option = " WITH GRANT OPTION" if grantable else ""
                found.append(f"GRANT {what} ON {target} TO {sql.role(role)}{option}")
    return found


def _upper(privilege: str) -> str:
    name, _, columns = privilege.partition(" (")
    return f"{name.upper()} ({columns}" if columns else name.upper()


NOUNS = ("function", "sequence", "schema")


def _target(on: str, schema: str) -> str:
    noun, _, rest = on.partition(" ")
    if noun not in NOUNS or not rest:
        return f"TABLE {sql.qualified(schema, on)}"
    if noun == "schema":
        return f"SCHEMA {sql.ident(rest)}"
    if noun == "sequence":
        return f"SEQUENCE {sql.qualified(schema, rest)}"
    # Always with the schema: without it numeric(integer) would be a function of PostgreSQL.
    return f"FUNCTION {sql.ident(schema)}.{rest}"
