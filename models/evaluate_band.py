"""Measure exported bands against held-out songs, through ONNX Runtime at the host's default knobs.

`evaluate_band.py table --data band.npz --models released/band.onnx` prints every figure of `band_metrics` for held-out phrases, for
training phrases (how far two sets of songs lie apart) and for what each model writes for the held-out songs' chords: from nothing and
after the real bars before; then what it writes around real tracks. `pictures` draws real phrases beside written ones.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from tqdm import tqdm

import band_metrics
from band import CONTEXT_BARS, N_TRACKS
from band_phrases import CELL_STARTS, cells_of_batch, decode, masks, real_rolls, triads_of, windows_of
from export import session
from phrases import BASS, DRUMS, PHRASE_BARS, TRACKS
from train_band import Phrases

N_TRAINING = 1500  # training phrases for the figures of copying


class Model:
    """An exported band in ONNX Runtime."""

    def __init__(self, path):
        proto = onnx.load(str(path))
        self.manifest = json.loads(next(p.value for p in proto.metadata_props if p.key == "barline.manifest"))
        self.temperature = self.manifest["calibration"]["temperature"]
        self.noise_shape = tuple(self.manifest["latents"][0]["shape"][1:])
        self.session = session(path)
        self.name = self.manifest["id"]

    def write(self, triads, given, known, seed, label):
        """Logits (n, 4, 16, 541); triads (n, 16, 24), given (n, 8, 16, 541), known (n, 5, 8). Phrase i has its own noise by the seed."""
        noise = np.random.default_rng(seed).standard_normal((len(triads), *self.noise_shape)).astype(np.float32)
        seen = known.transpose(0, 2, 1)
        out = []
        for row in tqdm(range(len(triads)), desc=f"{self.name}, {label}", unit="phrase", leave=False):
            cells = np.concatenate([given[row][..., CELL_STARTS[t]:CELL_STARTS[t + 1]] * seen[row, :, t, None, None]
                                    for t in range(N_TRACKS)], -1)
            feed = {"noise": noise[row], "chords": triads[row], "given": cells, "known": known[row]}
            out.append(self.session.run(["logits"], {name: x[None].astype(np.float32) for name, x in feed.items()})[0][0])
        return np.stack(out)

    def play(self, logits, seed=0):
        """What the host plays at its default knobs."""
        return decode(logits, self.temperature, rng=np.random.default_rng(seed))


def around(model, batch, real, seed):
    """Figures of completion: re-rolls of a track and of a bar, and accompaniment, on real phrases."""
    n = len(real[0])
    triads, given = triads_of(batch), cells_of_batch(batch)
    order = band_metrics.derangement(n, np.random.default_rng(seed))
    centroids = {t: band_metrics.beat_centroids(real[1][:, t]) for t in range(BASS, N_TRACKS)}
    out = {name: {} for name in ("re-roll: others unchanged", "re-roll: notes that stay", "re-roll: tonal distance",
                                 "re-roll: the same, real", "re-roll: the same, shuffled", "accompany: tonal distance",
                                 "accompany: the same, real", "accompany: the same, shuffled", "accompany: changes with what is given")}

    def distance(a, b):
        pairs = [band_metrics.tonal_distance(x, y) for x, y in zip(a, b)]
        return float(np.nanmean(pairs))

    for track in range(N_TRACKS):
        others = [t for t in range(N_TRACKS) if t != track]
        pitched = [t for t in others if t != DRUMS]
        known = masks(n, others)
        onset, sounding = model.play(model.write(triads, given, known, seed + track, f"re-roll {TRACKS[track]}"))
        name = TRACKS[track]
        out["re-roll: others unchanged"][name] = float((onset[:, others] == real[0][:, others]).all((1, 2, 3, 4)).mean())
        out["re-roll: notes that stay"][name] = float(band_metrics.mean(band_metrics.iou(onset[:, track].reshape(n, -1), real[0][:, track].reshape(n, -1))))
        if track != DRUMS:
            new = band_metrics.beat_centroids(sounding[:, track])
            out["re-roll: tonal distance"][name] = distance([new] * len(pitched), [centroids[t] for t in pitched])
            out["re-roll: the same, real"][name] = distance([centroids[track]] * len(pitched), [centroids[t] for t in pitched])
            out["re-roll: the same, shuffled"][name] = distance([centroids[track][order]] * len(pitched), [centroids[t] for t in pitched])
        known = masks(n, [track])
        one = model.write(triads, given, known, seed + 10 + track, f"around {name}")
        onset, sounding = model.play(one)
        two = model.write(triads, given[order], known, seed + 10 + track, f"around another {name}")
        other_onset, _ = model.play(two)
        out["accompany: changes with what is given"][name] = 1 - float(band_metrics.mean(
            band_metrics.iou(onset[:, others].reshape(n, -1), other_onset[:, others].reshape(n, -1))))
        if track != DRUMS:
            written = [band_metrics.beat_centroids(sounding[:, t]) for t in pitched]
            out["accompany: tonal distance"][name] = distance([centroids[track]] * len(pitched), written)
            out["accompany: the same, real"][name] = distance([centroids[track]] * len(pitched), [centroids[t] for t in pitched])
            out["accompany: the same, shuffled"][name] = distance([centroids[track][order]] * len(pitched), written)
    return out


def one_bar(model, batch, real, seed, bar=2):
    """Onset IoU of a re-rolled bar (all tracks) with the real bar before it, per track, beside the real bar's."""
    n = len(real[0])
    known = masks(n, range(N_TRACKS), [b for b in range(PHRASE_BARS) if b != bar])
    onset, _ = model.play(model.write(triads_of(batch), cells_of_batch(batch), known, seed, "one bar"))
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


def table(args):
    held = Phrases(args.data, args.split, ("midi",))
    train = Phrases(args.data, "train", ("midi",))
    windows, batch, real, songs = sample(held, args.stride, args.n, 0)
    _, _, seen, _ = sample(train, 1, N_TRAINING, 1)
    _, _, other, other_songs = sample(train, 16, len(windows), 2)
    print(f"{args.split} songs {len(set(songs))}, phrases {len(windows)}; data {held.sha256[:12]}, seed {args.seed}\n")
    columns = {"real": band_metrics.figures(*real, training=seen[0], legacy=args.legacy),
               "training songs": band_metrics.figures(*other, legacy=args.legacy)}
    columns["training songs"]["classifier AUC"] = {"phrases": band_metrics.auc(real, other, songs, other_songs)}
    for path in args.models:
        model = Model(path)
        triads, given = triads_of(batch), cells_of_batch(batch)
        alone = triads.copy()
        alone[:, :2 * CONTEXT_BARS] = 0
        before = masks(len(windows), context=True) * batch["has"].numpy()[:, None]
        for label, chords, known in (("from nothing", alone, masks(len(windows))), ("after real bars", triads, before)):
            played = model.play(model.write(chords, given, known, args.seed, label))
            column = band_metrics.figures(*played, training=seen[0], legacy=args.legacy)
            column["classifier AUC"] = {"phrases": band_metrics.auc(real, played, songs)}
            columns[f"{model.name}, {label}"] = column
        if "known" in {c["encoding"] for c in model.manifest["conditions"]}:
            columns[f"{model.name}, around real tracks"] = around(model, batch, real, args.seed) | one_bar(model, batch, real, args.seed)
    print(band_metrics.table(columns, 3))


def pictures(args):
    """Real phrases on the left, written ones for the same chords on the right."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    held = Phrases(args.data, args.split, ("midi",))
    windows, batch, real, songs = sample(held, 4, args.n, 3)
    model = Model(args.models[0])
    alone = triads_of(batch)
    alone[:, :2 * CONTEXT_BARS] = 0
    written = model.play(model.write(alone, cells_of_batch(batch), masks(len(windows)), args.seed, "pictures"))
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
        command.add_argument("--models", type=Path, nargs="+", required=True)
        command.add_argument("--split", default="test", choices=("train", "val", "test"))
        command.add_argument("--seed", type=int, default=5)
        command.add_argument("-n", type=int, default=400 if name == "table" else 6, help="phrases at most")
        if name == "table":
            command.add_argument("--stride", type=int, default=3, help="bars between the phrases of a song")
            command.add_argument("--legacy", action="store_true", help="also the figures as the published code computed them")
        else:
            command.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.run(args)


if __name__ == "__main__":
    sys.exit(main())
