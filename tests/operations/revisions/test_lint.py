"""The complaints of the lint about a revision, and how a revision accepts one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.alembic_project import copy_project, operations

HEADER = '''"""one"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

'''
DOWN = """

def downgrade() -> None:
    op.execute("SELECT 1")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy without revisions."""
    copy = copy_project(tmp_path_factory.mktemp("lint"))
    for path in (copy / "alembic" / "versions").iterdir():
        if path.is_file():
            path.unlink()
    (copy / "alembic" / "versions" / "CHECKSUMS").touch()
    return copy


def lint(project: Path, upgrade: str) -> tuple[int, list[str]]:
    """Exit code and lines for one revision with ``upgrade`` as the body of its upgrade()."""
    body = "".join(f"    {line}\n" for line in upgrade.splitlines())
    text = f"{HEADER}\ndef upgrade() -> None:\n{body}{DOWN}"
    (project / "alembic" / "versions" / "0001_one.py").write_text(text, encoding="utf-8")
    (project / "alembic" / "versions" / "HEAD").write_text("0001\n", encoding="utf-8")
    result = operations("revision", "lint", url=None, cwd=project)
    assert not result.stderr
    return result.returncode, result.stdout.splitlines()


DROP = 'op.drop_column("sites", "name")'


ACCEPT = "# accept drop-column public.sites.name:"
INDEX = 'op.create_index("ix_sites_name", "sites", ["name"])'


def test_what_loses_rows_is_named_with_its_line_and_how_to_accept_it(project: Path) -> None:
    code, lines = lint(project, f"x = 1\n{DROP}")
    assert code == 1
    (line,) = lines
    assert line == (
        "0001_one.py:13: drop-column: destructive: drops the column (public.sites.name), which"
        f" the revision does not accept; if it is meant, write above it: {ACCEPT} and the reason"
    )


def test_it_can_be_accepted_with_a_reason(project: Path) -> None:
    accepted = f"{ACCEPT} nothing has read it for two releases\n{DROP}"
    assert lint(project, accepted) == (0, ["1 revision checked: safe to deploy"])


def test_another_object_is_not_accepted_along(project: Path) -> None:
    accepted = f'{ACCEPT} nothing reads it\n{DROP}\nop.drop_column("sites", "owner")'
    code, lines = lint(project, accepted)
    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith("0001_one.py:14: drop-column: ")
    assert "public.sites.owner" in lines[0]


@pytest.mark.parametrize("ending", ["", ":", ":  "])
def test_an_acceptance_needs_a_reason(project: Path, ending: str) -> None:
    code, lines = lint(project, f"# accept drop-column public.sites.name{ending}\n{DROP}")
    assert code == 1
    (line,) = lines
    assert line == (
        "0001_one.py:12: accepts drop-column public.sites.name without a reason: # accept"
        " drop-column public.sites.name: why"
    )


def test_an_acceptance_without_a_complaint_is_reported(project: Path) -> None:
    code, lines = lint(project, f"# accept ban-drop-not-null: it is not\n{DROP}")
    assert code == 1
    assert " drop-column: " in lines[0]
    assert lines[1] == (
        "0001_one.py:12: accepts ban-drop-not-null, about which there is no complaint: remove the"
        " line"
    )


def test_what_locks_a_busy_table_is_named_with_its_line(project: Path) -> None:
    body = f'op.execute("SELECT 1")\nop.execute("SELECT\\n2")\n{INDEX}'
    code, lines = lint(project, body)
    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith("0001_one.py:14: require-concurrent-index-creation: ")
    assert lines[0].endswith(
        "; if that is safe here: # accept require-concurrent-index-creation: why"
    )
    accepted = f"# accept require-concurrent-index-creation: it has ten rows\n{INDEX}"
    assert lint(project, accepted) == (0, ["1 revision checked: safe to deploy"])


def test_a_view_that_is_made_again_is_not_lost(project: Path) -> None:
    drop, other = 'op.execute("DROP VIEW s.v")', 'op.execute("DROP VIEW s.w")'
    made = 'op.execute("CREATE VIEW s.v AS SELECT 1")'
    assert lint(project, f"{drop}\n{made}") == (0, ["1 revision checked: safe to deploy"])
    accepted = f"# accept ban-drop-view: made again\n{drop}\n{made}"
    assert lint(project, accepted) == (0, ["1 revision checked: safe to deploy"])
    code, [line] = lint(project, f"{drop}\n{other}\n{made}")
    assert (code, line.partition(" Dropping")[0]) == (1, "0001_one.py:13: ban-drop-view:")


def test_a_revision_that_fails_is_a_complaint(project: Path) -> None:
    code, lines = lint(project, f'{INDEX}\nop.add_colum("sites")')
    assert code == 1
    assert any("0001_one.py:12: upgrade() fails: AttributeError: " in line for line in lines)


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ('from models.shared import base\nop.execute("SELECT 1")', "imports models"),
        ('op.get_bind().execute("SELECT 1")', "get_bind reads the database"),
        ('op.execute("ALTER TABLE sites ALTER name SET NOT NULL")', "adding-not-nullable-field"),
        ('op.execute("CREATE INDEX x ON sites (name)")', "require-concurrent-index-creation"),
    ],
)
def test_what_a_revision_must_not_do(project: Path, statement: str, complaint: str) -> None:
    code, lines = lint(project, statement)
    assert code == 1
    assert any(complaint in line for line in lines), lines


@pytest.mark.parametrize("statement", ["COMMIT", "begin;", "  rollback"])
def test_statements_that_no_revision_may_execute(project: Path, statement: str) -> None:
    code, lines = lint(project, f'op.execute("{statement}")')
    assert code == 1
    assert any(f": {statement.strip().split()[0].upper().rstrip(';')} " in line for line in lines)
