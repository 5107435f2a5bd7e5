"""The registry of kinds: every kind of object that models declare and revisions evolve.

A kind is one module with the same four parts in the same order, and one entry in ``KINDS``:

- *declare*: a frozen dataclass, the state, says all there is to know about one object; what
  stands in ``__table_args__``, or takes ``metadata=``, makes states.
- *operate*: an :class:`~ddl.base.Operation` with the SQL of ``create``, ``drop`` and, where the
  server can, ``alter``. ``@revisable`` registers ``op.create_…`` and so on; their parameters
  follow from the fields of the state. An ``explicit()`` field is always written into revisions.
- *reflect*: ``read(connection, schemas)``, one query for all objects of the kind.
- *compare*: :class:`~ddl.kind.Kind` says when the kind is created and dropped, what can be
  altered in place, what pg_depend knows it by, and which fields hold SQL (``expressions``);
  ``compare`` only where that is not enough.

The order is that in which relations are looked up: of two kinds that read the same relation, the
later one has it (a continuous aggregate is a view for PostgreSQL).
"""

from __future__ import annotations

from typing import Any

from ddl.kind import Kind
from ddl.kinds import (
    column,
    columnstore,
    constraint,
    extension,
    function,
    grant,
    hypertable,
    index,
    kept_history,
    materialized_view,
    policy,
    refresh_policy,
    retention_policy,
    rollup,
    row_level_security,
    schema,
    sequence,
    setting,
    table,
    trigger,
    unmanaged,
    view,
)
from ddl.kinds.columnstore import Columnstore
from ddl.kinds.extension import Extension
from ddl.kinds.function import Function
from ddl.kinds.grant import Grant, schema_grant, unnamed_schema
from ddl.kinds.hypertable import Hypertable
from ddl.kinds.kept_history import KeptHistory
from ddl.kinds.materialized_view import MaterializedView
from ddl.kinds.policy import Policy
from ddl.kinds.refresh_policy import RefreshPolicy
from ddl.kinds.retention_policy import RetentionPolicy
from ddl.kinds.rollup import Rollup
from ddl.kinds.row_level_security import RowLevelSecurity
from ddl.kinds.setting import ColumnStatistics
from ddl.kinds.trigger import Trigger
from ddl.kinds.unmanaged import Unmanaged
from ddl.kinds.view import View

__all__ = [
    "KINDS",
    "ColumnStatistics",
    "Columnstore",
    "Extension",
    "Function",
    "Grant",
    "Hypertable",
    "KeptHistory",
    "MaterializedView",
    "Policy",
    "RefreshPolicy",
    "RetentionPolicy",
    "Rollup",
    "RowLevelSecurity",
    "Trigger",
    "Unmanaged",
    "View",
    "schema_grant",
    "unnamed_schema",
]

KINDS: tuple[Kind[Any], ...] = (
    extension.KIND,
    schema.KIND,
    table.KIND,
    column.KIND,
    sequence.KIND,
    constraint.KIND,
    index.KIND,
    function.KIND,
    trigger.KIND,
    row_level_security.KIND,
    policy.KIND,
    view.KIND,
    materialized_view.KIND,
    hypertable.KIND,
    columnstore.KIND,
    retention_policy.KIND,
    rollup.KIND,
    refresh_policy.KIND,
    kept_history.KIND,
    grant.KIND,
    setting.KIND,
    unmanaged.KIND,
    unmanaged.KIND_OF_DATABASE,
)
