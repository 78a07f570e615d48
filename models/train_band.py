"""Train the networks of the band: `train_band.py --config configs/band.toml --data band.npz --output run --group poly`.

The three groups (drums, bass, and piano, guitar and strings together) share no weights: train them in one process after the other
or in three. Each keeps its best weights on validation phrases; a run leaves `<group>.pt` and `<group>.jsonl` and starts again from
`<group>.resume.pt` when it is stopped. Under `torchrun` several processes share the work (DistributedDataParallel, gloo or NCCL).
"""

import argparse
import copy
import math
import os
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from band import (CONTEXT_BARS, DURATIONS, MAX_NOTES, N_CONTEXT, N_PHRASE, N_RISES, N_TRACKS, N_WINDOW, WINDOW_BARS, Band, steps_of_bars,
                  steps_of_slots)
from nets import triad_one_hot
from phrases import BASS, DRUMS, N_PITCHES, N_STEPS, PHRASE_BARS, SOURCES, load_songs
from prepare import NO_CHORD, SPLITS, save_atomically


def nearest_duration(steps, longest):
    """Index of the duration nearest to `steps` on a logarithmic scale, of those not longer than `longest`; both (n,) arrays."""
    table = np.log(np.array(DURATIONS, float))
    distance = np.abs(np.log(np.maximum(steps, 1))[:, None] - table[None])
    distance[np.array(DURATIONS)[None] > np.maximum(longest, 1)[:, None]] = np.inf
    return distance.argmin(1)


class SongRolls:
    """One song as dense arrays.

    `drums` (n_steps, 16) bool; `age` (n_steps, 4, 72) uint8: 1 at an onset, then counting while the note sounds, 0 in silence;
    `duration` (n_steps, 4, 72) uint8: 1 + class of the note's duration at its onset; `triads` (2 x n_bars,) int8.
    Of more notes on one step than `MAX_NOTES` the inner ones are left out, and of a chord those over four octaves above its lowest.
    """

    def __init__(self, notes, n_bars, chords):
        n_steps = n_bars * N_STEPS
        self.n_bars = n_bars
        self.drums = np.zeros((n_steps, 16), bool)
        self.age = np.zeros((n_steps, N_TRACKS - 1, N_PITCHES), np.uint8)
        self.duration = np.zeros((n_steps, N_TRACKS - 1, N_PITCHES), np.uint8)
        self.triads = chords.reshape(-1)
        # Filled in by `Phrases.keep_to`: indices of sets and shapes, classes of durations.
        self.drum_shape = np.zeros(n_steps, np.int64)
        self.shape = np.zeros((n_steps, N_TRACKS - 1), np.int16)
        self.lasts = np.full((n_steps, N_TRACKS - 1, 2), -1, np.int8)
        notes = notes[notes[:, 2] < n_steps]
        self.n_left_out = 0
        for track in range(N_TRACKS):
            own = notes[notes[:, 1] == track][:, 2:]
            own = own[np.lexsort((own[:, 2], own[:, 0]))]
            own = self.fitting(own, MAX_NOTES[track])
            if track == DRUMS:
                self.drums[own[:, 0], own[:, 2]] = True
                continue
            # How long a note may last: to the next onset of its pitch, of any pitch on the bass.
            room = np.full(len(own), 64)
            order = np.arange(len(own)) if track == BASS else np.lexsort((own[:, 0], own[:, 2]))
            same = np.ones(max(len(own) - 1, 0), bool) if track == BASS else own[order[1:], 2] == own[order[:-1], 2]
            gap = own[order[1:], 0] - own[order[:-1], 0]
            room[order[:-1]] = np.where(same, np.minimum(gap, 64), 64)
            classes = nearest_duration(own[:, 1], room)
            self.duration[own[:, 0], track - 1, own[:, 2]] = classes + 1
            lengths = np.array(DURATIONS)[classes]
            for ahead in range(int(lengths.max(initial=0))):
                some = own[(lengths > ahead) & (own[:, 0] + ahead < n_steps)]
                self.age[some[:, 0] + ahead, track - 1, some[:, 2]] = ahead + 1

    def drop(self, track, rows, kept, low):
        """Take the notes away that begin at `rows` (n,) and are neither in `kept` (n, 72) nor the lowest (n,)."""
        kept[np.arange(len(rows)), low] = True
        for row, pitch in zip(*np.nonzero((self.age[rows, track] == 1) & ~kept)):
            start = rows[row]
            n = DURATIONS[self.duration[start, track, pitch] - 1]
            self.age[start:start + n, track, pitch] = 0
            self.duration[start, track, pitch] = 0

    def fitting(self, notes, n_most):
        """Notes sorted by (onset, pitch) -> at most `n_most` of each onset: the lowest ones and the highest."""
        if not len(notes):
            return notes
        starts = np.flatnonzero(np.r_[True, notes[1:, 0] != notes[:-1, 0]])
        sizes = np.diff(np.r_[starts, len(notes)])
        rank = np.arange(len(notes)) - np.repeat(starts, sizes)
        keep = (rank < n_most - 1) | (rank == np.repeat(sizes, sizes) - 1)
        keep &= notes[:, 2] - np.repeat(notes[starts, 2], sizes) <= N_RISES
        self.n_left_out += int((~keep).sum())
        return notes[keep]


def shapes_of(phrases, n_drums, n_chords):
    """The most frequent sets of drums (n, 16), and shapes of chords (n, 48) = semitones above the lowest note, as 0/1 arrays.

    Chords of songs for a band count four times those of other sources. Sorted, so that neighbours in the order are alike.
    """
    drums, chords = Counter(), Counter()
    for song, source in zip(phrases.songs, phrases.source):
        sets, counts = np.unique(song.drums[song.drums.any(1)], axis=0, return_counts=True)
        drums.update({tuple(row): int(count) for row, count in zip(sets.astype(int), counts)})
        for track in range(1, N_TRACKS - 1):
            onset = song.age[:, track] == 1
            onset = onset[onset.any(1)]
            if len(onset):
                shapes, counts = np.unique(above_lowest(onset), axis=0, return_counts=True)
                weight = 4 if source == 0 else 1
                chords.update({tuple(row): weight * int(count) for row, count in zip(shapes.astype(int), counts)})
    return tuple(np.array(sorted(key for key, _ in counter.most_common(n)), np.uint8).reshape(-1, width)
                 for counter, n, width in ((drums, n_drums, 16), (chords, n_chords, N_RISES)))


def above_lowest(onset):
    """Sets of pitches (n, 72), none empty -> (n, 48): which of the 48 semitones above the lowest are in the set."""
    low = onset.argmax(-1)
    padded = np.pad(onset, ((0, 0), (0, N_RISES)))
    return np.take_along_axis(padded, low[:, None] + 1 + np.arange(N_RISES)[None], 1)


class Vocabulary:
    """Looks up sets among the shapes that a network knows; an unknown set counts as the known one with the most in common."""

    def __init__(self, shapes):
        self.shapes = shapes.astype(bool)
        self.idx = {row.tobytes(): idx for idx, row in enumerate(np.packbits(self.shapes, axis=1))}
        self.n_unknown = self.n_known = 0

    def __call__(self, sets):
        """(n, k) bool -> (n,) int64."""
        out = np.zeros(len(sets), np.int64)
        for row, key in enumerate(np.packbits(sets, axis=1)):
            key = key.tobytes()
            if key not in self.idx:
                # What is missing weighs more than what is too much would: a known part of a chord, not another chord.
                common = (self.shapes & sets[row]).sum(1) - 2.0 * (self.shapes & ~sets[row]).sum(1)
                self.idx[key] = int(common.argmax())
            out[row] = self.idx[key]
        return out


class Phrases:
    """Phrases of songs with the four bars before them, drawn as batches."""

    def __init__(self, path, split, sources=SOURCES):
        arrays, self.sha256 = load_songs(path)
        wanted = np.flatnonzero((arrays["song_split"] == SPLITS.index(split))
                                & np.isin(arrays["song_source"], [SOURCES.index(s) for s in sources]))
        bounds = np.searchsorted(arrays["notes"][:, 0], np.arange(len(arrays["song_bars"]) + 1))
        self.songs, self.source, self.known, self.names = [], [], [], []
        self.windows = {source: [] for source in range(len(SOURCES))}
        self.active = {}
        for idx in tqdm(wanted, desc=f"songs ({split})", unit="song", leave=False):
            song = SongRolls(arrays["notes"][bounds[idx]:bounds[idx + 1]], int(arrays["song_bars"][idx]), arrays["chords"][idx])
            source = int(arrays["song_source"][idx])
            playing = np.concatenate([song.drums.reshape(song.n_bars, -1).any(1)[:, None],
                                      (song.duration > 0).reshape(song.n_bars, N_STEPS, N_TRACKS - 1, -1).any((1, 3))], 1)
            n_needed = 1 if SOURCES[source] == "groove" else 2
            for bar in range(song.n_bars - PHRASE_BARS + 1):
                active = playing[bar:bar + PHRASE_BARS].any(0)
                if active.sum() >= n_needed:
                    self.windows[source].append((len(self.songs), bar))
            self.songs.append(song)
            self.source.append(source)
            self.known.append(arrays["song_known"][idx])
            self.names.append(str(arrays["song_names"][idx]))

    def keep_to(self, drums, chords):
        """Replace every set of drums and chord by its nearest in the vocabularies, and remember their indices per step."""
        for song in self.songs:
            rows = np.flatnonzero(song.drums.any(1))
            song.drum_shape[rows] = drums(song.drums[rows])
            song.drums[rows] = drums.shapes[song.drum_shape[rows]]
            for track in range(N_TRACKS - 1):
                onset = song.age[:, track] == 1
                rows = np.flatnonzero(onset.any(1))
                if not len(rows):
                    continue
                low = onset[rows].argmax(-1)
                if track:
                    shape = chords(above_lowest(onset[rows]))
                    song.shape[rows, track] = shape
                    wanted = np.zeros((len(rows), N_PITCHES + N_RISES), bool)
                    np.put_along_axis(wanted, low[:, None] + 1 + np.arange(N_RISES)[None], chords.shapes[shape], 1)
                    song.drop(track, rows, wanted[:, :N_PITCHES], low)
                classes = song.duration[rows, track].astype(int) - 1
                song.lasts[rows, track, 0] = classes[np.arange(len(rows)), low]
                classes[np.arange(len(rows)), low] = -1
                # Most of the others agree; where they do not, the longest speaks for them.
                song.lasts[rows, track, 1] = classes.max(1)

    def take(self, windows, shift=0, context=None):
        """The windows (song, bar) as tensors, pitched tracks and chords moved by `shift` semitones.

        `context` (n,) bool: whether the bars before the phrase are there; None for wherever they are. Returns a dict: drums
        (n, 128, 16); onset, sounding (n, 4, 128, 72); shape (n, 64, 5) and lasts (n, 64, 4, 2) as `TrackNet.log_prob` wants them;
        triads (n, 128, 24); has (n, 8) bars that are there; tracks (n, 5) that the source has; source (n, 3).
        """
        n = len(windows)
        drums = np.zeros((n, N_WINDOW, 16), bool)
        age = np.zeros((n, N_WINDOW, N_TRACKS - 1, N_PITCHES), np.uint8)
        shape = np.zeros((n, N_PHRASE, N_TRACKS), np.int64)
        lasts = np.zeros((n, N_PHRASE, N_TRACKS - 1, 2), np.int64)
        triads = np.full((n, WINDOW_BARS * 2), NO_CHORD, np.int64)
        has = np.zeros((n, WINDOW_BARS), bool)
        for row, (song_idx, bar) in enumerate(windows):
            song = self.songs[song_idx]
            n_before = min(CONTEXT_BARS, bar) if context is None or context[row] else 0
            first, start = (bar - n_before) * N_STEPS, (CONTEXT_BARS - n_before) * N_STEPS
            stop = (bar + PHRASE_BARS) * N_STEPS
            drums[row, start:] = song.drums[first:stop]
            age[row, start:] = song.age[first:stop]
            shape[row, :, 0] = song.drum_shape[bar * N_STEPS:stop]
            shape[row, :, 1:] = song.shape[bar * N_STEPS:stop]
            lasts[row] = song.lasts[bar * N_STEPS:stop]
            triads[row, start // 8:] = song.triads[first // 8:stop // 8]
            has[row, start // N_STEPS:] = True
            # A note from before the window, or from before the phrase, is not part of it.
            for at in (start, N_CONTEXT):
                end = N_CONTEXT if at < N_CONTEXT else N_WINDOW
                age[row, at:end][age[row, at:end] > np.arange(1, end - at + 1)[:, None, None]] = 0
        # What leaves the range stays where it was: below 24 or above 95 lie only effects.
        age = torch.from_numpy(age)
        if shift:
            pad = (shift, 0) if shift > 0 else (0, -shift)
            cut = slice(0, N_PITCHES) if shift > 0 else slice(-shift, None)
            age = F.pad(age, pad)[..., cut]
        age = age.transpose(1, 2)
        triads = torch.from_numpy(triads)
        triads = torch.where(triads < 0, triads, (triads % 12 + shift) % 12 + 12 * (triads >= 12))
        song_idx = [song for song, _ in windows]
        return {
            "drums": torch.from_numpy(drums).float(), "onset": (age == 1).float(), "sounding": (age > 0).float(),
            "shape": torch.from_numpy(shape), "lasts": torch.from_numpy(lasts), "triads": steps_of_slots(triad_one_hot(triads)),
            "has": torch.from_numpy(has), "tracks": torch.from_numpy(np.stack([self.known[i] for i in song_idx])),
            "source": F.one_hot(torch.tensor([self.source[i] for i in song_idx]), len(SOURCES)).float(),
        }


def draw_masks(batch, targets, generator):
    """What a network is given when it writes `targets` (n,): known (n, 5, 8) and the steps to learn (n, 64).

    The cases are those of use, in the order in which the graph writes the tracks: from nothing (the tracks before the target are
    known), one track again (all others known), a track to accompany, and any set. In a quarter of them only some bars of the
    phrase are missing.
    """
    n = len(targets)
    kind = torch.rand(n, generator=generator)
    track = torch.arange(N_TRACKS)
    before = track[None] < targets[:, None]
    other = track[None] != targets[:, None]
    given = F.one_hot(torch.randint(N_TRACKS, (n,), generator=generator), N_TRACKS).bool()
    some = torch.rand(n, N_TRACKS, generator=generator) < 0.5
    others = torch.where((kind < 0.5)[:, None], before,
                         torch.where((kind < 0.7)[:, None], other, torch.where((kind < 0.85)[:, None], before | given, some)))
    others &= other
    known = others[:, :, None].expand(-1, -1, PHRASE_BARS).clone()
    partial = torch.rand(n, generator=generator) < 0.25
    missing = torch.rand(n, PHRASE_BARS, generator=generator) < 0.4
    missing[torch.arange(n), torch.randint(PHRASE_BARS, (n,), generator=generator)] = True
    missing |= ~partial[:, None]
    # Where only some bars are missing, the others are there on every track.
    known |= (~missing & partial[:, None])[:, None]
    context = torch.ones(n, N_TRACKS, CONTEXT_BARS, dtype=torch.bool)
    known = torch.cat([context, known], 2) & batch["has"][:, None] & batch["tracks"][:, :, None]
    return known.float(), missing.repeat_interleave(N_STEPS, 1)


def log_prob_of(band, net, batch, targets, known):
    """Log-likelihood of each step of the target tracks: (n, 64)."""
    rows = torch.arange(len(targets))
    contents = band.contents(batch["drums"], list(batch["onset"].unbind(1)), list(batch["sounding"].unbind(1)), batch["triads"])
    tags = torch.cat([batch["source"], F.one_hot(torch.tensor([net.targets.index(int(t)) for t in targets]),
                                                 len(net.targets)).float()], -1)
    features = band.features(contents, steps_of_bars(known), band.places(batch["triads"]),
                             tags.unsqueeze(1).expand(-1, N_WINDOW, -1))
    if not net.pitched:
        return net.log_prob(features, batch["drums"], batch["drums"], batch["shape"][:, :, 0], None, batch["triads"])
    onset, sounding = batch["onset"][rows, targets - 1], batch["sounding"][rows, targets - 1]
    return net.log_prob(features, onset, sounding, batch["shape"][rows, :, targets], batch["lasts"][rows, :, targets - 1], batch["triads"])


@dataclass(frozen=True)
class BandConfig:
    """Configuration of a band; see `configs/band.toml` for the reasons behind the numbers."""

    kind: str
    seed: int
    drums_hidden: int
    bass_hidden: int
    poly_hidden: int
    surroundings: int
    dropout: float
    content_dropout: float
    n_drum_sets: int
    n_chord_shapes: int
    batch_size: int
    drums_steps: int
    bass_steps: int
    poly_steps: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    ema_decay: float
    context_share: float
    other_source_share: float
    validate_every: int
    bf16: bool


def band_from(config, drum_sets=None, chord_shapes=None):
    """The untrained networks of a configuration; without vocabularies those of a checkpoint are expected to follow."""
    drum_sets = torch.zeros(config.n_drum_sets, 16) if drum_sets is None else torch.from_numpy(drum_sets)
    chord_shapes = torch.zeros(config.n_chord_shapes, N_RISES) if chord_shapes is None else torch.from_numpy(chord_shapes)
    shapes = {"drums": drum_sets, "bass": torch.zeros(1, 1), "poly": chord_shapes}
    return Band(config.drums_hidden, config.bass_hidden, config.poly_hidden, config.surroundings, config.dropout, shapes)


class Stream:
    """Endless batches for one group of tracks."""

    def __init__(self, phrases, net, config, seed):
        self.phrases, self.net, self.config = phrases, net, config
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        others = [source for source in (1, 2) if phrases.windows[source]
                  and ((source == 2) == (not net.pitched))]
        self.sources = [0] + others
        share = config.other_source_share if others else 0.0
        self.shares = [1 - share] + [share / max(len(others), 1)] * len(others)

    def batch(self, size):
        """One batch: (batch of `Phrases.take`, targets, known, steps to learn)."""
        source = self.rng.choice(self.sources, size=size, p=self.shares)
        windows = [self.phrases.windows[s][self.rng.integers(len(self.phrases.windows[s]))] for s in source]
        shift = int(self.rng.integers(-5, 7))
        batch = self.phrases.take(windows, shift, self.rng.random(size) < self.config.context_share)
        targets = torch.from_numpy(self.rng.choice(self.net.targets, size=size))
        known, learn = draw_masks(batch, targets, self.generator)
        return batch, targets, known, learn


@torch.no_grad()
def validate(band, net, batches):
    """Mean negative log-likelihood per learnt step, in nats, of fixed validation batches; also per target track."""
    net.eval()
    sums = {}
    for batch, targets, known, learn in batches:
        lp = log_prob_of(band, net, batch, targets, known)
        for target in net.targets:
            rows = targets == target
            total, count = sums.get(target, (0.0, 0))
            sums[target] = total - float((lp[rows] * learn[rows]).sum()), count + int(learn[rows].sum())
    net.train()
    per_track = {target: total / max(count, 1) for target, (total, count) in sums.items()}
    return sum(total for total, _ in sums.values()) / max(sum(count for _, count in sums.values()), 1), per_track


def hide(known, rate, generator):
    """Take whole (track, bar) cells away at random, so that no single one is relied on and songs are not recognised."""
    return known * (torch.rand(known.shape, generator=generator) >= rate)


def train_group(config, data, output, group, n_validate=6):
    """Maximum likelihood with dropout, weight decay, cosine schedule and EMA; keeps the EMA weights that validate best."""
    from train import Run

    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    if world > 1:
        torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    torch.manual_seed(config.seed)
    train, val = Phrases(data, "train"), Phrases(data, "val", ("midi",))
    drum_sets, chord_shapes = shapes_of(train, config.n_drum_sets, config.n_chord_shapes)
    for phrases in (train, val):
        phrases.keep_to(Vocabulary(drum_sets), Vocabulary(chord_shapes))
    band = band_from(config, drum_sets, chord_shapes)
    net = getattr(band, group)
    slow = copy.deepcopy(net)
    n_steps = getattr(config, f"{group}_steps")
    stream = Stream(train, net, config, config.seed * 1000 + rank)
    fixed = Stream(val, net, config, 7)
    batches = [fixed.batch(128) for _ in range(n_validate)]
    run = Run(output, config, train.sha256, name=group) if rank == 0 else None
    groups = [{"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": config.weight_decay},
              {"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.99), fused=True)
    resume = Path(output) / f"{group}.resume.pt"
    first, best = 1, math.inf
    if resume.exists():
        saved = torch.load(resume, weights_only=True)
        net.load_state_dict(saved["net"])
        slow.load_state_dict(saved["slow"])
        optimiser.load_state_dict(saved["optimiser"])
        first, best = saved["step"] + 1, saved["best"]
        stream = Stream(train, net, config, config.seed * 1000 + rank + 17 * first)
        tqdm.write(f"{group}: goes on from step {saved['step']}")
    learner = LogProb(band, group)
    if world > 1:
        learner = nn.parallel.DistributedDataParallel(learner, find_unused_parameters=True)
    losses, started = [], time.monotonic()
    for step in tqdm(range(first, n_steps + 1), initial=first - 1, total=n_steps, desc=group, unit="step", mininterval=10,
                     disable=rank > 0):
        batch, targets, known, learn = stream.batch(config.batch_size)
        known = hide(known, config.content_dropout, stream.generator)
        cosine = 0.5 * (1 + math.cos(math.pi * step / n_steps))
        for part in optimiser.param_groups:
            part["lr"] = config.learning_rate * min(1.0, step / config.warmup_steps) * (0.01 + 0.99 * cosine)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            lp = learner(batch, targets, known)
        loss = -(lp * learn).sum() / learn.sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
        weight = min(config.ema_decay, step / (step + 10))
        with torch.no_grad():
            for s, fast in zip(slow.parameters(), net.parameters()):
                s.lerp_(fast, 1 - weight)
        if rank == 0 and (step % config.validate_every == 0 or step == n_steps):
            nll, per_track = validate(band, slow, batches)
            run.log(step=step, train=float(np.mean(losses)), val=nll, **{f"val_{t}": v for t, v in per_track.items()},
                    wall_s=round(time.monotonic() - started))
            losses = []
            if nll < best:
                best = nll
                run.save(f"{group}.pt", group=group, state=slow.state_dict(), step=step, val_nll=nll)
            save_atomically(resume, lambda file: torch.save(
                {"net": net.state_dict(), "slow": slow.state_dict(), "optimiser": optimiser.state_dict(), "step": step,
                 "best": best}, file))
    if world > 1:
        torch.distributed.destroy_process_group()


class LogProb(nn.Module):
    """`log_prob_of` as a module, which DistributedDataParallel needs."""

    def __init__(self, band, group):
        super().__init__()
        self.net = getattr(band, group)
        self.band = [band]  # in a list, so that the other groups are no parameters of this module

    def forward(self, batch, targets, known):
        return log_prob_of(self.band[0], self.net, batch, targets, known)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help=".npz of phrases.py")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--group", choices=tuple(Band.GROUPS), help="train one group only")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    from train import load_config

    torch.set_num_threads(args.threads)
    config = load_config(args.config)
    for group in [args.group] if args.group else Band.GROUPS:
        train_group(config, args.data, args.output, group)


if __name__ == "__main__":
    sys.exit(main())
