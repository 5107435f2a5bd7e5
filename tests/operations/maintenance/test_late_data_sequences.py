"""Random sequences of what happens to samples and their rollup, against a model in Python.

On Community the rollup has to have what raw data covers and to keep what it had; elsewhere it is a
view, which has what the raw data has. ``make late`` draws many more sequences than the suite does.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)
from sqlalchemy import Engine

from database.tenancy import tenant_transaction
from ddl.edition import COMMUNITY, available
from operations.maintenance.run import maintain
from operations.tenants.deletion import delete_tenant
from tests.support.databases import MakeDatabase, servers
from tests.support.engines import engine_of
from tests.support.engines import execute as run_alone
from tests.support.late_data import run_jobs, run_refresh_jobs
from tests.support.late_data_model import (
    AGES,
    DAYS,
    HOURS,
    MINUTES,
    RETENTION,
    TENANTS,
    UNTIL,
    Bucket,
    Model,
    Sample,
    Value,
)
from tests.support.sequences import run_sequences
from tests.support.servers import DatabaseServer
from tests.support.time_series import (
    RAW_SQL,
    SLUGS,
    alone,
    execute,
    with_tenants,
)

RAW, ROLLUP = "timeseries.tag_values", "timeseries.tag_values_hourly"
COLUMNS = "(tenant_id, ts, tag_id, connection_id, v_num)"
REFRESHES = {"jobs", "maintain"}


class LateData(RuleBasedStateMachine):
    """A database and the model that it has to agree with."""

    make: ClassVar[Callable[[], str]]
    stored: ClassVar[bool]
    """Whether the rollup stores rows."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.context = engine_of(type(self).make())
        self.engine: Engine = self.context.__enter__()
        self.tenants = set(TENANTS)
        self.last = ""
        today = datetime.datetime.now(datetime.UTC)
        self.midnight = today.replace(hour=0, minute=0, second=0, microsecond=0)

    def teardown(self) -> None:
        url = self.engine.url
        self.context.__exit__(None, None, None)
        run_alone(url.set(database="postgres"), f'DROP DATABASE "{url.database}" WITH (FORCE)')

    # --- rows ---

    @rule(data=st.data(), door=st.sampled_from(["copy", "view", "insert"]), value=st.integers(0, 9))
    def add(self, data: st.DataObject, door: str, value: int) -> None:
        """Late, early or again."""
        tenants = data.draw(st.sets(st.sampled_from(sorted(self.tenants)), min_size=1))
        # A tenant's view refuses what retention would delete.
        taken = [day for day in DAYS if day < RETENTION] if door == "view" else DAYS
        days = data.draw(st.sets(st.sampled_from(taken), min_size=1, max_size=4))
        hours = data.draw(st.sets(st.sampled_from(HOURS), min_size=1))
        minutes = data.draw(st.sets(st.sampled_from(MINUTES), min_size=1))
        samples = {
            Sample(tenant, tag, day, hour, minute): float(value + tag)
            for tenant in sorted(tenants)
            for tag in (1, 2)
            for day in sorted(days)
            for hour in sorted(hours)
            for minute in sorted(minutes)
        }
        known = set(self.model.raw)
        self.model.add(samples)
        self.last = "add"
        if door == "view":
            for tenant in tenants:
                with tenant_transaction(self.engine, tenant) as connection:
                    own = {one: found for one, found in samples.items() if one.tenant == tenant}
                    connection.exec_driver_sql("SET LOCAL ROLE fleet_app")
                    connection.exec_driver_sql(
                        self._insertion("public.tag_values", own), execution_options=RAW_SQL
                    )
        elif door == "insert":
            execute(self.engine, self._insertion(RAW, samples))
        else:
            new = {one: found for one, found in samples.items() if one not in known}
            with self.engine.begin() as connection:
                driver: Any = connection.connection.driver_connection
                statement = f"COPY {RAW} {COLUMNS} FROM STDIN"
                with driver.cursor() as cursor, cursor.copy(statement) as copy:
                    for one, found in new.items():
                        moment = one.moment(self.midnight)
                        copy.write_row((one.tenant, moment, one.tag, one.tenant, found))

    def _insertion(self, relation: str, samples: dict[Sample, float]) -> str:
        rows = ", ".join(
            f"('{one.tenant}', '{one.moment(self.midnight)}', {one.tag}, '{one.tenant}', {found})"
            for one, found in samples.items()
        )
        return f"INSERT INTO {relation} {COLUMNS} VALUES {rows} ON CONFLICT DO NOTHING"

    @precondition(lambda self: self.model.raw)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """An operator corrects what a device sent on a day."""
        found = sorted({(one.tenant, one.day) for one in self.model.raw})
        tenant, day = data.draw(st.sampled_from(found))
        begins = self.midnight - datetime.timedelta(days=day)
        execute(
            self.engine,
            f"DELETE FROM {RAW} WHERE tenant_id = '{tenant}' AND ts >= '{begins}'"
            f" AND ts < '{begins + datetime.timedelta(days=1)}'",
        )
        self.model.remove([one for one in self.model.raw if (one.tenant, one.day) == (tenant, day)])
        self.last = "remove"

    # --- jobs and people ---

    @rule()
    def jobs(self) -> None:
        if self.stored:
            run_refresh_jobs(self.engine)
            self.model.refresh(window=True)
            self.last = "jobs"

    @rule()
    def compress(self) -> None:
        if self.stored:
            for relation in (RAW, ROLLUP):
                alone(
                    self.engine, f"SELECT compress_chunk(c, true) FROM show_chunks('{relation}') c"
                )

    @rule()
    def retention(self) -> None:
        if self.stored:
            run_jobs(self.engine, "policy_retention")
            self.model.drop_chunks(RETENTION)
            self.last = "retention"

    @precondition(lambda self: self.stored)
    @rule(data=st.data(), age=st.sampled_from(AGES), until=st.sampled_from(UNTIL))
    def drop_chunks(self, data: st.DataObject, age: int, until: int | None) -> None:
        """By hand; maintenance follows, perhaps after late rows that make chunks anew."""
        newer = f", newer_than => now() - interval '{until} days'" if until else ""
        if until is None or age < until:
            alone(
                self.engine,
                f"SELECT drop_chunks('{RAW}', older_than => now() - interval '{age} days'{newer})",
            )
            before = set(self.model.chunks)
            self.model.drop_chunks(age, until)
            gone = sorted(before - self.model.chunks)
            if gone and data.draw(st.booleans()):
                day, hour = data.draw(st.sampled_from(gone)), data.draw(st.sampled_from(HOURS))
                tenant = data.draw(st.sampled_from(sorted(self.tenants)))
                samples = {Sample(tenant, 1, day, hour, MINUTES[0]): 5.0}
                self.model.add(samples)
                execute(self.engine, self._insertion(RAW, samples))
        self.maintain()

    @rule(data=st.data(), age=st.sampled_from([None, *AGES]))
    def set_policy(self, data: st.DataObject, age: int | None) -> None:
        tenant = data.draw(st.sampled_from(sorted(self.tenants)))
        statements = [f"DELETE FROM data_retention_policies WHERE tenant_id = '{tenant}'"]
        self.model.policies.pop(tenant, None)
        if age is not None:
            self.model.policies[tenant] = age
            statements.append(
                "INSERT INTO data_retention_policies (tenant_id, relation, retention_days)"
                f" VALUES ('{tenant}', 'tag_values', {age})"
            )
        execute(self.engine, "SET LOCAL ROLE fleet_operator", *statements)

    @rule()
    def maintain(self) -> None:
        assert maintain(self.engine).problems == []
        if self.stored:
            self.model.note_dropped()
            self.model.refresh(window=False)
        else:
            self.model.drop_chunks(RETENTION)
        self.model.retain()
        self.last = "maintain"

    @precondition(lambda self: len(self.tenants) == len(TENANTS))
    @rule(data=st.data())
    def delete_tenant(self, data: st.DataObject) -> None:
        tenant = data.draw(st.sampled_from(sorted(self.tenants)))
        delete_tenant(self.engine, SLUGS[tenant])
        self.model.forget(tenant)
        self.tenants.discard(tenant)
        self.last = "delete"

    # --- what holds ---

    @invariant()
    def agrees(self) -> None:
        found = self._found()
        if not self.stored:
            assert found == self.model.aggregates()
            return
        lost = self.model.rollup.keys() - found.keys()
        assert not lost, f"buckets vanished after {self.last}"
        if self.last in REFRESHES:
            wrong = {
                key: (found.get(key), self.model.rollup.get(key))
                for key in found.keys() | self.model.rollup.keys()
                if found.get(key) != self.model.rollup.get(key)
                and not (self.last == "jobs" and key[2] > 27)
            }
            note(f"policies {self.model.policies}, horizons {self.model.horizons}")
            assert not wrong, f"after {self.last}: found and expected differ"
            fresh = self.model.aggregates()
            if self.last == "maintain":
                covered = {key for key in fresh.keys() | found.keys() if self.model.covers(key)}
                assert {key: found.get(key) for key in covered} == {
                    key: fresh.get(key) for key in covered
                }

    def _found(self) -> dict[Bucket, Value]:
        rows = alone(
            self.engine,
            "SELECT tenant_id, tag_id, bucket AT TIME ZONE 'UTC', avg, min, max, count"
            f" FROM {ROLLUP}",
        )
        midnight = self.midnight.replace(tzinfo=None)
        found: dict[Bucket, Value] = {}
        for tenant, tag, bucket, *values in rows:
            day = (midnight - bucket.replace(hour=0)).days
            key = (uuid.UUID(str(tenant)), tag, day, bucket.hour)
            assert key not in found, f"two rows of {key}"
            found[key] = tuple(values)
        return found


@pytest.mark.slow
@pytest.mark.parametrize("any_server", servers("embedded", "timescaledb"), indirect=True)
def test_any_sequence(any_server: DatabaseServer, make_database: MakeDatabase) -> None:
    with engine_of(any_server.url("postgres")) as engine, engine.connect() as connection:
        community = available(connection) is COMMUNITY

    class Sequence(LateData):
        make = staticmethod(lambda: make_database(any_server, like=with_tenants))
        stored = community

    run_sequences(Sequence, "LATE_DATA", sequences=5, steps=20)
