use palisade_model::incident::{Connection, Credential, LinkKind};
use palisade_model::{ImageIdentity, Priority};

use super::*;
use crate::testing::{alert, container, process};

fn host_alert(chain: &[(u32, u32)], nanos: u64) -> Alert {
    let mut alert = alert("Rule", None);
    alert.id = format!("{nanos}");
    alert.time = Timestamp::from_nanos(nanos);
    let mut chain = chain.iter().map(|(pid, ppid)| process(*pid, *ppid));
    alert.process = chain.next();
    alert.ancestors = chain.collect();
    alert
}

/// An alert of a container that has no process in common with others.
fn alert_in(rule: &str, id: &str) -> Alert {
    let mut alert = alert(rule, Some(container(id)));
    alert.process = None;
    alert.ancestors.clear();
    alert
}

#[test]
fn a_container_is_one_incident() {
    let mut book = IncidentBook::default();
    let first = book.join(&alert_in("Rule", "aaaa"));
    let again = book.join(&alert_in("Other", "aaaa"));
    let other = book.join(&alert_in("Rule", "bbbb"));
    assert!(first.is_new && !again.is_new && other.is_new);
    assert_eq!(first.incident, again.incident);
    assert_ne!(first.incident, other.incident);
    assert_eq!(book.take_changed().len(), 2);
    assert_eq!(book.take_changed().len(), 0);
}

#[test]
fn the_host_joins_by_process_tree() {
    let mut book = IncidentBook::default();
    let sshd = (100, 1);
    let login = (200, 100);
    let first = book.join(&host_alert(&[(300, 200), login, sshd], 1));
    let sibling = book.join(&host_alert(&[(301, 200), login, sshd], 2));
    let child = book.join(&host_alert(&[(302, 300), (300, 200), login, sshd], 3));
    let other_login = book.join(&host_alert(&[(400, 201), (201, 100), sshd], 4));
    assert_eq!(first.incident, sibling.incident);
    assert_eq!(first.incident, child.incident);
    assert_ne!(first.incident, other_login.incident);
    let incident = book.get(&first.incident).unwrap();
    assert_eq!(incident.root.as_ref().unwrap().pid, 100);
    assert_eq!(incident.processes.len(), 5);
    assert_eq!(incident.timeline.len(), 3);
}

#[test]
fn an_incident_ends_with_its_window_or_by_hand() {
    let mut book = IncidentBook::default();
    let first = book.join(&host_alert(&[(300, 200)], 1));
    let late = u64::try_from(JOIN_WINDOW.as_nanos()).unwrap() + 10;
    let second = book.join(&host_alert(&[(300, 200)], late));
    assert_ne!(first.incident, second.incident);
    book.advance(&second.incident, IncidentState::Closed, Timestamp::from_nanos(late));
    assert!(book.join(&host_alert(&[(300, 200)], late + 1)).is_new);
    assert!(!book.advance(&second.incident, IncidentState::Open, Timestamp::from_nanos(late)));
}

#[test]
fn an_alert_that_is_read_again_is_not_counted_twice() {
    let mut book = IncidentBook::default();
    let alert = alert("Rule", Some(container("aaaa")));
    let joined = book.join(&alert);
    let kept = book.take_changed();
    let mut book = IncidentBook::with(kept);
    assert_eq!(book.join(&alert), Joined { incident: joined.incident.clone(), is_new: false });
    assert_eq!(book.get(&joined.incident).unwrap().timeline.len(), 1);
}

#[test]
fn bounds_hold_and_are_counted() {
    let mut book = IncidentBook::default();
    let mut id = String::new();
    for i in 0..TIMELINE_MAX + 5 {
        let mut alert = alert("Rule", Some(container("aaaa")));
        alert.id = format!("{i}");
        alert.process = Some(process(u32::try_from(i).unwrap() + 10, 5));
        if i > PROCESSES_MAX {
            alert.process = None;
        }
        // Adding directly keeps this test linear.
        if id.is_empty() {
            id = book.join(&alert).incident;
        } else {
            let what = TimelineEvent::Note { text: "x".into() };
            book.record(&id, TimelineEntry { time: alert.time, what });
        }
    }
    let incident = book.get(&id).unwrap();
    assert_eq!((incident.timeline.len(), incident.n_dropped), (TIMELINE_MAX, 5));
    for i in 0..INCIDENTS_MAX + 3 {
        book.join(&alert_in("Rule", &format!("c{i}")));
    }
    assert_eq!(book.iter().count(), INCIDENTS_MAX);
}

/// A container with a network of its own: its address and whom it is connected with.
fn networked(book: &mut IncidentBook, id: &str, address: &str, with: &[(&str, &str)]) -> Alert {
    let view = NetView {
        addresses: BTreeSet::from([address.parse().unwrap()]),
        connections: with
            .iter()
            .map(|(local, remote)| Connection {
                local: local.parse().unwrap(),
                remote: remote.parse().unwrap(),
                inbound: false,
                peer: None,
            })
            .collect(),
        ..NetView::default()
    };
    book.note_network(id, view);
    let mut alert = alert("Rule", Some(container(id)));
    alert.process = Some(process(u32::from_str_radix(id, 16).unwrap() + 100, 50));
    alert.ancestors.clear();
    alert
}

#[test]
fn a_step_from_one_container_to_the_next_is_one_incident() {
    let mut book = IncidentBook::default();
    let web = networked(&mut book, "a", "10.0.0.2", &[("10.0.0.2:40000", "10.0.0.3:6379")]);
    let db = networked(&mut book, "b", "10.0.0.3", &[]);
    let other = networked(&mut book, "c", "10.0.0.4", &[("10.0.0.4:40000", "8.8.8.8:443")]);
    assert!(book.is_new_place(&web));
    let first = book.join(&web);
    assert!(!book.is_new_place(&web));
    assert!(book.is_new_place(&db));
    let second = book.join(&db);
    assert_eq!(second, Joined { incident: first.incident.clone(), is_new: false });
    assert_ne!(book.join(&other).incident, first.incident);
    let incident = book.scored(&first.incident).unwrap();
    let ids: Vec<&str> = incident.containers().map(|c| c.id.as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
    let link = &incident.links[0];
    assert_eq!((link.kind, link.from.as_str(), link.to.as_str()), (LinkKind::Connection, "a", "b"));
    assert_eq!(link.detail, "10.0.0.2:40000 and 10.0.0.3:6379");
    // It is found from the other end as well, and from a connection that has ended since.
    let mut book = IncidentBook::default();
    let db = networked(&mut book, "b", "10.0.0.3", &[]);
    let web = networked(&mut book, "a", "10.0.0.2", &[("10.0.0.2:40000", "10.0.0.3:6379")]);
    let web_later = networked(&mut book, "a", "10.0.0.2", &[]);
    let first = book.join(&db);
    assert_eq!(book.join(&web_later).incident, first.incident);
    assert_eq!(book.join(&web).incident, first.incident);
    assert_eq!(book.get(&first.incident).unwrap().reached.len(), 1);
}

#[test]
fn an_escape_is_one_incident() {
    let mut book = IncidentBook::default();
    let mut inside = alert("Rule", Some(container("aaaa")));
    inside.process = Some(process(500, 499));
    let mut outside = host_alert(&[(501, 500), (500, 499)], 2);
    outside.time = inside.time;
    let first = book.join(&inside);
    assert_eq!(book.join(&outside).incident, first.incident);
    let incident = book.scored(&first.incident).unwrap();
    assert_eq!(incident.links[0].kind, LinkKind::ProcessTree);
    assert_eq!(incident.links[0].to, "host");
    assert!(incident.score.parts.iter().any(|part| part.reason == "reached the host"));
    // Nobody acts on the host, so killing the container is not the end of it.
    assert_eq!(book.note_response(&first.incident, "aaaa", true), IncidentState::Open);
    // What was known is known after a restart.
    let mut book = IncidentBook::with([incident]);
    outside.id = "again".into();
    assert_eq!(book.join(&outside).incident, first.incident);
}

#[test]
fn one_rule_in_containers_of_one_image_is_one_incident() {
    let of_image = |id: &str, rule: &str, priority| {
        let mut alert = alert(rule, Some(container(id)));
        let image = ImageIdentity { reference: "shop:1".into(), digest: None };
        alert.container.as_mut().unwrap().image = Some(image);
        alert.process = None;
        alert.ancestors.clear();
        alert.priority = priority;
        alert
    };
    let mut book = IncidentBook::default();
    let first = book.join(&of_image("a", "Miner", Priority::Critical));
    let same = book.join(&of_image("b", "Miner", Priority::Critical));
    let other_rule = book.join(&of_image("c", "Shell", Priority::Critical));
    let low = book.join(&of_image("d", "Miner", Priority::Notice));
    let mut late = of_image("e", "Miner", Priority::Critical);
    late.time = late.time + Duration::from_mins(11);
    let late = book.join(&late);
    assert_eq!(same.incident, first.incident);
    for joined in [other_rule, low, late] {
        assert_ne!(joined.incident, first.incident);
    }
    assert_eq!(book.get(&first.incident).unwrap().links[0].kind, LinkKind::Image);
}

#[test]
fn alerts_of_one_person_are_one_incident() {
    let by = |pid: u32, uid: u32, nanos: u64| {
        let mut alert = host_alert(&[(pid, 50)], nanos);
        alert.process.as_mut().unwrap().uid = uid;
        alert
    };
    let mut book = IncidentBook::default();
    let first = book.join(&by(60, 1000, 1));
    assert_eq!(book.join(&by(61, 1000, 2)).incident, first.incident);
    assert_ne!(book.join(&by(62, 1001, 3)).incident, first.incident);
    // Root and the system's users are everybody.
    let root = book.join(&by(63, 0, 4));
    assert_ne!(book.join(&by(64, 0, 5)).incident, root.incident);
}

#[test]
fn a_later_survey_adds_to_what_is_known() {
    let mut book = IncidentBook::default();
    let id = book.join(&alert("Rule", Some(container("aaaa")))).incident;
    let blast = |place: &str, nanos: u64| BlastRadius {
        container: "aaaa".into(),
        surveyed: Timestamp::from_nanos(nanos),
        addresses: Vec::new(),
        host_network: false,
        same_image: Vec::new(),
        shared_mounts: Vec::new(),
        same_network: Vec::new(),
        credentials: vec![Credential { place: place.into(), what: "token".into() }],
        connections: Vec::new(),
        gaps: Vec::new(),
    };
    assert!(!book.set_blast("INC-0", blast("x", 1)));
    for (place, nanos) in [("a", 1), ("b", 2), ("a", 3)] {
        assert!(book.set_blast(&id, blast(place, nanos)));
    }
    let incident = book.scored(&id).unwrap();
    assert_eq!(incident.blast.len(), 1);
    assert_eq!(incident.blast[0].credentials.len(), 2);
    assert_eq!(incident.blast[0].surveyed, Timestamp::from_nanos(3));
    let reasons: Vec<(i8, &str)> =
        incident.score.parts.iter().map(|part| (part.points, part.reason.as_str())).collect();
    let expected = [
        (30, "highest priority: Critical"),
        (2, "1 of 1 attempts succeeded"),
        (4, "2 credential(s) within reach"),
    ];
    assert_eq!(reasons, expected);
    assert_eq!(incident.score.value, 36);
}

#[test]
fn a_person_closes_and_notes() {
    let mut book = IncidentBook::default();
    let id = book.join(&alert("Rule", Some(container("aaaa")))).incident;
    let now = alert("Rule", None).time + Duration::from_secs(1);
    assert_eq!(book.note(&id, now, &"x".repeat(5000)), Ok(IncidentState::Open));
    book.advance(&id, IncidentState::Responding, now);
    assert_eq!(book.close(&id, now, "done"), Err(ChangeRefusal::Responding(id.clone())));
    book.advance(&id, IncidentState::Contained, now);
    assert_eq!(book.close(&id, now, "done"), Ok(IncidentState::Closed));
    assert_eq!(book.close("INC-0", now, "x"), Err(ChangeRefusal::Unknown("INC-0".into())));
    let TimelineEvent::Note { text } = &book.get(&id).unwrap().timeline[1].what else { panic!() };
    assert_eq!(text.len(), NOTE_CHARS_MAX);
    assert!(book.join(&alert("Other", Some(container("aaaa")))).is_new);
}

#[test]
fn an_incident_is_contained_when_all_its_containers_are() {
    let mut book = IncidentBook::default();
    let web = networked(&mut book, "a", "10.0.0.2", &[("10.0.0.2:40000", "10.0.0.3:6379")]);
    let db = networked(&mut book, "b", "10.0.0.3", &[]);
    let id = book.join(&web).incident;
    let state = book.note_response(&id, "a", true);
    assert_eq!(state, IncidentState::Contained);
    book.advance(&id, state, web.time);
    book.join(&db);
    assert_eq!(book.get(&id).unwrap().state, IncidentState::Open);
    assert_eq!(book.note_response(&id, "b", false), IncidentState::Open);
    assert_eq!(book.note_response(&id, "b", true), IncidentState::Contained);
}

#[test]
fn what_was_contained_is_so_after_a_restart_and_until_it_escapes() {
    let mut book = IncidentBook::default();
    let mut inside = alert("Rule", Some(container("aaaa")));
    inside.process = Some(process(500, 499));
    let id = book.join(&inside).incident;
    let state = book.note_response(&id, "aaaa", true);
    book.advance(&id, state, inside.time);
    let mut book = IncidentBook::with([book.get(&id).unwrap().clone()]);
    let db = networked(&mut book, "b", "10.0.0.3", &[]);
    let mut outside = host_alert(&[(501, 500), (500, 499)], 2);
    outside.time = inside.time;
    book.join(&db);
    assert_eq!(book.note_response(&id, "aaaa", true), IncidentState::Contained);
    assert_eq!(book.join(&outside).incident, id);
    assert_eq!(book.get(&id).unwrap().state, IncidentState::Open);
}
