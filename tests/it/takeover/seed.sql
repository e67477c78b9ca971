-- A database of the first release of the existing server: six tables, few columns, no index but those of keys, and an end for
-- every execution.
CREATE TABLE alembic_version (version_num varchar(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY);
INSERT INTO alembic_version VALUES ('115924e98eb5');

CREATE TABLE "user" (
    id uuid NOT NULL PRIMARY KEY,
    email varchar(120) NOT NULL UNIQUE,
    password varchar(200) NOT NULL,
    created_at timestamp,
    role varchar(10),
    country varchar(120),
    institution varchar(120),
    name varchar(120) DEFAULT 'notset' NOT NULL,
    updated_at timestamp DEFAULT '2017-08-29 10:51:25'
);
INSERT INTO "user" (id, email, password, created_at, role) VALUES
    ('5a000000-0000-4000-8000-000000000001', 'gef@gef.com', 'pbkdf2:sha1:1000$x$y', '2017-09-01 10:00:00', 'ADMIN'),
    ('5a000000-0000-4000-8000-000000000002', 'early@example.org', 'pbkdf2:sha1:1000$x$y', '2017-09-02 10:00:00', 'USER');

CREATE TABLE script (
    id uuid NOT NULL PRIMARY KEY,
    name varchar(120) NOT NULL,
    slug varchar(80) NOT NULL UNIQUE,
    description text DEFAULT '',
    created_at timestamp,
    updated_at timestamp DEFAULT '2017-08-29 10:51:25',
    user_id uuid REFERENCES "user" (id),
    status varchar(80) NOT NULL,
    public boolean DEFAULT false NOT NULL,
    cpu_reservation bigint,
    cpu_limit bigint,
    memory_reservation bigint,
    memory_limit bigint,
    environment text,
    environment_version text
);
INSERT INTO script (id, name, slug, created_at, user_id, status, public) VALUES
    ('5b000000-0000-4000-8000-000000000001', 'early', 'early', '2017-09-03 10:00:00', '5a000000-0000-4000-8000-000000000001', 'SUCCESS', true);

CREATE TABLE script_log (
    id serial PRIMARY KEY,
    text text,
    register_date timestamp,
    script_id uuid REFERENCES script (id)
);

CREATE TABLE execution (
    id uuid NOT NULL PRIMARY KEY,
    start_date timestamp,
    end_date timestamp,
    status varchar(10),
    progress integer,
    params jsonb,
    results jsonb,
    script_id uuid REFERENCES script (id),
    user_id uuid DEFAULT '8cbf56bc-39db-4c8d-b3ef-b17b23c178e9' REFERENCES "user" (id)
);
INSERT INTO execution (id, start_date, end_date, status, progress, params, results, script_id, user_id)
SELECT ('5c000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, '2017-10-01 10:00:00', '2017-10-01 10:00:00', status, 0, '{}', '{}',
    '5b000000-0000-4000-8000-000000000001', '5a000000-0000-4000-8000-000000000002'
FROM unnest(ARRAY['PENDING', 'RUNNING', 'FINISHED', 'FAILED']) WITH ORDINALITY AS s (status, n);

CREATE TABLE execution_log (
    id serial PRIMARY KEY,
    text text,
    level varchar(80) NOT NULL,
    register_date timestamp,
    execution_id uuid REFERENCES execution (id)
);
INSERT INTO execution_log (text, level, register_date, execution_id) VALUES
    ('said long ago', 'INFO', '2017-10-01 10:00:01', '5c000000-0000-4000-8000-000000000003');
