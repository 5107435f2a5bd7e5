"""The migration runner: what ``alembic/env.py`` calls, for every command and both modes.

One session at a time (an advisory lock taken by polling), one transaction per revision, short
waits for table locks with the whole revision tried again, progress a line each, and
schema_history. A runner that is killed leaves whole revisions only; the next one goes on.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import sqlalchemy as sa
import tenacity
from alembic.migration import MigrationContext
from alembic.operations.ops import MigrationScript
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, MetaData

import ddl
from database import hardening, privileges, roles, security, signing
from database.console import Progress, visible_lines
from database.engine import make_engine
from database.errors import FleetSchemaError, cause, is_busy, is_of_rows, server_message
from database.migration import arguments, checks, held_jobs, history, preparation, script
from database.migration.answers import answers
from database.migration.explanation import BY_HAND, Explanation
from database.migration.losses import Losses
from database.migration.revisions import Revisions
from database.migration.watching import watching
from database.readiness import ensure_database, wait_until_ready
from database.rules import broken_by_models
from database.settings import Settings, migration_url
from ddl import buckets, filled, pending_operations
from ddl.edition import Edition
from ddl.effects import warn
from ddl.refusal import excerpt
from ddl.sql import send

_ATTEMPTS = 8


def run(context: Any, metadata: MetaData) -> None:
    """Do what the running alembic command asks, offline or online.

    Args:
        context: alembic's EnvironmentContext, as ``alembic.context``.
        metadata: the declared models.

    Raises:
        alembic.util.CommandError: anything that a person can fix, in one clear text.
    """
    try:
        runner = Runner(context, metadata)
        arguments.reject(context, runner.revisions)
        if context.is_offline_mode():
            runner.offline()
        else:
            runner.online()
    except FleetSchemaError as error:
        raise CommandError(visible_lines(str(error))) from error


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
        self.purges = bool(options.get("purge"))
        self.revisions = Revisions(context.script)
        self.edition = Edition.COMMUNITY
        self._clock = time.monotonic()
        self._losses = Losses(self.revisions)
        self._broken: list[str] = []
        self._left_out = ""
        self._warnings: set[str] = set()
        offline = context.is_offline_mode()
        self.progress = Progress(_silent if offline else context.config.print_stdout)

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
            examine=self._examine if self._writes_revision() else None,
            renames=answers(self.context, writes=self._is_asked()) if self.compares else None,
            **connection,
        )

    def directives(
        self, context: MigrationContext, revision: Any, directives: list[MigrationScript]
    ) -> None:
        """Shorten, number, explain, and drop a revision that would be empty."""
        ddl.process_revision_directives(context, revision, directives)
        command = self.context.config.cmd_opts
        asked = self._is_asked()
        for written in directives:
            if getattr(command, "rev_id", None) is None:
                written.rev_id = self.revisions.next_number()
            if asked and context.connection is not None and written.upgrade_ops is not None:
                reader = self.metadata.info.get("validate_as")
                filled.refuse(written.upgrade_ops.ops, context.connection, reader, self.edition)
            lost = warn(written, context.connection) if context.connection is not None else {}
            explanation = Explanation(self.context, context, written)
            if asked:
                explanation.tell(lost)
                for message in self._broken:
                    self.progress.warning(f"rule: {message}")
            else:
                assert context.connection is not None
                explanation.add(security.differences(context.connection), self.metadata)
                explanation.tell_check()
        if asked and not any(
            written.upgrade_ops.ops for written in directives if written.upgrade_ops
        ):
            by_hand = sum(len(ddl.found_by(written)) for written in directives)
            self.progress.line(
                f"No difference that a revision mends; {BY_HAND}; no revision written."
                if by_hand
                else "No difference between the models and the database; no revision written."
            )
            directives[:] = []

    def _is_asked(self) -> bool:
        """True where a revision is to be written from the differences, not for ``check``."""
        config = self.context.config
        asked = getattr(config.cmd_opts, "autogenerate", False)
        return bool(asked or config.attributes.get("skip_empty", False))

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
        if self._holds_jobs():
            # The scheduler sees what the step made when it is committed.
            ctx.execute(sa.text(held_jobs.PAUSE))
        if not ctx.as_sql:
            name = self.revisions.files[revision].stem if known else revision
            self.progress.revision(direction, name, seconds, self._losses.lost)
        self._losses.next_revision()

    def _holds_jobs(self) -> bool:
        """Whether jobs of policies wait until the run is through: not in a caller's transaction."""
        given = self.context.config.attributes.get("connection")
        return self.edition is Edition.COMMUNITY and not isinstance(given, Connection)

    def _held(self, connection: Connection) -> AbstractContextManager[None]:
        if not self._holds_jobs():
            return nullcontext()
        return held_jobs.held(connection, None if self.goes_down else self.revisions.head)

    # --- offline ---

    def offline(self) -> None:
        """Write the whole deploy as SQL: extension, roles, history, revisions, privileges."""
        self.revisions.verify()
        named = self.context.get_x_argument(as_dictionary=True).get("edition")
        self.edition = script.parse_edition(named)
        self.configure(
            dialect_name="postgresql",
            literal_binds=True,
            # Without a named style every % would come out doubled.
            dialect_opts={"paramstyle": "named"},
        )
        migration = self.context.get_context()
        self._losses.require_acceptances(migration, self.edition)
        script.create_version_table_if_missing(migration)
        script.write(migration, script.before(self.edition, self.settings, down=self.goes_down))
        self._run_revisions()
        to_base = self.context.get_revision_argument() is None
        script.write(migration, script.after(self.edition, down=self.goes_down, to_base=to_base))

    # --- online ---

    def online(self) -> None:
        """Connect, and run the command, under the lock where it moves the database."""
        given = self.context.config.attributes.get("connection")
        if isinstance(given, Connection):
            # The caller's connection and transaction: the caller locks and commits.
            self.edition = checks.edition_of(given)
            self._run(given)
            return
        with self._engine(given) as engine:
            if self.moves:
                self._move(engine)
            else:
                with engine.connect() as connection:
                    preparation.use(connection, self.settings)
                    self.edition = checks.edition_of(connection)
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
            self.progress.line(f"Created database {url.database}")
        engine = make_engine(
            url,
            settings=self.settings,
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
            retry=tenacity.retry_if_exception(is_busy),
            wait=self._pause,
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            reraise=True,
        ):
            with attempt, engine.connect() as connection:
                try:
                    self._move_once(connection)
                except sa.exc.DBAPIError as error:
                    if is_busy(error) and attempt.retry_state.attempt_number < _ATTEMPTS:
                        raise
                    raise self._failure(connection, error) from error

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Seconds until the next try: growing, and never the same for two runners."""
        error = state.outcome.exception() if state.outcome else None
        growing = min(10.0, 0.5 * float(2**state.attempt_number))
        seconds = growing * random.uniform(0.5, 1.5)  # noqa: S311 (spreads tries, no secret)
        reason = server_message(error, brief=True) if error else ""
        self.progress.note(
            f"busy: {reason}; nothing of this revision was kept, try"
            f" {state.attempt_number + 1} of {_ATTEMPTS} in {seconds:.1f} s"
        )
        return seconds

    def _move_once(self, connection: Connection) -> None:
        preparation.use(connection, self.settings)
        connection.commit()
        driver: Any = connection.connection.driver_connection
        driver.add_notice_handler(lambda notice: self.progress.warning(notice.message_primary))
        with preparation.exclusive(connection, self.settings):
            if not self.goes_down:
                preparation.prepare(connection, self.metadata, self.progress)
            self.edition = checks.edition_of(connection)
            self._left_out = pending_operations.skipped(connection)
            connection.commit()
            self._clock = time.monotonic()
            signed = signing.is_signed(connection)
            with self._held(connection):
                self._run(connection)
            self._finish(connection, signed=signed)

    def _finish(self, connection: Connection, *, signed: bool) -> None:
        """Properties of the database after an upgrade; their end, and the roles', at base."""
        connection.commit()
        if not self.goes_down:
            privileges.apply(connection)
            if found := hardening.gaps(connection):
                self.progress.warning(hardening.asked_for(found))
            if signed and not signing.is_signed(connection):
                # A revision gave it the body of the models.
                signing.set_signed(connection, signed=True)
            self._tell_skipped(connection)
        elif not MigrationContext.configure(connection).get_current_heads():
            send(connection, f"{privileges.removal()}; {hardening.removal()}; {buckets.removal()}")
            connection.commit()
            send(connection, roles.removal())
        connection.commit()

    def _tell_skipped(self, connection: Connection) -> None:
        """What the database does without, once: after the revisions that would have made it."""
        if (skipped := pending_operations.skipped(connection)) and skipped != self._left_out:
            self.progress.note(f"edition {self.edition}: {skipped}")
        if missed := checks.not_converted(connection):
            self.progress.warning(missed)

    def _run(self, connection: Connection) -> None:
        self._verify(connection)
        self.configure(connection=connection)
        if self.moves and not self.purges:
            self._losses.require_acceptances(self.context.get_context(), self.edition)
            if not self._is_given(connection):
                connection.commit()
        self._run_revisions()

    def _run_revisions(self) -> None:
        """What Alembic's run_migrations() does, with an eye on every operation."""
        self._losses.next_revision()
        context = self.context.get_context()
        files = {str(path) for path in self.revisions.files.values()}
        watch = functools.partial(self._losses.watch, context)
        with self.context.begin_transaction(), watching(context, watch, files):
            context.run_migrations()

    def _verify(self, connection: Connection) -> None:
        """Refuse edited revisions, a database ahead of the code, and one not yet converted."""
        applied = MigrationContext.configure(connection).get_current_heads()
        if not self.purges:
            checks.is_known(connection, self.revisions, applied)
        if self._autogenerates():
            checks.is_at_head(connection, self.revisions, applied)
        if self.compares:
            checks.has_roles(connection)
            checks.has_extensions(connection, self.metadata)
        if self.compares or (self.moves and not self.goes_down):
            if self._writes_revision():
                self.revisions.verify_released()
            else:
                self.revisions.verify()
            self._warn(history.verify(connection, self.revisions, next(iter(applied), None)))
            # Below the head the revisions come first, in the edition that they began in.
            if self.compares and set(applied) == {self.revisions.head}:
                checks.is_converted(connection)
        if connection.in_transaction() and not self._is_given(connection):
            connection.commit()

    def _warn(self, warning: str) -> None:
        """Once, however often a busy table makes the run begin again."""
        if warning and warning not in self._warnings:
            self._warnings.add(warning)
            self.progress.warning(warning)

    def _writes_revision(self) -> bool:
        """``revision`` writes HEAD itself; ``check`` and ``upgrade`` expect it to be right."""
        return hasattr(self.context.config.cmd_opts, "rev_id")

    def _examine(self, connection: Connection, names: Mapping[str, str]) -> None:
        """Look which rules of the house the models break, while they are built in the shadow."""
        self._broken = broken_by_models(connection, names)

    def _autogenerates(self) -> bool:
        """``check``, and ``revision --autogenerate``."""
        found = self.context._proxy.context_opts.get("revision_context")
        return found is not None and bool(found.command_args.get("autogenerate"))

    def _is_given(self, connection: Connection) -> bool:
        return self.context.config.attributes.get("connection") is connection

    def _failure(self, connection: Connection, error: sa.exc.DBAPIError) -> FleetSchemaError:
        """The server's reason in one text; the traceback says nothing more to a person."""
        found = [self._losses.where] if self._losses.where else []
        if reason := signing.needed(error):
            return FleetSchemaError("\n".join([*found, reason]))
        found.append(f"the server refused a statement: {server_message(error)}")
        if is_of_rows(error) and self._losses.operation is not None:
            connection.rollback()
            reader = self.metadata.info.get("validate_as")
            found += filled.refused([self._losses.operation], connection, reader)
        if error.statement:
            found.append(f"  in: {excerpt(cause(error), error.statement)}")
        found.append(
            "nothing of that revision was kept, all before it was; fix the cause and run the same"
            " command again"
        )
        return FleetSchemaError("\n".join(found))


def is_ours(name: str | None, type_: str, _parents: Any) -> bool:
    """What the comparison may see: everything but the runner's own table."""
    return not (type_ == "table" and name == history.schema_history.name)


def _silent(_: str) -> None:
    """Offline, standard output is the script."""
