-- The tables that the existing Trends.Earth server has, under its names, so that either server can work on either database.
-- On a database of that server it is not run: what an older one lacks is added without holding anybody up (store/takeover/steps.rs).
-- What is ours is in 0002_ours.sql.

-- Accounts. The name is a reserved word in PostgreSQL and has to be quoted everywhere.
CREATE TABLE IF NOT EXISTS "user" (
    id uuid NOT NULL,
    email varchar(120) NOT NULL,
    password varchar(200) NOT NULL,
    created_at timestamp,
    role varchar(10),
    country varchar(120),
    institution varchar(120),
    name varchar(120) DEFAULT 'notset' NOT NULL,
    updated_at timestamp,
    google_groups_trends_earth_users boolean DEFAULT false NOT NULL,
    google_groups_trendsearth boolean DEFAULT false NOT NULL,
    google_groups_registration_status text,
    google_groups_last_sync timestamp,
    email_notifications_enabled boolean DEFAULT true NOT NULL,
    gee_oauth_token text,
    gee_refresh_token text,
    gee_service_account_key text,
    gee_credentials_type varchar(20),
    gee_credentials_created_at timestamp,
    last_login_at timestamp,
    email_verified boolean,
    email_verified_at timestamp,
    last_activity_at timestamp,
    failed_login_count integer DEFAULT 0 NOT NULL,
    locked_until timestamp,
    role_title varchar(200),
    sector varchar(120),
    sector_other varchar(200),
    gender_identity varchar(50),
    gender_identity_description varchar(200),
    gee_license_acknowledged boolean,
    purpose_of_use varchar(50),
    purpose_of_use_other varchar(200),
    max_concurrent_executions integer,
    openeo_credentials_enc text,
    gee_cloud_project varchar(100),
    gee_google_email varchar(255),
    email_subscription_news boolean DEFAULT false NOT NULL,
    email_subscription_engagement boolean DEFAULT false NOT NULL,
    email_subscription_system_updates boolean DEFAULT true NOT NULL,
    consent_given_at timestamp,
    consent_source varchar(50),
    CONSTRAINT user_pkey PRIMARY KEY (id),
    CONSTRAINT user_email_key UNIQUE (email)
);
CREATE INDEX IF NOT EXISTS ix_user_country ON "user" (country);
CREATE INDEX IF NOT EXISTS ix_user_created_at ON "user" (created_at);
CREATE INDEX IF NOT EXISTS ix_user_email_verified ON "user" (email_verified);
CREATE INDEX IF NOT EXISTS ix_user_gee_license_acknowledged ON "user" (gee_license_acknowledged);
CREATE INDEX IF NOT EXISTS ix_user_last_activity_at ON "user" (last_activity_at);
CREATE INDEX IF NOT EXISTS ix_user_last_login_at ON "user" (last_login_at);
CREATE INDEX IF NOT EXISTS ix_user_locked_until ON "user" (locked_until);
CREATE INDEX IF NOT EXISTS ix_user_purpose_of_use ON "user" (purpose_of_use);
CREATE INDEX IF NOT EXISTS ix_user_role ON "user" (role);
CREATE INDEX IF NOT EXISTS ix_user_sector ON "user" (sector);

CREATE TABLE IF NOT EXISTS user_client_metadata (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    client_type varchar(50) NOT NULL,
    client_version varchar(50),
    os varchar(50),
    qgis_version varchar(20),
    extra_metadata json,
    last_seen_at timestamp NOT NULL,
    created_at timestamp NOT NULL,
    language varchar(10),
    CONSTRAINT user_client_metadata_pkey PRIMARY KEY (id),
    CONSTRAINT uq_user_client_type UNIQUE (user_id, client_type),
    CONSTRAINT user_client_metadata_user_id_fkey FOREIGN KEY (user_id) REFERENCES "user"(id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS ix_client_meta_other_stats ON user_client_metadata (client_type, last_seen_at, client_version) WHERE client_type <> 'qgis_plugin';
CREATE INDEX IF NOT EXISTS ix_client_meta_plugin_stats ON user_client_metadata (client_type, last_seen_at, client_version, qgis_version, os) WHERE client_type = 'qgis_plugin';
CREATE INDEX IF NOT EXISTS ix_user_client_metadata_user_id ON user_client_metadata (user_id);

-- What remains of a deleted account. No foreign keys, because the account is gone.
CREATE TABLE IF NOT EXISTS user_deletion_audit (
    id uuid NOT NULL,
    deleted_at timestamp NOT NULL,
    deletion_reason varchar(50) NOT NULL,
    email_hash varchar(64),
    country varchar(120),
    account_created_at timestamp,
    account_age_days integer,
    last_login_at timestamp,
    days_since_last_login integer,
    total_executions integer,
    total_scripts integer,
    completed_executions integer,
    failed_executions integer,
    email_verified boolean,
    role varchar(10),
    deleted_by_admin_id uuid,
    context text,
    email_hash_expires_at timestamp,
    last_activity_at timestamp,
    days_since_last_activity integer,
    CONSTRAINT user_deletion_audit_pkey PRIMARY KEY (id)
);
CREATE INDEX IF NOT EXISTS ix_user_deletion_audit_country ON user_deletion_audit (country);
CREATE INDEX IF NOT EXISTS ix_user_deletion_audit_deleted_at ON user_deletion_audit (deleted_at);
CREATE INDEX IF NOT EXISTS ix_user_deletion_audit_deletion_reason ON user_deletion_audit (deletion_reason);
CREATE INDEX IF NOT EXISTS ix_user_deletion_audit_email_hash ON user_deletion_audit (email_hash);
CREATE INDEX IF NOT EXISTS ix_user_deletion_audit_email_hash_expires ON user_deletion_audit (email_hash_expires_at);

CREATE TABLE IF NOT EXISTS refresh_tokens (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    token varchar(255) NOT NULL,
    expires_at timestamp NOT NULL,
    created_at timestamp NOT NULL,
    is_revoked boolean NOT NULL,
    device_info varchar(500),
    last_used_at timestamp,
    CONSTRAINT refresh_tokens_pkey PRIMARY KEY (id),
    CONSTRAINT refresh_tokens_token_key UNIQUE (token),
    CONSTRAINT refresh_tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES "user"(id)
);
CREATE INDEX IF NOT EXISTS ix_refresh_tokens_expires_at ON refresh_tokens (expires_at);
CREATE INDEX IF NOT EXISTS ix_refresh_tokens_token ON refresh_tokens (token);
CREATE INDEX IF NOT EXISTS ix_refresh_tokens_user_id ON refresh_tokens (user_id);

CREATE TABLE IF NOT EXISTS password_reset_token (
    id uuid NOT NULL,
    token varchar(128) NOT NULL,
    user_id uuid NOT NULL,
    created_at timestamp,
    expires_at timestamp NOT NULL,
    used_at timestamp,
    CONSTRAINT password_reset_token_pkey PRIMARY KEY (id),
    CONSTRAINT password_reset_token_token_key UNIQUE (token),
    CONSTRAINT password_reset_token_user_id_fkey FOREIGN KEY (user_id) REFERENCES "user"(id)
);
CREATE INDEX IF NOT EXISTS ix_password_reset_token_expires_at ON password_reset_token (expires_at);
CREATE INDEX IF NOT EXISTS ix_password_reset_token_token ON password_reset_token (token);
CREATE INDEX IF NOT EXISTS ix_password_reset_token_user_id ON password_reset_token (user_id);

-- Clients of the OAuth2 client-credentials grant.
CREATE TABLE IF NOT EXISTS service_client (
    id uuid NOT NULL,
    name varchar(120) NOT NULL,
    client_id varchar(64) NOT NULL,
    client_secret_hash varchar(256) NOT NULL,
    secret_prefix varchar(16) NOT NULL,
    scopes text DEFAULT '' NOT NULL,
    user_id uuid NOT NULL,
    created_at timestamp,
    last_used_at timestamp,
    expires_at timestamp,
    revoked boolean DEFAULT false NOT NULL,
    CONSTRAINT service_client_pkey PRIMARY KEY (id),
    CONSTRAINT service_client_user_id_fkey FOREIGN KEY (user_id) REFERENCES "user"(id)
);
CREATE UNIQUE INDEX IF NOT EXISTS ix_service_client_client_id ON service_client (client_id);
CREATE INDEX IF NOT EXISTS ix_service_client_user_id ON service_client (user_id);

-- Two indexes on ip_address: both names exist in databases that are taken over.
CREATE TABLE IF NOT EXISTS rate_limit_event (
    id uuid NOT NULL,
    occurred_at timestamp NOT NULL,
    user_id uuid,
    user_role varchar(20),
    user_email varchar(255),
    rate_limit_type varchar(50) NOT NULL,
    endpoint varchar(255) NOT NULL,
    method varchar(10),
    limit_definition varchar(120),
    limit_count integer,
    time_window_seconds integer,
    retry_after_seconds integer,
    limit_key varchar(255),
    ip_address varchar(64),
    user_agent varchar(255),
    expires_at timestamp,
    CONSTRAINT rate_limit_event_pkey PRIMARY KEY (id),
    CONSTRAINT fk_rate_limit_event_user FOREIGN KEY (user_id) REFERENCES "user"(id)
);
CREATE INDEX IF NOT EXISTS ix_rate_limit_event_expires_at ON rate_limit_event (expires_at);
CREATE INDEX IF NOT EXISTS ix_rate_limit_event_expires_at_type ON rate_limit_event (expires_at, rate_limit_type);
CREATE INDEX IF NOT EXISTS ix_rate_limit_event_ip ON rate_limit_event (ip_address);
CREATE INDEX IF NOT EXISTS ix_rate_limit_event_ip_address ON rate_limit_event (ip_address);
CREATE INDEX IF NOT EXISTS ix_rate_limit_event_limit_key ON rate_limit_event (limit_key);
CREATE INDEX IF NOT EXISTS ix_rate_limit_event_occurred_at ON rate_limit_event (occurred_at);
CREATE INDEX IF NOT EXISTS ix_rate_limit_event_type ON rate_limit_event (rate_limit_type);
CREATE INDEX IF NOT EXISTS ix_rate_limit_event_user_id ON rate_limit_event (user_id);

CREATE TABLE IF NOT EXISTS script (
    id uuid NOT NULL,
    name varchar(120) NOT NULL,
    slug varchar(80) NOT NULL,
    created_at timestamp,
    user_id uuid,
    status varchar(80) NOT NULL,
    description text DEFAULT '',
    public boolean DEFAULT false NOT NULL,
    updated_at timestamp,
    cpu_reservation bigint,
    cpu_limit bigint,
    memory_reservation bigint,
    memory_limit bigint,
    environment text,
    environment_version text,
    allowed_roles text,
    allowed_users text,
    restricted boolean NOT NULL,
    build_error text,
    compute_type varchar(40) DEFAULT 'gee' NOT NULL,
    batch_job_definition varchar(255),
    batch_job_queue varchar(255),
    batch_image varchar(512),
    uses_gee boolean DEFAULT true NOT NULL,
    openeo_backend_url varchar(512),
    CONSTRAINT script_pkey PRIMARY KEY (id),
    CONSTRAINT script_slug_key UNIQUE (slug),
    CONSTRAINT script_user_id_fkey FOREIGN KEY (user_id) REFERENCES "user"(id)
);
CREATE INDEX IF NOT EXISTS ix_script_created_at ON script (created_at);
CREATE INDEX IF NOT EXISTS ix_script_public ON script (public);
CREATE INDEX IF NOT EXISTS ix_script_public_restricted ON script (public, restricted);
CREATE INDEX IF NOT EXISTS ix_script_status ON script (status);
CREATE INDEX IF NOT EXISTS ix_script_updated_at ON script (updated_at);
CREATE INDEX IF NOT EXISTS ix_script_user_id ON script (user_id);

CREATE TABLE IF NOT EXISTS script_log (
    id bigint GENERATED BY DEFAULT AS IDENTITY,
    text text,
    register_date timestamp,
    script_id uuid,
    CONSTRAINT script_log_pkey PRIMARY KEY (id),
    CONSTRAINT script_log_script_id_fkey FOREIGN KEY (script_id) REFERENCES script(id)
);
CREATE INDEX IF NOT EXISTS ix_script_log_script_id ON script_log (script_id);

-- status holds 20 characters here; a database that was taken over keeps its 10. Nobody is the owner by default.
CREATE TABLE IF NOT EXISTS execution (
    id uuid NOT NULL,
    start_date timestamp,
    end_date timestamp,
    status varchar(20),
    progress integer,
    params jsonb,
    results jsonb,
    script_id uuid,
    user_id uuid,
    queued_at timestamp,
    dispatched_at timestamp,
    CONSTRAINT execution_pkey PRIMARY KEY (id),
    CONSTRAINT execution_script_id_fkey FOREIGN KEY (script_id) REFERENCES script(id),
    CONSTRAINT execution_user_id_fkey FOREIGN KEY (user_id) REFERENCES "user"(id)
);
CREATE INDEX IF NOT EXISTS ix_execution_dispatched_at ON execution (dispatched_at);
CREATE INDEX IF NOT EXISTS ix_execution_end_date ON execution (end_date);
CREATE INDEX IF NOT EXISTS ix_execution_queued_at ON execution (queued_at);
CREATE INDEX IF NOT EXISTS ix_execution_script_id ON execution (script_id);
CREATE INDEX IF NOT EXISTS ix_execution_start_date ON execution (start_date);
CREATE INDEX IF NOT EXISTS ix_execution_status ON execution (status);
CREATE INDEX IF NOT EXISTS ix_execution_status_end_date ON execution (status, end_date);
CREATE INDEX IF NOT EXISTS ix_execution_status_start_date ON execution (status, start_date);
CREATE INDEX IF NOT EXISTS ix_execution_user_id ON execution (user_id);

-- Log ids never run out here (bigint); a database that was taken over keeps its integer sequence.
CREATE TABLE IF NOT EXISTS execution_log (
    id bigint GENERATED BY DEFAULT AS IDENTITY,
    text text,
    level varchar(80) NOT NULL,
    register_date timestamp,
    execution_id uuid,
    CONSTRAINT execution_log_pkey PRIMARY KEY (id),
    CONSTRAINT execution_log_execution_id_fkey FOREIGN KEY (execution_id) REFERENCES execution(id)
);
CREATE INDEX IF NOT EXISTS ix_execution_log_execution_id ON execution_log (execution_id);

-- One row per change of status, with the counts after it. execution_id is text and may outlive the execution.
CREATE TABLE IF NOT EXISTS status_log (
    id bigint GENERATED BY DEFAULT AS IDENTITY,
    "timestamp" timestamp,
    executions_ready integer,
    executions_running integer,
    executions_finished integer,
    executions_failed integer,
    executions_cancelled integer,
    executions_pending integer,
    status_from varchar(20),
    status_to varchar(20),
    execution_id varchar(36),
    CONSTRAINT status_log_pkey PRIMARY KEY (id)
);
CREATE INDEX IF NOT EXISTS ix_status_log_execution_id ON status_log (execution_id);
CREATE INDEX IF NOT EXISTS ix_status_log_status_from_to ON status_log (status_from, status_to);
CREATE INDEX IF NOT EXISTS ix_status_log_timestamp ON status_log ("timestamp");

CREATE TABLE IF NOT EXISTS news_item (
    id uuid NOT NULL,
    title varchar(255) NOT NULL,
    message text NOT NULL,
    link_url varchar(500),
    link_text varchar(100),
    created_at timestamp NOT NULL,
    updated_at timestamp NOT NULL,
    publish_at timestamp NOT NULL,
    expires_at timestamp,
    target_platforms varchar(100) NOT NULL,
    target_roles varchar(100),
    min_version varchar(20),
    max_version varchar(20),
    is_active boolean NOT NULL,
    priority integer NOT NULL,
    news_type varchar(20) NOT NULL,
    created_by_id uuid,
    CONSTRAINT news_item_pkey PRIMARY KEY (id),
    CONSTRAINT news_item_created_by_id_fkey FOREIGN KEY (created_by_id) REFERENCES "user"(id)
);
CREATE INDEX IF NOT EXISTS ix_news_item_active_published ON news_item (is_active, publish_at, expires_at);
CREATE INDEX IF NOT EXISTS ix_news_item_created_by_id ON news_item (created_by_id);
CREATE INDEX IF NOT EXISTS ix_news_item_expires_at ON news_item (expires_at);
CREATE INDEX IF NOT EXISTS ix_news_item_is_active ON news_item (is_active);
CREATE INDEX IF NOT EXISTS ix_news_item_news_type ON news_item (news_type);
CREATE INDEX IF NOT EXISTS ix_news_item_priority ON news_item (priority);
CREATE INDEX IF NOT EXISTS ix_news_item_publish_at ON news_item (publish_at);

CREATE TABLE IF NOT EXISTS news_item_translation (
    id uuid NOT NULL,
    news_item_id uuid NOT NULL,
    language_code varchar(5) NOT NULL,
    title varchar(255) NOT NULL,
    message text NOT NULL,
    link_text varchar(100),
    is_machine_translated boolean NOT NULL,
    created_at timestamp NOT NULL,
    updated_at timestamp NOT NULL,
    CONSTRAINT news_item_translation_pkey PRIMARY KEY (id),
    CONSTRAINT uq_news_translation_lang UNIQUE (news_item_id, language_code),
    CONSTRAINT news_item_translation_news_item_id_fkey FOREIGN KEY (news_item_id) REFERENCES news_item(id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS ix_news_item_translation_language_code ON news_item_translation (language_code);
CREATE INDEX IF NOT EXISTS ix_news_item_translation_news_item_id ON news_item_translation (news_item_id);

CREATE TABLE IF NOT EXISTS bulk_email_recipient_list (
    id uuid NOT NULL,
    name varchar(200) NOT NULL,
    description text,
    filter_criteria json NOT NULL,
    estimated_count integer,
    created_by_id uuid NOT NULL,
    created_at timestamp,
    updated_at timestamp,
    CONSTRAINT bulk_email_recipient_list_pkey PRIMARY KEY (id),
    CONSTRAINT bulk_email_recipient_list_created_by_id_fkey FOREIGN KEY (created_by_id) REFERENCES "user"(id) ON DELETE SET NULL
);

-- created_by_id is NOT NULL and yet SET NULL on delete: authors of bulk mails have to be replaced before they are deleted.
CREATE TABLE IF NOT EXISTS bulk_email (
    id uuid NOT NULL,
    name varchar(200) NOT NULL,
    subject varchar(500) NOT NULL,
    html_content text NOT NULL,
    status varchar(10) DEFAULT 'DRAFT' NOT NULL,
    recipient_list_id uuid,
    recipient_count integer,
    created_by_id uuid NOT NULL,
    sent_by_id uuid,
    created_at timestamp,
    updated_at timestamp,
    sent_at timestamp,
    subscription_type varchar(20),
    fields_data json,
    CONSTRAINT bulk_email_pkey PRIMARY KEY (id),
    CONSTRAINT bulk_email_created_by_id_fkey FOREIGN KEY (created_by_id) REFERENCES "user"(id) ON DELETE SET NULL,
    CONSTRAINT bulk_email_recipient_list_id_fkey FOREIGN KEY (recipient_list_id) REFERENCES bulk_email_recipient_list(id) ON DELETE SET NULL,
    CONSTRAINT bulk_email_sent_by_id_fkey FOREIGN KEY (sent_by_id) REFERENCES "user"(id) ON DELETE SET NULL
);

CREATE TABLE IF NOT EXISTS bulk_email_verification_token (
    id uuid NOT NULL,
    token varchar(6) NOT NULL,
    user_id uuid NOT NULL,
    bulk_email_id uuid NOT NULL,
    created_at timestamp,
    expires_at timestamp NOT NULL,
    used_at timestamp,
    CONSTRAINT bulk_email_verification_token_pkey PRIMARY KEY (id),
    CONSTRAINT bulk_email_verification_token_bulk_email_id_fkey FOREIGN KEY (bulk_email_id) REFERENCES bulk_email(id) ON DELETE CASCADE,
    CONSTRAINT bulk_email_verification_token_user_id_fkey FOREIGN KEY (user_id) REFERENCES "user"(id) ON DELETE CASCADE
);

-- Administrative boundaries; the column names are those of their source.
CREATE TABLE IF NOT EXISTS admin_boundary_0_metadata (
    "boundaryISO" varchar(10) NOT NULL,
    "releaseType" varchar(20) NOT NULL,
    "boundaryID" varchar(100),
    "boundaryName" varchar(255),
    "boundaryType" varchar(10),
    "boundaryCanonical" varchar(255),
    "boundaryYearRepresented" varchar(50),
    "boundarySource" text,
    "boundaryLicense" text,
    "licenseDetail" text,
    "licenseSource" text,
    "sourceDataUpdateDate" varchar(100),
    "buildDate" varchar(100),
    "Continent" varchar(100),
    "UNSDG_region" varchar(100),
    "UNSDG_subregion" varchar(100),
    "worldBankIncomeGroup" varchar(100),
    "admUnitCount" integer,
    "meanVertices" double precision,
    "minVertices" integer,
    "maxVertices" integer,
    "meanPerimeterLengthKM" double precision,
    "minPerimeterLengthKM" double precision,
    "maxPerimeterLengthKM" double precision,
    "meanAreaSqKM" double precision,
    "minAreaSqKM" double precision,
    "maxAreaSqKM" double precision,
    "staticDownloadLink" text,
    "gjDownloadURL" text,
    "tjDownloadURL" text,
    "simplifiedGeometryGeoJSON" text,
    "imagePreview" text,
    created_at timestamp DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT admin_boundary_0_metadata_pkey PRIMARY KEY ("boundaryISO", "releaseType")
);
CREATE INDEX IF NOT EXISTS idx_adm0_metadata_release_type ON admin_boundary_0_metadata ("releaseType");

CREATE TABLE IF NOT EXISTS admin_boundary_1_metadata (
    "boundaryISO" varchar(10) NOT NULL,
    "releaseType" varchar(20) NOT NULL,
    "boundaryID" varchar(100),
    "boundaryName" varchar(255),
    "boundaryType" varchar(10),
    "boundaryCanonical" varchar(255),
    "boundaryYearRepresented" varchar(50),
    "boundarySource" text,
    "boundaryLicense" text,
    "licenseDetail" text,
    "licenseSource" text,
    "sourceDataUpdateDate" varchar(100),
    "buildDate" varchar(100),
    "Continent" varchar(100),
    "UNSDG_region" varchar(100),
    "UNSDG_subregion" varchar(100),
    "worldBankIncomeGroup" varchar(100),
    "admUnitCount" integer,
    "meanVertices" double precision,
    "minVertices" integer,
    "maxVertices" integer,
    "meanPerimeterLengthKM" double precision,
    "minPerimeterLengthKM" double precision,
    "maxPerimeterLengthKM" double precision,
    "meanAreaSqKM" double precision,
    "minAreaSqKM" double precision,
    "maxAreaSqKM" double precision,
    "staticDownloadLink" text,
    "gjDownloadURL" text,
    "tjDownloadURL" text,
    "simplifiedGeometryGeoJSON" text,
    "imagePreview" text,
    created_at timestamp DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT admin_boundary_1_metadata_pkey PRIMARY KEY ("boundaryISO", "releaseType")
);
CREATE INDEX IF NOT EXISTS idx_adm1_metadata_release_type ON admin_boundary_1_metadata ("releaseType");

CREATE TABLE IF NOT EXISTS admin_boundary_1_unit (
    "shapeID" varchar(100) NOT NULL,
    "releaseType" varchar(20) NOT NULL,
    "boundaryISO" varchar(10) NOT NULL,
    "shapeName" varchar(255),
    created_at timestamp DEFAULT CURRENT_TIMESTAMP,
    updated_at timestamp DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT admin_boundary_1_unit_pkey PRIMARY KEY ("shapeID", "releaseType"),
    CONSTRAINT fk_adm1_unit_to_adm0_metadata FOREIGN KEY ("boundaryISO", "releaseType") REFERENCES admin_boundary_0_metadata("boundaryISO", "releaseType"),
    CONSTRAINT fk_adm1_unit_to_adm1_metadata FOREIGN KEY ("boundaryISO", "releaseType") REFERENCES admin_boundary_1_metadata("boundaryISO", "releaseType")
);
CREATE INDEX IF NOT EXISTS idx_adm1_unit_country ON admin_boundary_1_unit ("boundaryISO", "releaseType");
CREATE INDEX IF NOT EXISTS idx_adm1_unit_release_type ON admin_boundary_1_unit ("releaseType");
