"""The arguments of functions, as models and the server spell them."""

from __future__ import annotations

import re

from ddl import sql


def without_defaults(arguments: str) -> str:
    """The arguments as DROP FUNCTION and GRANT take them."""
    return ", ".join(_without_default(argument) for argument in sql.split_list(arguments))


def types(arguments: str) -> str:
    """The types of arguments without defaults, the same for a model's spelling and the server's."""
    return ", ".join(filter(None, map(_type, sql.split_list(arguments))))


def _without_default(argument: str) -> str:
    return re.split(r"\sdefault\s|:?=", argument, maxsplit=1, flags=re.I)[0].strip()


_ALIASES = {
    "int": "integer",
    "int2": "smallint",
    "int4": "integer",
    "int8": "bigint",
    "float": "double precision",
    "float4": "real",
    "float8": "double precision",
    "bool": "boolean",
    "char": "character",
    "varchar": "character varying",
    "char varying": "character varying",
    "varbit": "bit varying",
    "dec": "numeric",
    "decimal": "numeric",
    "time": "time without time zone",
    "timetz": "time with time zone",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
}
_OF_SEVERAL_WORDS = re.compile(
    r"(double precision|char(acter)? varying|bit varying|time(stamp)? with(out)? time zone"
    r"|interval( (year|month|day|hour|minute|second|to))+)(\[\])*"
)


def _type(argument: str) -> str:
    """The type of an argument without its name, as the server spells it; empty for OUT."""
    mode, _, rest = argument.partition(" ")
    if mode.lower() == "out":
        return ""
    if mode.lower() in ("in", "inout", "variadic") and rest:
        argument = rest
    text = re.sub(r"\s*\([^)]*\)", "", argument)
    text = re.sub(r"\s*\[\d*\]| array\b", "[]", text, flags=re.I)
    if not _OF_SEVERAL_WORDS.fullmatch(text.lower()):
        text = re.sub(rf"^(?:{sql.IDENT}) (?=\S)", "", text)
    found = ".".join(map(_folded, re.findall(r'"[^"]+"|[^".]+', text)))
    found = found.removeprefix("pg_catalog.").removeprefix(f"{sql.DEFAULT_SCHEMA}.")
    name, brackets, more = found.partition("[]")
    return (
        _ALIASES.get(name, "interval" if name.startswith("interval ") else name) + brackets + more
    )


def _folded(part: str) -> str:
    """A part of a name in quotes only where it needs them."""
    return sql.ident(part[1:-1]) if part.startswith('"') else part.lower()
