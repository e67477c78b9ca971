UPDATE script_version SET activated_at = '2026-11-24 03:20:00' WHERE status = 'SUCCESS';
