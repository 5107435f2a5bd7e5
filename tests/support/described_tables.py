"""Tables as the catalog describes them: what a row has to satisfy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    not_null: bool
    has_default: bool
    computed: bool
    """Whether the server alone gives it a value."""


@dataclass(frozen=True)
class Reference:
    """A foreign key; the target is named as a table is."""

    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]


@dataclass(frozen=True)
class Described:
    """A table as the catalog has it. ``name`` is qualified and quoted."""

    name: str
    columns: tuple[Column, ...]
    rules: Mapping[str, tuple[tuple[str, ...], str]]
    """CHECKs and unique indexes by name: their columns, their definition."""
    references: Mapping[str, Reference]
    key: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]


_TABLES = sa.text("""
SELECT format('%I.%I', n.nspname, c.relname) AS name,
       (SELECT jsonb_agg(jsonb_build_array(attname, format_type(atttypid, NULL), attnotnull,
                                           atthasdef OR attidentity <> '',
                                           attgenerated <> '' OR attidentity = 'a')
                         ORDER BY attnum)
          FROM pg_attribute a
         WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) AS columns,
       (SELECT jsonb_object_agg(conname, jsonb_build_array(
                 (SELECT jsonb_agg(attname) FROM pg_attribute
                   WHERE attrelid = c.oid AND attnum = ANY (conkey)), pg_get_constraintdef(k.oid)))
          FROM pg_constraint k WHERE conrelid = c.oid AND contype IN ('c', 'x')) AS checks,
       (SELECT jsonb_object_agg(i.indexrelid::regclass::text, jsonb_build_array(
                 (SELECT jsonb_agg(DISTINCT attname) FROM pg_attribute
                   WHERE attrelid = c.oid AND pg_get_indexdef(i.indexrelid) ~ ('\\m' || attname
                         || '\\M')), indisprimary,
                 (SELECT jsonb_agg(attname ORDER BY p) FROM pg_attribute
                    JOIN unnest(i.indkey) WITH ORDINALITY k (n, p) ON n = attnum
                   WHERE attrelid = c.oid)))
          FROM pg_index i WHERE indrelid = c.oid AND indisunique) AS uniques,
       (SELECT jsonb_object_agg(conname, jsonb_build_array(
                 (SELECT jsonb_agg(attname ORDER BY p) FROM pg_attribute
                    JOIN unnest(conkey) WITH ORDINALITY u (n, p) ON n = attnum
                   WHERE attrelid = c.oid),
                 (SELECT format('%I.%I', m.nspname, f.relname) FROM pg_class f
                    JOIN pg_namespace m ON m.oid = f.relnamespace WHERE f.oid = confrelid),
                 (SELECT jsonb_agg(attname ORDER BY p) FROM pg_attribute
                    JOIN unnest(confkey) WITH ORDINALITY u (n, p) ON n = attnum
                   WHERE attrelid = confrelid)))
          FROM pg_constraint k WHERE conrelid = c.oid AND contype = 'f') AS references
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname = ANY (:schemas)
 ORDER BY 1
""")


def described(connection: Connection, schemas: Sequence[str]) -> list[Described]:
    """The tables of the schemas, each after those that it refers to, as far as that is possible."""
    found = {}
    for row in connection.execute(_TABLES, {"schemas": list(schemas)}).mappings():
        rules = {
            name: (tuple(on or ()), text) for name, (on, text) in (row["checks"] or {}).items()
        }
        key: tuple[str, ...] = ()
        for name, (on, primary, ordered) in (row["uniques"] or {}).items():
            rules[name.rpartition(".")[2].strip('"')] = (tuple(on or ()), "")
            key = tuple(ordered) if primary else key
        found[row["name"]] = Described(
            row["name"],
            tuple(Column(*one) for one in row["columns"] or ()),
            rules,
            {
                name: Reference(tuple(on), target, tuple(other))
                for name, (on, target, other) in (row["references"] or {}).items()
            },
            key,
        )
    ordered: dict[str, Described] = {}

    def visit(name: str, above: tuple[str, ...] = ()) -> None:
        if name in found and name not in ordered and name not in above:
            for reference in found[name].references.values():
                visit(reference.target, (*above, name))
            ordered.setdefault(name, found[name])

    for name in found:
        visit(name)
    return list(ordered.values())


def named_references(table: Described, others: Sequence[Described]) -> Iterator[Reference]:
    """What columns refer to by their names alone, as those of time series do: ``device_id``."""
    for column in table.names if "tenant_id" in table.names else ():
        thing = column.removesuffix("_id")
        for other in others:
            name = other.name.partition(".")[2]
            if column != "tenant_id" and other is not table and thing != column:
                if other.key == ("tenant_id", column) and other.references.keys():
                    yield Reference((column,), other.name, (column,))
                elif other.key == ("tenant_id", "id") and name == f"{thing}s":
                    yield Reference((column,), other.name, ("id",))
