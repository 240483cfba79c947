//! Query strings and `application/x-www-form-urlencoded` bodies as a tree (PROTOCOL.md, "The request event").
//!
//! The tree is the one that express 4 gets from the npm package qs 6.13, by `qs.parse(text, { allowPrototypes: true })`; no
//! difference is known. A form body is read under the limits of a query. The body-parser of express allows a form more: a depth
//! of 32 and list indexes up to 100 or beyond; and it refuses a form that goes over its limits. Bytes that are not UTF-8 become
//! U+FFFD before anything else, as when Node.js decodes a body.
//!
//! Work and memory grow with the input: qs's own limits bound the number of parameters and the depth, containers are searched
//! by bisection, and the holes of a sparse list take no memory.
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
pub use self::parse::{parse, write_json};
