//! Snippets of configurations and programs: read by the program that they are for.

use std::{fs, process::Command};

use super::{Block, blocks, in_tree};
use crate::support::{
    process::{Finished, Process},
    redis::Folder,
    stream::PATIENCE,
};

/// What stands before a snippet that is a part of a file.
const BEFORE: [(&str, &str); 2] = [
    (
        "[[server.tls.certificates]]",
        "[server.tls]\ncert = \"c.pem\"\nkey = \"c.key\"\n",
    ),
    ("[[apps.channels]]", APP),
];
const APP: &str = "[[apps]]\nid = \"1\"\nkey = \"k\"\nsecret = \"s\"\n";
/// Where a snippet reads a secret from, and what it reads from the environment.
const SECRET_FILE: &str = "/run/secrets/shop";
const VARIABLES: [(&str, &str); 1] = [("REDIS_PASSWORD", "hidden")];
/// The page whose table is a profile of the command line, not a configuration.
const PROFILES: &str = "docs/cli.md";

#[track_caller]
fn run(program: &str, arguments: &[&str]) -> Finished {
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    let mut process = Process::spawn(command);
    let status = process.wait_exit(PATIENCE);
    Finished {
        code: status.expect("it ends").code(),
        stdout: process.stdout(),
        stderr: process.stderr(),
    }
}

#[track_caller]
fn passes(block: &Block, program: &str, arguments: &[&str]) {
    let finished = run(program, arguments);
    assert_eq!(
        finished.code,
        Some(0),
        "{}: {}{}\n{}",
        block.place(),
        finished.stdout,
        finished.stderr,
        block.text
    );
}

fn written(folder: &Folder, name: &str, text: &str) -> String {
    let file = folder.file(name);
    fs::write(&file, text).expect("it is written");
    file
}

/// A snippet as a whole file.
fn whole(block: &Block, folder: &Folder) -> String {
    let before = BEFORE
        .iter()
        .find(|(start, _)| block.first_line() == *start);
    let before = before.map_or("", |(_, text)| text);
    let text = format!("{before}{}", block.text);
    let secret = written(folder, "secret", "secret of the file");
    let text = text.replace(SECRET_FILE, &secret);
    match text.contains("[[apps]]") || text.contains("[database]") {
        true => text,
        false => format!("{text}\n{APP}"),
    }
}

#[test]
fn every_toml_snippet_is_valid() {
    let blocks = blocks(&["toml"]);
    for block in blocks.iter().filter(|block| block.page != PROFILES) {
        if block.text.contains("[database]") && !cfg!(feature = "sql") {
            continue;
        }
        let folder = Folder::new();
        let file = written(&folder, "loudhailer.toml", &whole(block, &folder));
        let check = Process::run(&["check-config", "--config", &file], &VARIABLES);
        assert_eq!(check.code, Some(0), "{}: {check:?}", block.place());
    }
}

#[test]
fn the_profile_of_the_guide_is_read() {
    let blocks = blocks(&["toml"]);
    let profile = blocks.iter().find(|block| block.page == PROFILES);
    let folder = Folder::new();
    fs::create_dir(folder.file("loudhailer")).expect("a folder is made");
    written(
        &folder,
        "loudhailer/profiles.toml",
        &profile.expect("a profile").text,
    );
    let auth = ["auth", "channel", "1.1", "private-a", "--profile", "shop"];
    let finished = Process::run(&auth, &[("XDG_CONFIG_HOME", &folder.file("."))]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.contains("app-key:"), "{finished:?}");
}

#[test]
fn every_env_file_of_laravel_is_understood() {
    for block in blocks(&["ini"]) {
        let folder = Folder::new();
        let file = written(&folder, "env", &block.text);
        let check = Process::run(&["check-config", "--env-file", &file], &[]);
        assert_eq!(check.code, Some(0), "{}: {check:?}", block.place());
    }
}

#[test]
fn every_snippet_for_a_proxy_is_valid() {
    for block in blocks(&["nginx", "haproxy"]) {
        let folder = Folder::new();
        match block.language.as_str() {
            "nginx" => {
                // A part is tried within the server that it is for.
                let server = match block.text.contains("server {\n") {
                    true => "",
                    false => {
                        "server { listen 127.0.0.1:1; location / { proxy_pass http://loudhailer; } }"
                    }
                };
                let text = format!(
                    "pid {0}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{1}\n{server}\n}}\n",
                    folder.file("."),
                    block.text
                );
                let file = written(&folder, "nginx.conf", &text);
                passes(
                    &block,
                    "/usr/sbin/nginx",
                    &["-t", "-e", "stderr", "-c", &file],
                );
            }
            _ => {
                let text = format!(
                    "defaults\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\nfrontend front\n  mode tcp\n  bind 127.0.0.1:1\n  default_backend nodes\n{}",
                    block.text
                );
                let file = written(&folder, "haproxy.cfg", &text);
                passes(&block, "/usr/sbin/haproxy", &["-c", "-f", &file]);
            }
        }
    }
}

/// One interpreter for all: each start of one takes longer than the check.
#[test]
fn every_snippet_of_a_language_parses() {
    let folder = Folder::new();
    let all = blocks(&["json", "yaml", "python", "cfg"]);
    let mut arguments = vec!["-c".to_owned(), PARSE.to_owned()];
    for (index, block) in all.iter().enumerate() {
        let name = format!("{index}.{}", block.language);
        arguments.push(written(&folder, &name, &block.text));
    }
    let files = ["kubernetes.yaml"].map(|name| in_tree(&format!("config/{name}")));
    arguments.extend(files);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let parsed = run("python3", &arguments);
    assert_eq!(parsed.code, Some(0), "{}", parsed.stderr);
    for block in blocks(&["js"]) {
        let file = written(&folder, "snippet.mjs", &block.text);
        passes(&block, "node", &["--check", &file]);
    }
}

/// A whole file, keys of a configuration's array, or statements.
#[test]
fn every_php_snippet_parses() {
    let folder = Folder::new();
    for block in blocks(&["php"]) {
        let text = match block.text.chars().next() {
            Some('<') => block.text.clone(),
            Some('\'') => format!("<?php return [\n{}\n];\n", block.text),
            _ => format!("<?php\n{};\n", block.text.trim_end()),
        };
        let file = written(&folder, "snippet.php", &text);
        passes(&block, "php", &["-n", "-l", &file]);
    }
}

/// What a pod takes to stop has to fit into its time: docs/operations.md has the sum.
#[test]
fn the_grace_period_of_kubernetes_exceeds_the_longest_stop() {
    let summed = run("python3", &["-c", SUM, &in_tree("config/kubernetes.yaml")]);
    assert_eq!(summed.code, Some(0), "{}", summed.stderr);
}

const SUM: &str = "\
import sys, yaml
deployment = next(it for it in yaml.safe_load_all(open(sys.argv[1])) if it['kind'] == 'Deployment')
pod = deployment['spec']['template']['spec']
container = pod['containers'][0]
sleep = int(container['lifecycle']['preStop']['exec']['command'][1])
window = next(int(it['value']) for it in container['env'] if it['name'] == 'LOUDHAILER_SERVER__DRAIN_WINDOW_S')
webhook_grace, answers = 5, 3 + 5
needed = sleep + window + webhook_grace + answers
assert pod['terminationGracePeriodSeconds'] > needed, needed
";

const PARSE: &str = "\
import ast, configparser, json, sys, yaml
cfg = lambda text: configparser.ConfigParser(interpolation=None).read_string(text)
parsers = {'cfg': cfg, 'json': json.loads, 'python': ast.parse, 'yaml': lambda text: list(yaml.safe_load_all(text))}
for name in sys.argv[1:]:
    with open(name) as file:
        try:
            parsers[name.rsplit('.', 1)[1]](file.read())
        except Exception as error:
            sys.exit(f'{name}: {error}\\n' + open(name).read())
";

/// The units of config/ and of the pages, as systemd itself reads them.
#[test]
fn every_unit_is_valid() {
    let folder = Folder::new();
    // The program is elsewhere here.
    let unit = |name: &str, text: &str| {
        let text = text.replace(
            "/usr/local/bin/loudhailer",
            env!("CARGO_BIN_EXE_loudhailer"),
        );
        written(&folder, name, &text)
    };
    let names = [
        "loudhailer.socket",
        "loudhailer.service",
        "loudhailer@.service",
    ];
    let mut files = Vec::new();
    for name in names {
        let text = fs::read_to_string(in_tree(&format!("config/{name}"))).expect("it is there");
        files.push(unit(name, &text));
    }
    for (index, block) in blocks(&["systemd"]).iter().enumerate() {
        files.push(unit(&format!("page-{index}.service"), &block.text));
    }
    for file in files {
        let verified = run("systemd-analyze", &["verify", "--man=no", &file]);
        assert_eq!(verified.code, Some(0), "{verified:?}");
        // An unknown key is no error to systemd.
        assert!(!verified.stderr.contains(&file), "{verified:?}");
    }
}
