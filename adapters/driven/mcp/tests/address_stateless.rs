//! The contract suite on servers at addresses that begin without `initialize`.

#[macro_use]
mod addresses;

type StatelessAddresses = addresses::Servers<true>;

suite!(StatelessAddresses);
