//! The apps themselves: listed, made, changed and removed, where their store takes changes. A secret is shown once, when it is made.

use std::sync::Arc;

use actix_web::{
    HttpResponse,
    web::{self, Payload},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    AdminError, AdminSettings, LIMIT, LIMIT_MAX,
    audit::{Operator, record},
    json as reply, read,
};
use crate::{
    app::{App, Moment},
    node::{Node, Revoked},
    settings::{Json, Secrets, Setting},
    store::{
        AppControl, Change, Edit, WriteError,
        edit::{self, Settings},
    },
};

#[derive(Deserialize)]
pub(super) struct ListQuery {
    #[serde(default)]
    search: String,
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

/// What becomes of connections that could not be made any more.
#[derive(Deserialize)]
pub(super) struct ChangeQuery {
    #[serde(default)]
    close_connections: bool,
}

/// The parts that a change needs.
#[derive(Clone)]
pub(super) struct Changing {
    node: web::Data<Node>,
    control: web::Data<AppControl>,
    settings: web::Data<AdminSettings>,
    operator: Operator,
}

impl actix_web::FromRequest for Changing {
    type Error = actix_web::Error;
    type Future = std::future::Ready<Result<Self, Self::Error>>;

    fn from_request(
        request: &actix_web::HttpRequest,
        payload: &mut actix_web::dev::Payload,
    ) -> Self::Future {
        let mut data = || {
            Ok(Self {
                node: web::Data::extract(request).into_inner()?,
                control: web::Data::extract(request).into_inner()?,
                settings: web::Data::extract(request).into_inner()?,
                operator: Operator::from_request(request, payload).into_inner()?,
            })
        };
        std::future::ready(data())
    }
}

impl Changing {
    /// Writes a change, and a line about it.
    async fn write(
        &self,
        action: &'static str,
        id: &str,
        change: Change,
    ) -> Result<(), AdminError> {
        let before = view(self.node.apps.by_id(id).as_deref());
        self.control.write(change).await?;
        let after = view(self.node.apps.by_id(id).as_deref());
        record(self.operator, action, id, [before, after]);
        Ok(())
    }

    async fn edit(
        &self,
        action: &'static str,
        id: &str,
        edit: impl FnOnce(&mut Settings) -> Result<(), WriteError> + Send + 'static,
    ) -> Result<(), AdminError> {
        let edit: Edit = Box::new(edit);
        self.write(action, id, Change::Update(id.to_owned(), edit))
            .await
    }

    fn close(&self, id: &str, query: &ChangeQuery, revoked: Revoked) {
        if query.close_connections {
            self.node
                .close_revoked(id, revoked, self.settings.close_window);
        }
    }

    fn shown(&self, id: &str) -> Result<Json, AdminError> {
        let app = self.node.apps.by_id(id);
        app.map(|app| view(Some(&app)))
            .ok_or(AdminError::NotFound("app"))
    }
}

/// The app without its secrets; null without an app.
fn view(app: Option<&App>) -> Json {
    app.map_or(Json::Null, |app| app.write(Secrets::Hidden))
}

/// `GET /api/apps`
pub(super) async fn list(node: web::Data<Node>, query: web::Query<ListQuery>) -> HttpResponse {
    let all = node.apps.all();
    let mentions = |app: &&Arc<App>| {
        let keys = || app.keys().any(|it| it.key.contains(&query.search));
        app.id.contains(&query.search) || app.name.contains(&query.search) || keys()
    };
    let found: Vec<_> = all.iter().filter(mentions).collect();
    let limit = query.limit.unwrap_or(LIMIT).min(LIMIT_MAX);
    let shown = found.iter().skip(query.offset).take(limit);
    let rows: Vec<Json> = shown.map(|app| row(app, &node)).collect();
    reply(&json!({"apps": rows, "total": found.len()}))
}

fn row(app: &App, node: &Node) -> Json {
    let key = app.shown_key(Moment::now()).map_or("", |it| it.key);
    let used = node.hub.used_app(&app.id);
    json!({
        "id": &*app.id,
        "name": app.name,
        "enabled": app.enabled,
        "key": key,
        "keys": app.keys().count(),
        "connections": used.map_or(0, |app| app.connections()),
    })
}

/// `GET /api/apps/{id}`
pub(super) async fn show(
    changing: Changing,
    id: web::Path<String>,
) -> Result<HttpResponse, AdminError> {
    Ok(reply(&changing.shown(&id)?))
}

/// `POST /api/apps`: credentials that are left out are made.
pub(super) async fn create(changing: Changing, body: Payload) -> Result<HttpResponse, AdminError> {
    let mut settings: Settings = serde_json::from_slice(&read(body).await?)?;
    let id = edit::complete(&mut settings);
    let secret = settings.get("secret").cloned();
    changing
        .write("create an app", &id, Change::Create(settings))
        .await?;
    let mut shown = changing.shown(&id)?;
    shown["secret"] = secret.unwrap_or_default();
    Ok(HttpResponse::Created().json(shown))
}

/// `PATCH /api/apps/{id}`: null gives a key its default.
pub(super) async fn change(
    changing: Changing,
    id: web::Path<String>,
    query: web::Query<ChangeQuery>,
    body: Payload,
) -> Result<HttpResponse, AdminError> {
    let changes: Settings = serde_json::from_slice(&read(body).await?)?;
    let edit = move |settings: &mut Settings| {
        settings.extend(changes);
        Ok(())
    };
    changing.edit("change an app", &id, edit).await?;
    changing.close(&id, &query, Revoked::Origins);
    Ok(reply(&changing.shown(&id)?))
}

/// `DELETE /api/apps/{id}`
pub(super) async fn remove(
    changing: Changing,
    id: web::Path<String>,
) -> Result<HttpResponse, AdminError> {
    let change = Change::Delete(id.to_string());
    changing.write("remove an app", &id, change).await?;
    Ok(HttpResponse::NoContent().finish())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    #[serde(default)]
    label: String,
}

/// `POST /api/apps/{id}/keys`
pub(super) async fn create_key(
    changing: Changing,
    id: web::Path<String>,
    body: Payload,
) -> Result<HttpResponse, AdminError> {
    let NewKey { label } = serde_json::from_slice(&read(body).await?)?;
    let key = edit::new_key(&label);
    let shown = key.clone();
    let edit = move |settings: &mut Settings| edit::add_key(settings, key);
    changing.edit("create a key", &id, edit).await?;
    Ok(HttpResponse::Created().json(shown))
}

/// `PATCH /api/apps/{id}/keys/{key}`: its label, and when it is disabled.
pub(super) async fn change_key(
    changing: Changing,
    path: web::Path<(String, String)>,
    query: web::Query<ChangeQuery>,
    body: Payload,
) -> Result<HttpResponse, AdminError> {
    let (id, key) = path.into_inner();
    let changes: Settings = serde_json::from_slice(&read(body).await?)?;
    if let Some(name) = changes
        .keys()
        .find(|name| !["label", "disabled"].contains(&&***name))
    {
        let reason = format!("only label and disabled can change, not {name}");
        return Err(AdminError::BadRequest(reason));
    }
    let edit = move |settings: &mut Settings| edit::change_key(settings, &key, changes);
    changing.edit("change a key", &id, edit).await?;
    changing.close(&id, &query, Revoked::Keys);
    Ok(reply(&changing.shown(&id)?))
}

/// `DELETE /api/apps/{id}/keys/{key}`
pub(super) async fn remove_key(
    changing: Changing,
    path: web::Path<(String, String)>,
    query: web::Query<ChangeQuery>,
) -> Result<HttpResponse, AdminError> {
    let (id, key) = path.into_inner();
    let edit = move |settings: &mut Settings| edit::remove_key(settings, &key);
    changing.edit("remove a key", &id, edit).await?;
    changing.close(&id, &query, Revoked::Keys);
    Ok(HttpResponse::NoContent().finish())
}
