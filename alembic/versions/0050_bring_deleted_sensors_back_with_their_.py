"""bring deleted sensors back with their metrics

Revision 0050, after 0049; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0050"
down_revision = "0049"


def upgrade() -> None:
    op.create_function(
        "forget_sensors", returns="trigger", language="plpgsql", settings="search_path=pg_catalog, pg_temp",
        body=(
            "begin\n"
            "  update public.device_state s set state = s.state - o.metrics\n"
            "    from (select d.tenant_id, d.device_id, array_agg(d.metric_key) as metrics\n"
            "            from old_rows d group by 1, 2) o\n"
            "   where s.tenant_id = o.tenant_id and s.device_id = o.device_id\n"
            "     and s.state ?| o.metrics;\n"
            "  return null;\n"
            "end"
        ),
        comment="Trigger: takes the newest values of deleted sensors out of device_state, so that they come back when"
            " their devices send them again.",
    )
    op.create_trigger(
        "sensors_are_forgotten", "device_sensors", "after", "delete", level="statement", function="forget_sensors()",
        old_table="old_rows",
    )


def downgrade() -> None:
    op.drop_trigger("sensors_are_forgotten", "device_sensors")
    op.drop_function("forget_sensors")
