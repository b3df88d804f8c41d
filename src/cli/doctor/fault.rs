//! What can be wrong with a set-up: the name of each fault, what it means, and how it is mended.

/// A fault, named as scripts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    NoAddress,
    Ipv6Only,
    AddressDown,
    PortRefused,
    PortSilent,
    TlsOnPlainPort,
    PlainOnTlsPort,
    TlsFailed,
    CertificateExpired,
    CertificateNotYetValid,
    CertificateSelfSigned,
    CertificateWrongName,
    CertificateChainIncomplete,
    CertificateUnknownIssuer,
    CertificateExpiresSoon,
    ClockSkewed,
    NoHttp,
    ServerDown,
    Redirected,
    WrongPrefix,
    DoubledSlash,
    HostRewritten,
    NoUpgrade,
    AppNotForwarded,
    AppsNotForwarded,
    UnknownKey,
    AppDisabled,
    TlsRequired,
    OriginRefused,
    Full,
    ConnectionRefused,
    WrongId,
    WrongSecret,
    RequestRefused,
    SubscriptionRefused,
    NotDelivered,
    SlowDelivery,
    SenderNotExcluded,
    BodyLimit,
    EventLimit,
    Buffered,
    Compressed,
    NoCors,
    CorsTwice,
    IdleCut,
}

/// Whether clients notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// Some or all of them do not get what was sent.
    Wrong,
    /// It works now, or for nearly everyone.
    Warning,
}

/// All that is known of a fault.
pub(super) struct Description {
    pub(super) fault: Fault,
    pub(super) name: &'static str,
    pub(super) severity: Severity,
    /// One sentence.
    pub(super) meaning: &'static str,
    /// A way on each line.
    pub(super) cure: &'static [&'static str],
}

impl Fault {
    pub(super) fn description(self) -> &'static Description {
        let described = FAULTS.iter().find(|description| description.fault == self);
        described.expect("each fault is described, as a test sees to")
    }
}

const fn wrong(
    fault: Fault,
    name: &'static str,
    meaning: &'static str,
    cure: &'static [&'static str],
) -> Description {
    Description {
        fault,
        name,
        severity: Severity::Wrong,
        meaning,
        cure,
    }
}

const fn warning(
    fault: Fault,
    name: &'static str,
    meaning: &'static str,
    cure: &'static [&'static str],
) -> Description {
    Description {
        severity: Severity::Warning,
        ..wrong(fault, name, meaning, cure)
    }
}

/// Every fault, in the order in which it is looked for.
pub(super) const FAULTS: &[Description] = &[
    wrong(
        Fault::NoAddress,
        "no_address",
        "The host's name has no address.",
        &["Correct the name, or add an A and an AAAA record for it."],
    ),
    warning(
        Fault::Ipv6Only,
        "ipv6_only",
        "The name has IPv6 addresses alone: networks without IPv6 do not reach it.",
        &["Add an A record with the IPv4 address, or put the host behind a proxy that has one."],
    ),
    warning(
        Fault::AddressDown,
        "address_down",
        "Some addresses of the name do not accept connections: clients that try them first wait.",
        &[
            "Remove their records, or let the proxy listen there too: nginx `listen [::]:443 ssl;`, HAProxy `bind :::443 v4v6`.",
        ],
    ),
    wrong(
        Fault::PortRefused,
        "port_refused",
        "Nothing listens on the port.",
        &[
            "Start the server or the proxy, or correct the port: Loudhailer and soketi listen on 6001, Reverb on 8080, proxies on 443.",
        ],
    ),
    wrong(
        Fault::PortSilent,
        "port_silent",
        "Connection attempts are never answered: usually a firewall drops them.",
        &[
            "Open the port in the firewall and in the provider's security group: `ufw allow 443/tcp`.",
        ],
    ),
    wrong(
        Fault::TlsOnPlainPort,
        "tls_on_plain_port",
        "The URL says https or wss, but the port speaks plain HTTP.",
        &[
            "Give the port that speaks TLS, or say http: Laravel `PUSHER_SCHEME=http`, pusher-js `forceTLS: false`.",
            "Or let the proxy speak TLS there: nginx `listen 443 ssl;`, HAProxy `bind :443 ssl crt FILE`, Apache `SSLEngine on`; Caddy does where it has a name.",
        ],
    ),
    wrong(
        Fault::PlainOnTlsPort,
        "plain_on_tls_port",
        "The URL says http or ws, but the port speaks TLS.",
        &["Say https: Laravel `PUSHER_SCHEME=https`, pusher-js `forceTLS: true`."],
    ),
    wrong(
        Fault::TlsFailed,
        "tls_failed",
        "The TLS handshake fails before a certificate is shown.",
        &[
            "Allow TLS 1.2 and 1.3: nginx `ssl_protocols TLSv1.2 TLSv1.3;`, HAProxy `ssl-min-ver TLSv1.2`; and give the proxy a certificate for this name.",
        ],
    ),
    wrong(
        Fault::CertificateExpired,
        "certificate_expired",
        "The certificate has expired.",
        &[
            "Renew it and reload the proxy: `certbot renew`, then `nginx -s reload`; a proxy that is not reloaded keeps the old one.",
        ],
    ),
    wrong(
        Fault::CertificateNotYetValid,
        "certificate_not_yet_valid",
        "The certificate is not valid yet, or this machine's clock is behind.",
        &[
            "Compare `date -u` with a clock; then set the clock (`timedatectl set-ntp true`) or issue the certificate anew.",
        ],
    ),
    wrong(
        Fault::CertificateSelfSigned,
        "certificate_self_signed",
        "The certificate is its own issuer: browsers and PHP refuse it.",
        &[
            "Get one from an authority, such as Let's Encrypt; Caddy does it by itself for a public name.",
            "Within one's own network, trust it: give it to this command as --ca-file, and to PHP as `curl.cainfo`.",
        ],
    ),
    wrong(
        Fault::CertificateWrongName,
        "certificate_wrong_name",
        "The certificate is for other names.",
        &[
            "Connect to a name that is in it, or issue one for this name; behind several sites nginx takes the first `server` block when no `server_name` matches.",
        ],
    ),
    wrong(
        Fault::CertificateChainIncomplete,
        "certificate_chain_incomplete",
        "The certificate of its issuer is missing: browsers may have it from elsewhere, PHP and apps do not.",
        &[
            "Serve the whole chain: nginx `ssl_certificate …/fullchain.pem;`, Apache `SSLCertificateFile …/fullchain.pem`, HAProxy a `crt` file with chain and key.",
        ],
    ),
    wrong(
        Fault::CertificateUnknownIssuer,
        "certificate_unknown_issuer",
        "No trusted authority issued the certificate.",
        &[
            "Give the authority's certificate as --ca-file (PHP: `curl.cainfo`), or use one that is publicly trusted.",
        ],
    ),
    warning(
        Fault::CertificateExpiresSoon,
        "certificate_expires_soon",
        "The certificate expires within two weeks: automatic renewal should have happened.",
        &["See why it was not renewed: `certbot renew --dry-run`, `systemctl list-timers`."],
    ),
    wrong(
        Fault::NoHttp,
        "no_http",
        "The port accepts connections but does not answer HTTP.",
        &[
            "See that the port belongs to the proxy or to the server, and that the proxy runs in HTTP mode: HAProxy `mode http`.",
        ],
    ),
    wrong(
        Fault::ServerDown,
        "server_down",
        "The proxy answers, but does not reach the server behind it.",
        &[
            "Start the server; correct the address: nginx `proxy_pass http://127.0.0.1:6001;`, Apache `ProxyPass`, Caddy `reverse_proxy`, HAProxy `server`. In containers 127.0.0.1 is the container itself.",
        ],
    ),
    wrong(
        Fault::Redirected,
        "redirected",
        "The proxy redirects: neither WebSockets nor signed requests follow.",
        &[
            "Use the address that it redirects to, usually with https: Laravel `PUSHER_SCHEME=https`, pusher-js `forceTLS: true`.",
        ],
    ),
    wrong(
        Fault::DoubledSlash,
        "doubled_slash",
        "The path has a slash too many, as in /ws//app.",
        &[
            "Take the slash off the path's end: pusher-js `wsPath: '/ws'`, Laravel `PUSHER_APP_PATH=/ws`. In nginx, leave `merge_slashes on;`.",
        ],
    ),
    wrong(
        Fault::WrongPrefix,
        "wrong_prefix",
        "The host is not under this path.",
        &[
            "Set the path on both sides alike: pusher-js `wsPath`, Laravel's `options.path`, Loudhailer `server.path_prefix`, soketi `SOKETI_PATH_PREFIX`, Reverb `REVERB_SERVER_PATH`.",
        ],
    ),
    wrong(
        Fault::HostRewritten,
        "host_rewritten",
        "Another site answers, and the Host header makes no difference: a proxy replaces it, or the name points to another machine.",
        &[
            "nginx `proxy_set_header Host $host;` (in every proxy on the way), Apache `ProxyPreserveHost On`, HAProxy: remove `http-request set-header Host`, Caddy: remove `header_up Host`.",
            "Compare the name's addresses with the machine's: `dig +short NAME`.",
        ],
    ),
    wrong(
        Fault::NoUpgrade,
        "no_upgrade",
        "The proxy forwards /app without its Upgrade header: no WebSocket can open.",
        &[
            "nginx `proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\";`",
            "Apache `ProxyPass / http://127.0.0.1:6001/ upgrade=websocket` (2.4.47), or `a2enmod proxy_wstunnel` and `ProxyPass /app ws://127.0.0.1:6001/app` as the first rule.",
            "HAProxy: `mode http`, no `option httpclose`, and no rule that deletes Upgrade; Caddy `reverse_proxy` forwards it; Cloudflare: Network, WebSockets on.",
        ],
    ),
    wrong(
        Fault::AppNotForwarded,
        "app_not_forwarded",
        "Signed requests (/apps) reach the host, clients' connections (/app) do not.",
        &[
            "nginx `location /app/ { proxy_pass …; }`, Apache `ProxyPass /app/`, Caddy `handle /app/*`, HAProxy `path_beg /app`, which has both.",
        ],
    ),
    wrong(
        Fault::AppsNotForwarded,
        "apps_not_forwarded",
        "Clients' connections (/app) reach the host, signed requests (/apps) do not.",
        &[
            "nginx `location /apps/ { proxy_pass …; }`, Apache `ProxyPass /apps/`, Caddy `handle /apps/*`, HAProxy `path_beg /app`, which has both.",
            "Or publish from the backend to the server directly: Laravel `PUSHER_HOST=127.0.0.1`, `PUSHER_PORT=6001`, `PUSHER_SCHEME=http`.",
        ],
    ),
    wrong(
        Fault::UnknownKey,
        "unknown_key",
        "The host has no app with this key.",
        &[
            "Compare PUSHER_APP_KEY (and VITE_PUSHER_APP_KEY, after which the front end is built anew) with the server's app, letter by letter.",
        ],
    ),
    wrong(
        Fault::AppDisabled,
        "app_disabled",
        "The app is switched off.",
        &[
            "Loudhailer `enabled = true` in [[apps]] or `loudhailer apps set ID enabled=true`; soketi `SOKETI_DEFAULT_APP_ENABLED=true`.",
        ],
    ),
    wrong(
        Fault::TlsRequired,
        "tls_required",
        "The app takes only connections with TLS.",
        &[
            "Say https; behind a proxy that ends TLS, pass it on: nginx `proxy_set_header X-Forwarded-Proto $scheme;`, and name the proxy in `server.trusted_proxies`.",
        ],
    ),
    wrong(
        Fault::OriginRefused,
        "origin_refused",
        "The app does not allow pages of this origin.",
        &[
            "Add it to the app's `allowed_origins` (Reverb: `allowed_origins` in config/reverb.php), as it stands in the browser's address line.",
        ],
    ),
    wrong(
        Fault::Full,
        "full",
        "The app or the host has as many connections as it may have.",
        &[
            "Raise the app's `max_connections` or `server.max_connections`, and the limit of open files (`ulimit -n`).",
        ],
    ),
    wrong(
        Fault::ConnectionRefused,
        "connection_refused",
        "The host ends the connection before it greets.",
        &["The reason is the host's own; its log or its feed says more."],
    ),
    wrong(
        Fault::ClockSkewed,
        "clock_skewed",
        "The clocks of this machine and of the host differ: signed requests are refused beyond 600 s.",
        &[
            "Set both by NTP: `timedatectl set-ntp true`; in a virtual machine that was paused, `chronyc makestep`.",
        ],
    ),
    wrong(
        Fault::WrongId,
        "wrong_id",
        "The host has no app with this id, or its key is another one.",
        &["Compare PUSHER_APP_ID with the server's app: `loudhailer apps list`."],
    ),
    wrong(
        Fault::WrongSecret,
        "wrong_secret",
        "The host signs with another secret.",
        &[
            "Copy PUSHER_APP_SECRET from the server's app, without quotes or spaces around it; afterwards `php artisan config:clear`.",
        ],
    ),
    wrong(
        Fault::RequestRefused,
        "request_refused",
        "The host, or a proxy before it, refuses signed requests.",
        &[
            "Take passwords, bot checks and address lists of proxies off /apps (Cloudflare: a WAF rule that skips the path); the answer says who refused.",
        ],
    ),
    wrong(
        Fault::SubscriptionRefused,
        "subscription_refused",
        "A rightly signed subscription was refused or not answered.",
        &["The reason is the host's own; its log or its feed says more."],
    ),
    wrong(
        Fault::NotDelivered,
        "not_delivered",
        "The host took an event and a subscriber did not get it.",
        &[
            "With several nodes, let all share one Redis: Loudhailer `redis.url`, soketi `SOKETI_ADAPTER_DRIVER=redis`, Reverb `REVERB_SCALING_ENABLED=true`; see that /app and /apps lead to the same host.",
        ],
    ),
    warning(
        Fault::SlowDelivery,
        "slow_delivery",
        "An event took more than a second.",
        &[
            "See the load of the host and the way to it; a proxy must not buffer: nginx `proxy_buffering off;`.",
        ],
    ),
    wrong(
        Fault::SenderNotExcluded,
        "sender_not_excluded",
        "The connection that was to be left out got the event: `toOthers` has no effect.",
        &["See that no proxy rewrites request bodies; other hosts may not know socket_id."],
    ),
    wrong(
        Fault::BodyLimit,
        "body_limit",
        "A proxy refuses requests that the host would take.",
        &[
            "nginx `client_max_body_size 2m;`, Apache ModSecurity's `SecRequestBodyLimit 2097152`, Caddy `request_body { max_size 2MB }`, HAProxy: remove the rule on `req.body_size`.",
        ],
    ),
    warning(
        Fault::EventLimit,
        "event_limit",
        "The host's limit for an event is below Pusher's 10 KB.",
        &[
            "Loudhailer `max_event_bytes`, soketi `SOKETI_EVENT_MAX_SIZE_IN_KB`, Reverb `REVERB_APP_MAX_MESSAGE_SIZE`.",
        ],
    ),
    wrong(
        Fault::Buffered,
        "buffered",
        "A proxy holds streamed answers back: clients without WebSockets receive nothing.",
        &[
            "nginx `proxy_buffering off;` and no `proxy_ignore_headers X-Accel-Buffering`, Caddy `flush_interval -1`, Apache `flushpackets=on`, HAProxy: remove `http-response wait-for-body`.",
        ],
    ),
    warning(
        Fault::Compressed,
        "compressed",
        "A proxy compresses answers on the way: it costs time and may hold streams back.",
        &[
            "nginx `gzip off;`, Caddy: remove `encode`, Apache `SetEnv no-gzip 1`, HAProxy: remove `compression`, Cloudflare: a compression rule that is off for the path.",
        ],
    ),
    wrong(
        Fault::NoCors,
        "no_cors",
        "Pages of other origins may not read the answers of the HTTP fallbacks.",
        &[
            "Let the server's own header through: remove `proxy_hide_header Access-Control-Allow-Origin` and rules like it.",
        ],
    ),
    wrong(
        Fault::CorsTwice,
        "cors_twice",
        "Access-Control-Allow-Origin is there more than once, which browsers refuse.",
        &[
            "Remove the proxy's own: nginx `add_header Access-Control-Allow-Origin`, Apache `Header set`, Caddy `header`, HAProxy `http-response set-header`.",
        ],
    ),
    wrong(
        Fault::IdleCut,
        "idle_cut",
        "A silent connection is cut before the client would ping.",
        &[
            "nginx `proxy_read_timeout 180s; proxy_send_timeout 180s;`, Apache `ProxyTimeout 180`, HAProxy `timeout tunnel 180s`, Caddy: remove `stream_timeout`; AWS: idle timeout 180.",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_described_once() {
        let last = Fault::IdleCut as usize;
        let mut described: Vec<_> = FAULTS.iter().map(|row| row.fault as usize).collect();
        described.sort_unstable();
        assert_eq!(described, (0..=last).collect::<Vec<_>>());
    }

    #[test]
    fn the_guide_has_each_fault_with_its_meaning() {
        let guide = include_str!("../../../docs/doctor.md");
        for Description { name, meaning, .. } in FAULTS {
            let row = guide
                .lines()
                .find(|line| line.contains(&format!("| `{name}` |")));
            let row = row.unwrap_or_else(|| panic!("docs/doctor.md has no row for {name}"));
            assert!(row.contains(meaning), "{name}: {meaning}");
        }
    }
}
