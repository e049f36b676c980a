//! Who is heard, how often, and for how long a session lasts.

use super::*;

#[test]
fn a_silent_node_goes_down_and_a_heartbeat_keeps_it() {
    run(two_nodes(), async |rig| {
        let (session, mut messages) = rig.register("").await;
        for _ in 0..10 {
            sleep(SECOND * 4).await;
            let period = rig.heartbeat(session.as_str()).expect("valid");
            assert!((SECOND * 9 / 2..=SECOND * 11 / 2).contains(&period), "{period:?}");
            assert_eq!(rig.state("n"), State::Ready);
        }
        sleep(SECOND * 18).await;
        assert_eq!(rig.state("n"), State::Down);
        while messages.recv().await.is_some() {}
    });
}

/// Time passes, and another thread sends a heartbeat; meanwhile this one, on which the dispatcher
/// lives, does nothing but wait for it.
fn hold_up(rig: &Rig, time: Duration, session: &SessionId) -> Result<Duration, Error> {
    tokio::time::advance(time).now_or_never();
    let (seat, session, runtime) = (rig.seat.clone(), session.clone(), Handle::current());
    let beat = std::thread::spawn(move || {
        let _clock = runtime.enter();
        seat.heartbeat(&"n".into(), &session)
    });
    beat.join().expect("it was answered")
}

#[test]
fn a_heartbeat_is_answered_and_counts_while_the_dispatcher_is_held_up() {
    for is_heard in [true, false] {
        run(two_nodes(), async |rig| {
            let (session, _messages) = rig.register("").await;
            sleep(SECOND * 10).await;
            let session = if is_heard { session } else { "made up".into() };
            for _ in 0..2 {
                assert_eq!(hold_up(&rig, SECOND * 4, &session).is_ok(), is_heard);
            }
            // Whoever is not heard is forgiven the pause, and no more.
            sleep(SECOND * 6).await;
            assert_eq!(rig.state("n"), if is_heard { State::Ready } else { State::Down });
            sleep(SECOND * 11).await;
            assert_eq!(rig.state("n"), State::Down, "its heartbeat counts for three periods");
        });
    }
}

#[test]
fn a_node_that_is_given_up_is_not_heard_from_then_on() {
    run_slow(two_nodes(), SECOND, async |rig| {
        rig.seat.take(rig.dispatcher.clone());
        let (session, _messages) = rig.register("").await;
        let check = || CheckSession { node: "n".into(), session: session.clone() };
        while rig.dispatcher.send(check()).await.expect("alive").is_ok() {
            sleep(SECOND / 100).await;
        }
        assert_eq!(rig.state("n"), State::Ready, "it is not written yet");
        assert_eq!(rig.heartbeat(session.as_str()), Err(Error::NotRegistered));
    });
}

#[test]
fn a_node_has_its_grace_from_when_its_registration_is_answered() {
    // Also where the answer takes longer than the grace.
    for period in [5, 1] {
        let grace = 3 * u32::try_from(period).expect("a few seconds");
        let node = node("n", State::Ready);
        let view = with([node.into(), heard_every(period).into()]);
        run_slow(view, SECOND * 4, async |rig| {
            let (session, _messages) = rig.register("").await;
            for (wait, is_valid) in [(grace - 1, true), (2, false)] {
                sleep(SECOND * wait).await;
                let check = CheckSession { node: "n".into(), session: session.clone() };
                let answer = rig.dispatcher.send(check).await.expect("alive");
                assert_eq!(answer.is_ok(), is_valid, "{period} {wait}");
            }
        });
    }
}

#[test]
fn a_node_that_is_awaited_is_known_before_that_is_written() {
    run_slow(two_nodes(), SECOND * 4, async |rig| {
        rig.seat.take(rig.dispatcher.clone());
        assert_eq!(rig.state("n"), State::Ready);
        assert_eq!(rig.heartbeat("of an earlier leader"), Err(Error::SessionInvalid));
    });
}

#[test]
fn nobody_is_heard_by_a_dispatcher_that_is_not_at_its_seat() {
    run_unseated(two_nodes(), async |rig| {
        let (session, _messages) = rig.register("").await;
        assert_eq!(rig.heartbeat(session.as_str()), Err(Error::Stopped));
        rig.seat.take(rig.dispatcher.clone());
        assert!(rig.heartbeat(session.as_str()).is_ok());
    });
}

#[test]
fn no_heartbeat_counts_once_a_dispatcher_is_about_to_end() {
    run(two_nodes(), async |rig| {
        let (session, _messages) = rig.register("").await;
        assert!(rig.heartbeat(session.as_str()).is_ok());
        rig.seat.leave();
        assert_eq!(rig.heartbeat(session.as_str()), Err(Error::Stopped));
        // It still takes what is in its mailbox.
        let (late, _messages) = rig.register("").await;
        rig.seat.take(rig.dispatcher.clone());
        assert_eq!(rig.heartbeat(late.as_str()), Err(Error::Stopped));
    });
}

#[test]
fn no_session_outlives_the_dispatcher_that_gave_it() {
    run(two_nodes(), async |rig| {
        let (session, _messages) = rig.register("").await;
        rig.tree.stop().await;
        assert_eq!(rig.heartbeat(session.as_str()), Err(Error::Stopped));
    });
}

#[test]
fn an_earlier_session_is_invalid_as_soon_as_a_later_one_is_answered() {
    run(two_nodes(), async |rig| {
        let (earlier, _messages) = rig.register("").await;
        let (later, _messages) = rig.register("").await;
        assert_eq!(rig.heartbeat(earlier.as_str()), Err(Error::SessionInvalid));
        assert!(rig.heartbeat(later.as_str()).is_ok());
    });
}

#[test]
fn a_node_that_was_heard_may_begin_anew_before_the_dispatcher_looks() {
    run(two_nodes(), async |rig| {
        for _ in 0..10 {
            let (session, _messages) = rig.register("").await;
            rig.heartbeat(session.as_str()).expect("valid");
        }
    });
}

#[test]
fn sessions_are_counted_while_they_last() {
    run(two_nodes(), async |rig| {
        let seat = Seat::default();
        assert_eq!(seat.count_sessions().await, Some(0), "nobody leads here");
        seat.take(rig.dispatcher.clone());
        assert_eq!(seat.count_sessions().await, Some(0), "a node that is awaited has none");
        let (session, _messages) = rig.register("").await;
        let (_resumed, _messages) = rig.register(session.as_str()).await;
        assert_eq!(seat.count_sessions().await, Some(1));
        sleep(SECOND * 20).await;
        assert_eq!(seat.count_sessions().await, Some(0), "it fell silent");
        rig.tree.stop().await;
        assert_eq!(seat.count_sessions().await, None, "nobody answers");
    });
}

#[test]
fn a_changed_heartbeat_period_counts_from_the_next_heartbeat() {
    run(two_nodes(), async |rig| {
        let (session, _messages) = rig.register("").await;
        rig.write(|tx| tx.create(heard_every(30)).unwrap()).await;
        sleep(SECOND / 10).await;
        let period = rig.heartbeat(session.as_str()).expect("valid");
        assert!((SECOND * 59 / 2..=SECOND * 61 / 2).contains(&period), "{period:?}");
        sleep(SECOND * 80).await;
        assert_eq!(rig.state("n"), State::Ready, "three of the longer periods are not over");
        rig.hear_every(1).await;
        sleep(SECOND / 10).await;
        let period = rig.heartbeat(session.as_str()).expect("valid");
        assert!((SECOND / 2..=SECOND * 3 / 2).contains(&period), "{period:?}");
        sleep(SECOND * 6).await;
        assert_eq!(rig.state("n"), State::Down, "three of the shorter ones are");
    });
}

#[test]
fn a_far_shorter_heartbeat_period_wakes_those_that_sleep() {
    run(two_nodes(), async |rig| {
        rig.write(|tx| tx.create(heard_every(36_000)).unwrap()).await;
        let (session, mut messages) = rig.register("").await;
        rig.hear_every(5).await;
        let ended = async { while messages.recv().await.is_some() {} };
        timeout(SECOND, ended).await.expect("its stream ends");
        let (again, _messages) = rig.register(session.as_str()).await;
        assert_eq!(again, session, "it goes on with its session");
        sleep(14 * SECOND).await;
        assert_eq!(rig.state("n"), State::Ready);
        sleep(2 * SECOND).await;
        assert_eq!(rig.state("n"), State::Down);
    });
}
