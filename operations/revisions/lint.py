"""Checks of revisions: what they lose, their code, and their SQL by squawk.

Squawk knows what locks busy tables; what loses rows is known by ``ddl.effects``.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alembic.migration import MigrationContext
from alembic.operations.ops import MigrateOperation
from alembic.script import ScriptDirectory, write_hooks

from database.errors import FleetSchemaError
from database.migration.acceptance import Acceptance, acceptances, refusal
from database.migration.revisions import Revisions
from database.migration.watching import Place, watching
from ddl.edition import Edition
from ddl.effects import Effects

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
        recorded = _recorded(revisions, revision)
        complaints = [*recorded.losses, *_locks(path, recorded)]
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
        print(f"  ! {line}")


@dataclass(frozen=True)
class Complaint:
    """What is wrong at a line of a revision file; without a rule it cannot be accepted."""

    path: Path
    line: int
    text: str
    rule: str = ""
    name: str = ""

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}: {self.text}"

    def is_accepted_by(self, acceptance: Acceptance) -> bool:
        """True where it names the rule, and the object of one that loses rows."""
        return bool(self.rule) and (self.rule, self.name) == (acceptance.rule, acceptance.name)


def _without_accepted(path: Path, complaints: list[Complaint]) -> list[str]:
    """Complaints that the revision does not accept, and invalid acceptances."""
    found = []
    for acceptance in acceptances(path):
        matching = [one for one in complaints if one.is_accepted_by(acceptance)]
        what = f"{acceptance.rule} {acceptance.name}".strip()
        if not acceptance.reason:
            text = f"accepts {what} without a reason: # accept {what}: why"
            found.append(str(Complaint(path, acceptance.line, text)))
        elif not matching:
            text = f"accepts {what}, about which there is no complaint: remove the line"
            found.append(str(Complaint(path, acceptance.line, text)))
        complaints = [one for one in complaints if one not in matching]
    return [str(one) for one in complaints] + found


# --- what its operations do -------------------------------------------------------------------


@dataclass
class _Recorded:
    """The SQL of upgrade(), and for each call where in the file it is and where its SQL begins."""

    sql: str = ""
    calls: list[tuple[int, int]] = field(default_factory=list)
    """(line of the SQL, line of the file)"""
    losses: list[Complaint] = field(default_factory=list)

    def line(self, of_sql: int) -> int:
        """The line of the file whose SQL has the line ``of_sql``; both count from 1."""
        return max([(start, line) for start, line in self.calls if start <= of_sql] or [(0, 1)])[1]


def _recorded(revisions: Revisions, revision: str) -> _Recorded:
    """Carry out upgrade() of one revision into a script, as ``alembic upgrade --sql`` does."""
    path = revisions.files[revision]
    recorded, effects, buffer = _Recorded(), Effects(), io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql",
        dialect_opts={"paramstyle": "named"},
        opts={
            "as_sql": True,
            "output_buffer": buffer,
            "literal_binds": True,
            "edition": str(Edition.COMMUNITY),
        },
    )

    def tell(operation: MigrateOperation, place: Place) -> None:
        recorded.calls.append((buffer.getvalue().count("\n") + 1, place.line))
        for effect in effects.of(operation):
            known = {(one.rule, one.name) for one in recorded.losses}
            if effect.risk.loses and (effect.rule, effect.name) not in known:
                text = refusal(effect, effect.reason)
                loss = Complaint(path, place.line, text, effect.rule, effect.name)
                recorded.losses.append(loss)

    upgrade: Any = getattr(revisions.script.get_revision(revision).module, "upgrade", None)
    try:
        with watching(context, tell, {str(path)}):
            upgrade()
    except Exception as error:
        # Anything may be wrong with a file that a person writes.
        line = recorded.calls[-1][1] if recorded.calls else 1
        text = f"upgrade() fails: {type(error).__name__}: {str(error).splitlines()[0]}"
        recorded.losses.append(Complaint(path, line, text))
    # --assume-in-transaction stands for the transaction of the runner.
    recorded.sql = re.sub(r"(?m)^(BEGIN|COMMIT);$", "", buffer.getvalue())
    return recorded


def _locks(path: Path, recorded: _Recorded) -> list[Complaint]:
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
    result = subprocess.run(
        arguments, input=recorded.sql, capture_output=True, text=True, check=False
    )
    if result.returncode not in (0, 1):
        raise FleetSchemaError(f"squawk failed on {path.name}: {result.stderr.strip()}")
    found = []
    for match in re.finditer(r"(?m)^\S+\.sql:(\d+):\d+: (\w+): ([\w-]+) (.*)$", result.stdout):
        line = recorded.line(int(match[1]) + 1)
        text = f"{match[3]}: {match[4].rstrip('.')}; if that is safe here: # accept {match[3]}: why"
        found.append(Complaint(path, line, text, match[3]))
    return found


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
