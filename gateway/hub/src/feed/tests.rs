use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;

use super::body::Lines;
use super::watch::End;
use super::*;

fn description() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

#[test]
fn description_names_what_is_served_and_nothing_else() {
    let described: BTreeSet<_> = description()["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(described, ROUTES.iter().map(|(path, _)| (*path).to_owned()).collect());
}

#[test]
fn description_names_every_parameter() {
    let description = description();
    for (path, parse, others) in [
        ("/feed/complete", Query::complete as fn(&str) -> _, ["from", "kind"]),
        ("/feed/live", Query::live, ["after", "follow"]),
    ] {
        let parameters = description["paths"][path]["get"]["parameters"].as_array().unwrap();
        for parameter in parameters {
            let parameter = match parameter["$ref"].as_str() {
                Some(reference) => description.pointer(&reference[1..]).unwrap(),
                None => parameter,
            };
            let name = parameter["name"].as_str().unwrap();
            let value = if parameter["schema"]["type"] == "boolean" { "true" } else { "1" };
            assert!(parse(&format!("{name}={value}")).is_ok(), "{path} {name}");
        }
        for other in others {
            assert!(parse(&format!("{other}=1")).is_err(), "{path} {other}");
        }
    }
}

#[test]
fn description_names_every_answer() {
    let mut answers = BTreeSet::from(["200".to_owned()]);
    for refused in [Refused::NoToken, Refused::OtherBuilding, Refused::Query(""), Refused::TooMany, Refused::Store] {
        answers.insert(refused.into_response().status().as_str().to_owned());
    }
    for path in ["/feed/complete", "/feed/live"] {
        let described = &description()["paths"][path]["get"]["responses"];
        let described: BTreeSet<_> = described.as_object().unwrap().keys().cloned().collect();
        assert_eq!(described, answers, "{path}");
    }
    let ends = &description()["components"]["schemas"]["End"]["properties"]["end"]["enum"];
    assert_eq!(*ends, serde_json::json!([End::Revoked.label(), End::Stopping.label(), End::Store.label()]));
}

#[tokio::test]
async fn reader_that_takes_nothing_is_cut_and_sees_it() {
    let (queue, mut pieces) = mpsc::channel(1);
    let mut lines = Lines::new(queue, Duration::from_millis(20));
    lines.line("one\n").await.unwrap();
    lines.flush().await.unwrap();
    lines.line("two\n").await.unwrap();
    assert_eq!(lines.flush().await, Err(End::Slow));
    assert_eq!(pieces.recv().await.unwrap().unwrap(), "one\n");
    lines.end(End::Slow).await;
    assert!(pieces.recv().await.unwrap().is_err(), "what was sent is not to be taken for the whole");
}

#[tokio::test]
async fn feed_that_ends_by_itself_says_why() {
    let (queue, mut pieces) = mpsc::channel(1);
    Lines::new(queue, Duration::from_secs(5)).end(End::Revoked).await;
    assert_eq!(pieces.recv().await.unwrap().unwrap(), "{\"end\":\"revoked\"}\n");
    assert!(pieces.recv().await.is_none());
    let (queue, pieces) = mpsc::channel(1);
    let mut lines = Lines::new(queue, Duration::from_secs(5));
    drop(pieces);
    lines.line("one\n").await.unwrap();
    assert_eq!(lines.flush().await, Err(End::Gone));
}
