//! Periods and buckets of statistics, by the words that clients use (contract/scripts-executions.md 3).

use chrono::{Datelike, Days, TimeDelta, Timelike};

use super::query::Pairs;
use crate::{
    clock,
    error::{Error, Result},
    store::{Time, db::Unit, execution_daily::midnight},
};

/// The last so many days, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    pub name: &'static str,
    days: Option<i64>,
}

const PERIODS: [(&str, Option<i64>); 5] =
    [("last_day", Some(1)), ("last_week", Some(7)), ("last_month", Some(30)), ("last_year", Some(365)), ("all", None)];

impl Period {
    /// The period of this name.
    pub fn read(name: &str) -> Result<Self> {
        let found = PERIODS.iter().find(|(known, _)| *known == name);
        let found = found.map(|(name, days)| Period { name, days: *days });
        let names = PERIODS.map(|(name, _)| name).join(", ");
        found.ok_or_else(|| Error::invalid(format!("Invalid period. Must be one of: {names}")))
    }

    /// When it begins; `None` is before everything.
    pub fn since(self, now: Time) -> Option<Time> {
        self.days.map(|days| now - TimeDelta::days(days))
    }
}

/// What numbers are gathered by. Weeks begin on Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    QuarterHour,
    Hour,
    Day,
    Week,
    Month,
}

impl Bucket {
    /// The bucket of this name, one of those that a page knows.
    pub fn read(name: &str, known: &[Bucket]) -> Result<Self> {
        let found = known.iter().find(|bucket| bucket.name() == name).copied();
        let names: Vec<&str> = known.iter().map(|bucket| bucket.name()).collect();
        found.ok_or_else(|| Error::invalid(format!("Invalid group_by. Must be one of: {}", names.join(", "))))
    }

    pub fn name(self) -> &'static str {
        match self {
            Bucket::QuarterHour => "quarter_hour",
            Bucket::Hour => "hour",
            Bucket::Day => "day",
            Bucket::Week => "week",
            Bucket::Month => "month",
        }
    }

    /// Whether it is less than a day.
    pub fn is_short(self) -> bool {
        matches!(self, Bucket::QuarterHour | Bucket::Hour)
    }

    /// The largest unit that fits into it, of those that a database counts by.
    pub fn unit(self) -> Unit {
        match self {
            Bucket::QuarterHour => Unit::QuarterHour,
            Bucket::Hour => Unit::Hour,
            Bucket::Day | Bucket::Week | Bucket::Month => Unit::Day,
        }
    }

    /// When the bucket of a time begins.
    pub fn of(self, time: Time) -> Time {
        let day = midnight(time);
        match self {
            Bucket::QuarterHour => day + TimeDelta::minutes(i64::from(time.hour() * 60 + time.minute() / 15 * 15)),
            Bucket::Hour => day + TimeDelta::hours(i64::from(time.hour())),
            Bucket::Day => day,
            Bucket::Week => day - Days::new(u64::from(time.weekday().num_days_from_monday())),
            Bucket::Month => day - Days::new(u64::from(time.day0())),
        }
    }
}

/// A time of the query; an empty one counts as absent.
pub fn time(query: &Pairs, key: &str) -> Result<Option<Time>> {
    let Some(text) = query.get(key).filter(|text| !text.is_empty()) else { return Ok(None) };
    let wrong = || Error::invalid(format!("{key} is {text:?}; it must be a date or time such as 2026-11-24T02:56:01"));
    clock::parse(text).map(Some).ok_or_else(wrong)
}
