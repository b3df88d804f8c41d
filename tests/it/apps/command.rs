//! `loudhailer apps`, on every store (#14).

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::Value;

use super::{
    connects, other,
    store::{StoreKind, Stored, on_every_store},
};
use crate::support::{
    app::App,
    process::{ConfigFile, Finished, Process},
    setup::Setup,
};

on_every_store! {
    apps_are_added_changed_and_removed
    a_key_is_rotated
    what_is_not_valid_is_refused_with_all_that_is_wrong
}

fn apps(config: &str, arguments: &[&str]) -> Finished {
    Process::run(&[&["--config", config, "apps"], arguments].concat(), &[])
}

/// Runs a command that must succeed, and has the server take the change.
#[track_caller]
fn done(stored: &Stored, arguments: &[&str]) -> String {
    let finished = call(stored, arguments);
    assert_eq!(finished.code, Some(0), "{arguments:?}: {finished:?}");
    assert_eq!(finished.stderr, "");
    assert_eq!(stored.reload("").status, 200);
    finished.stdout
}

fn call(stored: &Stored, arguments: &[&str]) -> Finished {
    let config = stored.server.config.as_ref().expect("a file");
    apps(config.path(), arguments)
}

/// The credentials that a command has printed.
#[track_caller]
fn printed(text: &str) -> App {
    let value = |name: &str| {
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).trim()
    };
    App::with_secret(value("id"), value("key"), value("secret"))
}

fn apps_are_added_changed_and_removed(kind: StoreKind) {
    let stored = Stored::start(kind, &[App::usual()]);
    let server = &stored.server;
    let words = [
        "add",
        "name=Shop",
        "client_events=true",
        "max_connections=5",
        "allowed_origins=a.test, b.test",
    ];
    let app = printed(&done(&stored, &words));
    let shown = server.admin_json(&format!("/api/apps/{}", app.id));
    assert_eq!(
        (&shown["name"], &shown["max_connections"]),
        (&"Shop".into(), &5.into())
    );
    assert_eq!(
        shown["allowed_origins"],
        serde_json::json!(["a.test", "b.test"])
    );
    assert!(!connects(server, &app), "its page is not allowed");
    done(
        &stored,
        &["set", &app.id, "allowed_origins=", "max_connections="],
    );
    assert!(connects(server, &app));
    server.api_of(&app).publish("news", "e", "");

    let listed = done(&stored, &["list"]);
    for part in [&app.id, &app.key, "Shop", "1001"] {
        assert!(listed.contains(part), "no {part} in {listed}");
    }
    let lines = done(&stored, &["list", "--json"]);
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines
            .iter()
            .any(|line| line["id"] == *app.id && line["client_events"] == true)
    );
    for text in [listed, format!("{lines:?}")] {
        assert!(!text.contains(&app.secret), "a secret in {text}");
    }

    done(&stored, &["set", &app.id, "enabled=false"]);
    assert!(!connects(server, &app));
    done(&stored, &["remove", &app.id]);
    assert_eq!(server.admin_json("/api/apps")["total"], 1);
    assert!(connects(server, server.app()));
}

fn a_key_is_rotated(kind: StoreKind) {
    let stored = Stored::start(kind, &[App::usual()]);
    let server = &stored.server;
    let old = server.app();
    let new = printed(&done(&stored, &["rotate", "1001", "--label", "October"]));
    assert!(connects(server, old) && connects(server, &new));
    let words = [
        "rotate",
        "1001",
        "--disable",
        &old.key,
        "--at",
        "2999-01-01T00:00:00Z",
    ];
    done(&stored, &words);
    assert!(connects(server, old), "not yet");
    done(&stored, &["rotate", "1001", "--disable", &old.key]);
    assert!(!connects(server, old) && connects(server, &new));
    let shown = server.admin_json("/api/apps/1001");
    assert_eq!(shown["keys"][1]["label"], "October");
}

fn what_is_not_valid_is_refused_with_all_that_is_wrong(kind: StoreKind) {
    let stored = Stored::start(kind, &[App::usual()]);
    let before = done(&stored, &["export"]);
    let bad = [
        "set",
        "1001",
        "max_connections=0",
        "colour=red",
        "enabled=maybe",
    ];
    let finished = call(&stored, &bad);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    for part in [
        "max_connections must be at least 1",
        "colour is not a key",
        "enabled must be true or false",
    ] {
        assert!(
            finished.stderr.contains(part),
            "no {part:?} in {finished:?}"
        );
    }
    for bad in [
        &["add", "id=1001"][..],
        &["add", "id=7", "key=key-of-1001"],
        &["set", "7", "name=x"],
        &["remove", "7"],
        &["rotate", "7"],
        &["rotate", "1001", "--disable", "none"],
        &[
            "rotate",
            "1001",
            "--disable",
            "key-of-1001",
            "--at",
            "tomorrow",
        ],
    ] {
        let finished = call(&stored, bad);
        assert_eq!(finished.code, Some(1), "{bad:?}: {finished:?}");
        assert!(
            !finished.stderr.is_empty() && finished.stdout.is_empty(),
            "{finished:?}"
        );
    }
    let usage = call(&stored, &["set", "1001", "name"]);
    assert_eq!(usage.code, Some(2), "{usage:?}");
    assert_eq!(done(&stored, &["export"]), before);
}

#[test]
fn comments_order_and_permissions_of_a_file_stay() {
    let text = "# ours\n[server]\nport = 0 # any\n\n[[apps]] # the first\nid = \"7\"\nkey = \"k\"\nsecret = \"s\"\n\
                name = \"Shop\" # for people\n\n# the second\n[[apps]]\nid = \"8\"\nkey = \"l\"\nsecret = \"t\"\n";
    let config = ConfigFile::new(text);
    fs::set_permissions(config.path(), fs::Permissions::from_mode(0o640)).expect("its owner may");
    let finished = apps(config.path(), &["set", "7", "name=Store", "enabled=false"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let expected = text.replace(
        "\"Shop\" # for people\n",
        "\"Store\" # for people\nenabled = false\n",
    );
    assert_eq!(
        fs::read_to_string(config.path()).expect("it is there"),
        expected
    );
    let mode = fs::metadata(config.path())
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    let finished = apps(config.path(), &["remove", "8"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let last = apps(config.path(), &["remove", "7"]);
    assert_eq!(last.code, Some(1), "{last:?}");
    assert!(last.stderr.contains("last app"), "{last:?}");
}

#[test]
fn without_a_file_there_is_nothing_to_change() {
    let listed = Process::run(&["apps", "list"], &[]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    assert!(listed.stdout.contains("app-key"), "{listed:?}");
    let finished = Process::run(&["apps", "add"], &[]);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("--config"), "{finished:?}");
}

#[test]
fn an_export_of_a_file_is_the_same_apps() {
    let config = ConfigFile::new(&many().toml());
    let exported = apps(config.path(), &["export"]);
    assert_eq!(exported.code, Some(0), "{exported:?}");
    let again = ConfigFile::new(&exported.stdout);
    assert_eq!(apps(again.path(), &["export"]).stdout, exported.stdout);
    let listed = |config: &ConfigFile| apps(config.path(), &["list", "--json"]).stdout;
    assert_eq!(listed(&again), listed(&config));
}

/// Apps with settings of every kind.
fn many() -> Setup {
    let rich = App::usual()
        .set("name", "Ünïcode \"Shop\"\n\t\\")
        .set("max_connections", 7)
        .set("client_events", true)
        .set("allowed_origins", serde_json::json!(["a.test", "*.b.test"]))
        .set("keys", serde_json::json!([
            {"key": "second", "secret": "secret-of-second", "label": "October", "created": "2026-10-01T12:00:00Z"},
            {"key": "third", "secret": "secret-of-third", "disabled": "2026-11-01T12:00:00Z"}
        ]))
        .set("webhook_key", "second")
        .set("webhooks", serde_json::json!([
            {"url": "https://user:password@a.test/hook", "event_types": ["member_added"], "headers": {"X-Token": "hidden"}}
        ]))
        .set("channels", serde_json::json!([{"pattern": "news-*", "replay_events": 5}]));
    let keyless = App::new("1003", "key-of-1003").set("enabled", false);
    Setup::new().app(rich).app(other()).app(keyless)
}

#[cfg(feature = "sql")]
mod import {
    use super::*;
    use crate::support::database::{Database, Kind};

    #[test]
    fn sqlite() {
        apps_of_a_file_move_into_a_database_and_back(Kind::Sqlite);
    }

    #[test]
    fn postgres() {
        apps_of_a_file_move_into_a_database_and_back(Kind::Postgres);
    }

    #[test]
    fn mariadb() {
        apps_of_a_file_move_into_a_database_and_back(Kind::MariaDb);
    }

    fn apps_of_a_file_move_into_a_database_and_back(kind: Kind) {
        let database = Database::new(kind);
        // The file lists apps and names the database, as on the day of the move.
        let many = many();
        let both = many.clone().set("database.url", database.url.clone());
        let (both, file) = (ConfigFile::new(&both.toml()), ConfigFile::new(&many.toml()));
        let exported = apps(file.path(), &["export"]).stdout;
        let moved = apps(both.path(), &["import", both.path()]);
        assert_eq!(
            (moved.code, &*moved.stdout),
            (Some(0), "3 added, 0 replaced\n"),
            "{moved:?}"
        );
        let setup = Setup::new().set("database.url", database.url.clone());
        let config = ConfigFile::new(&setup.toml());
        assert_eq!(apps(config.path(), &["export"]).stdout, exported);

        let again = apps(config.path(), &["import", file.path()]);
        assert_eq!(again.code, Some(1), "{again:?}");
        assert!(
            again.stderr.contains("app 1001 exists already"),
            "{again:?}"
        );
        let renamed = ConfigFile::new(&many.toml().replace("Shop", "Store"));
        let replaced = apps(config.path(), &["import", renamed.path(), "--replace"]);
        assert_eq!(replaced.stdout, "0 added, 3 replaced\n", "{replaced:?}");
        assert!(apps(config.path(), &["list"]).stdout.contains("Store"));
    }

    #[test]
    fn an_import_is_whole_or_not_at_all() {
        let database = Database::new(Kind::Sqlite);
        let setup = Setup::new().set("database.url", database.url.clone());
        let config = ConfigFile::new(&setup.toml());
        let taken = apps(
            config.path(),
            &["add", "id=7", "key=key-of-1003", "secret=s"],
        );
        assert_eq!(taken.code, Some(0), "{taken:?}");
        let file = ConfigFile::new(&many().toml());
        let refused = apps(config.path(), &["import", file.path()]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("key-of-1003"), "{refused:?}");
        assert_eq!(
            apps(config.path(), &["list", "--json"])
                .stdout
                .lines()
                .count(),
            1
        );
        let none = ConfigFile::new("");
        let empty = apps(config.path(), &["import", none.path()]);
        assert_eq!(empty.code, Some(2), "{empty:?}");
        assert!(empty.stderr.contains("lists no apps"), "{empty:?}");
        let nowhere = apps(file.path(), &["import", file.path()]);
        assert_eq!(nowhere.code, Some(2), "{nowhere:?}");
        assert!(nowhere.stderr.contains("database.url"), "{nowhere:?}");
    }
}
