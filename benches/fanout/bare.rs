//! The floor of the HTTP side: an actix-web handler that reads the body of a POST and answers `{}`.

use std::io::Write;

use actix_web::{App, HttpResponse, HttpServer, web};

use crate::Failure;

/// Serves until the process is ended.
pub(crate) fn run(workers: usize) -> Result<(), Failure> {
    actix_web::rt::System::new().block_on(async {
        let server = HttpServer::new(|| App::new().default_service(web::post().to(answer)))
            .workers(workers)
            .bind(("127.0.0.1", 0))?;
        for address in server.addrs() {
            writeln!(std::io::stdout(), "Listening on http://{address}")?;
        }
        server.run().await?;
        Ok(())
    })
}

async fn answer(body: web::Bytes) -> HttpResponse {
    std::hint::black_box(&body);
    HttpResponse::Ok()
        .content_type("application/json")
        .body("{}")
}
