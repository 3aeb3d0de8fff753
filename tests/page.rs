//! The status page in a real browser: what a guard with a phone sees while readers come and go and the gateway dies.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use kalitka_tests::browser::{Browser, Screen};
use kalitka_tests::crowd::Crowd;
use kalitka_tests::random::seed;
use kalitka_tests::site::Site;
use serde_json::Value;

const HOLDERS: u32 = 100;
/// Readers of the invented roster's first turnstiles.
const ONE: u32 = 101;
const EVERY: Duration = Duration::from_millis(500);

/// A building whose readers have keys, that of one of them apart.
fn site() -> Site {
    let mut site = Site::new(HOLDERS);
    site.start();
    site.enrol();
    site.set_keys_apart(&[ONE], "one.json");
    site.offer(&site.build(1));
    site.await_generation(1);
    site
}

fn readers_of(site: &Site, keys: &str) -> Crowd {
    Crowd::start(site.udp(), &site.path(keys), EVERY, seed())
}

/// Nothing but the page itself was asked for, and it had nothing to complain of.
fn assert_keeps_to_itself(browser: &Browser, site: &Site) {
    let home = format!("http://{}/", site.http());
    let strays: Vec<String> =
        browser.requested().into_iter().filter(|url| !url.starts_with(&home) && !url.starts_with("data:")).collect();
    assert!(strays.is_empty(), "{strays:?}");
    assert_eq!(browser.console(), Vec::<String>::new());
}

/// Waits until all readers are up, and no reader that is away is told of.
fn await_all_up(browser: &Browser, site: &Site) {
    let status: Value = serde_json::from_str(&site.get("/status.json").1).unwrap();
    let known = &status["readers"]["known"];
    browser.await_seen("#readers ~ p", &format!("Up: {known} / {known}"));
    browser.await_seen("h1", "The doors are answering.");
    assert!(!browser.seen(".verdict").contains("away"), "{}", browser.seen(".verdict"));
}

#[test]
fn page_follows_a_reader_that_goes_and_comes_and_a_gateway_that_dies_and_is_back() {
    let mut site = site();
    let _others = readers_of(&site, "keys.json");
    let one = readers_of(&site, "one.json");
    let browser = Browser::start(&site.path(""));
    browser.open(&format!("http://{}/?lang=en", site.http()));
    browser.evaluate("window.mark = 'the page that was opened'");
    await_all_up(&browser, &site);
    drop(one);
    browser.await_seen("h1", "The doors are answering. A reader is away.");
    browser.await_seen(".verdict", "A reader is silent");
    browser.await_seen("#readers ~ table tbody tr:first-child", "101");
    browser.await_seen("#readers ~ table tbody tr:first-child", "✗ away");
    let _one = readers_of(&site, "one.json");
    await_all_up(&browser, &site);
    assert_keeps_to_itself(&browser, &site);

    site.gateway().kill();
    browser.await_seen("#lost", "The gateway does not answer this page.");
    browser.await_seen("#lost time", ":");
    assert_eq!(browser.seen("h1"), "", "nobody is told that doors answer while nobody knows");
    // What failed is told to the console.
    let _ = (browser.console(), browser.requested());
    site.start();
    await_all_up(&browser, &site);
    assert_eq!(browser.seen("#lost"), "");
    assert_eq!(browser.evaluate("return window.mark"), "the page that was opened", "it was loaded anew");
}

/// Whether something stands beyond the screen's right edge: what does.
const TOO_WIDE: &str = "
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    return [...document.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > width + 1).map(e => e.outerHTML.slice(0, 200));";

/// Numbers, those of readers among them, that stand in more than one line where names are long.
const BROKEN: &str = "
    for (const name of document.querySelectorAll('.name')) name.textContent = 'laboratory '.repeat(6);
    const lines = cell => { const text = document.createRange(); text.selectNodeContents(cell); return text.getClientRects().length; };
    const numbers = [...document.querySelectorAll('td.number:not(.time), tbody th')];
    return numbers.filter(cell => /^[\\d\\s/]+$/.test(cell.textContent) && lines(cell) > 1).map(cell => cell.outerHTML);";

/// Texts whose contrast is below what WCAG 2 AA asks for, each with its ratio.
const TOO_FAINT: &str = "
    const parts = color => color.match(/[\\d.]+/g).map(Number);
    const light = color => {
      const [r, g, b] = parts(color).map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = element => {
      for (; element; element = element.parentElement) {
        const color = getComputedStyle(element).backgroundColor, [, , , alpha = 1] = parts(color);
        if (alpha === 1) return color;
      }
      return 'rgb(255, 255, 255)';
    };
    const has = element => [...element.childNodes].some(node => node.nodeType === 3 && node.nodeValue.trim());
    const texts = [...document.body.querySelectorAll('*')].filter(e => has(e) && !e.closest('script, noscript, style'));
    return [texts.length, ...texts.flatMap(element => {
      const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      return ratio < 4.5 ? [`${ratio} ${element.outerHTML.slice(0, 120)}`] : [];
    })];";

/// What a screen reader would miss: tables without heads, sections without names, more than one main heading.
const UNNAMED: &str = "
    const faults = [];
    for (const table of document.querySelectorAll('table')) {
      if (!table.getAttribute('aria-labelledby')) faults.push('a table without a name');
      if ([...table.querySelectorAll('thead th')].some(th => th.scope !== 'col')) faults.push('a column without a head');
      if ([...table.querySelectorAll('tbody tr')].some(tr => tr.cells[0].scope !== 'row')) faults.push('a row without a head');
    }
    for (const element of document.querySelectorAll('[aria-labelledby]'))
      if (!document.getElementById(element.getAttribute('aria-labelledby'))?.textContent) faults.push(element.outerHTML.slice(0, 80));
    for (const [what, count] of [['main', 1], ['header', 1], ['footer', 1], ['nav[aria-label]', 1], ['h1', 1]])
      if (document.querySelectorAll(what).length !== count) faults.push(what);
    if (!document.querySelector('section[aria-live=polite] h1')) faults.push('what is wrong is not told when it changes');
    const colours = [...document.querySelectorAll('.sign')].filter(e => !/[✓!✗] \\p{L}/u.test(e.textContent));
    if (colours.length) faults.push('a colour without a word: ' + colours[0].outerHTML);
    return faults;";

#[test]
fn page_fits_a_phone_and_can_be_read_by_everybody_in_both_languages_by_day_and_by_night() {
    let site = site();
    let _readers = readers_of(&site, "keys.json");
    let browser = Browser::start(&site.path(""));
    browser.prefer("ru-RU,ru;q=0.9,en;q=0.8");
    browser.open(&format!("http://{}/", site.http()));
    for (language, heading, other) in [("ru", "Считыватели", "en"), ("en", "Readers", "ru")] {
        assert_eq!(browser.evaluate("return document.documentElement.lang"), language);
        assert_eq!(browser.seen("#readers"), heading);
        assert!(!browser.seen("nav [aria-current]").is_empty());
        for is_dark in [false, true] {
            browser.look_at(Screen { is_dark, ..Screen::DESK });
            assert_eq!(browser.evaluate(TOO_WIDE), Value::Array(Vec::new()));
            let faint = browser.evaluate(TOO_FAINT);
            let (texts, faint) = faint.as_array().unwrap().split_first().unwrap();
            assert!(texts.as_u64().unwrap() > 50 && faint.is_empty(), "{faint:#?}");
            browser.look_at(Screen { is_dark, ..Screen::PHONE });
            assert_eq!(browser.evaluate("return innerWidth"), 360);
            assert_eq!(browser.evaluate(TOO_WIDE), Value::Array(Vec::new()));
            assert_eq!(browser.evaluate(BROKEN), Value::Array(Vec::new()));
        }
        assert_eq!(browser.evaluate(UNNAMED), Value::Array(Vec::new()));
        browser.click(&format!("nav a[lang={other}]"));
    }
    // Back where it began, by the link, and it stays so whatever the browser prefers.
    assert_eq!(browser.evaluate("return document.documentElement.lang + location.search"), "ru?lang=ru");
    assert_keeps_to_itself(&browser, &site);
}

#[test]
fn page_is_whole_without_a_script_and_says_that_it_stands_still() {
    let site = site();
    let _readers = readers_of(&site, "one.json");
    let browser = Browser::start(&site.path(""));
    browser.run_scripts(false);
    browser.open(&format!("http://{}/?lang=en", site.http()));
    for (selector, words) in [
        ("body", "Without JavaScript this page stays as it is"),
        ("main", "Readers"),
        ("main", "turnstile-1"),
        ("main", "Generation"),
        ("main", "Waiting for the hub"),
        ("main", "none configured"),
        ("footer", "status.json"),
    ] {
        assert!(browser.seen(selector).contains(words), "{words}:\n{}", browser.seen(selector));
    }
    assert_keeps_to_itself(&browser, &site);
}
