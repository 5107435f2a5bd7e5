"""What loses rows is said at generation, refused until accepted, and said in the runner's line."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.operations import ops

from database.migration.acceptance import acceptances
from ddl.effects import effects
from tests.support.alembic_project import alembic, copy_project, failure
from tests.support.commands import ROOT
from tests.support.engines import engine_of

EXTRA = (
    "ALTER TABLE account_tiers ADD COLUMN slogan text",
    "CREATE TABLE leaflets (id int PRIMARY KEY)",
    "INSERT INTO leaflets SELECT generate_series(1, 1204)",
    "UPDATE account_tiers SET slogan = 'as much as you like'",
)
ACCEPTANCES = (
    "# accept drop-column public.account_tiers.slogan:",
    "# accept drop-table public.leaflets:",
)


HEAD = (ROOT / "alembic/versions/HEAD").read_text()[:4]


@pytest.fixture
def project(migrated_database: str, tmp_path: Path) -> tuple[str, Path]:
    """A database with more than the models declare, filled, and a project that compares them."""
    with engine_of(migrated_database) as engine, engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
        connection.execute(
            sa.text("INSERT INTO account_tiers (tier_id, name) VALUES ('s', 'S'), ('m', 'M')")
        )
        for statement in EXTRA:
            connection.execute(sa.text(statement))
    return migrated_database, copy_project(tmp_path / "project")


def generated(url: str, folder: Path) -> tuple[Path, str]:
    """The file that autogenerate writes, and what it prints."""
    result = alembic("revision", "--autogenerate", "-m", "less", url=url, cwd=folder)
    assert result.returncode == 0, result.stderr
    return next((folder / "alembic/versions").glob("*_less.py")), result.stdout


def test_a_loss_is_said_at_generation(project: tuple[str, Path]) -> None:
    path, printed = generated(*project)
    text = path.read_text()
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert "destructive column public.account_tiers.slogan found, not declared" in lines
    assert "destructive table public.leaflets found, not declared" in lines
    for reason, acceptance in zip(
        ("drops the column, 2 rows", "drops the table, 1,204 rows"), ACCEPTANCES, strict=True
    ):
        assert f"    # destructive: {reason}\n    {acceptance}\n    op.drop_" in text
        said = [line for line in lines if line.startswith(f"! destructive: {reason} ")]
        assert [line.partition("says why: ")[2] for line in said] == [acceptance]
        # The lint at the end says it with the line of the file.
        number = text.splitlines().index(f"    {acceptance}") + 1
        assert any(f"! {path.name}:{number}: accepts " in line for line in lines), printed


def test_it_is_refused_until_the_revision_accepts_it(project: tuple[str, Path]) -> None:
    url, folder = project
    path, _ = generated(url, folder)
    head = path.name[:4]
    for arguments in (("upgrade", "head"), ("upgrade", f"{HEAD}:{head}", "--sql")):
        message = failure(alembic(*arguments, url=url, cwd=folder))
        assert message.startswith(f"{path.name}:"), message
        assert any(acceptance in message for acceptance in ACCEPTANCES), message
    with engine_of(url) as engine, engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM leaflets")) == 1204
    path.write_text(path.read_text().replace(f"{ACCEPTANCES[0]}", f"{ACCEPTANCES[0]} unused"))
    message = failure(alembic("upgrade", "head", url=url, cwd=folder))
    assert "drops the table, 1,204 rows (public.leaflets)" in message
    path.write_text(path.read_text().replace(ACCEPTANCES[1], f"{ACCEPTANCES[1]} out of print"))
    result = alembic("upgrade", "head", url=url, cwd=folder)
    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.startswith(f"  + {path.stem}")]
    assert "destructive: drop-table public.leaflets, drops the table, 1,204 rows" in line
    assert "destructive: drop-column public.account_tiers.slogan, drops the column, 2 rows" in line


def written(url: str, folder: Path, name: str, *upgrade: str) -> Path:
    """A revision by hand."""
    assert alembic("revision", "-m", name, url=url, cwd=folder).returncode == 0
    path = next((folder / "alembic/versions").glob(f"*_{name}.py"))
    path.write_text(path.read_text().replace("pass", "\n    ".join(upgrade), 1))
    return path


def stands_at(url: str) -> str:
    with engine_of(url) as engine, engine.connect() as connection:
        return str(connection.scalar(sa.text("SELECT version_num FROM alembic_version")))


def test_it_is_refused_before_the_first_statement_of_all_that_would_run(
    project: tuple[str, Path],
) -> None:
    url, folder = project
    written(url, folder, "first", 'op.create_table("notes", sa.Column("id", sa.Text))')
    # Neither the server nor the runner may come to the first line.
    path = written(
        url,
        folder,
        "second",
        'op.execute("SELECT no_such_column")',
        'op.drop_column("account_tiers", "slogan")',
        'op.execute("DELETE FROM leaflets WHERE id > 4")',
    )
    losses = (
        f"{path.name}:{{}}: drop-column: destructive: drops the column, 2 rows"
        f" (public.account_tiers.slogan), which the revision does not accept; if it is meant,"
        f" write above it: {ACCEPTANCES[0]} and the reason\n"
        f"{path.name}:{{}}: delete: destructive: deletes rows, 1,204 rows (public.leaflets), which"
        f" the revision does not accept; if it is meant, write above it:"
        f" # accept delete public.leaflets: and the reason"
    )
    number = (
        path.read_text().splitlines().index('    op.drop_column("account_tiers", "slogan")') + 1
    )
    message = failure(alembic("upgrade", "head", url=url, cwd=folder))
    assert message.strip() == losses.format(number, number + 1)
    assert stands_at(url) == HEAD
    script = alembic("upgrade", f"{HEAD}:head", "--sql", url=url, cwd=folder)
    assert f"{path.name}:{number}: drop-column" in failure(script)
    assert "CREATE" not in script.stdout
    # Going no further than the first is no loss.
    assert alembic("upgrade", "+1", url=url, cwd=folder).returncode == 0
    assert stands_at(url) == f"{int(HEAD) + 1:04d}"


def test_what_depends_on_the_database_is_refused_when_it_comes_to_it(
    project: tuple[str, Path],
) -> None:
    url, folder = project
    path = written(
        url,
        folder,
        "reads",
        'if op.get_bind().exec_driver_sql("SELECT count(*) FROM leaflets").scalar() > 0:',
        '    op.drop_table("leaflets")',
    )
    message = failure(alembic("upgrade", "head", url=url, cwd=folder))
    assert message.startswith(f"{path.name}:")
    assert ": drop-table: destructive: drops the table, 1,204 rows (public.leaflets)" in message
    assert stands_at(url) == HEAD


@pytest.mark.parametrize("name", ["note", "a:b", "a: b", "line\nbreak", "100%"])
def test_any_name_can_be_accepted(name: str, tmp_path: Path) -> None:
    (effect,) = effects([ops.DropColumnOp("t", name)])
    path = tmp_path / "0001_x.py"
    for reason, accepted in (("", False), (" unused since 7: see a", True)):
        path.write_text(f"    {effect.acceptance}{reason}\n")
        (line,) = acceptances(path)
        assert line.covers(effect) is accepted
        (other,) = effects([ops.DropColumnOp("t", f"{name}s")])
        assert not line.covers(other)


def test_a_downgrade_says_what_goes_and_needs_no_acceptance(
    migrated_database: str, tmp_path: Path
) -> None:
    folder = copy_project(tmp_path / "project")
    assert alembic("revision", "-m", "more", url=migrated_database, cwd=folder).returncode == 0
    path = next((folder / "alembic/versions").glob("*_more.py"))
    text = path.read_text().replace("pass", 'op.create_table("notes", sa.Column("id", sa.Text))', 1)
    path.write_text(text.replace("pass", 'op.drop_table("notes")'))
    for rows, expected in (
        (0, ""),
        (3, "destructive: drop-table public.notes, drops the table, 3 rows"),
    ):
        assert alembic("upgrade", "head", url=migrated_database, cwd=folder).returncode == 0
        with engine_of(migrated_database) as engine, engine.begin() as connection:
            connection.execute(
                sa.text("INSERT INTO notes SELECT generate_series(1, :rows)"), {"rows": rows}
            )
        result = alembic("downgrade", "-1", url=migrated_database, cwd=folder)
        assert result.returncode == 0, result.stderr
        (line,) = [line for line in result.stdout.splitlines() if line.startswith("  - ")]
        assert line.partition(" s  ")[2] == expected


def test_a_released_revision_is_not_asked_again(project: tuple[str, Path]) -> None:
    """It cannot be edited any more, and `make release` has linted it."""
    url, folder = project
    path, _ = generated(url, folder)
    lines = [
        f"{hashlib.sha256(one.read_bytes()).hexdigest()}  {one.name[:4]}\n"
        for one in sorted(path.parent.glob("*.py"))
    ]
    (path.parent / "CHECKSUMS").write_text("".join(lines))
    result = alembic("upgrade", "head", url=url, cwd=folder)
    assert result.returncode == 0, result.stderr


def test_the_statement_that_fails_has_its_line(migrated_database: str, tmp_path: Path) -> None:
    folder = copy_project(tmp_path / "project")
    assert alembic("revision", "-m", "breaks", url=migrated_database, cwd=folder).returncode == 0
    path = next((folder / "alembic/versions").glob("*_breaks.py"))
    call = 'op.add_constraint("sites", "odd", "CHECK (no_such_column > 1)")'
    path.write_text(path.read_text().replace("pass", call, 1))
    number = path.read_text().splitlines().index(f"    {call}") + 1
    message = failure(alembic("upgrade", "head", url=migrated_database, cwd=folder))
    assert message.startswith(f"{path.name}:{number}: {call}\nthe server refused a statement: ")
