//! What a new snapshot costs, off the workers.

use std::sync::Arc;

use kalitka_benches::NOW;
use kalitka_core::View;
use kalitka_snapshot::AlignedBytes;

use crate::stage::{Size, Stage, verify};
use crate::step::Step;

pub(super) fn steps() -> Vec<Step> {
    vec![
        plans(),
        adopt("verify and adopt a snapshot, 16,000 entries", Size::SixteenThousand),
        adopt("verify and adopt a snapshot, 1,000,000 entries", Size::Million).not_counted(),
        adopt("verify and adopt a snapshot, 10,000,000 entries", Size::TenMillion).not_counted().long(),
    ]
}

fn plans() -> Step {
    Step::new(
        "build a view, 20 portals and 33 profiles",
        |stage| stage.view(Size::SixteenThousand),
        |_| None,
        |view, built| {
            *built = Some(View::build(Arc::clone(view.snapshot()), NOW));
            built.as_ref().is_some_and(|view| view.at(NOW).is_some())
        },
        |&in_force| in_force,
    )
    .slow()
}

/// The file's bytes, and the view that is made of them: neither is made or freed while the clock runs.
struct Adoption {
    bytes: Option<AlignedBytes>,
    adopted: Option<View>,
}

fn adopt(name: &'static str, size: Size) -> Step {
    Step::new(
        name,
        move |stage: &Stage| stage.view(size),
        |view| Adoption { bytes: Some(AlignedBytes::from(view.snapshot().bytes())), adopted: None },
        |_, Adoption { bytes, adopted }| {
            *adopted = bytes.take().map(|bytes| View::build(Arc::new(verify(bytes)), NOW));
            adopted.is_some()
        },
        |&adopted| adopted,
    )
    .slow()
}
