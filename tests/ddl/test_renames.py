"""Renames: found, said in the model or by an option, and what follows them."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy import Column, Engine, Integer, MetaData, Table, Text
from sqlalchemy.exc import ArgumentError

from ddl import Answers, Rename, RenamedFrom, effects, likely_renames
from tests.ddl.case import Case
from tests.support.declared_plant import ROWS, plant
from tests.support.generated_revisions import (
    Declare,
    apply,
    metadata_of,
    migration,
    rendered,
    run_in,
)

CHANGES = {
    "table": (plant("places"), ["sites:places"]),
    "column": (plant(column="town"), ["sites.city:sites.town"]),
    "both": (plant("places", "town"), ["sites:places", "sites.city:places.town"]),
    "both, by the new name": (plant("places", "town"), ["places.city:places.town", "sites:places"]),
    "quoted": (
        plant("Plätze, neu", "or der"),
        ['sites:"Plätze, neu"', 'sites.city:"Plätze, neu"."or der"'],
    ),
    "new type": (
        plant(column="town", size=sa.String(40)),
        ["sites.city:sites.town"],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_option(change: str, engine: Engine) -> None:
    """Every row is there after the way up, down and up again."""
    after, renames = CHANGES[change]
    Case(plant(), after, rows=ROWS, renames=tuple(renames)).walk(engine)
    metadata = metadata_of(after)
    table = next(one for one in metadata.tables.values() if one.name != "pumps")
    with engine.connect() as connection:
        cities = connection.execute(sa.select(list(table.c)[2])).scalars().all()
        assert sorted(cities) == sorted(f"c{i}" for i in range(1, 21))


def test_text(engine: Engine) -> None:
    """The keys, indexes and policies that are called after the table follow it."""
    Case(
        plant(),
        plant("places", "town"),
        rows=ROWS,
        renames=("sites:places", "sites.city:places.town"),
        upgrade="""
            op.rename_table("sites", "places")
            op.alter_column("places", "city", new_column_name="town")
            op.rename("sequence", "sites_id_seq", "places_id_seq")
            op.rename("constraint", "sites_filled_check", "places_filled_check", table="places")
            op.rename("constraint", "sites_pkey", "places_pkey", table="places")
            op.rename("constraint", "sites_tenant_id_key", "places_tenant_id_key", table="places")
            op.rename("index", "sites_city_idx", "places_town_idx")
            op.rename("policy", "sites_read", "places_read", table="places")
            op.drop_trigger("sites_touch", "places")
            op.create_function(
                "touch_places", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
                body="BEGIN NEW.note := upper(NEW.town); RETURN NEW; END",
            )
            op.create_trigger(
                "places_touch", "places", "before", "update of town", level="row", function="touch_places()",
                when="OLD.town IS DISTINCT FROM NEW.town",
            )
            # if it became touch_places: alembic -x rename=touch_sites:touch_places revision --autogenerate
            op.drop_function("touch_sites")
        """,
        downgrade="""
            op.create_function(
                "touch_sites", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
                body="BEGIN NEW.note := upper(NEW.city); RETURN NEW; END",
            )
            op.drop_trigger("places_touch", "places")
            op.drop_function("touch_places")
            op.create_trigger(
                "sites_touch", "places", "before", "update of town", level="row", function="public.touch_sites()",
                when="(old.town IS DISTINCT FROM new.town)",
            )
            op.rename("policy", "places_read", "sites_read", table="places")
            op.rename("index", "places_town_idx", "sites_city_idx")
            op.rename("constraint", "places_tenant_id_key", "sites_tenant_id_key", table="places")
            op.rename("constraint", "places_pkey", "sites_pkey", table="places")
            op.rename("constraint", "places_filled_check", "sites_filled_check", table="places")
            op.rename("sequence", "places_id_seq", "sites_id_seq")
            op.alter_column("places", "town", new_column_name="city")
            op.rename_table("places", "sites")
        """,
    ).walk(engine)


MODELS = {
    "table": plant("places", former=RenamedFrom("sites")),
    "column": plant(column="town", former=RenamedFrom(town="city")),
    "both": plant("places", "town", former=RenamedFrom("sites", town="city")),
    "another schema": plant(schema="plant", former=RenamedFrom("public.sites")),
    "all three": plant(
        "places", "town", schema="plant", former=RenamedFrom("public.sites", town="city")
    ),
}


@pytest.mark.parametrize("change", MODELS)
def test_model(change: str, engine: Engine) -> None:
    """Said in the model, it needs no option; it means nothing once it is done."""
    Case(plant(), MODELS[change], rows=ROWS).walk(engine)
    metadata = metadata_of(MODELS[change])
    table = next(one for one in metadata.tables.values() if one.name != "pumps")
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == 20


@pytest.mark.parametrize("former", [{"town": "city", "x": "y"}, {"city": "city"}, {"note": "city"}])
def test_model_that_contradicts_itself(former: dict[str, str]) -> None:
    with pytest.raises(ArgumentError, match=r"RenamedFrom\(\w+="):
        metadata_of(plant(former=RenamedFrom(**former)))


def test_table_that_is_declared_under_both_names(engine: Engine) -> None:
    def both(metadata: MetaData, *, old_only: bool = False) -> None:
        Table("a", metadata, Column("id", Integer))
        if not old_only:
            Table("b", metadata, Column("id", Integer), RenamedFrom("a"))

    with engine.connect() as connection:
        apply(connection, metadata_of(lambda metadata: both(metadata, old_only=True)))
        with pytest.raises(CommandError, match=r"table public\.b: .*still declare public\.a"):
            migration(connection, metadata_of(both))


def test_hand_written_rename_needs_no_answer(engine: Engine) -> None:
    """What is called after the table is renamed after it, not dropped and built anew."""
    with engine.begin() as connection:
        apply(connection, metadata_of(plant()))
        for statement in ROWS:
            connection.execute(sa.text(statement))
        run_in(connection, 'op.rename_table("sites", "places")')
        up = rendered(migration(connection, metadata_of(plant("places"))).upgrade_ops)
    assert "remove_" not in up
    assert 'op.rename("constraint", "sites_pkey", "places_pkey", table="places")' in up
    assert 'op.rename("index", "sites_city_idx", "places_city_idx")' in up


# --- what is not said ---


@pytest.mark.parametrize(
    ("after", "drop", "option"),
    [
        (plant(column="town"), "drop_column", "sites.city:sites.town"),
        (plant("places"), "drop_table", "sites:places"),
    ],
)
def test_unsaid_is_dropped_and_created_and_told(
    after: Declare, drop: str, option: str, engine: Engine
) -> None:
    with engine.begin() as connection:
        apply(connection, metadata_of(plant()))
        script = migration(connection, metadata_of(after))
    up, down = rendered(script.upgrade_ops), rendered(script.downgrade_ops)
    command = f"alembic -x rename={option} revision --autogenerate"
    new = option.rpartition(":")[2].rpartition(".")[2]
    assert f"# if it became {new}: {command}\nop.{drop}(" in up
    assert command in [one.command for one in likely_renames(script)]
    assert "# if" not in down
    assert "info=" not in up + down


def test_check_tells_and_renames_nothing(engine: Engine) -> None:
    with engine.begin() as connection:
        apply(connection, metadata_of(plant()))
        script = migration(connection, metadata_of(MODELS["both"]), Answers(carry_out=False))
        assert {str(one) for one in likely_renames(script)} == {
            "table public.sites to public.places",
            "column public.sites.city to public.places.town",
            "function public.touch_sites to public.touch_places",
        }
        said = {one.kind for one in likely_renames(script) if one.decided}
        assert said == {"table", "column"}
        up = rendered(script.upgrade_ops)
        assert "op.rename" not in up
        assert "new_column_name" not in up


def test_every_candidate_is_asked_for_the_likeliest_first(engine: Engine) -> None:
    def before(metadata: MetaData) -> None:
        Table(
            "t",
            metadata,
            Column("id", Integer, primary_key=True),
            Column("city", Text),
            Column("n", Integer),
        )

    def after(metadata: MetaData) -> None:
        columns = [
            Column("note", Text, server_default="x"),
            Column("city_name", Text),
            Column("name", Text),
        ]
        Table("t", metadata, Column("id", Integer, primary_key=True), *columns)

    asked: list[str] = []

    def ask(rename: Rename) -> bool:
        asked.append(rename.option)
        return rename.option.endswith("t.name")

    with engine.begin() as connection:
        apply(connection, metadata_of(before))
        script = migration(connection, metadata_of(after), Answers(ask=ask))
    assert asked == ["t.city:t.city_name", "t.city:t.name"]
    up = rendered(script.upgrade_ops)
    assert 'op.alter_column("t", "city", new_column_name="name")' in up
    assert not likely_renames(script), "a question that was answered is no hint"


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("sites", "expected old:new"),
        ("sites:plces", r"possible: sites\.city:sites\.town"),
        ("sites.note:sites.town", r"possible: sites\.city:sites\.town"),
        ("sites.city:pumps.town", r"possible: sites\.city:sites\.town"),
    ],
)
def test_impossible_option_is_refused(option: str, reason: str, engine: Engine) -> None:
    with engine.begin() as connection:
        apply(connection, metadata_of(plant()))
        with pytest.raises(CommandError, match=rf"rename={option}: .*{reason}"):
            migration(connection, metadata_of(plant(column="town")), Answers([option]))


def test_notes_are_no_arguments_of_a_new_table(engine: Engine) -> None:
    with engine.connect() as connection:
        script = migration(connection, metadata_of(plant()))
        assert effects.warn(script, connection) == {}
    assert "info=" not in rendered(script.upgrade_ops)
