"""Triggers of alerts: allowed transitions, their times, the event history, notifications."""

from __future__ import annotations

from ddl import Function
from models.shared.functions import PLPGSQL_SETTINGS

ANNOUNCED = ("status", "severity", "escalation_level", "silenced_until")
"""Listeners are notified when one of these changes, but not when an alert is raised again."""

_REFERENCES = (
    "device_id",
    "site_id",
    "endpoint_id",
    "tag_id",
    "rule_id",
    "acknowledged_by",
    "closed_by",
    "escalation_policy_id",
)
_MUTABLE_AFTER_CLOSE = ", ".join(f"'{name}'" for name in (*_REFERENCES, "updated_at"))

# updated_at is not compared: its trigger fires later, since it has a later name.
_KEEP_STATUS = f"""
    declare
      kept jsonb;
      left_over jsonb;
    begin
      if tg_op = 'INSERT' then
        if new.status <> 'open' then
          raise exception 'a new alert has status open, not %', new.status
            using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,
                  constraint = tg_name, column = 'status';
        end if;
        new.acknowledged_at := null;
        new.closed_at := null;
        return new;
      end if;
      new.acknowledged_at := old.acknowledged_at;
      new.closed_at := old.closed_at;
      if new.status <> old.status then
        if (old.status, new.status) not in
           (('open', 'acknowledged'), ('open', 'closed'), ('acknowledged', 'closed')) then
          raise exception 'alert % cannot go from % to %', old.id, old.status, new.status
            using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,
                  constraint = tg_name, column = 'status',
                  hint = 'Allowed: open to acknowledged or closed, acknowledged to closed.';
        end if;
        if new.status = 'acknowledged' then
          new.acknowledged_at := now();
        else
          new.closed_at := now();
        end if;
        new.next_escalation_at := null;
      elsif old.status = 'closed' then
        -- References may become NULL; everything else must stay as it was.
        kept := to_jsonb(old);
        left_over := to_jsonb(new);
        if left_over - array[{_MUTABLE_AFTER_CLOSE}] <> kept - array[{_MUTABLE_AFTER_CLOSE}]
           or not jsonb_strip_nulls(left_over - 'details' - 'updated_at') <@ kept then
          raise exception 'alert % is closed and can no longer be changed', old.id
            using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,
                  constraint = tg_name, hint = 'Add a note in alert_events instead.';
        end if;
      end if;
      return new;
    end
"""

_RECORD = """
    begin
      if tg_op = 'INSERT' then
        insert into public.alert_events (tenant_id, alert_id, event)
        values (new.tenant_id, new.id, 'opened');
        return null;
      end if;
      if new.status <> old.status then
        insert into public.alert_events (tenant_id, alert_id, event, actor_id)
        values (new.tenant_id, new.id, new.status,
                case new.status when 'closed' then new.closed_by else new.acknowledged_by end);
      end if;
      if new.escalation_level <> old.escalation_level then
        insert into public.alert_events (tenant_id, alert_id, event, details)
        values (new.tenant_id, new.id, 'escalated',
                jsonb_build_object('level', new.escalation_level));
      end if;
      if new.silenced_until is distinct from old.silenced_until then
        insert into public.alert_events (tenant_id, alert_id, event, details)
        values (new.tenant_id, new.id, 'silenced',
                jsonb_build_object('until', new.silenced_until));
      end if;
      return null;
    end
"""

# Events come from the trigger above, hence at depth 2; only notes are inserted directly.
_REJECT_MANUAL = """
    begin
      if pg_trigger_depth() < 2 then
        raise exception 'event % can only be written by the database', new.event
          using errcode = 'insufficient_privilege', table = tg_table_name,
                hint = 'Change the alert, and the event is recorded. Only notes can be inserted.';
      end if;
      return new;
    end
"""

_COLUMNS = ", ".join("{0}." + name for name in ANNOUNCED)
_ANNOUNCE = f"""
    begin
      if tg_op = 'INSERT' then
        perform pg_notify('fleet_alert', n.tenant_id::text)
           from (select distinct tenant_id from new_rows) as n;
      else
        perform pg_notify('fleet_alert', c.tenant_id::text)
           from (select distinct n.tenant_id
                   from new_rows n
                   join old_rows o on o.tenant_id = n.tenant_id and o.id = n.id
                  where ({_COLUMNS.format("n")}) is distinct from ({_COLUMNS.format("o")})) as c;
      end if;
      return null;
    end
"""


def _trigger_function(name: str, body: str, comment: str) -> Function:
    return Function(
        name,
        returns="trigger",
        language="plpgsql",
        settings=PLPGSQL_SETTINGS,
        body=body,
        comment=f"Trigger: {comment}",
    )


ALERT_FUNCTIONS = (
    _trigger_function(
        "keep_alert_status",
        _KEEP_STATUS,
        "allows only open, acknowledged, closed in that order, and sets the times.",
    ),
    _trigger_function(
        "record_alert_event", _RECORD, "records changes of an alert in alert_events."
    ),
    _trigger_function(
        "reject_manual_alert_event",
        _REJECT_MANUAL,
        "rejects events other than notes that are inserted directly.",
    ),
    _trigger_function(
        "announce_alerts",
        _ANNOUNCE,
        "NOTIFY fleet_alert once per statement and tenant whose alerts changed.",
    ),
)
"""For the __table_args__ of the table of alerts."""
