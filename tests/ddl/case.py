"""One change of the models, taken all the way: rendered, run, checked, reversed.

``Case(before, after)`` gives two sets of declarations. ``walk`` builds the first in an empty
database through autogenerate, generates the change, compares the text with what is expected,
runs it, and requires that nothing is left to change. Then it runs the downgrade and requires
exactly the catalog from the start; the same upgrade offline must give the same catalog, too.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy import Engine, MetaData

from ddl import Answers
from tests.support.catalog_states import catalog_states, unequal_states
from tests.support.generated_revisions import (
    Declare,
    apply,
    assert_no_drift,
    metadata_of,
    migration,
    rendered,
    run,
    run_offline,
)

SETTINGS = {"search_path": "pg_catalog, pg_temp"}
"""What a function with a text body must fix."""


def nothing(metadata: MetaData) -> None:
    """An empty database."""


@dataclass
class Case:
    """A change from the declarations ``before`` to those of ``after``."""

    before: Declare
    after: Declare
    upgrade: str = ""
    downgrade: str = ""
    rows: list[str] = field(default_factory=list)
    renames: tuple[str, ...] = ()
    """As ``-x rename=`` says them."""

    def walk(self, engine: Engine) -> None:
        """Everything the module's docstring promises, on an empty database."""
        before, after = metadata_of(self.before), metadata_of(self.after)
        with engine.begin() as connection:
            apply(connection, before)
            for statement in self.rows:
                connection.execute(sa.text(statement))
        start = catalog_states(engine)
        with engine.connect() as connection:
            script = migration(connection, after, Answers(self.renames))
        up, down = rendered(script.upgrade_ops), rendered(script.downgrade_ops)
        if self.upgrade or self.downgrade:
            assert up == textwrap.dedent(self.upgrade).strip()
            assert down == textwrap.dedent(self.downgrade).strip()
        run(engine, up)
        assert_no_drift(engine, after)
        target = catalog_states(engine)
        run(engine, down)
        traces = unequal_states(catalog_states(engine), start)
        assert not traces, "the downgrade left a trace:\n" + "\n".join(traces)
        assert_no_drift(engine, before)
        run_offline(engine, up)
        traces = unequal_states(catalog_states(engine), target)
        assert not traces, "--sql differs from the upgrade:\n" + "\n".join(traces)
