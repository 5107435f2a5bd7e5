"""What the operations of a revision lose: refused until accepted, then said in its line."""

from __future__ import annotations

import functools
import linecache
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from alembic.migration import MigrationContext
from alembic.operations.ops import MigrateOperation
from alembic.runtime.migration import RevisionStep

from database.migration.acceptance import acceptances, refusal
from database.migration.rehearsal import rehearse
from database.migration.revisions import RevisionError, Revisions
from database.migration.watching import Place
from ddl.effects import Effect, Effects


class Losses:
    """Watches the operations of one revision after another; see ``watching``."""

    def __init__(self, revisions: Revisions) -> None:
        self._revisions = revisions
        self.next_revision()

    def next_revision(self) -> None:
        """Forget what the revision before did."""
        self._effects = Effects()
        self._place: Place | None = None
        self.operation: MigrateOperation | None = None
        """What is being carried out."""
        self.lost: list[str] = []
        """What is gone since, in words."""

    @property
    def where(self) -> str:
        """File, line and text of the call that is being carried out; empty if there is none."""
        if self._place is None:
            return ""
        called = linecache.getline(str(self._place.path), self._place.line).strip()
        return f"{self._place}: {called}"

    def require_acceptances(self, context: MigrationContext, edition: str) -> None:
        """Refuse all that is about to run, before any of it does, for a loss in one revision.

        Raises:
            RevisionError: a line for each loss that is not accepted; see ``watch``, which still
                sees what cannot be known beforehand.
        """
        found = [
            f"{place}: {refusal(effect, self._counted(context, effect))}"
            for path, upgrade in self._pending(context)
            for place, effect in rehearse(path, upgrade, edition).losses
            if not any(one.covers(effect) for one in acceptances(path))
        ]
        if found:
            raise RevisionError("\n".join(found))

    def _pending(self, context: MigrationContext) -> Iterator[tuple[Path, Any]]:
        """File and ``upgrade()`` of the revisions about to run that may still be edited."""
        # What run_migrations() asks for its steps; there is no public word for it.
        for step in context._migrations_fn(context.get_current_heads(), context):  # type: ignore[misc]
            if isinstance(step, RevisionStep) and step.is_upgrade:
                path = self._revisions.files[step.revision.revision]
                if path.stem not in self._released:
                    yield path, step.migration_fn

    @staticmethod
    def _counted(context: MigrationContext, effect: Effect) -> str:
        connection = None if context.as_sql else context.connection
        return effect.counted(connection) if connection is not None else effect.reason

    def watch(self, context: MigrationContext, operation: MigrateOperation, place: Place) -> None:
        """Refuse what loses rows and is not accepted, and note the rest.

        What a downgrade loses follows from the upgrade, so it needs no acceptance. A released
        revision cannot be edited any more: `make release` has required the acceptance.

        Raises:
            RevisionError: names the line, what would be lost, and the line that accepts it.
        """
        self._place = place
        self.operation = operation
        for effect in self._effects.of(operation):
            if not effect.risk.loses:
                continue
            what = self._counted(context, effect)
            if place.upwards and place.path.stem not in self._released:
                if not any(one.covers(effect) for one in acceptances(place.path)):
                    raise RevisionError(f"{place}: {refusal(effect, what)}")
            elif not effect.at_once:
                # The downgrade of a changed policy is no loss, only what its job does later.
                continue
            loss = f"{effect.risk}: {effect.rule} {effect.name}, {what}"
            if not what.endswith(", no rows") and loss not in self.lost:
                self.lost.append(loss)

    @functools.cached_property
    def _released(self) -> set[str]:
        """The names of the files of the released revisions, without ending."""
        return {self._revisions.files[one].stem for one in self._revisions.released()}
