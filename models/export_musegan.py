"""Write a published system as a model file: `export_musegan.py --checkpoint run/checkpoint.pt --data band.npz --output hybrid.onnx`.

As `export_band.py`: one graph with its manifest inside, calibrated, refused unless ONNX Runtime and PyTorch agree. Every system takes
`given` and `known`: what is known comes back as it is, so that re-roll and lock work; only the track-conditional ones hear it.
"""

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from band_phrases import decode
from export import LICENCE, TOLERANCE, finish, graphs_of, session, to_onnx
from musegan import DRUM_LOWEST, N_CELLS, N_DRUM_CELLS, N_TRACKS, NOISES, Generator, MuseganConfig, Sampler
from phrases import DRUMS, LOWEST_PITCH, N_PITCHES, N_STEPS, PHRASE_BARS, PROGRAMS, TRACKS
from train import load_checkpoint
from train_musegan import Rolls, rolls_as_bool

VERSION = "0.1.0"
N_CHECKS = 16
N_CALIBRATE = 256  # phrases
MAX_BIAS = 4.0
LAYOUT = tuple(("onsets", DRUM_LOWEST, N_DRUM_CELLS) if track == DRUMS else ("onset_sustain", LOWEST_PITCH, N_PITCHES)
               for track in range(N_TRACKS))
# At the knob's 1.0: stochastic neurons are Bernoulli sampling; the others are the threshold with so little doubt that the latent decides.
STOCHASTIC, DETERMINISTIC = 1.0, 0.05
ATTRIBUTION = ("Trained on game scores of freedoom/freedoom (BSD-3-Clause style, see its COPYING), EasyRPG/RTP (CC BY 4.0, see its AUTHORS) "
               "and simutrans/simutrans (Artistic License).")


def density(onsets):
    """Steps with an onset per bar, per track: (5,)."""
    return onsets.any(-1).mean((0, 2, 3)) * N_STEPS


def cells_of_rolls(rolls):
    """Binary rolls (n, 4, 16, 72, 5) -> the host's cells (n, 4, 16, 611), 0/1: a note begins where a pitch was off before."""
    onsets, sounding = rolls_as_bool(torch.as_tensor(rolls))
    parts = []
    for track, (kind, lowest, n_pitches) in enumerate(LAYOUT):
        span = slice(lowest, lowest + n_pitches)
        parts += [onsets[:, track, ..., span]] + ([sounding[:, track, ..., span]] if kind == "onset_sustain" else [])
    return np.concatenate(parts, -1).astype(np.float32)


def feeds_of(config, rolls, rng):
    """Inputs for a batch of real rolls (n, 4, 16, 72, 5): {name: array}; a conditional system is given its track, or each in turn."""
    n = len(rolls)
    known = np.zeros((n, N_TRACKS, PHRASE_BARS), np.float32)
    if config.given:
        track = np.arange(n) % N_TRACKS if config.given == "any" else np.full(n, TRACKS.index(config.given))
        known[np.arange(n), track] = 1
    noises = {name: rng.standard_normal((n, *shape)).astype(np.float32) for name, shape in config.noise_shapes().items()}
    return noises | {"given": cells_of_rolls(rolls), "known": known}


@torch.no_grad()
def write(sampler, feeds, batch_size=32):
    """Logits (n, 4, 16, 611) of a sampler in PyTorch."""
    n = len(feeds["known"])
    return np.concatenate([sampler(*(torch.from_numpy(feed[start:start + batch_size]) for feed in feeds.values())).numpy()
                           for start in range(0, n, batch_size)])


def calibrate(make, config, rolls, temperature, n_rounds=9):
    """Find the bias per track at which the default knobs play as many steps with an onset as the songs' rolls have: (biases, figures).

    `make(bias)` gives a sampler. By halving an interval, since binary neurons leave logits so near the threshold that a tenth of a logit
    can be silence or everything. The tracks are independent, so each keeps the round that came nearest; a network whose notes are
    fragments may have no bias that fits, as more cells also join what was apart.
    """
    feeds = feeds_of(config, rolls, np.random.default_rng(3))
    target = density(rolls_as_bool(rolls)[0])
    open_tracks = feeds["known"].mean((0, 2)) < 1  # a given track is not the network's
    low, high = np.where(open_tracks, -MAX_BIAS, 0), np.where(open_tracks, MAX_BIAS, 0)
    best, best_off, best_played = np.zeros(N_TRACKS), np.full(N_TRACKS, np.inf), np.zeros(N_TRACKS)
    for _ in tqdm(range(n_rounds), desc="calibrate", unit="round"):
        used = ((low + high) / 2).round(3)
        logits = write(make(used.tolist()), feeds)
        played = density(decode(logits, temperature, rng=np.random.default_rng(0), layout=LAYOUT)[0])
        off = np.log((target + 0.01) / (played + 0.01))
        better = np.abs(off) < best_off
        best, best_off, best_played = (np.where(better, new, old) for new, old in ((used, best), (np.abs(off), best_off), (played, best_played)))
        low, high = np.where(off > 0, used, low), np.where(off > 0, high, used)
    return best, {"onset_steps_per_bar": {"data": dict(zip(TRACKS, target.round(3).tolist())),
                                          "played": dict(zip(TRACKS, best_played.round(3).tolist()))}}


def manifest_of(config, checkpoint, calibration, figures, name=None):
    """The contract with the host, as a dict."""
    name = name or config.id
    n_cells = sum(N_CELLS)
    tracks = [{"name": track, "program": program, "drums": idx == DRUMS, "kind": kind, "lowest_pitch": lowest, "n_pitches": n_pitches}
              for idx, (track, program, (kind, lowest, n_pitches)) in enumerate(zip(TRACKS, PROGRAMS, LAYOUT))]
    shapes = config.noise_shapes()
    # A part that is written anew keeps what all tracks share, where tracks have noise of their own.
    shared = "bar" if any(NOISES[noise] for noise in shapes) else "phrase"
    return {
        "format": 1, "id": name, "name": name, "version": VERSION, "description": config.description,
        "tracks": tracks, "n_bars": PHRASE_BARS, "chain_bars": PHRASE_BARS, "n_steps": N_STEPS, "steps_per_beat": 4,
        "latents": [{"name": noise, "shape": [1, *shape], "distribution": "normal", "scope": "track" if NOISES[noise] else shared}
                    for noise, shape in shapes.items()],
        "conditions": [{"name": "given", "shape": [1, PHRASE_BARS, N_STEPS, n_cells], "encoding": "given"},
                       {"name": "known", "shape": [1, N_TRACKS, PHRASE_BARS], "encoding": "known"}],
        "output": {"name": "logits", "shape": [1, PHRASE_BARS, N_STEPS, n_cells]},
        "calibration": calibration,
        "training": {"config": asdict(config), "commit": checkpoint["commit"], "data": "freedoom, EasyRPG, simutrans",
                     "data_sha256": checkpoint["data_sha256"], "seed": config.seed, "steps": checkpoint["step"],
                     "stage": checkpoint["stage"], "slope": checkpoint["slope"], "cpu_s": checkpoint["cpu_s"],
                     "figures": {**checkpoint["figures"], **figures}},
        "licence": LICENCE, "attribution": ATTRIBUTION,
    }


@torch.no_grad()
def compare(sampler, model, config, rolls):
    """The largest difference of PyTorch and ONNX Runtime on the same inputs, half of them with all sorts of masks.

    Raises SystemExit where they disagree.
    """
    run = session(model)
    rng = np.random.default_rng(9)
    feeds = feeds_of(config, rolls[:N_CHECKS], rng)
    odd = np.arange(len(feeds["known"])) % 2 == 1
    feeds["known"][odd] = rng.random(feeds["known"][odd].shape) < 0.5
    worst = 0.0
    for row in range(len(feeds["known"])):
        feed = {name: value[row:row + 1] for name, value in feeds.items()}
        theirs, ours = run.run(["logits"], feed)[0], sampler(*map(torch.from_numpy, feed.values())).numpy()
        if not np.isfinite(theirs).all():
            raise SystemExit("ONNX Runtime gives values that are not finite")
        worst = max(worst, float(np.abs(theirs - ours).max()))
    if worst > TOLERANCE:
        raise SystemExit(f"ONNX Runtime and PyTorch disagree: {worst:.2e}, tolerance {TOLERANCE:.2e}")
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint.pt, best.pt or stage1.pt of train_musegan.py")
    parser.add_argument("--data", type=Path, required=True, help=".npz of phrases.py, for the calibration")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--id", help="id of the file, if not the configuration's")
    parser.add_argument("--decode-temperature", type=float, help="what the knob's 1.0 means: 1 is Bernoulli sampling")
    parser.add_argument("--uncalibrated", action="store_true", help="as published: no calibration")
    args = parser.parse_args()
    torch.set_num_threads(1)
    checkpoint, config = load_checkpoint(args.checkpoint)
    if not isinstance(config, MuseganConfig):
        raise SystemExit(f"{args.checkpoint} is not of train_musegan.py")
    generator = Generator(config)
    generator.load_state_dict(checkpoint["state"])
    data = Rolls(args.data, "train", torch.device("cpu"))
    if data.sha256 != checkpoint["data_sha256"]:
        raise SystemExit("the checkpoint was trained on other data than --data")
    rolls = data.take(torch.randperm(len(data), generator=torch.Generator().manual_seed(4))[:N_CALIBRATE])
    temperature = args.decode_temperature or (STOCHASTIC if checkpoint["neurons"] == "stochastic" else DETERMINISTIC)

    def make(bias):
        return Sampler(generator, config, bias, checkpoint["slope"], checkpoint["refines"]).eval()

    bias, figures = (np.zeros(N_TRACKS), {}) if args.uncalibrated else calibrate(make, config, rolls, temperature)
    sampler = make(bias.tolist())
    arguments = tuple(torch.zeros(1, *shape) for shape in config.noise_shapes().values())
    arguments += (torch.zeros(1, PHRASE_BARS, N_STEPS, sum(N_CELLS)), torch.zeros(1, N_TRACKS, PHRASE_BARS))
    with tempfile.TemporaryDirectory() as folder:
        model = to_onnx(sampler, arguments, Path(folder) / "graph.onnx", (*config.noise_shapes(), "given", "known"))
    worst = compare(sampler, model, config, rolls)
    calibration = {"temperature": temperature, "bias": bias.tolist()}
    content = finish(model, manifest_of(config, checkpoint, calibration, figures, args.id), args.output)
    n_nodes = sum(len(graph.node) for graph in graphs_of(model.graph))
    print(f"{args.output.name}: {len(content) / 1e6:.2f} MB, {n_nodes} nodes, largest difference ONNX Runtime to PyTorch {worst:.1e} "
          f"on {min(N_CHECKS, len(rolls))} phrases, calibration {calibration}, {figures}")


if __name__ == "__main__":
    sys.exit(main())
