"""Everything that a deploy has to be right about, in one look that changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine

from database.migration import preparation
from database.settings import Settings
from operations.verification import schema, server
from operations.verification.finding import Finding

__all__ = ["OF_THE_PRESENT", "PARTS", "Finding", "Report", "prepared", "verify"]

Part = Callable[[Connection], Iterable[Finding]]

PARTS: dict[str, Part] = {
    "schema and roles": schema.drift,
    "indexes": server.indexes,
    "chunks": server.chunks,
    "extension": server.extension,
    "jobs": server.jobs,
    "rollups": server.rollups,
    "hardening": server.hardening,
    "tenant context": server.context_keys,
    "logins": server.logins,
    "reference data": server.reference_data,
}
"""What is looked at once the database is at the head, in this order."""
OF_THE_PRESENT = ("jobs", "rollups", "tenant context", "logins", "reference data")
"""Parts that a copy of the past need not have right: what runs, is due, may log in, is new."""


@dataclass
class Report:
    """What a verification found."""

    database: str
    edition: str
    findings: list[Finding] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Parts that were not looked at, since the revision is another."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "database": self.database,
            "edition": self.edition,
            "ok": not self.findings,
            "findings": [one.as_dict() for one in self.findings],
            "skipped": self.skipped,
        }


@contextmanager
def prepared(engine: Engine) -> Iterator[Connection]:
    """A connection on which names mean what they should, as the runner of revisions has it.

    What a verification is to find may have been set for the login or the database.

    Raises:
        database.migration.preparation.PreparationError: it goes through a pooler, to whose other
            clients the settings would leak; or a setting is in the way that only a superuser can
            change.
    """
    with engine.connect() as connection:
        preparation.use(connection, Settings())
        connection.detach()
        connection.commit()
        yield connection


def verify(engine: Engine, *, without: Collection[str] = ()) -> Report:
    """Look at every part; each in a transaction of its own, which is rolled back.

    Args:
        engine: of the database's owner, reaching the server directly.
        without: parts that are left out.
    """
    with prepared(engine) as connection:
        report = Report(str(engine.url.database), server.edition_of(connection))
        report.findings += schema.revision(connection)
        if any(one.part == "revision" for one in report.findings):
            report.skipped = list(PARTS)
            return report
        for name, part in PARTS.items():
            connection.rollback()
            if name not in without:
                report.findings += part(connection)
        connection.rollback()
    return report
