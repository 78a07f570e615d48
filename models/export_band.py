"""Write the released band: `export_band.py --release configs/release-band.toml --run run --data band.npz --output released/band.onnx`.

`--graph FILE` in place of a run takes the graph of an exported file as it is: for a release whose network and calibration stay.

As `export.py` for melodies: one graph with its manifest inside, calibrated, and refused unless ONNX Runtime and PyTorch agree.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from tqdm import tqdm

from band import (CONTEXT_BARS, DRUM_LOWEST, DURATIONS, N_CELLS, N_DRUM_CELLS, N_NOISE, N_SIZES, N_TRACKS, WINDOW_BARS, BandSampler)
from band_metrics import notes_of
from band_phrases import Phrases, cells_of_batch, cells_of_logits, decode, load_band, masks, real_rolls, triads_of, windows_of, write
from export import LICENCE, TOLERANCE, finish, graphs_of, load_release, session, to_onnx
from phrases import BASS, DRUMS, LOWEST_PITCH, N_PITCHES, N_STEPS, PHRASE_BARS, PROGRAMS, TRACKS
from train_band import BandConfig, nearest_duration

INPUTS = ("noise", "chords", "given", "known")
N_CHECKS = 16
N_CALIBRATE = 96  # places, of five phrases each
CHAIN_BARS = 16
N_DEEP = 3  # phrases after each other
ATTRIBUTION = (
    "Trained on game scores of freedoom/freedoom (BSD-3-Clause style, see its COPYING), EasyRPG/RTP (CC BY 4.0, see its AUTHORS) "
    "and simutrans/simutrans (Artistic License); on Slakh2100 (CC BY 4.0, Manilow et al. 2019) as quantised in "
    "zhaojw1998/Query-and-reArrange; and on the Groove MIDI Dataset (CC BY 4.0, Google LLC, Gillick et al. 2019).")


@dataclass(frozen=True)
class BandRelease:
    """What a release adds to a run; see `configs/release-band.toml`."""

    id: str
    name: str
    version: str
    description: str
    decode_temperature: float  # factor from the host's temperature knob
    begin_temperature: float  # sampling inside the graph: whether notes begin
    pitch_temperature: float
    shape_temperature: float
    duration_temperature: float
    least_pitch: float  # never drawn: what is less likely than this times the likeliest
    least_chord: float
    lead_in: int = 0  # phrases that the host writes before each chain and does not keep

    @property
    def temperature(self):
        """In the order of `BandSampler`."""
        return self.begin_temperature, self.pitch_temperature, self.shape_temperature, self.duration_temperature

    @property
    def least(self):
        """In the order of `BandSampler`."""
        return self.least_pitch, self.least_chord


def marginals(onsets, sounding):
    """What is calibrated, of phrases as in `band_metrics`: onsets per (track, step of the bar) (5, 16), and as shares durations (5, 10)
    and how many notes begin together (5, 5), the last for five or more."""
    begins = onsets.any(-1)
    durations, sizes = np.ones((N_TRACKS, len(DURATIONS))), np.ones((N_TRACKS, N_SIZES))
    for track in range(BASS, N_TRACKS):
        lengths = notes_of(onsets[:, track], sounding[:, track])[:, 2]
        durations[track] += np.bincount(nearest_duration(lengths, np.full(len(lengths), 64)), minlength=len(DURATIONS))
        counts = onsets[:, track].sum(-1)
        sizes[track] += np.bincount(counts[counts > 0].clip(max=N_SIZES) - 1, minlength=N_SIZES)
    return begins.mean((0, 2)), *(x / x.sum(1, keepdims=True) for x in (durations, sizes))


def calibrate(band, release, phrases, n_rounds=8):
    """Find the biases at which the default knobs play onsets per step, durations and chord sizes as the training data has them.

    Phrases are written from nothing, then after what was written so, twice, and after real bars: what a network makes of its own
    music is what is heard most. Phrases that begin and phrases after others have biases of their own but for durations, which are
    counted over all. Each round moves a bias by the log of the ratio that it is off by, damped, since the steps of a phrase pull on
    each other. Returns (biases by name, figures).
    """
    rng = np.random.default_rng(3)
    windows = windows_of(phrases, 1)
    followed = set(windows)
    windows = [(song, bar) for song, bar in windows if all((song, bar + n * PHRASE_BARS) in followed for n in range(1, N_DEEP + 1))]
    windows = [windows[i] for i in rng.permutation(len(windows))[:N_CALIBRATE]]
    first = phrases.take(windows, context=np.zeros(len(windows), bool))
    later = [phrases.take([(song, bar + n * PHRASE_BARS) for song, bar in windows]) for n in range(1, N_DEEP + 1)]
    targets = [marginals(*(np.concatenate(rolls) for rolls in zip(*map(real_rolls, batches))))
               for batches in ([first], [*later, later[0]], [first, *later, later[0]])]
    context = masks(len(windows), context=True)
    real = cells_of_batch(later[0]) * context[:, 0, :, None, None]
    known = context * later[0]["has"].numpy()[:, None]
    begin, duration, size = (np.zeros((*n, *t.shape)) for n, t in zip(((2,), (), (2,)), targets[0]))
    for _ in tqdm(range(n_rounds), desc="calibrate", unit="round"):
        used = [bias.clip(-2.5, 2.5).round(3) for bias in (begin, duration, size)]
        sampler = BandSampler(band, release.temperature, release.least, *used).eval()
        written = [write(sampler, triads_of(first), seed=4)]
        for seed, batch in enumerate(later, 5):
            own = np.concatenate([cells_of_logits(written[-1]), np.zeros_like(written[-1])], 1)
            written.append(write(sampler, triads_of(batch), own, context, seed=seed))
        written.append(write(sampler, triads_of(later[0]), real, known, seed=4))
        played = [marginals(*decode(np.concatenate(part), release.decode_temperature, rng=np.random.default_rng(0)))
                  for part in (written[:1], written[1:], written)]
        for place, (want, got) in enumerate(zip(targets[:2], played)):
            # A step that hardly ever has an onset is left where it is.
            begin[place] += 0.6 * np.clip(np.log((want[0] + 2e-3) / (got[0] + 2e-3)), -1, 1)
            size[place] += 0.6 * np.clip(np.log(want[2] / got[2]), -1, 1)
        duration += 0.6 * np.clip(np.log(targets[2][1] / played[2][1]), -1, 1)
    steps = {name: dict(zip(TRACKS, m[2][0].sum(1).round(3).tolist())) for name, m in (("data", targets), ("played", played))}
    return dict(zip(("begin", "duration", "size"), used)), {"onset_steps_per_bar": steps}


def manifest_of(release, config, checkpoints, calibration, biases, figures):
    """The contract with the host, as a dict."""
    n_cells = sum(N_CELLS)
    tracks = [{"name": name, "program": program, "drums": idx == DRUMS,
               "kind": "onsets" if idx == DRUMS else "one_of_n" if idx == BASS else "onset_sustain",
               "lowest_pitch": DRUM_LOWEST if idx == DRUMS else LOWEST_PITCH,
               "n_pitches": N_DRUM_CELLS if idx == DRUMS else N_PITCHES} for idx, (name, program) in enumerate(zip(TRACKS, PROGRAMS))]
    one = next(iter(checkpoints.values()))
    return {
        "format": 1, "id": release.id, "name": release.name, "version": release.version, "description": release.description,
        "tracks": tracks, "n_bars": PHRASE_BARS, "chain_bars": CHAIN_BARS, "context_bars": CONTEXT_BARS,
        "lead_in": release.lead_in,
        "n_steps": N_STEPS, "steps_per_beat": 4,
        "latents": [{"name": "noise", "shape": [1, N_TRACKS, PHRASE_BARS, N_STEPS, N_NOISE], "distribution": "normal",
                     "scope": "track_bar"}],
        "conditions": [{"name": "chords", "shape": [1, 2 * WINDOW_BARS, 24], "encoding": "triads"},
                       {"name": "given", "shape": [1, WINDOW_BARS, N_STEPS, n_cells], "encoding": "given"},
                       {"name": "known", "shape": [1, N_TRACKS, WINDOW_BARS], "encoding": "known"}],
        "output": {"name": "logits", "shape": [1, PHRASE_BARS, N_STEPS, n_cells]},
        "calibration": calibration,
        "training": {"config": asdict(config), "commit": " ".join(sorted({c["commit"] for c in checkpoints.values()})),
                     "data": "freedoom, EasyRPG, simutrans; Slakh2100 quantised; Groove MIDI Dataset", "data_sha256": one["data_sha256"],
                     "seed": config.seed, "steps": {group: c["step"] for group, c in checkpoints.items()},
                     "cpu_s": {group: c["cpu_s"] for group, c in checkpoints.items()},
                     "val_nll": {group: round(c["val_nll"], 4) for group, c in checkpoints.items()},
                     "release": asdict(release), "biases": {name: np.round(b, 3).tolist() for name, b in biases.items()},
                     "figures": figures},
        "licence": LICENCE, "attribution": ATTRIBUTION,
    }


def manifest_in(path):
    """The manifest of an exported file, as a dict."""
    return json.loads(next(entry.value for entry in onnx.load(path).metadata_props if entry.key == "barline.manifest"))


def renamed(path, release):
    """The model of an exported file and its manifest, as `release` says; the graph stays.

    Raises SystemExit where the release asks for another graph.
    """
    model, manifest = onnx.load(path), manifest_in(path)
    new, old = asdict(release), manifest["training"]["release"]
    told = ("id", "name", "version", "description", "lead_in")
    if other := [field for field in new if field not in told and new[field] != old[field]]:
        raise SystemExit(f"{path} was exported with other settings: {', '.join(other)}; these need its --run")
    manifest |= {field: new[field] for field in told}
    manifest["training"]["release"] = new
    del model.metadata_props[:]
    return model, manifest


@torch.no_grad()
def compare(sampler, model, phrases):
    """Run PyTorch and ONNX Runtime on the same inputs, with all sorts of masks; returns the largest difference.

    Raises SystemExit where they disagree. A draw whose uniform lies within rounding of a boundary may fall on either side and changes
    all that follows in the phrase; one of `N_CHECKS` phrases may do so.
    """
    run = session(model)
    rng = np.random.default_rng(9)
    windows = windows_of(phrases, 4)
    windows = [windows[i] for i in rng.permutation(len(windows))[:N_CHECKS]]
    batch = phrases.take(windows)
    known = (rng.random((len(windows), N_TRACKS, WINDOW_BARS)) < rng.random((len(windows), 1, 1))).astype(np.float32)
    known *= batch["has"].numpy()[:, None]
    feeds = {"noise": rng.standard_normal((len(windows), N_TRACKS, PHRASE_BARS, N_STEPS, N_NOISE)).astype(np.float32),
             "chords": triads_of(batch).astype(np.float32), "given": cells_of_batch(batch), "known": known}
    worst, n_parted = 0.0, 0
    for row in range(len(windows)):
        feed = {name: value[row:row + 1] for name, value in feeds.items()}
        theirs = run.run(["logits"], feed)[0]
        ours = sampler(*(torch.from_numpy(feed[name]) for name in INPUTS)).numpy()
        if not np.isfinite(theirs).all():
            raise SystemExit("ONNX Runtime gives values that are not finite")
        if ((theirs > 0) != (ours > 0)).any():
            n_parted += 1
        else:
            worst = max(worst, float(np.abs(theirs - ours).max()))
    if worst > TOLERANCE or n_parted > 1:
        raise SystemExit(f"ONNX Runtime and PyTorch disagree: {worst:.2e}, tolerance {TOLERANCE:.2e}; {n_parted} other phrases")
    return worst, n_parted


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, required=True)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", type=Path, help="folder that train_band.py wrote")
    source.add_argument("--graph", type=Path, help="an exported file whose graph to take as it is")
    parser.add_argument("--data", type=Path, help=".npz of phrases.py, for the calibration of a run")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--uncalibrated", action="store_true", help="for a quick look: no calibration")
    parser.add_argument("--calibrated", type=Path, help="an exported file whose biases to take: the same notes from the same weights")
    args = parser.parse_args()
    torch.set_num_threads(1)
    release = load_release(args.release, BandRelease)
    if args.graph:
        content = finish(*renamed(args.graph, release), args.output)
        print(f"{args.output.name}: {len(content) / 1e6:.2f} MB, the graph of {args.graph.name}")
        return
    if not args.data:
        parser.error("a --run needs --data")
    band, config, checkpoints = load_band(args.run)
    if set(checkpoints) != set(band.GROUPS):
        raise SystemExit(f"{args.run} holds {sorted(checkpoints)}; {sorted(band.GROUPS)} are needed")
    phrases = Phrases(args.data, "train", ("midi",))
    if any(c["data_sha256"] != phrases.sha256 for c in checkpoints.values()):
        raise SystemExit("the run was trained on other data than --data")
    if args.calibrated:
        trained = manifest_in(args.calibrated)["training"]
        biases, figures = {name: np.array(value) for name, value in trained["biases"].items()}, trained["figures"]
    else:
        biases, figures = ({}, {}) if args.uncalibrated else calibrate(band, release, phrases)
    sampler = BandSampler(band, release.temperature, release.least, **biases).eval()
    arguments = (torch.zeros(1, N_TRACKS, PHRASE_BARS, N_STEPS, N_NOISE), torch.zeros(1, 2 * WINDOW_BARS, 24),
                 torch.zeros(1, WINDOW_BARS, N_STEPS, sum(N_CELLS)), torch.zeros(1, N_TRACKS, WINDOW_BARS))
    with tempfile.TemporaryDirectory() as folder:
        model = to_onnx(sampler, arguments, Path(folder) / "graph.onnx", INPUTS)
    worst, n_parted = compare(sampler, model, phrases)
    begin = biases.get("begin", np.zeros((2, N_TRACKS, N_STEPS)))[1]
    calibration = {"temperature": release.decode_temperature, "bias": [float(b) for b in begin.mean(1).round(3)]}
    content = finish(model, manifest_of(release, config, checkpoints, calibration, biases, figures), args.output)
    n_nodes = sum(len(graph.node) for graph in graphs_of(model.graph))
    print(f"{args.output.name}: {len(content) / 1e6:.2f} MB, {n_nodes} nodes, largest difference ONNX Runtime to PyTorch {worst:.1e} "
          f"on {N_CHECKS} phrases, {n_parted} of them parted at a boundary, calibration {calibration}, {figures}")


if __name__ == "__main__":
    sys.exit(main())
