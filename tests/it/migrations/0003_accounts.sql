UPDATE "user" SET tokens_not_before = '2026-01-11 08:00:01', is_plugin_user = TRUE, is_in_mailing_list = FALSE WHERE id = '5a000000-0000-4000-8000-000000000003';
INSERT INTO unknown_login (email_sha256, failed_count, locked_until, last_at) VALUES
    ('973dfe463ec85785f5f95af5ba3906eedb2d931c24e69824a89ea65dba4e813b', 5, '2026-11-24 03:15:00', '2026-11-24 03:00:00');
