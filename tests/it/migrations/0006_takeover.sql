INSERT INTO takeover (kind, name, at) VALUES ('column', 'script.restricted', '2026-01-02 03:04:05');
