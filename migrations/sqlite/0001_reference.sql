-- The tables that the existing Trends.Earth server has, in the same words on SQLite; what is ours is in 0002_ours.sql.
-- uuid, timestamp ('YYYY-MM-DD HH:MM:SS[.ffffff]', UTC) and JSON are TEXT, a boolean is INTEGER 0 or 1, lengths are checked by the API.

-- Accounts. The name is a reserved word in PostgreSQL and has to be quoted everywhere.
CREATE TABLE "user" (
    id TEXT NOT NULL,
    email TEXT NOT NULL,
    password TEXT NOT NULL,
    created_at TEXT,
    role TEXT,
    country TEXT,
    institution TEXT,
    name TEXT DEFAULT 'notset' NOT NULL,
    updated_at TEXT,
    google_groups_trends_earth_users INTEGER DEFAULT 0 NOT NULL,
    google_groups_trendsearth INTEGER DEFAULT 0 NOT NULL,
    google_groups_registration_status TEXT,
    google_groups_last_sync TEXT,
    email_notifications_enabled INTEGER DEFAULT 1 NOT NULL,
    gee_oauth_token TEXT,
    gee_refresh_token TEXT,
    gee_service_account_key TEXT,
    gee_credentials_type TEXT,
    gee_credentials_created_at TEXT,
    last_login_at TEXT,
    email_verified INTEGER,
    email_verified_at TEXT,
    last_activity_at TEXT,
    failed_login_count INTEGER DEFAULT 0 NOT NULL,
    locked_until TEXT,
    role_title TEXT,
    sector TEXT,
    sector_other TEXT,
    gender_identity TEXT,
    gender_identity_description TEXT,
    gee_license_acknowledged INTEGER,
    purpose_of_use TEXT,
    purpose_of_use_other TEXT,
    max_concurrent_executions INTEGER,
    openeo_credentials_enc TEXT,
    gee_cloud_project TEXT,
    gee_google_email TEXT,
    email_subscription_news INTEGER DEFAULT 0 NOT NULL,
    email_subscription_engagement INTEGER DEFAULT 0 NOT NULL,
    email_subscription_system_updates INTEGER DEFAULT 1 NOT NULL,
    consent_given_at TEXT,
    consent_source TEXT,
    CONSTRAINT user_pkey PRIMARY KEY (id),
    CONSTRAINT user_email_key UNIQUE (email)
) STRICT;
CREATE INDEX ix_user_country ON "user" (country);
CREATE INDEX ix_user_created_at ON "user" (created_at);
CREATE INDEX ix_user_email_verified ON "user" (email_verified);
CREATE INDEX ix_user_gee_license_acknowledged ON "user" (gee_license_acknowledged);
CREATE INDEX ix_user_last_activity_at ON "user" (last_activity_at);
CREATE INDEX ix_user_last_login_at ON "user" (last_login_at);
CREATE INDEX ix_user_locked_until ON "user" (locked_until);
CREATE INDEX ix_user_purpose_of_use ON "user" (purpose_of_use);
CREATE INDEX ix_user_role ON "user" (role);
CREATE INDEX ix_user_sector ON "user" (sector);

CREATE TABLE user_client_metadata (
    id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    client_type TEXT NOT NULL,
    client_version TEXT,
    os TEXT,
    qgis_version TEXT,
    extra_metadata TEXT,
    last_seen_at TEXT NOT NULL,
    created_at TEXT NOT NULL,
    language TEXT,
    CONSTRAINT user_client_metadata_pkey PRIMARY KEY (id),
    CONSTRAINT uq_user_client_type UNIQUE (user_id, client_type),
    CONSTRAINT user_client_metadata_user_id_fkey FOREIGN KEY (user_id) REFERENCES "user"(id) ON DELETE CASCADE
) STRICT;
CREATE INDEX ix_client_meta_other_stats ON user_client_metadata (client_type, last_seen_at, client_version) WHERE client_type <> 'qgis_plugin';
CREATE INDEX ix_client_meta_plugin_stats ON user_client_metadata (client_type, last_seen_at, client_version, qgis_version, os) WHERE client_type = 'qgis_plugin';
CREATE INDEX ix_user_client_metadata_user_id ON user_client_metadata (user_id);

-- What remains of a deleted account. No foreign keys, because the account is gone.
CREATE TABLE user_deletion_audit (
    id TEXT NOT NULL,
    deleted_at TEXT NOT NULL,
    deletion_reason TEXT NOT NULL,
    email_hash TEXT,
    country TEXT,
    account_created_at TEXT,
    account_age_days INTEGER,
    last_login_at TEXT,
    days_since_last_login INTEGER,
    total_executions INTEGER,
    total_scripts INTEGER,
    completed_executions INTEGER,
    failed_executions INTEGER,
    email_verified INTEGER,
    role TEXT,
    deleted_by_admin_id TEXT,
    context TEXT,
    email_hash_expires_at TEXT,
    last_activity_at TEXT,
    days_since_last_activity INTEGER,
    CONSTRAINT user_deletion_audit_pkey PRIMARY KEY (id)
) STRICT;
CREATE INDEX ix_user_deletion_audit_country ON user_deletion_audit (country);
CREATE INDEX ix_user_deletion_audit_deleted_at ON user_deletion_audit (deleted_at);
CREATE INDEX ix_user_deletion_audit_deletion_reason ON user_deletion_audit (deletion_reason);
CREATE INDEX ix_user_deletion_audit_email_hash ON user_deletion_audit (email_hash);
CREATE INDEX ix_user_deletion_audit_email_hash_expires ON user_deletion_audit (email_hash_expires_at);

CREATE TABLE refresh_tokens (
    id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    token TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    created_at TEXT NOT NULL,
    is_revoked INTEGER NOT NULL,
    device_info TEXT,
    last_used_at TEXT,
    CONSTRAINT refresh_tokens_pkey PRIMARY KEY (id),
    CONSTRAINT refresh_tokens_token_key UNIQUE (token),
    CONSTRAINT refresh_tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES "user"(id)
) STRICT;
CREATE INDEX ix_refresh_tokens_expires_at ON refresh_tokens (expires_at);
CREATE INDEX ix_refresh_tokens_token ON refresh_tokens (token);
CREATE INDEX ix_refresh_tokens_user_id ON refresh_tokens (user_id);

CREATE TABLE password_reset_token (
    id TEXT NOT NULL,
    token TEXT NOT NULL,
    user_id TEXT NOT NULL,
    created_at TEXT,
    expires_at TEXT NOT NULL,
    used_at TEXT,
    CONSTRAINT password_reset_token_pkey PRIMARY KEY (id),
    CONSTRAINT password_reset_token_token_key UNIQUE (token),
    CONSTRAINT password_reset_token_user_id_fkey FOREIGN KEY (user_id) REFERENCES "user"(id)
) STRICT;
CREATE INDEX ix_password_reset_token_expires_at ON password_reset_token (expires_at);
CREATE INDEX ix_password_reset_token_token ON password_reset_token (token);
CREATE INDEX ix_password_reset_token_user_id ON password_reset_token (user_id);

-- Clients of the OAuth2 client-credentials grant.
CREATE TABLE service_client (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    client_id TEXT NOT NULL,
    client_secret_hash TEXT NOT NULL,
    secret_prefix TEXT NOT NULL,
    scopes TEXT DEFAULT '' NOT NULL,
    user_id TEXT NOT NULL,
    created_at TEXT,
    last_used_at TEXT,
    expires_at TEXT,
    revoked INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT service_client_pkey PRIMARY KEY (id),
    CONSTRAINT service_client_user_id_fkey FOREIGN KEY (user_id) REFERENCES "user"(id)
) STRICT;
CREATE UNIQUE INDEX ix_service_client_client_id ON service_client (client_id);
CREATE INDEX ix_service_client_user_id ON service_client (user_id);

-- Two indexes on ip_address: both names exist in databases that are taken over.
CREATE TABLE rate_limit_event (
    id TEXT NOT NULL,
    occurred_at TEXT NOT NULL,
    user_id TEXT,
    user_role TEXT,
    user_email TEXT,
    rate_limit_type TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    method TEXT,
    limit_definition TEXT,
    limit_count INTEGER,
    time_window_seconds INTEGER,
    retry_after_seconds INTEGER,
    limit_key TEXT,
    ip_address TEXT,
    user_agent TEXT,
    expires_at TEXT,
    CONSTRAINT rate_limit_event_pkey PRIMARY KEY (id),
    CONSTRAINT fk_rate_limit_event_user FOREIGN KEY (user_id) REFERENCES "user"(id)
) STRICT;
CREATE INDEX ix_rate_limit_event_expires_at ON rate_limit_event (expires_at);
CREATE INDEX ix_rate_limit_event_expires_at_type ON rate_limit_event (expires_at, rate_limit_type);
CREATE INDEX ix_rate_limit_event_ip ON rate_limit_event (ip_address);
CREATE INDEX ix_rate_limit_event_ip_address ON rate_limit_event (ip_address);
CREATE INDEX ix_rate_limit_event_limit_key ON rate_limit_event (limit_key);
CREATE INDEX ix_rate_limit_event_occurred_at ON rate_limit_event (occurred_at);
CREATE INDEX ix_rate_limit_event_type ON rate_limit_event (rate_limit_type);
CREATE INDEX ix_rate_limit_event_user_id ON rate_limit_event (user_id);

CREATE TABLE script (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    slug TEXT NOT NULL,
    created_at TEXT,
    user_id TEXT,
    status TEXT NOT NULL,
    description TEXT DEFAULT '',
    public INTEGER DEFAULT 0 NOT NULL,
    updated_at TEXT,
    cpu_reservation INTEGER,
    cpu_limit INTEGER,
    memory_reservation INTEGER,
    memory_limit INTEGER,
    environment TEXT,
    environment_version TEXT,
    allowed_roles TEXT,
    allowed_users TEXT,
    restricted INTEGER NOT NULL,
    build_error TEXT,
    compute_type TEXT DEFAULT 'gee' NOT NULL,
    batch_job_definition TEXT,
    batch_job_queue TEXT,
    batch_image TEXT,
    uses_gee INTEGER DEFAULT 1 NOT NULL,
    openeo_backend_url TEXT,
    CONSTRAINT script_pkey PRIMARY KEY (id),
    CONSTRAINT script_slug_key UNIQUE (slug),
    CONSTRAINT script_user_id_fkey FOREIGN KEY (user_id) REFERENCES "user"(id)
) STRICT;
CREATE INDEX ix_script_created_at ON script (created_at);
CREATE INDEX ix_script_public ON script (public);
CREATE INDEX ix_script_public_restricted ON script (public, restricted);
CREATE INDEX ix_script_status ON script (status);
CREATE INDEX ix_script_updated_at ON script (updated_at);
CREATE INDEX ix_script_user_id ON script (user_id);

CREATE TABLE script_log (
    id INTEGER NOT NULL CONSTRAINT script_log_pkey PRIMARY KEY AUTOINCREMENT,
    text TEXT,
    register_date TEXT,
    script_id TEXT,
    CONSTRAINT script_log_script_id_fkey FOREIGN KEY (script_id) REFERENCES script(id)
) STRICT;
CREATE INDEX ix_script_log_script_id ON script_log (script_id);

-- Nobody is the owner by default; every writer names the user.
CREATE TABLE execution (
    id TEXT NOT NULL,
    start_date TEXT,
    end_date TEXT,
    status TEXT,
    progress INTEGER,
    params TEXT,
    results TEXT,
    script_id TEXT,
    user_id TEXT,
    queued_at TEXT,
    dispatched_at TEXT,
    CONSTRAINT execution_pkey PRIMARY KEY (id),
    CONSTRAINT execution_script_id_fkey FOREIGN KEY (script_id) REFERENCES script(id),
    CONSTRAINT execution_user_id_fkey FOREIGN KEY (user_id) REFERENCES "user"(id)
) STRICT;
CREATE INDEX ix_execution_dispatched_at ON execution (dispatched_at);
CREATE INDEX ix_execution_end_date ON execution (end_date);
CREATE INDEX ix_execution_queued_at ON execution (queued_at);
CREATE INDEX ix_execution_script_id ON execution (script_id);
CREATE INDEX ix_execution_start_date ON execution (start_date);
CREATE INDEX ix_execution_status ON execution (status);
CREATE INDEX ix_execution_status_end_date ON execution (status, end_date);
CREATE INDEX ix_execution_status_start_date ON execution (status, start_date);
CREATE INDEX ix_execution_user_id ON execution (user_id);

-- AUTOINCREMENT: a cursor over log ids must never meet an id a second time, also after the newest rows were deleted.
CREATE TABLE execution_log (
    id INTEGER NOT NULL CONSTRAINT execution_log_pkey PRIMARY KEY AUTOINCREMENT,
    text TEXT,
    level TEXT NOT NULL,
    register_date TEXT,
    execution_id TEXT,
    CONSTRAINT execution_log_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES execution(id)
) STRICT;
CREATE INDEX ix_execution_log_execution_id ON execution_log (execution_id);

-- One row per change of status, with the counts after it. execution_id is text and may outlive the execution.
CREATE TABLE status_log (
    id INTEGER NOT NULL CONSTRAINT status_log_pkey PRIMARY KEY AUTOINCREMENT,
    "timestamp" TEXT,
    executions_ready INTEGER,
    executions_running INTEGER,
    executions_finished INTEGER,
    executions_failed INTEGER,
    executions_cancelled INTEGER,
    executions_pending INTEGER,
    status_from TEXT,
    status_to TEXT,
    execution_id TEXT
) STRICT;
CREATE INDEX ix_status_log_execution_id ON status_log (execution_id);
CREATE INDEX ix_status_log_status_from_to ON status_log (status_from, status_to);
CREATE INDEX ix_status_log_timestamp ON status_log ("timestamp");

CREATE TABLE news_item (
    id TEXT NOT NULL,
    title TEXT NOT NULL,
    message TEXT NOT NULL,
    link_url TEXT,
    link_text TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    publish_at TEXT NOT NULL,
    expires_at TEXT,
    target_platforms TEXT NOT NULL,
    target_roles TEXT,
    min_version TEXT,
    max_version TEXT,
    is_active INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    news_type TEXT NOT NULL,
    created_by_id TEXT,
    CONSTRAINT news_item_pkey PRIMARY KEY (id),
    CONSTRAINT news_item_created_by_id_fkey FOREIGN KEY (created_by_id) REFERENCES "user"(id)
) STRICT;
CREATE INDEX ix_news_item_active_published ON news_item (is_active, publish_at, expires_at);
CREATE INDEX ix_news_item_created_by_id ON news_item (created_by_id);
CREATE INDEX ix_news_item_expires_at ON news_item (expires_at);
CREATE INDEX ix_news_item_is_active ON news_item (is_active);
CREATE INDEX ix_news_item_news_type ON news_item (news_type);
CREATE INDEX ix_news_item_priority ON news_item (priority);
CREATE INDEX ix_news_item_publish_at ON news_item (publish_at);

CREATE TABLE news_item_translation (
    id TEXT NOT NULL,
    news_item_id TEXT NOT NULL,
    language_code TEXT NOT NULL,
    title TEXT NOT NULL,
    message TEXT NOT NULL,
    link_text TEXT,
    is_machine_translated INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    CONSTRAINT news_item_translation_pkey PRIMARY KEY (id),
    CONSTRAINT uq_news_translation_lang UNIQUE (news_item_id, language_code),
    CONSTRAINT news_item_translation_news_item_id_fkey FOREIGN KEY (news_item_id) REFERENCES news_item(id) ON DELETE CASCADE
) STRICT;
CREATE INDEX ix_news_item_translation_language_code ON news_item_translation (language_code);
CREATE INDEX ix_news_item_translation_news_item_id ON news_item_translation (news_item_id);

CREATE TABLE bulk_email_recipient_list (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    filter_criteria TEXT NOT NULL,
    estimated_count INTEGER,
    created_by_id TEXT NOT NULL,
    created_at TEXT,
    updated_at TEXT,
    CONSTRAINT bulk_email_recipient_list_pkey PRIMARY KEY (id),
    CONSTRAINT bulk_email_recipient_list_created_by_id_fkey FOREIGN KEY (created_by_id) REFERENCES "user"(id) ON DELETE SET NULL
) STRICT;

-- created_by_id is NOT NULL and yet SET NULL on delete: authors of bulk mails have to be replaced before they are deleted.
CREATE TABLE bulk_email (
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    subject TEXT NOT NULL,
    html_content TEXT NOT NULL,
    status TEXT DEFAULT 'DRAFT' NOT NULL,
    recipient_list_id TEXT,
    recipient_count INTEGER,
    created_by_id TEXT NOT NULL,
    sent_by_id TEXT,
    created_at TEXT,
    updated_at TEXT,
    sent_at TEXT,
    subscription_type TEXT,
    fields_data TEXT,
    CONSTRAINT bulk_email_pkey PRIMARY KEY (id),
    CONSTRAINT bulk_email_created_by_id_fkey FOREIGN KEY (created_by_id) REFERENCES "user"(id) ON DELETE SET NULL,
    CONSTRAINT bulk_email_recipient_list_id_fkey FOREIGN KEY (recipient_list_id) REFERENCES bulk_email_recipient_list(id) ON DELETE SET NULL,
    CONSTRAINT bulk_email_sent_by_id_fkey FOREIGN KEY (sent_by_id) REFERENCES "user"(id) ON DELETE SET NULL
) STRICT;

CREATE TABLE bulk_email_verification_token (
    id TEXT NOT NULL,
    token TEXT NOT NULL,
    user_id TEXT NOT NULL,
    bulk_email_id TEXT NOT NULL,
    created_at TEXT,
    expires_at TEXT NOT NULL,
    used_at TEXT,
    CONSTRAINT bulk_email_verification_token_pkey PRIMARY KEY (id),
    CONSTRAINT bulk_email_verification_token_bulk_email_id_fkey FOREIGN KEY (bulk_email_id) REFERENCES bulk_email(id) ON DELETE CASCADE,
    CONSTRAINT bulk_email_verification_token_user_id_fkey FOREIGN KEY (user_id) REFERENCES "user"(id) ON DELETE CASCADE
) STRICT;

-- Administrative boundaries; the column names are those of their source.
CREATE TABLE admin_boundary_0_metadata (
    "boundaryISO" TEXT NOT NULL,
    "releaseType" TEXT NOT NULL,
    "boundaryID" TEXT,
    "boundaryName" TEXT,
    "boundaryType" TEXT,
    "boundaryCanonical" TEXT,
    "boundaryYearRepresented" TEXT,
    "boundarySource" TEXT,
    "boundaryLicense" TEXT,
    "licenseDetail" TEXT,
    "licenseSource" TEXT,
    "sourceDataUpdateDate" TEXT,
    "buildDate" TEXT,
    "Continent" TEXT,
    "UNSDG_region" TEXT,
    "UNSDG_subregion" TEXT,
    "worldBankIncomeGroup" TEXT,
    "admUnitCount" INTEGER,
    "meanVertices" REAL,
    "minVertices" INTEGER,
    "maxVertices" INTEGER,
    "meanPerimeterLengthKM" REAL,
    "minPerimeterLengthKM" REAL,
    "maxPerimeterLengthKM" REAL,
    "meanAreaSqKM" REAL,
    "minAreaSqKM" REAL,
    "maxAreaSqKM" REAL,
    "staticDownloadLink" TEXT,
    "gjDownloadURL" TEXT,
    "tjDownloadURL" TEXT,
    "simplifiedGeometryGeoJSON" TEXT,
    "imagePreview" TEXT,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT admin_boundary_0_metadata_pkey PRIMARY KEY ("boundaryISO", "releaseType")
) STRICT;
CREATE INDEX idx_adm0_metadata_release_type ON admin_boundary_0_metadata ("releaseType");

CREATE TABLE admin_boundary_1_metadata (
    "boundaryISO" TEXT NOT NULL,
    "releaseType" TEXT NOT NULL,
    "boundaryID" TEXT,
    "boundaryName" TEXT,
    "boundaryType" TEXT,
    "boundaryCanonical" TEXT,
    "boundaryYearRepresented" TEXT,
    "boundarySource" TEXT,
    "boundaryLicense" TEXT,
    "licenseDetail" TEXT,
    "licenseSource" TEXT,
    "sourceDataUpdateDate" TEXT,
    "buildDate" TEXT,
    "Continent" TEXT,
    "UNSDG_region" TEXT,
    "UNSDG_subregion" TEXT,
    "worldBankIncomeGroup" TEXT,
    "admUnitCount" INTEGER,
    "meanVertices" REAL,
    "minVertices" INTEGER,
    "maxVertices" INTEGER,
    "meanPerimeterLengthKM" REAL,
    "minPerimeterLengthKM" REAL,
    "maxPerimeterLengthKM" REAL,
    "meanAreaSqKM" REAL,
    "minAreaSqKM" REAL,
    "maxAreaSqKM" REAL,
    "staticDownloadLink" TEXT,
    "gjDownloadURL" TEXT,
    "tjDownloadURL" TEXT,
    "simplifiedGeometryGeoJSON" TEXT,
    "imagePreview" TEXT,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT admin_boundary_1_metadata_pkey PRIMARY KEY ("boundaryISO", "releaseType")
) STRICT;
CREATE INDEX idx_adm1_metadata_release_type ON admin_boundary_1_metadata ("releaseType");

CREATE TABLE admin_boundary_1_unit (
    "shapeID" TEXT NOT NULL,
    "releaseType" TEXT NOT NULL,
    "boundaryISO" TEXT NOT NULL,
    "shapeName" TEXT,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT admin_boundary_1_unit_pkey PRIMARY KEY ("shapeID", "releaseType"),
    CONSTRAINT fk_adm1_unit_to_adm0_metadata FOREIGN KEY ("boundaryISO", "releaseType") REFERENCES admin_boundary_0_metadata("boundaryISO", "releaseType"),
    CONSTRAINT fk_adm1_unit_to_adm1_metadata FOREIGN KEY ("boundaryISO", "releaseType") REFERENCES admin_boundary_1_metadata("boundaryISO", "releaseType")
) STRICT;
CREATE INDEX idx_adm1_unit_country ON admin_boundary_1_unit ("boundaryISO", "releaseType");
CREATE INDEX idx_adm1_unit_release_type ON admin_boundary_1_unit ("releaseType");
