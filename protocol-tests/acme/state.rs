//! What the directory knows: accounts, orders, authorizations, and what is wrong with what it was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use serde_json::{Value, json};

use super::jws::Key;

/// Where nobody listens.
pub(super) const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// What the directory does, which tests choose.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// Kinds of challenge that are offered.
    pub(super) offered: Vec<&'static str>,
    /// Where the names of all servers lead.
    pub(super) http: SocketAddr,
    pub(super) tls_port: u16,
    /// The file with records of DNS, a line each: the name, a space, and the value.
    pub(super) dns: std::path::PathBuf,
    /// Every so many POSTs has its nonce refused.
    pub(super) refuse_nonce_every: Option<u32>,
    /// How long an order is `processing`, in seconds: what Retry-After says, unless it is 0.
    pub(super) processing: u64,
    /// How often an authorization is read before the directory has looked at the name. Until then its challenge says `pending`, as Let's
    /// Encrypt's does, and not `processing`.
    pub(super) looks_pending: usize,
    /// What a challenge is once the directory was told to look: the answer has the problem, too. `None` for a directory that answers
    /// before it looks.
    pub(super) found_at_once: Option<&'static str>,
    /// When certificates begin and end, in seconds from now.
    pub(super) validity: (i64, i64),
    /// When they are to be renewed, in seconds from now; `None` for a directory without ARI.
    pub(super) window: Option<(i64, i64)>,
    /// The problem that all requests to this place get, with the seconds to wait.
    pub(super) problem: Option<(Place, &'static str, u64)>,
    /// Requests to the first place get no answer, once there was one to the second.
    pub(super) hold: Option<(Place, Option<Place>)>,
    /// Requests to this place are done, and get no answer.
    pub(super) lose: Option<Place>,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Directory,
    Nonce,
    NewAccount,
    Account,
    NewOrder,
    Order,
    Authorization,
    Challenge,
    Finalize,
    Certificate,
    RenewalInfo,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) rules: Option<Rules>,
    nonces: BTreeSet<String>,
    posts: u32,
    pub(super) accounts: Vec<Account>,
    pub(super) orders: Vec<Order>,
    /// By their numbers: certificates in PEM.
    pub(super) certificates: BTreeMap<usize, Issued>,
    /// How many requests there were.
    pub(super) requests: BTreeMap<Place, usize>,
    /// What no client may do.
    pub(super) violations: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Account {
    pub(super) key: Key,
    pub(super) contact: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Issued {
    pub(super) pem: String,
    /// As ARI names it (RFC 9773, section 4.1).
    pub(super) id: String,
    pub(super) replaced: bool,
}

/// An order has one name here, so one authorization, of the same number.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) account: usize,
    pub(super) name: String,
    pub(super) status: &'static str,
    pub(super) replaces: Option<String>,
    pub(super) authorization: &'static str,
    /// The challenge that was answered.
    pub(super) challenge: Option<(&'static str, &'static str, Option<Value>)>,
    pub(super) token: String,
    /// Before which it must not be looked at.
    pub(super) patience: Option<Instant>,
}

/// An answer that is a problem document.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: u16,
    pub(super) kind: &'static str,
    pub(super) detail: String,
    pub(super) wait: u64,
}

impl Problem {
    pub(super) fn new(status: u16, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into(), wait: 0 }
    }

    pub(super) fn json(&self) -> Value {
        json!({ "type": format!("urn:ietf:params:acme:error:{}", self.kind), "detail": self.detail, "status": self.status })
    }
}

impl State {
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules: Some(rules), ..Self::default() }
    }

    /// Notes what no client may do, and returns the answer to it.
    pub(super) fn violation(&mut self, what: impl Into<String>) -> Problem {
        let what = what.into();
        self.violations.push(what.clone());
        Problem::new(400, "malformed", what)
    }

    pub(super) fn rules(&self) -> &Rules {
        self.rules.as_ref().unwrap()
    }

    pub(super) fn new_nonce(&mut self) -> String {
        let nonce = random();
        self.nonces.insert(nonce.clone());
        nonce
    }

    /// Takes a nonce, which is good once.
    pub(super) fn use_nonce(&mut self, nonce: &str) -> Result<(), Problem> {
        self.posts += 1;
        if !self.nonces.remove(nonce) {
            return Err(self.violation(format!("a nonce that is not fresh: {nonce}")));
        }
        match self.rules().refuse_nonce_every {
            Some(every) if self.posts.is_multiple_of(every) => Err(Problem::new(400, "badNonce", "it is too old")),
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn new_account(&mut self, key: &Key, payload: &Value) -> Result<(usize, bool), Problem> {
        if let Some(number) = self.accounts.iter().position(|account| account.key == *key) {
            return Ok((number, false));
        }
        if payload["onlyReturnExisting"] == true {
            return Err(Problem::new(400, "accountDoesNotExist", "no such key"));
        }
        if payload["termsOfServiceAgreed"] != true {
            self.violations.push(format!("an account without agreement: {payload}"));
            return Err(Problem::new(403, "userActionRequired", "agree to the terms"));
        }
        let contact = contact(payload).map_err(|what| self.violation(what))?;
        self.accounts.push(Account { key: key.clone(), contact });
        Ok((self.accounts.len() - 1, true))
    }

    pub(super) fn update_account(&mut self, account: usize, payload: &Value) -> Result<(), Problem> {
        let contact = contact(payload).map_err(|what| self.violation(what))?;
        self.accounts[account].contact = contact;
        Ok(())
    }

    pub(super) fn new_order(&mut self, account: usize, payload: &Value) -> Result<usize, Problem> {
        let identifiers = payload["identifiers"].as_array().cloned().unwrap_or_default();
        let [identifier] = &identifiers[..] else { return Err(self.violation(format!("not one name: {payload}"))) };
        let (Some("dns"), Some(name)) = (identifier["type"].as_str(), identifier["value"].as_str()) else {
            return Err(self.violation(format!("no name of DNS: {payload}")));
        };
        if self
            .orders
            .iter()
            .any(|order| order.name == name && ["pending", "ready", "processing"].contains(&order.status))
        {
            self.violations.push(format!("a second order for {name} while one is on its way"));
        }
        let replaces = payload["replaces"].as_str().map(str::to_owned);
        if let Some(id) = &replaces {
            let Some(issued) = self.certificates.values_mut().find(|issued| issued.id == *id) else {
                return Err(self.violation(format!("it replaces an unknown certificate: {id}")));
            };
            if std::mem::replace(&mut issued.replaced, true) {
                return Err(Problem::new(409, "alreadyReplaced", "it was replaced before"));
            }
        }
        self.orders.push(Order {
            account,
            name: name.to_owned(),
            status: "pending",
            replaces,
            authorization: "pending",
            challenge: None,
            token: random(),
            patience: None,
        });
        Ok(self.orders.len() - 1)
    }

    /// Returns an order of an account, which has waited as long as it was told.
    pub(super) fn order(&mut self, account: usize, number: usize) -> Result<&mut Order, Problem> {
        if self.orders.get(number).is_none_or(|order| order.account != account) {
            return Err(self.violation(format!("an order of nobody, or of somebody else: {number}")));
        }
        if self.orders[number].patience.take().is_some_and(|patience| Instant::now() < patience) {
            self.violations.push("an order is looked at before the time of Retry-After".to_owned());
        }
        Ok(&mut self.orders[number])
    }

    /// Notes what was found at once, and how that leaves a challenge.
    pub(super) fn found(&mut self, number: usize, status: &'static str) {
        let problem = Problem::new(403, "connection", "nobody answers");
        if status == "invalid" {
            return self.validated(number, Err(problem));
        }
        if let Some((_, of, error)) = &mut self.orders[number].challenge {
            (*of, *error) = (status, Some(problem.json()));
        }
    }

    /// Notes how a challenge has ended.
    pub(super) fn validated(&mut self, number: usize, result: Result<(), Problem>) {
        let order = &mut self.orders[number];
        let Some((_, status, error)) = order.challenge.as_mut().filter(|(_, status, _)| *status != "invalid") else {
            return;
        };
        match result {
            Ok(()) => (*status, *error, order.authorization, order.status) = ("valid", None, "valid", "ready"),
            Err(problem) => {
                *error = Some(problem.json());
                (*status, order.authorization, order.status) = ("invalid", "invalid", "invalid");
            }
        }
    }
}

/// The addresses of an account, which are those of mail.
fn contact(payload: &Value) -> Result<Vec<String>, String> {
    let contact: Vec<_> = payload["contact"].as_array().into_iter().flatten().collect();
    let text = |contact: &Value| contact.as_str().filter(|text| text.starts_with("mailto:")).map(str::to_owned);
    contact.into_iter().map(|one| text(one).ok_or_else(|| format!("no address of mail: {payload}"))).collect()
}

/// A token that nobody guesses.
pub(super) fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
