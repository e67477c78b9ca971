-- Accounts: addresses are looked up in any case, and addresses that nobody has fail and lock like those that somebody has.

CREATE INDEX IF NOT EXISTS te_user_email_lower ON "user" (lower(email));

-- Failed sign-ins of an address that no account has, so that an answer tells nobody which addresses are known. The address is
-- kept as a hash. A row is of no use a day after last_at.
CREATE TABLE unknown_login (
    email_sha256 TEXT NOT NULL PRIMARY KEY,
    failed_count INTEGER NOT NULL,
    locked_until TEXT,
    last_at TEXT NOT NULL
) STRICT;
CREATE INDEX unknown_login_last_at_idx ON unknown_login (last_at);
