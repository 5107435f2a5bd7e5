"""Life cycles: from which state a row may go to which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ddl import Function, Trigger
from models.shared.base import Base
from models.shared.functions import PLPGSQL_SETTINGS

Function(
    "keep_life_cycle",
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
                  hint = format('From %s it goes to: %s.', old.status,
                    coalesce((select string_agg(split_part(allowed, ' > ', 2), ', ')
                                from unnest(tg_argv) as allowed
                               where split_part(allowed, ' > ', 1) = old.status), 'nowhere'));
        end
    """,
    comment="Trigger: status changes by the steps in its arguments only.",
    metadata=Base.metadata,
)


def status_transitions(table: str, steps: Mapping[str, Sequence[str]]) -> Trigger:
    """The trigger that lets ``status`` go from each state to those listed, and nowhere else."""
    listed = ", ".join(
        f"'{state} > {next_}'" for state, others in steps.items() for next_ in others
    )
    return Trigger(
        f"{table}_follows_its_life_cycle",
        timing="before",
        events="update of status",
        when="old.status IS DISTINCT FROM new.status",
        function=f"keep_life_cycle({listed})",
    )
