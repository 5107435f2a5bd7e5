"""What is wrong with models in themselves; no database is asked."""

from __future__ import annotations

import difflib
from collections.abc import Collection

from sqlalchemy import ForeignKey, MetaData
from sqlalchemy.exc import ArgumentError, NoReferencedColumnError, NoReferencedTableError

from ddl import sql
from ddl.access import check_copies, check_policies
from ddl.base import Declared, Key
from ddl.community_tables import check_hypertables
from ddl.intervals import days
from ddl.kinds.grant import GrantState
from ddl.kinds.hypertable import HypertableState
from ddl.kinds.kept_history import KeptHistoryState
from ddl.kinds.policy import OWNER, PolicyState
from ddl.kinds.refresh_policy import RefreshPolicyState
from ddl.kinds.retention_policy import RetentionPolicyState
from ddl.kinds.trigger import TriggerState
from ddl.names import check_names
from ddl.rollups import RollupState
from ddl.types import check_types


def check_models(metadata: MetaData) -> None:
    """Reject what no revision could carry out, and what hides or shows rows without a word.

    Raises:
        sqlalchemy.exc.ArgumentError: names the table and column, and what to write.
    """
    check_foreign_keys(metadata)
    check_names(metadata)
    check_types(metadata)
    check_hypertables(metadata)
    check_refreshes(metadata)
    check_collected_rows(metadata)
    check_indexes(metadata)
    check_policies(metadata)
    check_copies(metadata)


def check_collected_rows(metadata: MetaData) -> None:
    """Reject triggers that make TimescaleDB forget what a rollup has still to take in.

    Where a trigger of INSERT collects the new rows, COPY does not note which buckets it changes
    (seen with 2.28.3): late rows never reach a rollup, and there is no error.

    Raises:
        sqlalchemy.exc.ArgumentError: a line for each of them.
    """
    declared = Declared.on(metadata)
    tables = set(declared.of(HypertableState))
    schemas = {schema for schema, _ in tables}
    read: dict[Key, str] = {}
    for rollup in declared.of(RollupState).values():
        read |= dict.fromkeys(sql.relations(rollup.definition, schemas) & tables, rollup.title())
    if found := [
        f"{trigger.title()}: it collects the rows of a statement in {trigger.new_table}, whereupon"
        f" COPY into the hypertable does not tell {read[trigger.relation]} what has changed; take"
        f" new_table out, or let the trigger fire for each row"
        for trigger in declared.of(TriggerState).values()
        if trigger.new_table and "insert" in trigger.events and trigger.relation in read
    ]:
        raise ArgumentError("\n".join(sorted(found)))


def check_foreign_keys(metadata: MetaData) -> None:
    """Reject foreign keys to tables and columns that no model has.

    Raises:
        sqlalchemy.exc.ArgumentError: a line for each of them.
    """
    keys = [key for table in metadata.tables.values() for key in table.foreign_keys]
    if found := {message for key in keys if (message := _wrong_target(metadata, key))}:
        raise ArgumentError("\n".join(sorted(found)))


def check_indexes(metadata: MetaData) -> None:
    """Reject CONCURRENTLY, which says how an index is built, and which no transaction can do.

    Raises:
        sqlalchemy.exc.ArgumentError: a line for each of them.
    """
    if found := [
        f"index {index.name} on {table.fullname}: a revision is one transaction, in which no index"
        " can be built CONCURRENTLY; take postgresql_concurrently out of the model, and if the"
        " table is too busy for writers to wait, build the index in a revision of its own within"
        " `with op.get_context().autocommit_block():`"
        for table in metadata.tables.values()
        for index in table.indexes
        if index.dialect_options["postgresql"]["concurrently"]
    ]:
        raise ArgumentError("\n".join(sorted(found)))


def check_refreshes(metadata: MetaData) -> None:
    """Reject a rollup that refreshes what its source no longer has: that deletes its history.

    Unless it keeps that (see :class:`ddl.KeptHistory`).

    Raises:
        sqlalchemy.exc.ArgumentError: a line for each of them.
    """
    declared = Declared.on(metadata)
    retained, rollups = declared.of(RetentionPolicyState), declared.of(RollupState)
    schemas = {schema for schema, _ in retained}
    found = []
    keep = declared.of(KeptHistoryState)
    for key, refresh in sorted(declared.of(RefreshPolicyState).items()):
        if key in keep:
            continue
        for source in sorted(sql.relations(rollups[key].definition, schemas) & retained.keys()):
            kept, start = retained[source].drop_after, refresh.start_offset
            if start is not None and days(start) < days(kept):
                continue
            kind = "rollup" if source in rollups else "hypertable"
            reach = "has no start_offset" if start is None else f"starts {start} ago"
            longer = "" if start is None else f", or keep {source[1]} for longer than {start}"
            found.append(
                f"{rollups[key].title()}: its refresh {reach}, but {kind} {'.'.join(source)} drops"
                f" rows after {kept}, so the refresh would delete from the rollup what only it"
                f" still has; write a start_offset shorter than {kept} in RefreshPolicy(…)"
                f"{longer} (a month counts as 30 days)"
            )
    if found:
        raise ArgumentError("\n".join(found))


def check_roles(metadata: MetaData, roles: Collection[str], declared_in: str) -> None:
    """Reject grants and policies for roles that nothing creates.

    Args:
        declared_in: where a role is declared, for the message.

    Raises:
        sqlalchemy.exc.ArgumentError: a line for each of them.
    """
    declared = Declared.on(metadata)
    named: dict[str, str] = {}
    for policy in declared.of(PolicyState).values():
        named.update((role, policy.title()) for role in policy.to)
    for grant in declared.of(GrantState).values():
        named.update((held.role, grant.title()) for held in grant.privileges)
    if found := [
        f"{title} names the role {role}, which is not declared; add it in {declared_in}"
        + _nearest(role, roles)
        for role, title in sorted(named.items())
        if role not in roles and sql.role(role) not in ("PUBLIC", OWNER)
    ]:
        raise ArgumentError("\n".join(found))


def _wrong_target(metadata: MetaData, key: ForeignKey) -> str | None:
    where = f"column {key.parent.table.fullname}.{key.parent.name} refers to"
    try:
        target = key.column.table
    except NoReferencedTableError as error:
        name = error.table_name
        elsewhere = [one for one in metadata.tables if one.rpartition(".")[2] == name]
        near = _nearest(name, elsewhere or metadata.tables, 0 if elsewhere else 0.6)
        return f"{where} table {name}, which no model declares{near}"
    except NoReferencedColumnError as error:
        table, column = error.table_name, error.column_name
        near = _nearest(column, metadata.tables[table].columns.keys())
        return f"{where} {table}.{column}, but {table} has no such column{near}"
    if metadata.tables.get(target.key) is not target:
        return f"{where} table {target.fullname} of another MetaData; give it the same base class"
    return None


def _nearest(name: str, names: Collection[str], cutoff: float = 0.6) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=cutoff)
    return f"; did you mean {near[0]}?" if near else ""
