-- What this server adds: indexes on the tables of 0001_reference.sql, tables of its own, nullable columns of "user", and triggers.
-- Whatever is hung on a table of 0001 is called te_…, so it never meets a name of the other server's and can be taken away again.

-- A process that takes jobs. A row outlives its process until it is swept, so that leases of an older boot can be recognised.
CREATE TABLE worker (
    id uuid NOT NULL PRIMARY KEY,
    node_id text NOT NULL,
    boot_id text NOT NULL,
    scopes jsonb NOT NULL,
    started_at timestamp NOT NULL,
    seen_at timestamp NOT NULL,
    draining boolean NOT NULL DEFAULT false
);
CREATE INDEX worker_node_id_idx ON worker (node_id);
CREATE INDEX worker_seen_at_idx ON worker (seen_at);

-- The queue. subject_id names a row of the table that the kind implies, so it has no foreign key; neither has worker_id,
-- because a lease must be readable after its worker's row is gone. unique_key is emptied when a job ends, to be free again.
CREATE TABLE job (
    id uuid NOT NULL PRIMARY KEY,
    kind text NOT NULL,
    subject_id uuid,
    payload jsonb NOT NULL DEFAULT '{}',
    state varchar(10) NOT NULL CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    priority integer NOT NULL DEFAULT 0,
    scope text,
    run_at timestamp NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    lease_token uuid,
    lease_until timestamp,
    worker_id uuid,
    unique_key text UNIQUE,
    last_error text,
    created_at timestamp NOT NULL,
    finished_at timestamp
);
CREATE INDEX job_claim_idx ON job (state, kind, priority DESC, run_at);
CREATE INDEX job_lease_idx ON job (lease_until) WHERE state = 'running';
CREATE INDEX job_worker_id_idx ON job (worker_id) WHERE state = 'running';
CREATE INDEX job_subject_id_idx ON job (subject_id, kind);
CREATE INDEX job_finished_at_idx ON job (finished_at) WHERE finished_at IS NOT NULL;

-- Locks are held until the end of this file, and are taken in the order in which requests take them: the account comes first. They hold
-- up who writes, not who reads. Where the existing server works meanwhile, the indexes are there already (store/takeover/steps.rs), and
-- this takes a tenth of a second.
LOCK TABLE "user", script, execution, execution_log, script_log IN SHARE ROW EXCLUSIVE MODE;

-- The order of every list of executions. Queries repeat the expression word for word, or the index is not used.
CREATE INDEX IF NOT EXISTS te_execution_order ON execution (COALESCE(end_date, '9999-12-31') DESC, start_date DESC, id);
CREATE INDEX IF NOT EXISTS te_execution_order_user ON execution (user_id, COALESCE(end_date, '9999-12-31') DESC, start_date DESC, id);
CREATE INDEX IF NOT EXISTS te_execution_order_script ON execution (script_id, COALESCE(end_date, '9999-12-31') DESC, start_date DESC, id);
-- What a user has waiting or active. On SQLite a query has to repeat the condition word for word.
CREATE INDEX IF NOT EXISTS te_execution_open ON execution (user_id, status, start_date)
    WHERE status IN ('PENDING', 'READY', 'SUBMITTED', 'RUNNING', 'CANCELLING');
-- A page of log lines after a cursor. progress and results stand in no index: their updates stay within the page (HOT).
CREATE INDEX IF NOT EXISTS te_execution_log_cursor ON execution_log (execution_id, id);
CREATE INDEX IF NOT EXISTS te_script_log_cursor ON script_log (script_id, id);

-- What an upload became: archive, environment or image, configuration with its clamped limits. Never changed once built.
-- created_by is emptied rather than cascaded: a version goes with its script, not with the account that uploaded it.
CREATE TABLE script_version (
    id uuid NOT NULL PRIMARY KEY,
    script_id uuid NOT NULL REFERENCES script (id) ON DELETE CASCADE,
    number integer NOT NULL,
    digest text NOT NULL,
    archive_key text NOT NULL,
    requirements_digest text,
    image text,
    image_digest text,
    config jsonb NOT NULL,
    params_schema jsonb,
    status varchar(20) NOT NULL,
    build_error text,
    created_by uuid REFERENCES "user" (id) ON DELETE SET NULL,
    created_at timestamp NOT NULL,
    built_at timestamp,
    UNIQUE (script_id, number)
);
CREATE INDEX script_version_created_by_idx ON script_version (created_by) WHERE created_by IS NOT NULL;
CREATE INDEX script_version_requirements_digest_idx ON script_version (requirements_digest);

-- An execution is ours exactly if it has a row here. Offsets change with each batch of lines and stand in no index.
-- The version and the execution that was run again may go first: their columns are emptied, the run stays.
CREATE TABLE execution_run (
    execution_id uuid NOT NULL PRIMARY KEY REFERENCES execution (id) ON DELETE CASCADE,
    script_version_id uuid REFERENCES script_version (id) ON DELETE SET NULL,
    scope text,
    attempt integer NOT NULL DEFAULT 0,
    waiting_since timestamp,
    started_at timestamp,
    deadline_at timestamp,
    journal_offset bigint NOT NULL DEFAULT 0,
    log_bytes bigint NOT NULL DEFAULT 0,
    failure jsonb,
    params_key text,
    results_key text,
    rerun_of uuid REFERENCES execution (id) ON DELETE SET NULL,
    callback_url text
) WITH (fillfactor = 80);
CREATE INDEX execution_run_script_version_id_idx ON execution_run (script_version_id);
CREATE INDEX execution_run_rerun_of_idx ON execution_run (rerun_of) WHERE rerun_of IS NOT NULL;

-- Marks that also executions of the other server can have. is_plugin_execution is empty where nobody said.
CREATE TABLE execution_flag (
    execution_id uuid NOT NULL PRIMARY KEY REFERENCES execution (id) ON DELETE CASCADE,
    deleted boolean NOT NULL DEFAULT false,
    is_plugin_execution boolean
);

-- The one password of a run, as a hash in hex. expires_at is empty until the run has ended.
CREATE TABLE execution_credential (
    execution_id uuid NOT NULL PRIMARY KEY REFERENCES execution (id) ON DELETE CASCADE,
    attempt integer NOT NULL,
    secret_sha256 text NOT NULL,
    expires_at timestamp
);
CREATE INDEX execution_credential_expires_at_idx ON execution_credential (expires_at) WHERE expires_at IS NOT NULL;

-- What status_log cannot hold of a change: who, why, and a sentence.
CREATE TABLE execution_event (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    execution_id uuid NOT NULL REFERENCES execution (id) ON DELETE CASCADE,
    at timestamp NOT NULL,
    status_from varchar(20),
    status_to varchar(20) NOT NULL,
    actor text,
    cause text NOT NULL,
    message text
);
CREATE INDEX execution_event_execution_id_idx ON execution_event (execution_id, id);

-- Executions per status, spread over shards; only sums over the shards mean something. '' stands for no status.
CREATE TABLE execution_count (
    status varchar(20) NOT NULL,
    shard integer NOT NULL,
    n bigint NOT NULL,
    PRIMARY KEY (status, shard)
) WITH (fillfactor = 50);

-- Runs that ended on a day, for statistics that must not scan executions. seconds is the sum of their durations.
CREATE TABLE execution_daily (
    day date NOT NULL,
    script_id uuid NOT NULL REFERENCES script (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES "user" (id) ON DELETE CASCADE,
    status varchar(20) NOT NULL,
    n bigint NOT NULL,
    seconds double precision NOT NULL,
    PRIMARY KEY (day, script_id, user_id, status)
);
CREATE INDEX execution_daily_script_id_idx ON execution_daily (script_id, day);
CREATE INDEX execution_daily_user_id_idx ON execution_daily (user_id, day);

-- The first submit under a key owns it. The execution may be inserted after its key: the check waits for the commit.
CREATE TABLE idempotency_key (
    user_id uuid NOT NULL REFERENCES "user" (id) ON DELETE CASCADE,
    key text NOT NULL,
    fingerprint text NOT NULL,
    execution_id uuid NOT NULL REFERENCES execution (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    created_at timestamp NOT NULL,
    PRIMARY KEY (user_id, key)
);
CREATE INDEX idempotency_key_execution_id_idx ON idempotency_key (execution_id);
CREATE INDEX idempotency_key_created_at_idx ON idempotency_key (created_at);

-- Calls to the addresses that callers gave. The id is sent along; next_at is empty when nothing is left to do.
CREATE TABLE webhook_delivery (
    id uuid NOT NULL PRIMARY KEY,
    execution_id uuid NOT NULL REFERENCES execution (id) ON DELETE CASCADE,
    event text NOT NULL,
    url text NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamp,
    delivered_at timestamp,
    last_status integer
);
CREATE INDEX webhook_delivery_execution_id_idx ON webhook_delivery (execution_id);
CREATE INDEX webhook_delivery_next_at_idx ON webhook_delivery (next_at) WHERE next_at IS NOT NULL;

-- Secrets that an administrator granted to a script, encrypted. A grant outlives the account that gave it.
CREATE TABLE script_secret (
    script_id uuid NOT NULL REFERENCES script (id) ON DELETE CASCADE,
    name text NOT NULL,
    ciphertext text NOT NULL,
    granted_by uuid REFERENCES "user" (id) ON DELETE SET NULL,
    created_at timestamp NOT NULL,
    PRIMARY KEY (script_id, name)
);
CREATE INDEX script_secret_granted_by_idx ON script_secret (granted_by) WHERE granted_by IS NOT NULL;

-- Mails, written in the transaction that they tell of and sent later. One mail for each event of a subject (a row of any table,
-- hence no foreign key), however often it is tried. next_at is empty when the mail is sent or given up.
CREATE TABLE mail_outbox (
    id uuid NOT NULL PRIMARY KEY,
    subject_id uuid NOT NULL,
    event text NOT NULL,
    recipient text NOT NULL,
    subject text NOT NULL,
    text text NOT NULL,
    html text,
    attempts integer NOT NULL DEFAULT 0,
    next_at timestamp,
    sent_at timestamp,
    last_error text,
    created_at timestamp NOT NULL,
    UNIQUE (subject_id, event)
);
CREATE INDEX mail_outbox_next_at_idx ON mail_outbox (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX mail_outbox_recipient_idx ON mail_outbox (recipient, created_at);
CREATE INDEX mail_outbox_created_at_idx ON mail_outbox (created_at);

-- Tokens that were ended before their time; a row is of no use after expires_at.
CREATE TABLE token_revocation (
    jti text NOT NULL PRIMARY KEY,
    expires_at timestamp NOT NULL
);
CREATE INDEX token_revocation_expires_at_idx ON token_revocation (expires_at);

-- Acts that matter. No foreign keys: a row stays when its actor or target is gone. Triggers below keep it as it was written.
CREATE TABLE audit_event (
    id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    at timestamp NOT NULL,
    actor_id uuid,
    action text NOT NULL,
    target_type text,
    target_id text,
    ip_address text,
    request_id text,
    detail jsonb
);
CREATE INDEX audit_event_at_idx ON audit_event (at);
CREATE INDEX audit_event_actor_id_idx ON audit_event (actor_id, id);
CREATE INDEX audit_event_action_idx ON audit_event (action, id);
CREATE INDEX audit_event_target_idx ON audit_event (target_type, target_id, id);

-- What a worker saw in its engine last, for the API, which never asks an engine itself.
CREATE TABLE engine_state (
    scope text NOT NULL PRIMARY KEY,
    snapshot jsonb NOT NULL,
    collected_at timestamp NOT NULL
);

-- Audit rows only grow. An update may erase what points to a deleted person (the address, parts of detail) and nothing else.
-- Rows may be deleted after 400 days, by the database's clock and not the server's, so that no caller can move it.
CREATE FUNCTION te_audit_event_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF (NEW.id, NEW.at, NEW.actor_id, NEW.action, NEW.target_type, NEW.target_id, NEW.request_id)
               IS NOT DISTINCT FROM (OLD.id, OLD.at, OLD.actor_id, OLD.action, OLD.target_type, OLD.target_id, OLD.request_id)
           AND (NEW.ip_address IS NULL OR NEW.ip_address IS NOT DISTINCT FROM OLD.ip_address)
           AND (NEW.detail IS NULL OR COALESCE(OLD.detail @> NEW.detail, false)) THEN
            RETURN NEW;
        END IF;
        RAISE EXCEPTION 'audit_event: rows are not changed';
    ELSIF TG_OP = 'DELETE' THEN
        IF OLD.at < (now() AT TIME ZONE 'UTC') - interval '400 days' THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'audit_event: rows are kept for 400 days';
END $$;
CREATE TRIGGER te_audit_event_guard BEFORE UPDATE OR DELETE ON audit_event
    FOR EACH ROW EXECUTE FUNCTION te_audit_event_guard();
CREATE TRIGGER te_audit_event_guard_truncate BEFORE TRUNCATE ON audit_event
    FOR EACH STATEMENT EXECUTE FUNCTION te_audit_event_guard();

-- The counts are right whoever writes. 64 shards let many connections count at once instead of queueing for one row a status; the two
-- rows of a change are touched in alphabetical order, so that opposite changes do not wait for each other in a circle.
-- It runs with its owner's rights and search path: another server's account needs neither a grant nor to know that it is there.
CREATE FUNCTION te_execution_count() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    mine constant integer := pg_backend_pid() % 64;
    gone constant text := CASE WHEN TG_OP <> 'INSERT' THEN COALESCE(OLD.status, '') END;
    come constant text := CASE WHEN TG_OP <> 'DELETE' THEN COALESCE(NEW.status, '') END;
BEGIN
    IF gone COLLATE "C" < come COLLATE "C" THEN
        INSERT INTO execution_count AS c (status, shard, n) VALUES (gone, mine, -1)
            ON CONFLICT (status, shard) DO UPDATE SET n = c.n - 1;
    END IF;
    IF come IS NOT NULL THEN
        INSERT INTO execution_count AS c (status, shard, n) VALUES (come, mine, 1)
            ON CONFLICT (status, shard) DO UPDATE SET n = c.n + 1;
    END IF;
    IF come IS NULL OR gone COLLATE "C" > come COLLATE "C" THEN
        INSERT INTO execution_count AS c (status, shard, n) VALUES (gone, mine, -1)
            ON CONFLICT (status, shard) DO UPDATE SET n = c.n - 1;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER te_execution_count AFTER INSERT OR DELETE ON execution
    FOR EACH ROW EXECUTE FUNCTION te_execution_count();
CREATE TRIGGER te_execution_count_status AFTER UPDATE OF status ON execution
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION te_execution_count();
-- Executions that are there already are counted by 0006.
