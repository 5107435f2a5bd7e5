"""How much smaller the columnstore is, for different readings and intervals."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from benchmarks import fleet
from benchmarks.fleet import RANDOM, Readings
from benchmarks.measure import Ratio
from benchmarks.place import Place

_SIZES = """
    SELECT sum(before_compression_total_bytes)::float8 / sum(after_compression_total_bytes),
           pg_size_pretty(sum(before_compression_total_bytes)),
           pg_size_pretty(sum(after_compression_total_bytes))
      FROM chunk_compression_stats('timeseries.telemetry')
     WHERE format('%%I.%%I', chunk_schema, chunk_name)::regclass = ANY (ARRAY(
             SELECT show_chunks('timeseries.telemetry', newer_than => %s::timestamptz,
                                older_than => %s::timestamptz)))
"""


def run(place: Place, *, tenants: int, devices: int) -> Iterator[Ratio]:
    """Compare sizes of one day of each kind of readings, each in its own chunk."""
    minutes = {n: datetime.timedelta(minutes=n) for n in (1, 5, 15)}
    kinds = {
        "realistic, every minute": (15, minutes[1], fleet.REALISTIC),
        "realistic, every 5 minutes": (15, minutes[5], fleet.REALISTIC),
        "realistic, every 15 minutes": (None, minutes[15], fleet.REALISTIC),
        "random, every minute": (10, minutes[1], RANDOM),
        "random, every 5 minutes": (10, minutes[5], RANDOM),
    }
    with place.connect() as connection:
        fleet.register(connection, tenants, devices)
        for number, (name, (target, every, metrics)) in enumerate(kinds.items()):
            start = fleet.START + datetime.timedelta(days=number)
            readings = Readings(tenants, devices, every, 1, start, metrics)
            fleet.fill(connection, readings)
            fleet.compress(connection)
            found = connection.execute(_SIZES, (readings.start, readings.end)).fetchone()
            assert found is not None
            yield Ratio(
                "size, rows : columnstore",
                name,
                [found[0]],
                target,
                detail=f"{readings.rows:,} rows with indexes: {found[1]} : {found[2]}",
            )
