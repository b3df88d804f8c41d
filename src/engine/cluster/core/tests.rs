//! What needs no other node and no Redis; the rest is in `tests/sim`.

use super::*;

const OWN: u64 = 1;

fn core(now: Instant) -> Core<()> {
    let settings = Settings {
        node: OWN,
        mode: RedisMode::Single,
        flow: FlowLimits::default(),
    };
    Core::new(settings, Box::new(|_, _| Hears::default()), now)
}

/// What the input says of the apps.
fn apps(input: Input<'_, ()>) -> Vec<Apps> {
    let (now, mut effects) = (Instant::now(), Vec::new());
    core(now).handle(input, now, &mut effects);
    let apps = effects.into_iter().filter_map(|effect| match effect {
        Effect::Apps(apps) => Some(apps),
        _ => None,
    });
    apps.collect()
}

fn announced_by(node: u64, topic: Topic<'_>) -> Input<'_, ()> {
    Input::Heard(Heard {
        topic,
        message: PeerMessage::AppsChanged(node),
    })
}

#[test]
fn a_node_looks_at_the_apps_when_another_one_has_changed_them_or_may_have() {
    let news = Topic::Channel {
        app_id: "1",
        bucket: 0,
        name: "news",
    };
    assert_eq!(apps(announced_by(OWN + 1, Topic::Nodes)), [Apps::Changed]);
    assert_eq!(apps(announced_by(OWN, Topic::Nodes)), [], "it has looked");
    assert_eq!(apps(announced_by(OWN + 1, news)), []);
    let dropped = apps(Input::HeardTooMuch);
    assert_eq!(
        dropped,
        [Apps::Doubted],
        "an announcement may be among them"
    );
}

#[test]
fn a_node_looks_at_the_apps_with_each_new_link() {
    let (now, mut effects) = (Instant::now(), Vec::new());
    let mut core = core(now);
    core.on_listening_as_node(&Ok(Answer::Done), now, &mut effects);
    let is_doubt = matches!(effects[..], [Effect::Apps(Apps::Doubted)]);
    assert!(is_doubt, "{effects:?}");
}
