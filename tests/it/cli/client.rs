//! `client`: an author's command line against a real server.

mod follow;
mod front;
mod publish;
mod session;

use std::path::PathBuf;

use trends_earth::store::users::Role;

use crate::support::{Package, Place, Program, Server};

/// Somebody on a shell of his own, with a session of his own.
pub struct Author {
    pub place: Place,
    pub email: String,
    pub password: String,
}

impl Author {
    /// An account of the server that has not signed in yet.
    pub async fn new(server: &Server, name: &str, role: Role) -> Self {
        let account = server.account(name, role).await;
        Author { place: Place::new().await, email: account.email, password: account.password }
    }

    /// An administrator who has signed in at this address.
    pub async fn signed_in(server: &Server, name: &str, url: &str) -> Self {
        let author = Self::new(server, name, Role::Admin).await;
        author.sign_in(url).await;
        author
    }

    pub async fn sign_in(&self, url: &str) {
        let said = self.client(&["login", "--url", url, "--email", &self.email]).input(&self.password).run().await;
        assert_eq!(said.ended(0), format!("{} is signed in at {url}.\n", self.email));
        assert!(!said.err.contains(&self.password), "{}", said.err);
    }

    pub fn config(&self) -> PathBuf {
        self.place.folder.join("config")
    }

    pub fn session(&self) -> PathBuf {
        self.config().join("session.json")
    }

    /// `trends-earth client` with these words.
    pub fn client(&self, words: &[&str]) -> Program {
        self.place.program(&[&["client"], words].concat()).env("TE_CONFIG_DIR", self.config())
    }

    /// Lays a package out as a folder; its path.
    pub fn folder(&self, package: &Package) -> String {
        let folder = self.place.folder.join("script");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("src")).unwrap();
        std::fs::write(folder.join("configuration.json"), package.configuration.to_string()).unwrap();
        for (path, bytes) in &package.files {
            std::fs::write(folder.join(path), bytes).unwrap();
        }
        folder.to_str().unwrap().to_owned()
    }

    /// Publishes a package; its build is told.
    pub async fn publish(&self, package: &Package) {
        let said = self.client(&["publish", &self.folder(package)]).run().await;
        assert!(said.ended(0).contains("Build successful."), "{}{}", said.out, said.err);
    }
}
