//! What browsers see: the pages, the session cookie, and the endpoint that signs subscriptions.

use actix_web::body::MessageBody;
use actix_web::cookie::time::{Duration, OffsetDateTime};
use actix_web::cookie::{Cookie, SameSite};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{Method, StatusCode, header};
use actix_web::middleware::Next;
use actix_web::{Either, Error, HttpRequest, HttpResponse, ResponseError, web};
use askama::Template;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::accounts::{AccountError, Accounts, Login, SESSION_S, SessionToken, User};
use crate::broadcast::{Publish, PusherApp, SocketId, json_text};
use crate::mode::Mode;

const SESSION_COOKIE: &str = "single_login_session";

/// Everybody logged in may join it: it shows who is here.
const LOBBY: &str = "presence-lobby";

/// What every page works with.
pub(crate) struct Example {
    pub(crate) accounts: Accounts,
    pub(crate) pusher: PusherApp,
    pub(crate) mode: Mode,
    /// pusher-js and Laravel Echo, as npm delivers them.
    pub(crate) pusher_js: String,
    pub(crate) echo_js: String,
}

type Shared = web::Data<Example>;
type Answer = Result<HttpResponse, PageError>;

/// All paths of the example.
pub(crate) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/", web::get().to(home))
        .route("/login", web::get().to(login_form))
        .route("/login", web::post().to(log_in))
        .route("/logout", web::post().to(log_out))
        .route("/session", web::get().to(session))
        .route("/broadcasting/auth", web::post().to(authorise_channel))
        .route(
            "/{file:style.css|app.js|pusher.js|echo.js}",
            web::get().to(file),
        );
}

/// Why a request was not served as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PageError {
    #[error("Only this site's own pages may post here.")]
    ForeignPage,
    #[error("Nobody is logged in here.")]
    NotLoggedIn,
    #[error("This channel is not yours.")]
    NotYourChannel,
    #[error("socket_id must be two numbers with a dot between them.")]
    BadSocketId,
    #[error("The accounts cannot be used now. The log says why.")]
    Account(#[from] AccountError),
    #[error("The page cannot be shown now. The log says why.")]
    Template(#[from] askama::Error),
    #[error("The example is stopping.")]
    Stopping(#[from] actix_web::error::BlockingError),
}

impl ResponseError for PageError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::NotLoggedIn => StatusCode::UNAUTHORIZED,
            Self::ForeignPage | Self::NotYourChannel => StatusCode::FORBIDDEN,
            Self::BadSocketId => StatusCode::BAD_REQUEST,
            Self::Stopping(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Account(_) | Self::Template(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        if let Some(cause) = std::error::Error::source(self) {
            tracing::error!(%cause, "{self}");
        }
        HttpResponse::build(self.status_code())
            .content_type("text/plain; charset=utf-8")
            .body(self.to_string())
    }
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    notice: Option<&'static str>,
    error: Option<&'static str>,
    email: &'a str,
}

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage<'a> {
    user: &'a User,
    pusher: &'a PusherApp,
    mode: Mode,
}

async fn home(request: HttpRequest, example: Shared) -> Answer {
    match logged_in_user(&request, &example).await? {
        Some(user) => html(
            StatusCode::OK,
            &HomePage {
                user: &user,
                pusher: &example.pusher,
                mode: example.mode,
            },
        ),
        None => Ok(see_other("/login")),
    }
}

#[derive(Deserialize)]
struct LoginQuery {
    reason: Option<String>,
}

async fn login_form(
    request: HttpRequest,
    query: web::Query<LoginQuery>,
    example: Shared,
) -> Answer {
    if logged_in_user(&request, &example).await?.is_some() {
        return Ok(see_other("/"));
    }
    let notice = match query.reason.as_deref() {
        Some("elsewhere") => Some("You were logged out because this account logged in elsewhere."),
        Some("ended") => Some("Your session has ended. Log in again to go on."),
        _ => None,
    };
    html(
        StatusCode::OK,
        &LoginPage {
            notice,
            error: None,
            email: "",
        },
    )
}

#[derive(Clone, Deserialize)]
struct LoginForm {
    email: String,
    password: String,
}

async fn log_in(
    request: HttpRequest,
    form: web::Form<LoginForm>,
    example: Shared,
    client: web::Data<awc::Client>,
) -> Answer {
    let (shared, LoginForm { email, password }) = (example.clone(), form.clone());
    let current = session_token(&request);
    let login =
        web::block(move || shared.accounts.log_in(&email, &password, current, now())).await??;
    let Some(login) = login else {
        let error = Some("Email and password do not match.");
        let page = LoginPage {
            notice: None,
            error,
            email: &form.email,
        };
        return html(StatusCode::UNPROCESSABLE_ENTITY, &page);
    };
    tracing::info!(user = login.user.id, ended = login.ended, "logged in");

    // Only now, when the other sessions are gone: a page that hears this asks about its own. And
    // before the answer: the new page subscribes after it, so it does not hear its own login.
    if example.mode == Mode::Application {
        announce(&login, socket_id(&request), &example.pusher, &client).await;
    }

    let mut answer = see_other("/");
    set_session_cookie(&mut answer, login.token.reveal(), SESSION_S);
    Ok(answer)
}

/// The payload, as Laravel makes it of an event class with a public `$user`.
#[derive(Serialize)]
struct UserAuthenticatedEvent<'a> {
    user: &'a User,
}

/// Broadcasts the login. That it fails is no reason to refuse the login.
async fn announce(login: &Login, except: Option<SocketId>, pusher: &PusherApp, http: &awc::Client) {
    let event = Publish {
        name: r"App\Events\UserAuthenticatedEvent",
        channels: vec![format!("outman-user-{}", login.user.id)],
        data: json_text(&UserAuthenticatedEvent { user: &login.user }),
        except,
    };
    if let Err(cause) = pusher.publish(http, &event, now()).await {
        tracing::warn!(user = login.user.id, %cause, "the login was not broadcast");
    }
}

async fn log_out(request: HttpRequest, example: Shared) -> Answer {
    if let Some(token) = session_token(&request) {
        web::block(move || example.accounts.log_out(&token)).await??;
    }
    let mut answer = see_other("/login");
    set_session_cookie(&mut answer, "", 0);
    Ok(answer)
}

/// What a page asks when it hears of a login: is my session still valid, and whose is it?
async fn session(request: HttpRequest, example: Shared) -> Answer {
    let user = logged_in_user(&request, &example)
        .await?
        .ok_or(PageError::NotLoggedIn)?;
    Ok(HttpResponse::Ok().json(json!({ "user": user })))
}

#[derive(Deserialize)]
struct ChannelRequest {
    socket_id: String,
    channel_name: String,
}

/// pusher-js asks here before it subscribes to a private or presence channel.
async fn authorise_channel(
    request: HttpRequest,
    body: Either<web::Form<ChannelRequest>, web::Json<ChannelRequest>>,
    example: Shared,
) -> Answer {
    let user = logged_in_user(&request, &example)
        .await?
        .ok_or(PageError::NotLoggedIn)?;
    let ChannelRequest {
        socket_id,
        channel_name,
    } = match body {
        Either::Left(form) => form.into_inner(),
        Either::Right(json) => json.into_inner(),
    };
    let socket = SocketId::parse(&socket_id).ok_or(PageError::BadSocketId)?;
    let sign = |member| {
        example
            .pusher
            .sign_subscription(&socket, &channel_name, member)
    };
    if channel_name == format!("private-outman-user-{}", user.id) {
        // In the second mode the server must know which session this is: tabs of one browser share it.
        let session = session_token(&request).filter(|_| example.mode == Mode::Server);
        let Some(session) = session else {
            return Ok(HttpResponse::Ok().json(json!({ "auth": sign(None) })));
        };
        let data = json!({ "session_id": session.hash() }).to_string();
        let auth = sign(Some(&data));
        return Ok(HttpResponse::Ok().json(json!({ "auth": auth, "channel_data": data })));
    }
    if channel_name == LOBBY {
        let member = json!({ "user_id": user.id.to_string(), "user_info": { "name": user.name } });
        let member = member.to_string();
        let auth = sign(Some(&member));
        return Ok(HttpResponse::Ok().json(json!({ "auth": auth, "channel_data": member })));
    }
    Err(PageError::NotYourChannel)
}

async fn file(name: web::Path<String>, example: Shared) -> HttpResponse {
    let (kind, text) = match name.as_str() {
        "style.css" => ("text/css", include_str!("../public/style.css")),
        "app.js" => ("text/javascript", include_str!("../public/app.js")),
        "pusher.js" => ("text/javascript", example.pusher_js.as_str()),
        "echo.js" => ("text/javascript", example.echo_js.as_str()),
        _ => return HttpResponse::NotFound().finish(),
    };
    HttpResponse::Ok()
        .content_type(format!("{kind}; charset=utf-8"))
        .body(text.to_owned())
}

/// Protects every POST from cross-site request forgery: the browser itself says which site a
/// request comes from, in `Sec-Fetch-Site` or, where that is missing, in `Origin`.
pub(crate) async fn refuse_foreign_posts(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let header = |name| request.headers().get(name).map(|value| value.as_bytes());
    let own = match (header("Sec-Fetch-Site"), header("Origin")) {
        (Some(site), _) => site == b"same-origin",
        (None, Some(origin)) => {
            let host = request.connection_info().host().to_owned();
            origin.strip_prefix(b"http://") == Some(host.as_bytes())
        }
        // No browser: nobody's cookies are sent against their will.
        (None, None) => true,
    };
    if request.method() == Method::POST && !own {
        return Err(PageError::ForeignPage.into());
    }
    next.call(request).await
}

async fn logged_in_user(
    request: &HttpRequest,
    example: &Shared,
) -> Result<Option<User>, PageError> {
    let Some(token) = session_token(request) else {
        return Ok(None);
    };
    let example = example.clone();
    Ok(web::block(move || example.accounts.user_of(&token, now())).await??)
}

fn session_token(request: &HttpRequest) -> Option<SessionToken> {
    request
        .cookie(SESSION_COOKIE)
        .map(|cookie| SessionToken::from_cookie(cookie.value()))
}

/// The connection to leave out, which Echo names in a header of the requests it knows of. A plain
/// form has none. A malformed one excludes nobody: it must not stop a login (Echo's Turbo
/// integration says "undefined" while it is not connected).
fn socket_id(request: &HttpRequest) -> Option<SocketId> {
    SocketId::parse(request.headers().get("X-Socket-ID")?.to_str().ok()?)
}

fn html(status: StatusCode, page: &impl Template) -> Answer {
    let text = page.render()?;
    Ok(HttpResponse::build(status)
        .content_type("text/html; charset=utf-8")
        .body(text))
}

fn see_other(path: &'static str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((header::LOCATION, path))
        .finish()
}

/// No script can read the cookie. Behind TLS it would be `Secure` too.
fn set_session_cookie(answer: &mut HttpResponse, token: &str, age_s: i64) {
    let cookie = Cookie::build(SESSION_COOKIE, token)
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .max_age(Duration::seconds(age_s))
        .finish();
    answer.add_cookie(&cookie).expect("a token is plain ASCII");
}

/// Unix seconds.
fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

#[cfg(test)]
mod tests;
