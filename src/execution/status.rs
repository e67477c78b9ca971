//! The states of an execution and its legal moves; the database is the referee (`store::executions::set_status`).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A state as clients and the reference spell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Accepted, waits.
    Pending,
    /// Given to an engine.
    Ready,
    /// Only written by containers of another era.
    Submitted,
    /// The script's own code runs.
    Running,
    /// Somebody asked for the end.
    Cancelling,
    Finished,
    Failed,
    Cancelled,
}

use Status::{Cancelled, Cancelling, Failed, Finished, Pending, Ready, Running, Submitted};

/// Every state.
pub const ALL: [Status; 8] = [Pending, Ready, Submitted, Running, Cancelling, Finished, Failed, Cancelled];

/// What a request for a state means to an execution that is in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The state changes, with all that follows.
    Move,
    /// Nothing changes; the asker gets the stored row and a 200.
    Absorb,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Pending => "PENDING",
            Ready => "READY",
            Submitted => "SUBMITTED",
            Running => "RUNNING",
            Cancelling => "CANCELLING",
            Finished => "FINISHED",
            Failed => "FAILED",
            Cancelled => "CANCELLED",
        }
    }

    /// Nothing leaves these.
    pub fn is_terminal(self) -> bool {
        matches!(self, Finished | Failed | Cancelled)
    }

    /// What a word of the run itself (a PATCH, a line of its journal, the worker that follows it) means for one of our
    /// executions. Dispatch to READY and the request to cancel are not words of the run: see `dispatch` and `cancel`.
    pub fn report(self, to: Status) -> Verdict {
        match (self, to) {
            (Finished | Failed | Cancelled, _) | (_, Ready | Submitted | Pending) => Verdict::Absorb,
            (Pending | Ready | Submitted, Running) => Verdict::Move,
            (Running | Cancelling, Running) => Verdict::Absorb,
            (Cancelling, Cancelling) => Verdict::Absorb,
            (Pending | Ready | Submitted | Running, Cancelling) => Verdict::Move,
            (_, Finished | Failed | Cancelled) => Verdict::Move,
        }
    }

    /// The same for an execution of the existing server, whose PATCH sets any open state from any open one.
    pub fn report_foreign(self, to: Status) -> Verdict {
        if self.is_terminal() || self == to { Verdict::Absorb } else { Verdict::Move }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        ALL.into_iter().find(|s| s.as_str() == text).ok_or(())
    }
}

impl<DB: sqlx::Database> sqlx::Type<DB> for Status
where
    str: sqlx::Type<DB>,
{
    fn type_info() -> DB::TypeInfo {
        <str as sqlx::Type<DB>>::type_info()
    }
    fn compatible(ty: &DB::TypeInfo) -> bool {
        <str as sqlx::Type<DB>>::compatible(ty)
    }
}

impl<'q, DB: sqlx::Database> sqlx::Encode<'q, DB> for Status
where
    &'q str: sqlx::Encode<'q, DB>,
{
    fn encode_by_ref(&self, buf: &mut DB::ArgumentBuffer) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
        <&'q str as sqlx::Encode<'q, DB>>::encode(self.as_str(), buf)
    }
}

impl<'r, DB: sqlx::Database> sqlx::Decode<'r, DB> for Status
where
    &'r str: sqlx::Decode<'r, DB>,
{
    fn decode(value: DB::ValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
        let text = <&'r str as sqlx::Decode<'r, DB>>::decode(value)?;
        text.parse().map_err(|()| format!("an execution has the unknown status {text}").into())
    }
}
