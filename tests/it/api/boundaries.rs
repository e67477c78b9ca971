//! `GET /api/v1/data/boundaries/list` and `…/last-updated`.

use serde_json::json;

use crate::support::Server;

const LIST: &str = "/api/v1/data/boundaries/list";
const UPDATED: &str = "/api/v1/data/boundaries/last-updated";

#[tokio::test]
async fn without_boundaries_the_list_is_empty_and_nothing_was_updated() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let empty = json!({"boundaries": [], "last_updated": null, "release_type": "gbOpen"});
    assert_eq!(user.get(LIST).await.expect(200), empty);
    user.get(&format!("{UPDATED}?release_type=gbHumanitarian"))
        .await
        .refused(404, "No boundary data found for release type: gbHumanitarian");
    let wrong = "Invalid release_type parameter. Must be one of: gbOpen, gbHumanitarian, gbAuthoritative";
    for path in [LIST, UPDATED] {
        user.get(&format!("{path}?release_type=bogus")).await.refused(400, wrong);
        server.anonymous().get(path).await.refused(401, "Authorization token required");
    }
}

#[tokio::test]
async fn countries_come_by_name_with_their_parts_and_links() {
    let server = Server::api_only().await;
    for (iso, name, at) in [("ITA", "Italy", "2026-01-02 03:04:05"), ("ATA", "Antarctica", "2026-01-01 00:00:00")] {
        server
            .execute(&format!(
                r#"INSERT INTO admin_boundary_0_metadata ("boundaryISO", "releaseType", "boundaryName", "gjDownloadURL", "tjDownloadURL", created_at, updated_at)
                   VALUES ('{iso}', 'gbOpen', '{name}', 'https://example.org/{iso}.geojson', NULL, '{at}', '{at}')"#
            ))
            .await;
    }
    server
        .execute(r#"INSERT INTO admin_boundary_1_metadata ("boundaryISO", "releaseType", "gjDownloadURL", updated_at) VALUES ('ITA', 'gbOpen', 'https://example.org/parts', '2026-01-01 00:00:00')"#)
        .await;
    for (id, name) in [("2", "Toscana"), ("1", "Lazio")] {
        server
            .execute(&format!(r#"INSERT INTO admin_boundary_1_unit ("shapeID", "releaseType", "boundaryISO", "shapeName", updated_at) VALUES ('{id}', 'gbOpen', 'ITA', '{name}', '2026-01-01 00:00:00')"#))
            .await;
    }
    let user = server.user("ada").await;
    let list = user.get(LIST).await.expect(200);
    let italy = json!({"boundaryISO": "ITA", "boundaryName": "Italy", "releaseType": "gbOpen",
        "adm0_geojson_url": "https://example.org/ITA.geojson", "adm0_topojson_url": null,
        "adm1_geojson_url": "https://example.org/parts", "adm1_topojson_url": null,
        "admin1_units": [{"shapeID": "1", "shapeName": "Lazio"}, {"shapeID": "2", "shapeName": "Toscana"}]});
    assert_eq!(list["boundaries"][1], italy);
    assert_eq!(list["boundaries"][0]["boundaryName"], "Antarctica");
    assert_eq!(list["boundaries"][0]["admin1_units"], json!([]));
    assert_eq!(list["last_updated"], "2026-01-02T03:04:05");
    let updated = json!({"last_updated": "2026-01-02T03:04:05", "release_type": "gbOpen"});
    assert_eq!(user.get(UPDATED).await.data(200), updated);
}
