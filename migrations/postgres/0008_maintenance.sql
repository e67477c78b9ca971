-- The whole system at rest: while there is a row, no run and no build is taken on or begun. There is one at most.
CREATE TABLE maintenance (
    id integer NOT NULL PRIMARY KEY CHECK (id = 1),
    message text,
    begun_by uuid REFERENCES "user" (id) ON DELETE SET NULL,
    begun_at timestamp NOT NULL
);
CREATE INDEX maintenance_begun_by_idx ON maintenance (begun_by) WHERE begun_by IS NOT NULL;
