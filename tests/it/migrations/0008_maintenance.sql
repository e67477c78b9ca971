INSERT INTO maintenance (id, message, begun_by, begun_at) VALUES
    (1, 'Disks are exchanged until noon.', '5a000000-0000-4000-8000-000000000001', '2026-01-11 06:00:00');
