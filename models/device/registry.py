"""Devices, their tags and additional attributes."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, Computed, Index, Text, text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Trigger
from models.device.attributes import ATTRIBUTES
from models.device.sites import BOTH_COORDINATES, COORDINATES
from models.shared.base import (
    EMPTY_OBJECT,
    Base,
    TenantScoped,
    Timestamped,
    access,
    json_object,
    not_empty,
    one_of,
    tenant_reference,
)
from models.shared.plpgsql import PLPGSQL_SETTINGS

_SEARCHED = ("device_id", "serial_number", "model", "manufacturer", "device_type", "address")
_SEARCH_VECTOR = "to_tsvector('simple'::regconfig, {})".format(
    " || ' ' || ".join(f"coalesce({column}, '')" for column in _SEARCHED)
)

# If two sessions at once make A a child of B and B a child of A, neither sees a cycle. So the
# second must wait for the first: both lock their tenant, the one row that all hierarchies of a
# tenant share. A new device needs no lock, since no other session can refer to it yet; it can only
# close a cycle with rows of its own transaction, which the search sees.
_NO_CYCLES = """
    begin
      if tg_op = 'UPDATE' then
        perform from public.tenants where tenant_id = new.tenant_id for no key update;
        if not found then
          raise exception 'tenant % of device % is not visible to %',
              new.tenant_id, new.device_id, current_user
            using errcode = 'no_data_found', hint = 'Set app.tenant_id in this transaction.';
        end if;
      end if;
      if exists (
        with recursive above (device_id) as (
          select new.parent_device_id
          union  -- not UNION ALL: terminates even if there is a cycle already
          select d.parent_device_id
            from above join public.device_registry d
              on d.tenant_id = new.tenant_id and d.device_id = above.device_id
           where d.parent_device_id is not null
        )
        select from above where device_id = new.device_id
      ) then
        raise exception 'device % cannot have parent %: it would be its own ancestor',
            new.device_id, new.parent_device_id
          using errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name,
                constraint = tg_name, column = 'parent_device_id';
      end if;
      return null;
    end
"""


class Device(TenantScoped, Timestamped, Base):
    """A device of a tenant, until it is decommissioned and beyond."""

    __tablename__ = "device_registry"
    __hidden_columns__ = ("provision_token_hash",)
    __guarded_columns__ = ("sensor_limit",)
    __attributes__ = ATTRIBUTES

    device_id: Mapped[str] = mapped_column(
        Text, primary_key=True, comment="Name by which the device identifies itself."
    )
    site_id: Mapped[uuid.UUID | None]
    template_id: Mapped[uuid.UUID | None]
    parent_device_id: Mapped[str | None] = mapped_column(
        comment="The gateway through which it communicates; cycles are rejected."
    )
    status: Mapped[str] = mapped_column(
        server_default="pending",
        comment="pending: never activated; revoked: its credentials are invalid.",
    )
    device_type: Mapped[str | None] = mapped_column(
        comment="The tenant's own classification, used by rules and firmware."
    )
    provision_token_hash: Mapped[str | None] = mapped_column(
        deferred=True, comment="Hash of the token with which the device registers."
    )
    sensor_limit: Mapped[int] = mapped_column(
        server_default=text("20"), comment="Number of sensors that its plan allows; set by billing."
    )
    latitude: Mapped[float | None] = mapped_column(comment="Degrees north, WGS 84.")
    longitude: Mapped[float | None] = mapped_column(comment="Degrees east, WGS 84.")
    address: Mapped[str | None]
    location_source: Mapped[str] = mapped_column(
        server_default="auto",
        comment="auto: reported by the device; manual: entered by a person, not overwritten.",
    )
    manufacturer: Mapped[str | None]
    model: Mapped[str | None]
    serial_number: Mapped[str | None]
    hw_revision: Mapped[str | None]
    board_revision: Mapped[str | None]
    chipset: Mapped[str | None]
    modem_model: Mapped[str | None]
    mac_address: Mapped[str | None]
    imei: Mapped[str | None] = mapped_column(comment="Identity of the modem (3GPP).")
    meid: Mapped[str | None] = mapped_column(comment="Identity of the modem (3GPP2).")
    iccid: Mapped[str | None] = mapped_column(comment="Identity of the SIM card.")
    fw_version: Mapped[str | None]
    bootloader_version: Mapped[str | None]
    modem_fw_version: Mapped[str | None]
    batch_id: Mapped[str | None] = mapped_column(comment="Production batch.")
    deployment_date: Mapped[datetime.datetime | None]
    installation_notes: Mapped[str | None]
    notes: Mapped[str | None]
    metadata_: Mapped[dict[str, Any]] = mapped_column(
        "metadata",
        server_default=EMPTY_OBJECT,
        comment="Small attributes, read together with the device.",
    )
    decommissioned_at: Mapped[datetime.datetime | None]
    search_vector: Mapped[Any] = mapped_column(
        TSVECTOR,
        Computed(_SEARCH_VECTOR, persisted=True),
        deferred=True,
        comment="Full-text index of the identifying columns.",
    )

    __table_args__ = (
        tenant_reference("site_id", "sites", on_delete="set null"),
        tenant_reference("template_id", "device_templates", "id", on_delete="set null"),
        tenant_reference("parent_device_id", "device_registry", "device_id", on_delete="set null"),
        Index(None, "tenant_id", "site_id"),
        Index(None, "tenant_id", "template_id"),
        Index(None, "tenant_id", "parent_device_id"),
        Index(None, "tenant_id", "status"),
        # Serves operators. @@ is not leakproof, so under row-level security the application first
        # finds the devices of its tenant and then searches among them.
        Index(None, "search_vector", postgresql_using="gin"),
        Index(
            None,
            "provision_token_hash",
            postgresql_where=text("provision_token_hash IS NOT NULL"),
        ),
        CheckConstraint("length(device_id) BETWEEN 1 AND 255", name="device_id"),
        one_of(
            "status",
            ("pending", "active", "inactive", "suspended", "revoked", "decommissioned"),
        ),
        CheckConstraint(
            "(status = 'decommissioned') = (decommissioned_at IS NOT NULL)",
            name="decommissioned_at",
        ),
        CheckConstraint("parent_device_id <> device_id", name="not_its_own_parent"),
        one_of("location_source", ("auto", "manual")),
        CheckConstraint(COORDINATES, name="coordinates"),
        CheckConstraint(BOTH_COORDINATES, name="both_coordinates"),
        CheckConstraint("sensor_limit >= 0", name="sensor_limit"),
        json_object("metadata"),
        *access(
            "fleet_ingest", "select (tenant_id, device_id, site_id, status, provision_token_hash)"
        ),
        Function(
            "reject_parent_cycle",
            returns="trigger",
            language="plpgsql",
            settings=PLPGSQL_SETTINGS,
            body=_NO_CYCLES,
            comment="Trigger: rejects a parent that would make a device its own ancestor.",
        ),
        Trigger(
            "parents_form_no_cycle",
            timing="after",
            events="insert or update of parent_device_id",
            when="new.parent_device_id IS NOT NULL",
            function="reject_parent_cycle()",
        ),
        {"comment": "Devices; their measurements are in telemetry, their state in device_state."},
    )


class DeviceTag(TenantScoped, Timestamped, Base):
    """A tag of a device, with or without a value."""

    __tablename__ = "device_tags"

    device_id: Mapped[str] = mapped_column(Text, primary_key=True)
    tag: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[str | None] = mapped_column(comment="NULL for a tag without a value.")

    __table_args__ = (
        tenant_reference("device_id", "device_registry", on_delete="cascade"),
        Index(None, "tenant_id", "tag", "value"),
        not_empty("tag"),
        {"comment": "Tags of devices, chosen freely by the tenant."},
    )


class DeviceExtendedAttributes(TenantScoped, Timestamped, Base):
    """Attributes of a device that have no column."""

    __tablename__ = "device_extended_attributes"

    device_id: Mapped[str] = mapped_column(Text, primary_key=True)
    attributes: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Attribute name to any value."
    )

    __table_args__ = (
        tenant_reference("device_id", "device_registry", on_delete="cascade"),
        json_object("attributes"),
        {"comment": "Large or rarely read attributes, stored apart from device_registry."},
    )
