"""On call: whose turn it is, and that no two exceptions claim the same time."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from tests.support.acme_and_globex import (
    ACME,
    ANN,
    BOB,
    EVE,
    GLOBEX,
    operator,
    rejected,
    rows,
    run,
    second_of_two,
    sqlstate,
)

SCHEDULE, LAYER, SECOND = (uuid.UUID(int=number) for number in (0x5C, 0x1A, 0x2A))


def layer(
    layer_id: uuid.UUID = LAYER,
    order: int = 0,
    span: str = "'2024-01-01 09:00+01', NULL",
    rotation: str = "'weekly', 168",
    handoff: str = "1, 9",
) -> str:
    return (
        "INSERT INTO oncall_layers (tenant_id, id, schedule_id, layer_order, starts_at, ends_at,"
        " rotation_type, shift_duration_hours, handoff_day, handoff_hour)"
        f" VALUES ('{ACME}', '{layer_id}', '{SCHEDULE}', {order}, {span}, {rotation}, {handoff})"
    )


def responders(*people: uuid.UUID, layer_id: uuid.UUID = LAYER) -> str:
    values = ", ".join(
        f"('{ACME}', '{layer_id}', {number * 10}, '{user}')" for number, user in enumerate(people)
    )
    return f"INSERT INTO oncall_responders (tenant_id, layer_id, position, user_id) VALUES {values}"


def override(span: str, layer_id: uuid.UUID | None = None, user: uuid.UUID = BOB) -> str:
    of = "NULL" if layer_id is None else f"'{layer_id}'"
    return (
        "INSERT INTO oncall_overrides (tenant_id, schedule_id, layer_id, user_id, starts_at,"
        f" ends_at) VALUES ('{ACME}', '{SCHEDULE}', {of}, '{user}', {span})"
    )


def called(engine: Engine, moment: str) -> list[Any]:
    return run(engine, "SELECT user_id FROM who_is_on_call(:s, :m)", s=SCHEDULE, m=moment)


@pytest.fixture
def duty(fleet: Engine) -> Engine:
    """A schedule in the time zone of Berlin, without layers."""
    run(
        fleet,
        "INSERT INTO oncall_schedules (tenant_id, id, name, timezone)"
        f" VALUES ('{ACME}', '{SCHEDULE}', 'Plant', 'Europe/Berlin')",
    )
    return fleet


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2023-12-31 12:00Z", None),  # before the layer starts
        ("2024-01-01 08:00Z", ANN),  # Monday, 9:00 in Berlin
        ("2024-01-08 07:59Z", ANN),
        ("2024-01-08 08:00Z", BOB),
        ("2024-01-15 08:00Z", ANN),
        # Thirteen weeks later, after summer time began on 31 March: 9:00 in Berlin is 7:00 UTC.
        ("2024-04-01 06:59Z", ANN),
        ("2024-04-01 07:00Z", BOB),
    ],
)
def test_weekly_shifts_follow_the_time_zone_of_the_schedule(
    duty: Engine, moment: str, expected: uuid.UUID | None
) -> None:
    run(duty, layer())
    run(duty, responders(ANN, BOB))
    assert called(duty, moment) == ([] if expected is None else [(expected,)])


@pytest.mark.parametrize(
    ("rotation", "turns"),
    [
        # Starts on Monday at noon: the first turn began at nine.
        ("'daily', 24", [("2024-01-01 11:00Z", ANN), ("2024-01-02 08:00Z", BOB)]),
        ("'custom', 12", [("2024-01-01 19:59Z", ANN), ("2024-01-01 20:00Z", BOB)]),
        ("'weekly', 168", [("2024-01-01 11:00Z", ANN), ("2024-01-08 08:00Z", BOB)]),
    ],
)
def test_the_first_shift_covers_the_start(
    duty: Engine, rotation: str, turns: list[tuple[str, uuid.UUID]]
) -> None:
    run(duty, layer(span="'2024-01-01 12:00+01', NULL", rotation=rotation))
    run(duty, responders(ANN, BOB))
    for moment, user in turns:
        assert called(duty, moment) == [(user,)], moment


def test_gaps_in_positions_and_disabled_members_are_skipped(duty: Engine) -> None:
    run(duty, layer())
    run(duty, responders(ANN, BOB, ANN))
    assert called(duty, "2024-01-15 12:00Z") == [(ANN,)]
    run(duty, f"UPDATE tenant_members SET status = 'disabled' WHERE user_id = '{BOB}'")
    for day in ("01", "08", "15"):
        assert called(duty, f"2024-01-{day} 12:00Z") == [(ANN,)]
    run(duty, override("'2024-01-01', '2024-02-01'", LAYER, BOB))
    assert called(duty, "2024-01-08 12:00Z") == [(ANN,)], "disabled members are never called"
    run(duty, f"DELETE FROM tenant_members WHERE user_id = '{BOB}'")
    assert run(duty, "SELECT count(*) FROM oncall_responders") == [(2,)]
    assert run(duty, "SELECT count(*) FROM oncall_overrides") == [(0,)]


def test_layers_are_in_order_and_overrides_replace_them(duty: Engine) -> None:
    run(duty, layer())
    run(duty, layer(SECOND, 1))
    run(duty, responders(ANN))
    run(duty, responders(BOB, layer_id=SECOND))
    moment = "2024-01-02 12:00Z"
    assert called(duty, moment) == [(ANN,), (BOB,)]
    run(duty, override("'2024-01-02', '2024-01-03'", LAYER, BOB))
    assert called(duty, moment) == [(BOB,), (BOB,)]
    run(duty, "DELETE FROM oncall_overrides")
    run(duty, override("'2024-01-02', '2024-01-03'", None, ANN))
    found = run(
        duty,
        "SELECT layer_order, layer_id, user_id, override_id IS NOT NULL"
        " FROM who_is_on_call(:s, :m)",
        s=SCHEDULE,
        m=moment,
    )
    assert found == [(0, None, ANN, True)]
    with operator(duty) as connection:
        query = "SELECT user_id FROM who_is_on_call(:s, :m, :t)"
        assert rows(connection, query, s=SCHEDULE, m=moment, t=ACME) == [(ANN,)]
    assert run(duty, "SELECT * FROM who_is_on_call(:s)", GLOBEX, s=SCHEDULE) == []


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        (LAYER, LAYER, "23P01"),
        (None, None, "23P01"),
        (LAYER, None, "23P01"),
        (None, LAYER, "23P01"),
        (LAYER, SECOND, None),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_overlapping_overrides_are_rejected(
    duty: Engine,
    first: uuid.UUID | None,
    second: uuid.UUID | None,
    outcome: str | None,
    together: bool,
) -> None:
    """Also where neither session sees the row of the other: the second waits, then is rejected."""
    run(duty, layer())
    run(duty, layer(SECOND, 1))
    one = override("'2024-01-02 08:00Z', '2024-01-02 12:00Z'", first)
    two = override("'2024-01-02 11:59Z', '2024-01-02 14:00Z'", second)
    if together:
        assert sqlstate(second_of_two(duty, one, two)) == outcome
    else:
        run(duty, one)
        assert (rejected(duty, two) if outcome else run(duty, two) or None) == outcome
    found = run(duty, "SELECT count(*) FROM oncall_overrides")
    assert found == [(1 if outcome else 2,)]


def test_the_second_session_succeeds_if_the_first_rolls_back(duty: Engine) -> None:
    one = override("'2024-01-02 08:00Z', '2024-01-02 12:00Z'")
    assert second_of_two(duty, one, one, commit=False) == []
    assert run(duty, "SELECT count(*) FROM oncall_overrides") == [(1,)]


def test_adjacent_overrides_do_not_overlap(duty: Engine) -> None:
    run(duty, override("'2024-01-02 08:00Z', '2024-01-02 12:00Z'"))
    run(duty, override("'2024-01-02 12:00Z', '2024-01-02 14:00Z'"))
    moved = "UPDATE oncall_overrides SET starts_at = '2024-01-02 11:00Z' WHERE starts_at > :s"
    assert rejected(duty, moved, s="2024-01-02 11:30Z") == "23P01"
    run(duty, "UPDATE oncall_overrides SET reason = 'holiday'")
    assert rejected(duty, override("'2024-01-05', '2024-01-05'")) == "23514"
    several = override("'2024-02-01', '2024-02-03'") + (
        f", ('{ACME}', '{SCHEDULE}', NULL, '{BOB}', '2024-02-02', '2024-02-04')"
    )
    assert rejected(duty, several) == "23P01", "rows of one statement see each other"


def test_layers_of_one_order_do_not_overlap(duty: Engine) -> None:
    run(duty, layer(span="'2024-01-01', '2024-02-01'"))
    assert rejected(duty, layer(SECOND, 0, "'2024-01-31', NULL")) == "23P01"
    run(duty, layer(SECOND, 0, "'2024-02-01', NULL"))
    opened = "UPDATE oncall_layers SET ends_at = NULL WHERE id = :id"
    assert rejected(duty, opened, id=LAYER) == "23P01"
    assert rejected(duty, layer(uuid.uuid4(), 1, "'2024-02-01', '2024-02-01'")) == "23514"
    run(duty, layer(uuid.uuid4(), 1, "'2024-01-01', NULL"))


def test_two_sessions_insert_one_layer_of_an_order(duty: Engine) -> None:
    assert sqlstate(second_of_two(duty, layer(), layer(SECOND))) == "23P01"
    assert run(duty, "SELECT id FROM oncall_layers") == [(LAYER,)]


@pytest.mark.parametrize(
    ("rotation", "handoff"),
    [
        ("'daily', 12", "1, 9"),
        ("'weekly', 24", "1, 9"),
        ("'monthly', 720", "1, 9"),
        ("'custom', 0", "1, 9"),
        ("'weekly', 168", "0, 9"),
        ("'weekly', 168", "1, 24"),
    ],
)
def test_invalid_rotations_are_rejected(duty: Engine, rotation: str, handoff: str) -> None:
    assert rejected(duty, layer(rotation=rotation, handoff=handoff)) == "23514"


def test_members_of_other_tenants_cannot_be_on_call(duty: Engine) -> None:
    run(duty, layer())
    assert rejected(duty, responders(EVE)) == "23503"
    assert rejected(duty, override("'2024-01-02', '2024-01-03'", user=EVE)) == "23503"
    theirs = responders(EVE).replace(str(ACME), str(GLOBEX))
    assert rejected(duty, theirs, GLOBEX) == "23503"


def test_the_layer_of_an_override_belongs_to_its_schedule(duty: Engine) -> None:
    other = uuid.uuid4()
    run(duty, layer())
    run(
        duty,
        f"INSERT INTO oncall_schedules (tenant_id, id, name) VALUES ('{ACME}', '{other}', 'o')",
    )
    wrong = override("'2024-01-02', '2024-01-03'", LAYER).replace(str(SCHEDULE), str(other))
    assert rejected(duty, wrong) == "23503"


def test_overlaps_are_not_checked_without_a_tenant(duty: Engine) -> None:
    """An operator sees the schedule of every tenant, so its overlaps are rejected too."""
    run(duty, override("'2024-01-02', '2024-01-03'"))
    with operator(duty) as connection, pytest.raises(sa.exc.DBAPIError, match="overlaps"):
        connection.execute(sa.text(override("'2024-01-02', '2024-01-03'")))
