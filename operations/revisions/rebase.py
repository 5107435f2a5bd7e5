"""Two branches, one number: one's own unreleased revisions follow those of the other branch."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from database.errors import FleetSchemaError

_FIELD = r'^{} = (?P<quote>["\'])(?P<value>\w+)(?P=quote)$'
_CONFLICT = re.compile(r"^(<<<<<<<|=======|>>>>>>>)", re.M)
_COMMAND = "make rebase base=BRANCH"
_BASES = ("origin/HEAD", "origin/main", "origin/master", "main", "master")


class RebaseError(FleetSchemaError):
    """The revisions cannot be renumbered; says why, and what to do."""


@dataclass(frozen=True)
class Renumbered:
    """One revision file that got another number."""

    before: Path
    after: Path

    @property
    def numbers(self) -> tuple[str, str]:
        """The number before and after."""
        return self.before.name[:4], self.after.name[:4]


@dataclass(frozen=True)
class _File:
    path: Path
    text: str
    revision: str
    follows: str | None


def rebase(versions: Path, base: str | None = None) -> list[Renumbered]:
    """Give one's own revisions the numbers after the last one of the other branch.

    Own is what the other branch does not have: the one that is being merged, or rebased onto, or
    that the last commit merged, else ``base``. File name, ``revision``, ``down_revision`` and
    docstring change, HEAD names the last one, and CHECKSUMS becomes the other branch's where git
    left a conflict in it.

    Args:
        versions: the folder of the revision files.
        base: a branch or commit of git.

    Raises:
        RebaseError: nothing was changed.
    """
    theirs_at = _base(versions, base)
    names = set(_git(versions, "ls-tree", "--name-only", theirs_at, "./").split())
    files = [_read(path) for path in sorted(versions.glob("*.py"))]
    theirs = [file for file in files if file.path.name in names]
    mine = [file for file in files if file.path.name not in names]
    released = _released(versions, theirs_at)
    if locked := sorted(file.path.name for file in mine if file.revision in released - _of(theirs)):
        raise RebaseError(
            f"{locked[0]} is released: it has been applied to databases that cannot be seen from"
            " here; ask the other branch to follow it, or release it again by another number"
        )
    end = _chain(theirs, None)[-1].revision if theirs else None
    own = _own_chain(mine)
    found: list[Renumbered] = []
    written: list[tuple[Path, str]] = []
    for file in own:
        number = f"{int(end or 0) + 1:04d}"
        after = file.path.with_name(number + re.sub(r"^\d+", "", file.path.name))
        written.append((after, _renumbered(file, number, end)))
        found.append(Renumbered(file.path, after))
        end = number
    for file in own:
        file.path.unlink()
    for path, text in written:
        path.write_text(text, encoding="utf-8")
    last = written[-1][0].stem if written else theirs[-1].path.stem if theirs else "base"
    (versions / "HEAD").write_text(f"{last}\n", encoding="utf-8")
    checksums = versions / "CHECKSUMS"
    if not checksums.exists() or _CONFLICT.search(checksums.read_text(encoding="utf-8")):
        checksums.write_text(_git(versions, "show", f"{theirs_at}:./CHECKSUMS"), encoding="utf-8")
    return [one for one in found if one.before != one.after]


def _base(versions: Path, base: str | None) -> str:
    """The other branch."""
    for name in [base] if base else ["MERGE_HEAD", "REBASE_HEAD", "HEAD^2", *_BASES]:
        if _exists(versions, name):
            # While git rebases, HEAD is the other branch with what was moved onto it already.
            return _onto(versions) if name == "REBASE_HEAD" else name
    named = base or ", ".join(_BASES)
    raise RebaseError(
        f"{versions}: expected a branch that the revisions are to follow, found none of"
        f" {named}: name it: {_COMMAND}"
    )


def _onto(versions: Path) -> str:
    folder = Path(_git(versions, "rev-parse", "--absolute-git-dir").strip())
    for name in ("rebase-merge", "rebase-apply"):
        if (folder / name / "onto").exists():
            return (folder / name / "onto").read_text(encoding="utf-8").strip()
    return "HEAD"


def _exists(versions: Path, name: str) -> bool:
    command = ["git", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"]
    try:
        return (
            subprocess.run(command, cwd=versions, capture_output=True, check=False).returncode == 0
        )
    except OSError as error:
        raise RebaseError(f"git is needed to tell whose revisions are whose: {error}") from error


def _git(versions: Path, *arguments: str) -> str:
    result = subprocess.run(
        ["git", *arguments],  # noqa: S607 (wherever git is)
        cwd=versions,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RebaseError(f"git {' '.join(arguments)}: {result.stderr.strip()}")
    return result.stdout


def _read(path: Path) -> _File:
    """A revision file as text: two with one number cannot both be imported."""
    text = path.read_text(encoding="utf-8")
    if _CONFLICT.search(text):
        raise RebaseError(f"{path.name}: resolve the conflict in this file first")
    found = re.search(_FIELD.format("revision"), text, re.M)
    if found is None:
        raise RebaseError(f'{path.name}: expected a line revision = "…", found none')
    follows = re.search(_FIELD.format("down_revision"), text, re.M)
    return _File(path, text, found["value"], follows["value"] if follows else None)


def _of(files: list[_File]) -> set[str]:
    return {file.revision for file in files}


def _released(versions: Path, theirs_at: str) -> set[str]:
    """The revisions that either side locked."""
    path = versions / "CHECKSUMS"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if _exists_there(versions, theirs_at):
        text += _git(versions, "show", f"{theirs_at}:./CHECKSUMS")
    return set(re.findall(r"^[0-9a-f]{64}  (\w+)$", text, re.M))


def _exists_there(versions: Path, theirs_at: str) -> bool:
    return "CHECKSUMS" in _git(versions, "ls-tree", "--name-only", theirs_at, "./").split()


def _chain(files: list[_File], start: str | None) -> list[_File]:
    """The files one after another, from the one that follows ``start``."""
    found: list[_File] = []
    while followers := [file for file in files if file.follows == start and file not in found]:
        if len(followers) > 1:
            names = " and ".join(file.path.name for file in followers)
            raise RebaseError(
                f"{names} both follow {start or 'base'}: name the other branch: {_COMMAND}"
            )
        found.append(followers[0])
        start = followers[0].revision
    if left := [file.path.name for file in files if file not in found]:
        raise RebaseError(f"{left[0]} follows no revision that is there: restore the one before it")
    return found


def _own_chain(mine: list[_File]) -> list[_File]:
    """One's own files in their order; the first follows what the other branch has."""
    if not mine:
        return []
    firsts = [file for file in mine if file.follows not in _of(mine) - {file.revision}]
    if len(firsts) != 1:
        names = ", ".join(file.path.name for file in mine)
        raise RebaseError(
            f"{names}: expected revisions that follow one another; where some of them are the"
            f" other branch's, name it: {_COMMAND}"
        )
    return _chain(mine, firsts[0].follows)


def _renumbered(file: _File, number: str, follows: str | None) -> str:
    text = re.sub(
        _FIELD.format("revision"), f'revision = "{number}"', file.text, count=1, flags=re.M
    )
    before = "None" if follows is None else f'"{follows}"'
    text = re.sub(r"^down_revision = .*$", f"down_revision = {before}", text, count=1, flags=re.M)
    docstring = f"Revision {number}, after {follows or 'none'}"
    return re.sub(r"^Revision \w+, after \w+", docstring, text, count=1, flags=re.M)
