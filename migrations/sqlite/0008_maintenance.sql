-- The whole system at rest: while there is a row, no run and no build is taken on or begun. There is one at most.
CREATE TABLE maintenance (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    message TEXT,
    begun_by TEXT REFERENCES "user" (id) ON DELETE SET NULL,
    begun_at TEXT NOT NULL
) STRICT;
CREATE INDEX maintenance_begun_by_idx ON maintenance (begun_by) WHERE begun_by IS NOT NULL;
