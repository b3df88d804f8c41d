//! What is configured, and what does not go together.

use std::fs;

use serde_json::json;

use super::{Acme, HTTP, Ordering};
use crate::support::{
    app::App,
    process::{ConfigFile, Process},
    redis::Folder,
    server::{TestServer, printed_address},
    setup::Setup,
};

#[test]
fn variables_of_the_environment_configure_it_too() {
    let acme = Acme::new();
    let folder = acme.folder.file("acme");
    let directory = acme.acme.directory.as_str();
    let variables = [
        ("DOMAINS", "localhost,ws.example.test"),
        ("TERMS_OF_SERVICE_AGREED", "true"),
        ("DIRECTORY", directory),
        ("CA_FILE", acme.acme.authority.file.as_str()),
        ("FOLDER", folder.as_str()),
    ];
    let variables =
        variables.map(|(key, value)| (format!("LOUDHAILER_SERVER__TLS__ACME__{key}"), value));
    let variables: Vec<_> = variables
        .iter()
        .map(|(key, value)| (key.as_str(), *value))
        .collect();
    let setup = Setup::new().app(App::usual()).set("server.tls.port", 0);
    let server = TestServer::start_in(setup, &variables);
    let tls = printed_address(&server.process.stdout(), "Listening on https");
    let tls = tls.expect("a TLS port");
    let it = Ordering { server, tls };
    acme.check_at(&it);
    acme.wait_shown(&it, "ws.example.test");
}

#[test]
fn an_account_can_be_bound_to_one_with_the_authority() {
    let acme = Acme::new();
    acme.acme.require_binding("kid-1", b"secret");
    let setup = acme.setup(HTTP, &["localhost"]);
    let setup = setup
        .set("server.tls.acme.external_account_id", "kid-1")
        .set("server.tls.acme.external_account_key", "c2VjcmV0");
    let it = acme.start(setup);
    acme.check_at(&it);
    acme.wait_shown(&it, "localhost");
}

#[test]
fn what_does_not_go_together_is_refused_with_the_reason() {
    let folder = Folder::new();
    let file = folder.file("a-file");
    fs::write(&file, "").expect("it is written");
    let usual = "domains = [\"a.test\"]\nterms_of_service_agreed = true\n";
    for (acme, tls, reason) in [
        ("terms_of_service_agreed = true\n", "", "domains is missing"),
        (
            "domains = []\nterms_of_service_agreed = true\n",
            "",
            "must name at least one domain",
        ),
        (
            "domains = [\"a.test\"]\n",
            "",
            "terms_of_service_agreed is missing",
        ),
        (
            "domains = [\"a.test\"]\nterms_of_service_agreed = false\n",
            "",
            "must be true: it says that you agree",
        ),
        ("domains = [\"*.a.test\"]\n", "", "must not be the wildcard"),
        (
            "domains = [\"127.0.0.1\"]\n",
            "",
            "must be a DNS name, not the address",
        ),
        ("domains = [\"bücher.test\"]\n", "", "in Punycode"),
        (
            "domains = [\"A.test\", \"a.test\"]\nterms_of_service_agreed = true\n",
            "",
            "name a.test twice",
        ),
        (
            &format!("{usual}challenge = \"dns-01\"\n"),
            "",
            "tls-alpn-01",
        ),
        (
            &format!("{usual}challenge = \"http-01\"\n"),
            "plain = \"off\"\n",
            "needs a port without TLS",
        ),
        (
            &format!("{usual}contact = \"nobody\"\n"),
            "",
            "one e-mail address",
        ),
        (
            &format!("{usual}directory = \"http://ca.test/\"\n"),
            "",
            "must be the https:// URL",
        ),
        (
            &format!("{usual}external_account_id = \"a\"\n"),
            "",
            "needs server.tls.acme.external_account_key",
        ),
        (
            &format!("{usual}external_account_id = \"a\"\nexternal_account_key = \"%\"\n"),
            "",
            "must be base64url",
        ),
        (
            &format!("{usual}folder = \"{file}/below\"\n"),
            "",
            "server.tls.acme.folder: ",
        ),
        (
            &format!("{usual}ca_file = \"{file}\"\n"),
            "",
            "server.tls.acme.ca_file: ",
        ),
    ] {
        let text = format!(
            "[server]\nport = 0\n[server.tls]\nport = 0\n{tls}[server.tls.acme]\n{acme}[admin]\nport = 0\n"
        );
        let config = ConfigFile::new(&text);
        let checked = Process::run(&["check-config", "--bind", "--config", config.path()], &[]);
        assert_ne!(checked.code, Some(0), "{acme}{tls}");
        let printed = checked.stdout + &checked.stderr;
        assert!(printed.contains(reason), "{acme}{tls}{printed}");
    }
}

#[test]
fn a_name_that_a_file_has_too_is_refused() {
    let acme = Acme::new();
    let issued = acme.acme.authority.issue(&acme.folder, "server");
    let setup = acme
        .setup(HTTP, &["localhost"])
        .set("server.tls.cert", issued.cert_file.as_str())
        .set("server.tls.key", issued.key_file.as_str());
    let config = ConfigFile::new(&setup.toml());
    let reason = "has a certificate for localhost, which server.tls.acme.domains names too";
    for arguments in [
        &["check-config", "--bind", "--config", config.path()][..],
        &["--config", config.path()],
    ] {
        let ended = Process::run(arguments, &[]);
        assert_ne!(ended.code, Some(0));
        let printed = ended.stdout + &ended.stderr;
        assert!(printed.contains(reason), "{printed}");
    }
    // Beside other names of a file both are served.
    let setup = setup.set("server.tls.acme.domains", json!(["ws.example.test"]));
    let it = acme.start(setup);
    acme.check_at(&it);
    let issued = acme.wait_shown(&it, "ws.example.test");
    let of_file = acme.shown(&it, "localhost", &[]).expect("the file's");
    assert_ne!(issued, of_file);
}
