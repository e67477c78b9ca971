INSERT INTO unknown_login (email_sha256, failed_count, locked_until, last_at) VALUES
    ('973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b', 5, '2026-11-24 03:15:00', '2026-11-24 03:00:00');
