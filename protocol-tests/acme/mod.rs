//! Certificates that the server orders itself, from a directory of the tests' own, which checks each signature, nonce and state.
//!
//! - `directory`: the directory; `jws`, `state`, `objects`, `validation` and `authority` are its parts
//! - `server`: a server that orders from it, and can be started again
//! - `issuing`: the first certificate, by each challenge; `restarting`: servers that end in between
//! - `renewing`: renewals; `refusing`: what fails; `sharing`: servers over one Redis
//! - `serving`: the relay with certificates of its own, and the program
//! - `pebble`: the program with a directory that others have written

mod authority;
mod directory;
mod issuing;
mod jws;
mod objects;
mod pebble;
mod refusing;
mod renewing;
mod restarting;
mod server;
mod serving;
mod sharing;
mod state;
mod validation;
