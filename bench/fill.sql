-- What a server has after years: psql -v rows=100000 -v lines=10 -v script=… -v user=… -v admin=…
-- Ids count: execution n is 30000000-0000-4000-8000-<n with twelve digits>, from 1. One in eleven belongs to one of 250 people, half
-- of the rest to the user, half to the administrator; one in ten of the newest 100,000 is RUNNING, one in five of the others
-- FAILED. Half of those that have ended were run by this server, the rest by the existing one before it. Every five minutes one
-- began, the last on 2026-06-01.
BEGIN;
-- People who poll and watch; they sign in with tokens only.
INSERT INTO "user" (id, email, password, name, role, created_at)
SELECT ('50000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'person' || n || '@example.org', '', 'Person ' || n, 'USER', timestamp '2020-01-01'
FROM generate_series(1, 250) AS n;
-- The script runs as if it were built, and is one of six.
UPDATE script SET status = 'SUCCESS', public = TRUE;
UPDATE script_version SET status = 'SUCCESS';
DELETE FROM job;
INSERT INTO script (id, name, slug, description, created_at, updated_at, user_id, status, public, restricted)
SELECT ('11000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, 'Script ' || n, 'script-' || n, 'One of six scripts.', timestamp '2020-01-01',
    timestamp '2020-01-01', :'admin'::uuid, 'SUCCESS', TRUE, FALSE
FROM generate_series(1, 5) AS n;
INSERT INTO execution (id, start_date, end_date, status, progress, params, results, script_id, user_id, dispatched_at)
SELECT ('30000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, began,
    CASE WHEN open THEN NULL ELSE began + (n % 3000) * interval '1 second' END,
    CASE WHEN open THEN 'RUNNING' WHEN n % 10 IN (4, 9) THEN 'FAILED' ELSE 'FINISHED' END,
    CASE WHEN open THEN n % 100 ELSE 100 END,
    jsonb_build_object('task_name', 'Task ' || n, 'year_initial', 2001 + n % 15, 'year_final', 2020, 'crs', 'EPSG:4326',
        'geojsons', jsonb_build_array(jsonb_build_object('type', 'Polygon', 'coordinates',
            jsonb_build_array(jsonb_build_array(jsonb_build_array(n % 180, 0), jsonb_build_array(n % 180, 1), jsonb_build_array(n % 179, 1), jsonb_build_array(n % 180, 0)))))),
    CASE WHEN open THEN '{}'::jsonb ELSE jsonb_build_object('type', 'RasterResults', 'name', 'Task ' || n,
        'uri', jsonb_build_object('uri', 'https://example.org/' || n || '.tif', 'etag', md5(n::text)),
        'bands', jsonb_build_array(jsonb_build_object('name', 'Trend', 'no_data_value', -32768, 'metadata', jsonb_build_object('year', 2001 + n % 15)))) END,
    CASE WHEN n % 3 = 0 THEN '11000000-0000-4000-8000-000000000001'::uuid ELSE :'script'::uuid END,
    CASE WHEN n % 11 = 0 THEN ('50000000-0000-4000-8000-' || lpad(((n / 11 + n / 1000) % 250 + 1)::text, 12, '0'))::uuid
         WHEN (n / 10 + n) % 2 = 0 THEN :'admin'::uuid ELSE :'user'::uuid END, began + interval '2 seconds'
FROM (SELECT n, n % 10 = 0 AND n > :rows - 100000 AS open, timestamp '2026-06-01' - (:rows - n) * interval '5 minutes' AS began
      FROM generate_series(1, :rows) AS n) AS runs;
INSERT INTO execution_run (execution_id, script_version_id, scope, attempt, started_at)
SELECT e.id, v.id, 'process:elsewhere', 1, e.start_date FROM execution e JOIN script_version v ON v.script_id = :'script'::uuid
WHERE e.status <> 'RUNNING' AND right(e.id::text, 1) IN ('1', '3', '5', '7', '9');
INSERT INTO execution_flag (execution_id, deleted, is_plugin_execution) SELECT execution_id, FALSE, TRUE FROM execution_run;
INSERT INTO execution_log (text, level, register_date, execution_id)
SELECT 'tile ' || k || ' of ' || :lines || ' processed, checksum ' || md5((n * k)::text), CASE WHEN k % 5 = 0 THEN 'WARNING' ELSE 'INFO' END,
    timestamp '2026-06-01' - (:rows - n) * interval '5 minutes' + k * interval '7 seconds',
    ('30000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid
FROM generate_series(1, :lines) AS k, generate_series(1, :rows) AS n;
COMMIT;
VACUUM ANALYZE;
