"""What keeps the history of a rollup from its own refreshes.

A refresh replaces the buckets of a range by what the raw data still has, and so deletes those whose
raw data was dropped. Triggers on the hypertable in which a rollup stores its rows prevent that,
whoever refreshes it: where the raw data no longer covers a bucket, an existing row is neither
changed nor deleted nor stored a second time. New rows are stored everywhere, but where the rollup
itself no longer keeps any; only there are rows deleted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sqlalchemy import Connection

from ddl import sql
from ddl.base import explicit, optional
from ddl.kind import Kind, always
from ddl.plan import Phase
from ddl.revisable import revisable
from ddl.time_series import TimeSeriesOperation, TimeSeriesState, pending, regclass, rows

NOTED, DELETED, INSERTED = "keep_noted", "keep_deleted", "keep_inserted"
"""The names of the triggers: once per statement, then for each row that the condition selects."""

# --- declare ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class KeptHistoryState(TimeSeriesState):
    """Which buckets of a rollup its raw data covers, and by which columns rows are told apart.

    ``covered`` is a function of a relation (text), its retention (interval, or NULL), the tenant
    (uuid, or NULL) and the bucket (timestamptz). It is asked about what the rollup reads, and about
    the rollup, from which rows may be deleted by their age as well. ``function`` is that of the
    triggers. Both are in ``public``.
    """

    kind: ClassVar[str] = "kept history"
    intervals: ClassVar[tuple[str, ...]] = ("retention", "width")

    function: str = explicit("")
    covered: str = explicit("")
    source: str = explicit("")
    retention: str | None = explicit(None)
    bucket: str = explicit("")
    width: str = explicit("")
    tenant: str | None = explicit(None)
    keys: str = explicit("")
    known_as: str = optional("")
    """The name in the triggers, where that is not the rollup's: it was renamed without them."""

    @property
    def own(self) -> str:
        """By which the functions know the rollup."""
        return self.known_as or self.name

    def gone(self) -> list[str]:
        """SQL: whether the raw data of a row is gone, and the columns that it asks for."""
        columns = [sql.ident(one) for one in (self.bucket, self.tenant) if one is not None]
        return [f"NOT {_covered(self, self.source, self.retention)}", *columns]

    def recorded(self) -> dict[str, Any]:
        """With the name, as triggers have it: so it is left behind by a rename alike."""
        return {**super().recorded(), "known_as": self.own}

    def text(self) -> str:
        """The calls of both functions."""
        return f"public.{self.function}() public.{self.covered}()"


@dataclass(frozen=True)
class KeptHistory:
    """How a :class:`ddl.Rollup` keeps buckets that its raw data no longer covers.

    Args:
        function: the trigger function; see :class:`KeptHistoryState` for the rest.
        source: the hypertable or rollup that the rollup reads, as ``covered`` knows it.
        retention: the age at which rows of ``source`` are dropped.
        width: the width of a bucket.
        keys: the columns that the rollup groups by.
    """

    function: str
    covered: str
    source: str
    retention: str | None
    width: str
    keys: Sequence[str]
    bucket: str = "bucket"
    tenant: str | None = None

    def state(self, rollup: str, schema: str) -> KeptHistoryState:
        """The state that belongs to the rollup of this name."""
        return KeptHistoryState(
            rollup,
            self.function,
            self.covered,
            self.source,
            self.retention,
            self.bucket,
            self.width,
            self.tenant,
            ", ".join(map(sql.ident, self.keys)),
            schema=schema,
        )


# --- operate ---------------------------------------------------------------------------------


@revisable(KeptHistoryState)
class KeptHistoryOperation(TimeSeriesOperation[KeptHistoryState]):
    """Creates or drops the triggers; a change is one of each."""

    def create(self, state: KeptHistoryState, edition: str) -> list[str]:
        """In one statement, since the name of the hypertable is the server's choice."""
        # One of them may still be there, which alone keeps nothing.
        return [_on_storage(state, _DROP + _CREATE.format(**_values(state)))]

    def alter(self, before: KeptHistoryState, after: KeptHistoryState, edition: str) -> list[str]:
        """In one transaction, so that no refresh comes between."""
        return self.create(after, edition)

    def drop(self, state: KeptHistoryState, edition: str) -> list[str]:
        """From now on a refresh deletes what the raw data no longer has."""
        return [_on_storage(state, _DROP)]


def _on_storage(state: KeptHistoryState, statements: str) -> str:
    body = _STORAGE.format(rollup=regclass(state), statements=statements)
    return f"DO {sql.dollar_quoted(body)}"


def _values(state: KeptHistoryState) -> dict[str, str]:
    retention = "NULL" if state.retention is None else sql.literal(state.retention)
    covered = _covered(state, state.source, state.retention, "%1$s.")
    kept = _covered(state, state.own, None, "%1$s.")
    texts = (
        *(state.covered, state.source, state.own, state.bucket, state.tenant or "", state.keys),
        _setting(state),
    )
    return {
        "function": f"public.{sql.ident(state.function)}",
        "arguments": ", ".join(
            (
                f"coalesce(({retention}::interval)::text, '')",
                f"({sql.literal(state.width)}::interval)::text",
                *map(sql.literal, texts),
            )
        ),
        "old": sql.literal(_condition(state, f"NOT {covered} AND {kept}", "old")),
        "new": sql.literal(_condition(state, f"(NOT {covered} OR NOT {kept})", "new")),
    }


def _covered(state: KeptHistoryState, of: str, retention: str | None, row: str = "") -> str:
    """The question whether a relation, with its retention, still has what a row was made of."""
    tenant = "NULL::uuid" if state.tenant is None else f"{row}{sql.ident(state.tenant)}"
    age = "NULL" if retention is None else sql.literal(retention)
    bucket = f"{row}{sql.ident(state.bucket)}"
    function = f"public.{sql.ident(state.covered)}"
    return f"{function}({sql.literal(of)}, {age}::interval, {tenant}, {bucket})"


def _setting(state: KeptHistoryState) -> str:
    """Of the transaction: what the trigger of a statement finds, for the rows of this rollup."""
    key = (*state.key[:-1], state.own)
    return f"fleetschema.history_{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}"


def _condition(state: KeptHistoryState, condition: str, row: str) -> str:
    """The cheap question first: most rows of a refresh are younger than any that was deleted."""
    before = f"nullif(current_setting('{_setting(state)}', true), '')::timestamptz"
    young = f"%1$s.{sql.ident(state.bucket)} < coalesce({before}, 'infinity')"
    return f"{young} AND {condition}".replace("%1$s", row)


_STORAGE = """
DECLARE
    stored text;
    arguments text;
BEGIN
    SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)
      INTO STRICT stored FROM timescaledb_information.continuous_aggregates
     WHERE format('%I.%I', view_schema, view_name)::regclass = {rollup}::regclass;{statements}
END
"""

# The arguments are what is read back; the server would spell the condition in its own way.
_CREATE = f"""
    arguments := array_to_string(ARRAY(
        SELECT quote_literal(one) FROM unnest(ARRAY[{{arguments}}]) AS one), ', ');
    EXECUTE format('CREATE TRIGGER {NOTED} BEFORE INSERT OR UPDATE OR DELETE ON %s'
                   ' FOR EACH STATEMENT'
                   ' EXECUTE FUNCTION {{function}}(%s)', stored, arguments);
    EXECUTE format('CREATE TRIGGER {DELETED} BEFORE UPDATE OR DELETE ON %s FOR EACH ROW WHEN (%s)'
                   ' EXECUTE FUNCTION {{function}}(%s)', stored, {{old}}, arguments);
    EXECUTE format('CREATE TRIGGER {INSERTED} BEFORE INSERT ON %s FOR EACH ROW WHEN (%s)'
                   ' EXECUTE FUNCTION {{function}}(%s)', stored, {{new}}, arguments);"""

_DROP = "".join(
    f"\n    EXECUTE format('DROP TRIGGER IF EXISTS {name} ON %s', stored);"
    for name in (NOTED, DELETED, INSERTED)
)

# --- reflect ---------------------------------------------------------------------------------

# Without one of the triggers, or with one that is disabled, the history is not kept.
_QUERY = f"""
SELECT a.view_name AS name, a.view_schema AS schema, f.proname AS function,
       min(encode(t.tgargs, 'escape')) AS arguments
  FROM timescaledb_information.continuous_aggregates a
  JOIN pg_trigger t ON t.tgname IN ('{NOTED}', '{DELETED}', '{INSERTED}') AND t.tgenabled = 'O'
   AND t.tgrelid = to_regclass(format('%I.%I', a.materialization_hypertable_schema,
                                      a.materialization_hypertable_name))
  JOIN pg_proc f ON f.oid = t.tgfoid
 WHERE a.view_schema = ANY (CAST(:schemas AS name[]))
 GROUP BY 1, 2, 3 HAVING count(*) = 3 AND count(DISTINCT t.tgargs) = 1
"""


def read(connection: Connection, schemas: Sequence[str]) -> list[KeptHistoryState]:
    """The kept histories of ``schemas``, real and pending."""
    found: list[KeptHistoryState] = []
    for row in rows(connection, _QUERY, schemas):
        found.append(_state(row))
    for row in pending(connection, "kept history", schemas):
        known_as = row.pop("known_as", "")
        found.append(KeptHistoryState(**row, known_as=_left_behind(row["name"], known_as)))
    return found


def _left_behind(name: str, known_as: str) -> str:
    return "" if known_as == name else known_as


def _state(row: dict[str, Any]) -> KeptHistoryState:
    spelled = row["arguments"].encode("latin-1").decode("unicode_escape")
    given = spelled.encode("latin-1").decode().split("\0")
    retention, width, covered, source, known_as, bucket, tenant, keys = given[:8]
    return KeptHistoryState(
        row["name"],
        row["function"],
        covered,
        source,
        retention or None,
        bucket,
        width,
        tenant or None,
        keys,
        _left_behind(row["name"], known_as),
        schema=row["schema"],
    )


# --- compare: altered in place ------------------------------------------------------------------

KIND = Kind(
    KeptHistoryState,
    KeptHistoryOperation,
    read,
    create=Phase.TRIGGERS,
    drop=Phase.DROP_TIME_SERIES,
    alterable=always,
    every_edition=False,
)
