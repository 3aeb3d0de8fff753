//! Draws the pictures of the README from a run of the demo: the dashboards, evaluated by a real Prometheus that scrapes gateway
//! and hub, and the status page in a real browser.
#![allow(clippy::print_stdout, reason = "it is run by people")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "what cannot be drawn ends it, with the reason")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser;
use kalitka_tests::browser::{Browser, Screen};
use kalitka_tests::pictures::{Span, draw};
use kalitka_tests::process::Process;
use kalitka_tests::prometheus::{Prometheus, chosen};
use kalitka_tests::site::{BOUND, text};
use kalitka_tests::tree::root;
use kalitka_tests::wait::until;

/// Bytes of a picture.
const PICTURE_MAX: u64 = 200_000;
/// How much of the run the page's pictures wait for: gateway and hub have been killed and are back.
const LOOK_AFTER: f64 = 0.8;

/// Draws the README's pictures of dashboards and status page from a run of the demo.
#[derive(Parser)]
struct Options {
    /// Seconds of the demo.
    #[arg(long, default_value_t = 75)]
    duration: u32,
    /// The folder of the pictures.
    #[arg(long, default_value = "docs/pictures")]
    out: PathBuf,
}

fn main() {
    let options = Options::parse();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(&options.out).unwrap();
    let mut demo = start_demo(folder.path(), options.duration);
    let [gateway, hub] = ["gateway", "hub"].map(|program| address_of(&mut demo, program));
    let prometheus = Prometheus::start(folder.path(), &[&gateway, &hub]);
    let browser = Browser::start(folder.path());
    until("cards to be shown", BOUND * 4, || demo.printed().contains("\nplaying ").then_some(()));
    let (begun, from) = (Instant::now(), now());
    let wait = Duration::from_secs(options.duration.into());
    println!("pictures: the demo plays for {} s", wait.as_secs());
    until("the crowd's end", wait + BOUND, || (begun.elapsed() >= wait.mul_f64(LOOK_AFTER)).then_some(()));
    photograph(&browser, &gateway, &options.out);
    until("the demo's end", wait + BOUND, || (begun.elapsed() >= wait).then_some(()));
    let span = Span { from, to: now(), step: 1.0 };
    let note = format!("{} s of the demo, as Prometheus has seen them; drawn by make pictures", wait.as_secs());
    for name in ["building", "fleet"] {
        let dashboard = fs::read(root().join(format!("deploy/grafana/{name}.json"))).unwrap();
        let picture = draw(&serde_json::from_slice(&dashboard).unwrap(), &prometheus, span, &note, |asked: &str| {
            chosen(asked, &gateway)
        });
        fs::write(options.out.join(format!("{name}.svg")), picture).unwrap();
    }
    drop(prometheus);
    let ended = until("the demo to have judged itself", BOUND * 4, || demo.ended());
    let result = demo.printed().lines().last().unwrap_or_default().to_owned();
    assert!(ended.success(), "the demo was not content: {}", demo.printed());
    println!("pictures: {result}");
    tell(&options.out);
}

fn start_demo(folder: &Path, duration: u32) -> Process {
    let duration = duration.to_string();
    let roster = root().join("deploy/demo/roster");
    let environment = [("TMPDIR".to_owned(), text(folder).to_owned())];
    let args = ["demo", "--roster", text(&roster), "--duration", &duration];
    Process::start_in(&environment, "kalitka-loadgen", args, &folder.join("demo.log"))
}

/// Where `program` serves its metrics, by what the demo has said.
fn address_of(demo: &mut Process, program: &str) -> String {
    until("an address of the demo", BOUND * 4, || {
        assert!(demo.ended().is_none(), "the demo has ended: {}", demo.printed());
        let printed = demo.printed();
        let line = printed.lines().find(|line| line.starts_with(program))?.to_owned();
        Some(line.split_once("http://")?.1.split_once("/metrics")?.0.to_owned())
    })
}

/// The status page on a desk and on a phone.
fn photograph(browser: &Browser, gateway: &str, out: &Path) {
    let desk = Screen { width: 1100, height: 860, ..Screen::DESK };
    let phone = Screen { is_dark: true, ..Screen::PHONE };
    for (name, language, heading, screen) in
        [("status.png", "en", "Readers", desk), ("status-phone.png", "ru", "Считыватели", phone)]
    {
        browser.look_at(screen);
        browser.open(&format!("http://{gateway}/?lang={language}"));
        browser.await_seen("#readers", heading);
        browser.photograph(&out.join(name));
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn tell(out: &Path) {
    for name in ["status.png", "status-phone.png", "building.svg", "fleet.svg"] {
        let file = out.join(name);
        let bytes = fs::metadata(&file).unwrap().len();
        println!("pictures: {}, {bytes} bytes", file.display());
        assert!(bytes <= PICTURE_MAX, "more than {PICTURE_MAX} bytes");
    }
}
