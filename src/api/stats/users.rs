//! `/api/v1/stats/users`: who came, from where, and who works.

use std::collections::{BTreeMap, BTreeSet};

use axum::{Json, extract::State};
use serde::Serialize;
use serde_json::Value;

use super::{BUCKETS, dashboard, kept, may, period};
use crate::{
    api::{
        Data, data,
        extract::{
            query::Pairs,
            times::{Bucket, Period},
        },
    },
    app::App,
    auth::User,
    error::Result,
    store::{self, Id, Time},
};

#[derive(Serialize, utoipa::ToSchema)]
struct View {
    registration_trends: Vec<Registered>,
    #[schema(value_type = Object)]
    geographic_distribution: Value,
    activity_stats: Activity,
}

#[derive(Serialize, utoipa::ToSchema)]
struct Registered {
    /// A day; a time where the bucket is shorter.
    date: String,
    new_users: i64,
    /// Since the beginning of the period.
    total_users: i64,
}

#[derive(Serialize, utoipa::ToSchema)]
struct Activity {
    /// People who began a run in the period.
    active_users_in_period: usize,
    active_users_countries: usize,
    /// People without any run at all.
    never_executed: i64,
}

/// Who came in the period, from where, and who works. `country` counts for who came. SUPERADMIN only.
#[utoipa::path(get, path = "/api/v1/stats/users", tag = "stats", security(("bearerAuth" = ["stats:read"])),
    params(("period" = Option<String>, Query), ("group_by" = Option<String>, Query), ("country" = Option<String>, Query)),
    responses((status = 200, body = Data<View>), (status = 400, body = crate::api::ErrorBody), (status = 403, body = crate::api::ErrorBody)))]
pub async fn users(State(app): State<App>, user: User, query: Pairs) -> Result<Json<Data<Value>>> {
    may(&user, "SUPERADMIN role required for user statistics")?;
    let period = period(&query, "last_year")?;
    let bucket = match query.get("group_by").unwrap_or("month") {
        "" => Bucket::Day,
        "15min" | "15_min" | "15-min" | "15-minute" | "quarter-hour" | "quarterhour" => Bucket::QuarterHour,
        name => Bucket::read(name, &BUCKETS)?,
    };
    let country = query.get("country").filter(|text| !text.is_empty());
    let key = format!(
        "stats_service:get_user_stats:country={}_group_by={}_period={}",
        country.unwrap_or("none"),
        bucket.name(),
        period.name
    );
    Ok(data(kept(&app, key, view(&app, period, bucket, country)).await?))
}

async fn view(app: &App, period: Period, bucket: Bucket, country: Option<&str>) -> Result<View> {
    let (db, since) = (&app.db, period.since(app.clock.now()));
    let mut new: BTreeMap<Time, i64> = BTreeMap::new();
    for (at, n) in store::users::statistics::registered(db, since, country).await? {
        *new.entry(bucket.of(at)).or_default() += n;
    }
    let mut total = 0;
    let registered = |(at, n): (Time, i64)| {
        total += n;
        let form = if bucket.is_short() { "%Y-%m-%dT%H:%M:%S" } else { "%Y-%m-%d" };
        Registered { date: at.format(form).to_string(), new_users: n, total_users: total }
    };
    let registration_trends = new.into_iter().map(registered).collect();
    let groups = store::execution_daily::groups(db, since).await?;
    let active: BTreeSet<Id> = groups.into_iter().filter_map(|group| group.user_id).collect();
    let places = store::users::statistics::places(db).await?;
    let countries: BTreeSet<&str> =
        places.iter().filter(|(user, _)| active.contains(user)).map(|(_, country)| country.as_str()).collect();
    Ok(View {
        registration_trends,
        geographic_distribution: dashboard::geographic(app, period).await?,
        activity_stats: Activity {
            active_users_in_period: active.len(),
            active_users_countries: countries.len(),
            never_executed: store::users::statistics::without_runs(db).await?,
        },
    })
}
