"""The migration runner: what ``alembic/env.py`` calls, for every command and both modes.

One session at a time (an advisory lock taken by polling), one transaction per revision, short
waits for table locks with the whole revision tried again, progress a line each, and
schema_history. A runner that is killed leaves whole revisions only; the next one goes on.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
import tenacity
from alembic.migration import MigrationContext
from alembic.operations.ops import MigrationScript
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, MetaData
from sqlalchemy.schema import CreateTable

import ddl
from database import privileges, roles
from database.errors import FleetSchemaError
from database.migration import history, preparation
from database.migration.revisions import Revisions
from database.readiness import ensure_database, wait_until_ready
from database.settings import Settings, migration_url
from ddl import ledger
from ddl.edition import Edition, available, detect
from ddl.sql import send

LOCK_KEY = 0x666C656574  # "fleet": advisory locks are per database, so one constant is enough
_BUSY = ("55P03", "40P01")  # lock_not_available, deadlock_detected
_ATTEMPTS = 8


def run(context: Any, metadata: MetaData) -> None:
    """Do what the running alembic command asks, offline or online.

    Args:
        context: alembic's EnvironmentContext, as ``alembic.context``.
        metadata: the declared models.

    Raises:
        alembic.util.CommandError: anything that a person can mend, in one clear text.
    """
    try:
        runner = Runner(context, metadata)
        if context.is_offline_mode():
            runner.offline()
        else:
            runner.online()
    except FleetSchemaError as error:
        raise CommandError(str(error)) from error


class Runner:
    """One run of one alembic command."""

    def __init__(self, context: Any, metadata: MetaData) -> None:
        self.context = context
        self.metadata = metadata
        self.settings = Settings()
        # Only commands that move the database name a revision to go to; there is no public word
        # for it before configure(), and the lock must be taken before that.
        options = context._proxy.context_opts
        self.moves = "destination_rev" in options
        destination = str(options.get("destination_rev"))
        self.goes_down = destination == "base" or destination.startswith("-")
        self.compares = "revision_context" in options
        self.revisions = Revisions(ScriptDirectory.from_config(context.config))
        self.edition = Edition.COMMUNITY
        self._clock = time.monotonic()
        self._left_out = ""
        self._warnings: set[str] = set()

    # --- both modes ---

    def configure(self, **connection: Any) -> None:
        """The one place where alembic is told how this project works."""
        self.context.configure(
            target_metadata=self.metadata,
            autogenerate_plugins=["ddl"],
            include_name=is_ours,
            process_revision_directives=self.directives,
            on_version_apply=self.applied,
            transaction_per_migration=True,
            edition=str(self.edition),
            **connection,
        )

    def directives(
        self, context: MigrationContext, revision: Any, directives: list[MigrationScript]
    ) -> None:
        """Shorten, number, and drop a revision that would be empty."""
        ddl.process_revision_directives(context, revision, directives)
        command = self.context.config.cmd_opts
        asked = getattr(command, "autogenerate", False) or self.context.config.attributes.get(
            "skip_empty", False
        )
        for script in directives:
            if getattr(command, "rev_id", None) is None:
                script.rev_id = self.revisions.next_number()
        if asked and not any(script.upgrade_ops.ops for script in directives if script.upgrade_ops):
            self.say("No difference between the models and the database; no revision written.")
            directives[:] = []

    def applied(self, *, ctx: MigrationContext, step: Any, heads: Any, run_args: Any) -> None:
        """After each step, inside its transaction: a row of history, a line of progress."""
        seconds = time.monotonic() - self._clock
        self._clock = time.monotonic()
        direction = "stamp" if step.is_stamp else "upgrade" if step.is_upgrade else "downgrade"
        # A stamp to base ends at no revision; what it left is what it is about.
        revision = step.up_revision_id or next(iter(step.source_revision_ids), "base")
        known = revision in self.revisions.files
        duration = None if ctx.as_sql else round(seconds * 1000)
        checksum = self.revisions.checksum(revision) if known else "unknown"
        statement = history.entry(revision, direction, checksum, self.edition, duration)
        ctx.execute(sa.text(statement.replace(":", r"\:")))
        if not ctx.as_sql:
            name = self.revisions.files[revision].stem if known else revision
            mark = {"upgrade": "+", "downgrade": "-", "stamp": "="}[direction]
            self.say(f"  {mark} {name:<48} {seconds:6.2f} s")

    def say(self, text: str) -> None:
        """A line for the person who runs the command."""
        if not self.context.is_offline_mode():
            self.context.config.print_stdout(text)

    # --- offline ---

    def offline(self) -> None:
        """Write the whole deploy as SQL: extension, roles, history, revisions, privileges."""
        self.revisions.verify()
        wanted = self.context.get_x_argument(as_dictionary=True).get("edition")
        self.edition = preparation.parse_edition(wanted)
        self.configure(
            dialect_name="postgresql",
            literal_binds=True,
            # Without a named style every % would come out doubled.
            dialect_opts={"paramstyle": "named"},
        )
        migration = self.context.get_context()
        _create_version_table_if_missing(migration)
        # Seconds, not minutes: psql stops at the error and nothing of that revision is kept.
        preamble = [
            "SET search_path = public",
            f"SET lock_timeout = '{round(self.settings.migration_lock_timeout * 1000)}ms'",
            *preparation.extension(self.edition),
            *history.creation(),
            *roles.creation(),
        ]
        _write(migration, preamble[:2] if self.goes_down else preamble)
        with self.context.begin_transaction():
            self.context.run_migrations()
        if not self.goes_down:
            _write(migration, [privileges.application()])
        elif self.context.get_revision_argument() is None:
            _write(migration, [privileges.removal(), roles.removal()])

    # --- online ---

    def online(self) -> None:
        """Connect, and run the command, under the lock where it moves the database."""
        given = self.context.config.attributes.get("connection")
        if isinstance(given, Connection):
            # Somebody else's connection and transaction: theirs to lock and to commit.
            self.edition = edition_of(given)
            self._run(given)
            return
        with self._engine(given) as engine:
            if self.moves:
                self._move(engine)
            else:
                with engine.connect() as connection:
                    preparation.use(connection, self.settings)
                    self.edition = edition_of(connection)
                    connection.commit()
                    self._run(connection)

    @contextmanager
    def _engine(self, given: Engine | None) -> Iterator[Engine]:
        if given is not None:
            yield given
            return
        url = migration_url(self.settings)
        embedded = not (self.settings.database_url or self.settings.migration_database_url)
        if not (self.moves or embedded):
            # Looking at a database whose name is mistyped must not make one.
            wait_until_ready(url, self.settings.database_wait_timeout)
        elif ensure_database(url, self.settings.database_wait_timeout):
            self.say(f"Created database {url.database}")
        engine = sa.create_engine(
            url,
            poolclass=sa.NullPool,
            connect_args={"application_name": "fleetschema migration"},
        )
        try:
            yield engine
        finally:
            engine.dispose()

    def _move(self, engine: Engine) -> None:
        """The whole run, again and again while other sessions hold what it needs."""
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_busy),
            wait=self._pause,
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            reraise=True,
        ):
            with attempt, engine.connect() as connection:
                try:
                    self._move_once(connection)
                except sa.exc.DBAPIError as error:
                    if _is_busy(error) and attempt.retry_state.attempt_number < _ATTEMPTS:
                        raise
                    raise self._failure(error) from error

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Seconds until the next try: growing, and never the same for two runners."""
        error = state.outcome.exception() if state.outcome else None
        growing = min(10.0, 0.5 * float(2**state.attempt_number))
        seconds = growing * random.uniform(0.5, 1.5)  # noqa: S311 (spreads tries, no secret)
        reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
        self.say(
            f"  . busy: {reason}; nothing of this revision was kept, try"
            f" {state.attempt_number + 1} of {_ATTEMPTS} in {seconds:.1f} s"
        )
        return seconds

    def _move_once(self, connection: Connection) -> None:
        preparation.use(connection, self.settings)
        connection.commit()
        driver: Any = connection.connection.driver_connection
        driver.add_notice_handler(lambda notice: self.say(f"  ! {notice.message_primary}"))
        with preparation.exclusive(connection, LOCK_KEY, self.settings, self.say):
            if not self.goes_down:
                preparation.prepare(connection, self.say)
            self.edition = edition_of(connection)
            self._left_out = ledger.skipped(connection)
            connection.commit()
            self._clock = time.monotonic()
            self._run(connection)
            self._finish(connection)

    def _finish(self, connection: Connection) -> None:
        """Privileges of the database after an upgrade; their end, and the roles', at base."""
        connection.commit()
        if not self.goes_down:
            privileges.apply(connection)
            self._say_skipped(connection)
        elif not MigrationContext.configure(connection).get_current_heads():
            send(connection, privileges.removal())
            connection.commit()
            send(connection, roles.removal())
        connection.commit()

    def _say_skipped(self, connection: Connection) -> None:
        """What the database does without, once: after the revisions that would have made it."""
        if (skipped := ledger.skipped(connection)) and skipped != self._left_out:
            self.say(f"  . edition {self.edition}: {skipped}")
        if could := waiting(connection):
            self.say(f"  ! {could}")

    def _run(self, connection: Connection) -> None:
        self._verify(connection)
        self.configure(connection=connection)
        with self.context.begin_transaction():
            self.context.run_migrations()

    def _verify(self, connection: Connection) -> None:
        """Refuse edited revisions and a database that is ahead of the code."""
        current = MigrationContext.configure(connection).get_current_heads()
        unknown = sorted(set(current) - self.revisions.files.keys())
        if unknown and (self.moves or self.compares):
            raise FleetSchemaError(
                f"database {_name(connection)}: expected a revision up to "
                f"{self.revisions.head or 'base'}, found {', '.join(unknown)}: the database is "
                "ahead of this code; deploy the code that has that revision, or downgrade with it"
            )
        if self.compares and (absent := roles.missing(connection)):
            raise FleetSchemaError(
                f"the cluster has no role {', '.join(absent)}, which policies and grants of the "
                "models name: run: alembic upgrade head"
            )
        if self.compares or (self.moves and not self.goes_down):
            if self._writes_revision():
                self.revisions.verify_released()
            else:
                self.revisions.verify()
            self._warn(history.verify(connection, self.revisions, next(iter(current), None)))
            # Below the head the revisions come first, in the edition that they began in.
            if self.compares and set(current) == {self.revisions.head} and waiting(connection):
                raise FleetSchemaError(f"database {_name(connection)}: {waiting(connection)}")
        if connection.in_transaction() and not self._is_given(connection):
            connection.commit()

    def _warn(self, warning: str) -> None:
        """Once, however often a busy table makes the run begin again."""
        if warning and warning not in self._warnings:
            self._warnings.add(warning)
            self.say(f"  ! {warning}")

    def _writes_revision(self) -> bool:
        """``revision`` writes HEAD itself; ``check`` and ``upgrade`` expect it to be right."""
        return hasattr(self.context.config.cmd_opts, "rev_id")

    def _is_given(self, connection: Connection) -> bool:
        return self.context.config.attributes.get("connection") is connection

    def _failure(self, error: sa.exc.DBAPIError) -> FleetSchemaError:
        """The server's reason in one text; the traceback says nothing more to a person."""
        reason = str(error.orig).strip()
        return FleetSchemaError(
            f"the server refused a statement: {reason}\n"
            f"  in: {' '.join((error.statement or '').split())[:200]}\n"
            "nothing of that revision was kept, all before it was; mend the cause and run the "
            "same command again"
        )


def edition_of(connection: Connection) -> Edition:
    """The edition that revisions are for here: TimescaleDB counts once it is converted to."""
    return Edition(ledger.lowered(connection, detect(connection)))


def waiting(connection: Connection) -> str:
    """What this server could do that the revisions had to leave out; empty if nothing."""
    edition = available(connection)
    count = len(ledger.adoptable(connection, edition))
    if count == 0:
        return ""
    return (
        f"this server has {edition}, but {count} hypertables, rollups and policies were set up "
        "without it: run: python -m operations convert"
    )


def _name(connection: Connection) -> str:
    return str(connection.engine.url.database)


def is_ours(name: str | None, type_: str, _parents: Any) -> bool:
    """What the comparison may see: everything but the runner's own table."""
    return not (type_ == "table" and name == history.schema_history.name)


def _is_busy(error: BaseException) -> bool:
    return getattr(getattr(error, "orig", None), "sqlstate", None) in _BUSY


def _write(migration: MigrationContext, statements: list[str]) -> None:
    for statement in statements:
        migration.execute(sa.text(statement.replace(":", r"\:")))


def _create_version_table_if_missing(migration: MigrationContext) -> None:
    """Offline, Alembic creates alembic_version from base on although a downgrade keeps it."""
    table = migration._version

    def create(bind: Any, **_: Any) -> None:
        bind.execute(CreateTable(table, if_not_exists=True))

    table.create = create  # type: ignore[assignment,method-assign]
