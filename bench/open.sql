-- Running executions of the user, each to be ended once: psql -v prefix=41000000 -v count=30000 -v script=… -v user=…
-- They belong to the existing server, as most do that report over HTTP: ids are <prefix>-0000-4000-8000-<n with twelve digits>.
INSERT INTO execution (id, start_date, status, progress, params, results, script_id, user_id, dispatched_at)
SELECT (:'prefix' || '-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, timestamp '2026-06-01', 'RUNNING', 10, '{}', '{}', :'script'::uuid, :'user'::uuid,
    timestamp '2026-06-01'
FROM generate_series(1, :count) AS n;
VACUUM ANALYZE execution;
