//! Who a mail to many goes to: the criteria of a list as a search over accounts (contract/content-admin.md 3.1).

use serde_json::{Map, Value as Json};

use crate::{
    clock,
    error::{Error, Result},
    store::{
        Id, Time,
        search::{Clause, Column, Kind, Op, Search, Value},
        users::Role,
    },
};

const ID: Column = Column::new("id", "id", Kind::Id);
const ROLE: Column = Column::new("role", "role", Kind::Text);
const VERIFIED: Column = Column::new("email_verified", "email_verified", Kind::Flag);
const CREATED: Column = Column::new("created_at", "created_at", Kind::Time);
const ACTIVE: Column = Column::new("last_activity_at", "last_activity_at", Kind::Time);

/// What somebody subscribes to, and the column that says so.
pub const SUBSCRIPTIONS: [(&str, Column); 3] = [
    ("engagement", Column::new("engagement", "email_subscription_engagement", Kind::Flag)),
    ("news", Column::new("news", "email_subscription_news", Kind::Flag)),
    ("system_updates", Column::new("system_updates", "email_subscription_system_updates", Kind::Flag)),
];

/// The accounts that criteria mean; what they do not know they pass over.
pub fn search(criteria: &Map<String, Json>) -> Result<Search> {
    let mut search = Search::default();
    if let Some(roles) = criteria.get("roles").filter(|roles| !is_nothing(roles)) {
        search.filter.push(of_roles(roles)?);
    }
    for (key, column, op) in [
        ("min_created_at", CREATED, Op::Ge),
        ("max_created_at", CREATED, Op::Le),
        ("min_last_activity_at", ACTIVE, Op::Ge),
        ("max_last_activity_at", ACTIVE, Op::Le),
    ] {
        if let Some(said) = criteria.get(key).filter(|said| !is_nothing(said)) {
            let value = Value::Time(time(key, said)?);
            search.filter.push(vec![Clause { column, op, value }]);
        }
    }
    match criteria.get("email_verified") {
        None | Some(Json::Null) => {}
        Some(Json::Bool(flag)) => {
            search.filter.push(vec![Clause { column: VERIFIED, op: Op::Eq, value: Value::Flag(*flag) }]);
        }
        Some(_) => return Err(Error::invalid("email_verified must be true or false.")),
    }
    Ok(search)
}

/// The same, of those who want mails of this kind.
pub fn subscribed(criteria: &str, subscription: Option<&str>) -> Result<Search> {
    let criteria: Map<String, Json> =
        serde_json::from_str(criteria).map_err(|_| Error::invalid("filter_criteria must be an object."))?;
    let mut search = search(&criteria)?;
    let columns = SUBSCRIPTIONS.iter().filter(|(name, _)| subscription == Some(*name));
    search
        .filter
        .extend(columns.map(|(_, column)| vec![Clause { column: *column, op: Op::Eq, value: Value::Flag(true) }]));
    Ok(search)
}

/// The same, of accounts after this one in the order of their ids.
pub fn after(mut search: Search, last: Option<Id>) -> Search {
    search.filter.extend(last.map(|last| vec![Clause { column: ID, op: Op::Gt, value: Value::Id(last) }]));
    search.sort = vec![(ID, false)];
    search
}

/// What counts as no criterion.
fn is_nothing(said: &Json) -> bool {
    match said {
        Json::Null | Json::Bool(false) => true,
        Json::String(text) => text.is_empty(),
        Json::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn of_roles(said: &Json) -> Result<Vec<Clause>> {
    let words: Option<Vec<&str>> = said.as_array().and_then(|list| list.iter().map(Json::as_str).collect());
    let words = words.ok_or_else(|| Error::invalid("roles must be a list of names of roles."))?;
    let mut unknown: Vec<String> =
        words.iter().filter(|word| Role::parse(word).is_none()).map(|word| format!("'{word}'")).collect();
    unknown.sort();
    if !unknown.is_empty() {
        return Err(Error::invalid(format!(
            "Unknown role(s): [{}]. Valid values: ['ADMIN', 'SUPERADMIN', 'USER'].",
            unknown.join(", ")
        )));
    }
    Ok(words.iter().map(|word| Clause { column: ROLE, op: Op::Eq, value: Value::Text((*word).to_owned()) }).collect())
}

fn time(key: &str, said: &Json) -> Result<Time> {
    let text = said.as_str().map_or_else(|| said.to_string(), str::to_owned);
    clock::parse(&text).ok_or_else(|| {
        Error::invalid(format!(
            "Invalid datetime for '{key}': '{text}'. Expected ISO 8601 format, e.g. '2024-01-01T00:00:00'."
        ))
    })
}
