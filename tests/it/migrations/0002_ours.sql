-- Sample rows for the tables of 0002_ours.sql, in SQL that both databases take; they stand on the sample rows of 0001_reference.sql.
-- Of its executions 2, 3 and 4 become ours, the others stay the other server's.

INSERT INTO worker (id, node_id, boot_id, scopes, started_at, seen_at) VALUES
    ('01976000-0000-7000-8000-000000000001', 'sample-node', 'sample-boot', '["process:sample-node"]', '2026-01-10 00:00:00', '2026-01-10 03:00:10');

INSERT INTO job (id, kind, subject_id, payload, state, priority, scope, run_at, attempts, lease_token, lease_until, worker_id, unique_key, last_error, created_at, finished_at) VALUES
    ('01976000-0000-7000-8000-000000000002', 'run_execution', '5c000000-0000-4000-8000-000000000003', '{"attempt": 1}', 'running', 0, 'process:sample-node', '2026-01-10 03:00:00', 1, '01976000-0000-7000-8000-000000000003', '2026-01-10 03:00:40', '01976000-0000-7000-8000-000000000001', 'run_execution:5c000000-0000-4000-8000-000000000003', NULL, '2026-01-10 03:00:00', NULL),
    ('01976000-0000-7000-8000-000000000004', 'send_mail', '01976000-0000-7000-8000-000000000011', '{}', 'done', 10, NULL, '2026-01-10 04:40:01', 2, NULL, NULL, NULL, NULL, 'connection refused', '2026-01-10 04:40:01', '2026-01-10 04:41:00');
INSERT INTO job (id, kind, state, run_at, unique_key, created_at) VALUES
    ('01976000-0000-7000-8000-000000000005', 'sweep', 'waiting', '2026-01-11 00:00:00', 'sweep:2026-01-11', '2026-01-10 00:00:00');

INSERT INTO script_version (id, script_id, number, digest, archive_key, requirements_digest, config, params_schema, status, build_error, created_by, created_at, built_at) VALUES
    ('01976000-0000-7000-8000-000000000006', '5b000000-0000-4000-8000-000000000001', 1, 'sha256:d9baf236e10ad5bd745fb8001fe97479eb06de761f4a692da31410c2365fe910', 'scripts/5b000000-0000-4000-8000-000000000001/d9baf236e10ad5bd745fb8001fe97479eb06de761f4a692da31410c2365fe910.tar.gz', 'sha256:10762e1094dbeeaba59c58cec8a91b71b99f2063f7f1f20e5c0e3e635f42b2df', '{"memory_limit": 1000000000, "timeout_s": 259200, "network": "https"}', '{"type": "object", "properties": {"year_initial": {"type": "integer"}}}', 'SUCCESS', NULL, '5a000000-0000-4000-8000-000000000002', '2026-01-05 12:00:00', '2026-01-05 12:03:00'),
    ('01976000-0000-7000-8000-000000000007', '5b000000-0000-4000-8000-000000000001', 2, 'sha256:f12584295f96d08290f2fda7368dd6a67b958b5893918604d3327744f37286f3', 'scripts/5b000000-0000-4000-8000-000000000001/f12584295f96d08290f2fda7368dd6a67b958b5893918604d3327744f37286f3.tar.gz', NULL, '{}', NULL, 'FAIL', 'no matching distribution', '5a000000-0000-4000-8000-000000000002', '2026-01-06 12:00:00', NULL);

INSERT INTO execution_run (execution_id, script_version_id, scope, attempt, waiting_since, started_at, deadline_at, journal_offset, log_bytes, failure, params_key, results_key, rerun_of, callback_url) VALUES
    ('5c000000-0000-4000-8000-000000000002', '01976000-0000-7000-8000-000000000006', 'process:sample-node', 1, '2026-01-10 02:00:00', NULL, NULL, 0, 0, NULL, NULL, NULL, '5c000000-0000-4000-8000-000000000005', NULL),
    ('5c000000-0000-4000-8000-000000000003', '01976000-0000-7000-8000-000000000006', 'process:sample-node', 1, '2026-01-10 03:00:00', '2026-01-10 03:00:02', '2026-01-13 03:00:02', 5000000000, 40, NULL, NULL, NULL, NULL, NULL),
    ('5c000000-0000-4000-8000-000000000004', '01976000-0000-7000-8000-000000000006', 'process:sample-node', 1, '2026-01-10 04:00:00', '2026-01-10 04:00:02', '2026-01-13 04:00:02', 912, 4, '{"class": "script_error", "exit_code": 1, "signal": null, "message": "A sample.", "retryable": false}', 'params/5c000000-0000-4000-8000-000000000004.json.gz', 'results/5c000000-0000-4000-8000-000000000004.json', NULL, 'https://hooks.example.org/te');

INSERT INTO execution_flag (execution_id, deleted, is_plugin_execution) VALUES
    ('5c000000-0000-4000-8000-000000000004', FALSE, TRUE),
    ('5c000000-0000-4000-8000-000000000007', TRUE, NULL);

INSERT INTO execution_credential (execution_id, attempt, secret_sha256, expires_at) VALUES
    ('5c000000-0000-4000-8000-000000000003', 1, '85dae153da593e9533de5db0f9fa879fd4f4fbfb6020e98c03e61d870512c168', NULL),
    ('5c000000-0000-4000-8000-000000000004', 1, '8e503b57f6325dd8c552ec154a4359ddcc0c36232dcc8a271dad8940cfcbeba0', '2026-01-10 04:50:00.75');

INSERT INTO execution_event (execution_id, at, status_from, status_to, actor, cause, message) VALUES
    ('5c000000-0000-4000-8000-000000000004', '2026-01-10 04:00:00', NULL, 'PENDING', 'user:5a000000-0000-4000-8000-000000000003', 'submitted', NULL),
    ('5c000000-0000-4000-8000-000000000004', '2026-01-10 04:00:02', 'PENDING', 'READY', 'worker:01976000-0000-7000-8000-000000000001', 'dispatched', 'attempt 1 on process:sample-node');

INSERT INTO execution_daily (day, script_id, user_id, status, n, seconds) VALUES
    ('2026-01-10', '5b000000-0000-4000-8000-000000000002', '5a000000-0000-4000-8000-000000000003', 'FINISHED', 1, 2400.75),
    ('2026-01-10', '5b000000-0000-4000-8000-000000000001', '5a000000-0000-4000-8000-000000000003', 'FAILED', 1, 1800);

INSERT INTO idempotency_key (user_id, key, fingerprint, execution_id, created_at) VALUES
    ('5a000000-0000-4000-8000-000000000003', 'sample-key', '3aa140199b353d1d92cba3cfb23253d0640a3b6bd331b1f8bea8229f6ca75a6f', '5c000000-0000-4000-8000-000000000004', '2026-01-10 04:00:00'),
    ('5a000000-0000-4000-8000-000000000003', 'plugin:91025350a8fa7308c6b38323aefbb7663eac1fff098bbe1c762c3e7e6555e090', '91025350a8fa7308c6b38323aefbb7663eac1fff098bbe1c762c3e7e6555e090', '5c000000-0000-4000-8000-000000000003', '2026-01-10 03:00:00');

INSERT INTO webhook_delivery (id, execution_id, event, url, attempts, next_at, delivered_at, last_status) VALUES
    ('01976000-0000-7000-8000-000000000008', '5c000000-0000-4000-8000-000000000004', 'execution.finished', 'https://hooks.example.org/te', 1, NULL, '2026-01-10 04:40:02', 204),
    ('01976000-0000-7000-8000-000000000009', '5c000000-0000-4000-8000-000000000004', 'execution.finished', 'https://hooks.example.org/down', 3, '2026-01-10 05:00:00', NULL, 503);

INSERT INTO script_secret (script_id, name, ciphertext, granted_by, created_at) VALUES
    ('5b000000-0000-4000-8000-000000000001', 'BUCKET_KEY', 'gAAAAABsample', '5a000000-0000-4000-8000-000000000001', '2026-01-05 13:00:00');

INSERT INTO mail_outbox (id, subject_id, event, recipient, subject, text, html, attempts, next_at, sent_at, last_error, created_at) VALUES
    ('01976000-0000-7000-8000-000000000011', '5c000000-0000-4000-8000-000000000004', 'execution.finished', 'sample3@example.org', '[trends.earth] Execution finished', 'Your task has ended.', '<p>Your task has ended.</p>', 2, NULL, '2026-01-10 04:41:00', 'connection refused', '2026-01-10 04:40:00.75'),
    ('01976000-0000-7000-8000-000000000012', '5a000000-0000-4000-8000-000000000004', 'user.created', 'sample4@example.org', '[trends.earth] User created', 'Welcome.', NULL, 0, '2026-01-04 12:00:00', NULL, NULL, '2026-01-04 12:00:00');

INSERT INTO token_revocation (jti, expires_at) VALUES ('01976000-0000-7000-8000-000000000013', '2026-01-11 09:00:00');

INSERT INTO audit_event (at, actor_id, action, target_type, target_id, ip_address, request_id, detail) VALUES
    ('2026-01-12 09:00:00', NULL, 'auth.failed', 'user', '5a000000-0000-4000-8000-000000000004', '192.0.2.0', 'sample-request-1', NULL),
    ('2024-01-01 00:00:00', '5a000000-0000-4000-8000-000000000001', 'user.role_changed', 'user', '5a000000-0000-4000-8000-000000000002', '192.0.2.0', 'sample-request-2', '{"role": {"from": "USER", "to": "ADMIN"}, "name": "s***"}');

INSERT INTO engine_state (scope, snapshot, collected_at) VALUES
    ('process:sample-node', '{"units": 1, "cores": 2}', '2026-01-10 03:00:05');
