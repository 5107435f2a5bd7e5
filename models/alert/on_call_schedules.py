"""On-call schedules: layers, rotations and overrides."""

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
    readable,
    tenant_reference,
)
from models.shared.plpgsql import PLPGSQL_SETTINGS

# An EXCLUDE constraint would need the extension btree_gist. Two sessions cannot see each other's
# new rows, so each locks the schedule that the rows share before it looks for an overlap.
_REJECT_OVERLAP = """
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
_OVERRIDES = _REJECT_OVERLAP.format(
    look="""select o.starts_at, o.ends_at into other
        from public.oncall_overrides o
       where o.tenant_id = new.tenant_id and o.schedule_id = new.schedule_id and o.id <> new.id
         and (o.layer_id = new.layer_id or num_nulls(o.layer_id, new.layer_id) > 0)
         and o.starts_at < new.ends_at and o.ends_at > new.starts_at
       order by o.starts_at limit 1;""",
    what="override",
    hint="End the other one earlier, or name a layer in both.",
)
_LAYERS = _REJECT_OVERLAP.format(
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
    """An on-call schedule."""

    __tablename__ = "oncall_schedules"

    name: Mapped[str]
    description: Mapped[str | None]
    timezone: Mapped[str] = mapped_column(
        server_default="UTC", comment="IANA name; hand-offs happen in this time zone."
    )

    __table_args__ = (
        UniqueConstraint("tenant_id", "name"),
        not_empty("name"),
        CheckConstraint(KNOWN_TIMEZONE, name="timezone"),
        {"comment": "On-call schedules."},
    )


class OncallLayer(TenantScoped, Identified, Timestamped, Base):
    """A rotation of members; at most one rotation of each order applies at a time."""

    __tablename__ = "oncall_layers"

    schedule_id: Mapped[uuid.UUID]
    name: Mapped[str] = mapped_column(server_default="Layer 1")
    layer_order: Mapped[int] = mapped_column(
        server_default=ZERO, comment="Order of calling: 0 first, then 1, ..."
    )
    rotation_type: Mapped[str] = mapped_column(server_default="weekly")
    shift_duration_hours: Mapped[int] = mapped_column(server_default=text("168"))
    handoff_day: Mapped[int] = mapped_column(
        server_default=text("1"), comment="1 (Monday) to 7; used by weekly rotations."
    )
    handoff_hour: Mapped[int] = mapped_column(
        server_default=text("9"), comment="In the time zone of the schedule."
    )
    starts_at: Mapped[datetime.datetime] = mapped_column(
        server_default=NOW, comment="The first responder takes the shift that covers this moment."
    )
    ends_at: Mapped[datetime.datetime | None] = mapped_column(comment="NULL: no end.")

    __table_args__ = (
        tenant_reference("schedule_id", "oncall_schedules", "id", on_delete="cascade"),
        # Referenced by overrides, so that their layer belongs to their schedule.
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
        # who_is_on_call() counts shifts from it.
        readable("starts_at"),
        Function(
            "reject_overlapping_layer",
            returns="trigger",
            language="plpgsql",
            settings=PLPGSQL_SETTINGS,
            body=_LAYERS,
            comment="Trigger: rejects layers of the same order that overlap.",
        ),
        Trigger(
            "layers_do_not_overlap",
            timing="after",
            events="insert or update of schedule_id, layer_order, starts_at, ends_at",
            function="reject_overlapping_layer()",
        ),
        {"comment": "Rotations of a schedule."},
    )


class OncallResponder(TenantScoped, Timestamped, Base):
    """A turn of a member in a rotation; deleted together with the member."""

    __tablename__ = "oncall_responders"

    layer_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(
        primary_key=True,
        autoincrement=False,
        comment="Order of the turns; may have gaps. A member may have several turns.",
    )
    user_id: Mapped[uuid.UUID]

    __table_args__ = (
        tenant_reference("layer_id", "oncall_layers", "id", on_delete="cascade"),
        tenant_reference("user_id", "tenant_members", on_delete="cascade"),
        Index(None, "tenant_id", "user_id"),
        CheckConstraint("position >= 0", name="position"),
        {"comment": "Members of rotations."},
    )


class OncallOverride(TenantScoped, Identified, Timestamped, Base):
    """A member who takes over for a limited time."""

    __tablename__ = "oncall_overrides"

    schedule_id: Mapped[uuid.UUID]
    layer_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="NULL: replaces all layers of the schedule."
    )
    user_id: Mapped[uuid.UUID] = mapped_column(comment="The member on call during the override.")
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
            "reject_overlapping_override",
            returns="trigger",
            language="plpgsql",
            settings=PLPGSQL_SETTINGS,
            body=_OVERRIDES,
            comment="Trigger: rejects overrides that overlap in the same layer, or in all layers.",
        ),
        Trigger(
            "overrides_do_not_overlap",
            timing="after",
            events="insert or update of schedule_id, layer_id, starts_at, ends_at",
            function="reject_overlapping_override()",
        ),
        {"comment": "Temporary replacements in on-call schedules."},
    )
