# The recipes that people use. CI runs `.ci/run`, which needs cargo alone.

# List the recipes.
default:
    @just --list

# What CI runs; never writes to the tree.
ci:
    bash .ci/run

# Format, and apply what clippy can mend by itself.
fix:
    cargo fmt
    cargo clippy --workspace --all-targets --fix --allow-dirty

# All tests.
test:
    cargo test --workspace

# Replay one seed of the simulated world: `just sim 4711`.
sim seed:
    cargo run --quiet --package tests --bin sim -- {{seed}}

# A throw-away swarm on this machine, with a sample service.
dev:
    cargo run --release --bin swarmd -- dev
