//! The environment: Loudhailer's own names over the file, and other servers' names understood.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::is_config_error;
use crate::support::{
    app::App,
    eventually,
    process::{ConfigFile, Process},
    server::TestServer,
    setup::Setup,
    websocket::Upgrade,
};

const ADMIN: (&str, &str) = ("LOUDHAILER_ADMIN__PORT", "0");

#[test]
fn the_environment_wins_over_the_file() {
    let setup = Setup::new()
        .set("server.path_prefix", "/file")
        .app(App::usual());
    let config = ConfigFile::new(&setup.toml());
    let environment = [
        ("LOUDHAILER_SERVER__PATH_PREFIX", "/env"),
        ("LOUDHAILER_WEBSOCKET__ACTIVITY_TIMEOUT_S", "77"),
    ];
    let server = TestServer::launch(&["--config", config.path()], &environment);
    let greeting = Upgrade::new("/env/app/key-of-1001?protocol=7")
        .connect(server.public)
        .expect_text();
    assert!(
        greeting.contains(r#"\"activity_timeout\":77"#),
        "{greeting}"
    );
    Upgrade::new("/file/app/key-of-1001?protocol=7")
        .connect(server.public)
        .expect_close(4005);
}

#[test]
fn without_a_file_the_environment_is_enough() {
    let server = TestServer::launch(&[], &[("LOUDHAILER_SERVER__PORT", "0"), ADMIN]);
    let greeting = Upgrade::new("/app/app-key?protocol=7")
        .connect(server.public)
        .expect_text();
    assert!(greeting.contains("connection_established"), "{greeting}");
}

#[test]
fn a_bad_variable_is_named() {
    let cases = [
        ("LOUDHAILER_SERVER__PORT", "abc"),
        ("LOUDHAILER_SERVER__PORT", "70000"),
        ("LOUDHAILER_SERVER__HOST", "not a host"),
        ("LOUDHAILER_LOG__FORMAT", "xml"),
        ("LOUDHAILER_WEBSOCKET__ACTIVITY_TIMEOUT_S", "0"),
        ("LOUDHAILER_SERVER__PROT", "6001"),
        ("LOUDHAILER_SERVERS__PORT", "6001"),
    ];
    for (name, value) in cases {
        is_config_error(&["check-config"], &[(name, value)], &[name]);
    }
}

/// Starts with these variables only; the app must be theirs, and the start-up lines must name each variable.
#[track_caller]
fn understands(variables: &[(&str, &str)], app: &App) {
    let own_port = [("LOUDHAILER_SERVER__PORT", "0")];
    let has_port = variables.iter().any(|(name, _)| name.ends_with("_PORT"));
    let ports = if has_port {
        &own_port[..0]
    } else {
        &own_port[..]
    };
    let environment = [variables, ports, &[ADMIN]].concat();
    let mut server = TestServer::launch(&[], &environment);
    server.apps = vec![app.clone()];
    server.client().subscribe("private-room");
    server.api().publish("news", "order", "");
    let printed = server.process.stdout();
    for (name, _) in variables {
        assert!(printed.contains(name), "{name} is not named:\n{printed}");
    }
}

fn app() -> App {
    App::with_secret("4242", "alias-key", "alias-secret-never-printed")
}

#[test]
fn pushers_names_are_understood() {
    let app = app();
    understands(
        &[
            ("PUSHER_APP_ID", &app.id),
            ("PUSHER_APP_KEY", &app.key),
            ("PUSHER_APP_SECRET", &app.secret),
            ("PUSHER_PORT", "0"),
        ],
        &app,
    );
}

#[test]
fn soketis_names_are_understood() {
    let app = app();
    understands(
        &[
            ("SOKETI_DEFAULT_APP_ID", &app.id),
            ("SOKETI_DEFAULT_APP_KEY", &app.key),
            ("SOKETI_DEFAULT_APP_SECRET", &app.secret),
            ("SOKETI_HOST", "127.0.0.1"),
            ("SOKETI_PORT", "0"),
        ],
        &app,
    );
}

#[test]
fn reverbs_names_are_understood() {
    let app = app();
    understands(
        &[
            ("REVERB_APP_ID", &app.id),
            ("REVERB_APP_KEY", &app.key),
            ("REVERB_APP_SECRET", &app.secret),
            ("REVERB_SERVER_HOST", "127.0.0.1"),
            ("REVERB_SERVER_PORT", "0"),
        ],
        &app,
    );
}

#[test]
fn loudhailers_own_names_win_over_others() {
    let environment = [
        ("PUSHER_PORT", "1"),
        ("SOKETI_PORT", "1"),
        ("LOUDHAILER_SERVER__PORT", "0"),
        ADMIN,
    ];
    let server = TestServer::launch(&[], &environment);
    assert_ne!(server.public.port(), 1);
}

#[test]
fn unrelated_variables_are_left_alone() {
    let environment = [
        ("LOUDHAILER", "x"),
        ("PORT", "1"),
        ("HOST", "x"),
        ("PUSHER_APP_CLUSTER", "mt1"),
        ADMIN,
    ];
    let environment = [&environment[..], &[("LOUDHAILER_SERVER__PORT", "0")]].concat();
    TestServer::launch(&[], &environment);
}

/// A folder as systemd makes it for credentials and Docker for secrets: its owner may read it, nobody may write to it.
struct Credentials(PathBuf);

impl Credentials {
    fn holding(name: &str, secret: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("loudhailer-it-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let credentials = Self(folder);
        credentials.put(name, secret);
        credentials
    }

    fn put(&self, name: &str, secret: &str) {
        self.allow(0o700);
        let file = self.0.join(name);
        // Another file in its place, as whoever rotates secrets makes it.
        let _ = fs::remove_file(&file);
        fs::write(&file, format!("{secret}\n")).expect("a file");
        fs::set_permissions(&file, Permissions::from_mode(0o400)).expect("its owner may");
        self.allow(0o500);
    }

    fn allow(&self, mode: u32) {
        fs::set_permissions(&self.0, Permissions::from_mode(mode)).expect("its owner may");
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        self.allow(0o700);
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The file names where the secret is; Docker's secrets and systemd's credentials are files.
#[test]
fn a_secret_may_be_elsewhere() {
    let app = App::usual();
    let credentials = Credentials::holding("shop", &app.secret);
    let folder = credentials.0.display().to_string();
    let without = app.toml().replace(&format!("{:?}", app.secret), "SECRET");
    for (secret, variable) in [
        (
            "\"${file:${CREDENTIALS_DIRECTORY}/shop}\"",
            ("CREDENTIALS_DIRECTORY", folder.as_str()),
        ),
        (&format!("\"${{file:{folder}/shop}}\""), ("UNUSED", "x")),
        ("\"${SHOP_SECRET}\"", ("SHOP_SECRET", app.secret.as_str())),
        (
            "\"overridden\"",
            ("LOUDHAILER_APPS__0__SECRET", app.secret.as_str()),
        ),
    ] {
        let toml = Setup::new().toml() + &without.replace("SECRET", secret);
        let config = ConfigFile::new(&toml);
        let mut server = TestServer::launch(&["--config", config.path()], &[variable]);
        server.apps = vec![app.clone()];
        server.client().subscribe("private-room");
        server.api().publish("news", "order", "");
    }
}

#[test]
fn a_secret_that_was_replaced_in_its_file_counts_from_the_next_reload() {
    let (old, new) = (App::usual(), App::usual());
    let credentials = Credentials::holding("rotated", &old.secret);
    let reference = "${file:${CREDENTIALS_DIRECTORY}/rotated}";
    let toml = Setup::new().toml() + &old.toml().replace(&old.secret, reference);
    let config = ConfigFile::new(&toml);
    let folder = credentials.0.display().to_string();
    let variable = ("CREDENTIALS_DIRECTORY", folder.as_str());
    let mut server = TestServer::launch(&["--config", config.path()], &[variable]);
    server.apps = vec![old.clone()];
    let mut client = server.client();
    client.subscribe("news");
    credentials.put("rotated", &new.secret);
    server.process.signal("HUP");
    eventually("the new secret counts", || {
        let answer = server.api_of(&new).get("/channels", &[]);
        (answer.status == 200).then_some(())
    });
    server.api_of(&old).get("/channels", &[]).is_error(401);
    client.expect_nothing_before_marker(&server.api_of(&new), "news");
    assert!(!server.process.stderr().contains(&new.secret));
}

/// #16: what Laravel's `.env` says is taken as Laravel takes it; the environment is stronger.
#[test]
fn an_env_file_is_read_as_laravel_reads_it() {
    let env = ConfigFile::new(
        "APP_NAME=\"Shop of Ann\"\nexport PUSHER_APP_ID=4242 # the id\nPUSHER_APP_KEY='alias-key'\n\
         PUSHER_APP_SECRET=\"pa$word # ${PUSHER_APP_ID}\"\nPUSHER_PORT=1\nPUSHER_HOST=\n",
    );
    let ports = [("LOUDHAILER_SERVER__PORT", "0"), ADMIN];
    let mut server = TestServer::launch(&["--env-file", env.path()], &ports);
    server.apps = vec![App::with_secret("4242", "alias-key", "pa$word # 4242")];
    server.client().subscribe("private-room");
    server.api().publish("news", "order", "");
    let printed = server.process.stdout();
    let from = format!("Variables from {}", env.path());
    assert!(printed.contains(&from), "{printed}");
    for arguments in [
        &["check-config", "--env-file", env.path()][..],
        &["--env-file", env.path(), "check-config"],
    ] {
        let finished = Process::run(arguments, &[("PUSHER_APP_ID", "7")]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(
            finished.stdout.contains("id 7, key alias-key"),
            "{finished:?}"
        );
    }
}

/// #16
#[test]
fn an_env_file_that_laravel_could_not_read_is_an_error_with_its_line() {
    let env = ConfigFile::new("PUSHER_APP_ID=1\nAPP_NAME=two words\n");
    let place = format!("{}:2: ", env.path());
    is_config_error(&["--env-file", env.path()], &[], &[&place]);
    is_config_error(&["--env-file", "/nowhere/.env"], &[], &["/nowhere/.env"]);
}

/// #16: beside a Laravel app the demo app was served without a word.
#[test]
fn a_start_beside_a_laravel_app_says_how_to_serve_it() {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("laravel-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(
        folder.join(".env"),
        "REVERB_APP_ID=7\nREVERB_APP_KEY=k\nREVERB_APP_SECRET=s\n",
    )
    .unwrap();
    let beside = Process::run_in(&folder, &["check-config"]);
    let advice = "`loudhailer --env-file .env`";
    assert!(beside.stdout.contains(advice), "{beside:?}");
    let read = Process::run_in(&folder, &["check-config", "--env-file", ".env"]);
    assert!(
        !read.stdout.contains(advice) && read.stdout.contains("id 7, key k"),
        "{read:?}"
    );
    fs::remove_dir_all(folder).unwrap();
}

/// #16: `docker run --env-file` keeps quotes, and every signature was wrong.
#[test]
fn a_secret_in_quotes_is_warned_of() {
    let app = [
        ("PUSHER_APP_ID", "1"),
        ("PUSHER_APP_KEY", "k"),
        ("PUSHER_APP_SECRET", "\"never-printed\""),
    ];
    let finished = Process::run(&["check-config"], &app);
    let warning = "Warning: the secret of key k of app 1 begins and ends with quotes";
    assert!(finished.stdout.contains(warning), "{finished:?}");
    assert!(!finished.stdout.contains("never-printed"), "{finished:?}");
}
