//! `openapi`: the document that the program prints is the one in the repository. A changed API is a visible change.

use crate::support::{Place, Server};

#[tokio::test]
async fn the_document_is_the_one_in_the_repository() {
    let place = Place::new().await;
    let said = place.program(&["openapi"]).run().await;
    let golden = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json")).unwrap_or_default();
    assert!(said.ended(0) == golden, "the API has changed; renew the file: cargo run -- openapi > openapi.json");

    let server = Server::api_only().await;
    let served = server.anonymous().get("/swagger.json").await.expect(200);
    assert_eq!(served, serde_json::from_str::<serde_json::Value>(&golden).unwrap());
}
