-- A person on the way to Google and back: one each. The state is kept as a hash in hex, the verifier sealed.
CREATE TABLE oauth_state (
    user_id TEXT NOT NULL PRIMARY KEY REFERENCES "user" (id) ON DELETE CASCADE,
    state_sha256 TEXT NOT NULL UNIQUE,
    verifier TEXT NOT NULL,
    client_type TEXT,
    expires_at TEXT NOT NULL
) STRICT;

-- What a run was lent of somebody's credentials: whose (user, default), and what was made for it, sealed.
CREATE TABLE execution_loan (
    execution_id TEXT NOT NULL PRIMARY KEY REFERENCES execution (id) ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    source TEXT NOT NULL,
    sealed TEXT NOT NULL
) STRICT;
