"""Status transitions: which status of a row may follow which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ddl import Function, Trigger
from ddl.sql import literal
from models.shared.base import Base
from models.shared.plpgsql import PLPGSQL_SETTINGS

Function(
    "check_status_transition",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body="""
        declare
          step text := old.status || ' > ' || new.status;
        begin
          if step = any (tg_argv) then
            return new;
          end if;
          raise exception '% cannot go from % to %', tg_table_name, old.status, new.status
            using errcode = 'check_violation', table = tg_table_name, column = 'status',
                  hint = format('Allowed from %s: %s.', old.status,
                    coalesce((select string_agg(split_part(allowed, ' > ', 2), ', ')
                                from unnest(tg_argv) as allowed
                               where split_part(allowed, ' > ', 1) = old.status), 'nothing'));
        end
    """,
    comment="Trigger: rejects status transitions that are not in its arguments.",
    metadata=Base.metadata,
)


def status_transitions(table: str, steps: Mapping[str, Sequence[str]]) -> Trigger:
    """A trigger that allows only the listed transitions of ``status``.

    Args:
        steps: each status to those that may follow it.
    """
    listed = ", ".join(
        literal(f"{state} > {next_}") for state, others in steps.items() for next_ in others
    )
    return Trigger(
        f"{table}_status_transitions",
        timing="before",
        events="update of status",
        when="old.status IS DISTINCT FROM new.status",
        function=f"check_status_transition({listed})",
    )
