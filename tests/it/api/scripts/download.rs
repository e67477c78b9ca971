//! `GET /api/v1/script/<s>/download`.

use reqwest::Method;

use crate::support::{Package, Server};

#[tokio::test]
async fn the_newest_archive_comes_back_byte_for_byte_and_never_packed_again() {
    let server = Server::api_only().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let path = "/api/v1/script/kept-bytes/download";
    let upload = async |method: Method, path: &str, archive: &[u8]| {
        admin.upload(method, path, "x.tar.gz", archive.to_vec()).await.expect(200);
    };
    let first = Package::echo("Kept Bytes").file("data/zeros.bin", vec![0; 100_000]).pack();
    let second = Package::echo("Kept Bytes").file("data/ones.bin", vec![1; 100_000]).pack();
    for (method, url, archive) in [
        (Method::POST, "/api/v1/script", &first),
        (Method::PATCH, "/api/v1/script/kept-bytes", &second),
        (Method::PATCH, "/api/v1/script/kept-bytes", &first),
    ] {
        upload(method, url, archive).await;
        for encoding in ["gzip, deflate", "gzip", "br, zstd, gzip", "identity", "*"] {
            let answer = admin.send(admin.request(Method::GET, path).header("accept-encoding", encoding)).await;
            answer.expect(200);
            assert_eq!(answer.bytes, *archive, "{encoding}");
            assert_eq!(answer.headers.get("content-encoding"), None);
            assert_eq!(answer.headers["content-type"], "application/gzip");
            assert_eq!(answer.headers["content-disposition"], "attachment; filename=kept-bytes.tar.gz");
            assert_eq!(answer.headers["content-length"], archive.len().to_string().as_str());
        }
    }
    ada.get(path).await.refused(404, "Script with id kept-bytes does not exist");
    admin.post_empty("/api/v1/script/kept-bytes/publish").await.expect(200);
    assert_eq!(ada.get(path).await.bytes, first);
}

#[tokio::test]
async fn an_archive_that_is_not_there_any_more_is_said_to_be_gone() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    admin.publish(&Package::echo("Lost")).await;
    for file in server.files(&["objects"]).into_iter().filter(|path| path.is_file()) {
        std::fs::remove_file(file).unwrap();
    }
    let sentence = "The archive of script lost is not there any more; publish it again.";
    admin.get("/api/v1/script/lost/download").await.refused(410, sentence);
    server.execute("DELETE FROM script_version").await;
    admin.get("/api/v1/script/lost/download").await.refused(410, sentence);
}
