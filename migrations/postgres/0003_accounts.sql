-- Accounts: addresses are looked up in any case, and addresses that nobody has fail and lock like those that somebody has.

-- Tokens issued before tokens_not_before are dead. The two flags are empty unless somebody set them.
ALTER TABLE "user"
    ADD COLUMN IF NOT EXISTS tokens_not_before timestamp,
    ADD COLUMN IF NOT EXISTS is_plugin_user boolean,
    ADD COLUMN IF NOT EXISTS is_in_mailing_list boolean;

CREATE INDEX IF NOT EXISTS te_user_email_lower ON "user" (lower(email));

-- Failed sign-ins of an address that no account has, so that an answer tells nobody which addresses are known. The address is
-- kept as a hash. A row is of no use a day after last_at.
CREATE TABLE unknown_login (
    email_sha256 text NOT NULL PRIMARY KEY,
    failed_count integer NOT NULL,
    locked_until timestamp,
    last_at timestamp NOT NULL
);
CREATE INDEX unknown_login_last_at_idx ON unknown_login (last_at);
