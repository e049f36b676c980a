//! The daemon.

fn main() {
    if node::shim::requested() {
        node::shim::main();
    }
}
