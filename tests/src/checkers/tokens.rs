//! CA-4: nobody joins without a valid token, and one that was rotated lets nobody in from the moment
//! that this is committed.

use actors::{control, store::View};

use crate::{cluster::Cluster, counts::Counts};

/// Whether a token is none of those that any member knows to be committed last. It stays so: no
/// token comes back.
pub fn is_void(cluster: &Cluster, token: &str) -> bool {
    cluster.newest_view().is_some_and(|view| !lets_in(&view, token))
}

fn lets_in(view: &View, token: &str) -> bool {
    let Some(cluster) = view.default_cluster() else { return true };
    let tokens = cluster.root_ca.join_tokens.iter();
    tokens.into_iter().any(|tokens| tokens.manager == token || tokens.worker == token)
}

/// Compares what a request with a token came to with what the token was worth before it was made.
pub fn check<T>(is_void: bool, outcome: &Option<Result<T, control::Error>>, counts: &Counts) {
    let is_in = matches!(outcome, Some(Ok(_)));
    assert!(!(is_void && is_in), "tokens: a token that is void has let somebody in");
    if is_void && outcome.is_some() {
        counts.count("check: no join without a token");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "tokens: a token that is void has let somebody in")]
    fn whoever_joins_with_a_void_token_is_found() {
        let counts = Counts::default();
        check(false, &Some(Ok(())), &counts);
        check::<()>(true, &None, &counts);
        check(true, &Some(Ok(())), &counts);
    }
}
