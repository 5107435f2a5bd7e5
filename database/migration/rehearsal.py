"""A revision carried out without a database: its operations, what they lose, and its SQL."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alembic.migration import MigrationContext
from alembic.operations.ops import MigrateOperation

from database.migration.watching import Place, watching
from ddl.edition import COMMUNITY
from ddl.effects import Effect, Effects


@dataclass
class Rehearsal:
    """What ``upgrade()`` of one revision does, as far as that is known beforehand."""

    sql: str = ""
    calls: list[tuple[int, int]] = field(default_factory=list)
    """For each call the line where its SQL begins and its line of the file, both from 1."""
    losses: list[tuple[Place, Effect]] = field(default_factory=list)
    """What has to be accepted, once, where it is called first."""
    error: Exception | None = None
    """Why it ends early; it may be that the revision reads the database, or is wrong."""


def script_context(buffer: io.StringIO, edition: str) -> MigrationContext:
    """A context whose operations write their SQL into ``buffer``, as ``--sql`` does."""
    return MigrationContext.configure(
        dialect_name="postgresql",
        dialect_opts={"paramstyle": "named"},
        opts={
            "as_sql": True,
            "output_buffer": buffer,
            "literal_binds": True,
            "edition": edition,
        },
    )


def rehearse(path: Path, upgrade: Any, edition: str = COMMUNITY) -> Rehearsal:
    """Carry out ``upgrade`` into a script, as ``alembic upgrade --sql`` does.

    Args:
        path: the file of the revision.
    """
    found, effects, buffer = Rehearsal(), Effects(), io.StringIO()
    context = script_context(buffer, edition)
    known: set[str] = set()

    def tell(operation: MigrateOperation, place: Place) -> None:
        found.calls.append((buffer.getvalue().count("\n") + 1, place.line))
        for effect in effects.of(operation):
            if effect.risk.loses and effect.acceptance not in known:
                known.add(effect.acceptance)
                found.losses.append((place, effect))

    try:
        with watching(context, tell, {str(path)}):
            upgrade()
    except Exception as error:
        # Anything may be wrong with a file that a person writes.
        found.error = error
    found.sql = buffer.getvalue()
    return found
