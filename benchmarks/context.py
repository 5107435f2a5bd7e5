"""What the guard of a tenant's rows costs, and what a signature adds: the same query thrice.

As a tenant of the plain database, as one of the signed database, and as its owner, who names the
tenant. One database changes between plain and signed, so all three see the same rows. What counts
is the processor time of the server's process, where the server is on this machine: others who use
the machine meanwhile add little to that.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psycopg

from benchmarks import fleet
from benchmarks.fleet import Readings
from benchmarks.measure import Action, Ratio, repeats
from benchmarks.place import Place

READINGS = Readings(tenants=10, devices=20, every=datetime.timedelta(minutes=5), days=10)
TARGET = 1.25
WARM = 8
"""Executions after a change, in which the server plans anew, and settles for a kind of plan."""

_ROWS = """
    INSERT INTO sites (tenant_id, site_id, name) SELECT tenant_id, tenant_id, 'Plant' FROM tenants;
    UPDATE device_registry SET site_id = tenant_id;
    INSERT INTO device_groups (tenant_id, group_id, name)
    SELECT tenant_id, tenant_id, 'Pumps' FROM tenants;
    INSERT INTO device_group_members (tenant_id, group_id, device_id)
    SELECT tenant_id, tenant_id, device_id FROM device_registry;
    INSERT INTO device_state (tenant_id, device_id, status)
    SELECT tenant_id, device_id, 'online' FROM device_registry;
    ANALYZE sites, device_registry, device_groups, device_group_members, device_state;
"""


@dataclass(frozen=True)
class Shape:
    """A query; for the owner {device} and {series} name the tenant, for a tenant they do not."""

    name: str
    query: str
    series: bool = True


SHAPES = (
    Shape(
        "point read",
        "SELECT device_id, device_type, status FROM device_registry WHERE {of_d}device_id = %(id)s",
        series=False,
    ),
    Shape(
        "join of 5 tables",
        """
        SELECT d.device_id, s.status, x.name, g.name
          FROM device_registry d
          JOIN device_state s ON s.tenant_id = d.tenant_id AND s.device_id = d.device_id
          JOIN sites x ON x.tenant_id = d.tenant_id AND x.site_id = d.site_id
          JOIN device_group_members m ON m.tenant_id = d.tenant_id AND m.device_id = d.device_id
          JOIN device_groups g ON g.tenant_id = m.tenant_id AND g.group_id = m.group_id
         WHERE {of_d}d.device_id = %(id)s
        """,
        series=False,
    ),
    Shape(
        "day of one device",
        "SELECT ts, metrics FROM {series} WHERE device_id = %(id)s AND ts >= %(day)s"
        " AND ts < %(day)s::timestamptz + interval '1 day' ORDER BY ts",
    ),
    Shape(
        "last value of a device",
        "SELECT ts, metrics FROM {series} WHERE device_id = %(id)s AND msg_type = 'telemetry'"
        " ORDER BY ts DESC LIMIT 1",
    ),
    Shape(
        "day of all devices",
        "SELECT count(*), avg((metrics->>'temperature')::float8) FROM {series}"
        " WHERE ts >= %(day)s AND ts < %(day)s::timestamptz + interval '1 day'",
    ),
)


def run(place: Place, *, rounds: int) -> Iterator[Ratio]:
    """Ordinary tables and rows first, then the columnstore."""
    with place.connect() as connection:
        fleet.register(connection, READINGS.tenants, READINGS.devices)
        connection.execute(_ROWS)
        fleet.fill(connection, READINGS)
        connection.execute("VACUUM ANALYZE timeseries.telemetry")
        was_signed = place.signed
        for store in ("rows", "columnstore"):
            if store == "columnstore":
                fleet.compress(connection)
            for shape in SHAPES:
                if shape.series or store == "rows":
                    for prepared in (True, False):
                        yield from _measured(place, shape, store, rounds, prepared=prepared)
        place.sign(was_signed)


def _measured(
    place: Place, shape: Shape, store: str, rounds: int, *, prepared: bool
) -> Iterator[Ratio]:
    tenant = fleet.tenant(READINGS.tenants // 2)
    values = {"id": "device-3", "day": READINGS.start + datetime.timedelta(days=6)}
    literal = f"(SELECT * FROM timeseries.telemetry WHERE tenant_id = '{tenant}') AS telemetry"
    joined = "d." if "registry d" in shape.query else ""
    bound = shape.query.format(of_d="", series="telemetry")
    free = shape.query.format(of_d=f"{joined}tenant_id = '{tenant}' AND ", series=literal)
    with (
        place.connect("fleet_app", tenant, prepared=prepared) as app,
        place.connect(prepared=prepared) as owner,
    ):
        for connection in (app, owner):
            # Another process would not be counted.
            connection.execute("SET max_parallel_workers_per_gather = 0")
        answers = []
        for signed in (False, True):
            place.sign(signed)
            answers.append(app.execute(bound, values).fetchall())
        assert answers[0] == answers[1] == owner.execute(free, values).fetchall() != []
        times = repeats(_asking(owner, free, values), target=0.05)
        asked = _timed(app, _asking(app, bound, values, times))
        owned = _timed(owner, _asking(owner, free, values, times))
        warm = _asking(app, bound, values, WARM)
        _asking(owner, free, values, WARM)(0)
        found = []
        for number in range(rounds):
            took: dict[bool, tuple[float, float]] = {}
            for signed in (False, True) if number % 2 else (True, False):
                place.sign(signed)
                warm(0)
                if number % 4 < 2:
                    tenants = asked()
                    took[signed] = tenants, owned()
                else:
                    owners = owned()
                    took[signed] = asked(), owners
            found.append(took)
    kind = "prepared" if prepared else "not prepared"
    where = f", {store}" if shape.series else ""
    alone = median(one[1] for took in found for one in took.values())
    for signed in (False, True):
        asked_for = median(took[signed][0] for took in found)
        yield Ratio(
            f"{'signed' if signed else 'plain'} : owner, {kind}",
            f"{shape.name}{where}",
            [took[signed][0] / took[signed][1] for took in found],
            TARGET,
            at_least=False,
            detail=f"{1e6 * asked_for / times:,.0f} µs : {1e6 * alone / times:,.0f} µs",
        )


def _timed(who: psycopg.Connection, action: Action) -> Callable[[], float]:
    """What returns the processor time of an action in seconds; elapsed time for a remote server."""
    statistics = Path(f"/proc/{who.info.backend_pid}/schedstat")
    here = statistics.exists() and who.info.host.startswith("/")

    def clock() -> float:
        return int(statistics.read_text().split()[0]) / 1e9 if here else time.perf_counter()

    def timed() -> float:
        begin = clock()
        action(0)
        return clock() - begin

    return timed


def _asking(
    who: psycopg.Connection, query: str, values: dict[str, object], times: int = 1
) -> Action:
    """The work of a round: ``times`` times the query."""

    def ask(_: int) -> None:
        for _ in range(times):
            who.execute(query, values).fetchall()

    return ask
