"""A release locks the revisions that are new, and refuses files that contradict each other."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from database.migration.revisions import RevisionError, Revisions
from tests.support.alembic_project import copy_project, operations

FILE = '''"""{number}"""

from alembic import op

revision = "{number}"
down_revision = {before}


def upgrade() -> None:
    pass


def downgrade() -> None:
    op.execute("SELECT 1")
'''


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    """Four revisions; 0001 and 0002 are released."""
    folder = tmp_path / "versions"
    folder.mkdir()
    (folder / "CHECKSUMS").touch()
    for number in range(1, 5):
        write(folder, number)
        (folder / "HEAD").write_text(f"{number:04d}\n")
        if number == 2:
            revisions(folder).release()
    return folder


def write(folder: Path, number: int, before: int | None = None) -> Path:
    followed = number - 1 if before is None else before
    path = folder / f"{number:04d}_change.py"
    path.write_text(
        FILE.format(number=f"{number:04d}", before=f'"{followed:04d}"' if followed else None)
    )
    return path


def revisions(folder: Path) -> Revisions:
    return Revisions(ScriptDirectory(str(folder.parent)))


def released(folder: Path) -> list[str]:
    return [line.split()[1] for line in (folder / "CHECKSUMS").read_text().splitlines()]


def edit(path: Path) -> None:
    path.write_text(path.read_text() + "# edited\n")


def test_new_revisions_are_locked_once(versions: Path) -> None:
    before = (versions / "CHECKSUMS").read_text()
    assert released(versions) == ["0001", "0002"]
    assert revisions(versions).release() == ["0003", "0004"]
    assert released(versions) == ["0001", "0002", "0003", "0004"]
    assert (versions / "CHECKSUMS").read_text().startswith(before)
    assert revisions(versions).release() == []


def test_a_revision_may_be_edited_until_it_is_released(versions: Path) -> None:
    edit(versions / "0004_change.py")
    revisions(versions).verify()
    revisions(versions).release()
    revisions(versions).verify()
    edit(versions / "0004_change.py")
    with pytest.raises(RevisionError, match=r"0004_change\.py: expected checksum .* never edited"):
        revisions(versions).verify()


def without_line(number: int) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        path = folder / "CHECKSUMS"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[: number - 1] + lines[number:]))

    return remove


def unparsable(folder: Path) -> None:
    (folder / "0004_change.py").write_text("def upgrade(:\n")


def without_file(number: int) -> Callable[[Path], None]:
    return lambda folder: (folder / f"{number:04d}_change.py").unlink()


def last_two_removed(folder: Path) -> None:
    for number in (2, 3, 4):
        without_file(number)(folder)
    (folder / "HEAD").write_text("0001\n")


def conflict(folder: Path) -> None:
    path = folder / "CHECKSUMS"
    path.write_text(f"<<<<<<< HEAD\n{path.read_text()}")


UNCLEAN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a released file changed": (
        lambda folder: edit(folder / "0002_change.py"),
        r"0002_change\.py: expected checksum .* restore the file with git",
    ),
    "a released file is missing": (
        last_two_removed,
        "expected a file for the released revision 0002, found none: restore it with git",
    ),
    "CHECKSUMS skips a revision": (
        without_line(1),
        "CHECKSUMS: expected a line for revision 0001, found none, although 0002 after it",
    ),
    "CHECKSUMS holds something else": (conflict, r"CHECKSUMS:1: .* found '<<<<<<< HEAD'"),
    "a file does not parse": (unparsable, r"0004_change\.py:1: expected Python, found"),
    "a file in between is missing": (
        without_file(3),
        "expected a file for revision 0003, which 0004 follows, found none",
    ),
    "HEAD names a revision that is gone": (
        without_file(4),
        r"HEAD: expected 0003_change, .* found 0004: restore .*: echo 0003_change > ",
    ),
    "HEAD names an older revision": (
        lambda folder: (folder / "HEAD").write_text("0003_change\n"),
        "HEAD: expected 0004_change, the newest revision, found 0003_change: if 0004_change is",
    ),
    "HEAD holds a conflict": (
        lambda folder: (folder / "HEAD").write_text(
            "<<<<<<< HEAD\n0003_change\n=======\n0004_change\n>>>>>>> other\n"
        ),
        "HEAD: expected 0004_change, .*, found both sides of a merge: accept the newest one, run",
    ),
    "HEAD is missing": (
        lambda folder: (folder / "HEAD").unlink(),
        "HEAD: expected 0004_change, .*, found no such file: restore HEAD with git",
    ),
    "two revisions follow the same one": (
        lambda folder: write(folder, 5, before=3),
        "expected one head, found 0004, 0005",
    ),
}


@pytest.mark.parametrize("state", UNCLEAN)
def test_upgrade_check_and_release_refuse_an_unclean_state(versions: Path, state: str) -> None:
    make, message = UNCLEAN[state]
    make(versions)
    checksums = (versions / "CHECKSUMS").read_text()
    with pytest.raises(RevisionError, match=message):
        revisions(versions).verify()
    with pytest.raises(RevisionError, match=message):
        revisions(versions).release()
    assert (versions / "CHECKSUMS").read_text() == checksums


def test_a_release_refuses_a_gap_in_the_numbers(versions: Path) -> None:
    write(versions, 6, before=4)
    (versions / "HEAD").write_text("0006\n")
    with pytest.raises(RevisionError, match=r"0006_change\.py: expected revision 0005 in a file"):
        revisions(versions).release()


def test_the_command_says_how_many_it_locked(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    folder = project / "alembic" / "versions"
    for path in folder.glob("*"):
        if path.is_file():
            path.unlink()
    (folder / "CHECKSUMS").touch()
    for number in (1, 2, 3):
        write(folder, number)
    (folder / "HEAD").write_text("0003\n")

    def release() -> subprocess.CompletedProcess[str]:
        return operations("revision", "release", url=None, cwd=project)

    assert release().stdout == "Locked 3 revisions: 0001 to 0003\n"
    assert release().stdout == "Nothing to lock: all 3 revisions are released\n"
    edit(folder / "0002_change.py")
    refused = release()
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: 0002_change.py: expected checksum ")
