//! The objects of the directory as clients see them (RFC 8555, section 7.1).

use serde_json::{Value, json};

use super::state::{Problem, State};

pub(super) fn directory(url: &str, state: &State) -> Value {
    let of = |path: &str| format!("{url}/{path}");
    let mut directory = json!({
        "newNonce": of("new-nonce"),
        "newAccount": of("new-account"),
        "newOrder": of("new-order"),
        "revokeCert": of("revoke"),
        "keyChange": of("key-change"),
        "meta": { "termsOfService": of("terms"), "externalAccountRequired": false },
    });
    if state.rules().window.is_some() {
        directory["renewalInfo"] = of("renewal-info").into();
    }
    directory
}

pub(super) fn order(url: &str, state: &State, number: usize) -> Value {
    let order = &state.orders[number];
    let mut json = json!({
        "status": order.status,
        "expires": "2099-01-01T00:00:00Z",
        "identifiers": [{ "type": "dns", "value": order.name }],
        "authorizations": [format!("{url}/authorization/{number}")],
        "finalize": format!("{url}/finalize/{number}"),
    });
    if let Some(replaces) = &order.replaces {
        json["replaces"] = replaces.as_str().into();
    }
    if order.status == "valid" {
        json["certificate"] = format!("{url}/certificate/{number}").into();
    }
    json
}

pub(super) fn authorization(url: &str, state: &State, number: usize) -> Value {
    let order = &state.orders[number];
    let challenges: Vec<_> = state.rules().offered.iter().map(|kind| challenge(url, state, number, kind)).collect();
    json!({
        "status": order.authorization,
        "expires": "2099-01-01T00:00:00Z",
        "identifier": { "type": "dns", "value": order.name.trim_start_matches("*.") },
        "wildcard": order.name.starts_with("*."),
        "challenges": challenges,
    })
}

pub(super) fn challenge(url: &str, state: &State, number: usize, kind: &str) -> Value {
    let order = &state.orders[number];
    let (status, error) = match &order.challenge {
        Some((of, status, error)) if *of == kind => (*status, error.clone()),
        Some(_) | None => ("pending", None),
    };
    let url = format!("{url}/challenge/{number}/{kind}");
    let mut json = json!({ "type": kind, "url": url, "status": status, "token": order.token });
    if let Some(error) = error {
        json["error"] = error;
    }
    json
}

/// RFC 9773, section 4.2.
pub(super) fn renewal_info(state: &mut State, id: &str) -> Result<Value, Problem> {
    let Some((start, end)) = state.rules().window.filter(|_| state.certificates.values().any(|issued| issued.id == id))
    else {
        return Err(state.violation(format!("the renewal of an unknown certificate: {id}")));
    };
    let moment = |seconds: i64| {
        let moment = time::OffsetDateTime::now_utc() + time::Duration::seconds(seconds);
        moment.format(&time::format_description::well_known::Rfc3339).unwrap()
    };
    Ok(json!({ "suggestedWindow": { "start": moment(start), "end": moment(end) } }))
}
