//! The status page: how the building stands, on one page for whoever looks with a phone in the hand, and as JSON for programs.
//!
//! It is rendered here, whole and readable without a script; the script takes it anew every two seconds and changes what has
//! changed. It reads what is shown anyway, costs workers nothing, is bounded whatever the building, and names no person.

mod doors;
mod gather;
mod history;
mod html;
mod matter;
mod overview;
mod words;

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, on};

pub(crate) use gather::{Memory, Page};
use words::Language;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// A gate with an open wing.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M2 2v12M14 2v12M2 \
                    5l8 2v5l-8 2' fill='none' stroke='%23178' stroke-width='2'/%3E%3C/svg%3E";

/// What the page may do: its own style, its own script, and asking where it came from. Nothing else, from nowhere.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let (style, script) = (hash(STYLE), hash(SCRIPT));
    format!(
        "default-src 'none'; style-src '{style}'; script-src '{script}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )
});

/// Names style and script: a page that finds another one here loads itself anew.
static RELEASE: LazyLock<String> = LazyLock::new(|| hash(&[STYLE, SCRIPT].concat()));

/// Where the page and its JSON are served.
pub(crate) fn routes(page: Arc<Page>) -> Router {
    let routes =
        Router::new().route("/", on(MethodFilter::GET, show)).route("/status.json", on(MethodFilter::GET, tell));
    routes.with_state(page)
}

async fn show(State(page): State<Arc<Page>>, RawQuery(query): RawQuery, headers: HeaderMap) -> impl IntoResponse {
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let language = Language::of(query.as_deref(), accepted);
    let text = html::page(&page.overview(), language);
    (
        [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-store"),
            (header::VARY, "Accept-Language"),
            // Pages that lie open do not keep the surface's few connections between two looks.
            (header::CONNECTION, "close"),
        ],
        text,
    )
}

async fn tell(State(page): State<Arc<Page>>) -> impl IntoResponse {
    // What is written there has no keys but strings.
    let text = serde_json::to_string(&page.overview()).unwrap_or_default();
    (
        [
            (header::CONTENT_TYPE, "application/json"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CACHE_CONTROL, "no-store"),
        ],
        text,
    )
}

/// A source expression of a Content-Security-Policy for exactly `text`.
fn hash(text: &str) -> String {
    format!("sha256-{}", base64(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref()))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, place| bits << 8 | u32::from(chunk.get(place).copied().unwrap_or(0)));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests;
