//! swarmctl.

fn main() {}
