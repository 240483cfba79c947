//! The host of the Socket.IO server that makes it a relay: an end that joins the namespace of a token becomes its tunnel's.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytestring::ByteString;

use super::elsewhere::Claimed;
use super::end::AtNode;
use super::registry::{Admission, Joined, Tunnels};
use super::tunnel::Outcome;
use crate::engine::{ClientEvent, Connect, Host, Reaction, Refusal, Socket};
use crate::proto::engine_io::Revision;
use crate::proto::exchange::stream::Ready;
use crate::proto::exchange::{EndAuth, OPTION_NAMES};
use crate::proto::key::Key;
use crate::proto::socket_io::AckId;
use crate::proto::socket_io::connection::{AckError, Answer, DisconnectReason};
use crate::proto::socket_io::packet::Args;
use crate::proto::time::Instant;
use crate::proto::token::Token;
use crate::relay::failure::Failure;
use crate::relay::notices::{About, Notice};
use crate::relay::own_hosts::OwnHosts;
use crate::relay::public_url::PublicUrl;
use crate::relay::streams::{EndStreams, IDLE, Message, Waiter};
use crate::relay::tokens::alive;

/// The message of a `connect_error` for a token that is unknown or has expired, which nothing can tell apart.
const TOKEN_NOT_FOUND: &str = "token not found: it is unknown or has expired, ask GET /new for another";

const KEY_REQUIRED: &str = "this tunnel has a key: connect with auth: { key: 's2m_…' }, or with socket.io-client 1 and 2 with \
                            query: { key: 's2m_…' }";

const KEY_WRONG: &str = "this is not the tunnel's key: another key may have taken its place";

const LATE_ANSWER: &str =
    "an answer came that nobody waits for: respond() was called twice, or after its request was over";

/// How often it is tried to decide about a join on a session that serves other tunnels, and how long it takes between.
const ATTEMPTS: u32 = 30;
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(2);

/// Admits ends, and keeps the table of tunnels.
#[derive(Debug, Clone)]
pub(in crate::relay) struct TunnelHost {
    tunnels: Arc<Tunnels<Self>>,
    public_url: PublicUrl,
    /// The URL of what the server listens on.
    url: Arc<str>,
    hosts: OwnHosts,
}

/// What the host keeps for a client in a namespace.
#[derive(Debug)]
pub(in crate::relay) enum Member {
    /// A client of revision 3 in the default namespace, where nothing happens.
    Idle,
    /// An end that was admitted and has not heard of it yet. In a box: it takes more memory than a member that has joined, and
    /// members stay for hours.
    Admitted(Box<Admission>),
    /// The end of a tunnel, and its exchanges if it streams.
    Joined(Joined<TunnelHost>, Option<Box<EndStreams>>),
}

impl Member {
    /// Returns the exchanges of an end that streams.
    fn streams(&mut self) -> Option<&mut EndStreams> {
        match self {
            Self::Joined(_, streams) => streams.as_deref_mut(),
            Self::Idle | Self::Admitted(_) => None,
        }
    }
}

impl TunnelHost {
    pub(in crate::relay) fn new(
        tunnels: Arc<Tunnels<Self>>,
        public_url: PublicUrl,
        url: &str,
        hosts: OwnHosts,
    ) -> Self {
        Self { tunnels, public_url, url: url.into(), hosts }
    }

    /// Sends `ready` to an end that streams and has just joined, and returns the state of its exchanges.
    fn begin_streams(
        &self,
        joined: &Joined<Self>,
        (token, expires, asked): (Token, Option<SystemTime>, &str),
        socket: &Socket<Self>,
        reaction: &mut Reaction<'_, Self>,
    ) -> Option<Box<EndStreams>> {
        let (terms, grants) = (joined.end.terms()?, joined.end.grants()?);
        let limits = self.tunnels.limits;
        let mut streams = EndStreams::new(terms, limits.head, Arc::clone(grants));
        // Visitors may come by the same way as the end.
        let base = self.public_url.base(|| if asked.is_empty() { &self.url } else { asked }.to_owned());
        let path_url = ByteString::from(format!("{base}/go/{token}"));
        let url = self.hosts.url(&base, &token).map_or_else(|| path_url.clone(), ByteString::from);
        let expires = expires.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let ready = Ready {
            terms,
            max_payload: limits.max_payload,
            idle: IDLE,
            url,
            path_url,
            token: token.as_str().into(),
            expires: expires.and_then(|at| at.as_millis().try_into().ok()),
        };
        streams.ready(&ready, socket.namespace(), reaction);
        Some(Box::new(streams))
    }
}

/// Decides whether a client may join. What stands in the way for a moment, and is nothing about the client, closes the session,
/// for its client to come back. A session that serves other tunnels is kept, and the join waits.
async fn admit(tunnels: &Tunnels<TunnelHost>, request: &Connect) -> Result<Member, Refusal> {
    let mut attempts = if request.is_joined_elsewhere { ATTEMPTS } else { 1 };
    loop {
        let failure = match try_to_admit(tunnels, request).await {
            Err(NotAdmitted::NotNow(failure)) => failure,
            Err(NotAdmitted::Refused(code, message)) => return Err(refusal(request.revision, code, &message)),
            Ok(member) => return Ok(member),
        };
        attempts -= 1;
        if attempts == 0 {
            tracing::debug!(%failure, "an end cannot join now");
            return Err(match request.is_joined_elsewhere {
                true => refusal(request.revision, failure.code().as_str(), &format!("{failure}, connect again later")),
                false => Refusal::NotNow,
            });
        }
        tokio::time::sleep(BETWEEN_ATTEMPTS).await;
    }
}

/// Why a client does not become an end.
enum NotAdmitted {
    /// It may not: a code for programs, and a message.
    Refused(&'static str, String),
    /// This stands in the way, and can pass.
    NotNow(Failure),
}

async fn try_to_admit(tunnels: &Tunnels<TunnelHost>, request: &Connect) -> Result<Member, NotAdmitted> {
    let refused = |code, message: &str| Err(NotAdmitted::Refused(code, message.to_owned()));
    let Some(token) = Token::from_namespace(request.namespace.as_str()) else {
        return match (request.namespace.as_str(), request.revision) {
            // Every client of revision 3 is in it, and some are in no other.
            ("/", Revision::V3) => Ok(Member::Idle),
            ("/", Revision::V4) => refused("bad-namespace", "connect to /TOKEN, with a token from GET /new"),
            (_, Revision::V3 | Revision::V4) => refused("token-not-found", TOKEN_NOT_FOUND),
        };
    };
    if !tunnels.admits() {
        return Err(NotAdmitted::NotNow(Failure::Stopping));
    }
    let not_found = |failure| match failure {
        Failure::TokenNotFound => NotAdmitted::Refused("token-not-found", TOKEN_NOT_FOUND.to_owned()),
        Failure::Blocked => NotAdmitted::Refused("blocked", Failure::Blocked.to_string()),
        failure => NotAdmitted::NotNow(failure),
    };
    let (mut record, mut remaining) = tunnels.tokens.find(&token).await.map_err(not_found)?;
    // The token comes first: an end whose token is unknown hears that and nothing else.
    let asked = match request.revision {
        Revision::V3 => EndAuth::from_query(request.query.as_deref().unwrap_or_default()),
        Revision::V4 => EndAuth::from_auth(request.auth.as_ref()),
    };
    let EndAuth { options, key, mut unknown } = asked.map_err(|message| NotAdmitted::Refused("bad-option", message))?;
    if let Some(keyed) = &record.keyed {
        match key {
            None => return refused("key-required", KEY_REQUIRED),
            Some(key) if Key::parse(&key).is_none_or(|key| key.hash() != keyed.key) => {
                return refused("key-wrong", KEY_WRONG);
            }
            Some(_) => (),
        }
    }
    let Claimed { found, epoch } = tunnels.claim(&token).await.map_err(not_found)?;
    if let Some(found) = found {
        (record, remaining) = alive(Some(found)).map_err(not_found)?;
    }
    if !options.notices && !unknown.is_empty() {
        // Once a session: another join is of the same program.
        if !request.is_joined_elsewhere {
            tracing::info!(?token, names = ?unknown, "an end joins with options that there are not");
        }
        unknown = Vec::new();
    }
    Ok(Member::Admitted(Box::new(Admission {
        token,
        options,
        record,
        remaining,
        at_node: epoch.map(|epoch| Box::new(AtNode { epoch: epoch.into(), sid: request.sid })),
        asked: request.asked.clone(),
        unknown,
    })))
}

/// Makes the refusal for a client of a revision: on revision 4 the code is its `data`; revision 3 has none, and the message
/// begins with it.
fn refusal(revision: Revision, code: &str, message: &str) -> Refusal {
    match revision {
        Revision::V3 => Refusal::new(format!("{code}: {message}")),
        Revision::V4 => Refusal::Final { message: message.to_owned(), data: Some(format!(r#"{{"code":"{code}"}}"#)) },
    }
}

impl Host for TunnelHost {
    type Member = Member;
    type Waiter = Waiter;
    type Message = Message;

    fn connect(&self, request: Connect) -> impl Future<Output = Result<Member, Refusal>> + Send + 'static {
        let tunnels = Arc::clone(&self.tunnels);
        async move { admit(&tunnels, &request).await }
    }

    fn connected(&self, member: &mut Member, socket: &Socket<Self>, mut reaction: Reaction<'_, Self>) {
        *member = match std::mem::replace(member, Member::Idle) {
            Member::Admitted(mut admission) => {
                let unknown = std::mem::take(&mut admission.unknown);
                if !unknown.is_empty() {
                    // No notice may be lost that is part of the answer to a join.
                    let (unknown, known) = (unknown.join(", "), OPTION_NAMES.join(", "));
                    let message = format!("there is no option {unknown}: the options are {known}");
                    let notice = Notice { about: About::UnknownOption, id: None, message: &message };
                    reaction.emit(notice.encode(socket.namespace()));
                    self.tunnels.notices().count(true);
                }
                // A tunnel with a key lives while an end is connected.
                let is_keyed = admission.record.keyed.is_some();
                let expires = (!is_keyed).then(|| SystemTime::now() + admission.remaining);
                let (token, asked) = (admission.token, std::mem::take(&mut admission.asked));
                let joined = self.tunnels.join(*admission, socket.clone());
                let streams = self.begin_streams(&joined, (token, expires, &asked), socket, &mut reaction);
                Member::Joined(joined, streams)
            }
            member @ (Member::Idle | Member::Joined(..)) => member,
        };
    }

    /// Beside acks and the events of streams, an end says one thing: `leave`. Its ack tells that no more requests come.
    fn received(
        &self,
        member: &mut Member,
        socket: &Socket<Self>,
        event: ClientEvent,
        mut reaction: Reaction<'_, Self>,
    ) {
        if let Some(streams) = member.streams()
            && streams.received(&event, socket.namespace(), &mut reaction)
        {
            return;
        }
        let token = Token::from_namespace(socket.namespace().as_str());
        let (Member::Joined(joined, _), Some(token), "leave") = (member, token, &*event.name()) else {
            return tracing::debug!(bytes = event.args.json().len(), "ignored an event of an end");
        };
        let was_in = self.tunnels.left(&token, joined);
        if let Some(id) = event.id {
            // Behind the requests that wait for the session's task. A full mailbox leaves it to the goodbye.
            let _ = socket.ack(id, Answer { args: Args::empty(), attachments: Vec::new() });
        }
        if was_in {
            tracing::info!(?token, "end is leaving");
            socket.retire();
        }
    }

    fn acked(&self, waiter: Waiter, outcome: Outcome) {
        waiter.acked(outcome);
    }

    fn unawaited(&self, member: &mut Member, _: &Socket<Self>, id: AckId, outcome: Outcome, _: Reaction<'_, Self>) {
        let Member::Joined(joined, streams) = member else { return };
        match streams {
            // After its `response`, the ack of a request is late on purpose.
            Some(streams) => drop(streams.acked(id, &outcome)),
            None => joined.end.notify(Notice { about: About::LateAnswer, id: None, message: LATE_ANSWER }),
        }
    }

    fn told(&self, member: &mut Member, socket: &Socket<Self>, message: Message, mut reaction: Reaction<'_, Self>) {
        let (Some(streams), namespace) = (member.streams(), socket.namespace()) else { return self.untold(message) };
        match message {
            Message::Begin(beginning) => streams.begin(*beginning, &mut reaction),
            Message::Stream(told) => streams.told(told, namespace, &mut reaction),
            Message::Closing(closing) => streams.closing(closing, namespace, &mut reaction),
        }
    }

    fn untold(&self, message: Message) {
        match message {
            Message::Begin(beginning) => self.acked(beginning.waiter, Err(AckError::NotJoined)),
            Message::Stream(_) | Message::Closing(_) => (),
        }
    }

    fn more(&self, member: &mut Member, socket: &Socket<Self>, mut reaction: Reaction<'_, Self>) -> bool {
        let Member::Joined(joined, Some(streams)) = member else { return false };
        streams.more(|| joined.tunnel.next_ack(), socket.namespace(), &mut reaction)
    }

    fn deadline(&self, member: &Member) -> Option<Instant> {
        let Member::Joined(_, Some(streams)) = member else { return None };
        streams.deadline()
    }

    fn due(&self, member: &mut Member, socket: &Socket<Self>, mut reaction: Reaction<'_, Self>) {
        if let Some(streams) = member.streams() {
            streams.due(socket.namespace(), &mut reaction);
        }
    }

    fn offered(&self, is_sent: bool) {
        self.tunnels.notices().count(is_sent);
    }

    fn disconnected(&self, member: Member, socket: &Socket<Self>, reason: DisconnectReason) {
        let token = Token::from_namespace(socket.namespace().as_str());
        if let (Member::Joined(joined, _), Some(token)) = (member, token) {
            tracing::info!(?token, %reason, "end disconnected");
            self.tunnels.left(&token, &joined);
        }
    }
}
