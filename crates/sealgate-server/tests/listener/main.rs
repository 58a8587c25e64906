//! The listener against clients that behave, that do not, and that come at the wrong time.

mod fixture;
mod lifecycle;
mod requests;
mod slow;
