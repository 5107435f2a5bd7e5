"""Who is to be called: schedules, layers of rotations, and exceptions."""

from __future__ import annotations

import datetime
import uuid

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Trigger
from models.alert.maintenance import KNOWN_TIMEZONE
from models.shared.base import (
    NOW,
    ZERO,
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    not_empty,
    one_of,
    tenant_reference,
)
from models.shared.functions import PLPGSQL_SETTINGS

# An EXCLUDE constraint would need the extension btree_gist. Two sessions see nothing of each
# other's new row, so both lock the schedule, which their rows share, before they look.
_REFUSE_OVERLAP = """
    declare
      other record;
    begin
      perform from public.oncall_schedules
        where tenant_id = new.tenant_id and id = new.schedule_id for no key update;
      if not found then
        raise exception 'on-call schedule % is not visible to %', new.schedule_id, current_user
          using errcode = 'no_data_found', hint = 'Set app.tenant_id in this transaction.';
      end if;
      {look}
      if found then
        raise exception '{what} % to % overlaps % to %', new.starts_at,
            coalesce(new.ends_at, 'infinity'), other.starts_at,
            coalesce(other.ends_at, 'infinity')
          using errcode = 'exclusion_violation', schema = tg_table_schema, table = tg_table_name,
                constraint = tg_name, hint = '{hint}';
      end if;
      return null;
    end
"""
_OVERRIDES = _REFUSE_OVERLAP.format(
    look="""select o.starts_at, o.ends_at into other
        from public.oncall_overrides o
       where o.tenant_id = new.tenant_id and o.schedule_id = new.schedule_id and o.id <> new.id
         and (o.layer_id = new.layer_id or num_nulls(o.layer_id, new.layer_id) > 0)
         and o.starts_at < new.ends_at and o.ends_at > new.starts_at
       order by o.starts_at limit 1;""",
    what="override",
    hint="End the other one earlier, or name a layer in both.",
)
_LAYERS = _REFUSE_OVERLAP.format(
    look="""select l.starts_at, l.ends_at into other
        from public.oncall_layers l
       where l.tenant_id = new.tenant_id and l.schedule_id = new.schedule_id and l.id <> new.id
         and l.layer_order = new.layer_order
         and l.starts_at < coalesce(new.ends_at, 'infinity')
         and coalesce(l.ends_at, 'infinity') > new.starts_at
       order by l.starts_at limit 1;""",
    what="layer",
    hint="Give it another layer_order, or end the other one first.",
)


class OncallSchedule(TenantScoped, Identified, Timestamped, Base):
    """A schedule of people on call."""

    __tablename__ = "oncall_schedules"

    name: Mapped[str]
    description: Mapped[str | None]
    timezone: Mapped[str] = mapped_column(
        server_default="UTC", comment="IANA name; hand-overs happen by its clock."
    )

    __table_args__ = (
        UniqueConstraint("tenant_id", "name"),
        not_empty("name"),
        CheckConstraint(KNOWN_TIMEZONE, name="timezone"),
        {"comment": "Schedules of people on call."},
    )


class OncallLayer(TenantScoped, Identified, Timestamped, Base):
    """People who take turns. One rotation of an order is in force at a time."""

    __tablename__ = "oncall_layers"

    schedule_id: Mapped[uuid.UUID]
    name: Mapped[str] = mapped_column(server_default="Layer 1")
    layer_order: Mapped[int] = mapped_column(
        server_default=ZERO, comment="Whom to call first: 0, then 1, ..."
    )
    rotation_type: Mapped[str] = mapped_column(server_default="weekly")
    shift_duration_hours: Mapped[int] = mapped_column(server_default=text("168"))
    handoff_day: Mapped[int] = mapped_column(
        server_default=text("1"), comment="1 (Monday) to 7; of weekly rotations."
    )
    handoff_hour: Mapped[int] = mapped_column(
        server_default=text("9"), comment="By the clock of the schedule."
    )
    starts_at: Mapped[datetime.datetime] = mapped_column(
        server_default=NOW, comment="The first responder's turn is the one that covers this."
    )
    ends_at: Mapped[datetime.datetime | None] = mapped_column(comment="NULL: goes on.")

    __table_args__ = (
        tenant_reference("schedule_id", "oncall_schedules", "id", on_delete="cascade"),
        # What an override refers to, so that its layer is one of its schedule.
        UniqueConstraint("tenant_id", "schedule_id", "id"),
        Index(None, "tenant_id", "schedule_id", "layer_order", "starts_at"),
        not_empty("name"),
        one_of("rotation_type", ("daily", "weekly", "custom")),
        CheckConstraint(
            "shift_duration_hours BETWEEN 1 AND 8784 AND CASE rotation_type"
            " WHEN 'daily' THEN shift_duration_hours = 24"
            " WHEN 'weekly' THEN shift_duration_hours = 168 ELSE true END",
            name="shift_duration_hours",
        ),
        CheckConstraint("handoff_day BETWEEN 1 AND 7", name="handoff_day"),
        CheckConstraint("handoff_hour BETWEEN 0 AND 23", name="handoff_hour"),
        CheckConstraint("layer_order >= 0", name="layer_order"),
        CheckConstraint("ends_at > starts_at", name="ends_at"),
        Function(
            "refuse_overlapping_layer",
            returns="trigger",
            language="plpgsql",
            settings=PLPGSQL_SETTINGS,
            body=_LAYERS,
            comment="Trigger: layers of the same order do not overlap.",
        ),
        Trigger(
            "layers_do_not_overlap",
            timing="after",
            events="insert or update of schedule_id, layer_order, starts_at, ends_at",
            function="refuse_overlapping_layer()",
        ),
        {"comment": "Rotations of a schedule."},
    )


class OncallResponder(TenantScoped, Timestamped, Base):
    """A member's turn in a rotation; goes with the member."""

    __tablename__ = "oncall_responders"

    layer_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(
        primary_key=True,
        autoincrement=False,
        comment="Order of the turns; gaps do not matter, a member may have several.",
    )
    user_id: Mapped[uuid.UUID]

    __table_args__ = (
        tenant_reference("layer_id", "oncall_layers", "id", on_delete="cascade"),
        tenant_reference("user_id", "tenant_members", on_delete="cascade"),
        Index(None, "tenant_id", "user_id"),
        CheckConstraint("position >= 0", name="position"),
        {"comment": "Who takes turns in a rotation."},
    )


class OncallOverride(TenantScoped, Identified, Timestamped, Base):
    """A member who steps in for a while."""

    __tablename__ = "oncall_overrides"

    schedule_id: Mapped[uuid.UUID]
    layer_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="NULL: instead of all layers of the schedule."
    )
    user_id: Mapped[uuid.UUID] = mapped_column(comment="Whom to call meanwhile.")
    starts_at: Mapped[datetime.datetime]
    ends_at: Mapped[datetime.datetime]
    reason: Mapped[str | None]

    __table_args__ = (
        tenant_reference("schedule_id", "oncall_schedules", "id", on_delete="cascade"),
        tenant_reference(
            ("schedule_id", "layer_id"), "oncall_layers", ("schedule_id", "id"), on_delete="cascade"
        ),
        tenant_reference("user_id", "tenant_members", on_delete="cascade"),
        Index(None, "tenant_id", "schedule_id", "layer_id", "starts_at"),
        Index(None, "tenant_id", "user_id"),
        CheckConstraint("ends_at > starts_at", name="ends_at"),
        Function(
            "refuse_overlapping_override",
            returns="trigger",
            language="plpgsql",
            settings=PLPGSQL_SETTINGS,
            body=_OVERRIDES,
            comment="Trigger: overrides of the same layer, or of all, do not overlap.",
        ),
        Trigger(
            "overrides_do_not_overlap",
            timing="after",
            events="insert or update of schedule_id, layer_id, starts_at, ends_at",
            function="refuse_overlapping_override()",
        ),
        {"comment": "Exceptions from a schedule."},
    )
