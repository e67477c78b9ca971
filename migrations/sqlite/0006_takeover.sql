-- Taking over a database of the existing server, which is one of PostgreSQL: here the table stays empty.
CREATE TABLE takeover (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    at TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT;
