//! Reading the apps again on request.

use actix_web::{
    HttpResponse,
    web::{self, Payload},
};
use serde::{Deserialize, Serialize};

use super::{AdminError, json, read};
use crate::{
    app::Name,
    store::{AppControl, Loss, Report},
};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    #[serde(default)]
    force: bool,
}

#[derive(Serialize)]
struct Reloaded<'a> {
    added: Vec<&'a str>,
    changed: Vec<&'a str>,
    removed: Vec<&'a str>,
    problems: &'a [String],
    needs_restart: &'a [String],
}

/// `POST /api/reload`
pub(super) async fn reload(
    control: web::Data<AppControl>,
    body: Payload,
) -> Result<HttpResponse, AdminError> {
    let body = read(body).await?;
    let request: Request = match body.is_empty() {
        true => Request::default(),
        false => serde_json::from_slice(&body)?,
    };
    let loss = match request.force {
        true => Loss::Accepted,
        false => Loss::Refused,
    };
    let report = control.reload(loss).await?;
    Ok(json(&Reloaded::of(&report)))
}

impl<'a> Reloaded<'a> {
    fn of(report: &'a Report) -> Self {
        let names = |names: &'a [Name]| names.iter().map(|name| &**name).collect();
        Self {
            added: names(&report.changes.added),
            changed: names(&report.changes.changed),
            removed: names(&report.changes.removed),
            problems: &report.problems,
            needs_restart: &report.needs_restart,
        }
    }
}
