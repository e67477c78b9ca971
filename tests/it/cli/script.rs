//! `script import`: scripts under ids that clients know already.

use crate::support::{Package, Place, Server};

const ID: &str = "d022047b-1234-4000-8000-000000000001";
const PASSWORD: &str = "Shell!Passw0rd#1";

async fn account(place: &Place, email: &str, role: &str) {
    place.on_data(&["user", "create", email, "--role", role]).input(PASSWORD).run().await.ended(0);
}

/// A package as an archive in the place; its path.
fn archive(place: &Place, package: &Package) -> String {
    let file = place.folder.join("script.tar.gz");
    std::fs::write(&file, package.pack()).unwrap();
    file.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_script_is_imported_under_its_id_and_the_next_server_builds_it() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let place = Place::new().await;
    let file = archive(&place, &Package::echo("Known"));
    let import = |words: &[&str]| {
        let mut all = vec!["script", "import"];
        all.extend_from_slice(words);
        all.extend(["--data-dir", server.folder.to_str().unwrap()]);
        server.env().iter().fold(place.program(&all), |program, (name, value)| program.env(name, value))
    };
    if place.is_postgres() {
        let said = import(&[&file, "--id", ID, "--public"]).run().await;
        let told = format!("The script known is imported (id {ID}). A server on this database builds it.\n");
        assert_eq!(said.ended(0), told);
        assert_eq!(admin.built("known").await.0, "SUCCESS");
        let script = admin.get(&format!("/api/v1/script/{ID}")).await.data(200);
        assert_eq!((&script["slug"], &script["public"]), (&"known".into(), &true.into()));
        assert_eq!(admin.finish("known", &serde_json::json!({})).await["status"], "FINISHED");
    } else {
        import(&[&file]).run().await.failed("On SQLite a script is imported while no server runs");
        admin.get("/api/v1/script/known").await.expect(404);
    }
}

#[tokio::test]
async fn without_a_server_it_waits_for_one_and_what_is_wrong_is_said() {
    let place = Place::new().await;
    let file = archive(&place, &Package::echo("Known"));
    let import = |words: &[&str]| place.on_data(&[&["script", "import"], words].concat());
    import(&[&file]).run().await.failed("Say whose script it is: --owner E-MAIL");
    account(&place, "ada@example.org", "SUPERADMIN").await;
    import(&[&file, "--id", "known"]).run().await.failed("--id is \"known\"; it must be a UUID");
    import(&[&file, "--owner", "bob@example.org"]).run().await.failed("There is no account bob@example.org.");
    import(&["nothing.tar.gz"]).run().await.failed("cannot read nothing.tar.gz");

    import(&[&file, "--id", ID]).run().await.ended(0);
    let other = archive(&place, &Package::echo("Other"));
    import(&[&other, "--id", ID]).run().await.failed(&format!("There is a script with id {ID} already"));
    let same = archive(&place, &Package::echo("Known"));
    import(&[&same]).run().await.failed("Script with name Known generates an existing script slug");

    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/trend");
    account(&place, "bob@example.org", "USER").await;
    import(&[example.to_str().unwrap(), "--owner", "bob@example.org"]).run().await.ended(0);
    let db = place.database().await;
    let query = "SELECT s.slug, s.status, u.email FROM script s JOIN \"user\" u ON u.id = s.user_id ORDER BY s.slug";
    let rows: Vec<(String, String, String)> =
        trends_earth::reading!(&db, |on| sqlx::query_as(query).fetch_all(on).await).unwrap();
    db.close().await;
    let row = |slug: &str, email: &str| (slug.to_owned(), "PENDING".to_owned(), email.to_owned());
    assert_eq!(rows, [row("known", "ada@example.org"), row("trend", "bob@example.org")]);
}
