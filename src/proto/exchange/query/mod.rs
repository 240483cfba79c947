//! Query strings and `application/x-www-form-urlencoded` bodies as a tree (PROTOCOL.md, "The request event").
//!
//! The tree is the one that express 4 gets from the npm package qs 6.13, by `qs.parse(text, { allowPrototypes: true })`; no
//! difference is known but one: qs ignores what follows the thousandth parameter, and here nothing is lost. A form body is read
//! as a query is. The body-parser of express allows a form a depth of 32 and list indexes up to 100 or beyond. Bytes that are not
//! UTF-8 become U+FFFD before anything else, as when Node.js decodes a body.
//!
//! Work and memory grow with the input alone, see [`memory`]: the depth is bounded, containers are searched by hash, and the
//! holes of a sparse list take no memory.
//!
//! In reading order:
//!
//! - `node`: the tree, and the tree as JSON
//! - `draft`: the tree while parameters are merged into it
//! - `parse`: from the text to the tree

mod draft;
mod node;
mod parse;

pub use self::node::Node;
pub use self::parse::{memory, parse, write_json};
