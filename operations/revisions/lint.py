"""Checks of every revision: its code, and its SQL by squawk, which knows what locks busy tables."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

from alembic import command

from database.errors import FleetSchemaError
from database.migration.revisions import Revisions

# Why each rule is off:
_EXCLUDED = {
    "prefer-text-field": "alembic_version is Alembic's own and has varchar(32)",
    "prefer-robust-stmts": "every revision is one transaction: nothing is done by half",
    "require-timeout-settings": "the runner sets lock_timeout for its session",
    "require-lock-timeout": "the runner sets lock_timeout for its session",
    "require-statement-timeout": "building an index may take long",
    "ban-drop-table": "a table that the models no longer declare is meant to be dropped",
    "prefer-bigint-over-int": "counts and small numbers are declared as wide as they need",
    "prefer-bigint-over-smallint": "counts and small numbers are declared as wide as they need",
}

_FORBIDDEN = {
    "models": "a revision must not change its meaning when the models do",
    "ddl": "a revision must not change its meaning when the code does",
    "database": "a revision must not change its meaning when the code does",
}


_ACCEPTED = re.compile(r"^ *# accept ([a-z-]+)(?:: *(.*))?$", re.M)
"""A line of a revision that accepts one complaint, with the reason."""


def lint(revisions: Revisions) -> list[str]:
    """Complaints about the revisions, a line each: file, line, what is wrong.

    A revision may accept one: ``# accept ban-drop-column: nothing reads it since release 7``.

    Raises:
        FleetSchemaError: squawk is not installed.
    """
    found = []
    for revision, path in revisions.files.items():
        found += _source(path)
        found += _without_accepted(path, _sql(revision, path))
    return found


def _without_accepted(path: Path, complaints: list[str]) -> list[str]:
    """Complaints that the revision does not accept, and invalid acceptances."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in _ACCEPTED.finditer(text):
        rule, reason = match[1], match[2]
        kept = [line for line in complaints if f" {rule} " not in line]
        where = f"{path.name}:{text.count(chr(10), 0, match.start()) + 1}"
        if not reason:
            found.append(f"{where}: accepts {rule} without a reason: # accept {rule}: why")
        elif len(kept) == len(complaints):
            found.append(
                f"{where}: accepts {rule}, about which there is no complaint: remove the line"
            )
        complaints = kept
    return complaints + found


def _source(path: Path) -> list[str]:
    """Imports of the project, reads of the database, and a downgrade that does nothing."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            module = node.module if isinstance(node, ast.ImportFrom) else names[0]
            top = (module or "").split(".")[0]
            if top in _FORBIDDEN:
                found.append(f"{path.name}:{node.lineno}: imports {top}: {_FORBIDDEN[top]}")
        if isinstance(node, ast.Attribute) and node.attr in ("get_bind", "scalar", "scalars"):
            found.append(
                f"{path.name}:{node.lineno}: {node.attr} reads the database, which --sql cannot"
            )
        if isinstance(node, ast.Call) and (why := _never_executed(node)):
            found.append(f"{path.name}:{node.lineno}: {why}")
        if isinstance(node, ast.FunctionDef) and node.name == "downgrade" and _is_empty(node):
            found.append(f"{path.name}:{node.lineno}: downgrade() does nothing")
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
    if word == "TRUNCATE":
        return "TRUNCATE deletes all rows of a table, which no downgrade restores"
    return None


def _is_empty(function: ast.FunctionDef) -> bool:
    return all(isinstance(statement, ast.Pass) for statement in function.body)


def _sql(revision: str, path: Path) -> list[str]:
    """Squawk's complaints about the SQL of one revision."""
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
        arguments, input=sql_of(revision), capture_output=True, text=True, check=False
    )
    complaints = [line for line in result.stdout.splitlines() if re.match(r"\S+\.sql:", line)]
    if result.returncode not in (0, 1):
        raise FleetSchemaError(f"squawk failed on {path.name}: {result.stderr.strip()}")
    return complaints


def sql_of(revision: str) -> str:
    """The SQL of one revision, as ``alembic upgrade --sql`` writes it."""
    from operations.revisions.project import alembic_config

    config = alembic_config()
    buffer = io.StringIO()
    config.output_buffer = buffer
    previous = str(int(revision) - 1).zfill(4) if int(revision) > 1 else "base"
    stderr, sys.stderr = sys.stderr, io.StringIO()
    try:
        command.upgrade(config, f"{previous}:{revision}", sql=True)
    finally:
        sys.stderr = stderr
    # --assume-in-transaction stands for the transaction of the runner.
    return re.sub(r"(?m)^(BEGIN|COMMIT);$", "", buffer.getvalue())
