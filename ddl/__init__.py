"""What PostgreSQL has beyond tables, declared on SQLAlchemy models and evolved by Alembic.

One module per kind of object, each in four parts: declare, operate, reflect, compare. The
package knows no table of the project and can be used with any MetaData::

    from ddl import Function, Grant, Policy, RowSecurity, Trigger, View
"""

from __future__ import annotations

import sys

from alembic.runtime.plugins import Plugin

from ddl import compare, render
from ddl.access import check_policies
from ddl.base import Declared
from ddl.columnstore import Columnstore
from ddl.compare import process_revision_directives
from ddl.function import Function
from ddl.grant import Grant, schema_grant
from ddl.hypertable import Hypertable
from ddl.policy import Policy, RowSecurity
from ddl.retention import Retention
from ddl.rollup import Refresh, Rollup, Stored
from ddl.trigger import Trigger
from ddl.view import View

__all__ = [
    "Columnstore",
    "Declared",
    "Function",
    "Grant",
    "Hypertable",
    "Policy",
    "Refresh",
    "Retention",
    "Rollup",
    "RowSecurity",
    "Stored",
    "Trigger",
    "View",
    "check_policies",
    "process_revision_directives",
    "schema_grant",
]


def setup(plugin: Plugin) -> None:
    """Register the comparison; it replaces Alembic's own, which sees half as much."""
    render.correct()
    plugin.add_autogenerate_comparator(compare.autogenerate, "autogenerate", qualifier="postgresql")


Plugin.setup_plugin_from_module(sys.modules[__name__], __name__)
