//! Query strings and `application/x-www-form-urlencoded` bodies as a tree.
//!
//! The tree is the one the npm package qs 6.13 gives express 4, with
//! `qs.parse(text, { allowPrototypes: true })`; no difference is known. A form body is read under the same limits,
//! where the body-parser of express allows more: a depth of 32 and list indexes up to 100 or beyond, and it refuses
//! what goes over its limits. Bytes that are not UTF-8 become U+FFFD before anything else, as when Node.js decodes a
//! body.
//!
//! Work and memory grow with the input: qs's own limits bound the number of parameters and the depth, containers
//! are searched by bisection, and the holes of a sparse list take no room.

mod draft;
mod node;
mod parse;

pub use self::node::Node;
pub use self::parse::{parse, write_json};
