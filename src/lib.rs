//! Socket2Me
pub mod proto;
