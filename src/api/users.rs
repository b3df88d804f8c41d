//! What the API does to connections.

use actix_web::HttpResponse;
use serde::Serialize;

use super::{Call, error::ApiError, reply};

/// `POST users/{user_id}/terminate_connections`: closes what is signed in as the user, if anything is.
pub(super) fn terminate(call: &Call<'_>, user_id: &str) -> Result<HttpResponse, ApiError> {
    if user_id.is_empty() {
        return Err(ApiError::NoUserId);
    }
    call.node.terminate(&call.app.id, user_id);
    Ok(reply::empty())
}

/// `GET connections`: how many clients of the app are connected.
pub(super) async fn connections(call: &Call<'_>) -> Result<HttpResponse, ApiError> {
    #[derive(Serialize)]
    struct Connections {
        connections: usize,
    }
    let connections = call.node.connections(&call.app.id).await?;
    Ok(reply::json(&Connections { connections }))
}
