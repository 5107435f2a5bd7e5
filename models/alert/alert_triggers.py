"""The life of an alert, kept by triggers: allowed transitions, moments, trail, announcements."""

from __future__ import annotations

from ddl import Function
from models.shared.functions import PLPGSQL_SETTINGS

WORTH_SAYING = ("status", "severity", "escalation_level", "silenced_until")
"""What listeners hear of; that an alert was raised once more is none of it."""

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
_FORGETTABLE = ", ".join(f"'{name}'" for name in (*_REFERENCES, "updated_at"))

# updated_at is no part of the comparison: its trigger fires after this one, by name.
_KEEP_LIFE_CYCLE = f"""
    declare
      kept jsonb;
      left_over jsonb;
    begin
      if tg_op = 'INSERT' then
        if new.status <> 'open' then
          raise exception 'an alert begins open, not %', new.status
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
          raise exception 'alert % is %: it cannot become %', old.id, old.status, new.status
            using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,
                  constraint = tg_name, column = 'status',
                  hint = 'open, then acknowledged or not, then closed; raise a new one instead.';
        end if;
        if new.status = 'acknowledged' then
          new.acknowledged_at := now();
        else
          new.closed_at := now();
        end if;
        new.next_escalation_at := null;
      elsif old.status = 'closed' then
        -- What it refers to may go; everything else stays as it was.
        kept := to_jsonb(old);
        left_over := to_jsonb(new);
        if left_over - array[{_FORGETTABLE}] <> kept - array[{_FORGETTABLE}]
           or not jsonb_strip_nulls(left_over - 'details' - 'updated_at') <@ kept then
          raise exception 'alert % is closed: it cannot be changed any more', old.id
            using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,
                  constraint = tg_name, hint = 'Add a note to its alert_events.';
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

# Rows of the trail come from the trigger above, one level down, or are notes.
_REFUSE_BY_HAND = """
    begin
      if pg_trigger_depth() < 2 then
        raise exception 'event % is not written by hand', new.event
          using errcode = 'insufficient_privilege', table = tg_table_name,
                hint = 'Change the alert: its trail follows. Only notes are added directly.';
      end if;
      return new;
    end
"""

_COLUMNS = ", ".join("{0}." + name for name in WORTH_SAYING)
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
        "keep_alert_life_cycle",
        _KEEP_LIFE_CYCLE,
        "an alert goes from open to acknowledged to closed, and its moments with it.",
    ),
    _trigger_function(
        "record_alert_event", _RECORD, "what happens to an alert is kept in alert_events."
    ),
    _trigger_function(
        "refuse_alert_event_by_hand",
        _REFUSE_BY_HAND,
        "events other than notes come from the alert itself.",
    ),
    _trigger_function(
        "announce_alerts",
        _ANNOUNCE,
        "NOTIFY fleet_alert with the id of each tenant whose alerts changed, once a statement.",
    ),
)
"""To stand in the table of alerts."""
