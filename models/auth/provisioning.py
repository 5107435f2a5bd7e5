"""Creating a tenant, and copying built-in rows into it that the platform adds later.

The functions run with the rights of the caller, which must act as fleet_operator: row-level
security is forced, so the owner of the tables would see none of the rows to copy. If the rows are
not visible, they raise an error instead of copying nothing.
"""

from __future__ import annotations

from ddl import Function
from models.shared.base import PLATFORM_TENANT_ID, Base
from models.shared.plpgsql import PLPGSQL_SETTINGS

_OPERATORS_ONLY = {"fleet_operator": "execute"}

# Every built-in row has a key: 'setting/KEY', 'template/SLUG', 'metric/SLUG/KEY' and so on.
# tenants.builtins lists the keys already copied. Only new keys are copied, so rows that a tenant
# changed are never overwritten, and rows that it deleted are never restored. One statement makes
# the list of new keys, so it comes from one snapshot: a row committed while this function runs is
# left for the next call, rather than being listed without having been copied.
_SYNC_TENANT = f"""
    declare
      platform constant uuid := '{PLATFORM_TENANT_ID}';
      state text;
      fresh text[];
      n bigint;
      added bigint := 0;
    begin
      select t.status into state from public.tenants t
        where t.tenant_id = tenant for no key update;
      if not found then
        raise exception 'tenant % does not exist, or % cannot see it', tenant, current_user
          using errcode = 'no_data_found', hint = 'Act as fleet_operator: SET LOCAL ROLE.';
      end if;
      if state = 'deleted' then
        raise exception 'tenant % is deleted: nothing can be copied into it', tenant
          using errcode = 'object_not_in_prerequisite_state';
      end if;
      if not exists (select from public.role_templates where name = 'owner') then
        raise exception 'role_templates has no role named owner'
          using errcode = 'object_not_in_prerequisite_state',
                hint = 'Apply the reference data first: python -m operations reference.';
      end if;

      -- Tenants can neither change nor delete system roles, so a missing one is new.
      insert into public.roles (tenant_id, name, description, scope, is_system)
      select tenant, r.name, r.description, r.scope, true from public.role_templates r
          on conflict (tenant_id, name) do nothing;
      get diagnostics n = row_count;
      added := added + n;
      insert into public.role_permissions (tenant_id, role_id, action)
      select tenant, r.id, p.action
        from public.roles r join public.role_template_permissions p on p.template = r.name
       where r.tenant_id = tenant and r.is_system
          on conflict do nothing;
      get diagnostics n = row_count;
      added := added + n;
      if tenant = platform then
        return added;  -- the source of all other rows
      end if;
      if not exists (select from public.tenants t where t.tenant_id = platform) then
        raise exception 'the platform tenant % does not exist', platform
          using errcode = 'object_not_in_prerequisite_state',
                hint = 'Apply the reference data first: python -m operations reference.';
      end if;

      with templates as (
        select b.id, b.slug from public.device_templates b where b.tenant_id = platform
      ), offered (key) as (
        select 'setting/' || s.key from public.tenant_settings s where s.tenant_id = platform
        union all select 'template/' || b.slug from templates b
        union all select 'metric/' || b.slug || '/' || m.metric_key
          from templates b join public.template_metrics m
            on m.tenant_id = platform and m.template_id = b.id
        union all select 'command/' || b.slug || '/' || c.command_key
          from templates b join public.template_commands c
            on c.tenant_id = platform and c.template_id = b.id
        union all select 'slot/' || b.slug || '/' || s.slot_key
          from templates b join public.template_slots s
            on s.tenant_id = platform and s.template_id = b.id
        union all select 'compat/' || b.slug || '/' || f.slot_key || '/' || m.slug
          from templates b join public.template_slot_compat f
            on f.tenant_id = platform and f.template_id = b.id
          join templates m on m.id = f.module_template_id
      )
      select array_agg(o.key order by o.key) into fresh
        from offered o, public.tenants t
       where t.tenant_id = tenant and o.key <> all (t.builtins);
      if fresh is null then
        return added;
      end if;

      insert into public.tenant_settings (tenant_id, key, value)
      select tenant, s.key, s.value from public.tenant_settings s
       where s.tenant_id = platform and 'setting/' || s.key = any (fresh)
          on conflict do nothing;
      get diagnostics n = row_count;
      added := added + n;
      added := added + public.copy_device_templates(tenant, fresh);
      update public.tenants t set builtins = t.builtins || fresh where t.tenant_id = tenant;
      return added;
    end
"""

# A copy is identified by its slug and source = 'system', which tenants cannot write. A template
# that the tenant created under the same slug is not changed, and neither are its parts.
_COPY_DEVICE_TEMPLATES = f"""
    declare
      platform constant uuid := '{PLATFORM_TENANT_ID}';
      n bigint;
      added bigint := 0;
    begin
      insert into public.device_templates
             (tenant_id, slug, name, description, category, manufacturer, model,
              firmware_version_pattern, is_locked, source, transport_defaults, metadata,
              image_url)
      select tenant, b.slug, b.name, b.description, b.category, b.manufacturer, b.model,
             b.firmware_version_pattern, b.is_locked, 'system', b.transport_defaults,
             b.metadata, b.image_url
        from public.device_templates b
       where b.tenant_id = platform and 'template/' || b.slug = any (fresh)
          on conflict (tenant_id, slug) do nothing;
      get diagnostics n = row_count;
      added := added + n;

      insert into public.template_metrics
             (tenant_id, template_id, metric_key, display_name, data_type, unit, min_value,
              max_value, precision_digits, is_required, description, enum_values, sort_order)
      select tenant, c.id, m.metric_key, m.display_name, m.data_type, m.unit, m.min_value,
             m.max_value, m.precision_digits, m.is_required, m.description, m.enum_values,
             m.sort_order
        from public.device_templates b
        join public.device_templates c
          on c.tenant_id = tenant and c.slug = b.slug and c.source = 'system'
        join public.template_metrics m on m.tenant_id = platform and m.template_id = b.id
       where b.tenant_id = platform
         and 'metric/' || b.slug || '/' || m.metric_key = any (fresh)
          on conflict do nothing;
      get diagnostics n = row_count;
      added := added + n;

      insert into public.template_commands
             (tenant_id, template_id, command_key, display_name, description,
              parameters_schema, response_schema, sort_order)
      select tenant, c.id, m.command_key, m.display_name, m.description,
             m.parameters_schema, m.response_schema, m.sort_order
        from public.device_templates b
        join public.device_templates c
          on c.tenant_id = tenant and c.slug = b.slug and c.source = 'system'
        join public.template_commands m on m.tenant_id = platform and m.template_id = b.id
       where b.tenant_id = platform
         and 'command/' || b.slug || '/' || m.command_key = any (fresh)
          on conflict do nothing;
      get diagnostics n = row_count;
      added := added + n;

      insert into public.template_slots
             (tenant_id, template_id, slot_key, display_name, slot_type, interface_type,
              max_devices, is_required, description, sort_order)
      select tenant, c.id, s.slot_key, s.display_name, s.slot_type, s.interface_type,
             s.max_devices, s.is_required, s.description, s.sort_order
        from public.device_templates b
        join public.device_templates c
          on c.tenant_id = tenant and c.slug = b.slug and c.source = 'system'
        join public.template_slots s on s.tenant_id = platform and s.template_id = b.id
       where b.tenant_id = platform and 'slot/' || b.slug || '/' || s.slot_key = any (fresh)
          on conflict do nothing;
      get diagnostics n = row_count;
      added := added + n;

      insert into public.template_slot_compat
             (tenant_id, template_id, slot_key, module_template_id)
      select tenant, c.id, f.slot_key, d.id
        from public.template_slot_compat f
        join public.device_templates b on b.tenant_id = platform and b.id = f.template_id
        join public.device_templates m
          on m.tenant_id = platform and m.id = f.module_template_id
        join public.device_templates c
          on c.tenant_id = tenant and c.slug = b.slug and c.source = 'system'
        join public.device_templates d
          on d.tenant_id = tenant and d.slug = m.slug and d.source = 'system'
        join public.template_slots s  -- the tenant may have deleted its copy of the slot
          on s.tenant_id = tenant and s.template_id = c.id and s.slot_key = f.slot_key
       where f.tenant_id = platform
         and 'compat/' || b.slug || '/' || f.slot_key || '/' || m.slug = any (fresh)
          on conflict do nothing;
      get diagnostics n = row_count;
      return added + n;
    end
"""

_PROVISION_TENANT = """
    declare
      made uuid;
    begin
      if not exists (select from public.users u
                      where u.id = owner_user_id and u.is_active and not u.is_system) then
        raise exception 'user % cannot own a tenant: not found, inactive, or a system account',
            owner_user_id
          using errcode = 'no_data_found',
                hint = 'Pass an active account, and act as fleet_operator: SET LOCAL ROLE.';
      end if;
      insert into public.tenants (slug, name, account_tier_id)
      values (provision_tenant.slug, provision_tenant.name, tier_id)
      returning tenant_id into made;
      insert into public.tenant_members (tenant_id, user_id, status, is_owner, joined_at)
      values (made, owner_user_id, 'active', true, now());
      perform public.sync_tenant(made);
      insert into public.user_roles (tenant_id, user_id, role_id)
      select r.tenant_id, owner_user_id, r.id from public.roles r
       where r.tenant_id = made and r.name = 'owner' and r.is_system;
      if not found then
        raise exception 'tenant % has no role named owner', provision_tenant.slug
          using errcode = 'object_not_in_prerequisite_state',
                hint = 'Apply the reference data first: python -m operations reference.';
      end if;
      return made;
    end
"""

Function(
    "copy_device_templates",
    "tenant uuid, fresh text[]",
    returns="bigint",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=_COPY_DEVICE_TEMPLATES,
    grants=_OPERATORS_ONLY,
    comment="Part of sync_tenant(): copies the built-in device templates and their parts whose "
    "keys are in fresh; returns the number of rows.",
    metadata=Base.metadata,
)

Function(
    "sync_tenant",
    "tenant uuid",
    returns="bigint",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=_SYNC_TENANT,
    grants=_OPERATORS_ONLY,
    comment="Copies the built-in rows that a tenant never had; overwrites and restores nothing. "
    "Returns the number of rows added, 0 when called again.",
    metadata=Base.metadata,
)

Function(
    "provision_tenant",
    "slug text, name text, owner_user_id uuid, tier_id text",
    returns="uuid",
    language="plpgsql",
    settings=PLPGSQL_SETTINGS,
    body=_PROVISION_TENANT,
    grants=_OPERATORS_ONLY,
    comment="Creates a tenant with its owner, roles, settings and device templates; returns its "
    "id.",
    metadata=Base.metadata,
)
