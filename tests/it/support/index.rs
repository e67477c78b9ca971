//! A package index of our own on a loopback port, and packages made in memory.
//! It can hold its files back, so that an installation is caught in its middle.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

/// An index that answers as long as the test runs.
#[derive(Clone)]
pub struct PackageIndex {
    pub url: String,
    shelf: Arc<Shelf>,
}

struct Shelf {
    files: Mutex<HashMap<String, Vec<u8>>>,
    asked: Mutex<Vec<String>>,
    held: Mutex<bool>,
    let_go: Condvar,
}

impl PackageIndex {
    pub fn serve(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shelf = Arc::new(Shelf {
            files: Mutex::new(files.into_iter().collect()),
            asked: Mutex::default(),
            held: Mutex::default(),
            let_go: Condvar::new(),
        });
        let own = shelf.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shelf = own.clone();
                thread::spawn(move || shelf.answer(stream));
            }
        });
        PackageIndex { url, shelf }
    }

    /// Adds a package.
    pub fn add(&self, (name, bytes): (String, Vec<u8>)) {
        self.shelf.files.lock().unwrap().insert(name, bytes);
    }

    /// From now on files are not sent until `let_go`.
    pub fn hold(&self) {
        *self.shelf.held.lock().unwrap() = true;
    }

    pub fn let_go(&self) {
        *self.shelf.held.lock().unwrap() = false;
        self.shelf.let_go.notify_all();
    }

    /// Waits until the file whose name begins so has been asked for this often.
    pub async fn asked_for(&self, name: &str, times: usize) {
        let asked = || self.shelf.asked.lock().unwrap().iter().filter(|file| file.starts_with(name)).count();
        super::until(&format!("{name} is asked for {times} times"), async || asked() >= times).await;
    }
}

impl Shelf {
    fn answer(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let Some(Ok(request)) = lines.next() else { return };
        lines.map_while(Result::ok).find(String::is_empty);
        let mut words = request.split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = path.trim_matches('/');
        let files = self.files.lock().unwrap().clone();
        let (status, kind, body) = match path.split_once('/') {
            Some(("files", name)) if files.contains_key(name) => {
                self.asked.lock().unwrap().push(name.to_owned());
                let held = self.held.lock().unwrap();
                drop(self.let_go.wait_timeout_while(held, Duration::from_secs(60), |held| *held).unwrap());
                ("200 OK", "application/octet-stream", files[name].clone())
            }
            Some(("simple", name)) if files.keys().any(|file| file.starts_with(&format!("{name}-"))) => {
                let mut page = String::from("<!DOCTYPE html><html><body>");
                for file in files.keys().filter(|file| file.starts_with(&format!("{name}-"))) {
                    page += &format!("<a href=\"/files/{file}\">{file}</a>\n");
                }
                ("200 OK", "text/html", page.into_bytes())
            }
            _ => ("404 Not Found", "text/plain", b"no such package".to_vec()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all(head.as_bytes());
        if method != "HEAD" {
            let _ = stream.write_all(&body);
        }
    }
}

/// A zip archive, nothing compressed.
fn zip(files: &[(String, String)]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in files {
        let mut crc = flate2::Crc::new();
        crc.update(content.as_bytes());
        let mut head = Vec::new();
        head.extend([20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0x50]);
        head.extend(crc.sum().to_le_bytes());
        head.extend((content.len() as u32).to_le_bytes());
        head.extend((content.len() as u32).to_le_bytes());
        head.extend((name.len() as u16).to_le_bytes());
        head.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(&head);
        directory.extend([0; 6]);
        directory.extend([0, 0, 0xa4, 0x81]);
        directory.extend((out.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(&head);
        out.extend(name.as_bytes());
        out.extend(content.as_bytes());
    }
    let at = out.len() as u32;
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend((files.len() as u16).to_le_bytes());
    out.extend((files.len() as u16).to_le_bytes());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend([0, 0]);
    out
}

/// A wheel with one module that knows its version.
pub fn wheel(name: &str, version: &str, needs: &[&str]) -> (String, Vec<u8>) {
    let info = format!("{name}-{version}.dist-info");
    let mut metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
    for need in needs {
        metadata += &format!("Requires-Dist: {need}\n");
    }
    let record = format!("{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n");
    let files = [
        (format!("{name}.py"), format!("VERSION = '{version}'\n")),
        (format!("{info}/METADATA"), metadata),
        (
            format!("{info}/WHEEL"),
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n".into(),
        ),
        (format!("{info}/RECORD"), record),
    ];
    (format!("{name}-{version}-py3-none-any.whl"), zip(&files))
}

/// A source archive whose build needs nothing but itself, and runs this code first; the text `MODULE`, if the code sets
/// it, is added to the module.
pub fn source(name: &str, version: &str, code: &str) -> (String, Vec<u8>) {
    let backend = format!(
        r#"
{code}
import os, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    info = "{name}-{version}.dist-info"
    target = "{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, target), "w") as file:
        file.writestr("{name}.py", "VERSION = '{version}'\n" + globals().get("MODULE", ""))
        file.writestr(info + "/METADATA", "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(info + "/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(info + "/RECORD", "{name}.py,,\n" + info + "/METADATA,,\n" + info + "/WHEEL,,\n" + info + "/RECORD,,\n")
    return target
"#
    );
    let project = "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n";
    let info = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (file, text) in [("pyproject.toml", project), ("backend.py", &backend), ("PKG-INFO", &info)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("{name}-{version}/{file}"), text.as_bytes()).unwrap();
    }
    (format!("{name}-{version}.tar.gz"), tar.into_inner().unwrap().finish().unwrap())
}
