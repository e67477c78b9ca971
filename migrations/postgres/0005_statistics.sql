-- Statistics: roll-ups of days that are over, and what runs printed.

-- Runs that have ended, by the days on which they ended and began. Nothing has written the table of 0002, which knew only one of
-- the two. A day is counted as a whole and anew, so rows have no key; days are midnights. seconds is the sum of the durations.
DROP TABLE execution_daily;
CREATE TABLE execution_daily (
    ended timestamp NOT NULL,
    started timestamp NOT NULL,
    script_id uuid REFERENCES script (id) ON DELETE CASCADE,
    user_id uuid REFERENCES "user" (id) ON DELETE CASCADE,
    status varchar(20) NOT NULL,
    n bigint NOT NULL,
    seconds double precision NOT NULL
);
CREATE INDEX execution_daily_ended_idx ON execution_daily (ended);
CREATE INDEX execution_daily_started_idx ON execution_daily (started);
CREATE INDEX execution_daily_script_id_idx ON execution_daily (script_id);
CREATE INDEX execution_daily_user_id_idx ON execution_daily (user_id);

-- Rows of status_log by hour: how many, the sums of three of their counts (for means), and how many runs came to an end.
CREATE TABLE status_hourly (
    hour timestamp NOT NULL PRIMARY KEY,
    n bigint NOT NULL,
    pending bigint NOT NULL,
    ready bigint NOT NULL,
    running bigint NOT NULL,
    finished bigint NOT NULL,
    failed bigint NOT NULL,
    cancelled bigint NOT NULL
);

-- How far the two tables above reach: days before `until` stand in them, later ones are counted from the rows themselves.
CREATE TABLE roll_up (
    name text NOT NULL PRIMARY KEY,
    until timestamp NOT NULL,
    checked_at timestamp
);

-- The last lines that the unit of an execution printed.
CREATE TABLE execution_output (
    execution_id uuid NOT NULL PRIMARY KEY REFERENCES execution (id) ON DELETE CASCADE,
    text text NOT NULL,
    collected_at timestamp NOT NULL
);
