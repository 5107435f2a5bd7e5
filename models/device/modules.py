"""Modules plugged into the slots of devices."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import Index, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Trigger
from models.shared.base import (
    EMPTY_OBJECT,
    NOW,
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    json_object,
    not_empty,
    one_of,
    tenant_reference,
)
from models.shared.plpgsql import PLPGSQL_SETTINGS

# The device is locked first, so that no other session adds a module between count and commit. A
# device without a template, or with a template without slots, accepts any module.
_MODULE_FITS = """
    declare
      template uuid;
      slot record;
      plugged bigint;
    begin
      select d.template_id into template from public.device_registry d
       where d.tenant_id = new.tenant_id and d.device_id = new.device_id for no key update;
      if template is null or not exists (
           select from public.template_slots s
            where s.tenant_id = new.tenant_id and s.template_id = template) then
        return null;
      end if;
      select s.max_devices into slot from public.template_slots s
       where s.tenant_id = new.tenant_id and s.template_id = template
         and s.slot_key = new.slot_key;
      if not found then
        raise exception 'device % has no slot %', new.device_id, new.slot_key
          using errcode = 'check_violation', table = tg_table_name, constraint = tg_name,
                column = 'slot_key', hint = 'Use a slot of its template: see template_slots.';
      end if;
      select count(*) into plugged from public.device_modules m
       where m.tenant_id = new.tenant_id and m.device_id = new.device_id
         and m.slot_key = new.slot_key and m.status <> 'removed';
      if plugged > slot.max_devices then
        raise exception 'slot % of device % holds at most % modules, found %',
            new.slot_key, new.device_id, slot.max_devices, plugged
          using errcode = 'check_violation', table = tg_table_name, constraint = tg_name,
                hint = 'Set the status of another module to removed first.';
      end if;
      if new.module_template_id is not null and exists (
           select from public.template_slot_compat c
            where c.tenant_id = new.tenant_id and c.template_id = template
              and c.slot_key = new.slot_key)
         and not exists (
           select from public.template_slot_compat c
            where c.tenant_id = new.tenant_id and c.template_id = template
              and c.slot_key = new.slot_key
              and c.module_template_id = new.module_template_id) then
        raise exception 'module template % does not fit slot % of device %',
            new.module_template_id, new.slot_key, new.device_id
          using errcode = 'check_violation', table = tg_table_name, constraint = tg_name,
                hint = 'Use a module listed in template_slot_compat.';
      end if;
      return null;
    end
"""


class DeviceModule(TenantScoped, Identified, Timestamped, Base):
    """A module in a slot of a device; removed modules are kept as history."""

    __tablename__ = "device_modules"

    device_id: Mapped[str]
    slot_key: Mapped[str] = mapped_column(
        comment="template_slots.slot_key of the device's template."
    )
    bus_address: Mapped[str | None] = mapped_column(
        comment="Distinguishes modules on the same bus; NULL if only one fits."
    )
    module_template_id: Mapped[uuid.UUID | None]
    label: Mapped[str]
    serial_number: Mapped[str | None]
    metric_key_map: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Key sent by the module to metric key."
    )
    installed_at: Mapped[datetime.datetime] = mapped_column(server_default=NOW)
    status: Mapped[str] = mapped_column(
        server_default="active", comment="removed: kept as history, its slot is free."
    )

    __table_args__ = (
        tenant_reference("device_id", "device_registry", on_delete="cascade"),
        tenant_reference("module_template_id", "device_templates", "id", on_delete="set null"),
        Index(
            "uq_device_modules_slot_key_bus_address",
            "tenant_id",
            "device_id",
            "slot_key",
            text("coalesce(bus_address, '')"),
            unique=True,
            postgresql_where=text("status <> 'removed'"),
        ),
        Index(None, "tenant_id", "device_id"),
        Index(None, "tenant_id", "module_template_id"),
        not_empty("slot_key"),
        one_of("status", ("active", "inactive", "removed")),
        json_object("metric_key_map"),
        Function(
            "reject_unfit_module",
            returns="trigger",
            language="plpgsql",
            settings=PLPGSQL_SETTINGS,
            body=_MODULE_FITS,
            comment="Trigger: rejects modules whose slot does not exist, is full, or does not fit.",
        ),
        Trigger(
            "modules_fit_their_slot",
            timing="after",
            events="insert or update of device_id, slot_key, module_template_id, status",
            when="new.status <> 'removed'",
            function="reject_unfit_module()",
        ),
        {"comment": "Modules of devices, including removed ones."},
    )
