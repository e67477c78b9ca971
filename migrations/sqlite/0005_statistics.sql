-- Statistics: roll-ups of days that are over, and what runs printed.

-- Runs that have ended, by the days on which they ended and began. Nothing has written the table of 0002, which knew only one of
-- the two. A day is counted as a whole and anew, so rows have no key; days are midnights. seconds is the sum of the durations.
DROP TABLE execution_daily;
CREATE TABLE execution_daily (
    ended TEXT NOT NULL,
    started TEXT NOT NULL,
    script_id TEXT REFERENCES script (id) ON DELETE CASCADE,
    user_id TEXT REFERENCES "user" (id) ON DELETE CASCADE,
    status TEXT NOT NULL,
    n INTEGER NOT NULL,
    seconds REAL NOT NULL
) STRICT;
CREATE INDEX execution_daily_ended_idx ON execution_daily (ended);
CREATE INDEX execution_daily_started_idx ON execution_daily (started);
CREATE INDEX execution_daily_script_id_idx ON execution_daily (script_id);
CREATE INDEX execution_daily_user_id_idx ON execution_daily (user_id);

-- Rows of status_log by hour: how many, the sums of three of their counts (for means), and how many runs came to an end.
CREATE TABLE status_hourly (
    hour TEXT NOT NULL PRIMARY KEY,
    n INTEGER NOT NULL,
    pending INTEGER NOT NULL,
    ready INTEGER NOT NULL,
    running INTEGER NOT NULL,
    finished INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    cancelled INTEGER NOT NULL
) STRICT;

-- How far the two tables above reach: days before `until` stand in them, later ones are counted from the rows themselves.
CREATE TABLE roll_up (
    name TEXT NOT NULL PRIMARY KEY,
    until TEXT NOT NULL,
    checked_at TEXT
) STRICT;

-- The last lines that the unit of an execution printed.
CREATE TABLE execution_output (
    execution_id TEXT NOT NULL PRIMARY KEY REFERENCES execution (id) ON DELETE CASCADE,
    text TEXT NOT NULL,
    collected_at TEXT NOT NULL
) STRICT;
