use jiff::SignedDuration;

use super::*;
use crate::certificates::{CA_LIFETIME, LEAF_LIFETIME};

const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("in range")
}

fn names() -> Vec<String> {
    vec!["webhook.cosign-system.svc".to_owned(), "127.0.0.1".to_owned()]
}

fn fresh() -> Stored {
    Stored::new(&names(), start(), None).expect("makes certificates")
}

#[test]
fn what_is_written_is_read_back() {
    let mut stored = fresh();
    assert_eq!(Stored::from_data(&stored.to_data().expect("data")).as_ref(), Some(&stored));
    stored = stored.renewed(Rotation::Authority, &names(), start() + HOUR).expect("renews");
    assert!(stored.previous.is_some());
    assert_eq!(Stored::from_data(&stored.to_data().expect("data")).as_ref(), Some(&stored));
}

#[test]
fn any_change_to_the_files_is_noticed() {
    let data = fresh().to_data().expect("data");
    for key in data.keys() {
        let mut without = data.clone();
        without.remove(key);
        assert_eq!(Stored::from_data(&without), None, "without {key}");
        let mut changed = data.clone();
        changed.entry(key.clone()).and_modify(|content| content.insert(0, b'x'));
        assert_eq!(Stored::from_data(&changed), None, "changed {key}");
    }
    let foreign = [("server-key.pem", "k"), ("server-cert.pem", "c"), ("ca-cert.pem", "a")];
    let foreign = foreign.map(|(key, text)| (key.to_owned(), text.as_bytes().to_vec())).into();
    assert_eq!(Stored::from_data(&foreign), None, "policy-controller's");
}

#[test]
fn what_is_due_at_which_time() {
    let stored = fresh();
    let at = |later: SignedDuration| due(Some(&stored), &names(), start() + later);
    assert_eq!(due(None, &names(), start()), Rotation::Full);
    assert_eq!(at(SignedDuration::ZERO), Rotation::None);
    assert_eq!(at(LEAF_LIFETIME - LEAF_RENEWAL), Rotation::None);
    assert_eq!(at(LEAF_LIFETIME - LEAF_RENEWAL + HOUR), Rotation::Leaf);
    assert_eq!(at(CA_LIFETIME - CA_RENEWAL + HOUR), Rotation::Authority);
    assert_eq!(at(CA_LIFETIME * 3), Rotation::Authority);
    assert_eq!(due(Some(&stored), &["other".to_owned()], start()), Rotation::Leaf);
}

#[test]
fn a_new_leaf_keeps_the_ca() {
    let stored = fresh();
    let later = start() + (LEAF_LIFETIME - LEAF_RENEWAL + HOUR);
    let renewed = stored.renewed(Rotation::Leaf, &names(), later).expect("renews");
    assert_eq!(renewed.bundle(), stored.bundle());
    assert_ne!(renewed.leaf.serving, stored.leaf.serving);
    assert_eq!(due(Some(&renewed), &names(), later), Rotation::None);
}

#[test]
fn a_new_ca_overlaps_with_the_old_one_and_then_drops_it() {
    let stored = fresh();
    let later = start() + (CA_LIFETIME - CA_RENEWAL + HOUR);
    let rotated = stored.renewed(Rotation::Authority, &names(), later).expect("renews");
    assert!(rotated.bundle().contains(&stored.authority.certificate));
    assert!(rotated.bundle().starts_with(&rotated.authority.certificate));
    assert_ne!(rotated.authority.certificate, stored.authority.certificate);
    assert_eq!(due(Some(&rotated), &names(), later), Rotation::None);
    assert_eq!(due(Some(&rotated), &names(), later + OVERLAP), Rotation::DropPrevious);
    let dropped =
        rotated.renewed(Rotation::DropPrevious, &names(), later + OVERLAP).expect("renews");
    assert_eq!(dropped.bundle(), rotated.authority.certificate);
    assert_eq!(due(Some(&dropped), &names(), later + OVERLAP), Rotation::None);
}

/// Whatever the clock, at most two rotations lead to a state with nothing due and a valid leaf.
#[test]
fn rotations_converge_whatever_the_clock() {
    let mut stored = fresh();
    let mut now = start();
    for days in [1, 30, 59, 61, 100, 200, 400, 1_000, 3, 0] {
        now += SignedDuration::from_hours(24 * days);
        for _ in 0..3 {
            stored =
                stored.renewed(due(Some(&stored), &names(), now), &names(), now).expect("renews");
        }
        assert_eq!(due(Some(&stored), &names(), now), Rotation::None, "after {days} days");
        assert!(stored.leaf.not_after > now && stored.leaf.not_after <= stored.authority.not_after);
    }
}

#[test]
fn no_key_is_shown_by_debug() {
    let text = format!("{:?}", fresh());
    assert!(!text.contains("PRIVATE KEY") && !text.contains("45, 45, 45"), "{text}");
}

#[test]
fn a_name_that_no_certificate_can_hold_is_a_fault() {
    assert!(Stored::new(&["näme".to_owned()], start(), None).is_err());
}
