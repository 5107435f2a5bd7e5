"""Device templates: metrics, commands and slots of a kind of device."""

from __future__ import annotations

import decimal
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.shared.base import (
    EMPTY_OBJECT,
    FALSE,
    ZERO,
    Base,
    Identified,
    TenantScoped,
    Timestamped,
    json_array,
    json_object,
    not_empty,
    one_of,
    tenant_reference,
)
from models.shared.secrets import no_password, no_secrets


class DeviceTemplate(TenantScoped, Identified, Timestamped, Base):
    """A kind of device. Those of the platform tenant are copied into every tenant."""

    __tablename__ = "device_templates"
    __by_functions__ = True
    __guarded_columns__ = ("source",)

    name: Mapped[str]
    slug: Mapped[str] = mapped_column(
        comment="Name in URLs; sync_tenant() identifies templates by it."
    )
    description: Mapped[str | None]
    category: Mapped[str]
    manufacturer: Mapped[str | None]
    model: Mapped[str | None]
    firmware_version_pattern: Mapped[str | None] = mapped_column(
        comment="Regular expression for the firmware versions that this template applies to."
    )
    is_locked: Mapped[bool] = mapped_column(
        server_default=FALSE, comment="Applications do not edit it until it is unlocked."
    )
    source: Mapped[str] = mapped_column(
        server_default="tenant",
        comment="system: copied from a built-in template; set by operators only.",
    )
    transport_defaults: Mapped[dict[str, Any] | None] = mapped_column(
        comment="Initial settings for device_transports of such devices."
    )
    metadata_: Mapped[dict[str, Any]] = mapped_column(
        "metadata", server_default=EMPTY_OBJECT, comment="Attributes without a column of their own."
    )
    image_url: Mapped[str | None]

    __table_args__ = (
        UniqueConstraint("tenant_id", "slug"),
        Index(None, "tenant_id", "category"),
        not_empty("name"),
        CheckConstraint("slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'", name="slug"),
        one_of(
            "category",
            ("gateway", "edge_device", "standalone_sensor", "controller", "expansion_module"),
        ),
        one_of("source", ("system", "tenant")),
        json_object("transport_defaults"),
        json_object("metadata"),
        no_password("image_url", later=True),
        no_secrets("transport_defaults", later=True),
        {"comment": "Kinds of devices and expansion modules."},
    )


class TemplateMetric(TenantScoped, Timestamped, Base):
    """A metric that devices of a template measure."""

    __tablename__ = "template_metrics"
    __by_functions__ = True

    template_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    metric_key: Mapped[str] = mapped_column(
        Text, primary_key=True, comment="Key in the telemetry of the device."
    )
    display_name: Mapped[str]
    data_type: Mapped[str]
    unit: Mapped[str | None] = mapped_column(comment="Symbol, as the manufacturer writes it.")
    min_value: Mapped[decimal.Decimal | None] = mapped_column(comment="Lowest value, in unit.")
    max_value: Mapped[decimal.Decimal | None] = mapped_column(comment="Highest value, in unit.")
    precision_digits: Mapped[int] = mapped_column(
        server_default=text("2"), comment="Decimal places to display."
    )
    is_required: Mapped[bool] = mapped_column(
        server_default=FALSE, comment="True: every such device has a sensor for it."
    )
    description: Mapped[str | None]
    enum_values: Mapped[list[Any] | None] = mapped_column(
        comment="The possible values of an enum metric, in order."
    )
    sort_order: Mapped[int] = mapped_column(server_default=ZERO)

    __table_args__ = (
        tenant_reference("template_id", "device_templates", "id", on_delete="cascade"),
        not_empty("metric_key"),
        one_of("data_type", ("float", "integer", "boolean", "string", "enum")),
        CheckConstraint("min_value <= max_value", name="range"),
        CheckConstraint("precision_digits BETWEEN 0 AND 15", name="precision_digits"),
        json_array("enum_values"),
        CheckConstraint("(data_type = 'enum') = (enum_values IS NOT NULL)", name="enum"),
        {"comment": "Metrics of device templates."},
    )


class TemplateCommand(TenantScoped, Timestamped, Base):
    """A command that devices of a template accept."""

    __tablename__ = "template_commands"
    __by_functions__ = True

    template_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    command_key: Mapped[str] = mapped_column(
        Text, primary_key=True, comment="device_commands.command_type"
    )
    display_name: Mapped[str]
    description: Mapped[str | None]
    parameters_schema: Mapped[dict[str, Any] | None] = mapped_column(
        comment="JSON Schema of the parameters."
    )
    response_schema: Mapped[dict[str, Any] | None] = mapped_column(
        comment="JSON Schema of the acknowledgement."
    )
    sort_order: Mapped[int] = mapped_column(server_default=ZERO)

    __table_args__ = (
        tenant_reference("template_id", "device_templates", "id", on_delete="cascade"),
        not_empty("command_key"),
        json_object("parameters_schema"),
        json_object("response_schema"),
        {"comment": "Commands of device templates."},
    )


class TemplateSlot(TenantScoped, Timestamped, Base):
    """A port or bus of a device where modules can be plugged in."""

    __tablename__ = "template_slots"
    __by_functions__ = True

    template_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    slot_key: Mapped[str] = mapped_column(Text, primary_key=True)
    display_name: Mapped[str]
    slot_type: Mapped[str] = mapped_column(comment="Kind of module that fits.")
    interface_type: Mapped[str] = mapped_column(comment="Electrical or radio interface.")
    max_devices: Mapped[int | None] = mapped_column(
        server_default=text("1"), comment="Largest number of modules; NULL: unlimited."
    )
    is_required: Mapped[bool] = mapped_column(server_default=FALSE)
    description: Mapped[str | None]
    sort_order: Mapped[int] = mapped_column(server_default=ZERO)

    __table_args__ = (
        tenant_reference("template_id", "device_templates", "id", on_delete="cascade"),
        not_empty("slot_key"),
        one_of("slot_type", ("expansion", "sensor", "accessory")),
        one_of(
            "interface_type",
            (
                "analog",
                "rs485",
                "i2c",
                "spi",
                "1-wire",
                "fsk",
                "ble",
                "lora",
                "gpio",
                "usb",
            ),
        ),
        CheckConstraint("max_devices > 0", name="max_devices"),
        {"comment": "Ports and buses of device templates."},
    )


class TemplateSlotCompat(TenantScoped, Base):
    """A module that fits into a slot."""

    __tablename__ = "template_slot_compat"
    __by_functions__ = True
    __app_privileges__ = "select, insert, delete"

    template_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    slot_key: Mapped[str] = mapped_column(Text, primary_key=True)
    module_template_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)

    __table_args__ = (
        tenant_reference(("template_id", "slot_key"), "template_slots", on_delete="cascade"),
        tenant_reference("module_template_id", "device_templates", "id", on_delete="cascade"),
        Index(None, "tenant_id", "module_template_id"),
        {"comment": "Modules that fit a slot; a slot without rows accepts any."},
    )
