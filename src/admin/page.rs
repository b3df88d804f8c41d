//! The dashboard's files, part of the binary. The folder beside this file holds them.

use std::sync::LazyLock;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
    },
};
use sha2::{Digest, Sha256};

use super::AdminError;

/// A file as it is served.
struct PageFile {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const ICON: &str = "image/svg+xml";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// A file below `/assets/`.
macro_rules! asset {
    ($name:literal, $content_type:expr) => {
        PageFile {
            path: concat!("/assets/", $name),
            content_type: $content_type,
            bytes: include_bytes!(concat!("page/", $name)),
        }
    };
}

static FILES: &[PageFile] = &[
    PageFile {
        path: "/",
        content_type: HTML,
        bytes: include_bytes!("page/index.html"),
    },
    asset!("api.js", SCRIPT),
    asset!("apps.js", SCRIPT),
    asset!("ask.js", SCRIPT),
    asset!("base.css", STYLE),
    asset!("channels.js", SCRIPT),
    asset!("charts.js", SCRIPT),
    asset!("connections.js", SCRIPT),
    asset!("dom.js", SCRIPT),
    asset!("feed.js", SCRIPT),
    asset!("feed_list.js", SCRIPT),
    asset!("icon.svg", ICON),
    asset!("json_view.js", SCRIPT),
    asset!("lines.js", SCRIPT),
    asset!("live_view.js", SCRIPT),
    asset!("main.js", SCRIPT),
    asset!("opened_line.js", SCRIPT),
    asset!("overview.js", SCRIPT),
    asset!("panel.js", SCRIPT),
    asset!("send.js", SCRIPT),
    asset!("server_state.js", SCRIPT),
    asset!("session.js", SCRIPT),
    asset!("stream.js", SCRIPT),
    asset!("table.js", SCRIPT),
    asset!("theme.js", SCRIPT),
    asset!("uplot.LICENSE.txt", TEXT),
    asset!("uplot.css", STYLE),
    asset!("uplot.js", SCRIPT),
    asset!("views.css", STYLE),
    asset!("words.js", SCRIPT),
];

/// A name for each file's content, in the files' order.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let tag = |file: &PageFile| format!("\"{}\"", hex::encode(&Sha256::digest(file.bytes)[..12]));
    FILES.iter().map(tag).collect()
});

/// A file of the page; what a browser has already is not sent again.
pub(super) async fn show(request: HttpRequest) -> Result<HttpResponse, AdminError> {
    let files = FILES.iter().zip(TAGS.iter());
    let mut files = files.filter(|(file, _)| file.path == request.path());
    let (file, tag) = files.next().ok_or(AdminError::NotFound("path"))?;
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return Err(AdminError::MethodNotAllowed);
    }
    let known = request.headers().get(IF_NONE_MATCH);
    let is_known = known.is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if is_known {
        HttpResponse::NotModified()
    } else {
        HttpResponse::Ok()
    };
    // Asked for each time, and answered with nothing while it is the same.
    response
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((ETAG, tag.as_str()));
    Ok(if is_known {
        response.finish()
    } else {
        response
            .insert_header((CONTENT_TYPE, file.content_type))
            .body(file.bytes)
    })
}
