"""Triggers of alerts: allowed transitions, their times, the event history, notifications."""

from __future__ import annotations

from ddl import Function
from models.shared.plpgsql import PLPGSQL_SETTINGS, QUEUE_IS_FULL

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

# updated_at is not compared: its trigger fires later, since it has a later name. Who may act as
# fleet_operator imports history from another system: alerts that are over, with their own times.
_KEEP_STATUS = f"""
    declare
      imports boolean := pg_has_role(current_user, 'fleet_operator', 'usage');
      given boolean := imports;
      kept jsonb;
      left_over jsonb;
    begin
      if (tg_op = 'INSERT' or new.created_at <> old.created_at)
         and not (isfinite(new.created_at) and new.created_at <= now()) then
        raise exception 'alert % has created_at %', new.fingerprint, new.created_at
          using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,
                constraint = tg_name, column = 'created_at',
                hint = 'Expected a moment that is not in the future.';
      end if;
      if tg_op = 'INSERT' then
        if imports and new.status = 'open'
           and (new.acknowledged_at, new.closed_at) is distinct from (null, null) then
          raise exception 'alert % is open with acknowledged_at %, closed_at %', new.fingerprint,
              coalesce(new.acknowledged_at::text, 'NULL'), coalesce(new.closed_at::text, 'NULL')
            using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,
                  constraint = tg_name, column = 'status',
                  hint = 'Give the status acknowledged or closed, or neither of the times.';
        end if;
        if not imports or new.status = 'open' then
          if new.status <> 'open' then
            raise exception 'a new alert has status open, not %', new.status
              using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,
                    constraint = tg_name, column = 'status',
                    hint = 'Only fleet_operator imports alerts that are over.';
          end if;
          new.acknowledged_at := null;
          new.closed_at := null;
          return new;
        end if;
        new.next_escalation_at := null;
      elsif new.status <> old.status then
        if (old.status, new.status) not in
           (('open', 'acknowledged'), ('open', 'closed'), ('acknowledged', 'closed')) then
          raise exception 'alert % cannot go from % to %', old.id, old.status, new.status
            using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,
                  constraint = tg_name, column = 'status',
                  hint = 'Allowed: open to acknowledged or closed, acknowledged to closed.';
        end if;
        given := imports and (new.acknowledged_at, new.closed_at)
                             is distinct from (old.acknowledged_at, old.closed_at);
        if not given and new.status = 'acknowledged' then
          new.acknowledged_at := now();
          new.closed_at := null;
        elsif not given then
          new.acknowledged_at := old.acknowledged_at;
          new.closed_at := now();
        end if;
        new.next_escalation_at := null;
      else
        new.acknowledged_at := old.acknowledged_at;
        new.closed_at := old.closed_at;
        if old.status = 'closed' then
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
      end if;
      if given and not coalesce(
           case new.status
             when 'acknowledged'
             then new.acknowledged_at between new.created_at and now() and new.closed_at is null
             else coalesce(new.acknowledged_at, new.created_at) >= new.created_at
              and new.closed_at between coalesce(new.acknowledged_at, new.created_at) and now()
           end, false) then
        raise exception 'alert % is % with created_at %, acknowledged_at %, closed_at %',
            new.fingerprint, new.status, new.created_at,
            coalesce(new.acknowledged_at::text, 'NULL'), coalesce(new.closed_at::text, 'NULL')
          using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,
                constraint = tg_name, hint = 'Expected created_at <= acknowledged_at'
                  || case new.status when 'acknowledged' then ' <= now(), and closed_at NULL.'
                       else ' (or NULL) <= closed_at <= now().' end;
      end if;
      return new;
    end
"""

# The time of an event is now() but for imported alerts; only operators may write another one.
_RECORD = """
    declare
      step record;
    begin
      for step in
        select e.event, e.actor_id, e.at
          from (values (1, 'opened', null::uuid, new.created_at),
                       (2, 'acknowledged', new.acknowledged_by, new.acknowledged_at),
                       (3, 'closed', new.closed_by, new.closed_at)) as e(n, event, actor_id, at)
         where case tg_op when 'INSERT' then e.at is not null
                          else new.status <> old.status and e.event = new.status end
         order by e.n
      loop
        if step.at = now() then
          insert into public.alert_events (tenant_id, alert_id, event, actor_id)
          values (new.tenant_id, new.id, step.event, step.actor_id);
        else
          insert into public.alert_events (tenant_id, alert_id, event, actor_id, at)
          values (new.tenant_id, new.id, step.event, step.actor_id, step.at);
        end if;
      end loop;
      if tg_op = 'INSERT' then
        return null;
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

# Events come from the trigger above, hence at depth 2; only notes are inserted directly, and by an
# import what the alert itself does not tell, at times of its own.
_REJECT_MANUAL = """
    declare
      imports boolean := pg_has_role(current_user, 'fleet_operator', 'usage');
      opened timestamptz;
      closed timestamptz;
    begin
      if pg_trigger_depth() > 1 then
        return new;
      end if;
      if new.event <> 'note' and not (imports and new.event in ('escalated', 'silenced')) then
        raise exception 'event % can only be written by the database', new.event
          using errcode = 'insufficient_privilege', table = tg_table_name,
                hint = 'Change the alert, and the event is recorded. '
                  || case when imports then 'An import gives notes, escalated and silenced.'
                       else 'Only notes can be inserted.' end;
      end if;
      if new.at <> now() then
        select a.created_at, a.closed_at into opened, closed
          from public.fleet_alert a where a.tenant_id = new.tenant_id and a.id = new.alert_id;
        if new.event = 'note' or closed is null then
          closed := now();
        end if;
        if not new.at between opened and closed then
          raise exception 'event % of alert % is of %', new.event, new.alert_id, new.at
            using errcode = 'check_violation', table = tg_table_name, column = 'at',
                  hint = format('Expected a moment from %s to %s: from when the alert was created '
                    'until it was closed, for a note until now.', opened, closed);
        end if;
      end if;
      return new;
    end
"""

_COLUMNS = ", ".join("{0}." + name for name in ANNOUNCED)
_ANNOUNCE = f"""
    begin
      if {QUEUE_IS_FULL} then
        return null;
      elsif tg_op = 'INSERT' then
        perform pg_notify('fleet_alert', public.tenant_pseudonym(n.tenant_id))
           from (select distinct tenant_id from new_rows) as n;
      else
        perform pg_notify('fleet_alert', public.tenant_pseudonym(c.tenant_id))
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
        "allows only open, acknowledged, closed in that order, and sets the times; operators "
        "import alerts that are over, with their own times.",
    ),
    _trigger_function(
        "record_alert_event", _RECORD, "records changes of an alert in alert_events."
    ),
    _trigger_function(
        "reject_manual_alert_event",
        _REJECT_MANUAL,
        "rejects events that only the database writes, and times at which there was no alert.",
    ),
    _trigger_function(
        "announce_alerts",
        _ANNOUNCE,
        "NOTIFY fleet_alert once per statement and tenant whose alerts changed.",
    ),
)
"""For the __table_args__ of the table of alerts."""
