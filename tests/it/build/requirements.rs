//! `requirements.txt`: what passes is written anew, what does not is named with its line.

use proptest::prelude::*;
use trends_earth::build::requirements::{MAX_LINES, Requirements, Source};

fn canonical(text: &str) -> String {
    let parsed = Requirements::parse(text).unwrap_or_else(|refused| panic!("{refused}"));
    let canonical = parsed.canonical();
    let again = Requirements::parse(&canonical).unwrap_or_else(|refused| panic!("{canonical}: {refused}"));
    assert_eq!(again.canonical(), canonical, "what we write reads as it was");
    canonical
}

#[test]
fn what_real_scripts_write_passes_and_is_written_anew() {
    let hash = "0123456789abcdef".repeat(4);
    for (text, expected) in [
        ("", ""),
        ("# only a comment\n\n   \n", ""),
        ("numpy", "numpy\n"),
        ("\u{feff}numpy\r\nscipy\r\n", "numpy\nscipy\n"),
        ("NumPy", "numpy\n"),
        ("Foo._-Bar", "foo-bar\n"),
        ("numpy == 1.26.4  # pinned", "numpy==1.26.4\n"),
        ("numpy >=1.20 , <2", "numpy<2,>=1.20\n"),
        ("numpy (>=1.0)", "numpy>=1.0\n"),
        ("numpy~=1.4", "numpy~=1.4\n"),
        ("numpy==1.*", "numpy==1.*\n"),
        ("numpy===2026b1+local", "numpy===2026b1+local\n"),
        ("numpy!=1!2.0.post1", "numpy!=1!2.0.post1\n"),
        ("zeta\nalpha\nzeta", "alpha\nzeta\n"),
        ("requests[socks, use_chardet]>=2", "requests[socks,use-chardet]>=2\n"),
        ("requests[]", "requests\n"),
        ("numpy \\\n  >= 1 \\\n  # a comment\n", "numpy>=1\n"),
        ("tomli; python_version<'3.11'", "tomli ; python_version < \"3.11\"\n"),
        (
            "x>1 ; (sys.platform=='win32' or os_name != \"nt\") and extra in 'a b'",
            "x>1 ; (sys_platform == \"win32\" or os_name != \"nt\") and extra in \"a b\"\n",
        ),
        ("x; 'linux' not in sys_platform", "x ; \"linux\" not in sys_platform\n"),
        ("android; android=='1'".split(';').next().unwrap(), "android\n"),
        (
            "te_schemas @ git+https://github.com/mapbiomas/te_schemas.git@v2.1.17",
            "te-schemas @ git+https://github.com/mapbiomas/te_schemas.git@v2.1.17\n",
        ),
        (
            "te_schemas@https://example.org/te_schemas-1.0.tar.gz",
            "te-schemas @ https://example.org/te_schemas-1.0.tar.gz\n",
        ),
        ("git+https://github.com/a/b.git@feature/x#egg=B_c", "b-c @ git+https://github.com/a/b.git@feature/x\n"),
        (
            "git+https://github.com/a/b#subdirectory=py/lib&egg=b",
            "b @ git+https://github.com/a/b#subdirectory=py/lib\n",
        ),
        ("git+https://github.com/a/b", "git+https://github.com/a/b\n"),
        (
            "https://example.org/a-1.0-py3-none-any.whl ; python_version >= '3.9'",
            "https://example.org/a-1.0-py3-none-any.whl ; python_version >= \"3.9\"\n",
        ),
        ("https://EXAMPLE.org:443/a/../b.zip", "https://example.org/b.zip\n"),
    ] {
        assert_eq!(canonical(text), expected, "{text}");
    }
    assert_eq!(
        canonical(&format!("a==1 --hash=sha256:{hash} \\\n --hash sha256:{}", hash.to_uppercase())),
        format!("a==1 --hash=sha256:{hash}\n")
    );
    assert_eq!(
        canonical(&format!("a @ https://e.org/a.whl#sha256={hash}")),
        format!("a @ https://e.org/a.whl#sha256={hash}\n")
    );
}

#[test]
fn what_an_installer_would_obey_is_refused_with_its_line_and_a_sentence() {
    let brackets = format!("a; {}os_name=='x'{}", "(".repeat(40), ")".repeat(40));
    for (line, sentence) in [
        ("-r other.txt", "options (here `-r`) are not allowed. Write the packages"),
        ("-r/etc/shadow", "options"),
        ("--requirement=/etc/shadow", "options (here `--requirement`)"),
        ("-c /etc/shadow", "options"),
        ("--constraint x", "options"),
        ("-e .", "options (here `-e`) are not allowed. Name the package"),
        ("-e git+https://github.com/a/b#egg=b", "options"),
        ("--editable .", "options"),
        ("--index-url https://evil.example", "The package index is a setting of the server."),
        ("-i https://evil.example", "setting of the server"),
        ("--extra-index-url=https://evil.example", "setting of the server"),
        ("--find-links /tmp", "setting of the server"),
        ("-f /tmp", "setting of the server"),
        ("--trusted-host evil.example", "setting of the server"),
        ("--pre", "options (here `--pre`)"),
        ("--no-binary :all:", "options"),
        ("--config-settings x=y", "options"),
        ("numpy --global-option=build", "options (here `--global-option`)"),
        ("numpy --config-settings=--x", "options"),
        ("numpy --hash=md5:00", "a hash is written like"),
        ("numpy --hash=sha256:00", "a hash is written like"),
        ("numpy --hash", "a hash is written like"),
        (".", "a path of a file"),
        ("./local", "a path of a file"),
        ("../up", "a path of a file"),
        ("/etc/passwd", "a path of a file"),
        ("~/x", "a path of a file"),
        ("\\\\server\\share", "a path of a file"),
        ("C:\\x.whl", "`C:` is not allowed"),
        ("dir/package", "a path of a file"),
        ("x-1.0-py3-none-any.whl", "a path of a file"),
        ("x-1.0.tar.gz", "a path of a file"),
        ("file:///etc/passwd", "`file:` is not allowed"),
        ("file:x", "`file:` is not allowed"),
        ("x @ file:///etc/passwd", "`file:` is not allowed"),
        ("x @ /etc/passwd", "a path of a file"),
        ("x @ ./x", "a path of a file"),
        ("x @", "a path of a file"),
        ("http://example.org/x.whl", "`http:` is not allowed"),
        ("x @ http://example.org/x.whl", "`http:` is not allowed"),
        ("ftp://example.org/x.whl", "`ftp:` is not allowed"),
        ("git+ssh://git@github.com/a/b", "`git+ssh:` is not allowed"),
        ("git+http://github.com/a/b", "`git+http:` is not allowed"),
        ("git+file:///srv/b", "`git+file:` is not allowed"),
        ("git://github.com/a/b", "`git:` is not allowed"),
        ("git@github.com:a/b", "`github.com:` is not allowed"),
        ("hg+https://example.org/a", "`hg+https:` is not allowed"),
        ("svn+https://example.org/a", "`svn+https:` is not allowed"),
        ("HTTPS://example.org/x.whl", "`HTTPS:` is not allowed"),
        ("https://${JWT_SECRET_KEY}.evil.example/x.whl", "`$` is not allowed"),
        ("$HOME/x", "`$` is not allowed"),
        ("https://user:secret@example.org/x.whl", "a user name or password"),
        ("https://token@example.org/x.whl", "a user name or password"),
        ("https://127.0.0.1/x.whl", "a name, not an address"),
        ("https://2130706433/x.whl", "a name, not an address"),
        ("https://[::1]/x.whl", "a name, not an address"),
        ("https://example.org:8443/x.whl", "443"),
        ("https:///x.whl", "URL"),
        ("https:example.org/x.whl", "URL"),
        ("https://example.org/", "names a wheel"),
        ("https://example.org/x.exe", "names a wheel"),
        ("https://example.org/x.whl#md5=0", "`#md5` of a URL"),
        ("git+https://github.com/a/b#egg=b&x=y", "`#x` of a URL"),
        ("git+https://github.com/a/b#subdirectory=../../etc", "`#subdirectory`"),
        ("git+https://github.com/a/b@--upload-pack=touch", "git+https://host/path@revision"),
        ("git+https://github.com/a/b@", "git+https://host/path@revision"),
        ("git+https://github.com/a/b@x@y", "git+https://host/path@revision"),
        ("git+https://github.com", "git+https://host/path@revision"),
        ("x @ https://e.org/x.whl;os_name=='nt'", "put a blank"),
        ("x @ https://e.org/x.whl os_name", "not understood"),
        ("numpy scipy", "versions are written like"),
        ("numpy=1.0", "versions are written like"),
        ("numpy>=", "versions are written like"),
        ("numpy>=1,", "versions are written like"),
        ("numpy (>=1", "versions are written like"),
        ("numpy>=1)", "not understood"),
        ("numpy[", "extras are written like"),
        ("numpy[a b]", "extras are written like"),
        ("numpy[../x]", "extras are written like"),
        ("_numpy", "name of a package"),
        ("numpy-", "name of a package"),
        ("==1.0", "name of a package"),
        ("a; os_name", "a marker is written like"),
        ("a; os_name == nt", "a marker is written like"),
        ("a; __import__('os')", "a marker is written like"),
        ("a; os_name == 'n", "quote is not closed"),
        ("a; (os_name == 'n'", "parenthesis is not closed"),
        ("a; os_name == 'n' os_name", "not understood"),
        ("a; os_name == 'x --index-url=https://evil.example'", "options"),
        ("a; os_name == 'x -r /etc/shadow'", "a text in a marker"),
        ("a; os_name == '-r'", "a text in a marker"),
        ("a; os_name == 'x\"y'", "a text in a marker"),
        ("a;", "a marker is written like"),
        (&brackets, "parentheses within"),
        ("nümpy", "beyond ASCII"),
        ("numpy\u{0}", "control character"),
        ("numpy\u{b}-r x", "control character"),
        ("numpy\u{85}-r x", "control character"),
        ("numpy\u{2028}-r x", "beyond ASCII"),
        ("numpy\r-r x", "control character"),
        ("numpy\u{1b}[2J", "control character"),
    ] {
        let refused = Requirements::parse(&format!("good\n\n{line}\n")).expect_err(line);
        assert_eq!(refused.line, 3, "{line}");
        let text = refused.to_string();
        assert!(text.starts_with("requirements.txt, line 3, `") && text.contains(sentence), "{line}: {text}");
        assert!(text.is_ascii() && !text.chars().any(char::is_control) && text.len() < 400, "{line}: {text}");
    }
}

#[test]
fn a_line_that_goes_on_cannot_hide_an_option() {
    let refused = Requirements::parse("a\n\\\n-r /etc/shadow").unwrap_err();
    assert_eq!((refused.line, refused.why.starts_with("options")), (2, true));
    assert!(Requirements::parse("numpy \\\n-r /etc/shadow").is_err());
    assert!(Requirements::parse("numpy \\").is_ok());
    // A comment ends with its line, and what follows is read.
    assert!(Requirements::parse("# x \\\n-r /etc/shadow").is_err());
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let lines = |n: usize| Requirements::parse(&"a\n".repeat(n));
    assert!(lines(MAX_LINES).is_ok());
    let refused = lines(MAX_LINES + 1).unwrap_err();
    assert_eq!((refused.line, refused.why.as_str()), (1001, "the file has more than 1000 lines."));
    let refused = Requirements::parse(&"a".repeat(300_000)).unwrap_err();
    assert!(refused.why.contains("at most 262144") && refused.text.chars().count() == 101);
}

#[test]
fn it_knows_what_comes_from_the_index_and_which_hosts_to_open() {
    let index = Requirements::parse("numpy\nscipy>1").unwrap();
    assert!(index.only_index() && index.hosts().is_empty() && !index.needs_git() && !index.is_empty());
    let mixed = Requirements::parse("numpy\nx @ https://files.example.org/x.whl\ngit+https://github.com/a/b").unwrap();
    assert!(!mixed.only_index() && mixed.needs_git());
    assert_eq!(
        mixed.hosts(),
        [
            "codeload.github.com",
            "files.example.org",
            "github.com",
            "objects.githubusercontent.com",
            "release-assets.githubusercontent.com"
        ]
    );
    assert!(matches!(&mixed.lines[1].source, Source::Archive { host, .. } if host == "files.example.org"));
    assert_eq!(index.digest(), Requirements::parse("SciPy >1 # x\n\nnumpy").unwrap().digest());
    assert_ne!(index.digest(), mixed.digest());
    assert!(Requirements::parse("# nothing").unwrap().is_empty());
}

fn any_line() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        Just("numpy".to_owned()),
        Just("-r".to_owned()),
        Just("--hash=sha256:".to_owned() + &"a".repeat(64)),
        Just("https://example.org/x.whl".to_owned()),
        Just("git+https://github.com/a/b@".to_owned()),
        Just("file:///etc/passwd".to_owned()),
        Just("${HOME}".to_owned()),
        Just("; python_version < '3.9'".to_owned()),
        Just("#egg=".to_owned()),
        "[ @;=<>\\[\\]()#/.,\\\\\\-~'\"]{1,3}",
        "[a-zA-Z0-9._-]{1,5}",
        "\\PC{1,3}",
        any::<String>(),
    ];
    proptest::collection::vec(token, 1..6).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn no_accepted_line_is_an_option_a_path_or_a_variable(lines in proptest::collection::vec(any_line(), 0..4)) {
        let text = lines.join("\n");
        if let Ok(parsed) = Requirements::parse(&text) {
            let canonical = parsed.canonical();
            prop_assert_eq!(canonical.clone(), Requirements::parse(&canonical).unwrap().canonical());
            for line in canonical.lines() {
                prop_assert!(line.starts_with(|c: char| c.is_ascii_alphanumeric()), "{}", line);
                prop_assert!(!line.contains('$') && !line.contains('\\') && line.is_ascii());
                prop_assert!(!line.contains(" -") || line.contains(" --hash="), "{}", line);
                prop_assert!(line.chars().all(|c| matches!(c, ' '..='~')));
                let source = line.split_once(" @ ").map_or(line, |(_, source)| source);
                if source.contains("://") {
                    prop_assert!(source.starts_with("https://") || source.starts_with("git+https://"), "{}", line);
                }
            }
        }
    }
}
