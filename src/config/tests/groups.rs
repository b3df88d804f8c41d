//! Settings that several variables of other servers make together.

use super::*;

/// Asserts what these variables make together: `part` of the configuration, and in `understood` what each name is reported to set.
#[track_caller]
fn comes_to(given: &[(&str, &str)], understood: &[(&str, &str)], part: &str) {
    let loaded = from_variables(given).unwrap_or_else(|error| panic!("{given:?}: {error}"));
    for (name, set) in understood {
        let expected = Alias {
            name: (*name).to_owned(),
            set: (*set).to_owned(),
        };
        let aliases = &loaded.understood.aliases;
        assert!(
            aliases.contains(&expected),
            "no {expected:?} in {aliases:?}"
        );
    }
    let written = loaded.config.write(Secrets::Shown).to_string();
    assert!(written.contains(part), "no {part} in {written}");
}

/// #16: the variables were left out, so that a cluster became single nodes.
#[test]
fn soketis_redis_is_redis() {
    let one = [
        ("SOKETI_ADAPTER_DRIVER", "redis"),
        ("SOKETI_DB_REDIS_HOST", "redis.test"),
        ("SOKETI_DB_REDIS_PORT", "6380"),
        ("SOKETI_DB_REDIS_DB", "2"),
        ("SOKETI_DB_REDIS_USERNAME", "user"),
        ("SOKETI_DB_REDIS_PASSWORD", "p@ss/word"),
        ("SOKETI_DB_REDIS_KEY_PREFIX", "shop"),
    ];
    comes_to(
        &one,
        &[
            ("SOKETI_ADAPTER_DRIVER", "redis.url"),
            ("SOKETI_DB_REDIS_PASSWORD", "redis.url"),
            ("SOKETI_DB_REDIS_KEY_PREFIX", "redis.key_prefix = \"shop\""),
        ],
        r#""url":"redis://user:p%40ss%2Fword@redis.test:6380/2""#,
    );
    comes_to(
        &[("SOKETI_ADAPTER_DRIVER", "redis")],
        &[],
        r#""url":"redis://127.0.0.1""#,
    );
    let sentinels = [
        ("SOKETI_ADAPTER_DRIVER", "redis"),
        (
            "SOKETI_DB_REDIS_SENTINELS",
            r#"[{"host":"a.test","port":26379},{"host":"::1","port":26380}]"#,
        ),
        ("SOKETI_DB_REDIS_INSTANCE_NAME", "main"),
        ("SOKETI_DB_REDIS_SENTINEL_PASSWORD", "hidden"),
    ];
    comes_to(
        &sentinels,
        &[
            (
                "SOKETI_DB_REDIS_SENTINELS",
                "redis.mode = \"sentinel\", redis.url",
            ),
            (
                "SOKETI_DB_REDIS_INSTANCE_NAME",
                "redis.sentinel_master = \"main\"",
            ),
            (
                "SOKETI_DB_REDIS_SENTINEL_PASSWORD",
                "redis.sentinel_password",
            ),
        ],
        r#""url":"redis://a.test:26379,redis://[::1]:26380""#,
    );
    let cluster = [
        ("SOKETI_ADAPTER_DRIVER", "redis"),
        ("SOKETI_ADAPTER_REDIS_CLUSTER_MODE", "true"),
        (
            "SOKETI_DB_REDIS_CLUSTER_NODES",
            r#"[{"host":"a.test","port":7000}]"#,
        ),
    ];
    comes_to(&cluster, &[], r#""mode":"cluster""#);
    comes_to(&cluster, &[], r#""url":"redis://a.test:7000""#);
}

/// #16
#[test]
fn reverbs_scaling_is_redis() {
    comes_to(
        &[
            ("REVERB_SCALING_ENABLED", "true"),
            ("REVERB_SCALING_CHANNEL", "shop"),
            ("REDIS_HOST", "tls://redis.test"),
            ("REDIS_PASSWORD", "hidden"),
        ],
        &[
            ("REVERB_SCALING_ENABLED", "redis.url"),
            ("REDIS_PASSWORD", "redis.url"),
            ("REVERB_SCALING_CHANNEL", "redis.key_prefix = \"shop\""),
        ],
        r#""url":"rediss://:hidden@redis.test""#,
    );
    comes_to(
        &[
            ("WEBSOCKETS_REPLICATION_MODE", "redis"),
            ("REDIS_URL", "redis://redis.test/1"),
        ],
        &[("REDIS_URL", "redis.url")],
        r#""url":"redis://redis.test/1""#,
    );
    let alone = from_variables(&[
        ("REVERB_SCALING_ENABLED", "false"),
        ("REDIS_HOST", "redis.test"),
    ]);
    let alone = alone.expect("no scaling");
    assert!(alone.config.redis.is_none());
    let unused: Vec<_> = alone.understood.unused.iter().map(|it| &*it.name).collect();
    assert_eq!(
        unused,
        ["REVERB_SCALING_ENABLED"],
        "Laravel's Redis is its own matter"
    );
}

/// #16
#[test]
fn other_groups_set_their_keys() {
    comes_to(
        &[
            ("REVERB_APP_RATE_LIMITING_ENABLED", "true"),
            ("REVERB_APP_RATE_LIMIT_MAX_ATTEMPTS", "90"),
            ("REVERB_APP_RATE_LIMIT_TERMINATE", "true"),
        ],
        &[(
            "REVERB_APP_RATE_LIMIT_MAX_ATTEMPTS",
            "apps[0].max_messages_per_second = 2",
        )],
        "",
    );
    comes_to(
        &[
            ("SOKETI_DEFAULT_APP_USER_AUTHENTICATION", "1"),
            ("SOKETI_USER_AUTHENTICATION_TIMEOUT", "5000"),
        ],
        &[(
            "SOKETI_USER_AUTHENTICATION_TIMEOUT",
            "apps[0].authorization_timeout_s = 5",
        )],
        "",
    );
}

/// #16
#[cfg(feature = "mysql")]
#[test]
fn soketis_database_is_a_database() {
    let given = [
        ("SOKETI_APP_MANAGER_DRIVER", "mysql"),
        ("SOKETI_APP_MANAGER_MYSQL_TABLE", "ws_apps"),
        ("SOKETI_DB_MYSQL_HOST", "db.test"),
        ("SOKETI_DB_MYSQL_PASSWORD", "hidden"),
        ("SOKETI_DEFAULT_APP_KEY", "ignored"),
    ];
    comes_to(
        &given,
        &[("SOKETI_DB_MYSQL_HOST", "database.url")],
        r#""layout":"soketi""#,
    );
    comes_to(&given, &[], r#""url":"mysql://root:hidden@db.test/main""#);
    let unused = from_variables(&given).expect("valid").understood.unused;
    assert_eq!(unused[0].reason, "the apps are those of database.url");
}

/// #16: what would be missed must not be left out.
#[test]
fn what_is_dangerous_to_leave_out_is_refused() {
    for (name, value) in [
        ("SOKETI_SSL_CERT", "/cert.pem"),
        ("LARAVEL_WEBSOCKETS_SSL_LOCAL_PK", "/key.pem"),
        ("SOKETI_ADAPTER_DRIVER", "nats"),
        ("SOKETI_ADAPTER_DRIVER", "cluster"),
        ("SOKETI_APP_MANAGER_DRIVER", "dynamodb"),
        ("SOKETI_MODE", "worker"),
        ("WEBSOCKETS_REPLICATION_MODE", "other"),
        ("SOKETI_ADAPTER_REDIS_PUB_OPTIONS", "{}"),
    ] {
        let error = from_variables(&[(name, value)])
            .expect_err(name)
            .to_string();
        assert!(
            error.starts_with(name) && error.lines().count() == 1,
            "{error}"
        );
    }
    let nodes = [
        ("SOKETI_ADAPTER_DRIVER", "redis"),
        ("SOKETI_DB_REDIS_SENTINELS", "a.test:26379"),
    ];
    let error = from_variables(&nodes).expect_err("no JSON").to_string();
    assert!(
        error.starts_with("SOKETI_DB_REDIS_SENTINELS must be a JSON list"),
        "{error}"
    );
    let other = [
        ("REVERB_SCALING_ENABLED", "true"),
        ("WEBSOCKETS_REDIS_REPLICATION_CONNECTION", "pubsub"),
    ];
    let error = from_variables(&other)
        .expect_err("another connection")
        .to_string();
    assert!(error.contains("LOUDHAILER_REDIS__URL"), "{error}");
}

/// #16: the demo secret signed for a key of one's own, and behind a proxy that was open to the world.
#[test]
fn an_app_of_variables_gets_nothing_of_the_demo_apps() {
    for (given, expected) in [
        (
            &[("REVERB_APP_ID", "7"), ("REVERB_APP_KEY", "prodkey")][..],
            "REVERB_APP_ID: apps[0].secret is missing: set REVERB_APP_SECRET",
        ),
        (
            &[("PUSHER_APP_ID", "7")],
            "PUSHER_APP_ID: apps[0].key is missing: set PUSHER_APP_KEY\n\
             PUSHER_APP_ID: apps[0].secret is missing: set PUSHER_APP_SECRET",
        ),
        (
            &[
                ("SOKETI_DEFAULT_APP_SECRET", "hidden"),
                ("SOKETI_DEFAULT_APP_KEY", "k"),
            ],
            "SOKETI_DEFAULT_APP_KEY: apps[0].id is missing: set SOKETI_DEFAULT_APP_ID",
        ),
        (
            &[
                ("LOUDHAILER_APPS__0__KEY", "k"),
                ("LOUDHAILER_APPS__0__ID", "1"),
            ],
            "LOUDHAILER_APPS__0__ID: apps[0].secret is missing: set LOUDHAILER_APPS__0__SECRET",
        ),
    ] {
        let error = from_variables(given)
            .expect_err("a part is missing")
            .to_string();
        assert_eq!(error, expected);
    }
    let limits = from_variables(&[("SOKETI_DEFAULT_APP_ENABLED", "false")]);
    assert!(limits.expect("no credentials").understood.is_demo);
}

/// #16: `PUSHER_PORT=443` is Laravel's default.
#[test]
fn a_proxys_port_is_not_listened_on() {
    let loaded = from_variables(&[("PUSHER_PORT", "443"), ("SOKETI_PORT", "7001")]);
    let loaded = loaded.expect("they do not disagree");
    assert_eq!(loaded.config.server.port, 7001);
    let unused = &loaded.understood.unused;
    assert_eq!(unused.len(), 1, "{unused:?}");
    assert!(
        unused[0].reason.contains("LOUDHAILER_SERVER__PORT=443"),
        "{unused:?}"
    );
}

/// #16: nothing said that clients use another port than the server.
#[test]
fn where_clients_connect_is_compared_with_where_the_server_listens() {
    for (given, expected) in [
        (
            &[
                ("REVERB_HOST", "localhost"),
                ("REVERB_PORT", "8080"),
                ("REVERB_SCHEME", "http"),
            ][..],
            "Clients connect to http://localhost:8080 (REVERB_HOST, REVERB_PORT, REVERB_SCHEME), but this server listens on port 6001: \
             set LOUDHAILER_SERVER__PORT=8080, or REVERB_PORT=6001 for the app, unless a proxy forwards one to the other",
        ),
        (
            &[("PUSHER_HOST", "ws.test")],
            "Clients connect to https://ws.test:443 (PUSHER_HOST); this server listens on port 6001 without TLS: \
             a proxy with a certificate must forward from there to here",
        ),
        (
            &[
                ("PUSHER_HOST", "::1"),
                ("PUSHER_PORT", "6002"),
                ("PUSHER_SCHEME", "http"),
            ],
            "Clients connect to http://[::1]:6002 (PUSHER_HOST, PUSHER_PORT, PUSHER_SCHEME); this server listens on port 6002",
        ),
        (
            &[
                ("PUSHER_APP_HOST", "ws.test"),
                ("PUSHER_APP_PORT", "6001"),
                ("PUSHER_APP_SCHEME", "https"),
            ],
            "Clients connect to https://ws.test:6001 (PUSHER_APP_HOST, PUSHER_APP_PORT, PUSHER_APP_SCHEME), but this server listens on \
             port 6001 without TLS: set PUSHER_APP_SCHEME=http for the app, or give the port to a proxy with a certificate and \
             LOUDHAILER_SERVER__PORT to this server",
        ),
    ] {
        let notes = from_variables(given).expect("valid").understood.notes;
        assert_eq!(notes, [expected.to_owned()]);
    }
    let notes = from_variables(&[("PUSHER_PORT", "6001")])
        .expect("valid")
        .understood
        .notes;
    assert_eq!(notes, [""; 0], "a port alone is the server's");
}

/// #16: a Laravel app that was once on Pusher has both.
#[test]
fn the_broadcaster_decides_between_two_apps() {
    let both = [
        ("PUSHER_APP_ID", "1"),
        ("PUSHER_APP_KEY", "pushers"),
        ("PUSHER_APP_SECRET", "hidden1"),
        ("REVERB_APP_ID", "2"),
        ("REVERB_APP_KEY", "reverbs"),
        ("REVERB_APP_SECRET", "hidden2"),
    ];
    for (name, broadcaster, key) in [
        ("BROADCAST_CONNECTION", "reverb", "reverbs"),
        ("BROADCAST_DRIVER", "pusher", "pushers"),
    ] {
        let given = [&both[..], &[(name, broadcaster)]].concat();
        let loaded = from_variables(&given).expect(broadcaster);
        assert_eq!(key_of(&loaded.config.apps[0]), key);
        assert_eq!(
            loaded.understood.unused.len(),
            3,
            "{:?}",
            loaded.understood.unused
        );
    }
    from_variables(&both).expect_err("nothing decides");
}
