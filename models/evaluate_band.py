"""Measure exported bands against held-out songs, through ONNX Runtime at the host's default knobs.

`evaluate_band.py table --data band.npz --models released/band.onnx hybrid.onnx hybrid.onnx@0` prints every figure of `band_metrics` for
held-out phrases, for training phrases (how far two sets of songs lie apart) and for what each model writes for the held-out songs'
chords: from nothing (after its lead-in, if it has one, as the host writes it), after three phrases of its own, and after the real bars before; then the legacy figures beside the published ones,
and what each model writes around real tracks, and the verdict: how many figures come as near to the songs' as they should. The figures
of the songs have a song-wise 90 % interval beside them. `FILE@T` decodes at temperature T: 0 is the hard threshold, 1 for a real-valued network Bernoulli sampling. `pictures` draws
real phrases beside written ones.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from tqdm import tqdm

import band_metrics
import verdict
from band import CONTEXT_BARS, N_TRACKS, WINDOW_BARS
from band_phrases import cells_of_batch, cells_of_logits, decode, masks, n_cells_of, real_rolls, triads_of, windows_of
from export import session
from phrases import BASS, DRUMS, N_STEPS, PHRASE_BARS, TRACKS
from train_band import Phrases

N_TRAINING = 1500  # training phrases for the figures of copying
NOTHING, CHAINED = "from nothing", "after its own"
N_CHAIN = 4  # phrases, the last of which is measured


class Model:
    """An exported band in ONNX Runtime: `FILE`, or `FILE@T` to decode at a temperature of its own."""

    def __init__(self, path):
        path, _, temperature = str(path).partition("@")
        proto = onnx.load(path)
        self.manifest = json.loads(next(p.value for p in proto.metadata_props if p.key == "barline.manifest"))
        self.temperature = float(temperature) if temperature else self.manifest["calibration"]["temperature"]
        self.layout = tuple((track["kind"], track["lowest_pitch"], track["n_pitches"]) for track in self.manifest["tracks"])
        if tuple(track["name"] for track in self.manifest["tracks"]) != TRACKS:
            raise SystemExit(f"{path} does not write the tracks {', '.join(TRACKS)}")
        self.context_bars = self.manifest.get("context_bars", 0)
        self.lead_in = self.manifest.get("lead_in", 0)
        self.conditions = {condition["name"]: condition["encoding"] for condition in self.manifest["conditions"]}
        # MuseGAN's track-conditional systems accompany one track and cannot write it.
        given = self.manifest["training"].get("config", {}).get("given")
        self.given = TRACKS.index(given) if given in TRACKS else None
        # A system without a track to accompany hears nothing of what is known.
        self.hears = bool(self.context_bars or given)
        self.sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        self.session = session(path)
        self.name = self.manifest["id"] + (f" at {temperature}" if temperature else "")

    def write(self, triads, cells, known, seed, label):
        """Logits (n, 4, 16, n_cells); triads (n, 16, 24), cells (n, 8, 16, n_cells), known (n, 5, 8). Phrase i has its own noise by the seed."""
        rng = np.random.default_rng(seed)
        noises = {latent["name"]: rng.standard_normal((len(triads), *latent["shape"][1:])).astype(np.float32)
                  for latent in self.manifest["latents"]}
        unseen = CONTEXT_BARS - self.context_bars
        known = known[:, :, unseen:]
        of_tracks = np.repeat(np.eye(N_TRACKS), n_cells_of(self.layout), 1)
        given = cells[:, unseen:]
        inputs = {"triads": triads[:, 2 * unseen:], "given": given * (known.transpose(0, 2, 1) @ of_tracks)[:, :, None], "known": known}
        feeds = noises | {name: inputs[encoding] for name, encoding in self.conditions.items()}
        return np.stack([self.session.run(["logits"], {name: x[row:row + 1].astype(np.float32) for name, x in feeds.items()})[0][0]
                         for row in tqdm(range(len(triads)), desc=f"{self.name}, {label}", unit="phrase", leave=False)])

    def play(self, logits, seed=0):
        """What the host plays at its default knobs."""
        return decode(logits, self.temperature, rng=np.random.default_rng(seed), layout=self.layout)

    def led(self, triads, cells, known, seed, label):
        """What goes before phrases that begin a chain: `write`'s triads, cells and known, with the lead-in in the bars before.

        Shapes as in `write`. A lead-in lies over the phrase's own bars: its chords, and what is known of it.
        """
        triads, cells, known = triads.copy(), cells.copy(), known.copy()
        triads[:, :2 * CONTEXT_BARS], known[:, :, :CONTEXT_BARS] = 0, 0
        for left in range(self.lead_in, 0, -1):
            logits = self.write(triads, cells, known, seed + 100 * left, f"{label}, lead-in")
            triads[:, :2 * CONTEXT_BARS], known[:, :, :CONTEXT_BARS] = triads[:, 2 * CONTEXT_BARS:], 1
            cells[:, :CONTEXT_BARS] = cells_of_logits(logits, self.layout)
        return triads, cells, known

    def alone(self, batch, known, seed, label=NOTHING):
        """What is played of phrases that begin a chain, for a batch's chords and what is known of it."""
        before = self.led(triads_of(batch), cells_of_batch(batch, self.layout), known, seed, label)
        return self.play(self.write(*before, seed, label))

    def chained(self, phrases, windows, seed, label=CHAINED):
        """What is played of phrases written after up to three of the model's own, as a pattern is made."""
        before = np.zeros((len(windows), CONTEXT_BARS, N_STEPS, sum(n_cells_of(self.layout))), np.float32)
        has = np.zeros(len(windows), bool)
        nothing = np.zeros_like(before)
        for back in reversed(range(N_CHAIN)):
            rows = np.array([row for row, (_, bar) in enumerate(windows) if bar >= back * PHRASE_BARS])
            batch = phrases.take([(windows[row][0], windows[row][1] - back * PHRASE_BARS) for row in rows])
            triads, known = triads_of(batch), masks(len(rows), context=True)
            cells = np.concatenate([before[rows], nothing[rows]], 1)
            label_of, first = f"{label}, {N_CHAIN - back} of {N_CHAIN}", ~has[rows]
            if first.any():
                led = self.led(triads[first], cells[first], known[first], seed + 1000 * (back + 1), label_of)
                triads[first], cells[first], known[first] = led
            logits = self.write(triads, cells, known, seed + 100 * back, label_of)
            before[rows], has[rows] = cells_of_logits(logits, self.layout), True
        return self.play(logits)


def around(model, batch, real, seed):
    """Figures of completion: re-rolls of a track and of a bar, and accompaniment, on real phrases."""
    n = len(real[0])
    triads, cells = triads_of(batch), cells_of_batch(batch, model.layout)
    order = band_metrics.derangement(n, np.random.default_rng(seed))
    centroids = {t: band_metrics.beat_centroids(real[1][:, t]) for t in range(BASS, N_TRACKS)}
    out = {name: {} for name in ("re-roll: others unchanged", "re-roll: notes that stay", "re-roll: tonal distance",
                                 "re-roll: the same, real", "re-roll: the same, shuffled", "accompany: tonal distance",
                                 "accompany: the same, real", "accompany: the same, shuffled", "accompany: changes with what is given",
                                 "accompany: changes with the noise")}

    def distance(a, b):
        pairs = [band_metrics.tonal_distance(x, y) for x, y in zip(a, b)]
        return float(np.nanmean(pairs))

    def changed(a, b, others):
        return 1 - float(band_metrics.mean(band_metrics.iou(a[:, others].reshape(n, -1), b[:, others].reshape(n, -1))))

    def accompany(track, name, others, pitched):
        known = masks(n, [track])
        onset, sounding = model.alone(batch, known, seed + 10 + track, f"around {name}")
        before = model.led(triads, cells[order], known, seed + 10 + track, f"around another {name}")
        other, _ = model.play(model.write(*before, seed + 10 + track, f"around another {name}"))
        out["accompany: changes with what is given"][name] = changed(onset, other, others)
        other, _ = model.alone(batch, known, seed + 20 + track, f"around {name} again")
        out["accompany: changes with the noise"][name] = changed(onset, other, others)
        if track != DRUMS:
            written = [band_metrics.beat_centroids(sounding[:, t]) for t in pitched]
            out["accompany: tonal distance"][name] = distance([centroids[track]] * len(pitched), written)
            out["accompany: the same, real"][name] = distance([centroids[track]] * len(pitched), [centroids[t] for t in pitched])
            out["accompany: the same, shuffled"][name] = distance([centroids[track][order]] * len(pitched), written)

    for track in range(N_TRACKS):
        others = [t for t in range(N_TRACKS) if t != track]
        pitched = [t for t in others if t != DRUMS]
        name = TRACKS[track]
        if model.given in (None, track):
            accompany(track, name, others, pitched)
        if model.given == track:
            continue
        known = masks(n, others)
        onset, sounding = model.play(model.write(triads, cells, known, seed + track, f"re-roll {name}"))
        out["re-roll: others unchanged"][name] = float((onset[:, others] == real[0][:, others]).all((1, 2, 3, 4)).mean())
        out["re-roll: notes that stay"][name] = float(band_metrics.mean(band_metrics.iou(onset[:, track].reshape(n, -1), real[0][:, track].reshape(n, -1))))
        if track != DRUMS:
            new = band_metrics.beat_centroids(sounding[:, track])
            out["re-roll: tonal distance"][name] = distance([new] * len(pitched), [centroids[t] for t in pitched])
            out["re-roll: the same, real"][name] = distance([centroids[track]] * len(pitched), [centroids[t] for t in pitched])
            out["re-roll: the same, shuffled"][name] = distance([centroids[track][order]] * len(pitched), [centroids[t] for t in pitched])
    return out


def one_bar(model, batch, real, seed, bar=2):
    """Onset IoU of a re-rolled bar (all tracks) with the real bar before it, per track, beside the real bar's."""
    n = len(real[0])
    known = masks(n, range(N_TRACKS), [b for b in range(PHRASE_BARS) if b != bar])
    onset, _ = model.play(model.write(triads_of(batch), cells_of_batch(batch, model.layout), known, seed, "one bar"))
    keep = [b for b in range(PHRASE_BARS) if b != bar]

    def near(x):
        values = {}
        for track, name in enumerate(TRACKS):
            a, b = (y.reshape(n, -1) for y in (x[:, track, bar], real[0][:, track, bar - 1]))
            both = a.any(1) & b.any(1)
            values[name] = float(band_metrics.mean(band_metrics.iou(a[both], b[both])))
        return values

    return {"one bar: others unchanged": {"all": float((onset[:, :, keep] == real[0][:, :, keep]).all((1, 2, 3, 4)).mean())},
            "one bar: IoU with the bar before": near(onset), "one bar: the same, real": near(real[0])}


def sample(phrases, stride, n_most, seed):
    """At most `n_most` phrases of the songs for a band: (windows, batch with the bars before, onsets and sounding, song names)."""
    windows = windows_of(phrases, stride)
    order = np.sort(np.random.default_rng(seed).permutation(len(windows))[:n_most])
    windows = [windows[i] for i in order]
    batch = phrases.take(windows)
    return windows, batch, real_rolls(batch), np.array([phrases.names[song] for song, _ in windows])


def measured(model, seed, args, phrases, windows, batch, real, songs, seen):
    """Figures of a model: {"columns": {what it is given: figures}, "around": those around real tracks, if it hears any}.

    Further seeds than the first only say how far the figures from nothing go up and down.
    """
    first = seed == args.seeds[0]
    given = [] if model.given is None else [model.given]
    settings = {f"given {TRACKS[model.given]}" if given else NOTHING:
                lambda seed, label: model.alone(batch, masks(len(windows), given), seed, label)}
    if model.context_bars and first:
        before = masks(len(windows), context=True) * batch["has"].numpy()[:, None]
        cells = cells_of_batch(batch, model.layout)
        settings[CHAINED] = lambda seed, label: model.chained(phrases, windows, seed, label)
        settings["after real bars"] = lambda seed, label: model.play(model.write(triads_of(batch), cells, before, seed, label))
    columns = {}
    for label, written in settings.items():
        played = written(seed, label)
        column = band_metrics.figures(*played, training=seen[0], legacy=args.legacy)
        column["classifier AUC"] = {"phrases": band_metrics.auc(real, played, songs)}
        if first:
            column["diversity over latents"] = over_latents(played[0], written(seed + 1000, f"{label}, again")[0])
        columns[label] = column
    hears = model.hears and args.around and first
    return {"columns": columns, "around": around(model, batch, real, seed) | one_bar(model, batch, real, seed) if hears else {}}


def remembered(path, measure):
    """What `measure` gives, from a file if it is there: figures of a model take minutes."""
    if path and path.exists():
        return json.loads(path.read_text())
    value = measure()
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
    return value


def over_seeds(columns):
    """The mean of several seeds' figures, and their standard deviation; what only the first has stays as it is."""
    def each(number):
        return {metric: {place: float(number([column[metric][place] for column in columns])) for place in values}
                for metric, values in columns[-1].items()}

    return columns[0] | each(np.mean), each(lambda values: np.std(values, ddof=1))


def table(args):
    held = Phrases(args.data, args.split, ("midi",))
    train = Phrases(args.data, "train", ("midi",))
    windows, batch, real, songs = sample(held, args.stride, args.n, 0)
    _, _, seen, _ = sample(train, 1, N_TRAINING, 1)
    _, _, other, other_songs = sample(train, 16, len(windows), 2)
    print(f"{args.split} songs {len(set(songs))}, phrases {len(windows)}; data {held.sha256[:12]}, seeds {' '.join(map(str, args.seeds))}\n")
    data = band_metrics.figures(*real, training=seen[0], legacy=args.legacy)
    low, high = verdict.interval(real, songs)
    training = band_metrics.figures(*other, legacy=args.legacy)
    training["classifier AUC"] = {"phrases": band_metrics.auc(real, other, songs, other_songs)}
    columns, completed, alone = {"real": data, "real, low": low, "real, high": high, "training songs": training}, {}, {}
    for path in args.models:
        model = Model(path)
        # The first model is the one that is judged: with every seed.
        out = []
        for seed in args.seeds if path == args.models[0] else args.seeds[:1]:
            what = (model.sha256[:12], model.temperature, seed, "around" if args.around else "alone", args.split, args.n, args.stride, held.sha256[:12])
            out.append(remembered(args.figures and args.figures / f"{'-'.join(map(str, what))}.json",
                                  lambda: measured(model, seed, args, held, windows, batch, real, songs, seen)))
        for label in out[0]["columns"]:
            name = f"{model.name}, {label}"
            columns[name] = out[0]["columns"][label]
            if len(out) > 1 and label in out[1]["columns"]:
                columns[name], columns[f"{name}: deviation over seeds"] = over_seeds([one["columns"][label] for one in out])
            if label == NOTHING:
                alone[name] = columns[name]
        if out[0]["around"]:
            completed[model.name] = out[0]["around"]

    def part(legacy):
        return {name: {m: v for m, v in column.items() if m.startswith("legacy") == legacy} for name, column in columns.items()}

    print(band_metrics.table(part(False), 3))
    if args.legacy:
        legacy = {name: column for name, column in part(True).items() if column}
        print(f"\nAs the published code computed them\n\n{band_metrics.table(legacy | band_metrics.published(), 3)}")
    if completed:
        print(f"\nAround real tracks\n\n{band_metrics.table(completed, 3)}")
    if len(alone) > 1:
        judge(alone, columns)


def judge(alone, columns):
    """Print how many figures of every model from nothing (and after its own phrases, where it reads them) are as near to the data as they
    should be, and what the first one misses."""
    first, *others = alone
    data, low, high, training = list(columns.values())[:4]
    best = verdict.nearest({name: alone[name] for name in others}, data)
    chained = {name: column for name, column in columns.items() if name.endswith(f", {CHAINED}")}
    verdicts = {name: verdict.judged(column, data, alone[best], low, high)
                for name, column in {"training songs": training, first: alone[first], **chained, **alone}.items()}
    print(f"\nVerdict: rows that meet each criterion; the best published system is {best}\n\n{verdict.counts(verdicts)}")
    shown = {"real": data, "low": low, "high": high, "training songs": training, best: alone[best], first: alone[first]}
    print(f"\nWhat {first} misses\n\n{verdict.missed(verdicts[first], shown)}")
    scores = {name: column["classifier AUC"]["phrases"] for name, column in alone.items()}
    lowest = min(scores, key=scores.get)
    print(f"\nThe lowest classifier AUC is that of {lowest}: {scores[lowest]:.3f}; {first} {scores[first]:.3f}")


def over_latents(one, two):
    """1 - IoU of the onsets of two takes of the same chords, per track and of all: where neither has any there is nothing to compare."""
    n = len(one)
    values = {name: (one[:, t], two[:, t]) for t, name in enumerate(TRACKS)} | {"all": (one, two)}
    shares = {name: band_metrics.iou(a.reshape(n, -1, 128), b.reshape(n, -1, 128)) for name, (a, b) in values.items()}
    return {name: 1 - float(np.nanmean(share)) if not np.isnan(share).all() else float("nan") for name, share in shares.items()}


def pictures(args):
    """Real phrases on the left, written ones for the same chords on the right."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    held = Phrases(args.data, args.split, ("midi",))
    windows, batch, real, songs = sample(held, 4, args.n, 3)
    model = Model(args.models[0])
    written = model.alone(batch, masks(len(windows), [] if model.given is None else [model.given]), args.seed, "pictures")
    figure, axes = pyplot.subplots(len(windows), 2, figsize=(20, 3.2 * len(windows)), squeeze=False)
    colours = ("black", "tab:red", "tab:blue", "tab:green", "tab:orange")
    for row, (song, bar) in enumerate(windows):
        for column, (onset, sounding) in enumerate((real, written)):
            axis = axes[row, column]
            for track, colour in enumerate(colours):
                notes = band_metrics.notes_of(onset[row:row + 1, track], sounding[row:row + 1, track])
                for _, start, length, pitch in notes:
                    axis.broken_barh([(start, length - 0.1)], (pitch - 0.4 if track else pitch * 0.5 - 12, 0.8), color=colour)
            axis.set(xlim=(0, 64), ylim=(4, 100), xticks=range(0, 65, 16))
            axis.grid(axis="x")
            axis.set_title(f"{songs[row]}, bar {bar + 1}" if column == 0 else model.name, fontsize=9)
    figure.legend([pyplot.Rectangle((0, 0), 1, 1, color=c) for c in colours], TRACKS, loc="upper center", ncol=5, bbox_to_anchor=(0.5, 0.91))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.output, dpi=60, bbox_inches="tight")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("table", table), ("pictures", pictures)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("--data", type=Path, required=True, help=".npz of phrases.py")
        command.add_argument("--models", nargs="+", required=True, metavar="FILE[@T]")
        command.add_argument("--split", default="test", choices=("train", "val", "test"))
        command.add_argument("-n", type=int, default=400 if name == "table" else 6, help="phrases at most")
        if name == "table":
            command.add_argument("--seeds", type=int, nargs="+", default=[5], help="of the noise; all of them for the first model, the first for the others")
            command.add_argument("--figures", type=Path, help="folder that keeps the figures of every model file, and gives them again")
            command.add_argument("--around", action=argparse.BooleanOptionalAction, default=True,
                                 help="also the figures of re-rolls and accompaniment, which take longest")
            command.add_argument("--stride", type=int, default=3, help="bars between the phrases of a song")
            command.add_argument("--legacy", action=argparse.BooleanOptionalAction, default=True,
                                 help="also the figures as the published code computed them, beside the published rows")
        else:
            command.add_argument("--seed", type=int, default=5)
            command.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.run(args)


if __name__ == "__main__":
    sys.exit(main())
