-- A person on the way to Google and back: one each. The state is kept as a hash in hex, the verifier sealed.
CREATE TABLE oauth_state (
    user_id uuid NOT NULL PRIMARY KEY REFERENCES "user" (id) ON DELETE CASCADE,
    state_sha256 text NOT NULL UNIQUE,
    verifier text NOT NULL,
    client_type text,
    expires_at timestamp NOT NULL
);

-- What a run was lent of somebody's credentials: whose (user, default), and what was made for it, sealed.
CREATE TABLE execution_loan (
    execution_id uuid NOT NULL PRIMARY KEY REFERENCES execution (id) ON DELETE CASCADE,
    attempt integer NOT NULL,
    source text NOT NULL,
    sealed text NOT NULL
);
