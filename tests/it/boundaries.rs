//! Boundaries on their way into the database: a list in a file, and geoBoundaries.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::http::{StatusCode, Uri};
use serde_json::{Value, json};

use crate::support::{Client, Options, Place, Said, Server, gzip, until};

/// The command on the data of a running server.
async fn command(server: &Server, words: &[&str]) -> Said {
    let place = Place::new().await;
    let mut all = vec!["boundaries"];
    all.extend_from_slice(words);
    all.extend(["--data-dir", server.folder.to_str().unwrap()]);
    let program = server.env().iter().fold(place.program(&all), |program, (name, value)| program.env(name, value));
    program.run().await
}

async fn updated(caller: &Client, release: &str) -> Value {
    caller.get(&format!("/api/v1/data/boundaries/last-updated?release_type={release}")).await.data(200)["last_updated"]
        .take()
}

#[tokio::test]
async fn a_list_is_imported_once_and_found_page_by_page() {
    let server = Server::api_only().await;
    let ada = server.user("ada").await;
    let country = |iso: &str, name: &str, units: Value| {
        let link = |level: u32| format!("https://example.org/{iso}/{level}");
        json!({"boundaryISO": iso, "boundaryName": name, "releaseType": "gbOpen", "adm0_geojson_url": link(0), "adm0_topojson_url": link(1),
            "adm1_geojson_url": if units == json!([]) { Value::Null } else { json!(link(2)) }, "adm1_topojson_url": null, "admin1_units": units})
    };
    let unit = |id: &str, name: &str| json!({"shapeID": id, "shapeName": name});
    let mut rows = vec![
        country("ITA", "Italy", json!([unit("i2", "Toscana"), unit("i1", "Lazio")])),
        country("ASM", "American Samoa", json!([])),
        country("FRA", "France", json!([unit("f1", "Bretagne")])),
    ];
    let file = server.folder.join("list.json.gz");
    let import = async |rows: &Vec<Value>| {
        std::fs::write(&file, gzip(json!({"data": rows}).to_string().as_bytes())).unwrap();
        command(&server, &["import", file.to_str().unwrap()]).await.ended(0).to_owned()
    };
    assert_eq!(import(&rows).await, "3 countries are imported; 3 of them are new or were changed.\n");
    let first = updated(&ada, "gbOpen").await;
    assert_eq!(import(&rows).await, "3 countries are imported; 0 of them are new or were changed.\n");
    assert_eq!(updated(&ada, "gbOpen").await, first);
    let list = ada.get("/api/v1/data/boundaries/list").await;
    rows.sort_by_key(|row| row["boundaryName"].to_string());
    rows[2]["admin1_units"] = json!([unit("i1", "Lazio"), unit("i2", "Toscana")]);
    assert_eq!(list.expect(200)["boundaries"], json!(rows));
    // Who has it already is told so, until anything changes.
    let known = list.headers["etag"].to_str().unwrap().to_owned();
    let again = || ada.request(reqwest::Method::GET, "/api/v1/data/boundaries/list").header("If-None-Match", &known);
    assert_eq!(ada.send(again()).await.status, 304);
    rows[2]["admin1_units"] = json!([unit("i1", "Latium")]);
    assert_eq!(import(&rows).await, "3 countries are imported; 1 of them are new or were changed.\n");
    assert_ne!(updated(&ada, "gbOpen").await, first);
    assert_eq!(ada.send(again()).await.expect(200)["boundaries"][2]["admin1_units"], json!([unit("i1", "Latium")]));

    let found = async |query: &str| {
        let page = ada.get(&format!("/api/v1/data/boundaries?{query}")).await.expect(200);
        let name = |row: &Value| row.get("shapeName").unwrap_or(&row["boundaryName"]).as_str().unwrap().to_owned();
        let names: Vec<String> = page["boundaries"].as_array().unwrap().iter().map(name).collect();
        (names.join(" "), page["meta"]["total"].as_i64().unwrap(), page["meta"]["has_more"].as_bool().unwrap())
    };
    for (query, names, total, more) in [
        ("", "American Samoa France Italy", 3, false),
        ("level=1,0&per_page=3", "Bretagne Latium American Samoa", 5, true),
        ("level=1,0&per_page=3&page=2", "France Italy", 5, false),
        ("level=0,0&per_page=2&page=2", "Italy American Samoa", 6, true),
        ("iso=ita&level=0,1", "Italy Latium", 2, false),
        ("iso=%25A&level=1", "Bretagne Latium", 2, false),
        ("name=AL", "Italy", 1, false),
        ("name=F%5C", "", 0, false),
        ("id=f1&level=0,1", "Bretagne", 1, false),
        ("updated_at_since=2999-01-01T00:00:00Z", "", 0, false),
        ("per_page=0", "American Samoa France Italy", 3, true),
        ("page=9223372036854775807", "", 3, false),
    ] {
        assert_eq!(found(query).await, (names.to_owned(), total, more), "{query}");
    }
    ada.get("/api/v1/data/boundaries?iso=%25%25%25%25%25").await.refused(400, "\"%%%%%\" has more than 4 % in it");
    for (wrong, why) in [
        ("[]", "the list is empty"),
        ("{", "the list is not valid JSON"),
        ("[{\"boundaryISO\": \"../x\"}]", "has no code"),
    ] {
        std::fs::write(&file, wrong).unwrap();
        command(&server, &["import", file.to_str().unwrap()]).await.failed(why);
    }
    command(&server, &["refresh"]).await.failed("TE_GEOBOUNDARIES_URL is not set");
}

/// A geoBoundaries of our own: what it answers at which path, and what was asked.
#[derive(Clone, Default)]
struct Geo {
    answers: Arc<Mutex<BTreeMap<String, String>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Geo {
    async fn start(&self) -> String {
        let geo = self.clone();
        let answer = move |uri: Uri| async move {
            geo.asked.lock().unwrap().push(uri.path().to_owned());
            match geo.answers.lock().unwrap().get(uri.path()) {
                Some(text) => (StatusCode::OK, text.clone()),
                None => (StatusCode::NOT_FOUND, String::new()),
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
        url
    }

    fn says(&self, path: &str, what: Value) {
        self.answers.lock().unwrap().insert(path.to_owned(), what.to_string());
    }

    fn forgets(&self, path: &str) {
        self.answers.lock().unwrap().remove(path);
    }

    /// What was asked since the last time.
    fn was_asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

#[tokio::test]
async fn what_changes_at_geoboundaries_changes_here_and_nothing_else() {
    let geo = Geo::default();
    let url = geo.start().await;
    let of = |iso: &str, level: &str, build: &str| {
        json!({"boundaryISO": iso, "boundaryName": format!("Land {iso}"), "boundaryID": format!("{iso}-{level}"), "boundaryType": level, "buildDate": build,
            "Continent": "Asia", "UNSDG-region": "x", "admUnitCount": "2", "meanVertices": "12.5", "maxAreaSqKM": "nan",
            "gjDownloadURL": format!("https://example.org/{iso}/{level}"), "simplifiedGeometryGeoJSON": format!("{url}/file/{iso}")})
    };
    let file = |names: &[&str]| {
        let feature = |name: &&str| json!({"type": "Feature", "geometry": {"type": "Point", "coordinates": [1.5, 2]}, "properties": {"shapeID": name.to_lowercase(), "shapeName": name}});
        json!({"type": "FeatureCollection", "features": names.iter().map(feature).collect::<Vec<_>>()})
    };
    let evil =
        json!({"boundaryISO": "EVL", "boundaryName": "Evil", "simplifiedGeometryGeoJSON": "https://127.0.0.1/file"});
    geo.says(
        "/gbOpen/ALL/ADM0/",
        json!([of("NPL", "ADM0", "1"), of("ATA", "ADM0", "1"), of("EVL", "ADM0", "1"), {"boundaryISO": "../.."}]),
    );
    geo.says("/gbOpen/IND/ADM0/", json!([of("IND", "ADM0", "1")]));
    geo.says("/gbOpen/NPL/ADM1/", of("NPL", "ADM1", "1"));
    geo.says("/gbOpen/IND/ADM1/", of("IND", "ADM1", "1"));
    geo.says("/gbOpen/EVL/ADM1/", evil);
    geo.says("/file/NPL", file(&["Bagmati", "Karnali"]));
    geo.says("/file/IND", file(&["Goa"]));
    geo.says("/gbHumanitarian/ALL/ADM0/", json!([of("NPL", "ADM0", "h")]));
    geo.says("/gbAuthoritative/ALL/ADM0/", json!([of("NPL", "ADM0", "a")]));

    // The server asks by itself, once.
    let server = Server::with(Options::default().set("TE_GEOBOUNDARIES_URL", &url)).await;
    until("boundaries are there", async || {
        server.rows("job WHERE kind = 'refresh_boundaries' AND state = 'done'").await == 1
    })
    .await;
    let ada = server.user("ada").await;
    let rows = ada.get("/api/v1/data/boundaries?level=0,1").await.expect(200);
    let names: Vec<&str> = rows["boundaries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row.get("shapeName").unwrap_or(&row["boundaryISO"]).as_str().unwrap())
        .collect();
    assert_eq!(names, ["ATA", "IND", "NPL", "Goa", "Bagmati", "Karnali"]);
    let nepal = &rows["boundaries"][2];
    assert_eq!(
        (&nepal["boundaryID"], &nepal["Continent"], &nepal["level"]),
        (&json!("NPL-ADM0"), &json!("Asia"), &json!(0))
    );
    let first = updated(&ada, "gbOpen").await;
    assert!(geo.was_asked().contains(&"/file/NPL".to_owned()));

    // Nothing has changed: no file is fetched, and nothing is newer.
    let said = command(&server, &["refresh", "--release", "gbOpen"]).await;
    assert_eq!(said.ended(1), "gbOpen: 4 countries; 0 new or changed, 0 withdrawn, 1 could not be fetched.\n");
    assert_eq!(geo.was_asked().iter().filter(|path| path.starts_with("/file")).count(), 0);
    assert_eq!(updated(&ada, "gbOpen").await, first);

    // A part gets a name, another one goes; a country goes with its parts; one loses them.
    geo.says("/gbOpen/NPL/ADM1/", of("NPL", "ADM1", "2"));
    geo.says("/file/NPL", file(&["Bagmati", "Koshi"]));
    geo.forgets("/gbOpen/IND/ADM1/");
    geo.says("/gbOpen/ALL/ADM0/", json!([of("NPL", "ADM0", "1")]));
    let said = command(&server, &["refresh", "--release", "gbOpen"]).await;
    assert_eq!(said.ended(0), "gbOpen: 2 countries; 2 new or changed, 1 withdrawn, 0 could not be fetched.\n");
    assert_eq!(geo.was_asked().iter().filter(|path| path.starts_with("/file")).collect::<Vec<_>>(), ["/file/NPL"]);
    let list = ada.get("/api/v1/data/boundaries/list").await.expect(200);
    let units: Vec<(&Value, usize)> = list["boundaries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (&row["boundaryISO"], row["admin1_units"].as_array().unwrap().len()))
        .collect();
    assert_eq!(units, [(&json!("IND"), 0), (&json!("NPL"), 2)]);
    let second = updated(&ada, "gbOpen").await;
    assert!(second.as_str() > first.as_str(), "{second} {first}");

    // A list that has lost half of the world is a mistake.
    for iso in ["AAA", "BBB", "CCC"] {
        server
            .execute(&format!(
                r#"INSERT INTO admin_boundary_0_metadata ("boundaryISO", "releaseType") VALUES ('{iso}', 'gbOpen')"#
            ))
            .await;
    }
    command(&server, &["refresh", "--release", "gbOpen"]).await.ended(0);
    assert_eq!(server.rows("admin_boundary_0_metadata WHERE \"releaseType\" = 'gbOpen'").await, 5);
    let one = command(&server, &["refresh", "--release", "gbOpen", "--country", "NPL"]).await;
    assert_eq!(one.ended(0), "gbOpen: 1 countries; 0 new or changed, 0 withdrawn, 0 could not be fetched.\n");
}
