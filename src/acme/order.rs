//! One order: from the account to the certificate (RFC 8555 §7).

use std::{io, sync::Arc, time::Duration};

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeHandle, ChallengeType,
    ExternalAccountKey, Identifier, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use tracing::{info, warn};

use super::{
    client::{Cause, Client, Failure},
    folder::{Folder, HttpAnswer, is_token},
};
use crate::{
    config::{Acme, Challenge},
    tls::{Certificate, ChallengeAnswer, Issued, PairFiles, SigningRequest},
};

/// Authorizations of an order for one name.
const AUTHORIZATIONS_MAX: usize = 4;
/// How an order is asked for its state.
const POLLING: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(250))
    .backoff(1.5)
    .timeout(Duration::from_secs(120));

/// Orders certificates.
pub(super) struct Orders {
    pub(super) settings: Acme,
    pub(super) client: Client,
    pub(super) folder: Folder,
    pub(super) issued: Arc<Issued>,
}

/// The answer to a challenge; it is given as long as this lives.
enum Answer {
    TlsAlpn(#[expect(dead_code, reason = "ends the answer when it is dropped")] ChallengeAnswer),
    Http(#[expect(dead_code, reason = "ends the answer when it is dropped")] HttpAnswer),
}

impl Orders {
    /// Gets a certificate for a name and stores it.
    pub(super) async fn order(&self, name: &str) -> Result<(), Failure> {
        // Nothing is asked for that could not be stored: authorities count what they issue.
        self.folder.create()?;
        let ordered = self.try_order(name).await;
        if let Err(Failure {
            cause: Cause::NoAccount,
            ..
        }) = &ordered
        {
            // The next order makes another one.
            self.folder.retire_account()?;
        }
        let (pem, certificate) = ordered?;
        let stored = self.folder.store_certificate(name, &pem);
        stored.map_err(|error| not_stored("certificate", &error))?;
        let names = certificate.names.join(", ");
        let days_left = certificate.days_left(std::time::SystemTime::now());
        info!(names, days_left, "the ACME server has issued a certificate");
        Ok(())
    }

    async fn try_order(&self, name: &str) -> Result<(String, Certificate), Failure> {
        let account = self.account().await?;
        let identifiers = [Identifier::Dns(name.to_owned())];
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
        let answers = self.authorize(&mut order).await?;
        if !answers.is_empty() || order.state().status == OrderStatus::Pending {
            let polled = order.poll_ready(&POLLING).await;
            match polled {
                Ok(OrderStatus::Ready) => {}
                Ok(_) => return Err(self.refusal(&mut order, None).await),
                Err(error) => return Err(self.refusal(&mut order, Some(error)).await),
            }
        }
        drop(answers);
        let request = SigningRequest::new(name)?;
        order.finalize_csr(&request.request).await?;
        let chain = order.poll_certificate(&POLLING).await?;
        self.check(name, &request.key_pem, &chain)
    }

    /// The account that is stored, or a new one. Read for each order: another process may have made another one.
    async fn account(&self) -> Result<Account, Failure> {
        match self.stored_account() {
            Some(credentials) => Ok(self.builder().from_credentials(credentials).await?),
            None => self.create_account().await,
        }
    }

    /// A file that can't be used is put aside.
    fn stored_account(&self) -> Option<AccountCredentials> {
        let stored = self.folder.account().and_then(|account| {
            let parse = |account: Vec<u8>| serde_json::from_slice(&account);
            account.map(parse).transpose().map_err(io::Error::other)
        });
        stored.unwrap_or_else(|error| {
            let file = self.folder.account_file();
            let reason = error.to_string();
            warn!(file = %file.display(), reason, "the ACME account can't be read; a new one is made");
            // If that fails, storing the new one says why.
            let _ = self.folder.retire_account();
            None
        })
    }

    async fn create_account(&self) -> Result<Account, Failure> {
        let contact = self.settings.contact.as_ref();
        let contact = contact.map(|contact| format!("mailto:{}", contact.0));
        let contact: Vec<_> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: self.settings.terms_of_service_agreed,
            only_return_existing: false,
        };
        let external = self.settings.external_account();
        let external = external.map(|(id, key)| ExternalAccountKey::new(id, &key));
        let directory = self.settings.directory.0.to_string();
        let created = self.builder();
        let created = created.create(&new, directory, external.as_ref()).await;
        let (account, credentials) = created?;
        let credentials = serde_json::to_vec(&credentials).map_err(io::Error::other)?;
        let stored = self.folder.store_account(&credentials);
        stored.map_err(|error| not_stored("account", &error))?;
        info!(account = account.id(), "an ACME account was made");
        Ok(account)
    }

    fn builder(&self) -> instant_acme::AccountBuilder {
        Account::builder_with_http(Box::new(self.client.clone()))
    }

    /// Answers the challenges of an order, and says so to the ACME server.
    async fn authorize(&self, order: &mut Order) -> Result<Vec<Answer>, Failure> {
        if order.state().authorizations.len() > AUTHORIZATIONS_MAX {
            let text = "the ACME server wants too many authorizations for one name";
            return Err(Failure::refused(text));
        }
        let (wanted, word) = self.challenge();
        let mut answers = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let challenge = authorization.challenge(wanted.clone());
            let mut challenge = challenge
                .ok_or_else(|| Failure::refused(format!("the ACME server offers no {word}")))?;
            answers.push(self.answer(&challenge)?);
            challenge.set_ready().await?;
        }
        Ok(answers)
    }

    fn challenge(&self) -> (ChallengeType, &'static str) {
        let challenge = self.settings.challenge;
        let wanted = match challenge {
            Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
            Challenge::Http01 => ChallengeType::Http01,
        };
        (wanted, challenge.word())
    }

    fn answer(&self, challenge: &ChallengeHandle<'_>) -> Result<Answer, Failure> {
        if !is_token(&challenge.token) {
            let text = "the token of the ACME server's challenge is malformed";
            return Err(Failure::refused(text));
        }
        let authorization = challenge.key_authorization();
        match self.settings.challenge {
            Challenge::TlsAlpn01 => {
                let digest = authorization.digest();
                let digest = digest.as_ref().try_into().expect("SHA-256 has 32 bytes");
                let Identifier::Dns(name) = challenge.identifier().identifier else {
                    let text = "the ACME server asks for something other than a name";
                    return Err(Failure::refused(text));
                };
                Ok(Answer::TlsAlpn(self.issued.answer_challenge(name, digest)?))
            }
            Challenge::Http01 => {
                let answer = self.folder.answer(&challenge.token, authorization.as_str());
                Ok(Answer::Http(answer?))
            }
        }
    }

    /// Why an order did not become ready: what the ACME server says of the challenge, else of the order.
    async fn refusal(&self, order: &mut Order, error: Option<instant_acme::Error>) -> Failure {
        let error = error.map(Failure::from);
        if let Some(failure) = &error
            && failure.cause != Cause::Refused
        {
            return failure.clone();
        }
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            let Ok(state) = authorization.refresh().await else {
                continue;
            };
            let mut challenges = state.challenges.iter();
            if let Some(problem) = challenges.find_map(|challenge| challenge.error.as_ref()) {
                return Failure::of_problem(problem);
            }
        }
        error.unwrap_or_else(|| Failure::refused("the ACME server says that the order is invalid"))
    }

    /// What is stored: the chain and the key, if they can be served for the name.
    fn check(
        &self,
        name: &str,
        key_pem: &str,
        chain: &str,
    ) -> Result<(String, Certificate), Failure> {
        // The first key counts, whatever the ACME server puts into its chain.
        let pem = format!("{key_pem}{chain}");
        let files = PairFiles::in_one(self.folder.certificate_file(name));
        let certificate = Certificate::of_pem(&files, pem.as_bytes(), pem.as_bytes());
        let certificate = certificate.map_err(|error| {
            Failure::refused(format!("the ACME server's certificate is useless: {error}"))
        })?;
        let is_for_name = certificate.names.iter().any(|it| it == name);
        if !is_for_name || certificate.not_after <= std::time::SystemTime::now() {
            let text = "the ACME server's certificate is for other names or has expired";
            return Err(Failure::refused(text));
        }
        Ok((pem, certificate))
    }
}

/// A failure after which the next order is some minutes away.
fn not_stored(what: &str, error: &io::Error) -> Failure {
    Failure::refused(format!("the {what} can't be stored: {error}"))
}
