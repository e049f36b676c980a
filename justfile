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

# The simulated world: `just sim 4711`, `just sim --seeds 1000 --faults partition,crash`.
sim *arguments:
    cargo run --quiet -p tests --bin sim -- {{arguments}}

# Take faults away from a seed that fails, as long as it fails: `just shrink 4711`.
shrink seed *arguments:
    cargo run --quiet -p tests --bin sim -- {{seed}} --shrink {{arguments}}

# The recorded traces, by a release build: they must be those of a debug build.
sim-check:
    cargo run --quiet --release -p tests --bin sim -- --check tests/data/traces.tsv

# Record the traces anew, after a change that alters what happens when.
sim-record:
    cargo run --quiet -p tests --bin sim -- --record 1 2 3 5 8 13 21 34 > tests/data/traces.tsv

# A throw-away swarm on this machine, with a sample service.
dev:
    cargo run --release --bin swarmd -- dev

# A worker has more to do than it can, and misses no heartbeat: five minutes.
busy seconds='300':
    SWARM_BUSY_SECONDS={{seconds}} cargo test -p tests --test e2e full_load -- --nocapture

# Services change while everything is killed: 240 rounds take more than an hour.
churn rounds='4':
    SWARM_CHURN_ROUNDS={{rounds}} cargo test -p tests --test e2e whatever_is_killed -- --nocapture
