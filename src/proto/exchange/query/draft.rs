//! The tree while parameters are merged into it, as qs merges them.

use std::mem;

use indexmap::IndexMap;

use super::node::Node;

/// The largest `N` for which `a[N]=x` makes a list. A larger `N` is a key of a map. 20 is the default of qs (`arrayLimit`).
///
/// Without a limit a few bytes could ask for a list of millions of holes.
const MAX_ARRAY_INDEX: u32 = 20;

/// The key that qs never sets, since in JavaScript it would replace the object's prototype.
pub(super) const PROTOTYPE: &str = "__proto__";

/// A key of a JavaScript object. The variants stand in the order in which `Object.keys` returns them.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// An array index: decimal digits without a leading zero, less than `u32::MAX`. Indexes come first, ascending.
    Index(u32),
    /// Any other key. Names come in the order in which they were set.
    Name(String),
}

impl Key {
    pub(super) fn new(text: String) -> Self {
        let canonical = text == "0" || text.starts_with(|first: char| matches!(first, '1'..='9'));
        match text.parse() {
            Ok(index) if canonical && index != u32::MAX => Self::Index(index),
            _ => Self::Name(text),
        }
    }

    pub(super) fn into_text(self) -> String {
        match self {
            Self::Index(index) => index.to_string(),
            Self::Name(name) => name,
        }
    }
}

/// A [`Node`] while parameters are merged into it.
#[derive(Debug)]
pub(super) enum Draft {
    Text(String),
    True,
    Branch(Box<Branch>),
}

impl Draft {
    /// Returns the branch that has this value under one bracketed segment: `[]`, `[3]` or `[name]`, given without brackets.
    pub(super) fn nested_in(self, segment: &str) -> Self {
        let mut outer = Branch::map();
        match (Key::new(segment.to_owned()), self) {
            // `a[][0]` is not a list in a list: qs joins the two.
            (_, Self::Branch(inner)) if segment.is_empty() && inner.is_list => return Self::Branch(inner),
            (_, inner) if segment.is_empty() => {
                outer.is_list = true;
                outer.push(inner);
            }
            (Key::Index(index), inner) if index <= MAX_ARRAY_INDEX => {
                outer.is_list = true;
                outer.set(Key::Index(index), inner);
            }
            // The map stays empty, but it is there: a value that meets it does not stay plain.
            _ if segment == PROTOTYPE => {}
            (key, inner) => outer.set(key, inner),
        }
        Self::Branch(Box::new(outer))
    }

    /// Merges a later value for the same place. That value is a text or a branch, never [`Draft::True`].
    fn merge(&mut self, source: Self) {
        match (self, source) {
            (_, Self::Text(text)) if text.is_empty() => {}
            (Self::Branch(target), Self::Branch(source)) => target.absorb(*source),
            (Self::Branch(target), Self::Text(text)) if !target.is_list => {
                if text != PROTOTYPE {
                    target.set(Key::new(text), Self::True);
                }
            }
            (Self::Branch(target), source) => target.push(source),
            (plain, source) => plain.begin_list(source),
        }
    }

    /// Replaces a plain value by a list that begins with it. The source follows: item by item if it is a list, else as one
    /// item.
    fn begin_list(&mut self, source: Self) {
        let mut list = Branch::list();
        list.push(mem::replace(self, Self::True));
        match source {
            Self::Branch(tail) if tail.is_list => {
                for (key, item) in tail.into_ordered() {
                    // Holes keep their place, since later parameters are merged by index. A list has only indexes.
                    if let Key::Index(index) = key {
                        list.set(Key::Index(index + 1), item);
                    }
                }
            }
            source => list.push(source),
        }
        *self = Self::Branch(Box::new(list));
    }

    fn into_node(self) -> Node {
        match self {
            Self::Text(text) => Node::Text(text),
            Self::True => Node::True,
            Self::Branch(branch) => branch.into_node(),
        }
    }
}

/// A list, possibly with holes, or a map. To make a map of a list, only the flag is changed: its indexes are keys already.
#[derive(Debug)]
pub(super) struct Branch {
    /// Whether this is a list. Then all keys are [`Key::Index`].
    is_list: bool,
    /// The entries, in the order in which their keys were set.
    entries: IndexMap<Key, Draft>,
    /// The index behind the greatest one.
    next: u32,
}

impl Branch {
    pub(super) fn map() -> Self {
        Self { is_list: false, entries: IndexMap::new(), next: 0 }
    }

    fn list() -> Self {
        Self { is_list: true, ..Self::map() }
    }

    fn set(&mut self, key: Key, value: Draft) {
        if let Key::Index(index) = key {
            self.next = self.next.max(index + 1);
        }
        // Most branches of a hostile query have one entry, and the first growth is to four.
        if self.entries.is_empty() {
            self.entries.reserve_exact(1);
        }
        self.entries.insert(key, value);
    }

    /// Sets the index that follows the greatest one. Only a list is pushed to. Its indexes are at most the number of parameters
    /// and [`MAX_ARRAY_INDEX`], so this cannot overflow.
    fn push(&mut self, value: Draft) {
        self.set(Key::Index(self.next), value);
    }

    /// Sets the key, or appends to the values that it has: the same name came again.
    pub(super) fn combine_at(&mut self, key: Key, value: Draft) {
        match self.entries.get_mut(&key) {
            None => self.set(key, value),
            Some(Draft::Branch(list)) => list.push(value),
            Some(plain) => plain.begin_list(value),
        }
    }

    /// Sets the key, or merges into the value that it has: another name leads to the same place.
    pub(super) fn merge_at(&mut self, key: Key, value: Draft) {
        match self.entries.get_mut(&key) {
            None => self.set(key, value),
            Some(existing) => existing.merge(value),
        }
    }

    /// Merges a branch into this one. Two lists stay a list, and an item whose place has a plain value goes to the end.
    /// Anything else becomes a map.
    pub(super) fn absorb(&mut self, source: Self) {
        self.is_list &= source.is_list;
        for (key, value) in source.into_ordered() {
            if !self.is_list {
                self.merge_at(key, value);
                continue;
            }
            match (self.entries.get_mut(&key), value) {
                (None, value) => self.set(key, value),
                (Some(Draft::Branch(existing)), Draft::Branch(value)) => existing.absorb(*value),
                (Some(_), value) => self.push(value),
            }
        }
    }

    /// Returns the entries in the order of `Object.keys`.
    pub(super) fn into_ordered(self) -> Vec<(Key, Draft)> {
        let mut entries: Vec<_> = self.entries.into_iter().collect();
        // The sort is stable, so names stay in their order. No index is u32::MAX.
        entries.sort_by_key(|(key, _)| match key {
            Key::Index(index) => *index,
            Key::Name(_) => u32::MAX,
        });
        entries
    }

    pub(super) fn into_node(self) -> Node {
        if self.is_list {
            return Node::List(self.into_ordered().into_iter().map(|(_, item)| item.into_node()).collect());
        }
        let entries = self.into_ordered().into_iter();
        Node::Map(entries.map(|(key, value)| (key.into_text(), value.into_node())).collect())
    }
}
