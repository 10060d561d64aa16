//! Collects what is wrong while everything is read, and gives it lines at the end.

use std::cell::RefCell;

use crate::config::error::{ConfigErrors, Mistake};
use crate::config::settings::ShownCertificate;
use crate::config::text::positions::Positions;
use crate::config::text::tree::Place;

/// What was found so far.
#[derive(Debug, Default)]
pub(in crate::config) struct Report {
    wrong: RefCell<Vec<(Place, String)>>,
    warnings: RefCell<Vec<(Place, String)>>,
    shown: RefCell<Vec<(Place, ShownCertificate)>>,
    hidden: RefCell<Vec<Place>>,
}

impl Report {
    /// The configuration cannot be used: what is wrong; what would be right.
    pub(in crate::config) fn wrong(&self, place: &Place, message: impl Into<String>) {
        self.wrong.borrow_mut().push((place.clone(), message.into()));
    }

    /// What stands below may be a secret: no mistake there is told, because its path would tell it.
    pub(in crate::config) fn hide_below(&self, place: &Place) {
        self.hidden.borrow_mut().push(place.clone());
    }

    /// It can be used, and somebody should know this.
    pub(in crate::config) fn warn(&self, place: &Place, message: impl Into<String>) {
        self.warnings.borrow_mut().push((place.clone(), message.into()));
    }

    /// It names a certificate that Tollgate shows.
    pub(in crate::config) fn shows(&self, place: &Place, certificate: ShownCertificate) {
        self.shown.borrow_mut().push((place.clone(), certificate));
    }

    /// Those certificates that are named below none of `others`, each file once.
    pub(in crate::config) fn certificates_beside(&self, others: &[Place]) -> Vec<ShownCertificate> {
        let mut certificates: Vec<ShownCertificate> = Vec::new();
        let beside = |place: &Place| !others.iter().any(|other| place.is_below(other));
        for (_, shown) in self.shown.borrow().iter().filter(|(place, _)| beside(place)) {
            if !certificates.iter().any(|other| other.file == shown.file) {
                certificates.push(shown.clone());
            }
        }
        certificates
    }

    /// Where each of them stands.
    pub(in crate::config) fn dated(&self, text: &str) -> Vec<(Mistake, ShownCertificate)> {
        let shown = self.shown.borrow();
        let mut positions = Positions::of(text, shown.iter().map(|(place, _)| place));
        let mut dated = |(place, shown): &(Place, ShownCertificate)| {
            (located(&mut positions, place, String::new()), shown.clone())
        };
        shown.iter().map(&mut dated).collect()
    }

    pub(in crate::config) fn is_clean(&self) -> bool {
        self.wrong.borrow().is_empty()
    }

    pub(in crate::config) fn warnings(self, text: &str) -> Vec<Mistake> {
        in_order(self.warnings.into_inner(), text)
    }

    pub(in crate::config) fn errors(self, file: &str, text: &str) -> ConfigErrors {
        let hidden = self.hidden.into_inner();
        let mut wrong = self.wrong.into_inner();
        wrong.retain(|(place, _)| !hidden.iter().any(|hidden| place.is_below(hidden)));
        ConfigErrors { file: file.to_owned(), mistakes: in_order(wrong, text) }
    }
}

fn in_order(found: Vec<(Place, String)>, text: &str) -> Vec<Mistake> {
    let mut positions = Positions::of(text, found.iter().map(|(place, _)| place));
    let mut mistakes: Vec<Mistake> =
        found.iter().map(|(place, message)| located(&mut positions, place, message.clone())).collect();
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    mistakes
}

fn located(positions: &mut Positions<'_>, place: &Place, message: String) -> Mistake {
    let (line, column) = positions.find(place);
    Mistake { path: place.to_string(), line, column, message }
}
