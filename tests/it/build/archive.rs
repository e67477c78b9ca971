//! What an author uploads: fifty hostile archives, and what a good one gives.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use trends_earth::build::archive::{self, MAX_ENTRIES, Package};

use crate::support::{entry, gzip as gz, sized};

fn file(name: &str) -> Vec<u8> {
    entry(name.as_bytes(), b'0', b"x")
}

/// A name of any length, in a header of its own before the file.
fn long(name: &str) -> Vec<u8> {
    [entry(b"././@LongLink", b'L', &[name.as_bytes(), b"\0"].concat()), file("cut")].concat()
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = 3 + key.len() + value.len();
        let mut size = rest;
        while size.to_string().len() + rest != size {
            size = size.to_string().len() + rest;
        }
        writeln!(body, "{size} {key}={value}").unwrap();
    }
    entry(b"PaxHeaders/x", b'x', &body)
}

fn configuration() -> Vec<u8> {
    entry(b"configuration.json", b'0', br#"{"name":"x"}"#)
}

/// A whole archive with a good configuration and then these entries.
fn with(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = configuration();
    bytes.extend(entries.concat());
    bytes.extend([0; 1024]);
    gz(&bytes)
}

fn read(entries: &[Vec<u8>]) -> Result<Package, String> {
    archive::read(&with(entries)).map_err(|reject| {
        assert_eq!(reject.code, "invalid_archive");
        reject.detail
    })
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("te-archive-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_hostile_archive_is_refused_with_a_sentence_that_names_the_entry() {
    let deep = "d/".repeat(100) + "f";
    let name = "n".repeat(256);
    let path = vec!["p".repeat(200); 6].join("/");
    let many: Vec<Vec<u8>> = (0..MAX_ENTRIES).map(|n| file(&format!("f{n}"))).collect();
    let implied: Vec<Vec<u8>> = (0..MAX_ENTRIES / 2 + 1).map(|n| file(&format!("d{n}/f"))).collect();
    let sparse = {
        let mut bytes = entry(b"s", b'S', b"x");
        bytes[386..398].copy_from_slice(b"000000000000");
        let sum: u32 = bytes[..148].iter().chain(&bytes[156..512]).map(|b| u32::from(*b)).sum::<u32>() + 8 * 32;
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes
    };
    let table: Vec<(&str, Vec<Vec<u8>>, &str)> = vec![
        ("parent", vec![file("../evil")], "\"../evil\" has `..`"),
        ("parent inside", vec![file("a/../../evil")], "has `..`"),
        ("parent that comes back", vec![file("a/../b")], "has `..`"),
        ("parent at the end", vec![entry(b"a/..", b'5', b"")], "has `..`"),
        ("parent by a long name", vec![long("../evil")], "\"../evil\" has `..`"),
        ("parent by pax", vec![pax(&[("path", "../evil")]), file("good")], "\"../evil\" has `..`"),
        ("absolute", vec![file("/etc/passwd")], "absolute path"),
        ("absolute, doubled", vec![file("//etc/passwd")], "absolute path"),
        ("absolute by pax", vec![pax(&[("path", "/etc/passwd")]), file("good")], "absolute path"),
        ("absolute by a long name", vec![long("/etc/passwd")], "absolute path"),
        ("symbolic link", vec![entry(b"link", b'2', b"")], "\"link\" is a symbolic link"),
        ("hard link", vec![entry(b"link", b'1', b"")], "\"link\" is a hard link"),
        ("long link", vec![entry(b"././@LongLink", b'K', b"/etc/passwd\0"), entry(b"l", b'2', b"")], "is a link"),
        ("character device", vec![entry(b"null", b'3', b"")], "\"null\" is a device"),
        ("block device", vec![entry(b"sda", b'4', b"")], "is a device"),
        ("named pipe", vec![entry(b"pipe", b'6', b"")], "is a named pipe"),
        ("contiguous file", vec![entry(b"c", b'7', b"x")], "neither a file nor a folder"),
        ("sparse file", vec![sparse], "sparse"),
        ("sparse by pax", vec![pax(&[("GNU.sparse.major", "1")]), file("s")], "sparse"),
        ("global header", vec![entry(b"pax_global_header", b'g', b"14 comment=ab\n")], "git archive"),
        ("volume label", vec![entry(b"label", b'V', b"")], "neither"),
        ("second volume", vec![entry(b"more", b'M', b"")], "neither"),
        ("folder dump", vec![entry(b"dump", b'D', b"")], "neither"),
        ("unknown kind", vec![entry(b"what", b'Z', b"")], "neither"),
        ("folder with content", vec![entry(b"d/", b'5', b"abc")], "content of its own"),
        ("old folder with content", vec![entry(b"d/", b'0', b"abc")], "content of its own"),
        ("no name", vec![entry(b"", b'0', b"x")], "without a name"),
        ("root as a file", vec![entry(b".", b'0', b"x")], "named like its root"),
        ("twice", vec![file("a"), file("a")], "\"a\" twice"),
        ("twice by ./", vec![file("a"), file("./a")], "\"a\" twice"),
        ("twice by //", vec![file("b/a"), file("b//a")], "twice"),
        ("twice by /./", vec![file("b/a"), file("b/./a")], "twice"),
        ("configuration twice", vec![file("./configuration.json")], "\"configuration.json\" twice"),
        ("folder twice", vec![entry(b"d/", b'5', b""), entry(b"d", b'5', b"")], "twice"),
        ("case", vec![file("Main.py"), file("main.py")], "one name"),
        ("case of a folder", vec![file("Src/a"), file("src/b")], "\"Src\" and \"src\" are one name"),
        ("case of a letter beyond ASCII", vec![file("É"), file("é")], "one name"),
        ("composed and not", vec![file("\u{e9}"), file("e\u{301}")], "one name"),
        ("file, then folder", vec![file("a"), file("a/b")], "both a file and a folder"),
        ("folder, then file", vec![file("a/b"), file("a")], "both a file and a folder"),
        ("line end", vec![file("a\nb")], "\"a\\u{a}b\" has a control character"),
        ("escape", vec![file("a\x1b[2Jb")], "control character"),
        ("delete", vec![file("a\x7f")], "control character"),
        ("change of direction", vec![file("a\u{202e}yp.exe")], "control character"),
        ("NUL by pax", vec![pax(&[("path", "a\0b")]), file("good")], "control character"),
        ("NUL in a long name", vec![long("a\0../b")], "control character"),
        ("not UTF-8", vec![entry(b"a\xff", b'0', b"x")], "not UTF-8"),
        ("backslash", vec![file("src\\main.py")], "backslash"),
        ("long part", vec![long(&name)], "name of 256 bytes"),
        ("long path", vec![long(&path)], "path of 1205 bytes"),
        ("deep", vec![long(&deep)], "101 levels"),
        ("long name of a megabyte", vec![long(&"n".repeat(1 << 20))], "header of 1048577 bytes"),
        ("pax of a megabyte", vec![pax(&[("comment", &"c".repeat(1 << 20))]), file("a")], "at most 65536"),
        ("pax that is no pax", vec![entry(b"x", b'x', b"nonsense"), file("a")], "pax header"),
        ("two names", vec![pax(&[("path", "a"), ("path", "b")]), file("c")], "two names"),
        ("long name and pax name", vec![entry(b"L", b'L', b"a\0"), pax(&[("path", "b")]), file("c")], "two names"),
        ("two sizes", vec![pax(&[("size", "5")]), file("c")], "two sizes"),
        ("size of no number", vec![pax(&[("size", "-5")]), file("c")], "no number"),
        ("name without an entry", vec![entry(b"L", b'L', b"a\0")], "before an entry"),
        ("size beyond the end", vec![sized(b"big", b'0', b"x", 1 << 40)], "archive"),
        ("configuration too large", vec![entry(b"requirements.txt", b'0', &[b'#'; (256 << 10) + 1])], "262145 bytes"),
        ("requirements in UTF-16", vec![entry(b"requirements.txt", b'0', b"\xff\xfen\0")], "not UTF-8"),
        ("many files", many, "more than 10000"),
        ("many folders, implied", implied, "more than 10000"),
    ];
    assert!(table.len() >= 50);
    for (what, entries, sentence) in table {
        let detail = read(&entries).expect_err(what);
        assert!(detail.contains(sentence), "{what}: {detail}");
        assert!(!detail.chars().any(char::is_control) && detail.len() < 500, "{what}: {detail}");

        if entries.len() > 100 {
            continue;
        }
        let folder = Folder::new();
        let _ = archive::unpack(&with(&entries), &folder.0.join("new"));
        assert!(below(&folder.0).iter().all(|path| path.starts_with(folder.0.join("new"))), "{what}");
    }
}

#[test]
fn what_is_no_archive_is_refused_with_a_sentence() {
    let good = with(&[file("src/main.py")]);
    let mut wrong_checksum = good.clone();
    let n = wrong_checksum.len();
    wrong_checksum[n - 6] ^= 1;
    let table: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", vec![], "is empty"),
        ("text", b"hello".to_vec(), "not gzip"),
        ("zip", b"PK\x03\x04....".to_vec(), "zip archive"),
        ("the first bytes of gzip", vec![0x1f, 0x8b], "cut off"),
        ("gzip cut off", good[..n / 2].to_vec(), "cut off"),
        ("gzip without its checksum", good[..n - 8].to_vec(), "cut off"),
        ("gzip with a wrong checksum", wrong_checksum, "damaged"),
        ("gzip with something behind", [&good[..], b"something"].concat(), "damaged"),
        ("gzip of text", gz(&[b'a'; 2000]), "not a tar archive"),
        ("gzip of little text", gz(b"hello"), "not a tar archive"),
        ("gzip of nothing", gz(b""), "Invalid File"),
        ("tar cut off in a file", gz(&entry(b"configuration.json", b'0', &[b' '; 5000])[..3000]), "cut off"),
        (
            "tar cut off in a file that is not read",
            gz(&[configuration(), entry(b"a", b'0', &[0; 5000])[..3000].to_vec()].concat()),
            "damaged",
        ),
        ("tar without a configuration", gz(&file("src/main.py")), "Invalid File"),
        ("configuration in a folder", gz(&file("x/configuration.json")), "Invalid File"),
        ("configuration of other case", gz(&file("Configuration.json")), "Invalid File"),
        ("configuration that is a folder", gz(&entry(b"configuration.json", b'5', b"")), "Invalid File"),
    ];
    for (what, bytes, sentence) in table {
        let detail = archive::read(&bytes).expect_err(what).detail;
        assert!(detail.contains(sentence), "{what}: {detail}");
    }
}

#[test]
fn a_small_upload_never_costs_much() {
    // In a process of its own, so that no other test counts.
    if std::env::var_os("TE_TEST_ALONE").is_none() {
        let test = format!("{}::a_small_upload_never_costs_much", module_path!().split_once("::").unwrap().1);
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &test])
            .env("TE_TEST_ALONE", "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    // 110 MiB of one file, of a long name, of pax records, many names, and many empty gzip members.
    let bomb = |kind| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&sized(b"bomb", kind, b"", 110 << 20)).unwrap();
        for _ in 0..110 {
            encoder.write_all(&[0; 1 << 20]).unwrap();
        }
        encoder.finish().unwrap()
    };
    let bombs = [
        (bomb(b'0'), "more than 100 MiB"),
        (bomb(b'L'), "header of 115343360 bytes"),
        (bomb(b'x'), "header of 115343360 bytes"),
        (with(&vec![entry(b"L", b'L', &[b'n'; 60_000]); 2_000]), "more than 100 MiB"),
        (gz(b"").repeat(100_000), "damaged"),
    ];
    let before = resident();
    for (bomb, sentence) in bombs {
        let detail = archive::read(&bomb).map(|_| ()).unwrap_err().detail;
        assert!(detail.contains(sentence), "{detail}");
    }
    let cost = resident().saturating_sub(before);
    assert!(cost < 150 << 20, "{cost} bytes");
}

/// The most memory that this process has had, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn a_good_archive_gives_its_configuration_requirements_and_digest() {
    let bytes = with(&[
        entry(b"./", b'5', b""),
        entry(b"requirements.txt", b'0', b"\xef\xbb\xbfnumpy\n"),
        entry(b"./src/", b'5', b""),
        file("./src/main.py"),
        pax(&[("mtime", "1.5"), ("SCHILY.xattr.user.x", "y"), ("path", "src/dünn.py")]),
        file("cut"),
        long(
            "src/with a very long name of more than a hundred bytes, which is where the old header of a tar archive ends/x.py",
        ),
        entry(b"old/", b'\0', b""),
    ]);
    let package = archive::read(&bytes).unwrap();
    assert_eq!(package.configuration, br#"{"name":"x"}"#);
    assert_eq!(package.requirements, "numpy\n");
    assert!(package.has_main);
    assert_eq!(package.digest.len(), "sha256:".len() + 64);
    assert_eq!(package.digest, archive::digest(&bytes));

    let folder = Folder::new();
    let target = folder.0.join("version");
    archive::unpack(&bytes, &target).unwrap();
    assert_eq!(fs::read(target.join("src/dünn.py")).unwrap(), b"x");
    assert_eq!(below(&target).len(), 8);
    for path in below(&target) {
        let mode = fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, if path.is_dir() { 0o755 } else { 0o644 }, "{path:?}");
    }
    assert!(
        matches!(archive::unpack(&bytes, &target), Err(archive::UnpackError::Io(_))),
        "never into a folder that exists"
    );
}

#[test]
fn an_archive_without_requirements_or_a_main_is_an_archive() {
    let package = read(&[]).unwrap();
    assert_eq!((package.requirements.as_str(), package.has_main), ("", false));
    assert!(!read(&[entry(b"src/main.py/", b'5', b"")]).unwrap().has_main);
}

#[test]
fn what_the_system_s_tar_makes_is_an_archive() {
    let folder = Folder::new();
    fs::create_dir_all(folder.0.join("x/src")).unwrap();
    fs::write(folder.0.join("x/configuration.json"), "{}").unwrap();
    fs::write(folder.0.join("x/src/main.py"), "def run(): pass").unwrap();
    for format in ["gnu", "pax", "ustar", "v7"] {
        let output = Command::new("tar")
            .args(["czf", "-", &format!("--format={format}"), "-C"])
            .arg(folder.0.join("x"))
            .arg(".")
            .output()
            .unwrap();
        let package = archive::read(&output.stdout).unwrap();
        assert!(package.has_main, "{format}");
    }
}

#[test]
fn a_stream_in_several_gzip_members_and_padding_is_read_whole() {
    let tar = [configuration(), file("src/main.py"), vec![0; 1024]].concat();
    let (a, b) = tar.split_at(700);
    let bytes = [gz(a), gz(b), vec![0; 512]].concat();
    assert!(archive::read(&bytes).unwrap().has_main);
}

#[test]
fn the_name_of_the_uploaded_file_is_judged_as_the_contract_says() {
    for good in ["s.tar.gz", "sdg 15.3.1.tar.gz", "my.script.tar.gz", "It's a & b.tar.gz", "été 日本.tar.gz"] {
        assert_eq!(archive::check_file_name(good), Ok(()), "{good}");
    }
    for bad in ["", "s.zip", "s.tgz", "s.TAR.GZ", "s.tar.gz "] {
        assert_eq!(archive::check_file_name(bad), Err("File must be a .tar.gz archive"), "{bad}");
    }
    for bad in ["<b>s.tar.gz", "a\"b.tar.gz", "a\nb.tar.gz", "a\0.tar.gz", "\u{202e}a.tar.gz"] {
        assert_eq!(archive::check_file_name(bad), Err("Invalid characters in filename"), "{bad}");
    }
    assert_eq!(archive::check_file_name("../../etc.tar.gz"), Err("Invalid File"));
    assert_eq!(archive::check_file_name(&("a".repeat(260) + ".tar.gz")), Err("Invalid characters in filename"));
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            all.extend(below(&path));
        }
        all.push(path);
    }
    all
}

fn any_name() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        4 => "[a-cA-C]{1,2}".prop_map(String::into_bytes),
        1 => Just(b"..".to_vec()),
        1 => Just(b".".to_vec()),
        1 => Just(b"".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
    ];
    proptest::collection::vec(part, 1..5).prop_map(|parts| parts.join(&b'/'))
}

fn any_entry() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![8 => Just(b'0'), 3 => Just(b'5'), 1 => Just(b'\0'), 1 => Just(b'2'), 1 => Just(b'L'), 1 => Just(b'x'), 1 => any::<u8>()];
    (any_name(), kind, proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(name, kind, content)| {
        let content = if kind == b'5' { &[] } else { &content[..] };
        entry(&name, kind, content)
    })
}

proptest! {
    #[test]
    fn any_archive_is_refused_or_unpacks_only_below_its_target(entries in proptest::collection::vec(any_entry(), 0..6)) {
        let folder = Folder::new();
        let target = folder.0.join("a/b/target");
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        let bytes = with(&entries);
        let unpacked = archive::unpack(&bytes, &target);
        prop_assert_eq!(unpacked.is_ok(), archive::read(&bytes).is_ok());
        for path in below(&folder.0) {
            prop_assert!(path.starts_with(&target) || target.starts_with(&path));
            let meta = fs::symlink_metadata(&path).unwrap();
            prop_assert!(meta.is_dir() || meta.is_file());
        }
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = archive::read(&bytes);
        let _ = archive::read(&gz(&bytes));
    }
}
