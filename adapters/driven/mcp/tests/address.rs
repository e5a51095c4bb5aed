//! The contract suite on servers at addresses.

#[macro_use]
mod addresses;

type Addresses = addresses::Servers<false>;

suite!(Addresses);
