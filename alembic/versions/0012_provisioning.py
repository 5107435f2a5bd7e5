"""provisioning

Revision 0012, after 0011; CONTRIBUTING.md says what to look for when reading it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_function(
        "copy_device_templates",
        "tenant uuid, fresh text[]",
        returns="bigint",
        language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  platform constant uuid := '00000000-0000-0000-0000-000000000000';\n"
            "  n bigint;\n"
            "  added bigint := 0;\n"
            "begin\n"
            "  insert into public.device_templates\n"
            "         (tenant_id, slug, name, description, category, manufacturer, model,\n"
            "          firmware_version_pattern, is_locked, source, transport_defaults, metadata,\n"
            "          image_url)\n"
            "  select tenant, b.slug, b.name, b.description, b.category, b.manufacturer, b.model,\n"
            "         b.firmware_version_pattern, b.is_locked, 'system', b.transport_defaults,\n"
            "         b.metadata, b.image_url\n"
            "    from public.device_templates b\n"
            "   where b.tenant_id = platform and 'template/' || b.slug = any (fresh)\n"
            "      on conflict (tenant_id, slug) do nothing;\n"
            "  get diagnostics n = row_count;\n"
            "  added := added + n;\n"
            "\n"
            "  insert into public.template_metrics\n"
            "         (tenant_id, template_id, metric_key, display_name, data_type, unit, min_value,\n"
            "          max_value, precision_digits, is_required, description, enum_values, sort_order)\n"
            "  select tenant, c.id, m.metric_key, m.display_name, m.data_type, m.unit, m.min_value,\n"
            "         m.max_value, m.precision_digits, m.is_required, m.description, m.enum_values,\n"
            "         m.sort_order\n"
            "    from public.device_templates b\n"
            "    join public.device_templates c\n"
            "      on c.tenant_id = tenant and c.slug = b.slug and c.source = 'system'\n"
            "    join public.template_metrics m on m.tenant_id = platform and m.template_id = b.id\n"
            "   where b.tenant_id = platform\n"
            "     and 'metric/' || b.slug || '/' || m.metric_key = any (fresh)\n"
            "      on conflict do nothing;\n"
            "  get diagnostics n = row_count;\n"
            "  added := added + n;\n"
            "\n"
            "  insert into public.template_commands\n"
            "         (tenant_id, template_id, command_key, display_name, description,\n"
            "          parameters_schema, response_schema, sort_order)\n"
            "  select tenant, c.id, m.command_key, m.display_name, m.description,\n"
            "         m.parameters_schema, m.response_schema, m.sort_order\n"
            "    from public.device_templates b\n"
            "    join public.device_templates c\n"
            "      on c.tenant_id = tenant and c.slug = b.slug and c.source = 'system'\n"
            "    join public.template_commands m on m.tenant_id = platform and m.template_id = b.id\n"
            "   where b.tenant_id = platform\n"
            "     and 'command/' || b.slug || '/' || m.command_key = any (fresh)\n"
            "      on conflict do nothing;\n"
            "  get diagnostics n = row_count;\n"
            "  added := added + n;\n"
            "\n"
            "  insert into public.template_slots\n"
            "         (tenant_id, template_id, slot_key, display_name, slot_type, interface_type,\n"
            "          max_devices, is_required, description, sort_order)\n"
            "  select tenant, c.id, s.slot_key, s.display_name, s.slot_type, s.interface_type,\n"
            "         s.max_devices, s.is_required, s.description, s.sort_order\n"
            "    from public.device_templates b\n"
            "    join public.device_templates c\n"
            "      on c.tenant_id = tenant and c.slug = b.slug and c.source = 'system'\n"
            "    join public.template_slots s on s.tenant_id = platform and s.template_id = b.id\n"
            "   where b.tenant_id = platform and 'slot/' || b.slug || '/' || s.slot_key = any (fresh)\n"
            "      on conflict do nothing;\n"
            "  get diagnostics n = row_count;\n"
            "  added := added + n;\n"
            "\n"
            "  insert into public.template_slot_compat\n"
            "         (tenant_id, template_id, slot_key, module_template_id)\n"
            "  select tenant, c.id, f.slot_key, d.id\n"
            "    from public.template_slot_compat f\n"
            "    join public.device_templates b on b.tenant_id = platform and b.id = f.template_id\n"
            "    join public.device_templates m\n"
            "      on m.tenant_id = platform and m.id = f.module_template_id\n"
            "    join public.device_templates c\n"
            "      on c.tenant_id = tenant and c.slug = b.slug and c.source = 'system'\n"
            "    join public.device_templates d\n"
            "      on d.tenant_id = tenant and d.slug = m.slug and d.source = 'system'\n"
            "    join public.template_slots s  -- the tenant may have deleted its copy of the slot\n"
            "      on s.tenant_id = tenant and s.template_id = c.id and s.slot_key = f.slot_key\n"
            "   where f.tenant_id = platform\n"
            "     and 'compat/' || b.slug || '/' || f.slot_key || '/' || m.slug = any (fresh)\n"
            "      on conflict do nothing;\n"
            "  get diagnostics n = row_count;\n"
            "  return added + n;\n"
            "end"
        ),
        comment="Part of sync_tenant(): copies the built-in device templates and their parts whose keys are in fresh;"
        " returns the number of rows.",
        grants={"fleet_operator": "execute"},
    )
    op.create_function(
        "provision_tenant",
        "slug text, name text, owner_user_id uuid, tier_id text",
        returns="uuid",
        language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  made uuid;\n"
            "begin\n"
            "  if not exists (select from public.users u\n"
            "                  where u.id = owner_user_id and u.is_active and not u.is_system) then\n"
            "    raise exception 'user % cannot own a tenant: not found, inactive, or a system account',\n"
            "        owner_user_id\n"
            "      using errcode = 'no_data_found',\n"
            "            hint = 'Pass an active account, and act as fleet_operator: SET LOCAL ROLE.';\n"
            "  end if;\n"
            "  insert into public.tenants (slug, name, account_tier_id)\n"
            "  values (provision_tenant.slug, provision_tenant.name, tier_id)\n"
            "  returning tenant_id into made;\n"
            "  insert into public.tenant_members (tenant_id, user_id, status, is_owner, joined_at)\n"
            "  values (made, owner_user_id, 'active', true, now());\n"
            "  perform public.sync_tenant(made);\n"
            "  insert into public.user_roles (tenant_id, user_id, role_id)\n"
            "  select r.tenant_id, owner_user_id, r.id from public.roles r\n"
            "   where r.tenant_id = made and r.name = 'owner' and r.is_system;\n"
            "  if not found then\n"
            "    raise exception 'tenant % has no role named owner', provision_tenant.slug\n"
            "      using errcode = 'object_not_in_prerequisite_state',\n"
            "            hint = 'Apply the reference data first: python -m operations reference.';\n"
            "  end if;\n"
            "  return made;\n"
            "end"
        ),
        comment="Creates a tenant with its owner, roles, settings and device templates; returns its id.",
        grants={"fleet_operator": "execute"},
    )
    op.create_function(
        "sync_tenant",
        "tenant uuid",
        returns="bigint",
        language="plpgsql",
        settings="search_path=pg_catalog, pg_temp",
        body=(
            "declare\n"
            "  platform constant uuid := '00000000-0000-0000-0000-000000000000';\n"
            "  state text;\n"
            "  fresh text[];\n"
            "  n bigint;\n"
            "  added bigint := 0;\n"
            "begin\n"
            "  select t.status into state from public.tenants t\n"
            "    where t.tenant_id = tenant for no key update;\n"
            "  if not found then\n"
            "    raise exception 'tenant % does not exist, or % cannot see it', tenant, current_user\n"
            "      using errcode = 'no_data_found', hint = 'Act as fleet_operator: SET LOCAL ROLE.';\n"
            "  end if;\n"
            "  if state = 'deleted' then\n"
            "    raise exception 'tenant % is deleted: nothing can be copied into it', tenant\n"
            "      using errcode = 'object_not_in_prerequisite_state';\n"
            "  end if;\n"
            "  if not exists (select from public.role_templates where name = 'owner') then\n"
            "    raise exception 'role_templates has no role named owner'\n"
            "      using errcode = 'object_not_in_prerequisite_state',\n"
            "            hint = 'Apply the reference data first: python -m operations reference.';\n"
            "  end if;\n"
            "\n"
            "  -- Tenants can neither change nor delete system roles, so a missing one is new.\n"
            "  insert into public.roles (tenant_id, name, description, scope, is_system)\n"
            "  select tenant, r.name, r.description, r.scope, true from public.role_templates r\n"
            "      on conflict (tenant_id, name) do nothing;\n"
            "  get diagnostics n = row_count;\n"
            "  added := added + n;\n"
            "  insert into public.role_permissions (tenant_id, role_id, action)\n"
            "  select tenant, r.id, p.action\n"
            "    from public.roles r join public.role_template_permissions p on p.template = r.name\n"
            "   where r.tenant_id = tenant and r.is_system\n"
            "      on conflict do nothing;\n"
            "  get diagnostics n = row_count;\n"
            "  added := added + n;\n"
            "  if tenant = platform then\n"
            "    return added;  -- the source of all other rows\n"
            "  end if;\n"
            "  if not exists (select from public.tenants t where t.tenant_id = platform) then\n"
            "    raise exception 'the platform tenant % does not exist', platform\n"
            "      using errcode = 'object_not_in_prerequisite_state',\n"
            "            hint = 'Apply the reference data first: python -m operations reference.';\n"
            "  end if;\n"
            "\n"
            "  with templates as (\n"
            "    select b.id, b.slug from public.device_templates b where b.tenant_id = platform\n"
            "  ), offered (key) as (\n"
            "    select 'setting/' || s.key from public.tenant_settings s where s.tenant_id = platform\n"
            "    union all select 'template/' || b.slug from templates b\n"
            "    union all select 'metric/' || b.slug || '/' || m.metric_key\n"
            "      from templates b join public.template_metrics m\n"
            "        on m.tenant_id = platform and m.template_id = b.id\n"
            "    union all select 'command/' || b.slug || '/' || c.command_key\n"
            "      from templates b join public.template_commands c\n"
            "        on c.tenant_id = platform and c.template_id = b.id\n"
            "    union all select 'slot/' || b.slug || '/' || s.slot_key\n"
            "      from templates b join public.template_slots s\n"
            "        on s.tenant_id = platform and s.template_id = b.id\n"
            "    union all select 'compat/' || b.slug || '/' || f.slot_key || '/' || m.slug\n"
            "      from templates b join public.template_slot_compat f\n"
            "        on f.tenant_id = platform and f.template_id = b.id\n"
            "      join templates m on m.id = f.module_template_id\n"
            "  )\n"
            "  select array_agg(o.key order by o.key) into fresh\n"
            "    from offered o, public.tenants t\n"
            "   where t.tenant_id = tenant and o.key <> all (t.builtins);\n"
            "  if fresh is null then\n"
            "    return added;\n"
            "  end if;\n"
            "\n"
            "  insert into public.tenant_settings (tenant_id, key, value)\n"
            "  select tenant, s.key, s.value from public.tenant_settings s\n"
            "   where s.tenant_id = platform and 'setting/' || s.key = any (fresh)\n"
            "      on conflict do nothing;\n"
            "  get diagnostics n = row_count;\n"
            "  added := added + n;\n"
            "  added := added + public.copy_device_templates(tenant, fresh);\n"
            "  update public.tenants t set builtins = t.builtins || fresh where t.tenant_id = tenant;\n"
            "  return added;\n"
            "end"
        ),
        comment="Copies the built-in rows that a tenant never had; overwrites and restores nothing. Returns the number"
        " of rows added, 0 when called again.",
        grants={"fleet_operator": "execute"},
    )


def downgrade() -> None:
    op.drop_function("sync_tenant", "tenant uuid")
    op.drop_function("provision_tenant", "slug text, name text, owner_user_id uuid, tier_id text")
    op.drop_function("copy_device_templates", "tenant uuid, fresh text[]")
