"""Measure and picture released models.

`evaluate.py table --data pop909.npz --models released/melody.onnx released/midinet.onnx` prints one markdown table: real
held-out bars beside each model, everything through the exported file and the host's decoding at the knobs' defaults
(threshold 0.5, temperature 1).
`evaluate.py pictures --data pop909.npz --models released/melody.onnx --output folder` draws piano rolls of eight-bar chains.
`evaluate.py speed --models …` times single runs on one thread.

How it is measured. The held-out bars are halved at random: half A is the reference of all total variations, half B lends
its conditions (chords and the real previous bar) to the models, and is itself the "real" column, which is therefore the floor.
A, B and each model's bars are equally many, because distinct rhythms and total variations depend on the number.
Roll-outs are chains of eight bars over the chords of eight consecutive held-out bars, started without a previous bar; each
bar's previous bar is the greedy decoding of the int8 roll before it, as in the host.
"""

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from tqdm import tqdm

from metrics import (TrainingBars, classes_from_states, decode_one_of_n, figures, is_onset, last_pitch, merge_repeats,
                     quantise, rhythms, states_from_classes)
from prepare import CHAIN_BARS, HOLD, LOWEST_PITCH, N_PITCHES, N_STEPS, NO_BAR, NO_CHORD, REST, SPLITS, load_bars, windows_of

N_DIVERSITY = 64  # conditions
N_LATENTS = 16    # bars drawn for each
N_CONTROL = 1000  # bars of the classifier's control
N_FOLDS = 4


class Released:
    """A released file: its manifest and a one-thread session."""

    def __init__(self, path):
        entries = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        if "barline.manifest" not in entries:
            raise SystemExit(f"{path} carries no barline.manifest")
        self.manifest = json.loads(entries["barline.manifest"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        track = self.manifest["tracks"][0]
        self.id = self.manifest["id"]
        self.lowest, self.n_pitches, self.merges = track["lowest_pitch"], track["n_pitches"], track["merge_repeats"]
        self.temperature = self.manifest["calibration"]["temperature"]
        self.noise_shape = self.manifest["latents"][0]["shape"]

    def roll(self, chords, previous, rng):
        """One inference: chords (2,) triads, previous (16,) states -> int8 roll (16, n_classes)."""
        one_hot = np.zeros((1, 2, 24), np.float32)
        for slot, triad in enumerate(chords):
            if triad != NO_CHORD:
                one_hot[0, slot, triad] = 1
        feed = {"noise": rng.standard_normal(self.noise_shape).astype(np.float32), "chords": one_hot,
                "previous_bar": classes_from_states(previous[None], self.lowest, self.n_pitches)}
        return quantise(self.session.run(["logits"], feed)[0][0, 0])

    def decode(self, rolls, rng, knob=1.0, threshold=0.5):
        """int8 rolls (n, 16, classes) -> states (n, 16) as played; knob 0 is greedy."""
        classes = decode_one_of_n(rolls, self.n_pitches, knob * self.temperature, threshold, rng)
        states = states_from_classes(classes, self.lowest, self.n_pitches)
        return merge_repeats(states) if self.merges else states

    def bars(self, chords, previous, seed):
        """Rolls (n, 16, classes) for n conditions: chords (n, 2), previous (n, 16)."""
        rng = np.random.default_rng(seed)
        pairs = tqdm(list(zip(chords, previous)), desc=f"{self.id} bars", unit="bar", leave=False)
        return np.stack([self.roll(c, p, rng) for c, p in pairs])

    def chains(self, chords, seed):
        """Roll-outs over chords (n, 8, 2): states as played (n, 8, 16) and as the chain itself saw them (greedy)."""
        rng = np.random.default_rng(seed)
        played, chained = [], []
        for windows in tqdm(chords, desc=f"{self.id} chains", unit="chain", leave=False):
            previous, rolls, greedy = np.full(N_STEPS, NO_BAR, np.uint8), [], []
            for slots in windows:
                rolls.append(self.roll(slots, previous, rng))
                previous = self.decode(rolls[-1][None], rng, knob=0.0)[0]
                greedy.append(previous)
            played.append(self.decode(np.stack(rolls), rng))
            chained.append(np.stack(greedy))
        return np.stack(played), np.stack(chained)


def as_dict(bars):
    """Bars -> what `metrics.figures` takes."""
    return {"states": bars.states, "previous": bars.previous, "masks": bars.chord_masks, "song": bars.song}


def chained(states, masks, song):
    """Chains (n, 8, 16) over masks (n, 8, 2) and song (n, 8) as bars with their own previous bars; the first has none."""
    previous = np.concatenate([np.full_like(states[:, :1], NO_BAR), states[:, :-1]], 1)
    return {"states": states.reshape(-1, N_STEPS), "previous": previous.reshape(-1, N_STEPS), "masks": masks.reshape(-1, 2),
            "song": song.reshape(-1)}


def sounding(states):
    """The pitch state that sounds at each step, -1 at rests: (n, 16)."""
    out, now = [], np.full(len(states), -1)
    for t in range(N_STEPS):
        now = np.where(states[:, t] < N_PITCHES, states[:, t], np.where(states[:, t] == REST, -1, now))
        out.append(now)
    return np.stack(out, 1)


def diversity(model, bars, rng):
    """Over conditions: share of distinct bars among `N_LATENTS` draws, and share of steps that sound differently."""
    distinct, differs = [], []
    for idx in rng.permutation(len(bars))[:N_DIVERSITY]:
        rolls = model.bars(np.repeat(bars.chords[idx][None], N_LATENTS, 0), np.repeat(bars.previous[idx][None], N_LATENTS, 0),
                           int(rng.integers(2**31)))
        states = model.decode(rolls, rng, knob=0.0)
        distinct.append(len(np.unique(states, axis=0)) / N_LATENTS)
        heard = sounding(states)
        pairs = np.triu_indices(N_LATENTS, 1)
        differs.append((heard[pairs[0]] != heard[pairs[1]]).mean())
    return float(np.mean(distinct)), float(np.mean(differs))


# The classifier -------------------------------------------------------------------------------------------------------


def classifier_features(states, previous, chords, masks, known):
    """What the classifier sees of a bar, (n, width) float32.

    Per step: onset/hold/rest, degree above the chord's root, interval from the onset before, the same of the previous bar.
    Whole bar: counts, leaps, repeats, chord tones, range, interval statistics, agreement with the previous bar, and how often the
    training set holds this rhythm, this pair of rhythms, these interval triples (`known`, from `pattern_counts`).
    """
    n = len(states)
    onset = is_onset(states)
    kind = np.where(onset, 0, np.where(states == HOLD, 1, 2))
    prev_kind = np.where(previous == NO_BAR, 3, np.where(previous < N_PITCHES, 0, np.where(previous == HOLD, 1, 2)))
    heard, prev_heard = sounding(states), np.where(previous == NO_BAR, -1, sounding(np.where(previous == NO_BAR, REST, previous)))
    slot = np.repeat(chords, 8, 1)  # (n, 16)
    root = slot % 12
    degree = np.where(onset, (states.astype(int) + LOWEST_PITCH - root) % 12, -1)
    melodic = np.full((n, N_STEPS), -50)
    order = np.full((n, N_STEPS), -50)
    last = last_pitch(previous)
    rank = np.zeros(n, int)
    steps_since = np.zeros((n, N_STEPS), int)
    since = np.zeros(n, int)
    for t in range(N_STEPS):
        now = onset[:, t]
        jump = np.where(last >= 0, states[:, t].astype(int) - last, -50)
        melodic[:, t] = np.where(now, jump, -50)
        steps_since[:, t] = since
        since = np.where(now, 0, since) + 1
        rows = np.flatnonzero(now)
        order[rows, rank[rows]] = jump[rows]
        rank += now
        last = np.where(now, states[:, t], last)
    valid = order > -50
    size = np.abs(order) * valid
    count = np.maximum(valid.sum(1), 1)
    hits = ((np.repeat(masks, 8, 1) >> ((states.astype(int) + LOWEST_PITCH) % 12)) & 1) * onset
    turns = ((order[:, 1:] * order[:, :-1] < 0) & valid[:, 1:] & valid[:, :-1]).sum(1)
    rhythm, prev_rhythm = rhythms(states), rhythms(np.where(previous == NO_BAR, REST, previous))
    pairs = [b + a for a, b in zip(rhythm, prev_rhythm)]
    exact = [row.tobytes() for row in kind.astype(np.int8)]
    triples = interval_triples(order)
    whole = np.stack([
        onset.sum(1), (kind == 1).sum(1), (kind == 2).sum(1), size.sum(1) / count, size.max(1), (size > 7).sum(1),
        ((order == 0) & valid).sum(1), turns, (np.abs(order) * valid == 2).sum(1), (np.abs(order) * valid == 1).sum(1),
        ((np.abs(order) * valid >= 3) & (np.abs(order) * valid <= 4)).sum(1), hits.sum(1) / np.maximum(onset.sum(1), 1),
        hits[:, ::4].sum(1), np.where(onset, states, 0).max(1), np.where(onset, states, 99).min(1),
        (kind == prev_kind).sum(1), (onset & (prev_kind == 0)).sum(1), (heard == prev_heard).sum(1), onset[:, ::2].sum(1),
        onset[:, ::4].sum(1), onset[:, :8].sum(1), (kind[:, :8] == kind[:, 8:]).sum(1),
        [np.log1p(known["rhythm"].get(key, 0)) for key in rhythm], [np.log1p(known["pair"].get(key, 0)) for key in pairs],
        [np.log1p(known["exact"].get(key, 0)) for key in exact],
        [np.mean([np.log1p(known["triple"].get(key, 0)) for key in row]) if row else 9.0 for row in triples],
        [np.min([np.log1p(known["triple"].get(key, 0)) for key in row]) if row else 9.0 for row in triples],
    ], 1)
    return np.concatenate([kind, degree, melodic, order, steps_since * onset, prev_kind, np.where(heard >= 0, heard - prev_heard, -60),
                           whole, last_pitch(previous)[:, None], chords], 1).astype(np.float32)


def interval_triples(order):
    """Consecutive triples of intervals of each bar (n, 16 by rank, -50 = none)."""
    return [[tuple(row[i:i + 3]) for i in range(N_STEPS - 2) if (row[i:i + 3] > -50).all()] for row in order]


def pattern_counts(bars):
    """How often the training set holds each rhythm, pair of rhythms, rhythm with rests, and triple of intervals."""
    states, previous = bars.states, bars.previous
    kind = np.where(states < N_PITCHES, 0, np.where(states == HOLD, 1, 2)).astype(np.int8)
    rhythm, prev_rhythm = rhythms(states), rhythms(np.where(previous == NO_BAR, REST, previous))
    triple = Counter()
    for row, lead in zip(states, last_pitch(previous)):
        line = ([int(lead)] if lead >= 0 else []) + [int(s) for s in row if s < N_PITCHES]
        jumps = np.diff(line)
        triple.update(tuple(jumps[i:i + 3]) for i in range(len(jumps) - 2))
    return {"rhythm": Counter(rhythm), "pair": Counter(b + a for a, b in zip(rhythm, prev_rhythm)),
            "exact": Counter(row.tobytes() for row in kind), "triple": triple}


def classifier_auc(real, fake, songs, seed=0):
    """Cross-validated AUC of gradient-boosted trees, real against generated, folds disjoint by song.

    real, fake (n, width) features of the real bars and of bars generated from the same conditions; songs (n,).
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(seed)
    names = np.unique(songs)
    fold_of_song = dict(zip(names, rng.permutation(len(names)) % N_FOLDS))
    fold = np.array([fold_of_song[song] for song in songs])
    x, y, fold = np.concatenate([real, fake]), np.repeat([0, 1], [len(real), len(fake)]), np.concatenate([fold, fold])
    scores = np.zeros(len(y))
    for held in range(N_FOLDS):
        trees = HistGradientBoostingClassifier(max_iter=250, learning_rate=0.06, max_leaf_nodes=15, l2_regularization=1.0,
                                               min_samples_leaf=20, random_state=seed)
        trees.fit(x[fold != held], y[fold != held])
        scores[fold == held] = trees.predict_proba(x[fold == held])[:, 1]
    return float(np.mean([roc_auc_score(y[fold == held], scores[fold == held]) for held in range(N_FOLDS)]))


# Commands -------------------------------------------------------------------------------------------------------------


def measure(model, test, half_b, reference, windows, training, known, seed):
    """All figures of one model: (single bars, roll-outs, extras) dicts."""
    rng = np.random.default_rng(seed)
    b = test.take(half_b)
    rolls = model.bars(test.chords, test.previous, seed)
    states = model.decode(rolls, rng)
    single = figures({**as_dict(b), "states": states[half_b]}, reference, training)
    played, _ = model.chains(test.chords[windows], seed + 1)
    n = played.shape[0] * CHAIN_BARS
    cut = {key: value[:n] for key, value in reference.items()}
    rollout = figures(chained(played, test.chord_masks[windows], test.song[windows]), cut, training)
    rollout["bars alike in a chain"] = float(np.mean([1 - len(np.unique(chain, axis=0)) / CHAIN_BARS for chain in played]))
    distinct, differs = diversity(model, test, rng)
    real = classifier_features(test.states, test.previous, test.chords, test.chord_masks, known)
    fake = classifier_features(states, test.previous, test.chords, test.chord_masks, known)
    extras = {"classifier AUC": classifier_auc(real, fake, test.song),
              "distinct bars of 16 latents": distinct, "steps that differ between latents": differs}
    return single, rollout, extras


def control_auc(model, test, known, seed):
    """AUC of the classifier against the model's own marginals: each step taken from a different draw for the same conditions."""
    rng = np.random.default_rng(seed)
    some = test.take(np.sort(rng.permutation(len(test))[:N_CONTROL]))
    states = np.zeros_like(some.states)
    draws = np.random.default_rng(seed + 1)
    for idx in tqdm(range(len(some)), desc="control", unit="bar", leave=False):
        rolls = np.stack([model.roll(some.chords[idx], some.previous[idx], draws) for _ in range(N_STEPS)])
        drawn = model.decode(rolls, rng)
        states[idx] = drawn[np.arange(N_STEPS), np.arange(N_STEPS)]
    real = classifier_features(some.states, some.previous, some.chords, some.chord_masks, known)
    fake = classifier_features(states, some.previous, some.chords, some.chord_masks, known)
    return classifier_auc(real, fake, some.song)


def table(args):
    """Print the table."""
    test, sha256 = load_bars(args.data, args.split)
    train, _ = load_bars(args.data, "train")
    training, known = TrainingBars(train), pattern_counts(train)
    rng = np.random.default_rng(args.seed)
    order = rng.permutation(len(test))
    half = len(test) // 2
    half_a, half_b = order[:half], order[half:2 * half]
    reference = as_dict(test.take(half_a))
    windows = windows_of(test, half // CHAIN_BARS, rng)
    n_chained = windows.size
    real_single = figures(as_dict(test.take(half_b)), reference, training)
    real_rollout = figures(chained(test.states[windows], test.chord_masks[windows], test.song[windows]),
                           {key: value[:n_chained] for key, value in reference.items()}, training)
    real_rollout["bars alike in a chain"] = float(np.mean([1 - len(np.unique(test.states[w], axis=0)) / 8 for w in windows]))
    models = [Released(path) for path in args.models]
    for model in models:
        if model.manifest["training"]["data_sha256"] != sha256:
            print(f"warning: {model.id} was trained on other data, the split may differ", file=sys.stderr)
    results = [measure(model, test, half_b, reference, windows, training, known, args.seed) for model in models]
    print(f"{args.split} songs {len(np.unique(test.song))}, bars {len(test)}; single bars {half} per column, "
          f"roll-outs {len(windows)} chains of {CHAIN_BARS}; data {sha256[:12]}, seed {args.seed}")
    print(f"| single bars | real | {' | '.join(model.id for model in models)} |")
    print("|---" * (2 + len(models)) + "|")
    for name, value in real_single.items():
        print(f"| {name} | {value:.3f} | " + " | ".join(f"{single[name]:.3f}" for single, _, _ in results) + " |")
    for name in results[0][2]:
        floor = "0.5" if "AUC" in name else "-"
        print(f"| {name} | {floor} | " + " | ".join(f"{extras[name]:.3f}" for _, _, extras in results) + " |")
    if args.control:
        print(f"| classifier AUC, per-step marginals of {models[0].id} ({N_CONTROL} bars) | - | "
              f"{control_auc(models[0], test, known, args.seed):.3f} |" + " - |" * (len(models) - 1))
    print(f"| **roll-outs** | {' | ' * len(models)} |")
    for name, value in real_rollout.items():
        print(f"| {name} | {value:.3f} | " + " | ".join(f"{rollout[name]:.3f}" for _, rollout, _ in results) + " |")


def pictures(args):
    """Draw eight-bar chains over held-out chords, one picture per model, the real melody in the first row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    test, _ = load_bars(args.data, args.split)
    rng = np.random.default_rng(args.seed)
    windows = windows_of(test, 2, rng)
    args.output.mkdir(parents=True, exist_ok=True)
    names = "C Db D Eb E F Gb G Ab A Bb B".split()
    for path in args.models:
        model = Released(path)
        rows = []
        for window in windows:
            rows.append(("real", test.states[window], test.chords[window]))
            for take in range(3):
                played, _ = model.chains(test.chords[window][None], args.seed + take)
                rows.append((f"{model.id}, take {take}", played[0], test.chords[window]))
        figure, axes = plt.subplots(len(rows), 1, figsize=(14, 2.2 * len(rows)), constrained_layout=True)
        for axis, (title, states, chords) in zip(axes, rows):
            flat = states.reshape(-1)
            start = None
            for step, state in enumerate([*flat, REST]):
                if start is not None and state != HOLD:
                    axis.broken_barh([(start, step - start - 0.1)], (flat[start] + LOWEST_PITCH - 0.4, 0.8), color="tab:blue")
                    start = None
                if state < N_PITCHES:
                    start = step
            pitches = flat[flat < N_PITCHES].astype(int) + LOWEST_PITCH
            axis.set_xlim(0, len(flat))
            axis.set_ylim(pitches.min() - 2, pitches.max() + 3)
            axis.set_xticks(range(0, len(flat) + 1, N_STEPS))
            axis.grid(axis="x")
            axis.set_title(title, loc="left", fontsize=9)
            for bar, slots in enumerate(chords):
                for slot, triad in enumerate(slots):
                    if triad != NO_CHORD and (slot == 0 or triad != slots[0]):
                        label = names[triad % 12] + ("m" if triad >= 12 else "")
                        axis.text(bar * N_STEPS + slot * 8, pitches.max() + 1.5, label, fontsize=8)
        figure.savefig(args.output / f"{model.id}.png", dpi=80)
        print(args.output / f"{model.id}.png")


def speed(args):
    """Time single runs on one thread: load, median, 99th percentile, minimum, in milliseconds."""
    print("| model | load ms | p50 ms | p99 ms | min ms | file MB |\n|---|---|---|---|---|---|")
    for path in args.models:
        started = time.perf_counter()
        model = Released(path)
        load = time.perf_counter() - started
        rng = np.random.default_rng(0)
        feed = {entry.name: rng.standard_normal(entry.shape).astype(np.float32) for entry in model.session.get_inputs()}
        times = []
        for _ in range(500):
            started = time.perf_counter()
            model.session.run(["logits"], feed)
            times.append(time.perf_counter() - started)
        times = np.array(times[20:]) * 1e3
        print(f"| {model.id} | {load * 1e3:.0f} | {np.median(times):.2f} | {np.quantile(times, 0.99):.2f} | {times.min():.2f} | "
              f"{path.stat().st_size / 1e6:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in {"table": table, "pictures": pictures, "speed": speed}.items():
        sub = commands.add_parser(name, help=command.__doc__)
        sub.set_defaults(run=command)
        sub.add_argument("--models", type=Path, nargs="+", required=True)
        if name != "speed":
            sub.add_argument("--data", type=Path, required=True)
            sub.add_argument("--split", choices=SPLITS, default="test", help="use val for every decision, test for the report")
            sub.add_argument("--seed", type=int, default=5)
    commands.choices["table"].add_argument("--control", action="store_true", help="also run the classifier's control")
    commands.choices["pictures"].add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
