//! `GET /user/export` and `GET /user/me/export`.

use serde_json::json;

use crate::support::{Package, Server};

#[tokio::test]
async fn people_come_as_a_file_in_which_no_cell_is_a_formula() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    server.user("ada").await;
    server
        .execute(
            "UPDATE \"user\" SET institution = '=1+1, \"x\"', created_at = '2026-01-05 12:00:00' WHERE name = 'ada'",
        )
        .await;
    let answer = admin.get("/api/v1/user/export?date_field=created_at&date_from=2026-01-05&date_to=2026-01-06").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8");
    let name = answer.headers["content-disposition"].to_str().unwrap();
    assert!(name.starts_with("attachment; filename=\"users_export_20") && name.ends_with(".csv\""), "{name}");
    let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert!(lines[0].starts_with("\u{feff}id,email,name,role,country,institution,"), "{text}");
    assert!(lines[1].contains(",ada@example.org,ada,USER,,\"\t=1+1, \"\"x\"\"\","), "{text}");
    assert!(lines[1].ends_with(",,True,False,False,True") && lines[2].is_empty() && lines.len() == 3, "{text}");
    let none = admin.get("/api/v1/user/export?date_field=created_at&date_from=2099-01-01").await;
    assert_eq!(String::from_utf8(none.bytes.to_vec()).unwrap().matches("\r\n").count(), 1);
    admin.get("/api/v1/user/export?date_field=password").await.refused(400, "Invalid date_field 'password'");
}

#[tokio::test]
async fn a_person_takes_everything_along() {
    let server = Server::api_only().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    admin.publish(&Package::echo("echo")).await;
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    server.execute("UPDATE script SET public = TRUE").await;
    for n in 0..3 {
        let id = ada.run("echo", &json!({"n": n})).await;
        admin
            .post(&format!("/api/v1/execution/{id}/log"), &json!({"text": format!("line {n}"), "level": "INFO"}))
            .await
            .expect(200);
    }
    admin.run("echo", &json!({"n": "others"})).await;
    let all = ada.get("/api/v1/user/me/export").await.expect(200);
    assert_eq!((&all["profile"]["email"], &all["scripts"]), (&json!("ada@example.org"), &json!([])));
    assert_eq!(all["sessions"].as_array().unwrap().len(), 1);
    let runs = all["executions"].as_array().unwrap();
    let mut seen: Vec<i64> = runs.iter().map(|run| run["params"]["n"].as_i64().unwrap()).collect();
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2]);
    assert!(runs[0]["logs"][0]["text"].as_str().unwrap().starts_with("line "));
}
