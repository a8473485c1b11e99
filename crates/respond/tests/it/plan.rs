use palisade_policy::Action;
use palisade_respond::plan::PlanRefusal;
use palisade_respond::{Plan, plan};

use crate::support::{alert, container, response};

#[test]
fn a_plan_is_a_function_of_rule_and_alert() {
    let alert =
        alert(Some(container("0123456789abcdef", Some("/palisade/0123456789abcdef".into()))));
    let rule = response(&[Action::Kill, Action::Freeze, Action::Kill, Action::Evidence]);
    let first = plan(&rule, &alert, "INC-1").unwrap();
    assert_eq!(first, plan(&rule, &alert, "INC-1").unwrap());
    let actions: Vec<Action> = first.steps.iter().map(|step| step.action).collect();
    assert_eq!(actions, [Action::Freeze, Action::Evidence, Action::Kill], "safe order, each once");
    let json = serde_json::to_string(&first).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), first);
    assert_eq!(
        first.to_string(),
        "plan 00000000000000010000000a-stop-it (stop it)\n  \
         container 0123456789ab web, control group /palisade/0123456789abcdef\n  \
         1. freeze   stop every process of the container where it stands (within 500 ms)\n  \
         2. evidence collect a bundle, hashed and signed (within 60000 ms)\n  \
         3. kill     end every process of the container (within 10000 ms)\n"
    );
}

#[test]
fn what_cannot_be_planned_is_refused() {
    let rule = response(&Action::ALL);
    let host = alert(None);
    assert!(matches!(plan(&rule, &host, "INC-1"), Err(PlanRefusal::NoContainer(_))));
    let unknown = alert(Some(container("0123456789abcdef", None)));
    assert!(matches!(plan(&rule, &unknown, "INC-1"), Err(PlanRefusal::NoCgroup(_))));
    let known = alert(Some(container("0123456789abcdef", Some("/x".into()))));
    assert!(matches!(plan(&response(&[]), &known, "INC-1"), Err(PlanRefusal::NoActions(_))));
}
