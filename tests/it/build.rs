//! What becomes of an upload: archive, configuration, requirements, environment.

mod archive;
mod configuration;
mod environment;
mod requirements;
