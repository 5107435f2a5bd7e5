"""Every block of docs/recipes.md runs, as the role that it names, and answers what it says."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection

from models.shared.roles import ROLE_NAMES
from operations.access import context
from tests.support.commands import ROOT
from tests.support.databases import LONG
from tests.support.engines import engine_of
from tests.support.signed import key_in

RECIPES = ROOT / "docs" / "recipes.md"
OWNER = uuid.UUID(int=0x0E)


@dataclass(frozen=True)
class Recipe:
    """One block of SQL."""

    title: str
    role: str
    sql: str
    answer: list[str]
    """Rows of the last statement, as in ``Result: true, 2``; empty where none are shown."""


def chapters() -> dict[str, list[Recipe]]:
    """Heading of a chapter to its recipes; each chapter runs in a database of its own."""
    found: dict[str, list[Recipe]] = {}
    for chapter in re.split(r"^## ", RECIPES.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        heading, _, body = chapter.partition("\n")
        recipes = found.setdefault(heading.strip(), [])
        for section in re.split(r"^### ", body, flags=re.MULTILINE)[1:]:
            title, _, text = section.partition("\n")
            role = "fleet_app"
            for match in re.finditer(
                r"^Role: `?(\w+)`?|^```sql\n(.*?)^```\n((?:\n?Result: .*\n?)*)",
                text,
                flags=re.MULTILINE | re.DOTALL,
            ):
                if match[1]:
                    role = match[1]
                else:
                    answer = re.findall(r"^Result: (.*)$", match[3], flags=re.MULTILINE)
                    recipes.append(Recipe(title.strip(), role, match[2], answer))
    return found


def test_there_are_recipes() -> None:
    found = chapters()
    assert len(found) >= 5
    assert sum(map(len, found.values())) >= 30
    roles = {recipe.role for recipes in found.values() for recipe in recipes}
    assert roles <= set(ROLE_NAMES)


@pytest.mark.parametrize("chapter", chapters() if RECIPES.exists() else [])
@pytest.mark.parametrize("signed", [False, True] if LONG else [False])
def test_recipes(chapter: str, signed: bool, seeded_database: str, tmp_path: Path) -> None:
    with engine_of(seeded_database) as engine:
        with engine.begin() as connection:
            tenant = _provision(connection)
        context.rotate(engine, tmp_path / "key")
        token = key_in(tmp_path / "key").token(tenant)
        if signed:
            with engine.begin() as connection:
                context.sign(connection)
        for recipe in chapters()[chapter]:
            with engine.begin() as connection:
                connection.exec_driver_sql(f"SET LOCAL ROLE {recipe.role}")
                bound = sa.text(
                    "SELECT set_config('app.tenant_id', :tenant, true),"
                    " set_config('app.tenant_token', :token, true)"
                )
                connection.execute(bound, {"tenant": str(tenant), "token": token})
                answer = _run(connection, recipe)
            if recipe.answer:
                assert answer == recipe.answer, recipe.title


def _provision(connection: Connection) -> uuid.UUID:
    """The tenant acme of the recipes, whose owner is ann@acme.example."""
    connection.exec_driver_sql(
        f"INSERT INTO users (id, email, display_name) VALUES ('{OWNER}', 'ann@acme.example', 'Ann')"
    )
    connection.exec_driver_sql("SET LOCAL ROLE fleet_operator")
    made: uuid.UUID = connection.exec_driver_sql(
        f"SELECT provision_tenant('acme', 'Acme Industrial', '{OWNER}', 'growth')"
    ).scalar_one()
    connection.exec_driver_sql("RESET ROLE")
    return made


def _run(connection: Connection, recipe: Recipe) -> list[str]:
    """Run all statements; the rows of the last one that has any."""
    driver = connection.connection.driver_connection
    assert driver is not None
    cursor = driver.execute(recipe.sql)
    rows: list[str] = []
    while True:
        if cursor.description:
            rows = [", ".join(map(_shown, row)) for row in cursor.fetchall()]
        if not cursor.nextset():
            return rows


def _shown(value: object) -> str:
    if value is None:
        return "NULL"
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_the_file_is_where_the_readme_says() -> None:
    assert Path("docs/recipes.md").name in (ROOT / "README.md").read_text(encoding="utf-8")
