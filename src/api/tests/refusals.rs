//! What a request that can't be answered gets back.

use super::{call, get, node, publish, send};

#[actix_web::test]
async fn what_does_not_apply_is_refused() {
    let node = node();
    let unfiltered = "user_count needs a filter_by_prefix that begins with presence-: other channels have no users";
    for (path, query, message) in [
        ("channels", "info=user_count", unfiltered),
        (
            "channels",
            "filter_by_prefix=pres&info=user_count",
            unfiltered,
        ),
        (
            "channels",
            "info=cache",
            r#"info asks for "cache"; what can be asked for is user_count, subscription_count"#,
        ),
        (
            "channels/a",
            "info=user_count",
            "only presence channels have users",
        ),
        (
            "channels/a",
            "info=cache",
            "only cache channels have a cached event",
        ),
        (
            "channels/a",
            "info=x",
            r#"info asks for "x"; what can be asked for is user_count, subscription_count, cache"#,
        ),
        (
            "channels/a%20b",
            "",
            "channel name contains ' '; allowed are A-Z a-z 0-9 _ - = @ , . ;",
        ),
        ("channels/%ff", "", "the path is not UTF-8"),
        ("channels/a/users", "", "only presence channels have users"),
    ] {
        get(&node, path, query).await.is_error(400, message);
    }
    let nobody = call(
        &node,
        "POST",
        "/apps/1/users//terminate_connections",
        "",
        "",
    )
    .await;
    nobody.is_error(400, "the user id is empty");
}

#[actix_web::test]
async fn a_bad_body_is_refused_with_what_is_wrong() {
    let node = node();
    for (body, status, message) in [
        (
            "{",
            400,
            "the body is not JSON: EOF while parsing an object at line 1 column 1",
        ),
        (
            r#"{"name":"e","channel":"a","data":"\ud800"}"#,
            400,
            "data has half of a surrogate pair",
        ),
        (
            r#"{"name":1}"#,
            400,
            "invalid type: integer `1`, expected a string at line 1 column 9",
        ),
        (
            r#"{"name":"e","channel":"a","data":"123456789012345678901"}"#,
            413,
            "data has 21 bytes, at most 20 are allowed",
        ),
    ] {
        publish(&node, body).await.is_error(status, message);
    }
    let batch = call(&node, "POST", "/apps/1/batch_events", "", "{}").await;
    batch.is_error(400, "missing field `batch` at line 1 column 2");
    let long = publish(&node, &"x".repeat(501)).await;
    long.is_error(413, "the body has 501 bytes, at most 500 are allowed");
}

#[actix_web::test]
async fn refusals_have_their_status() {
    let node = node();
    let call = async |method: &str, path: &str| call(&node, method, path, "", "").await;
    for path in ["/apps/1", "/apps/1/other", "/app/key/other"] {
        call("GET", path)
            .await
            .is_error(404, "there is nothing at this path");
    }
    call("GET", "/app/key").await.is_error(
        426,
        "this path takes only WebSockets, and the request has no Upgrade header",
    );
    call("GET", "/apps/9/channels")
        .await
        .is_error(404, "no app has this id");
    call("GET", "/apps/2/channels")
        .await
        .is_error(403, "the app is disabled");
    call("GET", "/apps/1/events")
        .await
        .is_error(405, "this path takes POST, OPTIONS");
    let wrong = call("PUT", "/apps/1/channels").await;
    wrong.is_error(405, "this path takes GET, HEAD, OPTIONS");
    assert_eq!(wrong.allow.as_deref(), Some("GET, HEAD, OPTIONS"));
    let unsigned = send(&node, "GET", "/apps/1/channels", b"").await;
    unsigned.is_error(401, "missing parameter auth_key");
    let disabled = send(&node, "GET", "/apps/2/channels", b"").await;
    disabled.is_error(401, "missing parameter auth_key");
}
