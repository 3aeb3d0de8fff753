//! The configuration's parser: the example, every wrong value by name, and mutations of all kinds.

use super::*;

use fastrand::Rng;

const EXAMPLE: &str = include_str!("../../deploy/gateway.example.toml");
/// Stands in the example where a key belongs, so that nobody trusts a key of ours by leaving it there.
const PLACEHOLDER: &str = "publishers = []";

const EXECUTIONS: u64 = 100_000;
const EXECUTIONS_IN_SOAK: u64 = 10_000_000;

fn parse(bytes: &[u8]) -> Result<Config, String> {
    settings::parse(bytes, Config::check)
}

fn key() -> String {
    hex::encode(ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key().as_bytes())
}

/// The example as somebody has completed it.
fn example() -> String {
    EXAMPLE.replacen(PLACEHOLDER, &format!("publishers = [\"{}\"]", key()), 1)
}

#[test]
fn example_is_a_valid_configuration_and_trusts_nobody() {
    assert_eq!(parse(EXAMPLE.as_bytes()).unwrap().publishers().unwrap(), []);
    let config = parse(example().as_bytes()).unwrap();
    assert_eq!(config.publishers().unwrap().len(), 1);
    assert_eq!((config.udp.listen.port(), config.udp.workers, config.snapshots.poll_ms), (4700, 1, 250));
}

#[test]
fn port_of_a_reader_is_no_line_of_devices() {
    let lines = |port: &str| {
        let reader = "[[serial]]\nport = \"/dev/ttyS0\"\n";
        format!("{}\n{reader}[[osdp]]\nport = \"{port}\"\n[[osdp.devices]]\naddress = 0\nreader = 101\n", example())
    };
    let error = parse(lines("/dev/ttyS0").as_bytes()).unwrap_err();
    assert!(error.contains("osdp.port") && error.contains("[[serial]]"), "{error}");
    assert!(parse(lines("/dev/ttyS1").as_bytes()).is_ok());
}

#[test]
fn wrong_values_are_refused_by_name_with_what_to_do() {
    let long = format!("socket = \"/{}", "x".repeat(120));
    let cases = [
        ("building = 17", "building = 0", "building", "from 1 to"),
        ("building = 17", "bilding = 17", "bilding", "expected one of"),
        ("workers = 1", "workers = 0", "udp.workers", "from 1 to 64"),
        ("workers = 1", "workers = 65", "udp.workers", "from 1 to 64"),
        ("workers = 1", "threads = 1", "threads", "expected"),
        ("cores = []", "cores = [0, 1]", "udp.cores", "one for each, or none"),
        ("cores = []", "cores = [1024]", "udp.cores", "from 0 to 1023"),
        ("spin_us = 0", "spin_us = 10001", "udp.spin_us", "from 0 to 10000"),
        ("receive_buffer_bytes = 4194304", "receive_buffer_bytes = 65535", "udp.receive_buffer_bytes", "from 65536 to"),
        (
            "receive_buffer_bytes = 4194304",
            "receive_buffer_bytes = 1073741825",
            "udp.receive_buffer_bytes",
            "to 1073741824",
        ),
        ("# core = 1 ", "core = 1024 ", "journal.core", "from 0 to 1023"),
        ("ring = 65536", "ring = 4095", "journal.ring", "from 4096 to 4194304"),
        ("ring = 65536", "ring = 4194305", "journal.ring", "from 4096 to 4194304"),
        ("poll_ms = 250", "poll_ms = 9", "snapshots.poll_ms", "from 10 to 60000"),
        ("stale_after_days = 0", "stale_after_days = 3651", "snapshots.stale_after_days", "from 0 to 3650"),
        ("stale_after_days = 0", "stale_after_days = -1", "stale_after_days", "invalid value"),
        ("fall_back_after_ms = 1000", "fall_back_after_ms = 199", "readers.fall_back_after_ms", "from 200 to 60000"),
        ("state = \"/", "state = \"", "state", "from `/` on"),
        ("inbox = \"/", "inbox = \"", "snapshots.inbox", "from `/` on"),
        ("socket = \"/", "socket = \"", "control.socket", "from `/` on"),
        ("socket = \"", &long, "control.socket", "shorter"),
        ("listen = \"127.0.0.1:9470\"", "listen = \"localhost\"", "listen", "socket address"),
        ("format = \"text\"", "format = \"xml\"", "format", "expected"),
        ("granted = ", "allowed = ", "texts.allowed", "there are granted"),
        ("events_max = 2000000", "events_max = 9999", "outbox.events_max", "from 10000 to"),
        ("bytes_max = 1073741824", "bytes_max = 1", "outbox.bytes_max", "from 67108864 to"),
        ("keep_acknowledged = 100000", "keep_acknowledged = 2000001", "outbox.keep_acknowledged", "from 0 to 2000000"),
        ("mode = \"closed\"", "mode = \"open\"", "mode", "as_scheduled"),
        ("trust = \"synchronised\"", "trust = \"never\"", "trust", "always"),
        ("essential = [\"pupil\"", "essential = [1", "essential", "string"),
        ("operators = []", "operators = [\"12\"]", "commands.operators", "operator keygen"),
        ("# hub = \"hub.example.org:4710\"", "hub = \"hub.example.org\"", "uplink.hub", "HOST:PORT"),
        (
            "granted = \"",
            "granted = \"очень-очень длинный текст для табло, которое его не вместит",
            "texts.granted",
            "64",
        ),
    ];
    for (right, wrong, named, remedy) in cases {
        assert!(EXAMPLE.contains(right), "the example lacks `{right}`");
        let error = parse(example().replacen(right, wrong, 1).as_bytes()).unwrap_err();
        assert!(error.contains(named) && error.contains(remedy), "`{wrong}` gave: {error}");
    }
}

#[test]
fn each_worker_has_a_core_of_its_own_or_none_has() {
    let with = |workers: u8, cores: &str| {
        let text = example().replacen("workers = 1", &format!("workers = {workers}"), 1);
        parse(text.replacen("cores = []", &format!("cores = {cores}"), 1).as_bytes())
    };
    for (workers, cores) in [(1, "[1023]"), (2, "[]"), (2, "[1, 0]"), (3, "[7, 8, 9]")] {
        assert!(with(workers, cores).is_ok(), "{workers} {cores}");
    }
    for (workers, cores, remedy) in
        [(2, "[1]", "one for each"), (1, "[1, 2]", "one for each"), (2, "[1, 1]", "of its own")]
    {
        let error = with(workers, cores).unwrap_err();
        assert!(error.contains("udp.cores") && error.contains(remedy), "{workers} {cores}: {error}");
    }
}

#[test]
fn essential_levels_are_pupils_and_staff_unless_told_otherwise_and_bounded() {
    let config = |essential: &str| {
        let text = example().replacen("essential = [\"pupil\", \"staff\"]", essential, 1);
        parse(text.as_bytes())
    };
    assert_eq!(config("").unwrap().time.essential, ["pupil", "staff"]);
    assert_eq!(config("").unwrap().time.trust, Trust::Synchronised);
    assert!(config("essential = []").unwrap().time.essential.is_empty());
    let names = |count: usize| format!("essential = {:?}", vec!["level"; count]);
    assert!(config(&names(ESSENTIAL_LEVELS_MAX)).is_ok());
    let error = config(&names(ESSENTIAL_LEVELS_MAX + 1)).unwrap_err();
    assert!(error.contains("time.essential") && error.contains("64 at most"), "{error}");
}

#[test]
fn snapshots_are_never_stale_unless_told_otherwise_and_in_ten_years_at_the_latest() {
    let config = |days: &str| {
        let text = example().replacen("stale_after_days = 0", days, 1);
        parse(text.as_bytes()).map(|config| config.snapshots.stale_after_days)
    };
    for (days, expected) in [("", 0), ("stale_after_days = 0", 0), ("stale_after_days = 1", 1)] {
        assert_eq!(config(days), Ok(expected));
    }
    assert_eq!(config("stale_after_days = 3650"), Ok(3650));
    assert!(config("stale_after_days = 3651").is_err());
}

#[test]
fn publishers_are_two_keys_at_most() {
    let with = |list: &str| {
        let text = format!("building = 1\nstate = \"/s\"\n[snapshots]\ninbox = \"/i\"\npublishers = {list}\n");
        parse(text.as_bytes())
    };
    let key = key();
    assert!(with(&format!("[\"{key}\"]")).is_ok());
    assert!(with(&format!("[\"{key}\", \"{key}\"]")).is_ok());
    let three = format!("[\"{key}\", \"{key}\", \"{key}\"]");
    // An enrolled box has its publishers from its hub; whether there is one at all is seen at the start.
    assert!(with("[]").is_ok());
    for (wrong, remedy) in [(&three[..], "list one"), ("[\"12\"]", "keygen")] {
        let error = with(wrong).unwrap_err();
        assert!(error.contains("snapshots.publishers") && error.contains(remedy), "{wrong}: {error}");
    }
}

#[test]
fn configuration_that_is_not_utf8_is_refused_with_the_place() {
    let error = parse(b"building = 17 # \xd8").unwrap_err();
    assert!(error.contains("byte 17"), "{error}");
}

/// What is accepted keeps every limit that the example states.
fn assert_within_limits(config: &Config) {
    assert!(config.building >= 1);
    assert!((1..=64).contains(&config.udp.workers));
    assert!(config.udp.cores.is_empty() || config.udp.cores.len() == usize::from(config.udp.workers));
    assert!(config.udp.cores.iter().chain(&config.journal.core).all(|core| *core < 1024));
    assert!(config.udp.spin_us <= 10_000);
    assert!((1 << 16..=1 << 30).contains(&config.udp.receive_buffer_bytes));
    assert!((4096..=4_194_304).contains(&config.journal.ring));
    assert!((10..=60_000).contains(&config.snapshots.poll_ms));
    assert!(config.snapshots.stale_after_days <= 3650);
    assert!((200..=60_000).contains(&config.readers.fall_back_after_ms));
    assert!([&config.state, &config.snapshots.inbox, &config.control.socket].iter().all(|path| path.is_absolute()));
    assert!(config.control.socket.as_os_str().len() < 108);
    let publishers = &config.snapshots.publishers;
    assert!(publishers.len() <= 2);
    assert!((10_000..=1_000_000_000).contains(&config.outbox.events_max));
    assert!((64 << 20..=1 << 40).contains(&config.outbox.bytes_max));
    assert!(config.outbox.keep_acknowledged <= config.outbox.events_max);
    assert!(config.operators().unwrap().len() <= 32);
    assert!(publishers.iter().all(|key| key.len() == 64 && key.bytes().all(|byte| byte.is_ascii_hexdigit())));
    assert_eq!(config.publishers().unwrap().len(), publishers.len());
    assert!(config.texts.values().all(|text| text.len() <= 64));
    config.texts().unwrap();
}

/// Gives whether it is accepted.
fn assert_refused_or_within_limits(bytes: &[u8]) -> bool {
    let parsed = parse(bytes);
    match &parsed {
        Ok(config) => assert_within_limits(config),
        Err(error) => assert!(!error.is_empty(), "refused without a word"),
    }
    parsed.is_ok()
}

#[test]
fn every_truncation_and_every_flipped_bit_is_refused_or_within_limits() {
    let example = example();
    for end in 0..example.len() {
        assert_refused_or_within_limits(&example.as_bytes()[..end]);
    }
    for bit in 0..example.len() * 8 {
        let mut bytes = example.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_refused_or_within_limits(&bytes);
    }
}

/// Where one thing changes: a word of the file becomes another, a number of any size, or a few random bytes.
fn change(random: &mut Rng, bytes: &mut Vec<u8>) {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_./".contains(byte);
    let at = random.usize(..=bytes.len());
    let end = at + bytes[at..].iter().take_while(|byte| is_word(byte)).count();
    match random.u8(..6) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
        1 => bytes.truncate(at),
        2 => drop(bytes.splice(at..end, (random.u64(..) >> random.u32(..64)).to_string().into_bytes())),
        3 => {
            let from = random.usize(..=bytes.len());
            let len = random.usize(..80).min(bytes.len() - from);
            let piece = bytes[from..from + len].to_vec();
            bytes.splice(at..end, piece);
        }
        4 => drop(bytes.drain(at..end)),
        _ => {
            let mut noise = vec![0; random.usize(1..8)];
            random.fill(&mut noise);
            bytes.splice(at..at, noise);
        }
    }
}

/// The number in the environment variable `name`, if it is set.
fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

#[test]
fn mutated_configuration_is_refused_or_within_limits() {
    let soak = std::env::var("KALITKA_SOAK").is_ok_and(|value| value != "0" && !value.is_empty());
    let default = if soak { EXECUTIONS_IN_SOAK } else { EXECUTIONS };
    let seed = from_environment("KALITKA_SEED").unwrap_or(20_261_122);
    println!("KALITKA_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    // Without comments and empty lines: most of the example is there for people.
    let example = example();
    let lines = example.lines().filter_map(|line| line.split('#').next()).map(str::trim_end);
    let whole = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    let mut accepted = 0_u64;
    let executions = from_environment("KALITKA_FUZZ_EXECUTIONS").unwrap_or(default);
    for _ in 0..executions {
        let mut bytes = whole.clone().into_bytes();
        for _ in 0..random.usize(1..4) {
            change(&mut random, &mut bytes);
        }
        match std::panic::catch_unwind(|| assert_refused_or_within_limits(&bytes)) {
            Ok(is_accepted) => accepted += u64::from(is_accepted),
            Err(_) => panic!("KALITKA_SEED={seed}; input: {}", String::from_utf8_lossy(&bytes).escape_debug()),
        }
    }
    assert!(executions < 1000 || (accepted > 0 && accepted < executions), "{accepted} of {executions} accepted");
}
