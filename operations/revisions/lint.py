"""Checks of revisions: what they lose, their code, and their SQL by squawk.

Squawk knows what locks busy tables; what loses rows is known by ``ddl.effects``.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic.script import ScriptDirectory, write_hooks

from database.errors import FleetSchemaError
from database.migration.acceptance import Acceptance, acceptances, refusal
from database.migration.rehearsal import Rehearsal, rehearse
from database.migration.revisions import Revisions
from operations.console import write

# Why each rule is off:
_EXCLUDED = {
    "prefer-robust-stmts": "every revision is one transaction: nothing is done by half",
    "require-timeout-settings": "the runner sets lock_timeout for its session",
    "require-lock-timeout": "the runner sets lock_timeout for its session",
    "require-statement-timeout": "building an index may take long",
    "ban-drop-table": "drop-table asks for it with the name of the table",
    "ban-drop-column": "drop-column asks for it with the name of the column",
    "prefer-bigint-over-int": "counts and small numbers are declared as wide as they need",
    "prefer-bigint-over-smallint": "counts and small numbers are declared as wide as they need",
}

_FORBIDDEN = {
    "models": "a revision must not change its meaning when the models do",
    "ddl": "a revision must not change its meaning when the code does",
    "database": "a revision must not change its meaning when the code does",
}


def lint(revisions: Revisions, only: Iterable[str] | None = None) -> list[str]:
    """Complaints about the revisions, a line each: file, line, rule, what is wrong.

    A revision may accept one: ``# accept ban-drop-function: only the trigger used it``; what
    loses rows with the name of the object, ``# accept drop-column public.pumps.maker: …``.

    Args:
        only: the revisions to look at; all by default.

    Raises:
        FleetSchemaError: squawk is not installed.
    """
    found = []
    for revision in revisions.files if only is None else only:
        path = revisions.files[revision]
        upgrade = getattr(revisions.script.get_revision(revision).module, "upgrade", None)
        rehearsal = rehearse(path, upgrade)
        complaints = [*_losses(path, rehearsal), *_locks(path, rehearsal)]
        found += [str(one) for one in _source(path)]
        found += _without_accepted(path, complaints)
    return found


@write_hooks.register("lint")
def _written(filename: str, _options: dict[str, Any]) -> None:
    """After Alembic wrote a revision: the complaints, while its writer reads it."""
    revisions = Revisions(ScriptDirectory(str(Path(filename).parents[1])))
    (revision,) = [one for one, path in revisions.files.items() if path == Path(filename)]
    try:
        complaints = lint(revisions, [revision])
    except FleetSchemaError as error:
        complaints = [str(error)]
    for line in complaints:
        write(f"  ! {line}")


@dataclass(frozen=True)
class Complaint:
    """What is wrong at a line of a revision file; without a rule it cannot be accepted."""

    path: Path
    line: int
    text: str
    rule: str = ""
    name: str = ""
    harmless: bool = False
    """Nobody needs to know, but a revision may have accepted it."""

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}: {self.text}"

    def is_accepted_by(self, acceptance: Acceptance) -> bool:
        """True where it names the rule, and the object of one that loses rows."""
        named = bool(self.rule) and self.rule == acceptance.rule
        return named and acceptance.reason(self.name) is not None


def _without_accepted(path: Path, complaints: list[Complaint]) -> list[str]:
    """Complaints that the revision does not accept, and invalid acceptances."""
    found = []
    for acceptance in acceptances(path):
        matching = [one for one in complaints if one.is_accepted_by(acceptance)]
        what = acceptance.what
        if matching:
            what = f"{acceptance.rule} {matching[0].name}".strip()
        if matching and not acceptance.reason(matching[0].name):
            text = f"accepts {what} without a reason: # accept {what}: why"
            found.append(str(Complaint(path, acceptance.line, text)))
        elif not matching:
            text = f"accepts {what}, about which there is no complaint: remove the line"
            found.append(str(Complaint(path, acceptance.line, text)))
        complaints = [one for one in complaints if one not in matching]
    return [str(one) for one in complaints if not one.harmless] + found


# --- what its operations do -------------------------------------------------------------------


def _losses(path: Path, rehearsal: Rehearsal) -> list[Complaint]:
    """What the revision loses, and why it cannot be carried out, if so."""
    found = [
        Complaint(path, place.line, refusal(effect, effect.reason), effect.rule, effect.name)
        for place, effect in rehearsal.losses
    ]
    if (error := rehearsal.error) is not None:
        line = rehearsal.calls[-1][1] if rehearsal.calls else 1
        said = str(error).partition("\n")[0]
        text = f"upgrade() fails: {type(error).__name__}: {said}"
        found.append(Complaint(path, line, text))
    return found


def _locks(path: Path, rehearsal: Rehearsal) -> list[Complaint]:
    """Squawk's complaints, at the lines of the file whose SQL it complains of."""
    program = Path(sysconfig.get_path("scripts")) / "squawk"
    if not program.exists():
        raise FleetSchemaError(f"{program} is missing: run: pip install -e '.[dev]'")
    arguments = [
        str(program),
        "--assume-in-transaction",
        "--reporter",
        "gcc",
        "--exclude",
        ",".join(_EXCLUDED),
        "--stdin-filepath",
        f"{path.stem}.sql",
    ]
    # --assume-in-transaction stands for the transaction of the runner.
    script = re.sub(r"(?m)^(BEGIN|COMMIT);$", "", rehearsal.sql)
    result = subprocess.run(arguments, input=script, capture_output=True, text=True, check=False)
    if result.returncode not in (0, 1):
        raise FleetSchemaError(f"squawk failed on {path.name}: {result.stderr.strip()}")
    found = []
    for match in re.finditer(r"(?m)^\S+\.sql:(\d+):\d+: (\w+): ([\w-]+) (.*)$", result.stdout):
        begun = [line for start, line in rehearsal.calls if start <= int(match[1]) + 1]
        line = begun[-1] if begun else 1
        text = f"{match[3]}: {match[4].rstrip('.')}; if that is safe here: # accept {match[3]}: why"
        harmless = match[3] == "ban-drop-view" and _is_made_again(script, int(match[1]))
        found.append(Complaint(path, line, text, match[3], harmless=harmless))
    return found


def _is_made_again(script: str, number: int) -> bool:
    """Whether the view that is dropped at a line, from 0 on, is created further down."""
    lines = script.splitlines()[number:]
    dropped = re.search(
        r"DROP (?:MATERIALIZED )?VIEW (?:IF EXISTS )?(\S+?)(?: CASCADE)?;", lines[0]
    )
    if dropped is None:
        return False
    made = rf"CREATE (?:OR REPLACE )?(?:MATERIALIZED )?VIEW {re.escape(dropped[1])}\s"
    return any(re.search(made, line) for line in lines[1:])


# --- its code ---------------------------------------------------------------------------------


def _source(path: Path) -> list[Complaint]:
    """Imports of the project, reads of the database, and a downgrade that does nothing."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    # A revision in which nothing is written yet is no mistake.
    irreversible = "upgrade" in functions and not _is_empty(functions["upgrade"])
    found = []
    for node in ast.walk(tree):
        text = None
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            module = node.module if isinstance(node, ast.ImportFrom) else names[0]
            top = (module or "").split(".")[0]
            if top in _FORBIDDEN:
                text = f"imports {top}: {_FORBIDDEN[top]}"
        if isinstance(node, ast.Attribute) and node.attr in ("get_bind", "scalar", "scalars"):
            text = f"{node.attr} reads the database, which --sql cannot"
        if isinstance(node, ast.Call):
            text = _never_executed(node) or text
        if irreversible and node is functions.get("downgrade") and _is_empty(node):
            text = "downgrade() does nothing"
        if text is not None:
            found.append(Complaint(path, getattr(node, "lineno", 1), text))
    return found


def _never_executed(call: ast.Call) -> str | None:
    """Why a statement given to op.execute() does not belong in a revision; None if it does."""
    named = isinstance(call.func, ast.Attribute) and call.func.attr == "execute"
    given = call.args[0] if named and call.args else None
    if not isinstance(given, ast.Constant) or not isinstance(given.value, str):
        return None
    word = given.value.split(maxsplit=1)[0].upper().rstrip(";") if given.value.strip() else ""
    if word in ("BEGIN", "COMMIT", "ROLLBACK", "START"):
        return f"{word} ends the transaction in which the runner records this revision: remove it"
    return None


def _is_empty(function: ast.FunctionDef) -> bool:
    return all(isinstance(statement, ast.Pass) for statement in function.body)
