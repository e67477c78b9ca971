//! Earth Engine: whether a token opens it, and the end of a task.

use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::Google;
use crate::outside::Failure;

const HOST: &str = "earthengine.googleapis.com";
/// States of a task that need no end, or have one.
const ENDING: [&str; 2] = ["CANCELLING", "CANCELLED"];
const OVER: [&str; 2] = ["SUCCEEDED", "FAILED"];

impl Google {
    /// Has Earth Engine compute a one, for this project.
    pub async fn computes(&self, token: &SecretString, project: &str) -> Result<(), Failure> {
        let url = self.url(HOST, &format!("/v1/projects/{project}/value:compute"));
        let one = json!({"expression": {"result": "0", "values": {"0": {"constantValue": 1}}}});
        self.ask(self.request(Method::POST, &url, token).json(&one)).await.map(drop)
    }

    /// Ends a task; false if it had ended by itself.
    pub async fn cancel_task(&self, token: &SecretString, project: &str, task: &str) -> Result<bool, Failure> {
        let url = self.url(HOST, &format!("/v1/projects/{project}/operations/{task}"));
        let operation = self.ask(self.request(Method::GET, &url, token)).await?;
        let state = operation["metadata"]["state"].as_str().unwrap_or_default();
        if ENDING.contains(&state) {
            return Ok(true);
        }
        if operation["done"] == Value::Bool(true) || OVER.contains(&state) {
            return Ok(false);
        }
        self.ask(self.request(Method::POST, &format!("{url}:cancel"), token).json(&json!({}))).await?;
        Ok(true)
    }
}
