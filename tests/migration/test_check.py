"""`alembic check` explains drift: a line for each difference, the revision, or JSON."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support.alembic_project import alembic, copy_project, failure
from tests.support.engines import engine_of

DRIFT = (
    "ALTER POLICY tenant_isolation ON sites USING (true)",
    "DROP INDEX ix_device_modules_device_id",
    "GRANT SELECT ON timeseries.telemetry_daily TO fleet_app",
)
CONDITION = "((tenant_id, true) = ( SELECT public.current_tenant() AS current_tenant, true))"
LINES = [
    "blocking index public.device_modules.ix_device_modules_device_id expected, missing",
    f"safe policy public.sites.tenant_isolation using: expected {CONDITION}, found true",
    "safe grant timeseries.telemetry_daily to fleet_app: not declared: SELECT",
]
FIX = 'alembic revision --autogenerate -m "…", then: alembic upgrade head'
SUMMARY = f"3 differences between the models and the database; run: {FIX}"


@pytest.fixture
def drifted(migrated_database: str) -> str:
    """The URL of a database in which a person changed a policy, an index and a grant."""
    with engine_of(migrated_database) as engine, engine.begin() as connection:
        for statement in DRIFT:
            connection.execute(sa.text(statement))
    return migrated_database


def differences(result: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines about one object each, with single spaces."""
    classes = ("safe ", "blocking ", "destructive ", "history-losing ")
    lines = result.stdout.splitlines()
    return [" ".join(line.split()) for line in lines if line.startswith(classes)]


def test_a_line_for_each_difference(drifted: str) -> None:
    result = alembic("check", url=drifted)
    assert differences(result) == LINES
    summary = failure(result).strip()
    assert summary == f"{SUMMARY} (alembic -x show=revision check shows it)"


def test_the_revision_that_would_be_written(drifted: str) -> None:
    result = alembic("-x", "show=revision", "check", url=drifted)
    assert differences(result) == LINES
    assert failure(result).strip() == SUMMARY
    _, _, revision = result.stdout.partition("def upgrade() -> None:\n")
    upgrade, _, downgrade = revision.partition("def downgrade() -> None:\n")
    for call in ("op.alter_policy(", "op.create_index(", "op.revoke("):
        assert f"\n    {call}" in f"\n{upgrade}", result.stdout
    for call in ("op.alter_policy(", "op.drop_index(", "op.grant("):
        assert f"\n    {call}" in f"\n{downgrade}", result.stdout


def test_json_for_programs(drifted: str) -> None:
    result = alembic("-x", "json", "check", url=drifted)
    assert failure(result).strip() == SUMMARY
    assert "FAILED" not in result.stdout
    document = json.loads(result.stdout)
    assert (document["count"], document["fix"]) == (3, FIX)
    found = [(one["kind"], one["name"], one["change"]) for one in document["differences"]]
    assert found == [
        ("index", "public.device_modules.ix_device_modules_device_id", "missing"),
        ("policy", "public.sites.tenant_isolation", "changed"),
        ("grant", "timeseries.telemetry_daily", "changed"),
    ]
    policy, grant = document["differences"][1:]
    expected = " ".join(policy["expected"].split())
    assert (policy["detail"], expected, policy["found"]) == ("using", CONDITION, "true")
    assert (grant["detail"], grant["expected"], grant["found"]) == ("fleet_app", None, "select")
    assert "revision" not in document


def test_json_with_the_revision(drifted: str) -> None:
    result = alembic("-x", "json", "-x", "show=revision", "check", url=drifted)
    assert "op.alter_policy(" in json.loads(result.stdout)["revision"]


def test_no_drift(migrated_database: str) -> None:
    result = alembic("-x", "json", "check", url=migrated_database)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {"count": 0, "differences": []}
    result = alembic("check", url=migrated_database)
    assert result.returncode == 0, result.stderr
    assert differences(result) == []


def test_a_generated_revision_says_the_same_and_fixes_it(drifted: str, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    result = alembic("revision", "--autogenerate", "-m", "fix", url=drifted, cwd=project)
    assert result.returncode == 0, result.stderr
    assert differences(result) == LINES
    for arguments in (("upgrade", "head"), ("check",)):
        result = alembic(*arguments, url=drifted, cwd=project)
        assert result.returncode == 0, result.stdout + result.stderr


def test_what_no_revision_mends(migrated_database: str, tmp_path: Path) -> None:
    rule = "CREATE RULE silent AS ON DELETE TO sites DO INSTEAD NOTHING"
    with engine_of(migrated_database) as engine, engine.begin() as connection:
        connection.execute(sa.text(rule))
    line = "rule silent on public.sites found, not declared; run: DROP RULE silent on public.sites"
    hand = "run what its line ends in, or declare it as Unmanaged(…)"
    result = alembic("check", url=migrated_database)
    assert " ".join(result.stdout.splitlines()[0].split()) == f"by-hand {line}"
    assert failure(result).strip() == (
        f"1 difference between the models and the database, which no revision mends: {hand}"
    )
    result = alembic("-x", "json", "check", url=migrated_database)
    document = json.loads(result.stdout)
    assert (document["count"], document["fix"]) == (1, hand)
    assert document["differences"][0]["mend"] == "DROP RULE silent on public.sites"
    project = copy_project(tmp_path / "project")
    before = sorted(project.glob("alembic/versions/*.py"))
    written = ("revision", "--autogenerate", "-m", "fix")
    result = alembic(*written, url=migrated_database, cwd=project)
    assert result.returncode == 0, result.stderr
    assert line in " ".join(result.stdout.split())
    assert f"No difference that a revision mends; {hand}; no revision written." in result.stdout
    assert sorted(project.glob("alembic/versions/*.py")) == before


def test_no_revision_is_written_that_fails_on_the_rows_at_hand(
    migrated_database: str, tmp_path: Path
) -> None:
    with engine_of(migrated_database) as engine, engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE permissions ALTER COLUMN category DROP NOT NULL"))
        connection.execute(sa.text("INSERT INTO permissions (action) VALUES ('pumps.read')"))
    project = copy_project(tmp_path / "project")
    result = alembic("revision", "--autogenerate", "-m", "x", url=migrated_database, cwd=project)
    assert "column public.permissions.category: expected NOT NULL, found 1 row" in failure(result)
    assert not list(project.glob("alembic/versions/*_x.py"))
    assert len(differences(alembic("check", url=migrated_database, cwd=project))) == 1
