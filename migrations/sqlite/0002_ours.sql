-- What this server adds: indexes on the tables of 0001_reference.sql, tables of its own, nullable columns of "user", and triggers.
-- The same names and columns as on PostgreSQL; uuid, timestamp, date and JSON are TEXT, a boolean is INTEGER 0 or 1.

-- The order of every list of executions. Queries repeat the expression word for word, or the index is not used.
-- Each index has a far day of its own: with one for all, PostgreSQL takes the first for a person's list too, and throws away what others ran.
CREATE INDEX te_execution_order ON execution (COALESCE(end_date, '9999-12-31') DESC, start_date DESC, id);
CREATE INDEX te_execution_order_user ON execution (user_id, COALESCE(end_date, '9999-12-30') DESC, start_date DESC, id);
CREATE INDEX te_execution_order_script ON execution (script_id, COALESCE(end_date, '9999-12-29') DESC, start_date DESC, id);
-- What a user has waiting or active. A query has to repeat the condition word for word.
CREATE INDEX te_execution_open ON execution (user_id, status, start_date)
    WHERE status IN ('PENDING', 'READY', 'SUBMITTED', 'RUNNING', 'CANCELLING');
-- A page of log lines after a cursor. progress and results stand in no index, so that reporting them is cheap.
CREATE INDEX te_execution_log_cursor ON execution_log (execution_id, id);
CREATE INDEX te_script_log_cursor ON script_log (script_id, id);

-- A process that takes jobs. A row outlives its process until it is swept, so that leases of an older boot can be recognised.
CREATE TABLE worker (
    id TEXT NOT NULL PRIMARY KEY,
    node_id TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    scopes TEXT NOT NULL,
    started_at TEXT NOT NULL,
    seen_at TEXT NOT NULL,
    draining INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX worker_node_id_idx ON worker (node_id);
CREATE INDEX worker_seen_at_idx ON worker (seen_at);

-- The queue. subject_id names a row of the table that the kind implies, so it has no foreign key; neither has worker_id,
-- because a lease must be readable after its worker's row is gone. unique_key is emptied when a job ends, to be free again.
CREATE TABLE job (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    subject_id TEXT,
    payload TEXT NOT NULL DEFAULT '{}',
    state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    priority INTEGER NOT NULL DEFAULT 0,
    scope TEXT,
    run_at TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    lease_token TEXT,
    lease_until TEXT,
    worker_id TEXT,
    unique_key TEXT UNIQUE,
    last_error TEXT,
    created_at TEXT NOT NULL,
    finished_at TEXT
) STRICT;
CREATE INDEX job_claim_idx ON job (state, kind, priority DESC, run_at);
CREATE INDEX job_lease_idx ON job (lease_until) WHERE state = 'running';
CREATE INDEX job_worker_id_idx ON job (worker_id) WHERE state = 'running';
CREATE INDEX job_subject_id_idx ON job (subject_id, kind);
CREATE INDEX job_finished_at_idx ON job (finished_at) WHERE finished_at IS NOT NULL;

-- What an upload became: archive, environment or image, configuration with its clamped limits. Never changed once built.
-- created_by is emptied rather than cascaded: a version goes with its script, not with the account that uploaded it.
CREATE TABLE script_version (
    id TEXT NOT NULL PRIMARY KEY,
    script_id TEXT NOT NULL REFERENCES script (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    digest TEXT NOT NULL,
    archive_key TEXT NOT NULL,
    requirements_digest TEXT,
    image TEXT,
    image_digest TEXT,
    config TEXT NOT NULL,
    params_schema TEXT,
    status TEXT NOT NULL,
    build_error TEXT,
    created_by TEXT REFERENCES "user" (id) ON DELETE SET NULL,
    created_at TEXT NOT NULL,
    built_at TEXT,
    UNIQUE (script_id, number)
) STRICT;
CREATE INDEX script_version_created_by_idx ON script_version (created_by) WHERE created_by IS NOT NULL;
CREATE INDEX script_version_requirements_digest_idx ON script_version (requirements_digest);

-- An execution is ours exactly if it has a row here. Offsets change with each batch of lines and stand in no index.
-- The version and the execution that was run again may go first: their columns are emptied, the run stays.
CREATE TABLE execution_run (
    execution_id TEXT NOT NULL PRIMARY KEY REFERENCES execution (id) ON DELETE CASCADE,
    script_version_id TEXT REFERENCES script_version (id) ON DELETE SET NULL,
    scope TEXT,
    attempt INTEGER NOT NULL DEFAULT 0,
    waiting_since TEXT,
    started_at TEXT,
    deadline_at TEXT,
    journal_offset INTEGER NOT NULL DEFAULT 0,
    log_bytes INTEGER NOT NULL DEFAULT 0,
    failure TEXT,
    params_key TEXT,
    results_key TEXT,
    rerun_of TEXT REFERENCES execution (id) ON DELETE SET NULL,
    callback_url TEXT
) STRICT;
CREATE INDEX execution_run_script_version_id_idx ON execution_run (script_version_id);
CREATE INDEX execution_run_rerun_of_idx ON execution_run (rerun_of) WHERE rerun_of IS NOT NULL;

-- Marks that also executions of the other server can have. is_plugin_execution is empty where nobody said.
CREATE TABLE execution_flag (
    execution_id TEXT NOT NULL PRIMARY KEY REFERENCES execution (id) ON DELETE CASCADE,
    deleted INTEGER NOT NULL DEFAULT 0,
    is_plugin_execution INTEGER
) STRICT;
CREATE INDEX execution_flag_deleted_idx ON execution_flag (execution_id) WHERE deleted;

-- The one password of a run, as a hash in hex. expires_at is empty until the run has ended.
CREATE TABLE execution_credential (
    execution_id TEXT NOT NULL PRIMARY KEY REFERENCES execution (id) ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    secret_sha256 TEXT NOT NULL,
    expires_at TEXT
) STRICT;
CREATE INDEX execution_credential_expires_at_idx ON execution_credential (expires_at) WHERE expires_at IS NOT NULL;

-- What status_log cannot hold of a change: who, why, and a sentence.
CREATE TABLE execution_event (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    execution_id TEXT NOT NULL REFERENCES execution (id) ON DELETE CASCADE,
    at TEXT NOT NULL,
    status_from TEXT,
    status_to TEXT NOT NULL,
    actor TEXT,
    cause TEXT NOT NULL,
    message TEXT
) STRICT;
CREATE INDEX execution_event_execution_id_idx ON execution_event (execution_id, id);

-- Executions per status. There is one writer, so there is one shard, 0. '' stands for no status.
CREATE TABLE execution_count (
    status TEXT NOT NULL,
    shard INTEGER NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (status, shard)
) STRICT;

-- Runs that ended on a day, for statistics that must not scan executions. seconds is the sum of their durations.
CREATE TABLE execution_daily (
    day TEXT NOT NULL,
    script_id TEXT NOT NULL REFERENCES script (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES "user" (id) ON DELETE CASCADE,
    status TEXT NOT NULL,
    n INTEGER NOT NULL,
    seconds REAL NOT NULL,
    PRIMARY KEY (day, script_id, user_id, status)
) STRICT;
CREATE INDEX execution_daily_script_id_idx ON execution_daily (script_id, day);
CREATE INDEX execution_daily_user_id_idx ON execution_daily (user_id, day);

-- The first submit under a key owns it. The execution may be inserted after its key: the check waits for the commit.
CREATE TABLE idempotency_key (
    user_id TEXT NOT NULL REFERENCES "user" (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    execution_id TEXT NOT NULL REFERENCES execution (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    created_at TEXT NOT NULL,
    PRIMARY KEY (user_id, key)
) STRICT;
CREATE INDEX idempotency_key_execution_id_idx ON idempotency_key (execution_id);
CREATE INDEX idempotency_key_created_at_idx ON idempotency_key (created_at);

-- Calls to the addresses that callers gave. The id is sent along; next_at is empty when nothing is left to do.
CREATE TABLE webhook_delivery (
    id TEXT NOT NULL PRIMARY KEY,
    execution_id TEXT NOT NULL REFERENCES execution (id) ON DELETE CASCADE,
    event TEXT NOT NULL,
    url TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at TEXT,
    delivered_at TEXT,
    last_status INTEGER
) STRICT;
CREATE INDEX webhook_delivery_execution_id_idx ON webhook_delivery (execution_id);
CREATE INDEX webhook_delivery_next_at_idx ON webhook_delivery (next_at) WHERE next_at IS NOT NULL;

-- Secrets that an administrator granted to a script, encrypted. A grant outlives the account that gave it.
CREATE TABLE script_secret (
    script_id TEXT NOT NULL REFERENCES script (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    ciphertext TEXT NOT NULL,
    granted_by TEXT REFERENCES "user" (id) ON DELETE SET NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (script_id, name)
) STRICT;
CREATE INDEX script_secret_granted_by_idx ON script_secret (granted_by) WHERE granted_by IS NOT NULL;

-- Mails, written in the transaction that they tell of and sent later. One mail for each event of a subject (a row of any table,
-- hence no foreign key), however often it is tried. next_at is empty when the mail is sent or given up.
CREATE TABLE mail_outbox (
    id TEXT NOT NULL PRIMARY KEY,
    subject_id TEXT NOT NULL,
    event TEXT NOT NULL,
    recipient TEXT NOT NULL,
    subject TEXT NOT NULL,
    text TEXT NOT NULL,
    html TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at TEXT,
    sent_at TEXT,
    last_error TEXT,
    created_at TEXT NOT NULL,
    UNIQUE (subject_id, event)
) STRICT;
CREATE INDEX mail_outbox_next_at_idx ON mail_outbox (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX mail_outbox_recipient_idx ON mail_outbox (recipient, created_at);
CREATE INDEX mail_outbox_created_at_idx ON mail_outbox (created_at);

-- Tokens that were ended before their time; a row is of no use after expires_at.
CREATE TABLE token_revocation (
    jti TEXT NOT NULL PRIMARY KEY,
    expires_at TEXT NOT NULL
) STRICT;
CREATE INDEX token_revocation_expires_at_idx ON token_revocation (expires_at);

-- Acts that matter. No foreign keys: a row stays when its actor or target is gone. Triggers below keep it as it was written.
CREATE TABLE audit_event (
    id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    actor_id TEXT,
    action TEXT NOT NULL,
    target_type TEXT,
    target_id TEXT,
    ip_address TEXT,
    request_id TEXT,
    detail TEXT
) STRICT;
CREATE INDEX audit_event_at_idx ON audit_event (at);
CREATE INDEX audit_event_actor_id_idx ON audit_event (actor_id, id);
CREATE INDEX audit_event_action_idx ON audit_event (action, id);
CREATE INDEX audit_event_target_idx ON audit_event (target_type, target_id, id);

-- What a worker saw in its engine last, for the API, which never asks an engine itself.
CREATE TABLE engine_state (
    scope TEXT NOT NULL PRIMARY KEY,
    snapshot TEXT NOT NULL,
    collected_at TEXT NOT NULL
) STRICT;

-- Tokens issued before tokens_not_before are dead. The two flags are empty unless somebody set them.
ALTER TABLE "user" ADD COLUMN tokens_not_before TEXT;
ALTER TABLE "user" ADD COLUMN is_plugin_user INTEGER;
ALTER TABLE "user" ADD COLUMN is_in_mailing_list INTEGER;

-- Audit rows only grow. An update may erase what points to a deleted person (the address, parts of detail) and nothing else.
-- Rows may be deleted after 400 days, by the database's clock and not the server's, so that no caller can move it.
CREATE TRIGGER te_audit_event_guard BEFORE UPDATE ON audit_event
WHEN NOT (
    NEW.id IS OLD.id AND NEW.at IS OLD.at AND NEW.actor_id IS OLD.actor_id AND NEW.action IS OLD.action
    AND NEW.target_type IS OLD.target_type AND NEW.target_id IS OLD.target_id AND NEW.request_id IS OLD.request_id
    AND (NEW.ip_address IS NULL OR NEW.ip_address IS OLD.ip_address)
    -- Every value that is left stood at the same place before.
    AND (NEW.detail IS NULL OR NOT EXISTS (
        SELECT fullkey, type, atom FROM json_tree(NEW.detail)
        EXCEPT SELECT fullkey, type, atom FROM json_tree(OLD.detail)))
)
BEGIN
    SELECT RAISE(ABORT, 'audit_event: rows are not changed');
END;
CREATE TRIGGER te_audit_event_guard_delete BEFORE DELETE ON audit_event
WHEN OLD.at >= strftime('%Y-%m-%d %H:%M:%f', 'now', '-400 days')
BEGIN
    SELECT RAISE(ABORT, 'audit_event: rows are kept for 400 days');
END;

-- The counts are right whoever writes.
CREATE TRIGGER te_execution_count_insert AFTER INSERT ON execution BEGIN
    INSERT INTO execution_count (status, shard, n) VALUES (COALESCE(NEW.status, ''), 0, 1)
        ON CONFLICT (status, shard) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER te_execution_count_delete AFTER DELETE ON execution BEGIN
    INSERT INTO execution_count (status, shard, n) VALUES (COALESCE(OLD.status, ''), 0, -1)
        ON CONFLICT (status, shard) DO UPDATE SET n = n - 1;
END;
CREATE TRIGGER te_execution_count_status AFTER UPDATE OF status ON execution WHEN OLD.status IS NOT NEW.status BEGIN
    INSERT INTO execution_count (status, shard, n) VALUES (COALESCE(OLD.status, ''), 0, -1)
        ON CONFLICT (status, shard) DO UPDATE SET n = n - 1;
    INSERT INTO execution_count (status, shard, n) VALUES (COALESCE(NEW.status, ''), 0, 1)
        ON CONFLICT (status, shard) DO UPDATE SET n = n + 1;
END;
INSERT INTO execution_count (status, shard, n) SELECT COALESCE(status, ''), 0, count(*) FROM execution GROUP BY 1;
