//! WHAT WAS ASKED. config.yaml becomes [`settings::Settings`], or a list of everything that is
//! wrong with it, each with path, line and remedy.

pub mod settings;
