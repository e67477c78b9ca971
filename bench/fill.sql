-- Executions and log lines as a server has them after years: psql -v rows=100000 -v lines=10 -v script=… -v user=… -v admin=…
-- Ids count: execution n is 30000000-0000-4000-8000-<n with twelve digits>, from 1. Two of three belong to the user. The
-- newest 100 are RUNNING, of the others one in ten FAILED.
BEGIN;
INSERT INTO execution (id, start_date, end_date, status, progress, params, results, script_id, user_id, dispatched_at)
SELECT ('30000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, began,
    CASE WHEN open THEN NULL ELSE began + (n % 3000) * interval '1 second' END,
    CASE WHEN open THEN 'RUNNING' WHEN n % 10 = 0 THEN 'FAILED' ELSE 'FINISHED' END,
    CASE WHEN open THEN n % 100 ELSE 100 END,
    jsonb_build_object('task_name', 'Task ' || n, 'year_initial', 2001 + n % 15, 'year_final', 2020,
        'geojsons', jsonb_build_array(jsonb_build_object('type', 'Polygon', 'coordinates',
            jsonb_build_array(jsonb_build_array(jsonb_build_array(n % 180, 0), jsonb_build_array(n % 180, 1), jsonb_build_array(n % 179, 1), jsonb_build_array(n % 180, 0)))))),
    CASE WHEN open THEN '{}'::jsonb ELSE jsonb_build_object('type', 'RasterResults', 'name', 'Task ' || n,
        'uri', jsonb_build_object('uri', 'https://example.org/' || n || '.tif', 'etag', md5(n::text)),
        'bands', jsonb_build_array(jsonb_build_object('name', 'Trend', 'no_data_value', -32768, 'metadata', jsonb_build_object('year', 2001 + n % 15)))) END,
    :'script'::uuid, CASE WHEN n % 3 = 0 THEN :'admin'::uuid ELSE :'user'::uuid END, began + interval '2 seconds'
FROM (SELECT n, n > :rows - 100 AS open, timestamp '2026-06-01' - (:rows - n) * interval '5 minutes' AS began
      FROM generate_series(1, :rows) AS n) AS runs;
INSERT INTO execution_log (text, level, register_date, execution_id)
SELECT 'tile ' || k || ' of ' || :lines || ' processed, checksum ' || md5((n * k)::text), CASE WHEN k % 5 = 0 THEN 'WARNING' ELSE 'INFO' END,
    timestamp '2026-06-01' - (:rows - n) * interval '5 minutes' + k * interval '7 seconds',
    ('30000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid
FROM generate_series(1, :lines) AS k, generate_series(1, :rows) AS n;
-- The script runs as if it were built: nobody works here.
UPDATE script SET status = 'SUCCESS', public = TRUE;
UPDATE script_version SET status = 'SUCCESS';
DELETE FROM job;
COMMIT;
VACUUM ANALYZE;
