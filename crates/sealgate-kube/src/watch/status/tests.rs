use super::*;

fn condition(kind: &'static str, reason: &'static str, message: &str) -> Condition {
    Condition { kind, holds: reason.is_empty(), reason, message: message.to_owned() }
}

fn report(status: Value, conditions: Vec<Condition>) -> Report {
    let metadata =
        Metadata { name: "p".to_owned(), generation: Some(2), status, ..Metadata::default() };
    Report { metadata, conditions }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn good() -> Vec<Condition> {
    vec![condition("KeysInlined", "", ""), condition("Ready", "", "")]
}

fn bad(message: &str) -> Vec<Condition> {
    vec![
        condition("KeysInlined", "InliningKeysFailed", message),
        condition("Ready", "InliningKeysFailed", message),
    ]
}

#[test]
fn a_new_policy_gets_a_status_once() {
    let status = due_status(&report(Value::Null, good()), at(0)).expect("due");
    assert_eq!(status["observedGeneration"], 2);
    let expected = json!({
        "type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:00:00Z",
    });
    assert_eq!(status["conditions"][1], expected);
    assert_eq!(due_status(&report(status, good()), at(9)), None);
}

#[test]
fn the_time_of_transition_moves_with_the_truth_only() {
    let first = due_status(&report(Value::Null, bad("one")), at(0)).expect("due");
    let second = due_status(&report(first.clone(), bad("two")), at(60)).expect("due");
    assert_eq!(second["conditions"][1]["message"], "two");
    assert_eq!(second["conditions"][1]["lastTransitionTime"], "1970-01-01T00:00:00Z");
    let third = due_status(&report(second, good()), at(120)).expect("due");
    assert_eq!(third["conditions"][1]["lastTransitionTime"], "1970-01-01T00:02:00Z");
    assert_eq!(third["conditions"][1].get("message"), None);
}

#[test]
fn a_new_generation_is_observed() {
    let mut status = due_status(&report(Value::Null, good()), at(0)).expect("due");
    status["observedGeneration"] = json!(1);
    let renewed = due_status(&report(status, good()), at(60)).expect("due");
    assert_eq!(renewed["observedGeneration"], 2);
    assert_eq!(renewed["conditions"][1]["lastTransitionTime"], "1970-01-01T00:00:00Z");
}

/// policy-controller leaves conditions that we do not keep.
#[test]
fn conditions_of_others_are_removed() {
    let mut status = due_status(&report(Value::Null, good()), at(0)).expect("due");
    let foreign = json!({ "type": "ConfigMapUpdated", "status": "True" });
    status["conditions"].as_array_mut().expect("list").push(foreign);
    let status = due_status(&report(status, good()), at(0)).expect("due");
    assert_eq!(status["conditions"].as_array().map(Vec::len), Some(2));
}

#[test]
fn an_event_for_each_new_trouble_only() {
    assert!(due_event(&report(Value::Null, good())).is_none());
    let event = due_event(&report(Value::Null, bad("one"))).expect("due");
    assert_eq!(event.reason, "InliningKeysFailed");
    assert_eq!(event.note.as_deref(), Some("one"));
    let status = due_status(&report(Value::Null, bad("one")), at(0)).expect("due");
    assert!(due_event(&report(status.clone(), bad("one"))).is_none());
    assert!(due_event(&report(status, bad("two"))).is_some());
}

#[test]
fn a_status_of_strange_form_is_replaced() {
    for strange in
        [json!([]), json!("x"), json!({ "conditions": {} }), json!({ "conditions": [1] })]
    {
        assert!(due_status(&report(strange, good()), at(0)).is_some());
    }
}

#[test]
fn a_message_is_one_bounded_line() {
    let long = format!("a\nb{}", "é".repeat(5_000));
    let status = due_status(&report(Value::Null, bad(&long)), at(0)).expect("due");
    let message = status["conditions"][1]["message"].as_str().expect("text");
    assert!(message.starts_with("a b") && message.chars().count() == MAX_MESSAGE);
    assert_eq!(due_status(&report(status, bad(&long)), at(1)), None, "and is known again");
}

/// One replica reaches a mirror and another does not: they must not overwrite each other for ever.
#[test]
fn the_same_words_are_not_repeated_at_once_over_those_of_others() {
    let mut history = History::default();
    let ours = report(Value::Null, good());
    let start = Instant::now();
    assert!(!history.wrote_lately(&ours, start));
    history.record(&ours, start);
    let theirs = due_status(&report(Value::Null, bad("no route")), at(0)).expect("due");
    let overwritten = report(theirs, good());
    assert!(due_status(&overwritten, at(1)).is_some());
    assert!(history.wrote_lately(&overwritten, start + REWRITE / 2));
    assert!(!history.wrote_lately(&overwritten, start + REWRITE));
    assert!(!history.wrote_lately(&report(Value::Null, bad("other words")), start));
    let mut edited = report(Value::Null, good());
    edited.metadata.generation = Some(3);
    assert!(!history.wrote_lately(&edited, start));
    let mut another = report(Value::Null, good());
    another.metadata.uid = "made anew".to_owned();
    assert!(!history.wrote_lately(&another, start));
    history.retain(&[]);
    assert!(!history.wrote_lately(&ours, start));
}
