"""bound the size of the states of devices

Revision 0081, after 0080; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0081"
down_revision = "0080"


def upgrade() -> None:
    op.create_function(
        "bound_device_state", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  new.state := new.state || '{}';\n"
            "  if pg_column_size(new.state) > 262144 then\n"
            "    select jsonb_object_agg(s.metric,\n"
            "             case when pg_column_size(s.value) > 128 then 'null' else s.value end)\n"
            "      into new.state from jsonb_each(new.state) as s (metric, value);\n"
            "  end if;\n"
            "  if (select count(*) from jsonb_object_keys(new.state)) > 4096 then\n"
            "    select jsonb_object_agg(n.metric, n.value), coalesce(jsonb_object_agg(n.metric, n.at)\n"
            "             filter (where n.at is not null), '{}')\n"
            "      into new.state, new.state_times\n"
            "      from (select s.metric, s.value, t.at\n"
            "              from jsonb_each(new.state) as s (metric, value)\n"
            "              left join jsonb_each(new.state_times) as t (metric, at) using (metric)\n"
            "             order by t.at desc nulls first limit 4096) as n;\n"
            "  end if;\n"
            "  if pg_column_size(new.state) > 1048576 then\n"
            "    new.state := '{}';\n"
            "    new.state_times := '{}';\n"
            "  end if;\n"
            "  return new;\n"
            "end"
        ),
        comment="Trigger: takes the older ones of very many metrics out of a state, makes large values of a large one"
            " null, and forgets the whole of it if that does not help.",
    )
    op.create_function(
        "refuse_large_shadow", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  raise exception 'desired_state or reported_state of device % is larger than 256 kB',\n"
            "      new.device_id\n"
            "    using errcode = 'check_violation', table = tg_table_name,\n"
            "          detail = format('Expected at most 262144 bytes of jsonb each, found %s '\n"
            "                          'and %s.', pg_column_size(new.desired_state || '{}'),\n"
            "                          pg_column_size(new.reported_state || '{}')),\n"
            "          hint = 'Keep documents elsewhere, and their address in the shadow.';\n"
            "end"
        ),
        comment="Trigger: refuses a shadow of a device that is larger than 256 kB.",
    )
    op.alter_column(
        "device_state", "state", existing_type=postgresql.JSONB(astext_type=sa.Text()),
        comment="Latest value of each metric; the ingest writes it with each batch. In more than 256 kB values of more"
            " than 128 bytes are null.",
        existing_comment="Latest value of each metric; the ingest writes it with each batch.", existing_nullable=False,
        existing_server_default=sa.text("'{}'::jsonb"),
    )
    op.add_constraint(
        "device_state", "ck_device_state_state_times_seconds",
        "CHECK (NOT jsonb_path_exists(state_times, 'strict $.* ? (@ != null && @.type() != \"number\" || @ < -1e11 || @"
            " > 1e11)')) NOT VALID",
    )
    op.add_constraint(
        "device_state_backlog", "ck_device_state_backlog_state_times_seconds",
        "CHECK (NOT jsonb_path_exists(state_times, 'strict $.* ? (@ != null && @.type() != \"number\" || @ < -1e11 || @"
            " > 1e11)')) NOT VALID",
    )
    op.create_trigger(
        "device_state_has_a_small_shadow", "device_state", "before",
        "insert or update of desired_state, reported_state", level="row", function="refuse_large_shadow()",
        when="pg_column_size(new.desired_state || '{}') > 262144 OR pg_column_size(new.reported_state || '{}') >"
            " 262144",
    )
    op.create_trigger(
        "device_state_is_bounded", "device_state", "before", "insert or update of state", level="row",
        function="bound_device_state()", when="pg_column_size(new.state || '{}') > 32768",
    )
    op.create_trigger(
        "device_state_backlog_is_bounded", "device_state_backlog", "before", "insert or update of state", level="row",
        function="bound_device_state()", when="pg_column_size(new.state || '{}') > 32768",
    )

    # Rows from before would fail each later UPDATE, or are larger than one can take: of the ingest, of all tenants.
    op.execute(
        "DO $$\n"
        "declare\n"
        "  of_session text := current_setting('role');\n"
        "  odd constant text := 'jsonb_path_exists(state_times, ''strict $.* ? (@ != null && @.type() != \"number\" ||"
        " @ < -1e11 || @ > 1e11)'')';\n"
        "begin\n"
        "  -- No other role may write what batches have left.\n"
        "  perform set_config('role', 'fleet_ingest', true);\n"
        "  execute format('UPDATE device_state_backlog SET state = state, state_times = CASE WHEN %1$s THEN %2$L"
        " ELSE state_times END WHERE %1$s OR pg_column_size(state) > 10000', odd, '{}');\n"
        "  perform set_config('role', 'fleet_operator', true);\n"
        "  execute format('UPDATE device_state SET state = state, state_times = CASE WHEN %1$s THEN %2$L"
        " ELSE state_times END WHERE %1$s OR pg_column_size(state) > 10000', odd, '{}');\n"
        "  perform set_config('role', of_session, true);\n"
        "end $$"
    )


def downgrade() -> None:
    op.drop_trigger("device_state_backlog_is_bounded", "device_state_backlog")
    op.drop_trigger("device_state_is_bounded", "device_state")
    op.drop_trigger("device_state_has_a_small_shadow", "device_state")
    op.remove_constraint("device_state_backlog", "ck_device_state_backlog_state_times_seconds")
    op.remove_constraint("device_state", "ck_device_state_state_times_seconds")
    op.alter_column(
        "device_state", "state", existing_type=postgresql.JSONB(astext_type=sa.Text()),
        comment="Latest value of each metric; the ingest writes it with each batch.",
        existing_comment="Latest value of each metric; the ingest writes it with each batch. In more than 256 kB values"
            " of more than 128 bytes are null.",
        existing_nullable=False, existing_server_default=sa.text("'{}'::jsonb"),
    )
    op.drop_function("refuse_large_shadow")
    op.drop_function("bound_device_state")
