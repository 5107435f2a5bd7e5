"""Single changes of a correct database, each of which undoes something that it promises.

Each names the object that `operations verify` must name. Those of one group touch different
objects, so that they can be made together.
"""

from __future__ import annotations

LOGIN = "verified_login"
"""A login with fleet_app, as `operations login create` makes it."""

GRANTS = {
    "GRANT SELECT ON device_registry TO fleet_auth": "grant public.device_registry",
    "GRANT INSERT ON timeseries.telemetry TO fleet_app": "grant timeseries.telemetry",
    "GRANT SELECT ON timeseries.tag_values TO PUBLIC": "grant timeseries.tag_values",
    "GRANT SELECT (key_hash) ON api_keys TO fleet_operator_read": "grant public.api_keys",
    "REVOKE SELECT ON sites FROM fleet_app": "grant public.sites",
    "GRANT TRUNCATE ON fleet_alert TO fleet_app": "grant public.fleet_alert",
    "GRANT REFERENCES ON tenants TO PUBLIC": "grant public.tenants",
    "GRANT TRIGGER ON device_state TO fleet_operator": "grant public.device_state",
    "GRANT EXECUTE ON FUNCTION record_devices TO fleet_app": "function public.record_devices",
    "GRANT EXECUTE ON FUNCTION uuid7() TO PUBLIC": "grant function public.uuid7()",
    "GRANT USAGE ON SCHEMA timeseries TO fleet_app": "grant schema timeseries",
    "GRANT CREATE ON SCHEMA public TO PUBLIC": "grant schema public",
    "GRANT SELECT ON alembic_version TO PUBLIC": "grant public.alembic_version",
    "GRANT INSERT ON schema_history TO fleet_app": "grant public.schema_history",
    "GRANT SELECT ON pg_authid TO fleet_app": "grant pg_catalog.pg_authid",
    "GRANT SELECT ON pg_statistic TO PUBLIC": "grant pg_catalog.pg_statistic",
    "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO fleet_app": "pg_catalog.pg_read_file",
    "GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint) TO PUBLIC": "pg_catalog.pg_advisory_lock",
    "REVOKE EXECUTE ON FUNCTION pg_advisory_xact_lock(bigint) FROM fleet_ingest":
        "pg_catalog.pg_advisory_xact_lock",
    "GRANT UPDATE ON pg_settings TO PUBLIC": "pg_catalog.pg_settings",
    "GRANT EXECUTE ON FUNCTION lo_create(oid) TO fleet_app": "pg_catalog.lo_create",
    "GRANT TEMPORARY ON DATABASE {database} TO PUBLIC": "grant database {database}",
    "GRANT CREATE ON DATABASE {database} TO fleet_app": "grant database {database}",
    "REVOKE CONNECT ON DATABASE {database} FROM fleet_auth": "grant database {database}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO fleet_app":
        "default privileges of",
    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON SEQUENCES TO PUBLIC": "default privileges of",
}  # fmt: skip

POLICIES = {
    "ALTER TABLE device_registry DISABLE ROW LEVEL SECURITY": "public.device_registry",
    "ALTER TABLE fleet_alert NO FORCE ROW LEVEL SECURITY": "public.fleet_alert",
    "DROP POLICY tenant_isolation ON sites": "public.sites",
    "ALTER POLICY tenant_isolation ON device_groups USING (true)": "public.device_groups",
    "ALTER POLICY tenant_isolation ON device_jobs WITH CHECK (true)": "public.device_jobs",
    "ALTER POLICY tenant_isolation ON device_modules TO PUBLIC": "public.device_modules",
    "CREATE POLICY more ON device_state FOR SELECT TO fleet_app USING (true)":
        "public.device_state",
    "CREATE POLICY all_of_it ON api_keys TO fleet_ingest USING (true)": "public.api_keys",
    "CREATE VIEW leak AS SELECT * FROM timeseries.telemetry; GRANT SELECT ON leak TO fleet_app":
        "view public.leak",
    "CREATE MATERIALIZED VIEW copied AS SELECT * FROM timeseries.telemetry":
        "materialized view public.copied",
    "ALTER VIEW telemetry_daily SET (security_barrier = false)": "view public.telemetry_daily",
    "ALTER VIEW tag_values SET (security_invoker = true)": "view public.tag_values",
    "ALTER FUNCTION current_tenant() VOLATILE": "function public.current_tenant()",
    "ALTER FUNCTION uuid7() SECURITY DEFINER": "function public.uuid7()",
    "ALTER FUNCTION notify_tenants() RESET search_path": "function public.notify_tenants()",
    "CREATE OR REPLACE FUNCTION tenant_pseudonym(tenant uuid) RETURNS text LANGUAGE sql"
    " IMMUTABLE PARALLEL SAFE RETURN tenant::text": "function public.tenant_pseudonym",
    "CREATE FUNCTION leaking() RETURNS bigint LANGUAGE sql SECURITY DEFINER"
    " RETURN (SELECT count(*) FROM tenants)": "function public.leaking()",
    "CREATE PROCEDURE leaks() LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'":
        "procedure public.leaks()",
    "CREATE RULE copies AS ON INSERT TO device_tags DO ALSO NOTHING": "public.device_tags",
    "ALTER TABLE device_commands DISABLE TRIGGER set_updated_at": "public.device_commands",
    "DROP TRIGGER set_updated_at ON device_sensors": "public.device_sensors",
    "ALTER TABLE subscriptions DISABLE TRIGGER ALL": "public.subscriptions",
}  # fmt: skip

OBJECTS = {
    "ALTER TABLE device_registry ADD COLUMN spare text": "public.device_registry.spare",
    "ALTER TABLE sites DROP COLUMN location": "public.sites.location",
    "ALTER TABLE sites ALTER COLUMN name DROP NOT NULL": "public.sites.name",
    "ALTER TABLE device_groups ALTER COLUMN description TYPE varchar(200)":
        "public.device_groups.description",
    "ALTER TABLE projects ALTER COLUMN priority SET DEFAULT 7": "public.projects.priority",
    "ALTER TABLE device_jobs DROP CONSTRAINT fk_device_jobs_tenant_id":
        "fk_device_jobs_tenant_id",
    "ALTER TABLE device_modules DROP CONSTRAINT ck_device_modules_status":
        "ck_device_modules_status",
    "ALTER TABLE device_groups DROP CONSTRAINT uq_device_groups_name": "uq_device_groups_name",
    "ALTER TABLE roles ADD CONSTRAINT short CHECK (length(name) < 99)": "public.roles",
    "DROP INDEX ix_alert_rules_escalation_policy_id": "ix_alert_rules_escalation_policy_id",
    "CREATE INDEX spare ON sessions (ip)": "public.sessions.spare",
    "UPDATE pg_index SET indisvalid = false"
    " WHERE indexrelid = 'ix_user_roles_role_id'::regclass": "index ix_user_roles_role_id",
    "ALTER TABLE eip_tag_cache SET UNLOGGED": "public.eip_tag_cache",
    "ALTER TABLE dashboard_widgets REPLICA IDENTITY FULL": "public.dashboard_widgets",
    "COMMENT ON TABLE tenants IS 'another'": "public.tenants",
    "CREATE TABLE more_devices () INHERITS (device_tags)": "public.more_devices",
    "CREATE TABLE notes (id int)": "table public.notes",
    "CREATE SEQUENCE numbers": "sequence public.numbers",
    "CREATE DOMAIN email AS text": "domain public.email",
    "CREATE TYPE colour AS ENUM ('red')": "enum public.colour",
    "CREATE STATISTICS both_of ON status, device_type FROM device_registry": "both_of",
    "CREATE AGGREGATE total (int) (SFUNC = int4pl, STYPE = int)": "aggregate public.total",
    "CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION {event_function}": "watch",
    "ALTER EVENT TRIGGER refuse_schema_changes DISABLE": "event trigger refuse_schema_changes",
    "CREATE PUBLICATION everything FOR ALL TABLES": "publication everything",
    "CREATE FOREIGN DATA WRAPPER away": "foreign-data wrapper away",
    "CREATE CAST (uuid AS jsonb) WITH INOUT": "cast (uuid AS jsonb)",
    "CREATE SCHEMA aside; CREATE TABLE aside.copied AS SELECT * FROM tenants": "aside.copied",
    "ALTER TABLE alert_events OWNER TO {other}": "public.alert_events",
    "ALTER VIEW telemetry_hourly OWNER TO {other}": "public.telemetry_hourly",
    "ALTER FUNCTION sync_tenant(uuid) OWNER TO {other}": "public.sync_tenant",
    "ALTER SCHEMA timeseries OWNER TO {other}": "schema timeseries",
}  # fmt: skip

ROLES = {
    "ALTER ROLE fleet_app BYPASSRLS": "role fleet_app",
    "ALTER ROLE fleet_ingest SUPERUSER": "role fleet_ingest",
    "ALTER ROLE fleet_auth LOGIN": "role fleet_auth",
    "ALTER ROLE fleet_operator CREATEROLE": "role fleet_operator",
    "ALTER ROLE fleet_operator_read REPLICATION": "role fleet_operator_read",
    f"ALTER ROLE {LOGIN} BYPASSRLS": f"role {LOGIN}",
    f"ALTER ROLE {LOGIN} CREATEDB": f"role {LOGIN}",
    f"GRANT fleet_operator TO {LOGIN}": f"role {LOGIN}",
    f"GRANT pg_read_all_data TO {LOGIN}": f"role {LOGIN}",
    "GRANT pg_execute_server_program TO fleet_app": "role fleet_app",
    "GRANT fleet_operator_read TO fleet_app": "role fleet_app",
    "GRANT pg_write_all_data TO fleet_ingest": "role fleet_ingest",
    "ALTER ROLE fleet_app SET app.tenant_id = '00000000-0000-0000-0000-000000000001'":
        "role fleet_app",
    f"ALTER ROLE {LOGIN} SET search_path = elsewhere": f"role {LOGIN}",
    f"ALTER ROLE {LOGIN} SET role = 'fleet_app'": f"role {LOGIN}",
    f"ALTER ROLE {LOGIN} IN DATABASE {{database}} SET row_security = off": f"role {LOGIN}",
    "ALTER ROLE ALL SET session_replication_role = replica": "role ALL",
    "ALTER DATABASE {database} SET app.tenant_id = 'x'": "database {database}",
    "ALTER DATABASE {database} SET search_path = elsewhere": "database {database}",
    "ALTER DATABASE {database} RESET timezone": "database {database}",
    f"ALTER ROLE {LOGIN} RESET statement_timeout": f"login {LOGIN}",
    f"ALTER ROLE {LOGIN} SET statement_timeout = '1ms'": f"login {LOGIN}",
    f"ALTER ROLE {LOGIN} SET lock_timeout = 20": f"login {LOGIN}",
    f"ALTER ROLE {LOGIN} IN DATABASE {{database}} SET statement_timeout = 20": f"login {LOGIN}",
    f"ALTER ROLE {LOGIN} SET log_parameter_max_length_on_error = -1": f"role {LOGIN}",
    "GRANT SET ON PARAMETER session_replication_role TO fleet_app":
        "parameter session_replication_role",
}  # fmt: skip

EVENT_TRIGGER = (
    "DROP EVENT TRIGGER refuse_schema_changes",
    "DROP SCHEMA fleet_hardening CASCADE",
    "ALTER EVENT TRIGGER refuse_schema_changes ENABLE",
    "ALTER FUNCTION fleet_hardening.refuse_schema_changes() OWNER TO {other}",
    "ALTER SCHEMA fleet_hardening OWNER TO {other}",
    "ALTER FUNCTION fleet_hardening.refuse_schema_changes() RESET search_path",
    """CREATE OR REPLACE FUNCTION fleet_hardening.refuse_schema_changes() RETURNS event_trigger
        LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS 'begin end'""",
    """DROP EVENT TRIGGER refuse_schema_changes;
       CREATE EVENT TRIGGER refuse_schema_changes ON ddl_command_end
              EXECUTE FUNCTION {event_function}""",
)
"""Of one object, so one after the other."""

ROWS = {
    "DELETE FROM role_template_permissions WHERE template = 'viewer'":
        "table role_template_permissions",
    "UPDATE units_of_measure SET symbol = 'x' WHERE name = (SELECT min(name)"
    " FROM units_of_measure)": "table units_of_measure",
    "UPDATE device_plans SET limits = '{{}}'": "table device_plans",
}  # fmt: skip

HYPERTABLES = {
    "GRANT SELECT ON {chunk} TO fleet_app": "chunk {chunk}",
    "GRANT SELECT ON {stored} TO fleet_ingest": "{stored}",
    "SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs WHERE"
    " proc_name = 'policy_retention' AND hypertable_name = 'telemetry'": "timeseries.telemetry",
    "CALL remove_columnstore_policy('timeseries.tag_values')": "timeseries.tag_values",
    "SELECT remove_retention_policy('timeseries.audit_events')": "timeseries.audit_events",
    "SELECT set_chunk_time_interval('timeseries.health_checks', interval '3 days')":
        "timeseries.health_checks",
    "SELECT remove_continuous_aggregate_policy('timeseries.telemetry_daily')":
        "timeseries.telemetry_daily",
    "ALTER MATERIALIZED VIEW timeseries.telemetry_hourly"
    " SET (timescaledb.materialized_only = true)": "timeseries.telemetry_hourly",
    "CREATE INDEX ON timeseries.tag_values_hourly (tag_id)": "rollup timeseries.tag_values_hourly",
    "ALTER TABLE timeseries.telemetry SET (timescaledb.sparse_index = 'bloom(site_id)')":
        "columnstore timeseries.telemetry",
    "ALTER DATABASE {database} RESET enable_parallel_append": "database {database}",
    "GRANT SELECT ON timeseries.telemetry_hourly TO fleet_app": "timeseries.telemetry_hourly",
}  # fmt: skip
