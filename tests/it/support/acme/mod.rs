//! A small ACME server (RFC 8555) that is as strict as the RFC: what a client gets wrong is a violation, which fails the test.
//!
//! It really checks names, at addresses that the test sets, and signs with an authority of the test.

mod check;
mod jws;
mod protocol;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::Value;

use self::protocol::Order;
use super::{authority::Authority, redis::Folder, stream::PATIENCE};

/// What a client requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Resource {
    Directory,
    NewNonce,
    NewAccount,
    NewOrder,
    Order,
    Authorization,
    Challenge,
    Finalize,
    Certificate,
}

/// An answer that replaces the right one.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A problem document with this status, type and detail, and `Retry-After`.
    Problem(u16, &'static str, &'static str, Option<&'static str>),
    /// These bytes, after which the connection is closed.
    Raw(String),
    /// A body without end.
    Endless,
    /// Nothing, until the client leaves.
    Silent,
}

/// A running ACME server. Its threads end with the test's process.
pub(crate) struct AcmeServer {
    pub(crate) directory: String,
    pub(crate) authority: Authority,
    shared: Arc<Shared>,
}

struct Shared {
    base: String,
    state: Mutex<State>,
    changed: Condvar,
    /// Signs certificates; the test's `authority` is the same.
    issuer: Authority,
}

struct State {
    lifetime: Duration,
    targets: Option<(SocketAddr, SocketAddr)>,
    binding: Option<(String, Vec<u8>)>,
    nonces: BTreeSet<String>,
    nonces_refused: usize,
    numbers: usize,
    /// Keys by account URL, as JWK.
    accounts: BTreeMap<String, Value>,
    orders: Vec<Order>,
    next_faults: HashMap<Resource, VecDeque<Fault>>,
    faults: HashMap<Resource, Fault>,
    asked: Vec<(Resource, Instant)>,
    violations: Vec<String>,
}

impl AcmeServer {
    pub(crate) fn start(folder: &Folder) -> Self {
        let authority = Authority::new(folder, "acme");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let tls = Arc::new(server_config(&authority, folder));
        let base = format!("https://{address}");
        let shared = Arc::new(Shared {
            base: base.clone(),
            state: Mutex::new(State::new()),
            changed: Condvar::new(),
            issuer: authority.clone(),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                let (shared, tls) = (Arc::clone(&serving), Arc::clone(&tls));
                thread::spawn(move || wire::serve(tcp, tls, |request| shared.answer(request)));
            }
        });
        Self {
            directory: format!("{base}/directory"),
            authority,
            shared,
        }
    }

    /// Sets how long certificates are valid.
    pub(crate) fn set_lifetime(&self, lifetime: Duration) {
        self.state().lifetime = lifetime;
    }

    /// Sets where every name is checked, without TLS and with it. Checks wait for this.
    pub(crate) fn check_at(&self, plain: SocketAddr, tls: SocketAddr) {
        self.state().targets = Some((plain, tls));
        self.shared.changed.notify_all();
    }

    /// Requires accounts to be bound with this key.
    pub(crate) fn require_binding(&self, id: &str, key: &[u8]) {
        self.state().binding = Some((id.to_owned(), key.to_vec()));
    }

    /// Answers this many valid requests with `badNonce`.
    pub(crate) fn refuse_nonces(&self, count: usize) {
        self.state().nonces_refused = count;
    }

    /// Answers the next request for the resource with the fault.
    pub(crate) fn fail_next(&self, resource: Resource, fault: Fault) {
        let mut state = self.state();
        state
            .next_faults
            .entry(resource)
            .or_default()
            .push_back(fault);
    }

    /// Answers all requests for the resource with the fault.
    pub(crate) fn fail(&self, resource: Resource, fault: Fault) {
        self.state().faults.insert(resource, fault);
    }

    /// Ends what [`Self::fail`] began.
    pub(crate) fn recover(&self) {
        self.state().faults.clear();
    }

    /// Forgets all accounts.
    pub(crate) fn forget_accounts(&self) {
        self.state().accounts.clear();
    }

    /// The times of the requests for the resource.
    pub(crate) fn asked(&self, resource: Resource) -> Vec<Instant> {
        let state = self.state();
        let asked = state.asked.iter().filter(|(other, _)| *other == resource);
        asked.map(|(_, at)| *at).collect()
    }

    /// Waits until the resource was requested this many times.
    #[track_caller]
    pub(crate) fn wait_asked(&self, resource: Resource, count: usize) -> Vec<Instant> {
        let what = format!("{resource:?} for the {count}th time");
        self.wait(&what, |state| {
            let asked = state.asked.iter().filter(|(other, _)| *other == resource);
            let asked: Vec<_> = asked.map(|(_, at)| *at).collect();
            (asked.len() >= count).then_some(asked)
        })
    }

    #[track_caller]
    fn wait<T>(&self, what: &str, found: impl Fn(&State) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state();
        loop {
            if let Some(found) = found(&state) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain: {what}");
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.expect("no test panics here").0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for AcmeServer {
    fn drop(&mut self) {
        if !thread::panicking() {
            let violations = std::mem::take(&mut self.state().violations);
            assert!(violations.is_empty(), "{violations:?}");
        }
    }
}

fn server_config(authority: &Authority, folder: &Folder) -> ServerConfig {
    let issued = authority.issue(folder, "directory");
    let chain = CertificateDer::pem_file_iter(&issued.cert_file).expect("a file");
    let chain = chain.collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(&issued.key_file).expect("a key");
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("they belong together")
}

impl State {
    fn new() -> Self {
        Self {
            lifetime: Duration::from_secs(90 * 24 * 60 * 60),
            targets: None,
            binding: None,
            nonces: BTreeSet::new(),
            nonces_refused: 0,
            numbers: 0,
            accounts: BTreeMap::new(),
            orders: Vec::new(),
            next_faults: HashMap::new(),
            faults: HashMap::new(),
            asked: Vec::new(),
            violations: Vec::new(),
        }
    }

    fn nonce(&mut self) -> String {
        self.numbers += 1;
        let nonce = format!("nonce-{}", self.numbers);
        self.nonces.insert(nonce.clone());
        nonce
    }

    fn fault(&mut self, resource: Resource) -> Option<Fault> {
        let next = self.next_faults.get_mut(&resource);
        next.and_then(VecDeque::pop_front)
            .or_else(|| self.faults.get(&resource).cloned())
    }
}
impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics here")
    }
}
