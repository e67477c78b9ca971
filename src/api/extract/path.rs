//! Ids and keys in paths. What cannot name anything is answered like what is not there.

use std::collections::HashMap;

use axum::{
    RequestPartsExt,
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};

use crate::{
    app::App,
    error::{Error, Result},
    store::{Id, scripts::Key, users},
};

/// `{execution}`: a UUID.
#[derive(Debug, Clone, Copy)]
pub struct ExecutionPath(pub Id);

/// `{user}`: a UUID in any form, else an address, exactly. Keeps the text for the answer.
#[derive(Debug, Clone)]
pub struct UserPath {
    pub key: users::Key,
    pub text: String,
}

impl UserPath {
    /// The 404 that names what was asked for.
    pub fn missing(&self) -> Error {
        Error::not_found(format!("User with id {} does not exist", self.text))
    }
}

/// `{id}`, or `{user}` where no address will do: a UUID; `None` if it is none, which names nothing.
#[derive(Debug, Clone, Copy)]
pub struct IdPath(pub Option<Id>);

/// `{script}`: a UUID in any form, else a slug. Keeps the text for the answer.
#[derive(Debug, Clone)]
pub struct ScriptPath {
    pub key: Key,
    pub text: String,
}

impl ScriptPath {
    /// The 404 that names what was asked for.
    pub fn missing(&self) -> Error {
        Error::not_found(format!("Script with id {} does not exist", self.text))
    }
}

/// `{role}`: a word, which may name no role.
#[derive(Debug, Clone)]
pub struct RolePath(pub String);

impl FromRequestParts<App> for RolePath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        Ok(RolePath(params(parts).await?.remove("role").unwrap_or_default()))
    }
}

/// `{name}`: a word, which may name nothing.
#[derive(Debug, Clone)]
pub struct NamePath(pub String);

impl FromRequestParts<App> for NamePath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        Ok(NamePath(params(parts).await?.remove("name").unwrap_or_default().replace('\0', "")))
    }
}

/// `{language}`: a code such as `es`, which may name nothing.
#[derive(Debug, Clone)]
pub struct LanguagePath(pub String);

impl FromRequestParts<App> for LanguagePath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        Ok(LanguagePath(params(parts).await?.remove("language").unwrap_or_default().replace('\0', "")))
    }
}

/// `{number}`: a version of a script; `None` if it is no number, which names none.
#[derive(Debug, Clone)]
pub struct VersionPath(pub Option<i32>);

impl FromRequestParts<App> for VersionPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        Ok(VersionPath(params(parts).await?.get("number").and_then(|text| text.parse().ok())))
    }
}

/// `{identifier}`: who is counted, `user:<id>` or `ip:<address>`.
#[derive(Debug, Clone)]
pub struct IdentifierPath(pub String);

impl FromRequestParts<App> for IdentifierPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        let mut params = params(parts).await?;
        Ok(IdentifierPath(params.remove("identifier").unwrap_or_default().replace('\0', "")))
    }
}

async fn params(parts: &mut Parts) -> Result<HashMap<String, String>> {
    let params: RawPathParams = parts.extract().await.map_err(|_| Error::not_found("Not Found"))?;
    Ok(params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

impl FromRequestParts<App> for ExecutionPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        let params = params(parts).await?;
        params
            .get("execution")
            .and_then(|text| Id::parse(text))
            .map(ExecutionPath)
            .ok_or_else(|| Error::not_found("Ticket Not Found"))
    }
}

impl FromRequestParts<App> for UserPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        let mut params = params(parts).await?;
        let text = params.remove("user").filter(|text| !text.contains('/'));
        let text = text.ok_or_else(|| Error::not_found("Not Found"))?;
        let key = Id::parse(&text).map_or_else(|| users::Key::Email(text.replace('\0', "")), users::Key::Id);
        Ok(UserPath { key, text })
    }
}

impl FromRequestParts<App> for IdPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        let params = params(parts).await?;
        Ok(IdPath(params.get("id").or_else(|| params.get("user")).and_then(|text| Id::parse(text))))
    }
}

impl FromRequestParts<App> for ScriptPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        let mut params = params(parts).await?;
        // A name cannot hold a slash, not even an escaped one: there is no such page.
        let text = params.remove("script").filter(|text| !text.contains('/'));
        let text = text.ok_or_else(|| Error::not_found("Not Found"))?;
        let key = Id::parse(&text).map_or_else(|| Key::Slug(text.chars().filter(|c| *c != '\0').collect()), Key::Id);
        Ok(ScriptPath { key, text })
    }
}
