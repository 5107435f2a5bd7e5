"""What PostgreSQL has beyond tables, declared on SQLAlchemy models and evolved by Alembic.

One module per kind of object, each in four parts: declare, operate, reflect, compare; ``kinds``
is their registry. The package knows no table of the project and can be used with any MetaData::

    from ddl import Function, Grant, Policy, RowLevelSecurity, Trigger, View
"""

from __future__ import annotations

import sys

from alembic.runtime.plugins import Plugin

from ddl import compare, render
from ddl.access import HiddenFrom, check_copies
from ddl.base import Declared
from ddl.checks import check_models, check_roles
from ddl.compare import found_by, likely_renames, process_revision_directives
from ddl.kinds import *  # noqa: F403 (the declarations: the registry lists them once)
from ddl.kinds import __all__ as _declarations
from ddl.named_in_rows import NamesRelations
from ddl.names import check_names
from ddl.renamed import RenamedFrom
from ddl.renames import Answers, Rename

__all__ = [
    "Answers",
    "Declared",
    "HiddenFrom",
    "NamesRelations",
    "Rename",
    "RenamedFrom",
    "check_copies",
    "check_models",
    "check_names",
    "check_roles",
    "found_by",
    "likely_renames",
    "process_revision_directives",
    *_declarations,
]


def setup(plugin: Plugin) -> None:
    """Register the comparison in place of Alembic's own, which compares far less."""
    render.correct()
    plugin.add_autogenerate_comparator(compare.autogenerate, "autogenerate", qualifier="postgresql")


Plugin.setup_plugin_from_module(sys.modules[__name__], __name__)
