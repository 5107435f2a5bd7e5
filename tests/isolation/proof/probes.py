"""The statements by which each operation is tried on a relation, as one role."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ddl.sql import ident, literal
from tests.isolation.proof.page import Page
from tests.isolation.proof.relations import Relation
from tests.isolation.proof.tenants import ONE, TWO, Filled, Rows, condition
from tests.support.context import KEY, SIGNED
from tests.support.generated_rows import Owner, Row, insertion

MODES = (
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
STRENGTHS = ("UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE")
READ = "read"
"""The statement returns which tenants' rows it saw."""


@dataclass(frozen=True)
class Probe:
    """One statement; ``reaches`` is whose row it is after: READ, a tenant's mark, or "" for all."""

    relation: str
    operation: str
    reaches: str
    statement: str


class Prober:
    """Makes the probes of a relation for one role."""

    def __init__(self, page: Page, filled: Filled, relation: Relation, role: str) -> None:
        self.page, self.filled, self.relation, self.role = page, filled, relation, role
        every = list(relation.columns)
        self.selected = relation.can(page, role, "S") or every
        self.inserted = relation.can(page, role, "I")
        self.updated = [one for one in relation.can(page, role, "U") if one in relation.written]

    def probes(self) -> Iterator[Probe]:
        """All that one statement in a block of PL/pgSQL can try."""
        if self.relation.kind == "S":
            yield from self._sequence()
        elif self.relation.kind == "t":
            yield self._probe("SELECT", "", f"SELECT FROM {self.relation.name} LIMIT 1")
            yield self._probe("DELETE ALL", "", f"DELETE FROM {self.relation.name}")
        elif self.relation.of_server:
            yield self.reading()
            yield from self._of_server()
        else:
            yield self.reading()
            yield from self.writing()
            yield from self._others()

    def reading(self) -> Probe:
        return self._probe("SELECT", READ, self._read(self.relation.name))

    def _read(self, source: str) -> str:
        if not self.relation.held(self.page, self.role) and not self.relation.of_server:
            # A grant on any one column is enough for that.
            return f"SELECT CASE WHEN count(*) > 0 THEN 'rest' END FROM {source}"
        text = ", ".join(map(ident, self.selected)) or "''"
        whose = [f"WHEN {self._mentions(TWO, text)} THEN 'two'"]
        if not self.relation.of_server:
            whose = [
                f"WHEN {self.condition(TWO)} OR {self._mentions(TWO, text)} THEN 'two'",
                f"WHEN {self.condition(ONE)} OR {self._mentions(ONE, text)} THEN 'one'",
            ]
        return (
            f"SELECT string_agg(DISTINCT CASE {' '.join(whose)} ELSE 'rest' END, ',')"
            f" FROM {source} r"
        )

    @staticmethod
    def _mentions(owner: Owner, text: str) -> str:
        # Spelled so that a statement, in pg_cursors, does not match itself.
        marks = "|".join(f"{one[:-1]}[{one[-1]}]" for one in (owner.mark, str(owner.tenant)))
        return f"concat_ws(' ', {text}, '') ~ '{marks}'"

    def condition(self, owner: Owner) -> str:
        """What is true of the rows of one tenant, by columns that the role may read."""
        if "tenant_id" in self.selected:
            return f"tenant_id = '{owner.tenant}'"
        key = self.filled.keys.get(self.relation.name, ())
        there = self._rows(owner)
        if key and there is not None and set(key) <= set(self.selected):
            return condition(key, there.there)
        return self._mentions(owner, ", ".join(map(ident, self.selected)) or "''")

    def _rows(self, owner: Owner) -> Rows | None:
        """Of the table, or of the one that a view or internal table is about."""
        base = self.relation.listed.rpartition(".")[2].removesuffix("_to_store")
        for table in (self.relation.name, f"timeseries.{base}", f"public.{base}"):
            if (found := self.filled.rows.get(table)) is not None:
                return found[owner.tenant]
        return None

    def _row(self, owner: Owner, *, fresh: bool) -> Row:
        """As much of a row as the role may insert; all, where it may nothing."""
        rows = self._rows(owner)
        if rows is None or self.relation.compressed:
            return (
                {"tenant_id": f"'{owner.tenant}'"} if "tenant_id" in self.relation.written else {}
            )
        row = rows.fresh if fresh else rows.there
        allowed = self.inserted or self.relation.columns
        return {
            name: value
            for name, value in row.items()
            if name in allowed and name in self.relation.written
        }

    def fresh(self, owner: Owner) -> Row:
        """The row that the role would insert."""
        return self._row(owner, fresh=True)

    def writing(self) -> Iterator[Probe]:
        """What changes rows of a tenant."""
        name = self.relation.name
        shown = ident(self.selected[0]) if self.selected else "1"
        for owner in (ONE, TWO):
            where = f"WHERE {self.condition(owner)}"
            fresh = insertion(name, self._row(owner, fresh=True))
            yield self._probe("INSERT", owner.mark, fresh)
            yield self._probe("INSERT RETURNING", owner.mark, f"{fresh} RETURNING {shown}")
            yield self._probe(
                "ON CONFLICT DO NOTHING", owner.mark, f"{fresh} ON CONFLICT DO NOTHING"
            )
            if upsert := self._upsert(owner):
                yield self._probe("ON CONFLICT DO UPDATE", owner.mark, upsert)
            merge = f"MERGE INTO {name} USING (SELECT) s ON {self.condition(owner)} WHEN MATCHED"
            if change := self._change():
                update = f"UPDATE {name} SET {change} {where}"
                yield self._probe("UPDATE", owner.mark, update)
                yield self._probe("UPDATE RETURNING", owner.mark, f"{update} RETURNING {shown}")
                merged = f"{merge} THEN UPDATE SET {change}"
                yield self._probe("MERGE UPDATE", owner.mark, merged)
            yield self._probe("DELETE", owner.mark, f"DELETE FROM {name} {where}")
            yield self._probe(
                "DELETE RETURNING", owner.mark, f"DELETE FROM {name} {where} RETURNING {shown}"
            )
            yield self._probe("MERGE DELETE", owner.mark, f"{merge} THEN DELETE")
            yield self._probe("MERGE INSERT", owner.mark, self._merged(owner))
            for strength in STRENGTHS:
                locked = f"SELECT FROM {name} {where} FOR {strength} NOWAIT"
                yield self._probe(f"FOR {strength}", owner.mark, locked)
        if "tenant_id" in self.relation.written:
            moved = f"UPDATE {name} SET tenant_id = '{TWO.tenant}' WHERE {self.condition(ONE)}"
            yield self._probe("MOVE TO ANOTHER TENANT", TWO.mark, moved)

    def _change(self) -> str:
        """An assignment that changes nothing, if the role may read what it changes."""
        key = {"tenant_id", *self.filled.keys.get(self.relation.name, ())}
        plain = [one for one in self.updated if one not in key and one in self.selected]
        column = next(iter([*plain, *self.updated, *self.relation.written]), None)
        if column is None:
            return ""
        return f"{ident(column)} = {ident(column) if column in self.selected else 'DEFAULT'}"

    def _upsert(self, owner: Owner) -> str:
        key = self.filled.keys.get(self.relation.name, ())
        if not key:
            return ""
        row = self._row(owner, fresh=False)
        conflict = f"ON CONFLICT ({', '.join(map(ident, key))})"
        if not self.relation.held(self.page, self.role).get("S"):
            conflict = "ON CONFLICT ON CONSTRAINT " + ident(
                "pk_" + self.relation.name.partition(".")[2]
            )
        return f"{insertion(self.relation.name, row)} {conflict} DO UPDATE SET {self._excluded()}"

    def _excluded(self) -> str:
        change = self._change()
        column, _, value = change.partition(" = ")
        return f"{column} = {'DEFAULT' if value == 'DEFAULT' else f'excluded.{column}'}"

    def _merged(self, owner: Owner) -> str:
        row = self._row(owner, fresh=True)
        given = f"({', '.join(map(ident, row))}) VALUES ({', '.join(row.values())})"
        return (
            f"MERGE INTO {self.relation.name} USING (SELECT) s ON false WHEN NOT MATCHED THEN"
            f" INSERT {given if row else 'DEFAULT VALUES'}"
        )

    def _others(self) -> Iterator[Probe]:
        """What is about the whole relation, and what needs no right to read."""
        name = self.relation.name
        yield self._probe("EXPLAIN", "", f"EXPLAIN {self._read(name)}")
        for column in sorted(self.relation.written - set(self.updated)):
            if self.relation.held(self.page, self.role) or column == min(self.relation.written):
                change = f"UPDATE {name} SET {ident(column)} = DEFAULT"
                yield self._probe(f"UPDATE of {column}", "", change)
        for column in self.relation.columns if not self.relation.of_server else ():
            if self.relation.held(self.page, self.role).get("S") and column not in self.selected:
                yield self._probe(f"SELECT of {column}", "", f"SELECT {ident(column)} FROM {name}")
        if self.inserted:
            for column in sorted(self.relation.written - set(self.inserted)):
                statement = f"INSERT INTO {name} ({ident(column)}) VALUES (DEFAULT)"
                yield self._probe(f"INSERT of {column}", "", statement)
        if self.updated:
            yield self._probe("UPDATE ALL", "", f"UPDATE {name} SET {self._change()}")
        yield self._probe("DELETE ALL", "", f"DELETE FROM {name}")
        yield self._probe("TRUNCATE", "", f"TRUNCATE {name}")
        noun = {"v": "VIEW", "m": "MATERIALIZED VIEW"}.get(self.relation.kind, "TABLE")
        yield self._probe("ALTER", "", f"COMMENT ON {noun} {name} IS 'x'")
        for mode in MODES:
            yield self._probe(f"LOCK {mode}", "", f"LOCK TABLE {name} IN {mode} MODE NOWAIT")

    def _of_server(self) -> Iterator[Probe]:
        """No role of ours has a privilege there, so one statement of each kind will do."""
        name = self.relation.name
        column = ident(self.relation.columns[-1]) if self.relation.columns else ""
        yield self._probe("INSERT", "", f"INSERT INTO {name} DEFAULT VALUES")
        if self.relation.columns:
            yield self._probe("UPDATE ALL", "", f"UPDATE {name} SET {column} = DEFAULT")
        yield self._probe("DELETE ALL", "", f"DELETE FROM {name}")
        yield self._probe("TRUNCATE", "", f"TRUNCATE {name}")
        yield self._probe("FOR KEY SHARE", "", f"SELECT FROM {name} FOR KEY SHARE NOWAIT")
        for mode in (MODES[0], MODES[2], MODES[-1]):
            yield self._probe(f"LOCK {mode}", "", f"LOCK TABLE {name} IN {mode} MODE NOWAIT")

    def _sequence(self) -> Iterator[Probe]:
        name = self.relation.name
        for operation, statement in _SEQUENCE.items():
            reads = READ if "THEN" in statement else ""
            yield self._probe(operation, reads, statement.format(name=name, text=literal(name)))

    def _probe(self, operation: str, reaches: str, statement: str) -> Probe:
        return Probe(self.relation.name, operation, reaches, statement)


_SEQUENCE: Mapping[str, str] = {
    "SELECT": "SELECT CASE WHEN last_value > 0 THEN 'rest' END FROM {name}",
    "nextval": "SELECT nextval({text})",
    "currval": "SELECT currval({text})",
    "setval": "SELECT setval({text}, 1)",
    "UPDATE ALL": "UPDATE {name} SET last_value = 1",
    "ALTER": "ALTER SEQUENCE {name} RESTART",
    "pg_sequence_last_value": "SELECT CASE WHEN pg_sequence_last_value({text}) > 0 THEN 'rest' END",
}


def bound(owner: Owner) -> str:
    """Bind the transaction to a tenant, in a plain database and in a signed one."""
    tenant = owner.tenant
    chosen = f"SET LOCAL app.tenant_id = '{tenant}'"
    return f"{chosen}; SET LOCAL app.tenant_token = '{KEY.token(tenant)}'" if SIGNED else chosen


CONTEXTS: Mapping[str, Callable[[], str]] = {
    "own": lambda: bound(ONE),
    "none": lambda: "SELECT",
    "empty": lambda: "SET LOCAL app.tenant_id = ''",
    "unknown": lambda: f"SET LOCAL app.tenant_id = '{uuid.UUID(int=0xDEAD)}'",
    "malformed": lambda: "SET LOCAL app.tenant_id = 'zebra or 1=1'",
    "left over": lambda: f"BEGIN; {bound(TWO)}; SELECT current_tenant(); COMMIT; BEGIN",
}
"""How a transaction begins; a token holds for minutes, so it is made then."""
