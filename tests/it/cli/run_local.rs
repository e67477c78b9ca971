//! `run-local`: an author's folder through the process engine, without a server.

use std::path::{Path, PathBuf};

use crate::support::Place;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// A script's folder in the place, with this `src/main.py`.
fn script(place: &Place, main: &str) -> PathBuf {
    let folder = place.folder.join("script");
    std::fs::create_dir_all(folder.join("src")).unwrap();
    let configuration = r#"{"name": "Local", "uses_gee": false, "network": "none"}"#;
    std::fs::write(folder.join("configuration.json"), configuration).unwrap();
    std::fs::write(folder.join("src/main.py"), main).unwrap();
    folder
}

fn words<'a>(folder: &'a Path, params: &[&'a str]) -> Vec<&'a str> {
    [&["run-local", folder.to_str().unwrap()], params].concat()
}

#[tokio::test]
async fn an_example_runs_with_its_log_and_result_and_with_other_parameters() {
    let place = Place::new().await;
    let trend = example("trend");
    let said = place.on_data(&words(&trend, &[])).run().await;
    let out = said.ended(0);
    assert!(out.contains("INFO     Read 100 years, 1871 to 1970"), "{out}");
    let result: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(result["mann_kendall"]["s"], -1387);

    let said = place.on_data(&words(&trend, &["from_year=1900", "to_year=1950"])).run().await;
    assert!(said.ended(0).contains(r#""from_year": 1900"#), "{}", said.out);
}

#[tokio::test]
async fn parameters_are_json_where_they_can_be_else_text() {
    let place = Place::new().await;
    let folder = script(&place, "def run(params, logger):\n    return params\n");
    let params = ["n=1", "text=two words", "list=[1, null]", "quoted=\"3\"", "empty=", "equal=a=b"];
    let said = place.on_data(&words(&folder, &params)).run().await;
    let mut result: serde_json::Value = serde_json::from_str(said.ended(0).lines().last().unwrap()).unwrap();
    // Scripts are told these two beside what they were started with.
    let told = result.as_object_mut().unwrap();
    assert!(told.remove("EXECUTION_ID").is_some() && told.remove("ENV").is_some(), "{told:?}");
    let expected = r#"{"empty":"","equal":"a=b","list":[1,null],"n":1,"quoted":"3","text":"two words"}"#;
    assert_eq!(result, serde_json::from_str::<serde_json::Value>(expected).unwrap());

    let said = place.on_data(&words(&folder, &["n"])).run().await;
    said.failed("\"n\" is no parameter; write key=value.");
}

#[tokio::test]
async fn a_script_that_fails_or_cannot_be_built_ends_with_a_sentence() {
    let place = Place::new().await;
    let main = "def run(params, logger):\n    logger.warning('soon')\n    raise ValueError('no such tile')\n";
    let said = place.on_data(&words(&script(&place, main), &[])).run().await;
    said.failed("no such tile");
    assert!(said.out.contains("WARNING  soon"), "{}", said.out);
    assert_eq!(said.err.matches("trends-earth: ").count(), 1, "{}", said.err);

    let said = place.on_data(&words(&script(&place, "def run(params, logger)\n"), &[])).run().await;
    said.failed("the script could not be built: ");
    assert!(said.err.contains("main.py"), "{}", said.err);
}

#[tokio::test]
async fn a_folder_that_is_no_script_is_refused_with_a_sentence() {
    let place = Place::new().await;
    let empty = place.folder.join("empty");
    std::fs::create_dir(&empty).unwrap();
    let said = place.on_data(&words(&empty, &[])).run().await;
    said.failed("There is no configuration.json in ");

    std::fs::write(empty.join("configuration.json"), r#"{"name": "Empty"}"#).unwrap();
    let said = place.on_data(&words(&empty, &[])).run().await;
    said.failed("cannot read ");
}
