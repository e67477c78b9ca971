//! `GET /api/v1/script/export` and `GET /api/v1/execution/export`.

use serde_json::json;

use crate::support::{Answer, Package, Server};

/// The lines of a file, its mark taken away.
fn lines(answer: &Answer, name: &str) -> Vec<String> {
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8");
    assert_eq!(answer.headers["cache-control"], "no-store");
    let file = answer.headers["content-disposition"].to_str().unwrap();
    assert!(
        file.starts_with(&format!("attachment; filename=\"{name}_export_20")) && file.ends_with(".csv\""),
        "{file}"
    );
    let text = String::from_utf8(answer.bytes.clone()).unwrap();
    let text =
        text.strip_prefix('\u{feff}').expect("spreadsheets tell UTF-8 by its mark").strip_suffix("\r\n").unwrap();
    text.split("\r\n").map(str::to_owned).collect()
}

#[tokio::test]
async fn scripts_come_as_a_file_even_if_one_is_called_export() {
    let server = Server::api_only().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    const HEAD: &str = "id,name,slug,status,public,restricted,created_at,updated_at,environment,environment_version,compute_type,uses_gee,user_id,user_name,user_email";
    assert_eq!(lines(&admin.get("/api/v1/script/export").await, "scripts"), [HEAD]);
    let mut ids = Vec::new();
    for name in ["first", "export"] {
        ids.push(admin.publish(&Package::echo(name)).await["id"].as_str().unwrap().to_owned());
    }
    server.execute("UPDATE script SET name = '=cmd(), \"x\"', created_at = '2026-01-05 12:00:00', updated_at = NULL WHERE slug = 'first'").await;
    let all = lines(&admin.get("/api/v1/script/export").await, "scripts");
    assert!(all[1].starts_with(&format!("{},export,export,PENDING,False,False,20", ids[1])), "{all:?}");
    let (user, email) = (admin.get("/api/v1/user/me").await.data(200), &admin.email);
    let (user_id, name) = (user["id"].as_str().unwrap(), user["name"].as_str().unwrap());
    assert_eq!(
        all[2],
        format!(
            "{},\"\t=cmd(), \"\"x\"\"\",first,PENDING,False,False,2026-01-05T12:00:00,,trends.earth-environment,0.1.6,gee,False,{user_id},{name},{email}",
            ids[0]
        )
    );
    for (query, n) in [
        ("date_field=created_at&date_from=2026-01-05&date_to=2026-01-06", 2),
        ("date_field=created_at&date_to=2026-01-05", 1),
        ("date_field=created_at&date_to=2026-01-05T12:00:00", 2),
        ("date_field=updated_at&date_from=2026-01-01", 2),
        ("date_from=2099-01-01", 3),
        ("date_field=created_at&date_from=nonsense", 3),
    ] {
        assert_eq!(lines(&admin.get(&format!("/api/v1/script/export?{query}")).await, "scripts").len(), n, "{query}");
    }
    admin.get("/api/v1/script/export?date_field=name").await.refused(400, "Invalid date_field 'name'");
    ada.get("/api/v1/script/export").await.refused(403, "Forbidden");
}

#[tokio::test]
async fn executions_come_as_a_file_newest_first_however_many() {
    let server = Server::api_only().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    const HEAD: &str = "id,script_id,script_name,user_id,user_name,user_email,status,progress,start_date,end_date,queued_at,dispatched_at";
    assert_eq!(lines(&admin.get("/api/v1/execution/export").await, "executions"), [HEAD]);
    let script = admin.publish(&Package::echo("-1 formula")).await;
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    let id = admin.run("1-formula", &json!({"secret": "no part of the file"})).await;
    // More than are read at one time.
    let (script_id, user) = (script["id"].as_str().unwrap(), admin.get("/api/v1/user/me").await.data(200));
    let user_id = user["id"].as_str().unwrap();
    let rows: Vec<String> = (1..=2_100)
        .map(|n| format!("('20000000-0000-4000-8000-{n:012}', '2026-01-05 12:00:00', '2026-01-06 12:00:00.5', 'FAILED', 100, '{{}}', '{{}}', '{script_id}', '{user_id}')"))
        .collect();
    let columns = "id, start_date, end_date, status, progress, params, results, script_id, user_id";
    server.execute(&format!("INSERT INTO execution ({columns}) VALUES {}", rows.join(", "))).await;
    let all = lines(&admin.get("/api/v1/execution/export").await, "executions");
    assert_eq!(all.len(), 2102);
    let mut ids: Vec<&str> = all[1..].iter().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(ids[0], id);
    let who = format!("{user_id},{},{}", user["name"].as_str().unwrap(), admin.email);
    let run = &all[1];
    assert!(
        run.starts_with(&format!("{id},{script_id},\t-1 formula,{who},PENDING,0,20")) && run.ends_with(",,,"),
        "{run}"
    );
    assert!(all[2].ends_with(",FAILED,100,2026-01-05T12:00:00,2026-01-06T12:00:00.500,,"), "{}", all[2]);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 2101, "each once");
    for (query, n) in
        [("date_field=end_date&date_from=2026-01-06", 2101), ("date_field=start_date&date_from=2026-01-07", 2)]
    {
        let some = lines(&admin.get(&format!("/api/v1/execution/export?{query}")).await, "executions");
        assert_eq!(some.len(), n, "{query}");
    }
    admin.get("/api/v1/execution/export?date_field=id").await.refused(400, "Invalid date_field 'id'");
    ada.get("/api/v1/execution/export").await.refused(403, "Forbidden");
}
