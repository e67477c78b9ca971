//! The least that each answer can cost: a handler that verifies the token, reads the account, runs the one statement with a
//! fitting index and prints the rows. It checks no rights and no input; it is what the server is held against, never a server.

use std::{env, sync::Arc};

use axum::{
    Json, Router,
    extract::{FromRequestParts, Path, Query, State},
    http::{StatusCode, header, request::Parts},
    routing::{get, patch, post},
};
use chrono::{NaiveDateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tokio::sync::Semaphore;
use uuid::Uuid;

type Document = sqlx::types::Json<Box<RawValue>>;
type Answer<T> = Result<Json<T>, StatusCode>;

#[derive(Clone)]
struct App {
    db: PgPool,
    key: Arc<DecodingKey>,
    /// As many hashes at one time as there are cores: more only take memory from each other.
    hashes: Arc<Semaphore>,
}

#[derive(Deserialize)]
struct Claims {
    sub: Uuid,
}

/// The account of a token that verifies, as a row of "user".
#[derive(Serialize, sqlx::FromRow)]
struct User {
    id: Uuid,
    email: String,
    name: String,
    role: Option<String>,
    country: Option<String>,
    institution: Option<String>,
    created_at: Option<NaiveDateTime>,
    updated_at: Option<NaiveDateTime>,
    email_notifications_enabled: bool,
    email_verified: Option<bool>,
    email_verified_at: Option<NaiveDateTime>,
    last_login_at: Option<NaiveDateTime>,
    last_activity_at: Option<NaiveDateTime>,
    gee_license_acknowledged: Option<bool>,
    gender_identity: Option<String>,
    gender_identity_description: Option<String>,
    max_concurrent_executions: Option<i32>,
    purpose_of_use: Option<String>,
    purpose_of_use_other: Option<String>,
    role_title: Option<String>,
    sector: Option<String>,
    sector_other: Option<String>,
}

#[derive(Serialize, sqlx::FromRow)]
struct Script {
    id: Uuid,
    name: String,
    slug: String,
    description: Option<String>,
    created_at: Option<NaiveDateTime>,
    updated_at: Option<NaiveDateTime>,
    user_id: Option<Uuid>,
    status: String,
    public: bool,
    cpu_reservation: Option<i64>,
    cpu_limit: Option<i64>,
    memory_reservation: Option<i64>,
    memory_limit: Option<i64>,
    uses_gee: bool,
}

/// A row of a list; what was not asked for is absent.
#[derive(Serialize, sqlx::FromRow)]
struct Execution {
    id: Uuid,
    script_id: Option<Uuid>,
    user_id: Option<Uuid>,
    start_date: Option<NaiveDateTime>,
    end_date: Option<NaiveDateTime>,
    status: Option<String>,
    progress: Option<i32>,
    #[sqlx(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<Document>,
    #[sqlx(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Document>,
    queued_at: Option<NaiveDateTime>,
    dispatched_at: Option<NaiveDateTime>,
    #[sqlx(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    script_name: Option<String>,
    #[sqlx(default)]
    #[serde(skip_serializing_if = "Option::is_none")]
    user_name: Option<String>,
    #[sqlx(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    script: Option<Arc<Script>>,
    #[sqlx(default)]
    #[serde(skip)]
    total: Option<i64>,
}

#[derive(Serialize, sqlx::FromRow)]
struct Line {
    id: i64,
    execution_id: Uuid,
    level: String,
    register_date: Option<NaiveDateTime>,
    text: Option<String>,
}

#[derive(Serialize)]
struct Data<T> {
    data: T,
}

#[derive(Serialize)]
struct Page<T> {
    data: Vec<T>,
    page: i64,
    per_page: i64,
    total: i64,
}

#[derive(Deserialize)]
struct Asked {
    page: i64,
    per_page: i64,
    #[serde(default)]
    include: String,
    #[serde(default)]
    exclude: String,
    updated_at: Option<chrono::NaiveDate>,
}

#[derive(Deserialize)]
struct Report {
    status: Option<String>,
    progress: Option<i32>,
    results: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct NewLine {
    text: String,
    level: String,
}

#[derive(Deserialize)]
struct SignIn {
    email: String,
    password: String,
}

const FEW: &str =
    "e.id, e.script_id, e.user_id, e.start_date, e.end_date, e.status, e.progress, e.queued_at, e.dispatched_at";
const ORDER: &str = "ORDER BY COALESCE(e.end_date, '9999-12-31') DESC, e.start_date DESC, e.id";

fn broken<E: std::fmt::Display>(error: E) -> StatusCode {
    eprintln!("{error}");
    StatusCode::INTERNAL_SERVER_ERROR
}

fn now() -> NaiveDateTime {
    Utc::now().naive_utc()
}

impl FromRequestParts<App> for User {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, StatusCode> {
        let header = parts.headers.get(header::AUTHORIZATION).ok_or(StatusCode::UNAUTHORIZED)?;
        let token =
            header.to_str().ok().and_then(|text| text.strip_prefix("Bearer ")).ok_or(StatusCode::UNAUTHORIZED)?;
        let claims = jsonwebtoken::decode::<Claims>(token, &app.key, &Validation::new(Algorithm::HS256))
            .map_err(|_| StatusCode::UNAUTHORIZED)?;
        sqlx::query_as(r#"SELECT * FROM "user" WHERE id = $1"#)
            .bind(claims.claims.sub)
            .fetch_optional(&app.db)
            .await
            .map_err(broken)?
            .ok_or(StatusCode::UNAUTHORIZED)
    }
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    database: &'static str,
    timestamp: String,
}

async fn health() -> Json<Health> {
    Json(Health { status: "ok", database: "healthy", timestamp: Utc::now().to_rfc3339() })
}

async fn me(user: User) -> Json<Data<User>> {
    Json(Data { data: user })
}

async fn scripts(State(app): State<App>, user: User) -> Answer<Data<Vec<Script>>> {
    let rows = sqlx::query_as("SELECT * FROM script WHERE public OR user_id = $1 ORDER BY name")
        .bind(user.id)
        .fetch_all(&app.db)
        .await;
    Ok(Json(Data { data: rows.map_err(broken)? }))
}

/// All of them, with the kept total; in short by the start, with the names of script and person.
async fn all(State(app): State<App>, _: User, Query(asked): Query<Asked>) -> Answer<Page<Execution>> {
    const TOTAL: &str = "(SELECT CAST(SUM(n) AS BIGINT) FROM execution_count) AS total";
    let text = if asked.exclude.is_empty() {
        format!("SELECT {FEW}, e.params, e.results, {TOTAL} FROM execution e {ORDER} LIMIT $1 OFFSET $2")
    } else {
        format!(
            r#"SELECT {FEW}, s.name AS script_name, u.name AS user_name, {TOTAL}
               FROM execution e LEFT JOIN script s ON s.id = e.script_id LEFT JOIN "user" u ON u.id = e.user_id
               ORDER BY e.start_date DESC, e.id LIMIT $1 OFFSET $2"#
        )
    };
    let rows = sqlx::query_as(sqlx::AssertSqlSafe(text))
        .bind(asked.per_page)
        .bind((asked.page - 1) * asked.per_page)
        .fetch_all(&app.db)
        .await;
    Ok(Json(page(&asked, rows.map_err(broken)?)))
}

fn page(asked: &Asked, rows: Vec<Execution>) -> Page<Execution> {
    let total = rows.first().and_then(|row| row.total).unwrap_or(0);
    Page { data: rows, page: asked.page, per_page: asked.per_page, total }
}

/// The caller's own that are open or have ended since a day, with their exact number.
async fn own(State(app): State<App>, user: User, Query(asked): Query<Asked>) -> Answer<Page<Execution>> {
    const WHERE: &str = "WHERE e.user_id = $1 AND COALESCE(e.end_date, '9999-12-30') >= $2";
    const ORDER: &str = "ORDER BY COALESCE(e.end_date, '9999-12-30') DESC, e.start_date DESC, e.id";
    let results = if asked.exclude.contains("results") { "" } else { ", e.results" };
    let text = format!(
        "SELECT {FEW}{results}, (SELECT count(*) FROM execution e {WHERE}) AS total FROM execution e {WHERE} {ORDER} LIMIT $3 OFFSET $4"
    );
    let rows = sqlx::query_as(sqlx::AssertSqlSafe(text))
        .bind(user.id)
        .bind(asked.updated_at.unwrap_or_default().and_time(chrono::NaiveTime::MIN))
        .bind(asked.per_page)
        .bind((asked.page - 1) * asked.per_page)
        .fetch_all(&app.db)
        .await;
    let mut rows: Vec<Execution> = rows.map_err(broken)?;
    if asked.include.contains("script") {
        let mut ids: Vec<Uuid> = rows.iter().filter_map(|row| row.script_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let scripts = sqlx::query_as("SELECT * FROM script WHERE id = ANY($1)").bind(ids).fetch_all(&app.db).await;
        let scripts: Vec<Arc<Script>> = scripts.map_err(broken)?.into_iter().map(Arc::new).collect();
        for row in &mut rows {
            row.script = scripts.iter().find(|script| Some(script.id) == row.script_id).cloned();
        }
    }
    Ok(Json(page(&asked, rows)))
}

async fn one(State(app): State<App>, _: User, Path(id): Path<Uuid>) -> Answer<Data<Execution>> {
    let row = sqlx::query_as("SELECT * FROM execution WHERE id = $1").bind(id).fetch_one(&app.db).await;
    Ok(Json(Data { data: row.map_err(broken)? }))
}

async fn lines(State(app): State<App>, _: User, Path(id): Path<Uuid>) -> Answer<Data<Vec<Line>>> {
    let rows = sqlx::query_as("SELECT * FROM execution_log WHERE execution_id = $1 ORDER BY id")
        .bind(id)
        .fetch_all(&app.db)
        .await;
    Ok(Json(Data { data: rows.map_err(broken)? }))
}

/// The line, under a lock of the execution's row: ids of one log are committed in order.
async fn add(State(app): State<App>, _: User, Path(id): Path<Uuid>, Json(new): Json<NewLine>) -> Answer<Data<Line>> {
    let row = sqlx::query_as(
        "WITH locked AS MATERIALIZED (SELECT id FROM execution WHERE id = $1 FOR NO KEY UPDATE)
         INSERT INTO execution_log (text, level, register_date, execution_id) SELECT $2, $3, $4, id FROM locked RETURNING *",
    )
    .bind(id)
    .bind(new.text)
    .bind(new.level)
    .bind(now())
    .fetch_one(&app.db)
    .await;
    Ok(Json(Data { data: row.map_err(broken)? }))
}

/// Progress is one statement; an end is one with its row of status_log, in one transaction.
async fn report(
    State(app): State<App>,
    _: User,
    Path(id): Path<Uuid>,
    Json(report): Json<Report>,
) -> Answer<Data<Execution>> {
    let Some(status) = report.status else {
        let row = sqlx::query_as("UPDATE execution SET progress = $2 WHERE id = $1 AND end_date IS NULL RETURNING *")
            .bind(id)
            .bind(report.progress)
            .fetch_one(&app.db)
            .await;
        return Ok(Json(Data { data: row.map_err(broken)? }));
    };
    let now = now();
    let ended = async {
        let mut tx = app.db.begin().await?;
        let row: Execution = sqlx::query_as(
            "UPDATE execution SET status = $2, results = $3, end_date = $4, progress = 100
             WHERE id = $1 AND status = 'RUNNING' RETURNING *",
        )
        .bind(id)
        .bind(&status)
        .bind(report.results.map(sqlx::types::Json))
        .bind(now)
        .fetch_one(&mut *tx)
        .await?;
        sqlx::query(
            r#"INSERT INTO status_log ("timestamp", executions_pending, executions_ready, executions_running, executions_finished,
                   executions_failed, executions_cancelled, status_from, status_to, execution_id)
               SELECT $1, SUM(n) FILTER (WHERE status = 'PENDING'), SUM(n) FILTER (WHERE status = 'READY'),
                   SUM(n) FILTER (WHERE status = 'RUNNING'), SUM(n) FILTER (WHERE status = 'FINISHED'),
                   SUM(n) FILTER (WHERE status = 'FAILED'), SUM(n) FILTER (WHERE status = 'CANCELLED'), 'RUNNING', $2, $3
               FROM execution_count"#,
        )
        .bind(now)
        .bind(&status)
        .bind(id.to_string())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok::<Execution, sqlx::Error>(row)
    };
    Ok(Json(Data { data: ended.await.map_err(broken)? }))
}

/// The rows that must be written of a submit, in one statement: execution, run, event, job.
async fn run(
    State(app): State<App>,
    user: User,
    Path(script): Path<Uuid>,
    Json(params): Json<Box<RawValue>>,
) -> Answer<Data<Execution>> {
    let id = Uuid::new_v4();
    let row = sqlx::query_as(
        "WITH version AS (SELECT id FROM script_version WHERE script_id = $2 AND status = 'SUCCESS' ORDER BY number DESC LIMIT 1),
              run AS (INSERT INTO execution_run (execution_id, script_version_id) SELECT $1, id FROM version),
              event AS (INSERT INTO execution_event (execution_id, at, status_to, actor, cause) VALUES ($1, $5, 'PENDING', $6, 'submitted')),
              job AS (INSERT INTO job (id, kind, subject_id, state, run_at, created_at) VALUES ($7, 'bare', $1, 'done', $5, $5))
         INSERT INTO execution (id, start_date, status, progress, params, results, script_id, user_id)
         VALUES ($1, $5, 'PENDING', 0, $3, '{}', $2, $4) RETURNING *",
    )
    .bind(id)
    .bind(script)
    .bind(sqlx::types::Json(params))
    .bind(user.id)
    .bind(now())
    .bind(format!("user:{}", user.id))
    .bind(Uuid::now_v7())
    .fetch_one(&app.db)
    .await;
    Ok(Json(Data { data: row.map_err(broken)? }))
}

/// The hash of a sign-in, and the row that it would be compared with.
async fn sign_in(State(app): State<App>, Json(asked): Json<SignIn>) -> Answer<Data<usize>> {
    let (stored,): (String,) = sqlx::query_as(r#"SELECT password FROM "user" WHERE email = $1"#)
        .bind(&asked.email)
        .fetch_one(&app.db)
        .await
        .map_err(broken)?;
    let _turn = app.hashes.acquire().await.map_err(broken)?;
    let hashed = tokio::task::spawn_blocking(move || {
        let mut key = [0; 32];
        argon2::Argon2::default().hash_password_into(asked.password.as_bytes(), &[7; 16], &mut key).map(|()| key)
    });
    let key = hashed.await.map_err(broken)?.map_err(broken)?;
    Ok(Json(Data { data: stored.len() + usize::from(key[0]) }))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Connections are never asked whether they are still there: nobody takes the database away meanwhile.
    let db =
        PgPoolOptions::new().max_connections(16).test_before_acquire(false).connect(&env::var("DATABASE_URL")?).await?;
    let key = Arc::new(DecodingKey::from_secret(env::var("JWT_SECRET_KEY")?.as_bytes()));
    let hashes = Arc::new(Semaphore::new(std::thread::available_parallelism()?.get()));
    let routes = Router::new()
        .route("/api-health", get(health))
        .route("/auth", post(sign_in))
        .route("/api/v1/user/me", get(me))
        .route("/api/v1/script", get(scripts))
        .route("/api/v1/script/{script}/run", post(run))
        .route("/api/v1/execution", get(all))
        .route("/api/v1/execution/user", get(own))
        .route("/api/v1/execution/{execution}", get(one))
        .route("/api/v1/execution/{execution}", patch(report))
        .route("/api/v1/execution/{execution}/log", get(lines))
        .route("/api/v1/execution/{execution}/log", post(add))
        .with_state(App { db, key, hashes });
    let listener = tokio::net::TcpListener::bind(env::var("LISTEN")?).await?;
    axum::serve(listener, routes).await?;
    Ok(())
}
