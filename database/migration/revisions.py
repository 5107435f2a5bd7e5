"""The files of the revisions: their numbers, the head, and checksums that never change.

``alembic/versions/HEAD`` names the newest revision, so that two branches which both add one
conflict in git; ``CHECKSUMS`` has a line per revision, so that a released one is not edited
unseen. Both are written by the tooling, whenever a revision is generated or sealed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from alembic.script import ScriptDirectory, write_hooks

from database.errors import FleetSchemaError

SEAL = "python -m operations revision seal"


class RevisionError(FleetSchemaError):
    """The revision files contradict each other, or what was recorded about them."""


class Revisions:
    """The revision files of a script directory, oldest first."""

    def __init__(self, script: ScriptDirectory) -> None:
        self.script = script
        self.directory = Path(script.versions)
        heads = script.get_heads()
        if len(heads) > 1:
            raise RevisionError(
                f"{self.directory}: expected one head, found {', '.join(sorted(heads))}: two "
                "branches added a revision; renumber yours to follow the other (down_revision and "
                f"file name), then run: {SEAL}"
            )
        self.head: str | None = heads[0] if heads else None
        self.files = {
            revision.revision: Path(revision.path)
            for revision in reversed(list(script.walk_revisions()))
        }

    def next_number(self) -> str:
        """The number of the revision after the head, four digits: ``0007``."""
        return f"{int(self.head or 0) + 1:04d}"

    def checksum(self, revision: str) -> str:
        """SHA-256 of the file of ``revision``, in hexadecimal."""
        return hashlib.sha256(self.files[revision].read_bytes()).hexdigest()

    def sealed(self) -> dict[str, str]:
        """Revision to recorded checksum, as CHECKSUMS has them."""
        path = self.directory / "CHECKSUMS"
        if not path.exists():
            return {}
        lines = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
        return {fields[1]: fields[0] for fields in lines if len(fields) == 2}

    def verify(self) -> None:
        """Compare HEAD and CHECKSUMS with the files.

        Raises:
            RevisionError: names the file, what was expected, what was found, and the mend.
        """
        recorded = self.sealed()
        for revision, path in self.files.items():
            expected = recorded.get(revision, "no line in CHECKSUMS")
            found = self.checksum(revision)
            if expected != found:
                raise RevisionError(
                    f"{path.name}: expected checksum {expected[:20]}, found {found[:20]}: a "
                    "released revision is never edited (write a new one instead); if it was "
                    f"never released, run: {SEAL}"
                )
        if missing := sorted(recorded.keys() - self.files.keys()):
            raise RevisionError(
                f"{self.directory}: expected a file for revision {missing[0]}, found none: "
                f"bring it back with git, or, if it was never released, run: {SEAL}"
            )
        named = (self.directory / "HEAD").read_text(encoding="utf-8").strip()
        if named != (self.head or "base"):
            raise RevisionError(
                f"{self.directory / 'HEAD'}: expected {self.head or 'base'}, found {named}: "
                f"run: {SEAL}"
            )

    def seal(self) -> list[str]:
        """Write HEAD and CHECKSUMS; only the newest revision may have changed.

        Returns the revisions whose line is new.

        Raises:
            RevisionError: an older revision was edited, which no command mends.
        """
        recorded = self.sealed()
        current = {revision: self.checksum(revision) for revision in self.files}
        for revision, checksum in current.items():
            if revision != self.head and recorded.get(revision, checksum) != checksum:
                raise RevisionError(
                    f"{self.files[revision].name}: expected the content that was recorded, found "
                    "another: only the newest revision may still change; restore it with git and "
                    "write a new revision"
                )
        lines = [f"{checksum}  {revision}\n" for revision, checksum in current.items()]
        (self.directory / "CHECKSUMS").write_text("".join(lines), encoding="utf-8")
        (self.directory / "HEAD").write_text(f"{self.head or 'base'}\n", encoding="utf-8")
        return [key for key, value in current.items() if recorded.get(key) != value]


@write_hooks.register("seal")
def _seal(filename: str, _options: dict[str, Any]) -> None:
    """After Alembic wrote a revision: the file is there, so a fresh look finds it."""
    Revisions(ScriptDirectory(str(Path(filename).parents[1]))).seal()
