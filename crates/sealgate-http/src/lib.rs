//! What the HTTP clients of registries and of Sigstore's services share: whom to trust (`tls`), the
//! connections (`client`), through which proxy they go (`proxy`), what is this machine (`host`), when to ask again (`retry`), what
//! a broken exchange is called (`fault`), and texts that nobody is to see (`secret`). What is
//! asked, where, and how much is taken, each client decides.

#![warn(missing_docs)]

pub mod client;
pub mod fault;
mod host;
mod proxy;
pub mod retry;
mod secret;
pub mod tls;

pub use host::is_loopback;
pub use proxy::Proxies;
pub use secret::Secret;
pub use tls::{ClientIdentity, Trust};
