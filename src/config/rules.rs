//! What a tunnel demands of its visitors: the flags of `socket2me forward`, as the JSON that the server takes (PROTOCOL.md, "Rules").

use std::fmt;
use std::path::Path;

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::units::{network, some_time};

/// The most bytes of a file of rules or secrets, as the server takes them.
const MAX_FILE: u64 = 64 << 10;

/// The members that rules have.
const MEMBERS: [&str; 6] = ["allow", "deny", "methods", "basic", "verify", "rate"];

/// What visitors' requests must be like. What no flag gives stays as it is.
#[derive(Debug, Clone, Args)]
pub struct RulesConfig {
    /// Addresses and networks whose visitors alone may come, separated by commas
    #[arg(help_heading = "Rules", long, env = "SOCKET2ME_ALLOW", value_delimiter = ',', value_parser = network, value_name = "CIDR")]
    pub allow: Vec<IpNet>,
    /// Addresses and networks whose visitors may not come, even if they are allowed, separated by commas
    #[arg(help_heading = "Rules", long, env = "SOCKET2ME_DENY", value_delimiter = ',', value_parser = network, value_name = "CIDR")]
    pub deny: Vec<IpNet>,
    /// Methods that requests may have, separated by commas: GET,HEAD
    #[arg(help_heading = "Rules", long, env = "SOCKET2ME_METHODS", value_delimiter = ',', value_name = "METHOD")]
    pub methods: Vec<String>,
    /// File with names and passwords of visitors, NAME:PASSWORD a line. The app gets no Authorization then
    #[arg(help_heading = "Rules", long = "basic-file", env = "SOCKET2ME_BASIC_FILE", value_parser = basic_file, value_name = "FILE")]
    pub basic: Option<Rule>,
    /// Kind of the signature that requests must have, as senders of webhooks make it
    #[arg(help_heading = "Rules", long, env = "SOCKET2ME_VERIFY", value_enum)]
    pub verify: Option<Preset>,
    /// File with the secrets of which a sender may have signed with any, one a line
    #[arg(help_heading = "Rules", long = "verify-secret-file", env = "SOCKET2ME_VERIFY_SECRET_FILE", value_parser = secrets_file, value_name = "FILE")]
    pub verify_secrets: Option<Rule>,
    /// Refuse a signed delivery that the app has taken before
    #[arg(help_heading = "Rules", long, env = "SOCKET2ME_VERIFY_REPLAY")]
    pub verify_replay: bool,
    /// Requests that may come in a time: 100/1m
    #[arg(help_heading = "Rules", long, env = "SOCKET2ME_RATE", value_parser = rate, value_name = "COUNT/TIME")]
    pub rate: Option<Rule>,
    /// File with rules as JSON, where flags do not suffice; a flag counts more than its member there
    #[arg(help_heading = "Rules", long = "rules-file", env = "SOCKET2ME_RULES_FILE", value_parser = rules_file, value_name = "FILE")]
    pub rules: Option<Rule>,
    /// Remove the rules that the tunnel has from before, but for those that are given
    #[arg(help_heading = "Rules", long, env = "SOCKET2ME_NO_RULES")]
    pub no_rules: bool,
}

/// A part of rules as JSON. `Debug` shows nothing of it: it may have secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Rule(Value);

/// A kind of signature that needs no description. Others are described in a file of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// GitHub, Gitea and Forgejo
    Github,
    /// Stripe
    Stripe,
    /// Slack
    Slack,
    /// Shopify
    Shopify,
    /// Standard Webhooks, as Svix, GitLab, Clerk and Resend send them
    Standard,
    /// Twilio
    Twilio,
}

impl Preset {
    /// Returns the word that the server knows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Stripe => "stripe",
            Self::Slack => "slack",
            Self::Shopify => "shopify",
            Self::Standard => "standard",
            Self::Twilio => "twilio",
        }
    }
}

impl RulesConfig {
    /// Returns the rules as the server takes them; `None` if nothing is said of them.
    ///
    /// # Errors
    /// With a sentence when flags are given that do not go together.
    pub fn rules(&self) -> Result<Option<Rule>, String> {
        let mut rules = match &self.rules {
            Some(Rule(Value::Object(members))) => members.clone(),
            Some(_) | None => Map::new(),
        };
        let texts = |list: &[IpNet]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let lists = [("allow", texts(&self.allow)), ("deny", texts(&self.deny)), ("methods", self.methods.clone())];
        for (member, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            rules.insert(member.to_owned(), json!(list));
        }
        for (member, rule) in [("basic", &self.basic), ("rate", &self.rate)] {
            if let Some(Rule(value)) = rule {
                rules.insert(member.to_owned(), value.clone());
            }
        }
        match (self.verify, &self.verify_secrets) {
            (Some(preset), Some(Rule(secrets))) => {
                let verify = json!({"preset": preset.as_str(), "secrets": secrets, "replay": self.verify_replay});
                rules.insert("verify".to_owned(), verify);
            }
            (Some(_), None) => {
                return Err("--verify needs the sender's secret: give --verify-secret-file".to_owned());
            }
            (None, Some(_)) => return Err("--verify-secret-file needs --verify: say whose signature it is".to_owned()),
            (None, None) if self.verify_replay => {
                return Err("--verify-replay needs --verify: say whose signature it is".to_owned());
            }
            (None, None) => (),
        }
        if self.no_rules {
            for member in MEMBERS {
                rules.entry(member).or_insert(Value::Null);
            }
        }
        Ok((!rules.is_empty()).then_some(Rule(Value::Object(rules))))
    }
}

impl Rule {
    /// Returns the JSON.
    #[must_use]
    pub const fn json(&self) -> &Value {
        &self.0
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rule")
    }
}

/// Reads a file of lines, without those that are empty.
fn lines(path: &str) -> Result<Vec<String>, String> {
    let text = text(path)?;
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    if lines.is_empty() { Err(format!("`{path}` is empty")) } else { Ok(lines) }
}

fn text(path: &str) -> Result<String, String> {
    let cannot = |error| format!("cannot read `{path}`: {error}");
    // A pipe has no length.
    let mut text = String::new();
    let file = std::fs::File::open(Path::new(path)).map_err(cannot)?;
    std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX_FILE + 1), &mut text).map_err(cannot)?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("`{path}` has more than {MAX_FILE} bytes: it is another file"));
    }
    Ok(text)
}

fn basic_file(path: &str) -> Result<Rule, String> {
    let mut users = Map::new();
    for (number, line) in (1..).zip(lines(path)?) {
        let (name, password) =
            line.split_once(':').ok_or_else(|| format!("line {number} of `{path}` is not NAME:PASSWORD"))?;
        users.insert(name.to_owned(), password.into());
    }
    Ok(Rule(json!({ "users": users })))
}

fn secrets_file(path: &str) -> Result<Rule, String> {
    Ok(Rule(lines(path)?.iter().map(|line| line.trim()).collect()))
}

fn rules_file(path: &str) -> Result<Rule, String> {
    let rules: Map<_, _> =
        serde_json::from_str(&text(path)?).map_err(|error| format!("`{path}` has no object of JSON: {error}"))?;
    match rules.keys().find(|member| !MEMBERS.contains(&member.as_str())) {
        Some(unknown) => Err(format!("`{path}` has the member `{unknown}`: there are {}", MEMBERS.join(", "))),
        None => Ok(Rule(rules.into())),
    }
}

/// Reads a number of requests and a time: `100/1m`.
fn rate(text: &str) -> Result<Rule, String> {
    let wrong = || format!("`{text}` is no rate: write 100/1m for a hundred requests a minute");
    let (requests, per) = text.split_once('/').ok_or_else(wrong)?;
    let requests: u32 = requests.parse().map_err(|_| wrong())?;
    let per = some_time(per)?;
    if requests == 0 || per.subsec_nanos() > 0 {
        return Err(format!("{}, with a request and a second at least", wrong()));
    }
    Ok(Rule(json!({"requests": requests, "per": per.as_secs()})))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        config: RulesConfig,
    }

    fn rules(arguments: &[&str]) -> Result<Option<Value>, String> {
        let parsed = Alone::try_parse_from(["forward"].iter().chain(arguments)).map_err(|error| error.to_string())?;
        Ok(parsed.config.rules()?.map(|rules| rules.json().clone()))
    }

    fn file(name: &str, content: &str) -> String {
        let path = std::env::temp_dir().join(format!("socket2me-rules-{name}-{}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn flags_are_the_members_of_rules() {
        assert_eq!(rules(&[]), Ok(None));
        assert_eq!(
            rules(&["--allow=192.0.2.1,10.0.0.0/8", "--deny=10.9.0.0/16", "--methods=GET,HEAD", "--rate=100/1m"]),
            Ok(Some(json!({
                "allow": ["192.0.2.1/32", "10.0.0.0/8"], "deny": ["10.9.0.0/16"], "methods": ["GET", "HEAD"],
                "rate": {"requests": 100, "per": 60},
            })))
        );
        assert_eq!(
            rules(&["--no-rules", "--methods=POST"]),
            Ok(Some(json!({
                "allow": null, "deny": null, "methods": ["POST"], "basic": null, "verify": null, "rate": null,
            })))
        );
    }

    #[test]
    fn secrets_come_from_files_and_are_shown_nowhere() {
        let (users, secrets) =
            (file("users", "alice:open:sesame\n\nbob: 12345678\r\n"), file("secrets", "one\n two \n"));
        let json = file("json", r#"{"methods":["PUT"],"basic":null}"#);
        let [basic, secret, all] = [("basic", &users), ("verify-secret", &secrets), ("rules", &json)]
            .map(|(flag, path)| format!("--{flag}-file={path}"));
        assert_eq!(
            rules(&[&basic, "--verify=github", &secret, &all, "--verify-replay"]),
            Ok(Some(json!({
                "methods": ["PUT"],
                "basic": {"users": {"alice": "open:sesame", "bob": " 12345678"}},
                "verify": {"preset": "github", "secrets": ["one", "two"], "replay": true},
            })))
        );
        let parsed = Alone::try_parse_from(["forward", &basic]).unwrap();
        assert!(!format!("{:?}", parsed.config).contains("sesame"));
        for path in [users, secrets, json] {
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn what_is_wrong_with_a_flag_is_said() {
        let (nothing, unknown) = (file("nothing", "\n"), file("unknown", r#"{"alow":[]}"#));
        for (arguments, said) in [
            (&["--rate=100"][..], "100/1m"),
            (&["--rate=0/1m"], "a request and a second"),
            (&["--rate=1/500ms"], "a request and a second"),
            (&["--verify=github"], "--verify-secret-file"),
            (&["--verify-replay"], "--verify"),
            (&["--allow=all"], "`all`"),
            (&["--basic-file=/there/is/none"], "cannot read"),
            (&[&format!("--basic-file={nothing}")], "is empty"),
            (&[&format!("--rules-file={unknown}")], "`alow`"),
        ] {
            let error = rules(arguments).unwrap_err();
            assert!(error.contains(said), "{arguments:?}: {error}");
        }
        for path in [nothing, unknown] {
            std::fs::remove_file(path).unwrap();
        }
    }
}
