"""The pages of docs/schema: their contents, their markup, and stale pages."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from ddl.base import State
from ddl.catalog import Catalog
from ddl.kinds.view import ViewState
from ddl.rollups import RollupState
from operations.commands.docs import FIX, FOLDER
from operations.documentation import facts as reading
from operations.documentation import pages
from operations.documentation.domain_page import domain_page
from operations.documentation.facts import Column, Facts, ForeignKey
from operations.documentation.grouping import LARGEST, sections
from operations.documentation.isolation_page import isolation_page
from operations.documentation.markdown import GENERATED, anchor, cell, code, prose, table
from operations.documentation.readable_sql import expression, interval
from operations.revisions.project import project_revisions
from operations.text import enumeration
from tests.support.alembic_project import copy_project, operations
from tests.support.databases import MakeDatabase
from tests.support.engines import engine_of
from tests.support.servers import DatabaseServer
from tests.support.time_series import migrate


def made_from(url: str) -> dict[str, str]:
    with engine_of(url) as engine:
        return pages.target_pages(engine, project_revisions())


@pytest.fixture(scope="module")
def at_head(make_shared_database: MakeDatabase) -> str:
    """The URL of a database at head, in which no test changes anything."""
    return make_shared_database(like=migrate)


@pytest.fixture(scope="module")
def target(at_head: str) -> dict[str, str]:
    """Its pages."""
    return made_from(at_head)


# --- they are true ---


def test_the_pages_in_the_project_are_not_stale(target: dict[str, str]) -> None:
    found = pages.stale(FOLDER, target)
    assert not found, "\n".join([*found, f"run: {FIX}"])


def test_every_server_gives_the_same_pages(
    any_server: DatabaseServer, make_database: MakeDatabase, target: dict[str, str]
) -> None:
    """Versions and editions differ in how they spell views, chunks and policies."""
    url = make_database(any_server, like=migrate)
    found = made_from(url)
    assert found.keys() == target.keys()
    for name in target:
        assert found[name] == target[name], name


# Read apart from the code under test: names that a person would look for.
_NAMES = """
SELECT c.relname FROM pg_class c
 WHERE relnamespace IN ('public'::regnamespace, 'timeseries'::regnamespace)
   AND relkind IN ('r', 'p', 'v', 'i')
UNION SELECT a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
 WHERE relnamespace IN ('public'::regnamespace, 'timeseries'::regnamespace)
   AND relkind IN ('r', 'p', 'v') AND attnum > 0 AND NOT attisdropped
UNION SELECT conname FROM pg_constraint
 WHERE connamespace IN ('public'::regnamespace, 'timeseries'::regnamespace) AND contype <> 'n'
UNION SELECT tgname FROM pg_trigger WHERE NOT tgisinternal
UNION SELECT proname FROM pg_proc
 WHERE pronamespace IN ('public'::regnamespace, 'timeseries'::regnamespace)
UNION SELECT polname FROM pg_policy
"""
_OF_TOOLS = """
SELECT attname AS name FROM pg_attribute
 WHERE attrelid IN ('alembic_version'::regclass, 'schema_history'::regclass,
                    'pending_operations'::regclass)
UNION SELECT conname FROM pg_constraint
 WHERE conrelid IN ('alembic_version'::regclass, 'schema_history'::regclass,
                    'pending_operations'::regclass)
UNION SELECT 'schema_history_id_seq'
"""


def test_every_name_of_the_catalog_is_on_a_page(at_head: str, target: dict[str, str]) -> None:
    with engine_of(at_head) as engine, engine.connect() as session:
        names = set(session.scalars(sa.text(_NAMES)))
        names -= set(session.scalars(sa.text(_OF_TOOLS)))
    shown = set(re.findall(r"\w+", " ".join(target.values())))
    assert len(names) > 500
    assert not names - shown


def test_what_the_catalog_says_of_one_table(target: dict[str, str]) -> None:
    """A sample of each kind of line; column and rule as the model declares them."""
    page = target["device.md"]
    section = page.split("\n### device_registry\n")[1].split("\n### ")[0]
    for line in (
        "| `status` | text |  | `'pending'` | ",
        "| primary key | `tenant_id, device_id` | `pk_device_registry` |",
        "→ [sites](#sites)",
        "→ [tenants](auth.md#tenants)",
        "| index | `provision_token_hash where across.tenants(tenant_id) AND provision_token_hash",
        "| index | `gin search_vector where across.tenants(tenant_id)` |",
        "| check | `location_source IN ('auto', 'manual')` |",
        "[`reject_parent_cycle()`](functions.md#reject_parent_cycle)",
        "Referred to by ",
    ):
        assert line in section, line
    assert "device_registry ||--o| device_state" in page
    assert "device_registry |o--o{ device_registry" in page


def test_what_the_catalog_says_of_time_series(target: dict[str, str]) -> None:
    section = target["telemetry.md"].split("\n### telemetry\n")[1]
    for line in (
        "- **Hypertable** `timeseries.telemetry` by `ts`, in chunks of ",
        "- **Columnstore** after ",
        "- **Kept** for 400 days.",
        "[telemetry_hourly](#telemetry_hourly)",
        "- **Tenants** read and append their own rows through the view `public.telemetry`.",
        "- **Rollup** `timeseries.telemetry_hourly` of [telemetry](#telemetry) by 1 hour of `ts`.",
        "- **Refreshed** every ",
    ):
        assert line in section, line


def test_what_reads_a_rollup_has_a_place_under_any_name(migrated_database: str) -> None:
    """Names sort before, or need quotes, where their sources do not."""
    with engine_of(migrated_database) as engine, engine.connect() as connection:
        facts = reading.read(connection)
    made: list[State] = [
        RollupState("b_weekly", "SELECT x FROM timeseries.telemetry_daily", schema="timeseries"),
        RollupState("a-4 weeks", "SELECT x FROM timeseries.b_weekly", schema="timeseries"),
        ViewState("a_last", 'SELECT x FROM timeseries."a-4 weeks"'),
        ViewState("a_first", "SELECT x FROM public.a_last"),
    ]
    facts = Facts(
        Catalog([*facts.catalog.states(), *made]),
        {**facts.view_columns, **{state.key: [Column("x", "bigint")] for state in made}},
    )
    page, isolation = domain_page(facts, "telemetry"), isolation_page(facts)
    for name in ("b_weekly", "a-4 weeks", "a_last", "a_first"):
        assert page.count(f"\n### {name}\n") == 1, name
        assert f"{name}](telemetry.md#" in isolation, name
    assert "`timeseries.a-4 weeks` of [b_weekly](#b_weekly)" in page


def test_what_the_inventory_says_of_roles(target: dict[str, str]) -> None:
    page = target["isolation.md"]
    for line in (
        "| [sites](device.md#sites) | tenant | own S I U D |  | all S | all S I U D |",
        "| [telemetry](telemetry.md#telemetry) | tenant view | own S I\\* |",
        "| [timeseries.telemetry](telemetry.md#telemetry) | tenant hypertable |  | all I | all S |",
        "| [telemetry_hourly](telemetry.md#telemetry_hourly) | tenant view | own S |",
        "| [account_tiers](billing.md#account_tiers) | global | all S |",
        "(restrictive)",
    ):
        assert line in page, line
    assert "no rows" not in page, "a grant to a role that no policy names"


def test_every_revision_has_a_line(target: dict[str, str]) -> None:
    revisions = project_revisions()
    listed = re.findall(r"^\| `(\d{4})` \| .+ \| .+ \|$", target["revisions.md"], re.M)
    assert listed == list(revisions.files)


# --- they render ---


def test_no_row_of_a_table_has_more_cells_than_its_head(target: dict[str, str]) -> None:
    for name, text in target.items():
        width = 0
        for line in text.splitlines():
            cells = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
            assert not cells or not width or cells == width, f"{name}: {line}"
            width = cells


def headings(text: str) -> set[str]:
    """The anchors of a page; GitHub adds a number to the second heading of a name."""
    outside = re.sub(r"```.*?```", "", text, flags=re.S)
    found: Counter[str] = Counter()
    anchors = set()
    for heading in re.findall(r"^#+ (.+)$", outside, re.M):
        name = anchor(heading)
        anchors.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return anchors


def test_links_lead_to_the_heading_that_they_name(target: dict[str, str]) -> None:
    known = {name: headings(text) for name, text in target.items()}
    for name, text in target.items():
        titles = re.findall(r"^#+ (.+)$", text, re.M)
        assert len({anchor(title) for title in titles}) == len(titles), f"{name}: headings twice"
        shown = re.sub(r"`[^`\n]*`", "code", text)
        for page, heading in re.findall(r"(?<!\\)\]\(([\w.]*)#?([^)]*)\)", shown):
            assert (page or name) in known, f"{name}: {page}"
            assert not heading or heading in known[page or name], f"{name}: {page}#{heading}"


def test_diagrams_are_small_and_of_real_tables(target: dict[str, str]) -> None:
    drawn = 0
    for name, text in target.items():
        for block in re.findall(r"```mermaid\nerDiagram\n(.*?)```", text, re.S):
            boxes = re.findall(r"^    (\w+) \{$", block, re.M)
            lines = re.findall(r'^    (\w+) [|}][|o]--o[|{] (\w+) : "[\w, ]+"$', block, re.M)
            columns = re.findall(r"^        [\w\[\]]+ \w+ (?:PK|FK|PK, FK)$", block, re.M)
            others = [
                line for line in block.splitlines() if line not in ("    }", "    direction LR")
            ]
            shown = [*boxes, *lines, *columns]
            assert len(others) == len(shown), f"{name}: {block}"
            assert 0 < len(boxes) <= LARGEST
            assert lines
            for table_name in {*boxes, *(end for line in lines for end in line)}:
                assert any(f"\n### {table_name}\n" in page for page in target.values()), table_name
            drawn += len(lines)
    assert drawn > 30


@pytest.mark.parametrize(
    ("catalog", "page"),
    [
        ("((a >= 0) AND (b >= 0))", "a >= 0 AND b >= 0"),
        ("((a = 'x'::text) = (b IS NOT NULL))", "(a = 'x') = (b IS NOT NULL)"),
        ("(a = ANY (ARRAY['x'::text, 'y'::text]))", "a IN ('x', 'y')"),
        ("((a <> ALL (ARRAY['x'::text])) AND (b IS NULL))", "a NOT IN ('x') AND b IS NULL"),
        ("(a <> 'b::text (c)'::text)", "a <> 'b::text (c)'"),
        ("(NOT (a AND b))", "NOT (a AND b)"),
        ("((a OR b) AND c)", "(a OR b) AND c"),
        ("((length(a) >= 1) AND (length(a) <= 9))", "length(a) >= 1 AND length(a) <= 9"),
        ("(a >= ('-90'::integer)::double precision)", "a >= -90"),
        (
            "(t = ( SELECT public.current_tenant() AS current_tenant))",
            "t = (SELECT current_tenant())",
        ),
        ("'{}'::jsonb", "'{}'"),
        ("(a ~ '^(x|y)$'::text)", "a ~ '^(x|y)$'"),
    ],
)
def test_expressions_lose_noise_and_keep_their_meaning(catalog: str, page: str) -> None:
    assert expression(catalog) == page


def test_text_cannot_break_a_table() -> None:
    assert table(("A", "B"), [("a|b\nc", "x"), ("", "y")]) == (
        "| A | B |\n| --- | --- |\n| a\\|b c | x |\n|  | y |"
    )
    assert table(("A", "B"), [("", "x")]) == "| B |\n| --- |\n| x |"
    assert code("a`b") == "``a`b``"
    assert cell(code("a || b")) == "`a \\|\\| b`"
    assert prose("*any* <b> [x] a_b") == "\\*any\\* \\<b> \\[x] a_b"
    assert interval("01:30:00") == "1 hour 30 minutes"
    assert interval("7 days") == "7 days"
    assert enumeration(["a", "b", "c"]) == "a, b and c"


class Sketch:
    """As much of Facts as grouping uses: tables by module, and references."""

    def __init__(self, modules: dict[str, str], references: list[tuple[str, str]]) -> None:
        self.tables = [("public", name) for name in modules]
        self.modules = {("public", name): f"models.x.{part}" for name, part in modules.items()}
        self.order = {key: place for place, key in enumerate(self.tables)}
        self.foreign_keys = [
            ForeignKey("", ("public", own), ("a",), ("public", other), ("a",), "")
            for own, other in references
        ]

    def referring(self, table: tuple[str, str]) -> list[tuple[str, ...]]:
        return [key.table for key in self.foreign_keys if key.target == table]


def grouped(modules: dict[str, str], references: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """(title, tables) of each section."""
    found = sections(Sketch(modules, references), "x")  # type: ignore[arg-type]
    return [(part.title, " ".join(name for _, name in part.tables)) for part in found]


def test_small_files_join_what_they_refer_to_and_large_ones_are_parted() -> None:
    assert grouped({"a": "one", "b": "two", "c": "three"}, [("b", "a")]) == [
        ("One and two", "a b"),
        ("Three", "c"),
    ]
    many = {f"t{place}": "many" for place in range(9)}
    assert grouped(many, []) == [("Many", "t0 t1 t2 t3 t4"), ("Many", "t5 t6 t7 t8")]
    full = {**{f"t{place}": "full" for place in range(6)}, "late": "late"}
    assert [title for title, _ in grouped(full, [("late", "t0")])] == ["Full", "Late"]


# --- stale ones are found ---


def test_a_change_in_the_database_makes_its_page_stale(
    migrated_database: str, tmp_path: Path, target: dict[str, str]
) -> None:
    assert len(pages.update(tmp_path, target)) == len(target)
    assert pages.update(tmp_path, target) == []
    (tmp_path / "mine.md").write_text("Written by hand.", encoding="utf-8")
    (tmp_path / "gone.md").write_text(f"{GENERATED}\n", encoding="utf-8")
    (tmp_path / "billing.md").unlink()
    with engine_of(migrated_database) as engine, engine.begin() as connection:
        connection.execute(sa.text("COMMENT ON COLUMN sites.name IS 'What a sign | says.'"))
        connection.execute(sa.text("REVOKE DELETE ON sites FROM fleet_app"))
    changed = made_from(migrated_database)
    assert pages.stale(tmp_path, changed) == [
        "missing billing.md",
        "stale device.md",
        "stale isolation.md",
        "obsolete gone.md",
    ]
    assert "What a sign \\| says." in changed["device.md"]
    pages.update(tmp_path, changed)
    assert pages.stale(tmp_path, changed) == []
    assert (tmp_path / "mine.md").exists()
    assert not (tmp_path / "gone.md").exists()


def test_the_command_names_stale_pages_and_the_fix(migrated_database: str, tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    written = operations("docs", url=migrated_database, cwd=project)
    assert written.returncode == 0, written.stderr
    assert "wrote README.md" in written.stdout
    page = project / "docs" / "schema" / "device.md"
    page.write_text(page.read_text(encoding="utf-8") + "By hand.\n", encoding="utf-8")
    checked = operations("docs", "--check", url=migrated_database, cwd=project)
    assert checked.returncode == 1
    assert checked.stdout == "docs/schema: stale device.md\n"
    assert re.fullmatch(
        r"error: 1 of \d+ pages differ from the database; run: make docs\n", checked.stderr
    )
    written = operations("docs", url=migrated_database, cwd=project)
    assert written.stdout.startswith("wrote device.md\n")
    assert operations("docs", "--check", url=migrated_database, cwd=project).returncode == 0


def test_a_database_behind_the_head_is_not_described(make_database: MakeDatabase) -> None:
    refused = operations("docs", url=make_database(), cwd=FOLDER.parents[1])
    assert refused.returncode == 1
    assert re.search(r"at revision \d{4}, found none: .* run: alembic upgrade head", refused.stderr)
