"""A view through which a role writes has a check option.

Without one, a tenant could write rows that the view then does not show: those of another tenant.
With an INSTEAD OF trigger there can be none: what its function writes to is what judges.
"""

from database.rules.rule import Rule

RULE = Rule(
    query="""
        SELECT DISTINCT v.name AS object,
               format('%s for %s', a.privilege_type, a.grantee::regrole) AS found
          FROM relations v, aclexplode(v.relacl) a
         WHERE v.relkind = 'v' AND a.grantee NOT IN (0, v.relowner)
           AND a.privilege_type IN ('INSERT', 'UPDATE')
           AND NOT EXISTS (SELECT FROM unnest(v.reloptions) o WHERE o LIKE 'check\\_option=%')
           AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = v.oid AND tgtype & 64 > 0)
        UNION
        SELECT v.name || '.' || c.attname,
               format('%s for %s', a.privilege_type, a.grantee::regrole)
          FROM relations v JOIN pg_attribute c ON c.attrelid = v.oid, aclexplode(c.attacl) a
         WHERE v.relkind = 'v' AND a.privilege_type IN ('INSERT', 'UPDATE')
           AND NOT EXISTS (SELECT FROM unnest(v.reloptions) o WHERE o LIKE 'check\\_option=%')
           AND NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = v.oid AND tgtype & 64 > 0)""",
    expected="a check option, or no INSERT and UPDATE",
    fix='write check_option="cascaded" in its View(…), or leave the privilege out of grants=',
    broken_by=(
        (
            "ALTER VIEW tag_values_to_store RESET (check_option)",
            "tag_values_to_store",
            "INSERT for fleet_app",
        ),
        (
            "ALTER VIEW audit_events_to_store RESET (check_option)",
            "audit_events_to_store.action",
            "INSERT for fleet_app",
        ),
        (
            "GRANT INSERT ON telemetry_hourly TO fleet_app",
            "telemetry_hourly",
            "INSERT for fleet_app",
        ),
    ),
    kept_by=(
        "GRANT SELECT ON telemetry_hourly TO fleet_ingest",
        """ALTER VIEW telemetry_to_store RESET (check_option);
           CREATE TRIGGER t INSTEAD OF INSERT ON telemetry_to_store
           FOR EACH ROW EXECUTE FUNCTION set_updated_at()""",
    ),
)
