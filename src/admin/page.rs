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

static FILES: &[PageFile] = &[PageFile {
    path: "/",
    content_type: HTML,
    bytes: include_bytes!("page/index.html"),
}];

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
