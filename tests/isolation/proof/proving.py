"""The proof on one database: who is asked what, and what differs from the page."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from models.shared.roles import ROLE_NAMES
from tests.isolation.proof import page as pages
from tests.isolation.proof.asking import RAW, Tally, ask
from tests.isolation.proof.comparing import compare
from tests.isolation.proof.copying import copied
from tests.isolation.proof.probes import CONTEXTS, Probe, Prober
from tests.isolation.proof.relations import NOBODY, Relation, relations
from tests.isolation.proof.surroundings import functions, privileges
from tests.isolation.proof.tenants import Filled, fill

ROLES = (*ROLE_NAMES, NOBODY)
JUDGED = "SET LOCAL fleetschema.judged = 'on'"
"""What fleet_ingest says of its rows when it has judged them."""


@dataclass(frozen=True)
class Proof:
    """A filled database, and a login for each role; that of NOBODY can log in nowhere."""

    engine: Engine
    filled: Filled
    logins: dict[str, str]
    relations: dict[str, Relation]
    version: int
    tally: Tally = field(default_factory=Tally)

    def probes(self, role: str) -> list[Probe]:
        """Every operation on every relation."""
        return [
            probe
            for relation in self.relations.values()
            for probe in self.prober(relation, role).probes()
        ]

    def prober(self, relation: Relation, role: str) -> Prober:
        return Prober(pages.read(), self.filled, relation, role)

    def rows(self, role: str) -> list[Probe]:
        """What reads rows of tenants, and changes them, where the role has any privilege."""
        found = []
        for relation in self.relations.values():
            if relation.kind not in ("S", "t") and not relation.of_server:
                prober = self.prober(relation, role)
                found.append(prober.reading())
                if relation.held(pages.read(), role):
                    found += prober.writing()
        return found

    def findings(self, role: str, probes: Iterable[Probe], begin: str, own: bool) -> list[str]:
        """What differs from the page, asked by a login of the role after a statement."""
        tally = Tally()
        with self.login(role) as connection:
            driver: Any = connection.connection.driver_connection
            driver.execute(f"{begin}; {JUDGED}")
            answers = ask(connection, probes, own, tally)
            connection.rollback()
        self.tally.add(tally)
        return compare(pages.read(), self.relations, role, answers, self.version, context=own)

    def copies(self, role: str) -> list[str]:
        """The same for COPY."""
        listed = [one for one in self.relations.values() if not one.of_server]
        with self.login(role) as connection:
            answers = list(copied(connection, pages.read(), self.filled, listed, role))
        self.tally.statements += len(answers)
        return compare(pages.read(), self.relations, role, answers, self.version)

    def login(self, role: str) -> Connection:
        if role == NOBODY:
            # PUBLIC may not connect; the privileges are the same.
            connection = self.engine.connect()
            connection.exec_driver_sql(f"SET LOCAL SESSION AUTHORIZATION {self.logins[role]}")
            return connection
        url = self.engine.url.set(username=self.logins[role], password="x")
        return sa.create_engine(url, poolclass=sa.NullPool).connect()

    def after(self, connection: Connection, change: str, role: str) -> list[str]:
        """What the proof finds for a role after a change, in the transaction of a superuser.

        Only what the change added or altered is asked about, by comparison of the catalog.
        """
        connection.exec_driver_sql(change, execution_options=RAW)
        there = {one.name: one for one in relations(connection)}
        found = privileges(connection, pages.read(), there.values(), role)
        found += functions(connection, pages.read(), role)
        named = [one for one in there.values() if one.name.split(".")[1].strip('"') in change]
        proof = Proof(self.engine, self.filled, self.logins, there, self.version)
        connection.exec_driver_sql(f"SET LOCAL SESSION AUTHORIZATION {self.logins[role]}")
        connection.exec_driver_sql(CONTEXTS["own"]())
        asked = [probe for one in named for probe in proof.prober(one, role).probes()]
        answers = ask(connection, asked, True, Tally())
        return found + compare(pages.read(), there, role, answers, self.version)


@contextmanager
def proving(engine: Engine) -> Iterator[Proof]:
    """Fill a database that is at the head, and make the logins."""
    filled = fill(engine)
    suffix = uuid.uuid4().hex[:8]
    logins = {role: f"{role}_{suffix}" for role in ROLES}
    with engine.begin() as connection:
        for role, name in logins.items():
            group = "" if role == NOBODY else f" IN ROLE {role}"
            connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD 'x'{group}")
        found = {one.name: one for one in relations(connection)}
        version = connection.exec_driver_sql("SHOW server_version_num").scalar_one()
    yield Proof(engine, filled, logins, found, int(version) // 10_000)
    with engine.begin() as connection:
        for name in logins.values():
            connection.exec_driver_sql(f"DROP OWNED BY {name}; DROP ROLE {name}")
