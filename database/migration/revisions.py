"""The files of the revisions: their numbers, the newest, and which of them are released.

``alembic/versions/HEAD`` names the file of the newest revision, so that two branches that both
add one conflict in git, also where they gave it the same number; a hook writes it when a revision
is generated. ``CHECKSUMS`` has a line for each released revision, written by ``make release``. A
released revision never changes again, since it has been applied to databases that cannot be seen
from here; one that is not released may be edited.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from pathlib import Path
from typing import Any

from alembic.script import ScriptDirectory, write_hooks

from database.errors import FleetSchemaError

_ABSENT = re.compile(r"Revision (\w+) referenced from \S+ -> (\w+)")
_TWICE = re.compile(r"Revision (\w+) is present more than once")
_LINE = re.compile(r"(?P<checksum>[0-9a-f]{64})  (?P<revision>\w+)")


class RevisionError(FleetSchemaError):
    """The revision files contradict each other, HEAD or CHECKSUMS."""


class Revisions:
    """The revision files of a script directory, oldest first.

    Raises:
        RevisionError: a file is not valid Python, follows a revision without a file, or follows
            the same revision as another.
    """

    def __init__(self, script: ScriptDirectory) -> None:
        self.script = script
        self.directory = Path(script.versions)
        heads = _heads(script)
        if len(heads) > 1:
            raise RevisionError(
                f"{self.directory}: expected one head, found {', '.join(sorted(heads))}: two "
                "branches added a revision; let yours follow the other: make rebase"
            )
        self.head: str | None = heads[0] if heads else None
        self.files = {
            revision.revision: Path(revision.path)
            for revision in reversed(list(script.walk_revisions()))
        }

    def next_number(self) -> str:
        """The number of the revision after the head, four digits: ``0007``.

        Raises:
            RevisionError: the head has no number.
        """
        if self.head is not None and not self.head.isdecimal():
            raise RevisionError(
                f"{self.files[self.head].name}: expected a revision with a number, found "
                f"{self.head}: give it the number after {self.before(self.head)} (file name, "
                "revision and docstring), and write that into alembic/versions/HEAD"
            )
        return f"{int(self.head or 0) + 1:04d}"

    def before(self, revision: str) -> str:
        """The number of the revision before ``revision``, or ``base``."""
        numbers = ["base", *self.files]
        return numbers[numbers.index(revision) - 1]

    def checksum(self, revision: str) -> str:
        """SHA-256 of the file of ``revision``, in hexadecimal."""
        return hashlib.sha256(self.files[revision].read_bytes()).hexdigest()

    def released(self) -> dict[str, str]:
        """Released revision to its checksum, as CHECKSUMS records them.

        Raises:
            RevisionError: a line is not a checksum and a revision, or a revision has two lines.
        """
        path = self.directory / "CHECKSUMS"
        if not path.exists():
            # Without it every released file could be edited.
            raise RevisionError(
                "CHECKSUMS: expected the checksums of the released revisions, found no such file: "
                "restore it with git, or, if nothing is released, run: "
                "touch alembic/versions/CHECKSUMS"
            )
        text = path.read_text(encoding="utf-8")
        found: dict[str, str] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            match = _LINE.fullmatch(line)
            if match is None or match["revision"] in found:
                raise RevisionError(
                    f"CHECKSUMS:{number}: expected a checksum and a revision not listed above, "
                    f"found {line!r}: restore the file with git; only `make release` adds lines"
                )
            found[match["revision"]] = match["checksum"]
        return found

    def verify(self) -> None:
        """Compare the files with CHECKSUMS and HEAD.

        Raises:
            RevisionError: names the file, what was expected, what was found, and the fix.
        """
        self.verify_released()
        named, expected = self._named_head(), self._file_of_head()
        # Until 0.2.0 it was the number alone.
        if named not in (expected, self.head):
            known = {*self.files, *(path.stem for path in self.files.values())}
            if named is None:
                restore = "restore HEAD with git, or run"
            elif "<<<<<<<" in named:
                # The revisions themselves follow one another, or they would have been refused.
                named, restore = "both sides of a merge", "accept the newest one, run"
            elif named in known:
                restore = f"if {expected} is meant to be the newest, run"
            else:
                restore = f"restore the file of {named} with git, or, if it is gone for good, run"
            raise RevisionError(
                f"HEAD: expected {expected}, the newest revision, found {named or 'no such file'}: "
                f"{restore}: echo {expected} > alembic/versions/HEAD"
            )

    def verify_released(self) -> None:
        """Compare the files of the released revisions with CHECKSUMS.

        Raises:
            RevisionError: a released revision changed or has no file, or CHECKSUMS skips one.
        """
        released = self.released()
        if missing := sorted(released.keys() - self.files.keys()):
            raise RevisionError(
                f"{self.directory}: expected a file for the released revision {missing[0]}, found "
                "none: restore it with git"
            )
        skipped: str | None = None
        for revision, path in self.files.items():
            if revision not in released:
                skipped = skipped or revision
                continue
            if skipped:
                raise RevisionError(
                    f"CHECKSUMS: expected a line for revision {skipped}, found none, although "
                    f"{revision} after it is released: restore the file with git"
                )
            found = self.checksum(revision)
            if found != released[revision]:
                raise RevisionError(
                    f"{path.name}: expected checksum {released[revision][:20]}, found "
                    f"{found[:20]}: a released revision is never edited: restore the file with "
                    "git, and write a new revision instead"
                )

    def release(self) -> list[str]:
        """Lock every revision that is not released yet, by its checksum; returns their numbers.

        Raises:
            RevisionError: the files do not pass `verify`, or their numbers have a gap.
        """
        self.verify()
        for number, (revision, path) in enumerate(self.files.items(), start=1):
            expected = f"{number:04d}"
            if revision != expected or not path.name.startswith(f"{expected}_"):
                raise RevisionError(
                    f"{path.name}: expected revision {expected} in a file {expected}_….py, found "
                    f"revision {revision}: numbers have no gaps; renumber it (file name, revision, "
                    "down_revision of the next one, HEAD)"
                )
        added = [revision for revision in self.files if revision not in self.released()]
        lines = [f"{self.checksum(revision)}  {revision}\n" for revision in self.files]
        (self.directory / "CHECKSUMS").write_text("".join(lines), encoding="utf-8")
        return added

    def record_head(self) -> None:
        """Write the name of the newest revision's file, without ending, into HEAD."""
        (self.directory / "HEAD").write_text(f"{self._file_of_head()}\n", encoding="utf-8")

    def _file_of_head(self) -> str:
        return self.files[self.head].stem if self.head is not None else "base"

    def _named_head(self) -> str | None:
        path = self.directory / "HEAD"
        return " ".join(path.read_text(encoding="utf-8").split()) if path.exists() else None


def _heads(script: ScriptDirectory) -> list[str]:
    """Load the files; Alembic's own errors for those that cannot be loaded are tracebacks."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", _ABSENT.pattern)
            warnings.filterwarnings("error", _TWICE.pattern)
            return script.get_heads()
    except SyntaxError as error:
        raise RevisionError(
            f"{Path(error.filename or '').name}:{error.lineno}: expected Python, found "
            f"{error.msg}: correct the file, or restore it with git"
        ) from error
    except UserWarning as warning:
        if twice := _TWICE.match(str(warning)):
            raise RevisionError(
                f"{script.versions}: expected one file for revision {twice[1]}, found two: two "
                "branches added a revision; let yours follow the other: make rebase"
            ) from warning
        absent, follower = _ABSENT.findall(str(warning))[0]
        raise RevisionError(
            f"{script.versions}: expected a file for revision {absent}, which {follower} follows, "
            f"found none: restore it with git, or let {follower} follow a revision that is there "
            "(down_revision)"
        ) from warning


@write_hooks.register("head")
def _head(filename: str, _options: dict[str, Any]) -> None:
    """After Alembic wrote a revision: the file is there, so a fresh look finds it."""
    Revisions(ScriptDirectory(str(Path(filename).parents[1]))).record_head()
