"""Dashboards and charts of one person or of the whole tenant, and their folders."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from ddl import Function, Trigger
from models.shared.base import (
    EMPTY_OBJECT,
    FALSE,
    TRUE,
    ZERO,
    Base,
    BigInt,
    Identified,
    TenantScoped,
    Timestamped,
    json_object,
    not_empty,
    one_of,
    tenant_reference,
)
from models.shared.plpgsql import PLPGSQL_SETTINGS
from models.shared.secrets import no_secrets

# A session that moves a folder locks the row of its owner. So of two moves that would close a cycle
# together, the second one waits and then sees the first.
Function(
    "reject_folder_cycle",
    returns="trigger",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body="""
        declare
          parent uuid := new.parent_folder_id;
          owner uuid;
        begin
          perform from public.tenant_members
            where tenant_id = new.tenant_id and user_id = new.user_id for no key update;
          while parent is not null loop
            if parent = new.id then
              raise exception 'folder % of % cannot contain itself', new.id, tg_table_name
                using errcode = 'check_violation', table = tg_table_name,
                      column = 'parent_folder_id', hint = 'Move its subfolders elsewhere first.';
            end if;
            execute format('select parent_folder_id from public.%I'
              ' where tenant_id = $1 and id = $2', tg_table_name)
              into parent using new.tenant_id, parent;
          end loop;
          execute format('select user_id from public.%I where tenant_id = $1 and id = $2',
            tg_table_name) into owner using new.tenant_id, new.parent_folder_id;
          if owner <> new.user_id then
            raise exception 'folder % of % cannot be in a folder of another person', new.id,
                tg_table_name
              using errcode = 'check_violation', table = tg_table_name,
                    column = 'parent_folder_id', hint = 'Use a folder of the same person.';
          end if;
          return new;
        end
    """,
    comment="Trigger: rejects cycles of folders, and folders within those of another person.",
    metadata=Base.metadata,
)


def _no_cycles(table: str) -> Trigger:
    return Trigger(
        f"{table}_form_no_cycle",
        timing="after",
        events="insert or update of parent_folder_id, user_id",
        when="new.parent_folder_id IS NOT NULL",
        function="reject_folder_cycle()",
    )


class _Folder(TenantScoped, Identified, Timestamped):
    """A folder of one person; charts and dashboards have separate folders."""

    user_id: Mapped[uuid.UUID]
    name: Mapped[str]
    description: Mapped[str | None]
    parent_folder_id: Mapped[uuid.UUID | None] = mapped_column(
        comment="Of the same person; NULL at the top. Deleting a folder deletes its subfolders."
    )
    sort_order: Mapped[int] = mapped_column(server_default=ZERO)


class DashboardFolder(_Folder, Base):
    """A folder of dashboards."""

    __tablename__ = "dashboard_folders"
    __table_args__ = (
        tenant_reference("user_id", "tenant_members", on_delete="cascade"),
        tenant_reference("parent_folder_id", "dashboard_folders", "id", on_delete="cascade"),
        Index(None, "tenant_id", "user_id"),
        Index(None, "tenant_id", "parent_folder_id"),
        not_empty("name"),
        _no_cycles("dashboard_folders"),
        {"comment": "Folders of dashboards."},
    )


class ChartFolder(_Folder, Base):
    """A folder of charts."""

    __tablename__ = "chart_folders"
    __table_args__ = (
        tenant_reference("user_id", "tenant_members", on_delete="cascade"),
        tenant_reference("parent_folder_id", "chart_folders", "id", on_delete="cascade"),
        Index(None, "tenant_id", "user_id"),
        Index(None, "tenant_id", "parent_folder_id"),
        not_empty("name"),
        _no_cycles("chart_folders"),
        {"comment": "Folders of charts."},
    )


class Dashboard(TenantScoped, Identified, Timestamped, Base):
    """A page of widgets."""

    __tablename__ = "dashboard_configs"

    user_id: Mapped[uuid.UUID | None] = mapped_column(comment="NULL: belongs to the whole tenant.")
    folder_id: Mapped[uuid.UUID | None] = mapped_column(comment="NULL: not in a folder.")
    name: Mapped[str]
    description: Mapped[str | None]
    layout: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="E.g. columns and breakpoints."
    )
    options: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="E.g. time range and refresh interval."
    )
    is_default: Mapped[bool] = mapped_column(
        server_default=FALSE, comment="Shown first, to its owner or to the whole tenant."
    )
    is_shared: Mapped[bool] = mapped_column(
        server_default=FALSE, comment="Visible to others in the tenant."
    )
    is_deleted: Mapped[bool] = mapped_column(
        server_default=FALSE, comment="In the trash; can be restored."
    )

    __table_args__ = (
        tenant_reference("user_id", "tenant_members", on_delete="cascade"),
        tenant_reference("folder_id", "dashboard_folders", "id", on_delete="set null"),
        Index(
            "uq_dashboard_configs_default",
            "tenant_id",
            "user_id",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("is_default AND NOT is_deleted"),
        ),
        Index(None, "tenant_id", "user_id"),
        Index(None, "tenant_id", "folder_id"),
        not_empty("name"),
        json_object("layout"),
        json_object("options"),
        CheckConstraint("user_id IS NOT NULL OR is_shared", name="of_tenant_is_shared"),
        no_secrets("options", later=True),
        {"comment": "Dashboards of one person or of the whole tenant."},
    )


class DashboardWidget(TenantScoped, Identified, Timestamped, Base):
    """A widget on a dashboard."""

    __tablename__ = "dashboard_widgets"

    dashboard_id: Mapped[uuid.UUID]
    chart_id: Mapped[uuid.UUID | None] = mapped_column(comment="The chart it shows, if any.")
    widget_type: Mapped[str] = mapped_column(comment="Kind of widget, e.g. chart or gauge.")
    title: Mapped[str] = mapped_column(server_default="")
    config: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Settings of the widget."
    )
    position: Mapped[dict[str, Any]] = mapped_column(
        server_default=text("""'{"x": 0, "y": 0, "w": 2, "h": 2}'::jsonb"""),
        comment="x, y, w and h in grid cells.",
    )

    __table_args__ = (
        tenant_reference("dashboard_id", "dashboard_configs", "id", on_delete="cascade"),
        tenant_reference("chart_id", "chart_configs", "id", on_delete="cascade"),
        Index(None, "tenant_id", "dashboard_id"),
        Index(None, "tenant_id", "chart_id"),
        not_empty("widget_type"),
        json_object("config"),
        json_object("position"),
        no_secrets("config", later=True),
        {"comment": "Widgets of dashboards."},
    )


class Chart(TenantScoped, Identified, Timestamped, Base):
    """A chart of values over time."""

    __tablename__ = "chart_configs"
    __guarded_columns__ = ("is_system_chart",)

    user_id: Mapped[uuid.UUID | None] = mapped_column(comment="NULL: belongs to the whole tenant.")
    folder_id: Mapped[uuid.UUID | None] = mapped_column(comment="NULL: not in a folder.")
    name: Mapped[str]
    description: Mapped[str | None]
    chart_type: Mapped[str] = mapped_column(server_default="line")
    time_mode: Mapped[str] = mapped_column(
        server_default="rolling",
        comment="fixed: from time_from to time_to; rolling: the last time_duration_ms; "
        "shifted: like rolling, but ending time_offset_ms ago.",
    )
    time_from: Mapped[datetime.datetime | None]
    time_to: Mapped[datetime.datetime | None]
    time_duration_ms: Mapped[BigInt | None]
    time_offset_ms: Mapped[BigInt] = mapped_column(server_default=ZERO)
    live_enabled: Mapped[bool] = mapped_column(
        server_default=FALSE, comment="Updates automatically."
    )
    show_time_badge: Mapped[bool] = mapped_column(server_default=TRUE)
    options: Mapped[dict[str, Any]] = mapped_column(
        server_default=EMPTY_OBJECT, comment="Series, axes, colours."
    )
    is_system_chart: Mapped[bool] = mapped_column(
        server_default=FALSE, comment="Created by the platform; tenants cannot change it."
    )
    is_shared: Mapped[bool] = mapped_column(
        server_default=FALSE, comment="Visible to others in the tenant."
    )
    is_deleted: Mapped[bool] = mapped_column(
        server_default=FALSE, comment="In the trash; can be restored."
    )

    __table_args__ = (
        tenant_reference("user_id", "tenant_members", on_delete="cascade"),
        tenant_reference("folder_id", "chart_folders", "id", on_delete="set null"),
        Index(None, "tenant_id", "user_id"),
        Index(None, "tenant_id", "folder_id"),
        not_empty("name"),
        not_empty("chart_type"),
        one_of("time_mode", ("fixed", "rolling", "shifted")),
        json_object("options"),
        CheckConstraint("time_from < time_to", name="time_range"),
        CheckConstraint("time_duration_ms > 0", name="time_duration"),
        CheckConstraint(
            "CASE time_mode WHEN 'fixed' THEN time_from IS NOT NULL AND time_to IS NOT NULL"
            " ELSE time_duration_ms IS NOT NULL END",
            name="time_given",
        ),
        CheckConstraint("user_id IS NOT NULL OR is_shared", name="of_tenant_is_shared"),
        Trigger(
            "system_charts_stay",
            timing="before",
            events="update or delete",
            when="old.is_system_chart",
            function="reject_system_row_change()",
        ),
        no_secrets("options", later=True),
        {"comment": "Charts of one person or of the whole tenant."},
    )
