"""What the operations of a revision lose: refused until accepted, then said in its line."""

from __future__ import annotations

import functools
import linecache

from alembic.migration import MigrationContext
from alembic.operations.ops import MigrateOperation

from database.migration.acceptance import acceptances, refusal
from database.migration.revisions import RevisionError, Revisions
from database.migration.watching import Place
from ddl.effects import Effects


class Losses:
    """Watches the operations of one revision after another; see ``watching``."""

    def __init__(self, revisions: Revisions) -> None:
        self._revisions = revisions
        self.next_revision()

    def next_revision(self) -> None:
        """Forget what the revision before did."""
        self._effects = Effects()
        self._place: Place | None = None
        self.lost: list[str] = []
        """What is gone since, in words."""

    @property
    def where(self) -> str:
        """File, line and text of the call that is being carried out; empty if there is none."""
        if self._place is None:
            return ""
        called = linecache.getline(str(self._place.path), self._place.line).strip()
        return f"{self._place}: {called}"

    def watch(self, context: MigrationContext, operation: MigrateOperation, place: Place) -> None:
        """Refuse what loses rows and is not accepted, and note the rest.

        What a downgrade loses follows from the upgrade, so it needs no acceptance. A released
        revision cannot be edited any more: `make release` has required the acceptance.

        Raises:
            RevisionError: names the line, what would be lost, and the line that accepts it.
        """
        self._place = place
        for effect in self._effects.of(operation):
            if not effect.risk.loses:
                continue
            connection = None if context.as_sql else context.connection
            what = effect.counted(connection) if connection is not None else effect.reason
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
