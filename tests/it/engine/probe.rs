//! The probe: what it finds kept, and what it finds missing.
//! `check` prints these.

use std::{fs, os::unix::fs::PermissionsExt};

use trends_earth::engine::process::{
    probe::{Choice, Place, Setting, choose, in_force, probe},
    spec::Sandbox,
};

use super::unit::{PYTHON, is_root, program};

fn place() -> Place {
    let folder = std::env::temp_dir().join(format!("trends-earth-{}", uuid::Uuid::new_v4()));
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    Place {
        program: program().to_owned(),
        folder,
        python: PYTHON.into(),
        binds: Vec::new(),
        uid: is_root().then_some(709_999),
    }
}

#[tokio::test]
async fn both_sandboxes_keep_every_promise() {
    for (setting, expected) in [(Setting::Auto, super::unit::bwrap()), (Setting::Namespaces, Sandbox::Namespaces)] {
        let place = place();
        let Choice { sandbox, checks } = choose(setting, &place).await.unwrap();
        assert_eq!(sandbox, expected);
        assert_eq!(checks.len(), 16);
        assert!(checks.iter().all(|check| check.ok), "{checks:#?}");
        assert_eq!(fs::read_dir(&place.folder).unwrap().count(), 0);
        fs::remove_dir(&place.folder).unwrap();
    }
    assert!(in_force().len() >= 4, "{:?}", in_force());
}

#[tokio::test]
async fn a_sandbox_that_is_none_is_seen_through() {
    let place = place();
    let checks = probe(&Sandbox::None, &place).await;
    for name in ["key file", "loopback", "abstract socket", "path socket", "signal the server"] {
        let check = checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("{checks:#?}"));
        assert!(!check.ok, "{checks:#?}");
    }
    let checks = probe(&Sandbox::Bwrap("/usr/bin/no-such-bwrap".into()), &place).await;
    assert!(checks.len() == 1 && !checks[0].ok && checks[0].detail.contains("no-such-bwrap"), "{checks:#?}");
    fs::remove_dir(&place.folder).unwrap();
}
