//! From the text of config.yaml to its values, each with its place, so that every mistake has a line.
//!
//! - `tree`: the text as a tree; `unreadable`: why it is none; `anchors`: names in it that are given twice
//! - `positions`: places in the tree, and their lines in the text
//! - `walk`: the tree against the schema: unknown keys, wrong forms
//! - `read`: a section and its values, as the rest of the configuration asks for them
//! - `expand`, `values`: one variable, one duration, size or rate
//! - `report`: the mistakes and warnings on the way

pub(in crate::config) mod anchors;
pub(in crate::config) mod expand;
pub(in crate::config) mod positions;
pub(in crate::config) mod read;
pub(in crate::config) mod report;
pub(in crate::config) mod tree;
pub(in crate::config) mod unreadable;
pub(in crate::config) mod values;
pub(in crate::config) mod walk;
