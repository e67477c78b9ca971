//! The one way out of a unit.
//! The script asks the gate by hand, so that what it answers can be compared.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    thread,
};

use trends_earth::engine::{
    Network,
    process::spec::{Gate, Sandbox},
};

use super::unit::{Unit, Variant, both, bwrap, each};

/// Sends requests, given by name, and leaves the status of each answer.
const ASK: &str = r#"
import json, os, socket
host, port = os.environ["HTTPS_PROXY"].removeprefix("http://").split(":")
def ask(head, body=b""):
    with socket.create_connection((host, int(port)), 20) as s:
        s.sendall(head.encode() + b"\r\nHost: x\r\n\r\n" + body)
        answer = b""
        while True:
            piece = s.recv(65536)
            answer += piece
            if not piece or (body and answer.endswith(body)): return answer.decode()
results = {}
for name, line in json.loads(os.environ["ASK"]).items():
    answer = ask(line, b"echo\n" if line.startswith("CONNECT") and "trusted" in name else b"")
    results[name] = answer.split(" ")[1] + " " + answer.split("\r\n\r\n", 1)[1]
json.dump(results, open(os.environ["OUT"], "w"))
"#;

/// A server on loopback: answers HTTP, and anything else with the same line.
fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                while line.contains("HTTP/1.1") && !line.ends_with("\r\n\r\n") {
                    reader.read_line(&mut line).unwrap();
                }
                if line.starts_with("CONNECT") {
                    // As the machine's own proxy: says what was asked for.
                    let body = format!("HTTP/1.1 200 OK\r\n\r\n{line}");
                    stream.write_all(body.as_bytes()).unwrap();
                } else if line.starts_with("GET") {
                    let body =
                        format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", line.trim().replace("\r\n", "\n"));
                    stream.write_all(body.as_bytes()).unwrap();
                } else {
                    stream.write_all(line.as_bytes()).unwrap();
                    let _ = reader.read(&mut [0; 1]);
                }
            });
        }
    });
    port
}

fn unit(variant: &Variant, gate: Gate, asks: &BTreeMap<&str, String>) -> Unit {
    let mut unit = Unit::new(variant, ASK);
    unit.spec.limits.network = Network::Https;
    unit.spec.gate = Some(gate);
    unit.spec.env.insert("HTTPS_PROXY".into(), "http://127.0.0.1:3128".into());
    unit.spec.env.insert("ASK".into(), serde_json::to_string(asks).unwrap());
    unit
}

#[test]
fn a_script_reaches_only_the_gate() {
    each(&[bwrap(), Sandbox::Namespaces, Sandbox::Landlock], |variant| {
        let (private, trusted, plain) = (server(), server(), server());
        let gate = Gate {
            ports: vec![443, private],
            hosts: None,
            trusted: vec![format!("127.0.0.1:{trusted}")],
            plain: vec![format!("127.0.0.1:{plain}")],
            upstream: None,
            ..Gate::default()
        };
        let connect = |target: &str| format!("CONNECT {target} HTTP/1.1");
        let asks = BTreeMap::from([
            ("loopback", connect(&format!("127.0.0.1:{private}"))),
            ("localhost", connect(&format!("localhost:{private}"))),
            ("as a number", connect(&format!("2130706433:{private}"))),
            ("in octal", connect(&format!("0177.1:{private}"))),
            ("zero", connect(&format!("0:{private}"))),
            ("mapped", connect(&format!("[::ffff:127.0.0.1]:{private}"))),
            ("ipv6", connect(&format!("[::1]:{private}"))),
            ("metadata", connect("169.254.169.254:443")),
            ("private", connect("10.0.0.1:443")),
            ("port", connect("example.org:22")),
            ("plain", format!("GET http://127.0.0.1:{private}/x HTTP/1.1")),
            ("post to trusted over http", format!("POST http://127.0.0.1:{plain}/x HTTP/1.1")),
            ("relative", "GET / HTTP/1.1".into()),
            ("unknown", connect("no-such-host.invalid:443")),
            ("nonsense", connect("a b")),
            ("trusted", connect(&format!("127.0.0.1:{trusted}"))),
            ("trusted over http", format!("GET http://127.0.0.1:{plain}/simple/?a=b HTTP/1.1")),
            ("tunnel to what is trusted over http", connect(&format!("127.0.0.1:{plain}"))),
            ("plain to what is trusted by tls", format!("GET http://127.0.0.1:{trusted}/x HTTP/1.1")),
            ("bare carriage return", format!("GET http://127.0.0.1:{plain}/x HTTP/1.1\rHost: elsewhere")),
        ]);
        let ended = unit(&variant, gate, &asks).run();
        let results: BTreeMap<String, String> = ended.result();
        let expect = |name: &str, start: &str| assert!(results[name].starts_with(start), "{name}: {}", results[name]);
        for name in [
            "loopback",
            "localhost",
            "as a number",
            "in octal",
            "zero",
            "mapped",
            "ipv6",
            "metadata",
            "private",
            "port",
            "plain",
            "tunnel to what is trusted over http",
            "plain to what is trusted by tls",
        ] {
            expect(name, "403 The script may not reach ");
        }
        for name in ["post to trusted over http", "relative"] {
            expect(name, "405 ");
        }
        expect("unknown", "502 ");
        expect("nonsense", "400 ");
        expect("bare carriage return", "400 ");
        expect("trusted", "200 echo\n");
        expect("trusted over http", "200 GET /simple/?a=b HTTP/1.1");
        let log = ended.log();
        assert_eq!(log.len(), 13, "{log:?}");
        assert!(log.iter().all(|(level, text)| level == "WARNING" && text.starts_with("The script may not reach ")));
        let sentence = format!("The script may not reach 127.0.0.1:{private}: the address is not public.");
        assert!(log.iter().any(|(_, text)| *text == sentence), "{log:?}");
        assert!(!ended.unit.path("gate").join("egress.sock").exists());
    });
}

#[test]
fn a_list_of_hosts_and_the_machines_proxy_are_kept() {
    both(|variant| {
        let (upstream, near) = (server(), server());
        let gate = Gate {
            ports: vec![443],
            hosts: Some(vec![
                "a.example".into(),
                ".b.example".into(),
                "10.0.0.1".into(),
                "localhost".into(),
                "x.internal".into(),
            ]),
            trusted: Vec::new(),
            plain: vec!["index.example:80".into(), format!("localhost:{near}")],
            upstream: Some(format!("http://me:p%40ss@127.0.0.1:{upstream}")),
            ..Gate::default()
        };
        let connect = |target: &str| format!("CONNECT {target}:443 HTTP/1.1");
        let asks = BTreeMap::from([
            ("named", connect("a.example")),
            ("named in capitals", connect("A.EXAMPLE.")),
            ("below", connect("x.y.b.example")),
            ("the domain", connect("b.example")),
            ("beside", connect("xb.example")),
            ("above", connect("example")),
            ("other", connect("c.example")),
            ("private", connect("10.0.0.1")),
            ("localhost", connect("localhost")),
            ("local name", connect("x.internal")),
            ("near", format!("GET http://localhost:{near}/simple HTTP/1.1")),
            ("index", "GET http://index.example/simple HTTP/1.1".into()),
        ]);
        let results: BTreeMap<String, String> = unit(&variant, gate, &asks).run().result();
        for (name, target) in [("named", "a"), ("named in capitals", "a"), ("below", "x.y.b"), ("the domain", "b")] {
            assert!(results[name].starts_with("200 "), "{name}: {}", results[name]);
            assert!(
                results[name].contains(&format!("CONNECT {target}.example:443 HTTP/1.1")),
                "{name}: {}",
                results[name]
            );
        }
        for name in ["beside", "above", "other", "private", "localhost", "local name"] {
            assert!(results[name].starts_with("403 "), "{name}: {}", results[name]);
        }
        assert!(results["index"].contains("GET http://index.example/simple HTTP/1.1"), "{}", results["index"]);
        assert!(results["index"].contains("Proxy-Authorization: Basic bWU6cEBzcw=="), "{}", results["index"]);
        assert!(
            results["near"]
                .starts_with(&format!("200 GET /simple HTTP/1.1\nHost: localhost:{near}\nConnection: close")),
            "{}",
            results["near"]
        );
    });
}

#[test]
fn refusals_are_written_down_fifty_times() {
    each(&[bwrap()], |variant| {
        let code =
            ASK.replace("results = {}", "results = {}\nfor i in range(60): ask('CONNECT 10.0.0.1:443 HTTP/1.1')");
        let gate = Gate { ports: vec![443], ..Gate::default() };
        let mut unit = unit(&variant, gate, &BTreeMap::new());
        unit.spec.argv[3] = code;
        let log = unit.run().log();
        assert_eq!(log.len(), 51);
        assert_eq!(log[50].1, "More refusals of the gate are not written down.");
    });
}
