//! The listener against regular, slow and hostile clients, and through its life.

mod busy;
mod clients;
mod fixture;
mod health;
mod lifecycle;
mod requests;
mod slow;
