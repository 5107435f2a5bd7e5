"""Many tenants at once through a pooler: clients of every kind, and what goes wrong with them.

Each tenant has rows that say whose they are, in ordinary tables, in a series and in a rollup.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from database.errors import cause, is_transient
from ddl.edition import Edition, detect
from operations.access import context
from tests.support.signed import SignedDatabase, key_in
from tests.support.time_series import alone, refresh

DEVICES, MESSAGES = 5, 12
COUNTERS = ("left", "right")

LOOKS = {
    "device_registry": "SELECT tenant_id, device_id FROM public.device_registry",
    "sites": "SELECT tenant_id, name FROM public.sites",
    "telemetry": "SELECT tenant_id, device_id FROM public.telemetry",
    "telemetry_hourly": "SELECT tenant_id, device_id FROM public.telemetry_hourly",
}
"""Whose each row is, by its key and by its text."""
FEWEST = {
    "device_registry": DEVICES,
    "sites": len(COUNTERS),
    "telemetry": DEVICES * MESSAGES,
    "telemetry_hourly": DEVICES,
}
SETTINGS = """
    SELECT coalesce(current_setting('app.tenant_id', true), ''),
           coalesce(current_setting('app.tenant_token', true), ''),
           coalesce(current_setting('fleetschema.judged', true), ''),
           current_setting('row_security'), current_setting('search_path'),
           current_setting('statement_timeout'), current_setting('default_transaction_read_only'),
           current_user = session_user, public.current_tenant()::text,
           (SELECT count(*) FROM pg_cursors), (SELECT count(*) FROM pg_prepared_statements),
           (SELECT count(*) FROM pg_listening_channels()),
           (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())
"""
"""What a session may have of an earlier one."""


_TENANTS = sa.text("INSERT INTO tenants (tenant_id, slug, name) VALUES (:id, :slug, :slug)")
_ROWS = (
    f"""
    INSERT INTO device_registry (tenant_id, device_id) SELECT tenant_id, slug || '-' || n
      FROM tenants, generate_series(1, {DEVICES}) n WHERE slug LIKE 'load-%'
    """,
    f"""
    INSERT INTO sites (tenant_id, name, location) SELECT tenant_id, slug || '-' || n, '0'
      FROM tenants, unnest(ARRAY{list(COUNTERS)}) n WHERE slug LIKE 'load-%'
    """,
    f"""
    INSERT INTO timeseries.telemetry (tenant_id, ts, device_id, metrics)
    SELECT d.tenant_id, now() - n * interval '2 days' / 12, d.device_id, '{{"x": 1}}'
      FROM device_registry d, generate_series(1, {MESSAGES}) n WHERE d.device_id LIKE 'load-%'
    """,
)


@dataclass(frozen=True)
class Tenant:
    """Number ``number`` of them."""

    number: int

    @property
    def id(self) -> uuid.UUID:
        return uuid.UUID(int=0xC0000000 + self.number)

    @property
    def slug(self) -> str:
        return f"load-{self.number:03}"


def populate(owner: Engine, tenants: Sequence[Tenant]) -> None:
    """Devices, counters and messages of two days for each tenant; half of it in the columnstore."""
    with owner.begin() as connection:
        connection.execute(_TENANTS, [{"id": one.id, "slug": one.slug} for one in tenants])
        for statement in _ROWS:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
        community = detect(connection) is Edition.COMMUNITY
    if community:
        refresh(owner)
        old = "show_chunks('timeseries.telemetry', now() - interval '1 day')"
        alone(owner, f"SELECT compress_chunk(c) FROM {old} c")
    alone(owner, "ANALYZE")


@dataclass
class Load:
    """Transactions that are counted, and what was wrong with any of them."""

    database: SignedDatabase
    url: str
    """Of the pooler, for `psycopg`."""
    tenants: Sequence[Tenant]
    total: int
    """How many transactions there will be."""
    kinds: Counter[str] = field(default_factory=Counter)
    retried: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    """What happened to them from outside: keys, ended sessions."""
    rows: int = 0
    keys: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """What a session had of an earlier one."""

    def __post_init__(self) -> None:
        self._begun = itertools.count()
        self._numbers = itertools.count()
        self._flying: set[int] = set()
        self._lock = threading.Lock()
        with psycopg.connect(self.psycopg_url(self.database.url)) as fresh:
            self._nothing = fresh.execute(SETTINGS).fetchone()

    @staticmethod
    def psycopg_url(url: sa.URL) -> str:
        return url.set(drivername="postgresql").render_as_string(hide_password=False)

    @property
    def done(self) -> int:
        return sum(self.kinds.values())

    def another(self) -> bool:
        """Whether there is one more transaction to do."""
        return next(self._begun) < self.total

    def tenant(self, rng: random.Random) -> Tenant:
        return rng.choice(self.tenants)

    def attempts(self, kind: str) -> Iterator[Attempt]:
        """As the README says: a transaction that fails by another's doing is done again."""
        for number in range(12):
            attempt = Attempt(self, kind)
            yield attempt
            if attempt.ended:
                return
            time.sleep(0.002 * number)
        self.refused.append(f"{kind}: again and again {attempt.error}")

    @contextmanager
    def flight(self) -> Iterator[None]:
        number = next(self._numbers)
        with self._lock:
            self._flying.add(number)
        try:
            yield
        finally:
            with self._lock:
                self._flying.discard(number)

    def settle(self) -> None:
        """Return when every transaction has ended that has begun by now."""
        with self._lock:
            before = set(self._flying)
        while True:
            with self._lock:
                if not before & self._flying:
                    return
            time.sleep(0.005)

    # --- what is looked at ---

    def look(self, connection: Connection, tenant: Tenant, rng: random.Random) -> None:
        """Whether two relations show what the tenant has, and nothing else."""
        for relation in rng.sample(list(LOOKS), 2):
            self._judge(relation, tenant, connection.execute(sa.text(LOOKS[relation])).all())

    def look_by(self, cursor: Any, tenant: Tenant, rng: random.Random) -> None:
        """The same for a cursor of psycopg."""
        for relation in rng.sample(list(LOOKS), 2):
            self._judge(relation, tenant, cursor.execute(LOOKS[relation]).fetchall())

    def _judge(self, relation: str, tenant: Tenant, rows: Sequence[Any]) -> None:
        for found, name in rows:
            if found != tenant.id or not name.startswith(f"{tenant.slug}-"):
                self.wrong.append(f"{relation} of {tenant.slug}: {name} of {found}")
        if len(rows) < FEWEST[relation]:
            self.wrong.append(f"{relation} of {tenant.slug}: {len(rows)} rows only")
        self.rows += len(rows)

    def inspect(self, connection: psycopg.Connection[Any]) -> None:
        """A session that says no tenant has nothing of one before, and sees no rows."""
        found = connection.execute(SETTINGS).fetchone()
        if found != self._nothing:
            self.kept.append(f"{found}")
        for relation, query in LOOKS.items():
            for tenant, name in connection.execute(query):
                self.wrong.append(f"{relation} of no tenant: {name} of {tenant}")

    def token(self, tenant: Tenant) -> str:
        key = key_in(self.database.file)
        self.keys.add(key.id)
        return key.token(tenant.id)

    # --- what goes wrong meanwhile ---

    def rotate(self) -> None:
        """The next key, and an end of the one before, when nothing signed by it is under way."""
        old = key_in(self.database.file).id
        context.rotate(self.database.owner, self.database.file)
        self.settle()
        context.forget(self.database.owner, old)
        self.events["keys"] += 1

    def kill(self) -> None:
        """End one of the application's sessions, whatever it does."""
        with self.database.owner.connect() as connection:
            ended = connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = :login"
                    " AND state IS DISTINCT FROM 'starting' AND state IS NOT NULL"
                    " ORDER BY random() LIMIT 1"
                ),
                {"login": self.database.login},
            ).all()
        self.events["killed"] += len(ended)

    def disturb(self, stop: threading.Event, *, keys: int, kills: int) -> None:
        """So often while the transactions run."""
        due = sorted(
            [(self.total * n // (keys + 1), self.rotate) for n in range(1, keys + 1)]
            + [(self.total * n // (kills + 1), self.kill) for n in range(1, kills + 1)],
            key=lambda one: one[0],
        )
        for number, disturbance in due:
            while self.done < number and not stop.wait(0.005):
                pass
            disturbance()

    def summary(self) -> str:
        def listed(counts: Counter[str]) -> str:
            return ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items()))

        return (
            f"{self.done:,} transactions of {len(self.tenants)} tenants, {self.rows:,} rows"
            f" ({listed(self.kinds)}); {listed(self.events)}; done again after:"
            f" {listed(self.retried)}; {len(self.wrong)} wrong, {len(self.refused)} refused,"
            f" {len(self.kept)} with something left"
        )


class Attempt:
    """One attempt at a transaction; a context manager around it."""

    def __init__(self, load: Load, kind: str) -> None:
        self.load, self.kind = load, kind
        self.ended = False
        self.error: BaseException | None = None
        self._flight = load.flight()

    def __enter__(self) -> Attempt:
        self._flight.__enter__()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        self._flight.__exit__(None, None, None)
        self.error = error
        if error is None:
            self.load.kinds[self.kind] += 1
        elif isinstance(error, LostError) or is_transient(error):
            behind = error.__cause__ if isinstance(error, LostError) else None
            found = cause(behind or error)
            self.load.retried[type(found).__name__] += 1
            return True
        elif isinstance(error, Exception):
            self.load.refused.append(f"{self.kind}: {type(error).__name__}: {error}")
        self.ended = True
        return isinstance(error, Exception)


class LostError(Exception):
    """The connection of a client that is not SQLAlchemy's broke."""
