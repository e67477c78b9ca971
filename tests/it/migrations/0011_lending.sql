INSERT INTO oauth_state (user_id, state_sha256, verifier, client_type, expires_at) VALUES
    ('5a000000-0000-4000-8000-000000000003', '3ffb62fb81d37341d10d3b6eb6bbdc6ac0c59dd5e35d4b7a6a8bb06a3e0ec3a5', 'v1:c2VhbGVk', 'qgis_plugin', '2026-01-10 04:10:00.5');
INSERT INTO execution_loan (execution_id, attempt, source, sealed) VALUES
    ('5c000000-0000-4000-8000-000000000003', 1, 'user', 'v1:c2VhbGVk');
