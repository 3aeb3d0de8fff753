//! How long a snapshot takes to be verified and probed: `cargo run --release -p kalitka-snapshot --example verify_time`.

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use ed25519_dalek::SigningKey;
use kalitka_protocol::credential::Credential;
use kalitka_snapshot::model::{AccessLevel, CredentialState, HolderState, Model, NO_END, Offset, Slot};
use kalitka_snapshot::{AlignedBytes, Edition, PublisherKey, Snapshot, build_model, sign};

const ROUNDS: usize = 15;

fn main() -> Result<(), Box<dyn Error>> {
    for entries in [10_000, 1_000_000] {
        measure(entries)?;
    }
    Ok(())
}

fn measure(entries: u32) -> Result<(), Box<dyn Error>> {
    let secret = SigningKey::from_bytes(&[7; 32]);
    let publisher = PublisherKey::from_bytes(secret.verifying_key().to_bytes());
    let began = Instant::now();
    let edition = Edition { building: 1, organisation: 1, generation: 1, created: 0, last_command: 0 };
    let file = sign(build_model(&edition, model(entries)?)?, &secret)?;
    let built = began.elapsed();

    let mut verified_ms = Vec::new();
    for _ in 0..ROUNDS {
        let bytes = AlignedBytes::from(&file[..]);
        let began = Instant::now();
        let snapshot = Snapshot::verify(bytes, &[publisher], 1)?;
        verified_ms.push(began.elapsed().as_secs_f64() * 1e3);
        drop(snapshot);
    }
    verified_ms.sort_by(f64::total_cmp);

    let snapshot = Snapshot::verify(AlignedBytes::from(&file[..]), &[publisher], 1)?;
    let asked: Vec<Credential> =
        (0..entries).map(|n| credential(n.wrapping_mul(2_654_435_761) % (2 * entries))).collect();
    let began = Instant::now();
    let found = asked.iter().filter(|credential| snapshot.probe(credential).is_some()).count();
    let probe_ns = began.elapsed().as_secs_f64() * 1e9 / f64::from(entries);

    writeln!(
        std::io::stdout(),
        "{entries} entries, {} bytes, longest run {}: built {:.0} ms; verified min {:.2} ms, p50 {:.2} ms, max {:.2} ms; \
         a random probe {probe_ns:.0} ns ({found} of {entries} found)",
        file.len(),
        snapshot.header().longest_run,
        built.as_secs_f64() * 1e3,
        verified_ms[0],
        verified_ms[ROUNDS / 2],
        verified_ms[ROUNDS - 1],
    )?;
    Ok(())
}

fn credential(number: u32) -> Credential {
    let uid = [&[4, 0x9a, 0x31][..], &number.to_be_bytes()].concat();
    Credential::from_uid(&uid).unwrap_or(Credential::from_bytes([0; 16]))
}

fn model(entries: u32) -> Result<Model, Box<dyn Error>> {
    let slot = |holder| Slot {
        key: *credential(holder).as_bytes(),
        holder,
        credential_state: CredentialState::Issued as u8,
        holder_state: HolderState::Active as u8,
        credential_to: NO_END,
        holder_to: NO_END,
        ..Slot::EMPTY
    };
    let identity = |holder: u32| <[u8; 16]>::try_from(format!("holder-{holder:09}").as_bytes());
    Ok(Model {
        name: "measured".into(),
        time_zone: "UTC".into(),
        offsets: vec![Offset { from: i64::MIN, seconds: 0 }],
        areas: Vec::new(),
        portals: Vec::new(),
        readers: Vec::new(),
        schedules: Vec::new(),
        access_levels: vec![AccessLevel { name: "all".into(), grants: Vec::new() }],
        profiles: vec![vec![0]],
        groups: vec![String::new()],
        holders: (0..entries).map(identity).collect::<Result<_, _>>()?,
        hash_seeds: [0; 2],
        homes: 0,
        slots: (0..entries).map(slot).collect(),
    })
}
