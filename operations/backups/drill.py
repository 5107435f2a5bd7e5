"""A drill: the newest backup is restored beside everything, compared, verified and dropped."""

from __future__ import annotations

import datetime
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from operations.backups import target
from operations.backups.creation import OnProgress
from operations.backups.folder import Backup
from operations.backups.restoration import rebuilt, schedule_jobs, to_head
from operations.owner import maintained_database, on_database
from operations.verification import OF_THE_PRESENT, Finding, verify


@dataclass(frozen=True)
class Drill:
    """What a drill found."""

    backup: Backup
    began: datetime.datetime
    seconds: float
    deviations: list[str]
    """What was not restored as it was."""
    findings: list[Finding]
    """What `operations verify` found in what was restored."""
    compared: bool
    """Whether definitions were compared, too."""

    @property
    def ok(self) -> bool:
        """Whether the backup is good."""
        return not self.deviations and not self.findings

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        manifest = self.backup.manifest
        return {
            "ok": self.ok,
            "began": self.began.isoformat(),
            "seconds": self.seconds,
            "backup": self.backup.name,
            "made_at": manifest.made_at.isoformat(),
            "backup_bytes": manifest.bytes,
            "relations": len(manifest.inventory["rows"]),
            "compared_definitions": self.compared,
            "deviations": self.deviations,
            "findings": [one.as_dict() for one in self.findings],
        }


def drill(
    backup: Backup,
    *,
    identity: Path | None = None,
    on_progress: OnProgress = lambda *_: None,
) -> Drill:
    """Restore a backup into a database `…_drill` and look at it; it is dropped in any case.

    Raises:
        BackupError: as `restoration.rebuilt`; the backup is not good, or the server cannot take it.
    """
    began = datetime.datetime.now(datetime.UTC)
    clock = time.monotonic()
    manifest = backup.manifest
    name = f"{manifest.database}_drill"
    with (
        target.server_for(manifest) as connection,
        rebuilt(connection, backup, name, identity=identity, on_progress=on_progress) as restored,
    ):
        findings: list[Finding] = []
        if not restored.deviations:
            on_progress("Verifying", 0, 0)
            # No job runs: retention would delete what is being looked at.
            target.start_jobs(name, run=False)
            to_head(name, manifest)
            schedule_jobs(name, manifest.scheduled_jobs, later=True)
            with on_database(name), maintained_database() as engine:
                findings = verify(engine, without=OF_THE_PRESENT).findings
    return Drill(
        backup,
        began,
        round(time.monotonic() - clock, 1),
        [str(one) for one in restored.deviations],
        findings,
        restored.compared,
    )


def write_report(folder: Path, found: Drill) -> Path:
    """Write the report beside the backups; the path of the file."""
    path = folder / f"drill-{found.began:%Y%m%dT%H%M%SZ}.json"
    path.write_text(json.dumps(found.as_dict(), indent=1) + "\n", encoding="utf-8")
    return path
