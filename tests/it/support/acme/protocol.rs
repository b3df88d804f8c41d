//! The answers, by RFC 8555. What the RFC forbids a client is a violation.

use std::{
    sync::Arc,
    thread,
    time::{Instant, SystemTime},
};

use rcgen::CertificateParams;
use serde_json::{Value, json};

use super::{
    Fault, Resource, Shared,
    check::{self, Check, Target},
    jws::{self, Jws},
    wire::{Answer, Request},
};
use crate::support::stream::PATIENCE;

/// An order for one name, with its only authorization and challenges.
pub(super) struct Order {
    account: String,
    name: String,
    token: String,
    status: &'static str,
    authorization: &'static str,
    /// The type of the challenge that the client has chosen.
    chosen: Option<String>,
    problem: Option<Value>,
    chain: Option<String>,
}

/// A request that is answered with a problem: status, type, detail.
pub(super) struct Refusal(pub(super) u16, pub(super) &'static str, pub(super) String);
impl Shared {
    pub(super) fn answer(self: &Arc<Self>, request: &Request) -> Answer {
        let Some((resource, number)) = resource(&request.path) else {
            return Answer::status(404);
        };
        let fault = {
            let mut state = self.state();
            state.asked.push((resource, Instant::now()));
            self.changed.notify_all();
            state.fault(resource)
        };
        let answer = match fault {
            Some(Fault::Raw(bytes)) => return Answer::Raw(bytes),
            Some(Fault::Endless) => return Answer::Endless,
            Some(Fault::Silent) => return Answer::Silent,
            Some(Fault::Problem(status, kind, detail, retry_after)) => {
                let answer = problem(status, kind, detail);
                match retry_after {
                    Some(after) => answer.with("Retry-After", after),
                    None => answer,
                }
            }
            None => {
                let answered = match (resource, request.method.as_str()) {
                    (Resource::Directory, "GET") => Ok(self.directory()),
                    (Resource::NewNonce, "HEAD") => Ok(Answer::status(200)),
                    (Resource::Directory | Resource::NewNonce, _) => Ok(Answer::status(405)),
                    (_, "POST") => self.post(resource, number, request),
                    _ => Ok(Answer::status(405)),
                };
                answered.unwrap_or_else(|Refusal(status, kind, detail)| {
                    // Only what a test has asked for may be refused.
                    let expected = ["badNonce", "accountDoesNotExist"].contains(&kind);
                    if !expected {
                        let text = format!("{resource:?}: {kind}: {detail}");
                        self.state().violations.push(text);
                    }
                    problem(status, kind, &detail)
                })
            }
        };
        let nonce = self.state().nonce();
        answer
            .with("Replay-Nonce", &nonce)
            .with("Cache-Control", "no-store")
    }

    fn directory(&self) -> Answer {
        let url = |name: &str| format!("{}/{name}", self.base);
        Answer::json(
            200,
            &json!({
                "newNonce": url("nonce"),
                "newAccount": url("account"),
                "newOrder": url("order"),
                "revokeCert": url("revoke"),
                "keyChange": url("key"),
                "meta": {"termsOfService": url("terms")},
            }),
        )
    }

    /// RFC 8555 §6: every POST is a JWS with a nonce that was not used before.
    fn post(
        self: &Arc<Self>,
        resource: Resource,
        number: usize,
        request: &Request,
    ) -> Result<Answer, Refusal> {
        let jws = Jws::parse(request)?;
        if jws.url() != format!("{}{}", self.base, request.path) {
            return Err(malformed("the url header is not the URL"));
        }
        {
            let mut state = self.state();
            let is_known = state.nonces.remove(jws.nonce()?);
            if !is_known || state.nonces_refused > 0 {
                state.nonces_refused = state.nonces_refused.saturating_sub(1);
                if !is_known {
                    let text = "a nonce was used twice or made up".to_owned();
                    state.violations.push(text);
                }
                return Err(Refusal(400, "badNonce", "use another".to_owned()));
            }
        }
        if resource == Resource::NewAccount {
            return self.new_account(&jws);
        }
        let account = self.account(&jws)?;
        if resource == Resource::NewOrder {
            return self.new_order(&jws, &account);
        }
        {
            let state = self.state();
            let order = state.orders.get(number);
            if order.is_none_or(|order| order.account != account) {
                return Err(Refusal(403, "unauthorized", "not yours".to_owned()));
            }
        }
        match resource {
            Resource::Challenge => self.challenge(&jws, request, number, &account),
            Resource::Finalize => self.finalize(&jws, number),
            _ => self.post_as_get(&jws, resource, number),
        }
    }

    /// RFC 8555 §7.3.
    fn new_account(&self, jws: &Jws) -> Result<Answer, Refusal> {
        let jwk = jws.jwk()?;
        jws.verify(jwk)?;
        let payload = jws.json()?;
        if payload["termsOfServiceAgreed"] != true {
            let text = "the terms are not agreed to".to_owned();
            return Err(Refusal(403, "userActionRequired", text));
        }
        for contact in payload["contact"].as_array().into_iter().flatten() {
            if !contact.as_str().is_some_and(|it| it.starts_with("mailto:")) {
                let text = contact.to_string();
                return Err(Refusal(400, "unsupportedContact", text));
            }
        }
        let mut state = self.state();
        if let Some((id, key)) = &state.binding {
            let url = format!("{}/account", self.base);
            jws::verify_binding(&payload["externalAccountBinding"], (id, key), &url, jwk)?;
        }
        let known = state.accounts.iter().find(|(_, other)| *other == jwk);
        let (status, url) = match known {
            Some((url, _)) => (200, url.clone()),
            None => {
                state.numbers += 1;
                let url = format!("{}/account/{}", self.base, state.numbers);
                state.accounts.insert(url.clone(), jwk.clone());
                (201, url)
            }
        };
        Ok(Answer::json(status, &json!({"status": "valid"})).with("Location", &url))
    }

    /// The account that has signed (RFC 8555 §6.2: everything but a new account has a `kid` and no `jwk`).
    fn account(&self, jws: &Jws) -> Result<String, Refusal> {
        let kid = jws.kid()?.to_owned();
        let key = self.state().accounts.get(&kid).cloned();
        let key = key.ok_or_else(|| Refusal(400, "accountDoesNotExist", kid.clone()))?;
        jws.verify(&key)?;
        Ok(kid)
    }

    /// RFC 8555 §7.4.
    fn new_order(&self, jws: &Jws, account: &str) -> Result<Answer, Refusal> {
        let payload = jws.json()?;
        let identifiers = payload["identifiers"].as_array();
        let [identifier] = identifiers.map_or(&[][..], Vec::as_slice) else {
            return Err(malformed("one identifier is expected"));
        };
        let name = identifier["value"].as_str();
        let (Some(name), true) = (name, identifier["type"] == "dns") else {
            return Err(malformed("not a name"));
        };
        let mut state = self.state();
        let number = state.orders.len();
        state.numbers += 1;
        let token = format!("token_{}-{}", state.numbers, "A".repeat(30));
        state.orders.push(Order {
            account: account.to_owned(),
            name: name.to_owned(),
            token,
            status: "pending",
            authorization: "pending",
            chosen: None,
            problem: None,
            chain: None,
        });
        let order = state.orders[number].json(&self.base, number);
        let url = format!("{}/order/{number}", self.base);
        Ok(Answer::json(201, &order).with("Location", &url))
    }

    /// RFC 8555 §6.3: reading is a POST without a payload.
    fn post_as_get(&self, jws: &Jws, resource: Resource, number: usize) -> Result<Answer, Refusal> {
        if !jws.payload.is_empty() {
            return Err(malformed("a POST-as-GET has an empty payload"));
        }
        let mut state = self.state();
        let order = &mut state.orders[number];
        match resource {
            Resource::Order => {
                if order.status == "processing" {
                    order.status = "valid";
                    return Ok(Answer::json(200, &{
                        let mut json = order.json(&self.base, number);
                        json["status"] = "processing".into();
                        json.as_object_mut()
                            .expect("an object")
                            .remove("certificate");
                        json
                    })
                    .with("Retry-After", "1"));
                }
                Ok(Answer::json(200, &order.json(&self.base, number)))
            }
            Resource::Authorization => {
                Ok(Answer::json(200, &order.authorization(&self.base, number)))
            }
            Resource::Certificate => {
                let chain = order.chain.clone();
                let chain = chain.ok_or_else(|| malformed("there is no certificate"))?;
                Ok(Answer::text("application/pem-certificate-chain", chain))
            }
            _ => Err(malformed("not to be read")),
        }
    }

    /// RFC 8555 §7.5.1: the client says that it can be checked.
    fn challenge(
        self: &Arc<Self>,
        jws: &Jws,
        request: &Request,
        number: usize,
        account: &str,
    ) -> Result<Answer, Refusal> {
        if jws.json()? != json!({}) {
            return Err(malformed("the payload is not {}"));
        }
        let kind = request.path.rsplit('/').next().unwrap_or_default();
        let mut state = self.state();
        let thumbprint = jws::thumbprint(&state.accounts[account]);
        let order = &mut state.orders[number];
        if order.authorization != "pending" || order.chosen.is_some() {
            return Err(malformed("the challenge is not pending"));
        }
        order.chosen = Some(kind.to_owned());
        let check = Check {
            name: order.name.clone(),
            token: order.token.clone(),
            authorization: format!("{}.{thumbprint}", order.token),
        };
        let answer = order.challenge(&self.base, number, kind);
        let (shared, kind) = (Arc::clone(self), kind.to_owned());
        thread::spawn(move || shared.check(number, &kind, &check));
        let up = format!("<{}/authz/{number}>;rel=\"up\"", self.base);
        Ok(Answer::json(200, &answer).with("Link", &up))
    }

    /// Checks a name once its addresses are known.
    fn check(&self, number: usize, kind: &str, check: &Check) {
        let state = self.state();
        let known = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.targets.is_none());
        let targets = known.expect("no test panics here").0.targets;
        let (plain, tls) = targets.expect("the test says where names are");
        let checked = match kind {
            "http-01" => check.run(Target::Http(plain)),
            _ => check.run(Target::TlsAlpn(tls)),
        };
        let mut state = self.state();
        let order = &mut state.orders[number];
        match checked {
            Ok(()) => (order.status, order.authorization) = ("ready", "valid"),
            Err(detail) => {
                (order.status, order.authorization) = ("invalid", "invalid");
                let kind = "urn:ietf:params:acme:error:unauthorized";
                order.problem = Some(json!({"type": kind, "detail": detail, "status": 403}));
            }
        }
        self.changed.notify_all();
    }

    /// RFC 8555 §7.4: the request for the certificate.
    fn finalize(&self, jws: &Jws, number: usize) -> Result<Answer, Refusal> {
        let payload = jws.json()?;
        let csr = jws::decode(payload["csr"].as_str().unwrap_or_default())?;
        let mut state = self.state();
        let lifetime = state.lifetime;
        let order = &mut state.orders[number];
        if order.status != "ready" {
            let text = order.status.to_owned();
            return Err(Refusal(403, "orderNotReady", text));
        }
        let key = check::key_of_request(&csr, &order.name)
            .map_err(|detail| Refusal(400, "badCSR", detail))?;
        let mut parameters = CertificateParams::new([order.name.clone()]).expect("a name");
        let now = SystemTime::now();
        parameters.not_before = now.into();
        parameters.not_after = (now + lifetime).into();
        order.chain = Some(self.issuer.sign(&key, &parameters));
        order.status = "processing";
        Ok(Answer::json(200, &order.json(&self.base, number)))
    }
}

impl Order {
    fn json(&self, base: &str, number: usize) -> Value {
        let mut json = json!({
            "status": self.status,
            "identifiers": [{"type": "dns", "value": self.name}],
            "authorizations": [format!("{base}/authz/{number}")],
            "finalize": format!("{base}/finalize/{number}"),
        });
        if self.status == "valid" {
            json["certificate"] = format!("{base}/certificate/{number}").into();
        }
        json
    }

    fn authorization(&self, base: &str, number: usize) -> Value {
        let kinds = ["dns-01", "http-01", "tls-alpn-01"];
        let challenges = kinds.map(|kind| self.challenge(base, number, kind));
        json!({
            "status": self.authorization,
            "identifier": {"type": "dns", "value": self.name},
            "challenges": challenges,
        })
    }

    fn challenge(&self, base: &str, number: usize, kind: &str) -> Value {
        let mut json = json!({
            "type": kind,
            "url": format!("{base}/challenge/{number}/{kind}"),
            "token": self.token,
            "status": "pending",
        });
        if self.chosen.as_deref() == Some(kind) {
            json["status"] = match self.authorization {
                "pending" => "processing".into(),
                status => status.into(),
            };
            if let Some(problem) = &self.problem {
                json["error"] = problem.clone();
            }
        }
        json
    }
}

fn resource(path: &str) -> Option<(Resource, usize)> {
    let mut parts = path.trim_start_matches('/').split('/');
    let name = parts.next()?;
    let number = parts.next().map(str::parse).transpose().ok()?;
    let resource = match (name, number) {
        ("directory", None) => Resource::Directory,
        ("nonce", None) => Resource::NewNonce,
        ("account", None) => Resource::NewAccount,
        ("order", None) => Resource::NewOrder,
        ("order", Some(_)) => Resource::Order,
        ("authz", Some(_)) => Resource::Authorization,
        ("challenge", Some(_)) => Resource::Challenge,
        ("finalize", Some(_)) => Resource::Finalize,
        ("certificate", Some(_)) => Resource::Certificate,
        _ => return None,
    };
    Some((resource, number.unwrap_or_default()))
}

fn problem(status: u16, kind: &str, detail: &str) -> Answer {
    let body = json!({
        "type": format!("urn:ietf:params:acme:error:{kind}"),
        "detail": detail,
        "status": status,
    });
    Answer::text("application/problem+json", body.to_string()).with_status(status)
}

pub(super) fn malformed(detail: &str) -> Refusal {
    Refusal(400, "malformed", detail.to_owned())
}
