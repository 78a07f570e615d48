//! Time of inference on one thread, on whatever runtime is found (`BARLINE_RUNTIME=tract` for tract, `BARLINE_ORT=<library>` for
//! an ONNX Runtime): one bar of each released model, an 8-bar pattern, and loading.
//!
//! `cargo bench -p barline --no-default-features --features inference --bench inference`

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a bench may stop where it stands")]

use barline::{
    generate::{Generator, PatternSpec, Span, build},
    inference::Library,
};
use criterion::{Criterion, criterion_group, criterion_main};
use std::{hint::black_box, time::Duration};

fn spec() -> PatternSpec {
    PatternSpec {
        seed: 7,
        take: 0,
        variation: 1.0,
        span: Span::Bars(8),
        progression: "Dm7 | G7 | C | A7".parse().expect("a progression"),
        primer: vec![],
        ..PatternSpec::default()
    }
}

fn inference(criterion: &mut Criterion) {
    let library = Library::new();
    for id in ["midinet", "melody"] {
        let mut generator = library.open(id).expect("a released model");
        let backend = generator.backend().clone();
        println!("{id}: {} on {} {:?}", backend.runtime, backend.provider, backend.notes);
        let mut group = criterion.benchmark_group(id);
        group.measurement_time(Duration::from_secs(5)).sample_size(30);
        let mut bar = 0;
        group.bench_function("bar", |b| {
            b.iter(|| {
                // Another chain each time, whose first bar is one inference.
                bar += generator.manifest().chain_bars;
                black_box(build(&mut generator, &spec(), bar % 100_000, 1, |_| ()).expect("a bar"))
            });
        });
        group.bench_function("8 bars", |b| {
            b.iter(|| black_box(build(&mut generator, &spec(), 0, 8, |_| ()).expect("a pattern")));
        });
        group.sample_size(10);
        group.bench_function("load", |b| b.iter(|| black_box(library.open(id).expect("a released model"))));
        group.finish();
    }
}

criterion_group!(benches, inference);
criterion_main!(benches);
