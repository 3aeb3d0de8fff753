use super::*;

const LEAST: &str = "state = \"/var/lib/kalitka-hub\"\n";

fn parse(bytes: &[u8]) -> Result<Config, String> {
    settings::parse(bytes, Config::check)
}

fn refusal(text: &str) -> String {
    parse(text.as_bytes()).unwrap_err()
}

#[test]
fn little_is_needed_and_the_rest_has_its_defaults() {
    let config = parse(LEAST.as_bytes()).unwrap();
    assert_eq!(config.quic.listen.to_string(), "0.0.0.0:4710");
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:9471");
    assert_eq!(config.control.socket, Path::new("/run/kalitka-hub/control"));
    assert_eq!(config.renew_expired().as_secs(), 365 * 86_400);
    assert!(config.publishers().unwrap().is_empty() && config.operators().unwrap().is_empty());
}

#[test]
fn example_holds() {
    let text = include_str!("../../../deploy/hub.example.toml");
    parse(text.as_bytes()).unwrap();
}

#[test]
fn what_is_wrong_is_named() {
    for (more, word) in [
        ("more = 1", "more"),
        ("[quic]\nlisten = \"nowhere\"", "listen"),
        ("[quic]\nport = 1", "port"),
        ("[control]\nsocket = \"here\"", "control.socket"),
        ("[gateways]\npublishers = [\"00\"]", "gateways.publishers"),
        ("[gateways]\noperators = [\"zz\"]", "gateways.operators"),
        ("[gateways]\nrenew_expired_days = 3651", "gateways.renew_expired_days"),
        ("[log]\nlevel = \"all\"", "level"),
    ] {
        let error = refusal(&format!("{LEAST}{more}\n"));
        assert!(error.contains(word), "{more}: {error}");
    }
    assert!(refusal("state = \"here\"").contains("state"));
    assert!(refusal("").contains("state"));
    let long = format!("{LEAST}[control]\nsocket = \"/{}\"\n", "a".repeat(200));
    assert!(refusal(&long).contains("control.socket"));
    let many = "\"00\",".repeat(OPERATORS_MAX + 1);
    assert!(refusal(&format!("{LEAST}[gateways]\noperators = [{many}]\n")).contains("at most"));
}
