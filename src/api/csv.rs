//! Lists as CSV files: read and sent piece by piece; no cell is a formula.

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;

use super::extract::query::Pairs;
use crate::{
    clock,
    error::{Error, Result},
    store::{
        Time,
        search::{Clause, Column, Op, Search, Value},
    },
};

/// Rows of a file that somebody would open.
pub const MOST: i64 = 100_000;

/// Rows that are read and sent at one time.
const CHUNK: i64 = 1_000;

/// Refuses files that nobody would open (contract/auth-users.md 7).
pub fn within(rows: i64, most: i64) -> Result<()> {
    if rows <= most {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "Export would return {} rows which exceeds the maximum of {}. Narrow the date range and try again.",
        thousands(rows),
        thousands(most)
    )))
}

/// The search of `date_field`, which must be one of these columns, `date_from` and `date_to`; both ends are within. What is no
/// date is passed over.
pub fn narrowed(query: &Pairs, columns: &[Column], dates: &[&str]) -> Result<Search> {
    let mut search = Search::default();
    let Some(field) = query.get("date_field").filter(|text| !text.is_empty()) else { return Ok(search) };
    let column = columns.iter().find(|column| dates.contains(&column.name) && column.name == field);
    let column = *column.ok_or_else(|| Error::invalid(format!("Invalid date_field '{field}'")))?;
    for (name, op) in [("date_from", Op::Ge), ("date_to", Op::Le)] {
        if let Some(time) = query.get(name).and_then(clock::parse) {
            search.filter.push(vec![Clause { column, op, value: Value::Time(time) }]);
        }
    }
    Ok(search)
}

fn thousands(n: i64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A flag as the existing server writes it.
pub fn flag(value: Option<bool>) -> String {
    match value {
        Some(true) => "True".into(),
        Some(false) => "False".into(),
        None => String::new(),
    }
}

/// A time as the API writes it.
pub fn time(value: Option<Time>) -> String {
    value.and_then(|time| serde_json::to_value(time).ok()?.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A spreadsheet would run what begins like a formula: a tabulator before it makes it text.
fn cell(text: String) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("\t{text}") } else { text }
}

fn lines(rows: impl IntoIterator<Item = Vec<String>>) -> Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for row in rows {
        writer.write_record(row.into_iter().map(cell)).map_err(anyhow::Error::from)?;
    }
    writer.into_inner().map_err(|error| Error::Internal(anyhow::anyhow!("csv: {error}")))
}

/// A file of this name and head; `read` gives the rows of (limit, offset).
pub async fn file<F, R>(name: &str, now: Time, head: &[&str], read: F) -> Result<Response>
where
    F: Fn(i64, i64) -> R + Send + 'static,
    R: Future<Output = Result<Vec<Vec<String>>>> + Send + 'static,
{
    // Spreadsheets tell UTF-8 by its mark.
    let mut first = vec![0xef, 0xbb, 0xbf];
    first.extend(lines([head.iter().map(|name| (*name).to_owned()).collect()])?);
    let rows = read(CHUNK, 0).await?;
    let more = i64::try_from(rows.len()).unwrap_or(CHUNK) == CHUNK;
    first.extend(lines(rows)?);
    let rest = futures::stream::try_unfold(more.then_some(CHUNK), move |next| {
        let rows = next.map(|offset| (offset, read(CHUNK, offset)));
        async move {
            let Some((offset, rows)) = rows else { return Ok::<_, Error>(None) };
            let rows = rows.await?;
            let more = i64::try_from(rows.len()).unwrap_or(CHUNK) == CHUNK;
            Ok(Some((Bytes::from(lines(rows)?), more.then_some(offset + CHUNK))))
        }
    });
    let rest = futures::TryStreamExt::map_err(rest, |error| std::io::Error::other(format!("{error:?}")));
    let body = futures::StreamExt::chain(futures::stream::once(async { Ok(Bytes::from(first)) }), rest);
    let file = format!("attachment; filename=\"{name}_{}.csv\"", now.format("%Y%m%d_%H%M%S"));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_str(&file).map_err(anyhow::Error::from)?),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}
