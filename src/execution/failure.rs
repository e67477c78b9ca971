//! Why an execution failed, typed for clients and as a sentence for people.

use serde::{Deserialize, Serialize};

use crate::engine::{Exit, Limits, grouped};

/// The kinds of failure that clients can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    UserInput,
    ScriptError,
    OutOfMemory,
    Timeout,
    Cancelled,
    Infrastructure,
}

/// `failure` of an execution that FAILED or was CANCELLED.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Failure {
    pub class: Class,
    /// `null` if unknown.
    pub exit_code: Option<i32>,
    /// `null` if no signal ended it, or it is unknown.
    pub signal: Option<i32>,
    /// What happened, a sentence.
    pub message: String,
    /// What can be done, a sentence.
    pub hint: Option<String>,
    /// The last lines that the run said, at most 20 and 4 kB.
    pub log_tail: Vec<String>,
    /// Whether the same run may succeed when started again.
    pub retryable: bool,
}

impl Failure {
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        let hint = match class {
            Class::OutOfMemory => Some("Ask for a smaller area, or have the script's memory_limit raised."),
            Class::Timeout => Some("Ask for a smaller area, or have the script's timeout_s raised."),
            Class::Infrastructure => Some("The fault is the server's; start the run again."),
            Class::UserInput => Some("Change the parameters and start the run again."),
            Class::ScriptError | Class::Cancelled => None,
        };
        Failure {
            class,
            exit_code: None,
            signal: None,
            message: message.into(),
            hint: hint.map(str::to_owned),
            log_tail: Vec::new(),
            retryable: class == Class::Infrastructure,
        }
    }

    /// A unit of ours that is gone without a word.
    pub fn lost() -> Self {
        Failure::new(
            Class::Infrastructure,
            "The run was lost: the machine that ran it stopped without a word of its end.",
        )
    }

    /// What a runner says of its script. It may blame the script or the parameters, never the machine.
    pub fn said(class: &str, message: String) -> Self {
        let class = match class {
            "user_input" => Class::UserInput,
            "out_of_memory" => Class::OutOfMemory,
            _ => Class::ScriptError,
        };
        Failure::new(class, message)
    }

    /// Judges the end of a unit: what its keeper saw counts more than what the script said of itself.
    pub fn of_exit(exit: &Exit, said: Option<(String, String)>, limits: &Limits) -> Self {
        let mut failure = if exit.oom {
            Failure::new(Class::OutOfMemory, out_of_memory(limits))
        } else if exit.timed_out {
            Failure::new(
                Class::Timeout,
                format!("The run took longer than its limit of {} seconds and was stopped.", grouped(limits.timeout_s)),
            )
        } else if exit.stopped {
            Failure::new(Class::Cancelled, "The run was cancelled.")
        } else if let Some(error) = &exit.error {
            // The keeper writes an error for what the script did to its limits, or for a sandbox that did not start.
            let class =
                if exit.code.is_none() && exit.signal.is_none() { Class::Infrastructure } else { Class::ScriptError };
            Failure::new(class, error.clone())
        } else if let Some((class, message)) = said {
            match class.as_str() {
                "out_of_memory" => Failure::new(Class::OutOfMemory, out_of_memory(limits)),
                _ => Failure::said(&class, message),
            }
        } else {
            Failure::new(
                Class::ScriptError,
                match (exit.signal, exit.code) {
                    (Some(signal), _) => {
                        format!("The script was ended by signal {signal} before it returned a result.")
                    }
                    (None, Some(code)) if code > 128 => {
                        format!("The script was ended by signal {} before it returned a result.", code - 128)
                    }
                    (None, Some(0)) => "The script ended without reporting a result.".to_owned(),
                    (None, code) => {
                        format!("The script ended with exit code {} before it returned a result.", code.unwrap_or(-1))
                    }
                },
            )
        };
        failure.exit_code = exit.code;
        failure.signal =
            exit.signal.or_else(|| exit.code.filter(|code| (129..=192).contains(code)).map(|code| code - 128));
        failure
    }

    /// Adds the last words, within their bounds.
    pub fn with_tail(mut self, lines: Vec<String>) -> Self {
        let mut room = 4_000;
        for line in lines.into_iter().rev().take(20) {
            let cut: String = line.chars().take(1_000).collect();
            if cut.len() > room {
                break;
            }
            room -= cut.len();
            self.log_tail.insert(0, cut);
        }
        self
    }
}

fn out_of_memory(limits: &Limits) -> String {
    format!("The run used more than its limit of {} bytes of memory and was stopped.", grouped(limits.memory_bytes))
}
