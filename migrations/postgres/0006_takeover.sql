-- Taking over a database of the existing server.

-- What must be remembered of it: kind is table, column, index (of its schema, and missing there), revision (accepted by hand), or
-- left. On such a database it is made before everything else, since what it remembers is done before.
CREATE TABLE IF NOT EXISTS takeover (
    kind text NOT NULL,
    name text NOT NULL,
    at timestamp NOT NULL,
    PRIMARY KEY (kind, name)
);

-- Executions from before the triggers of 0002. In any one moment what is kept differs from what there is by them, whatever is written
-- meanwhile, since the triggers write in the transactions of the changes: so the difference is added, and nobody has to wait.
INSERT INTO execution_count (status, shard, n)
SELECT status, 0, SUM(n) FROM (
    SELECT status, -n AS n FROM execution_count
    UNION ALL SELECT COALESCE(status, ''), count(*) FROM execution GROUP BY 1
) AS c GROUP BY status HAVING SUM(n) <> 0
ON CONFLICT (status, shard) DO UPDATE SET n = execution_count.n + EXCLUDED.n;
