//! A real browser: Debian's Chromium without a window, driven by its chromedriver over W3C WebDriver.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Once;

use serde_json::{Value, json};

use crate::process::Process;
use crate::site::{BOUND, text};
use crate::tree::root;
use crate::wait::until;

/// A browser with one page. Dropped, it is closed.
#[derive(Debug)]
pub struct Browser {
    driver: Process,
    address: String,
    session: String,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Points across.
    pub width: u32,
    /// Points down.
    pub height: u32,
    /// Pixels of a point.
    pub scale: u32,
    /// Whether it is a phone.
    pub is_phone: bool,
    /// Whether dark colours are wanted.
    pub is_dark: bool,
}

impl Screen {
    /// On a desk.
    pub const DESK: Self = Self { width: 1200, height: 900, scale: 1, is_phone: false, is_dark: false };
    /// A small phone.
    pub const PHONE: Self = Self { width: 360, height: 740, scale: 2, is_phone: true, is_dark: false };
}

impl Browser {
    /// Starts one that keeps its things in `folder`.
    ///
    /// # Panics
    /// When it cannot be had or started; so do all functions here when something fails.
    #[must_use]
    pub fn start(folder: &Path) -> Self {
        install();
        let driver = Process::start("/usr/bin/chromedriver", ["--port=0"], &folder.join("chromedriver.log"));
        let mut browser = Self { driver, address: String::new(), session: String::new() };
        browser.address = until("chromedriver", BOUND, || {
            assert!(browser.driver.ended().is_none(), "it has ended: {}", browser.driver.printed());
            let printed = browser.driver.printed();
            let port = printed.split_once("started successfully on port ")?.1.split('.').next()?.to_owned();
            Some(format!("127.0.0.1:{port}"))
        });
        let profile = format!("--user-data-dir={}", text(&folder.join("browser")));
        let arguments = [
            "--headless=new",
            // Chromium's sandbox does not start for root, which tests in a container are. It shows our own page alone.
            "--no-sandbox",
            // A container's /dev/shm is small.
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--hide-scrollbars",
            // Letters without coloured edges: they look well on every screen, and make small files.
            "--disable-lcd-text",
            // It asks for nothing by itself: what a test sees leaving is the page's.
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--no-default-browser-check",
            "--proxy-bypass-list=127.0.0.1",
            "--proxy-server=127.0.0.1:9",
            &profile,
            "about:blank",
        ];
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments, "binary": "/usr/bin/chromium" },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let session = browser.command("POST", "session", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        session["sessionId"].as_str().unwrap().clone_into(&mut browser.session);
        browser.look_at(Screen::DESK);
        browser.open("about:blank");
        // What the browser has asked itself for is not of interest.
        let _ = (browser.console(), browser.requested());
        browser
    }

    /// Looks by another screen.
    pub fn look_at(&self, screen: Screen) {
        let Screen { width, height, scale, is_phone, is_dark } = screen;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": is_phone });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", &features);
    }

    /// From the next page on the browser's owner prefers these languages, as its header says them.
    pub fn prefer(&self, languages: &str) {
        self.devtools("Network.setExtraHTTPHeaders", &json!({ "headers": { "Accept-Language": languages } }));
    }

    /// From the next page on scripts run or do not.
    pub fn run_scripts(&self, are_run: bool) {
        self.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": !are_run }));
    }

    /// Opens `address`.
    pub fn open(&self, address: &str) {
        self.ask("url", &json!({ "url": address }));
    }

    /// Clicks the first element that `selector` names.
    pub fn click(&self, selector: &str) {
        let found = self.ask("element", &json!({ "using": "css selector", "value": selector }));
        let element = found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.ask(&format!("element/{element}/click"), &json!({}));
    }

    /// What `script` returns.
    pub fn evaluate(&self, script: &str) -> Value {
        self.ask("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// What is seen of the first element that `selector` names; nothing while there is none or it is hidden.
    #[must_use]
    pub fn seen(&self, selector: &str) -> String {
        let look = "const found = document.querySelector(arguments[0]);
            return found?.checkVisibility() ? found.innerText : '';";
        let seen = self.ask("execute/sync", &json!({ "script": look, "args": [selector] }));
        seen.as_str().unwrap().to_owned()
    }

    /// Waits until what is seen of `selector` contains `words`.
    pub fn await_seen(&self, selector: &str, words: &str) {
        let mut last = String::new();
        let found = crate::wait::until_or(BOUND * 2, || {
            last = self.seen(selector);
            last.contains(words).then_some(())
        });
        assert!(found.is_some(), "waited in vain for {words:?} in {selector}, which is:\n{last}");
    }

    /// What the console has been told since it was last asked, each with its level.
    #[must_use]
    pub fn console(&self) -> Vec<String> {
        let told = self.log("browser");
        told.iter().map(|entry| format!("{} {}", entry["level"], entry["message"])).collect()
    }

    /// The addresses that have been asked for since it was last asked.
    #[must_use]
    pub fn requested(&self) -> Vec<String> {
        let events = self.log("performance").into_iter().filter_map(|entry| {
            let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let event = &event["message"];
            let is_request = event["method"] == "Network.requestWillBeSent";
            is_request.then(|| event["params"]["request"]["url"].as_str().unwrap().to_owned())
        });
        events.collect()
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        self.ask("se/log", &json!({ "type": kind })).as_array().unwrap().clone()
    }

    /// What is seen on the screen, as a PNG.
    pub fn photograph(&self, file: &Path) {
        let shot = json!({ "format": "png", "optimizeForSpeed": false });
        let shot = self.devtools("Page.captureScreenshot", &shot);
        fs::write(file, base64(shot["data"].as_str().unwrap())).unwrap();
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.ask("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// A command in the session.
    fn ask(&self, path: &str, parameters: &Value) -> Value {
        self.command("POST", &format!("session/{}/{path}", self.session), parameters)
    }

    /// # Panics
    /// When the driver does not do it.
    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        let (code, reply) = self.exchange(method, path, body).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(code, 200, "{path} {body}: {reply}");
        reply["value"].clone()
    }

    fn exchange(&self, method: &str, path: &str, body: &Value) -> std::io::Result<(u16, Value)> {
        let (address, body) = (&self.address, body.to_string());
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(BOUND * 2))?;
        let head = format!(
            "{method} /{path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes())?;
        let mut reply = BufReader::new(stream);
        let (mut code, mut len) = (0, 0);
        loop {
            let mut line = String::new();
            reply.read_line(&mut line)?;
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(status) = line.strip_prefix("http/1.1 ") {
                code = status.split(' ').next().and_then(|code| code.parse().ok()).unwrap_or(0);
            }
            if let Some(bytes) = line.strip_prefix("content-length:") {
                len = bytes.trim().parse().unwrap_or(0);
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; len];
        reply.read_exact(&mut body)?;
        Ok((code, serde_json::from_slice(&body)?))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver is ended next; the browser would stay.
        if !self.session.is_empty() {
            let _ = self.exchange("DELETE", &format!("session/{}", self.session), &json!({}));
        }
    }
}

/// Sees to it that the browser, its driver and a font are there.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let setup = root().join("deploy/setup-debian");
        assert!(Command::new(setup).arg("--browser").status().unwrap().success());
    });
}

/// The bytes that `text` stands for.
fn base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u8> = text.bytes().filter_map(digit).collect();
    let bytes = |four: &[u8]| {
        let bits = four.iter().fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit)) << (6 * (4 - four.len()));
        let [_, first, second, third] = bits.to_be_bytes();
        [first, second, third].into_iter().take(four.len() - 1).collect::<Vec<u8>>()
    };
    digits.chunks(4).flat_map(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_standards() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(base64(text), bytes.as_bytes());
        }
        assert_eq!(base64("+/++"), [0xfb, 0xff, 0xbe]);
    }
}
