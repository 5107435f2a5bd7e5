"""find from when on raw data is complete

Revision 0051, after 0050; CONTRIBUTING.md says what to look for when reading it.
"""

from alembic import op

revision = "0051"
down_revision = "0050"


def upgrade() -> None:
    # What earlier runs of maintenance deleted by policies of single tenants that are gone, or longer,
    # since: a bucket older than the oldest row of its tenant, which the retention for all does not
    # explain. A refresh would take a late row in such a bucket for all there is.
    op.execute(
        """DO $$
DECLARE
    one record;
BEGIN
    IF to_regclass('timescaledb_information.continuous_aggregates') IS NULL THEN
        RETURN;
    END IF;
    FOR one IN
        SELECT coalesce(s.view_name, a.hypertable_name) AS relation,
               format('%I.%I', a.hypertable_schema, a.hypertable_name) AS source,
               r.column_name AS moment,
               format('%I.%I', a.materialization_hypertable_schema,
                      a.materialization_hypertable_name) AS storage,
               d.column_name AS bucket, f.bucket_width::interval AS width,
               (SELECT (j.config ->> 'drop_after')::interval FROM timescaledb_information.jobs j
                 WHERE j.proc_name = 'policy_retention'
                   AND (j.hypertable_schema, j.hypertable_name)
                     = (a.hypertable_schema, a.hypertable_name)) AS retention
          FROM timescaledb_information.continuous_aggregates a
          JOIN timescaledb_information.dimensions d ON d.dimension_number = 1
           AND (d.hypertable_schema, d.hypertable_name)
             = (a.materialization_hypertable_schema, a.materialization_hypertable_name)
          JOIN timescaledb_information.dimensions r ON r.dimension_number = 1
           AND (r.hypertable_schema, r.hypertable_name) = (a.hypertable_schema, a.hypertable_name)
          JOIN _timescaledb_catalog.continuous_agg c
            ON (c.user_view_schema, c.user_view_name) = (a.view_schema, a.view_name)
          JOIN _timescaledb_catalog.continuous_aggs_bucket_function f
            ON f.mat_hypertable_id = c.mat_hypertable_id
          LEFT JOIN timescaledb_information.continuous_aggregates s
            ON (s.materialization_hypertable_schema, s.materialization_hypertable_name)
             = (a.hypertable_schema, a.hypertable_name)
         WHERE a.view_schema = 'timeseries'
           AND EXISTS (SELECT FROM pg_attribute t
                        WHERE t.attrelid = format('%I.%I', a.view_schema, a.view_name)::regclass
                          AND t.attname = 'tenant_id' AND t.atttypid = 'uuid'::regtype)
    LOOP
        EXECUTE format(
            'INSERT INTO public.raw_data_horizons AS h (relation, of_tenant, complete_from)
             SELECT $1, t.tenant_id, g.newest + $2
               FROM (SELECT DISTINCT tenant_id FROM %1$s) AS t
               LEFT JOIN LATERAL (SELECT %4$I AS oldest FROM %3$s
                                   WHERE tenant_id = t.tenant_id ORDER BY %4$I LIMIT 1) AS r ON true
              CROSS JOIN LATERAL (SELECT max(%2$I) AS newest FROM %1$s
                                   WHERE tenant_id = t.tenant_id
                                     AND %2$I <= coalesce(r.oldest, now()) - $2
                                     AND %2$I >= coalesce(now() - $3, ''-infinity'')) AS g
              WHERE g.newest IS NOT NULL
             ON CONFLICT (relation, of_tenant)
               DO UPDATE SET complete_from = excluded.complete_from
                       WHERE h.complete_from < excluded.complete_from',
            one.storage, one.bucket, one.source, one.moment)
          USING one.relation, one.width, one.retention;
    END LOOP;
END
$$"""
    )


def downgrade() -> None:
    """A horizon that was noted is never moved back."""
