//! P2: a script reaches the gate, the gate reaches public hosts, and nothing else is reached: not this machine, its
//! networks, its sockets, not the server itself.

use std::{
    io,
    net::{IpAddr, TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
};

use serde_json::{Value, json};

use super::{RUNGS, on};
use crate::support::{Options, Package, Server};

const REACH: &str = include_str!("reach.py");

/// What listens on this machine; nobody may come.
struct Ears {
    tcp: TcpListener,
    udp: UdpSocket,
    in_memory: UnixListener,
    name: String,
    in_folder: UnixListener,
    path: String,
}

impl Ears {
    fn open(server: &Server) -> Self {
        let tcp = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0")).unwrap();
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        let name = format!("ears-{}", uuid::Uuid::new_v4());
        let in_memory = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let path = server.folder.join("ears.sock");
        let in_folder = UnixListener::bind(&path).unwrap();
        tcp.set_nonblocking(true).unwrap();
        udp.set_nonblocking(true).unwrap();
        in_memory.set_nonblocking(true).unwrap();
        in_folder.set_nonblocking(true).unwrap();
        Ears { tcp, udp, in_memory, name, in_folder, path: path.display().to_string() }
    }

    fn heard_nothing(&self) {
        let nothing = |kind: io::ErrorKind| kind == io::ErrorKind::WouldBlock;
        assert!(self.tcp.accept().is_err_and(|error| nothing(error.kind())), "somebody came by TCP");
        assert!(self.udp.recv(&mut [0; 9]).is_err_and(|error| nothing(error.kind())), "somebody came by UDP");
        assert!(
            self.in_memory.accept().is_err_and(|error| nothing(error.kind())),
            "somebody came by the abstract socket"
        );
        assert!(self.in_folder.accept().is_err_and(|error| nothing(error.kind())), "somebody came by the socket");
    }

    /// Every way out.
    fn ways(&self, server: &Server) -> Value {
        let (tcp, udp) = (self.tcp.local_addr().unwrap().port(), self.udp.local_addr().unwrap().port());
        let api = server.base.rsplit(':').next().unwrap().parse::<u16>().unwrap();
        let own = trends_earth::net::own();
        let own: Vec<String> =
            own.iter().filter(|ip| !ip.is_loopback()).filter(|ip| direct(ip)).map(IpAddr::to_string).collect();
        let mut near: Vec<(String, u16)> = Vec::new();
        for host in ["127.0.0.1", "127.1.2.3", "0.0.0.0", "::1"].map(str::to_owned).iter().chain(&own) {
            near.extend([(host.clone(), tcp), (host.clone(), api)]);
        }
        let far = ["169.254.169.254", "10.0.0.1", "172.17.0.1", "192.168.0.1", "168.63.129.16", "1.1.1.1"];
        near.extend(far.map(|host| (host.to_owned(), 80)));
        let mut heads: Vec<String> = Vec::new();
        let mut places: Vec<String> = far[..5].iter().map(|host| format!("{host}:443")).collect();
        places.extend(
            own.iter()
                .map(|host| if host.contains(':') { format!("[{host}]") } else { host.clone() })
                .flat_map(|host| [format!("{host}:443"), format!("{host}:{tcp}")]),
        );
        for host in [
            "127.0.0.1",
            "localhost",
            "LOCALHOST.",
            "0",
            "127.1",
            "0x7f.1",
            "2130706433",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "metadata.google.internal",
        ] {
            places.extend([format!("{host}:443"), format!("{host}:{tcp}"), format!("{host}:{api}")]);
        }
        places.extend(["example.org:22", "example.org:80", "example.org:0", "1.1.1.1:53"].map(str::to_owned));
        heads.extend(places.iter().map(|place| format!("CONNECT {place} HTTP/1.1")));
        heads.extend(places.iter().map(|place| format!("GET http://{place}/api-health HTTP/1.1")));
        heads.push(format!("POST {}/auth HTTP/1.1", server.base));
        heads.push("GET /api-health HTTP/1.1".to_owned());
        json!({
            "tcp": near,
            "udp": [["127.0.0.1", udp], ["127.0.0.53", 53], ["1.1.1.1", 53]],
            "abstract": self.name,
            "paths": [self.path, "/run/docker.sock", "/var/run/docker.sock", "/run/dbus/system_bus_socket", "/tmp/.s.PGSQL.5432"],
            "heads": heads,
        })
    }
}

/// Whether an address of an interface can be used without naming the interface.
fn direct(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => true,
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 != 0xfe80,
    }
}

#[tokio::test]
async fn a_script_reaches_only_the_gate() {
    for rung in RUNGS {
        let Some(server) = on(rung, "a_script_reaches_only_the_gate", Options::default()).await else { continue };
        let admin = server.admin().await;
        let ears = Ears::open(&server);
        let params = ears.ways(&server);
        for network in ["none", "https", "full"] {
            let package =
                Package::new(&format!("reaches {network}"), REACH).with("network", network).with("timeout_s", 300);
            let slug = admin.publish_built(&package).await;
            let run = admin.finish(&slug, &params).await;
            let id = run["id"].as_str().unwrap();
            let log = admin.log(id).await;
            assert_eq!(run["status"], "FINISHED", "{} {log:#?}", run["failure"]);
            assert_eq!(run["results"]["reached"], json!({}), "{rung} with the network {network}");
            // Nobody has granted the whole network: it is the gate, too.
            assert_eq!(run["results"]["gate"], network != "none");
            let refusals: Vec<&String> = log.iter().filter(|line| line.contains("may not reach")).collect();
            for host in ["127.0.0.1", "localhost", "169.254.169.254", "10.0.0.1"] {
                let told = refusals.iter().any(|line| line.contains(host));
                assert_eq!(told, network != "none", "the refusal of {host} stands in the log: {log:#?}");
            }
            ears.heard_nothing();
        }
        assert!(!server.log().contains("\"path\":\"/api-health\""), "the server heard a script");
    }
}
