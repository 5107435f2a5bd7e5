"""``operations sql``: psql as a tenant sees the database."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from sqlalchemy import Engine

from database.tenancy import APP, operator_transaction
from operations import programs
from operations.access.accounts import operator_name
from operations.owner import maintained_database
from operations.tenants.tenant import Tenant, TenantError, find_tenant

app = typer.Typer()


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def sql(
    arguments: typer.Context,
    slug: Annotated[str, typer.Option("--tenant", help="The tenant's slug.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for the audit log.")] = "look at it",
    valid_for: Annotated[
        float,
        typer.Option("--valid-for", metavar="HOURS", min=0.01, help="Where tokens are needed."),
    ] = 1,
    actor: Annotated[
        str | None,
        typer.Option(
            "--actor", help="Name for the audit log; by default the user of this machine."
        ),
    ] = None,
) -> None:
    """Open psql as fleet_app, with the rows of one tenant; the audit log says so.

    The connection is the owner's, which SET ROLE NONE leads back to: it keeps mistakes apart, no
    stranger. What follows `--` goes to psql.
    """
    program = programs.psql()
    with maintained_database() as engine:
        tenant = find_tenant(engine, slug)
        if tenant is None:
            raise TenantError(f"no tenant has the slug {slug!r}")
        with operator_transaction(
            engine,
            actor=actor or operator_name(),
            action="sql",
            reason=reason,
            tenant_id=tenant.tenant_id,
            resource_type="tenant",
            resource_id=slug,
        ):
            environment = _environment(engine, tenant, valid_for * 3600)
        address = programs.address(engine.url)
    os.execvpe(program, [program, address, *arguments.args], environment)  # noqa: S606 (as meant)


def _environment(engine: Engine, tenant: Tenant, lifetime: float) -> dict[str, str]:
    """For psql: neither password nor token is an argument, which others of the machine can see."""
    token = engine.get_execution_options()["context_key"].token(tenant.tenant_id, lifetime)
    settings = {"role": APP, "app.tenant_id": tenant.tenant_id, "app.tenant_token": token}
    found = programs.environment(engine.url)
    found["PGOPTIONS"] = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return found
