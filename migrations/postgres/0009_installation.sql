-- The name of this installation: units of engines that other installations use too carry it as a label. One row.
CREATE TABLE installation (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    id uuid NOT NULL
);
