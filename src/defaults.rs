//! The default of each setting, once: the flags of `socket2me serve` and the `Default` values of the library read them here.
//!
//! Constants only. This module uses no other, so any module may read it. Each constant says what happens beyond it and why
//! it is that. A setting whose values are words (`--log-format`, `--error-status`, `--engine-io`) has its default beside them.

use std::time::Duration;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

// The server.

/// The port to listen on, the original's, at the loopback addresses: a server without settings is not open to the network. Both of
/// them, since `localhost` and the names below it mean `::1` to some clients and `127.0.0.1` to others.
pub const LOOPBACK_PORT: u16 = 3000;

/// The log's filter. At this level a token, an exchange, an end that comes or goes, and a start or stop have a line.
pub const LOG: &str = "info";

/// Time for exchanges in flight once the server stops; then they fail. Container platforms kill a process after 10 s
/// (Docker) to 30 s (Kubernetes).
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests of one HTTP/2 connection at a time; one more is refused, and its client sends it again. Browsers expect 100 (RFC 9113,
/// section 5.1.2, has no fewer).
pub const HTTP2_STREAMS: u32 = 100;

/// How often the files of a certificate are looked at. Those who renew certificates do so weeks before the end.
pub const CERTIFICATE_LOOK: Duration = Duration::from_secs(5);

/// How often the log says that the certificate expires soon.
pub const EXPIRY_LOOK: Duration = Duration::from_secs(24 * 60 * 60);

/// The time before the end of a certificate in which the log says so. Authorities and their clients renew weeks before.
pub const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

// Tokens.

/// Time before an original tunnel expires at which its ends hear of it, if they ask for notices, and if a quarter of its life is
/// not less. Enough for a program, and for a person who looks at it.
pub const EXPIRY_NOTICE: Duration = Duration::from_secs(300);

/// Life of a token without a refresh; then it is unknown. The original's.
pub const TOKEN_TTL: Duration = Duration::from_secs(6 * 3600);

/// Time for which an expired token still works, if a quarter of its life is not less. The original's client refreshes at the
/// moment of expiry: a minute is enough for a refresh that is on its way.
pub const TOKEN_GRACE: Duration = Duration::from_secs(60);

/// Life of a keyed tunnel without an end, unless its maker says otherwise: longer than a holiday.
pub const KEYED_TTL: Duration = Duration::from_secs(30 * 24 * 3600);

/// The longest such life that a maker may ask for.
pub const MAX_TTL: Duration = Duration::from_secs(90 * 24 * 3600);

/// Life of a keyed tunnel that no end ever joined: long enough to start the app.
pub const UNJOINED_TTL: Duration = Duration::from_secs(3600);

/// Time for an end of a keyed tunnel to answer a request, unless its maker says otherwise: as in nginx and most proxies.
pub const KEYED_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest such time that a maker may ask for.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(600);

/// Time for which a visitor of a keyed tunnel waits for an end that has left, unless its maker says otherwise. As long as an app
/// takes to restart, and Slack waits 3 s for an answer in all.
pub const HOLD: Duration = Duration::from_secs(3);

/// The longest such time that a maker may ask for.
pub const MAX_HOLD: Duration = Duration::from_secs(60);

/// Time after an end has left in which visitors wait for it to come back; then a request without an end fails at once: the app is
/// not restarting, it is gone.
pub const RETURN_TIME: Duration = Duration::from_secs(60);

/// Visitors that wait for an end, of all tunnels; beyond, they get 503. Each keeps a connection open, and holds no body that has
/// not arrived already.
pub const MAX_HELD: usize = 2_000;

/// Visitors that wait for an end of one tunnel; beyond, they get 503. As many as it may have exchanges in flight, which they
/// become when the end comes back.
pub const MAX_HELD_PER_TUNNEL: usize = MAX_EXCHANGES_PER_TUNNEL;

/// Visitors of one address that wait for an end; beyond, they get 503. It takes twenty addresses to use up all.
pub const MAX_HELD_PER_ADDRESS: usize = MAX_HELD / 20;

/// Ends of one tunnel that share its visitors; beyond, the oldest leaves once it has answered.
pub const MAX_ENDS_PER_TUNNEL: usize = 64;

/// Time for which the quotas of a key count. A day, as plans have it.
pub const KEY_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// Body of a request of the owner of a keyed tunnel, in bytes; beyond, 413. More than rules with two lists
/// of 256 networks take.
pub const MAX_API_BODY: usize = 64 << 10;

/// The pause after a wrong secret of the operator, and after a connection of the operator that could not be accepted.
pub const ADMIN_PAUSE: Duration = Duration::from_secs(1);

/// Tokens in memory; beyond, `GET /new` is 503. About 400 bytes each, and 950 once it has had an end, so 400 to 950 MB for all.
/// Reached when 46 tokens are asked for each second of [`TOKEN_TTL`].
pub const MAX_TOKENS: usize = 1_000_000;

/// Tokens of one address that have not expired; beyond, `GET /new` is 429. The original's client asks for one at each disconnect,
/// and never takes the old one up again: 10,000 are one every two seconds in [`TOKEN_TTL`]. It takes a hundred addresses to use
/// up [`MAX_TOKENS`].
pub const MAX_TUNNELS_PER_ADDRESS: usize = MAX_TOKENS / 100;

// Exchanges.

/// Time for the ack of an event; then its visitor gets [`TIMEOUT_STATUS`]. The original's.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Status of a request whose ack did not come in time. The original's: its ends need not answer.
pub const TIMEOUT_STATUS: http::StatusCode = http::StatusCode::OK;

/// Bytes in the body of a visitor's request; beyond, it is 413. Most senders of webhooks stay below 5 MiB, GitHub below 25.
pub const MAX_BODY: usize = 10 * MIB;

/// Exchanges in flight; beyond, visitors get 503. Each takes some kilobytes beside its bodies, so tens of megabytes for all.
pub const MAX_EXCHANGES: usize = 10_000;

/// Exchanges in flight of one tunnel; beyond, its visitors get 503. A tenth of all: one slow end does not stop the others.
pub const MAX_EXCHANGES_PER_TUNNEL: usize = MAX_EXCHANGES / 10;

/// Bodies of visitors' requests that are still arriving; beyond, visitors get 503. As many as there are exchanges, of which each
/// body becomes one.
pub const MAX_UPLOADS: usize = MAX_EXCHANGES;

/// Bodies of one address that are still arriving; beyond, they are 429. An office behind one address seldom uploads a hundred
/// files at once, and it takes a hundred addresses to use up all.
pub const MAX_UPLOADS_PER_ADDRESS: usize = MAX_UPLOADS / 100;

/// Bytes in the head of a response that an end gives; beyond, it is 502. As much as a request may have.
pub const MAX_RESPONSE_HEAD: usize = MAX_HEAD;

/// Header lines that an end gives one response; beyond, it is 502. A site sets a few dozen. The connection of a visitor keeps
/// room for as many as its largest response had, about 100 bytes each.
pub const MAX_RESPONSE_HEADERS: usize = 128;

/// Bytes of all bodies and messages on their way; beyond, exchanges are 503 and sessions with more to send are closed. A
/// hundred uploads of 2.5 MiB at once, and no strain on a small machine.
pub const MAX_BUFFERED: usize = 256 * MIB;

// The rate limit.

/// Window of the rate limit. The original's.
pub const THROTTLE_INTERVAL: Duration = Duration::from_millis(1_000);

/// Requests of one address in a window; beyond, they wait for the next window. The original's.
pub const THROTTLE_INTERVAL_MAX: u32 = 200;

/// Requests of one address in a window; beyond, they are 429. The original's.
pub const THROTTLE_INTERVAL_BURST_MAX: u32 = 400;

// HTTP connections.

/// Open connections; beyond, they get 503 and are closed. Those that wait for a request take 21 kB each, an idle WebSocket with
/// its session 4 kB, and none takes more than 65 kB that is not counted elsewhere, so 1.3 GB for all.
pub const MAX_CONNECTIONS: usize = 20_000;

/// Open connections of one address; beyond, they get 503 and are closed. A company behind one address does not reach it, and
/// it takes twenty addresses to use up all.
pub const MAX_CONNECTIONS_PER_ADDRESS: usize = MAX_CONNECTIONS / 20;

/// Bytes in the head of a request; beyond, it is 431. Above the 16 KiB of Node.js and the 32 KiB of nginx, so what passes a
/// proxy passes here.
pub const MAX_HEAD: usize = 64 * KIB;

/// Headers of a request; beyond, it is 431. hyper reads this many without an allocation.
pub const MAX_HEADERS: usize = 100;

/// Time for the head of a request, and without a request on an open connection; then it is closed. As in nginx.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Time in which a peer must read what is sent to it, or send its body, 1 KiB a second at least; then the connection is
/// closed. Longer than a mobile device needs to change networks.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections that linger: their answer is sent, and the rest of a request is read and dropped so that the answer arrives;
/// beyond, they are closed at once. Such a connection takes a descriptor and no buffer; a tenth of all is enough for a crowd of
/// uploads to a tunnel whose end has left.
pub const MAX_LINGERING: usize = MAX_CONNECTIONS / 10;

/// Connections of one address that linger; beyond, they are closed at once. As many as it may have uploads.
pub const MAX_LINGERING_PER_ADDRESS: usize = MAX_UPLOADS_PER_ADDRESS;

/// Bytes of a request that are dropped after its answer, or twice [`MAX_BODY`] where that is more; then the connection is
/// closed. A client that sends a body several times too large still learns why it was refused.
pub const LINGERING_BYTES: usize = 64 * MIB;

/// Time in which the rest of a request is dropped; then the connection is closed. As in nginx (`lingering_time`).
pub const LINGERING_TIME: Duration = Duration::from_secs(30);

/// Time without a byte of a request's rest; then the connection is closed. As in nginx (`lingering_timeout`).
pub const LINGERING_PAUSE: Duration = Duration::from_secs(5);

/// Time between two lines of the log that say what strangers did wrong. A scan of a server makes thousands a second.
pub const LOG_PAUSE: Duration = Duration::from_secs(1);

// Engine.IO.

/// Origin of pages that may connect: any, as in the original. Nothing is authorised by a cookie, so an origin has no rights.
pub const ALLOWED_ORIGIN: &str = "*";

/// Open sessions; beyond, a new one is 503. As many as connections, since most sessions have one.
pub const MAX_SESSIONS: usize = MAX_CONNECTIONS;

/// Open sessions of one address; beyond, a new one is 503. Half as many as connections, since a polling session uses two.
pub const MAX_SESSIONS_PER_ADDRESS: usize = MAX_CONNECTIONS_PER_ADDRESS / 2;

/// Commands, such as events to send, that wait for one session's task; beyond, visitors get 503. A task that runs leaves far
/// fewer waiting.
pub const MAX_WAITING_COMMANDS: usize = 4_096;

/// Time between two heartbeats. The reference's.
pub const PING_INTERVAL: Duration = Duration::from_secs(25);

/// Time for a session to open, for a client; then it is given up. The reference's.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// Time for the answer to a heartbeat; then the session is closed. The reference's.
pub const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Time for an upgrade; then its WebSocket is closed and polling goes on. The reference's.
pub const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes in a message or a polling body of a client, for the library; beyond, the message is dropped or the session closed.
/// The relay needs what an answer of `--max-body` takes, and has a rule of its own.
pub const MAX_PAYLOAD: usize = 16 * MIB;

/// Packets in one polling body; beyond, it is 400 and the session is closed. A client's body holds what it queued during one
/// request, hundreds at most; a million two-byte packets would hold up the session's task.
pub const MAX_PACKETS: usize = 65_536;

/// Bytes waiting to be sent on one session, for the library; beyond, an event fails and any other packet closes the session.
/// A few of the largest messages.
pub const MAX_BUFFERED_BYTES: usize = 4 * MAX_PAYLOAD;

/// Packets waiting to be sent on one session; beyond, as for [`MAX_BUFFERED_BYTES`]. Small packets take memory beside their
/// bytes.
pub const MAX_BUFFERED_PACKETS: usize = 16_384;

// Socket.IO.

/// Time to join a first namespace; then the connection is closed. The reference's.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(45);

/// Namespaces of one connection; beyond, a CONNECT is refused. More than a program has tunnels, and looked through one by one.
pub const MAX_NAMESPACES: usize = 100;

/// Bytes in the `auth` of a CONNECT, or in the query of its namespace; beyond, it is refused. A signed token has a few
/// thousand.
pub const MAX_AUTH: usize = 64 * KIB;

/// Refused CONNECTs of one connection; beyond, it is closed. A namespace can be a secret, and joining a way to guess it.
pub const MAX_REFUSALS: usize = 20;

/// Attachments of one packet; beyond, the connection is closed. The reference's; more is a memory attack (CVE-2026-33151).
pub const MAX_ATTACHMENTS: usize = 10;

/// Time for the attachments of a packet; then the connection is closed. As long as between two heartbeats.
pub const ATTACHMENT_TIMEOUT: Duration = PING_INTERVAL;

/// Levels of JSON in a packet with attachments, each of which takes memory; beyond, the session is closed. Real documents have
/// a few dozen.
pub const MAX_DEPTH: usize = 512;

// The end on this machine.

/// What `socket2me dump` shows of a body: more than a webhook sends, and little for each of the requests that come at once.
pub const DUMP_MAX_BODY: usize = 64 * KIB;

/// Bytes that the system keeps beyond what is on its way, for a connection on which something may be urgent: enough for 100 Mbit/s at
/// the 10 ms in which a busy process comes back to the connection.
#[cfg(any(target_os = "android", target_os = "linux"))]
pub const UNSENT: u32 = 128 << 10;

// Other nodes of a cluster.

/// Connections to one other node; beyond, requests that belong there are 503. Linux has 28,000 ports for those to one address.
pub const MAX_HOPS: usize = 20_000;

/// The fewest characters of the secret of a cluster: those of 24 bytes at random in base64.
pub const MIN_CLUSTER_SECRET: usize = 32;

/// Time over which a node that stops sends its ends to others, so that they do not come all at once, and serves visitors whose
/// balancer does not know of the stop yet.
pub const MOVE_TIME: Duration = Duration::from_secs(10);

/// How often a node that moves its ends looks whether it has to: whether another one stays, and whether its own lease is back.
pub const PEERS_LOOK: Duration = Duration::from_millis(100);

/// How often a node that stops tells others of their sessions whose clients come through it.
pub const GUESTS_LOOK: Duration = Duration::from_millis(250);

/// Other nodes that a node expects, for the bound of their connections to it.
pub const MAX_PEERS: usize = 100;
