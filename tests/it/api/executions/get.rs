//! `GET /api/v1/execution/<id>`.

use serde_json::json;

use super::run::with_script;

#[tokio::test]
async fn an_execution_is_found_by_its_id_in_any_form_by_its_owner_and_administrators() {
    let (server, admin, ada) = with_script().await;
    let grace = server.user("grace").await;
    let id = ada.run("echo", &json!({"a": 1})).await;
    let run = ada.get(&format!("/api/v1/execution/{id}")).await.data(200);
    for key in [id.to_uppercase(), id.replace('-', ""), format!("{id}/"), format!("%7B{id}%7D")] {
        assert_eq!(admin.get(&format!("/api/v1/execution/{key}")).await.data(200), run, "{key}");
    }
    for path in ["", "/log", "/log/stream", "/history", "/download-results"] {
        let path = format!("/api/v1/execution/{id}{path}");
        grace.get(&path).await.refused(404, "Ticket Not Found");
        server.anonymous().get(&path).await.expect(401);
    }
    for key in ["x", "00000000-0000-4000-8000-000000000000", "5", "null", "undefined", "%00"] {
        admin.get(&format!("/api/v1/execution/{key}")).await.refused(404, "Ticket Not Found");
    }
}

#[tokio::test]
async fn exclude_takes_parameters_and_results_away_and_nothing_else() {
    let (_server, _, ada) = with_script().await;
    let id = ada.run("echo", &json!({"a": 1})).await;
    let get = async |query: &str| ada.get(&format!("/api/v1/execution/{id}{query}")).await.data(200);
    let run = get("?exclude=params,status,id").await;
    assert!(run.get("params").is_none() && run["status"] == "PENDING" && run["results"] == json!({}), "{run}");
    let run = get("?exclude=params,results").await;
    assert!(run.get("params").is_none() && run.get("results").is_none(), "{run}");
    assert!(run.as_object().unwrap().contains_key("end_date"));
}

#[tokio::test]
async fn include_adds_what_it_names() {
    let (_server, admin, ada) = with_script().await;
    let id = ada.run("echo", &json!({})).await;
    let path =
        format!("/api/v1/execution/{id}?include=logs,user,script,duration,script_name,user_name,user_email,nonsense");
    let run = ada.get(&path).await.data(200);
    assert_eq!((&run["logs"], &run["script_name"]), (&json!([]), &json!("Echo")));
    assert_eq!((&run["script"]["slug"], &run["user"]["email"]), (&json!("echo"), &json!(ada.email)));
    assert!(run["duration"].as_f64().is_some_and(|seconds| (0.0..600.0).contains(&seconds)));
    for key in ["user_name", "user_email", "nonsense"] {
        assert!(run.get(key).is_none(), "{key}");
    }
    let run = admin.get(&path).await.data(200);
    assert_eq!((&run["user_name"], &run["user_email"]), (&json!("ada"), &json!(ada.email)));
    assert!(run["user"].get("gender_identity").is_none());
}
