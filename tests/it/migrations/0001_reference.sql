-- Sample rows for the tables of 0001_reference.sql, in SQL that both databases take: accounts of all roles, scripts, executions, logs.
-- Every account's password is Sample-Passw0rd! and no id or name meets one of a recorded database, so the rows also fit on top of it.

INSERT INTO "user" (id, email, password, created_at, updated_at, role, name, country, institution, email_verified, last_login_at, failed_login_count, locked_until, max_concurrent_executions, gee_license_acknowledged, email_subscription_news) VALUES
    ('5a000000-0000-4000-8000-000000000001', 'sample1@example.org', 'scrypt:32768:8:1$sampleSalt012345$4a76617baf2ff11eb4513d8ea490786db1d733747212fc78757b5b7f3ee3f30e6ed86735175010bc3fd17f120f3f8ba37e79ac0187033f134b5fc01503ed8614', '2026-01-01 12:00:00', '2026-01-01 12:00:00.5', 'SUPERADMIN', 'Sample Superadmin', 'Italy', NULL, TRUE, '2026-01-10 08:00:00', 0, NULL, NULL, TRUE, FALSE),
    ('5a000000-0000-4000-8000-000000000002', 'sample2@example.org', 'scrypt:32768:8:1$sampleSalt012345$4a76617baf2ff11eb4513d8ea490786db1d733747212fc78757b5b7f3ee3f30e6ed86735175010bc3fd17f120f3f8ba37e79ac0187033f134b5fc01503ed8614', '2026-01-02 12:00:00', '2026-01-02 12:00:00.5', 'ADMIN', 'Sample Admin', 'Italy', NULL, TRUE, NULL, 0, NULL, NULL, NULL, FALSE),
    ('5a000000-0000-4000-8000-000000000003', 'sample3@example.org', 'scrypt:32768:8:1$sampleSalt012345$4a76617baf2ff11eb4513d8ea490786db1d733747212fc78757b5b7f3ee3f30e6ed86735175010bc3fd17f120f3f8ba37e79ac0187033f134b5fc01503ed8614', '2026-01-03 12:00:00', '2026-01-03 12:00:00.5', 'USER', 'Sample O''Brien, Ünïcode', 'Italy', NULL, TRUE, '2026-01-11 08:00:00.123456', 0, NULL, 5, FALSE, TRUE),
    ('5a000000-0000-4000-8000-000000000004', 'sample4@example.org', 'scrypt:32768:8:1$sampleSalt012345$4a76617baf2ff11eb4513d8ea490786db1d733747212fc78757b5b7f3ee3f30e6ed86735175010bc3fd17f120f3f8ba37e79ac0187033f134b5fc01503ed8614', '2026-01-04 12:00:00', '2026-01-04 12:00:00.5', 'USER', 'notset', 'Italy', NULL, FALSE, NULL, 5, '2026-01-12 09:15:00', NULL, NULL, FALSE);

INSERT INTO script (id, name, slug, description, created_at, updated_at, user_id, status, public, restricted, allowed_roles, cpu_reservation, cpu_limit, memory_reservation, memory_limit, environment, environment_version, build_error, compute_type, uses_gee) VALUES
    ('5b000000-0000-4000-8000-000000000001', 'Sample Index', 'sample-index', 'A sample.', '2026-01-05 12:00:01', '2026-01-05 12:00:01', '5a000000-0000-4000-8000-000000000002', 'SUCCESS', TRUE, FALSE, NULL, 100000000, 500000000, 100000000, 1000000000, 'trends.earth-environment', '2.1.17', NULL, 'gee', TRUE),
    ('5b000000-0000-4000-8000-000000000002', 'Sample Restricted', 'sample-restricted', 'A sample.', '2026-01-05 12:00:02', '2026-01-05 12:00:02', '5a000000-0000-4000-8000-000000000002', 'SUCCESS', FALSE, TRUE, '["ADMIN"]', 100000000, 500000000, 100000000, 1000000000, 'trends.earth-environment', '2.1.17', NULL, 'gee', TRUE),
    ('5b000000-0000-4000-8000-000000000003', 'Sample Broken', 'sample-broken', 'A sample.', '2026-01-05 12:00:03', '2026-01-05 12:00:03', '5a000000-0000-4000-8000-000000000003', 'FAIL', FALSE, FALSE, NULL, 100000000, 500000000, 100000000, 1000000000, 'trends.earth-environment', '2.1.17', 'no matching distribution', 'gee', TRUE),
    ('5b000000-0000-4000-8000-000000000004', 'Sample Waiting', 'sample-waiting', 'A sample.', '2026-01-05 12:00:04', '2026-01-05 12:00:04', '5a000000-0000-4000-8000-000000000003', 'PENDING', FALSE, FALSE, NULL, 100000000, 500000000, 100000000, 1000000000, 'trends.earth-environment', '2.1.17', NULL, 'gee', TRUE);

INSERT INTO script_log (text, register_date, script_id) VALUES
    ('Step 1', '2026-01-05 12:01:00', '5b000000-0000-4000-8000-000000000001'),
    ('Step 2', '2026-01-05 12:01:01.25', '5b000000-0000-4000-8000-000000000001'),
    ('Build failed', '2026-01-05 12:02:00', '5b000000-0000-4000-8000-000000000003');

INSERT INTO execution (id, start_date, end_date, status, progress, params, results, script_id, user_id, queued_at, dispatched_at) VALUES
    ('5c000000-0000-4000-8000-000000000001', '2026-01-10 01:00:00', NULL, 'PENDING', 0, '{"task_name": "sample 1", "year_initial": 2001, "big": 12345678901234567890, "crs": "GEOGCS[\"WGS 84\"]"}', '{}', '5b000000-0000-4000-8000-000000000001', '5a000000-0000-4000-8000-000000000003', '2026-01-10 01:00:00', NULL),
    ('5c000000-0000-4000-8000-000000000002', '2026-01-10 02:00:00', NULL, 'READY', 0, '{"task_name": "sample 2", "year_initial": 2001, "big": 12345678901234567890, "crs": "GEOGCS[\"WGS 84\"]"}', '{}', '5b000000-0000-4000-8000-000000000002', '5a000000-0000-4000-8000-000000000003', NULL, '2026-01-10 02:00:02'),
    ('5c000000-0000-4000-8000-000000000003', '2026-01-10 03:00:00', NULL, 'RUNNING', 40, '{"task_name": "sample 3", "year_initial": 2001, "big": 12345678901234567890, "crs": "GEOGCS[\"WGS 84\"]"}', '{}', '5b000000-0000-4000-8000-000000000001', '5a000000-0000-4000-8000-000000000003', NULL, '2026-01-10 03:00:02'),
    ('5c000000-0000-4000-8000-000000000004', '2026-01-10 04:00:00', '2026-01-10 04:40:00.75', 'FINISHED', 100, '{"task_name": "sample 4", "year_initial": 2001, "big": 12345678901234567890, "crs": "GEOGCS[\"WGS 84\"]"}', '{"type": "CloudResults", "name": "sample", "bands": [{"name": "b1", "no_data_value": -32768}]}', '5b000000-0000-4000-8000-000000000002', '5a000000-0000-4000-8000-000000000003', NULL, '2026-01-10 04:00:02'),
    ('5c000000-0000-4000-8000-000000000005', '2026-01-10 05:00:00', '2026-01-10 05:30:00', 'FAILED', 70, '{"task_name": "sample 5", "year_initial": 2001, "big": 12345678901234567890, "crs": "GEOGCS[\"WGS 84\"]"}', NULL, '5b000000-0000-4000-8000-000000000001', '5a000000-0000-4000-8000-000000000003', NULL, '2026-01-10 05:00:02'),
    ('5c000000-0000-4000-8000-000000000006', '2026-01-10 06:00:00', NULL, 'CANCELLING', 10, '{"task_name": "sample 6", "year_initial": 2001, "big": 12345678901234567890, "crs": "GEOGCS[\"WGS 84\"]"}', '{}', '5b000000-0000-4000-8000-000000000002', '5a000000-0000-4000-8000-000000000004', NULL, '2026-01-10 06:00:02'),
    ('5c000000-0000-4000-8000-000000000007', '2026-01-10 07:00:00', '2026-01-10 07:05:00', 'CANCELLED', 0, '{"task_name": "sample 7", "year_initial": 2001, "big": 12345678901234567890, "crs": "GEOGCS[\"WGS 84\"]"}', '{}', '5b000000-0000-4000-8000-000000000001', '5a000000-0000-4000-8000-000000000004', NULL, NULL);

INSERT INTO execution_log (text, level, register_date, execution_id) VALUES
    ('first line', 'DEBUG', '2026-01-10 03:00:03', '5c000000-0000-4000-8000-000000000003'),
    ('tile 12 of 977: 50 % – ünïcode', 'INFO', '2026-01-10 03:00:04.5', '5c000000-0000-4000-8000-000000000003'),
    ('', 'WARNING', '2026-01-10 03:00:05', '5c000000-0000-4000-8000-000000000003'),
    ('done', 'INFO', '2026-01-10 04:39:59.999999', '5c000000-0000-4000-8000-000000000004'),
    ('Traceback (most recent call last):', 'ERROR', '2026-01-10 05:29:59', '5c000000-0000-4000-8000-000000000005');

INSERT INTO status_log ("timestamp", executions_pending, executions_ready, executions_running, executions_finished, executions_failed, executions_cancelled, status_from, status_to, execution_id) VALUES
    ('2026-01-10 04:00:03', 1, 1, 2, 0, 0, 0, 'READY', 'RUNNING', '5c000000-0000-4000-8000-000000000004'),
    ('2026-01-10 04:40:00.75', 1, 1, 1, 1, 0, 0, 'RUNNING', 'FINISHED', '5c000000-0000-4000-8000-000000000004');

INSERT INTO refresh_tokens (id, user_id, token, expires_at, created_at, is_revoked, device_info, last_used_at) VALUES
    ('5d000000-0000-4000-8000-000000000001', '5a000000-0000-4000-8000-000000000003', 'sample-refresh-token-1', '2026-02-10 08:00:00', '2026-01-11 08:00:00', FALSE, 'QGIS', '2026-01-11 09:00:00'),
    ('5d000000-0000-4000-8000-000000000002', '5a000000-0000-4000-8000-000000000003', 'sample-refresh-token-2', '2026-02-09 08:00:00', '2026-01-10 08:00:00', TRUE, NULL, NULL);

INSERT INTO password_reset_token (id, token, user_id, created_at, expires_at, used_at) VALUES
    ('5d000000-0000-4000-8000-000000000003', 'sample-reset-token', '5a000000-0000-4000-8000-000000000004', '2026-01-12 09:00:00', '2026-01-12 10:00:00', NULL);

INSERT INTO service_client (id, name, client_id, client_secret_hash, secret_prefix, scopes, user_id, created_at) VALUES
    ('5d000000-0000-4000-8000-000000000004', 'sample client', 'sample-client-id', 'scrypt:32768:8:1$sampleSalt543210$810058b8ff92f2aaeeb1c7a75442161a0150dbcd42969a9d0de042d2869cc186740df086f6033a6ec13db7d499ca6ac7745094891fa06ea34aeae4dc5e80f801', 'sample-c', 'execution:read execution:write', '5a000000-0000-4000-8000-000000000003', '2026-01-11 10:00:00');

INSERT INTO user_client_metadata (id, user_id, client_type, client_version, os, qgis_version, language, extra_metadata, last_seen_at, created_at) VALUES
    ('5d000000-0000-4000-8000-000000000005', '5a000000-0000-4000-8000-000000000003', 'qgis_plugin', '2.2.4', 'Linux', '3.34', 'en', '{"dpi": 96}', '2026-01-11 10:00:00', '2026-01-11 10:00:00');

INSERT INTO rate_limit_event (id, occurred_at, user_id, rate_limit_type, endpoint, method, limit_count, limit_key, ip_address) VALUES
    ('5d000000-0000-4000-8000-000000000006', '2026-01-11 11:00:00', NULL, 'AUTH', '/auth', 'POST', 5, 'ip:192.0.2.7', '192.0.2.7');

INSERT INTO user_deletion_audit (id, deleted_at, deletion_reason, email_hash, total_executions, email_verified, role, deleted_by_admin_id) VALUES
    ('5d000000-0000-4000-8000-000000000007', '2026-01-12 00:00:00', 'user_request', '623465a03597bc5e82ec2293361902ff9f0f6b90ae3aeb5e1740570cdc3adfb3', 3, TRUE, 'USER', NULL);

INSERT INTO news_item (id, title, message, created_at, updated_at, publish_at, target_platforms, is_active, priority, news_type, created_by_id) VALUES
    ('5d000000-0000-4000-8000-000000000008', 'Sample news', 'A message.', '2026-01-08 00:00:00', '2026-01-08 00:00:00', '2026-01-08 00:00:00', 'app,webapp,api-ui', TRUE, 1, 'announcement', '5a000000-0000-4000-8000-000000000001');
INSERT INTO news_item_translation (id, news_item_id, language_code, title, message, is_machine_translated, created_at, updated_at) VALUES
    ('5d000000-0000-4000-8000-000000000009', '5d000000-0000-4000-8000-000000000008', 'es', 'Noticia', 'Un mensaje.', TRUE, '2026-01-08 00:00:00', '2026-01-08 00:00:00');

INSERT INTO bulk_email_recipient_list (id, name, filter_criteria, created_by_id, created_at) VALUES
    ('5d000000-0000-4000-8000-000000000010', 'sample list', '{"country": ["Italy"]}', '5a000000-0000-4000-8000-000000000001', '2026-01-09 00:00:00');
INSERT INTO bulk_email (id, name, subject, html_content, recipient_list_id, created_by_id, created_at, fields_data) VALUES
    ('5d000000-0000-4000-8000-000000000011', 'sample mail', 'Hello', '<p>Hello</p>', '5d000000-0000-4000-8000-000000000010', '5a000000-0000-4000-8000-000000000001', '2026-01-09 00:00:00', '{}');
INSERT INTO bulk_email_verification_token (id, token, user_id, bulk_email_id, created_at, expires_at) VALUES
    ('5d000000-0000-4000-8000-000000000012', '123456', '5a000000-0000-4000-8000-000000000001', '5d000000-0000-4000-8000-000000000011', '2026-01-09 00:00:00', '2026-01-09 00:10:00');

INSERT INTO admin_boundary_0_metadata ("boundaryISO", "releaseType", "boundaryName", "admUnitCount", "meanAreaSqKM") VALUES ('ZZ0', 'gbOpen', 'Sampleland', 1, 2.5);
INSERT INTO admin_boundary_1_metadata ("boundaryISO", "releaseType", "boundaryName", "admUnitCount") VALUES ('ZZ0', 'gbOpen', 'Sampleland', 1);
INSERT INTO admin_boundary_1_unit ("shapeID", "releaseType", "boundaryISO", "shapeName") VALUES ('ZZ0-1', 'gbOpen', 'ZZ0', 'Sample Province');
