//! P8: no request costs more than a bounded share of memory and time; the bound is applied before the parser.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use reqwest::Method;
use serde_json::json;

use crate::support::{Package, Server};

fn gzip(chunk: &[u8], times: usize) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..times {
        gz.write_all(chunk).unwrap();
    }
    gz.finish().unwrap()
}

/// The most memory that the server ever had, bytes.
fn peak(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Seconds that the server's threads have computed: whatever else the machine does, they do not grow by it.
fn computed(server: &Server) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let ticks: Vec<f64> = after_name.split_whitespace().skip(11).take(2).map(|n| n.parse().unwrap()).collect();
    ticks.iter().sum::<f64>() / 100.0
}

#[tokio::test]
async fn small_requests_cannot_cost_much() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let (before, begun) = (peak(&server), computed(&server));
    let run = "/api/v1/script/nothing/run";
    let post = |path: &str, body: Vec<u8>, packed: bool| {
        let request = admin.request(Method::POST, path).header("content-type", "application/json").body(body);
        admin.send(if packed { request.header("content-encoding", "gzip") } else { request })
    };

    // 80 MB of blanks, of digits, of brackets in a few hundred kilobytes.
    for byte in [b' ', b'9', b'['] {
        let chunk = vec![byte; 1 << 20];
        post(run, gzip(&chunk, 80), true).await.refused(413, "Decompressed request body too large");
        post("/auth", gzip(&chunk, 80), true).await.expect(413);
    }
    // Nobody without an account may send much.
    post("/auth", vec![b' '; 1 << 20], false).await.expect(413);
    // Deep, wide and far numbers.
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(post(run, deep.into_bytes(), false).await.expect(400)["error_code"], "invalid_json");
    let many = format!("{{\"a\":[{}1]}}", "1,".repeat(2_000_000));
    assert_eq!(post(run, many.into_bytes(), false).await.expect(400)["error_code"], "invalid_json");
    post(run, br#"{"a":1e999999999,"b":-1e131071}"#.to_vec(), false).await.expect(404);

    // Archives: a bomb, and names that are larger than what they name.
    let bomb = Package::echo("bomb").file("src/zeros", vec![0; 120 << 20]).pack();
    assert!(bomb.len() < 1 << 20, "{}", bomb.len());
    let answer = admin.upload(Method::POST, "/api/v1/script", "bomb.tar.gz", bomb).await;
    assert_eq!(answer.expect(400)["error_code"], "invalid_archive");
    let mut names = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(90 << 20);
    names.append_data(&mut header, "././@LongLink", std::io::repeat(b'a').take_bytes(90 << 20)).unwrap();
    let names = names.into_inner().unwrap().finish().unwrap();
    let answer = admin.upload(Method::POST, "/api/v1/script", "names.tar.gz", names).await;
    assert_eq!(answer.expect(400)["error_code"], "invalid_archive");

    // Ten at once cost no more than one after the other, but for what waits its turn.
    let bodies = (0..10).map(|_| post(run, gzip(&vec![b' '; 1 << 20], 80), true));
    for answer in futures::future::join_all(bodies).await {
        answer.expect(413);
    }
    admin.post(run, &json!({})).await.expect(404);
    let (cost, took) = (peak(&server) - before, computed(&server) - begun);
    assert!(cost < 700 << 20, "the requests cost {cost} bytes");
    assert!(took < 60.0, "the server computed for {took} s");
}

/// `std::io::Read::take`, by a name that does not meet an iterator's.
trait TakeBytes: std::io::Read + Sized {
    fn take_bytes(self, limit: u64) -> std::io::Take<Self> {
        std::io::Read::take(self, limit)
    }
}

impl<R: std::io::Read> TakeBytes for R {}
