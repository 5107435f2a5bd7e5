"""The cost of a tenant's query and of ``alembic check`` as tenants and chunks grow in number."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import ExitStack

from alembic import command

from benchmarks import fleet
from benchmarks.fleet import Readings
from benchmarks.measure import Ratio, milliseconds, paired, repeats
from benchmarks.place import Place, place
from benchmarks.queries import QUERIES, asking
from tests.support.alembic_project import config_for
from tests.support.servers import DatabaseServer

HOUR = datetime.timedelta(hours=1)
LONG_AGO = fleet.START - datetime.timedelta(days=990)


def run(on: DatabaseServer, *, rounds: int, signed: bool) -> Iterator[Ratio]:
    """Compare a small and a large database with the same rows for one tenant."""
    shapes = {
        "1 to 1,000 tenants": (Readings(1, 10, HOUR, 10), Readings(1000, 10, HOUR, 10)),
        # Up to the same day: messages of the future are refused.
        "10 to 1,000 chunks": (Readings(5, 10, HOUR, 10), Readings(5, 10, HOUR, 1000, LONG_AGO)),
    }
    for name, (few, many) in shapes.items():
        with ExitStack() as stack:
            small = stack.enter_context(place(on, "small", signed=signed))
            large = stack.enter_context(place(on, "large", signed=signed))
            for where, readings in ((small, few), (large, many)):
                with where.connect() as connection:
                    fleet.register(connection, readings.tenants, readings.devices)
                    fleet.fill(connection, readings)
                    connection.execute("VACUUM ANALYZE timeseries.telemetry")
            yield _day(small, large, name, "rows", rounds)
            if "chunks" in name:
                yield _check(small, large, name, max(5, rounds // 2))
            for where in (small, large):
                with where.connect() as connection:
                    fleet.compress(connection)
            yield _day(small, large, name, "columnstore", rounds)


def _day(small: Place, large: Place, name: str, store: str, rounds: int) -> Ratio:
    values = {"day": fleet.START + datetime.timedelta(days=5)}
    query = QUERIES["a day's aggregate"].format("telemetry")
    tenant = fleet.tenant(0)
    with (
        small.connect("fleet_app", tenant) as one,
        large.connect("fleet_app", tenant) as other,
    ):
        times = repeats(asking(one, query, values))
        pairs = paired(
            asking(other, query, values, times), asking(one, query, values, times), rounds
        )
    return Ratio(
        "growth",
        f"a tenant's day, {name}, on {store}",
        [many / few for many, few in pairs],
        1.5,
        at_least=False,
        detail=f"{times} times: {milliseconds(pairs)}",
    )


def _check(small: Place, large: Place, name: str, rounds: int) -> Ratio:
    pairs = paired(
        lambda _: command.check(config_for(large.engine)),
        lambda _: command.check(config_for(small.engine)),
        rounds,
    )
    return Ratio(
        "growth",
        f"alembic check, {name}",
        [many / few for many, few in pairs],
        1.2,
        at_least=False,
        detail=milliseconds(pairs),
    )
