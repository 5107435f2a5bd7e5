"""Indexes over the rows of all tenants, of which a tenant must learn nothing.

The server looks a value up in an index before it knows whose row it is, and EXPLAIN ANALYZE says
how many rows it found there: so a tenant could try values until one exists. Such an index therefore
has a condition that is true for every row, but that only policies of other roles have. The planner
uses it where it finds that condition in the query, and no tenant can write it:
see docs/decisions/hidden-indexes.md.
"""

from __future__ import annotations

import dataclasses

from sqlalchemy import MetaData, Table, UniqueConstraint, text
from sqlalchemy.exc import ArgumentError

from ddl import Declared, Function, unnamed_schema
from ddl.kinds.policy import PolicyState
from models.shared.plpgsql import PLPGSQL_SETTINGS
from models.shared.roles import ROLE_NAMES

SCHEMA = "across"
"""A schema that no role may use, so that none can name what is in it."""

ACROSS = f"{SCHEMA}.tenants(tenant_id)"
"""True for every row, and in no query of a tenant."""

TENANT = "fleet_app"


def declare_function(metadata: MetaData) -> None:
    """Declare what indexes and policies name; in PL/pgSQL, which the planner never looks into."""
    unnamed_schema(SCHEMA, metadata=metadata)
    Function(
        "tenants",
        "tenant_id uuid",
        returns="boolean",
        language="plpgsql",
        volatility="immutable",
        parallel="safe",
        settings=PLPGSQL_SETTINGS,
        body="begin return true; end",
        # Who writes a row of an index evaluates its condition; naming it takes USAGE of the schema.
        grants=dict.fromkeys(ROLE_NAMES, "execute"),
        comment="True for every tenant: the condition of indexes over the rows of all of them, and "
        "of the policies of roles that may use those.",
        schema=SCHEMA,
        metadata=metadata,
    )


def hide_indexes(table: Table) -> None:
    """Give the condition to indexes of ``table`` that do not lead with tenant_id, and to policies.

    Raises:
        sqlalchemy.exc.ArgumentError: a unique key over all tenants is a constraint, which can have
            no condition.
    """
    policies = Declared.on(table.metadata).of(PolicyState)
    own = [state for state in policies.values() if state.relation == ("public", table.name)]
    if "tenant_id" not in table.columns or not any(TENANT in state.to for state in own):
        return
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint) and not _leads([*constraint.columns]):
            names = ", ".join(f'"{column.name}"' for column in constraint.columns)
            raise ArgumentError(
                f"table {table.name}: expected unique keys that lead with tenant_id, found "
                f"UniqueConstraint({names}), by which EXPLAIN would tell a tenant what others have;"
                f' write Index("{constraint.name}", {names}, unique=True)'
            )
    hidden = [index for index in table.indexes if not _leads([*index.expressions])]
    for index in hidden:
        options = index.dialect_options["postgresql"]
        where = options["where"]
        options["where"] = text(ACROSS if where is None else f"{ACROSS} AND ({where})")
    if not hidden:
        return
    for state in own:
        if TENANT not in state.to and state.using is not None:
            using = ACROSS if state.using == "true" else f"{state.using} AND {ACROSS}"
            policies[state.declared_as] = dataclasses.replace(state, using=using)


def _leads(parts: list[object]) -> bool:
    return getattr(parts[0], "name", None) == "tenant_id"
