//! Where host and credentials come from.

use std::fs;

use super::{borrowed, environment};
use crate::support::{
    process::{ConfigFile, Finished, Process},
    redis::Folder,
    server::TestServer,
};

fn channels(arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
    Process::run(&[&["channels", "--text"], arguments].concat(), variables)
}

#[track_caller]
fn is_answered(finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(finished.stdout, "No channel is occupied.\n");
}

#[test]
fn host_and_app_are_taken_from_flags_variables_an_env_file_or_a_profile() {
    let server = TestServer::usual();
    let app = server.app();
    let url = format!("http://{}", server.public);
    let flags = [
        "--url",
        &url,
        "--id",
        &app.id,
        "--key",
        &app.key,
        "--secret",
        &app.secret,
    ];
    is_answered(&channels(&flags, &[]));

    let variables = environment(&server);
    is_answered(&channels(&[], &borrowed(&variables)));
    let reverb: Vec<_> = variables
        .iter()
        .map(|(name, value)| (name.replace("PUSHER_", "REVERB_"), value.clone()))
        .collect();
    let borrowed_reverb: Vec<_> = reverb
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    is_answered(&channels(&[], &borrowed_reverb));

    let lines = variables
        .iter()
        .map(|(name, value)| format!("{name}=\"{value}\" # said\n"));
    let file = ConfigFile::new(&lines.collect::<String>());
    is_answered(&channels(&["--env-file", file.path()], &[]));

    let folder = Folder::new();
    let profiles = folder.file("loudhailer");
    fs::create_dir_all(&profiles).unwrap();
    let (id, key, secret) = (&app.id, &app.key, &app.secret);
    let text = format!("[shop]\nurl = {url:?}\nid = {id:?}\nkey = {key:?}\nsecret = {secret:?}\n");
    fs::write(format!("{profiles}/profiles.toml"), text).unwrap();
    let home = folder.file(".");
    is_answered(&channels(
        &["--profile", "shop"],
        &[("XDG_CONFIG_HOME", &home)],
    ));
    let finished = channels(&["--profile", "stall"], &[("XDG_CONFIG_HOME", &home)]);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("there are shop"), "{finished:?}");
}

#[test]
fn what_is_missing_is_named_with_the_place_that_was_looked_in() {
    let server = TestServer::usual();
    for (left_out, reason) in [
        ("PUSHER_APP_ID", "the app's id is missing: give --id"),
        (
            "PUSHER_APP_SECRET",
            "the app's secret is missing: give --secret",
        ),
        ("PUSHER_HOST", "the host is missing: give --url"),
    ] {
        let mut variables = environment(&server);
        variables.retain(|(name, _)| *name != left_out);
        let finished = channels(&[], &borrowed(&variables));
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.contains(reason), "{finished:?}");
        assert!(finished.stderr.contains("the environment"), "{finished:?}");
        assert!(
            !finished.stderr.contains(&server.app().secret),
            "{finished:?}"
        );
    }
}

#[test]
fn a_profile_that_is_misspelt_is_refused_without_its_secret() {
    let folder = Folder::new();
    let profiles = folder.file("loudhailer");
    fs::create_dir_all(&profiles).unwrap();
    for text in [
        "[shop]\nurl = \"h\"\nsecrt = \"hidden-in-the-profile\"\n",
        "[shop]\nsecret = hidden-in-the-profile\n",
    ] {
        fs::write(format!("{profiles}/profiles.toml"), text).unwrap();
        let home = folder.file(".");
        let finished = channels(&["--profile", "shop"], &[("XDG_CONFIG_HOME", &home)]);
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.contains("profiles.toml"), "{finished:?}");
        assert!(!finished.stderr.contains("hidden-in"), "{finished:?}");
    }
}

#[test]
fn an_env_file_before_the_command_is_not_passed_over() {
    let finished = Process::run(&["--env-file", ".env", "channels"], &[]);
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(
        finished.stderr.contains("behind the command"),
        "{finished:?}"
    );
}
