INSERT INTO execution_daily (ended, started, script_id, user_id, status, n, seconds) VALUES
    ('2026-01-10 00:00:00', '2026-01-10 00:00:00', '5b000000-0000-4000-8000-000000000002', '5a000000-0000-4000-8000-000000000003', 'FINISHED', 1, 2400.75),
    ('2026-01-10 00:00:00', '2026-01-09 00:00:00', '5b000000-0000-4000-8000-000000000001', '5a000000-0000-4000-8000-000000000003', 'FAILED', 1, 1800);

INSERT INTO status_hourly (hour, n, pending, ready, running, finished, failed, cancelled) VALUES
    ('2026-01-10 04:00:00', 3, 4, 1, 2, 1, 0, 0);

INSERT INTO roll_up (name, until, checked_at) VALUES ('statistics', '2026-01-11 00:00:00', '2026-01-11 01:00:00');

INSERT INTO execution_output (execution_id, text, collected_at) VALUES
    ('5c000000-0000-4000-8000-000000000004', 'tile 1 of 4', '2026-01-10 04:40:00');
