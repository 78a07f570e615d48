"""Phrases of the band for measuring and looking: real ones, and what a network writes for the same chords.

Everything becomes two bool arrays, onsets and sounding, (n, 5, 4, 16, 128), as `band_metrics` wants them.
"""

import numpy as np
import torch

from band import CONTEXT_BARS, DRUM_LOWEST, N_CELLS, N_DRUM_CELLS, N_NOISE, N_PHRASE, N_TRACKS, N_WINDOW, WINDOW_BARS, BandSampler
from phrases import BASS, DRUM_PITCHES, DRUMS, LOWEST_PITCH, N_PITCHES, N_STEPS, PHRASE_BARS
from train_band import Phrases, band_from

CELL_STARTS = np.cumsum([0, *N_CELLS])


def load_band(folder):
    """The networks of a run's three checkpoints: (band in eval mode, config, {group: checkpoint})."""
    from pathlib import Path
    from train import load_checkpoint

    checkpoints = {}
    band = None
    for path in sorted(Path(folder).glob("*.pt")):
        if path.name.endswith(".resume.pt"):
            continue
        checkpoint, config = load_checkpoint(path)
        checkpoints[checkpoint["group"]] = checkpoint
    if not checkpoints:
        raise SystemExit(f"{folder} holds no checkpoint of train_band.py")
    shapes = {group: checkpoint["state"]["shapes"].numpy() for group, checkpoint in checkpoints.items()}
    band = band_from(config, shapes.get("drums"), shapes.get("poly"))
    for group, checkpoint in checkpoints.items():
        getattr(band, group).load_state_dict(checkpoint["state"])
    return band.eval(), config, checkpoints


def windows_of(phrases, stride, n_active=2):
    """Every `stride`-th phrase (song, bar) of the songs for a band in which `n_active` tracks play."""
    return [(song, bar) for song, bar in phrases.windows[0] if bar % stride == 0]


def real_rolls(batch):
    """Onsets and sounding of a batch of `Phrases.take`, its phrase only: two bool (n, 5, 4, 16, 128)."""
    n = len(batch["drums"])
    onset, sounding = (np.zeros((n, N_TRACKS, N_PHRASE, 128), bool) for _ in range(2))
    onset[:, DRUMS][..., list(DRUM_PITCHES)] = batch["drums"][:, -N_PHRASE:].numpy() > 0
    sounding[:, DRUMS] = onset[:, DRUMS]
    span = slice(LOWEST_PITCH, LOWEST_PITCH + N_PITCHES)
    onset[:, BASS:, :, span] = batch["onset"][:, :, -N_PHRASE:].numpy() > 0
    sounding[:, BASS:, :, span] = batch["sounding"][:, :, -N_PHRASE:].numpy() > 0
    return tuple(x.reshape(n, N_TRACKS, PHRASE_BARS, N_STEPS, 128) for x in (onset, sounding))


# How the tracks' cells are read, as in a manifest: (kind, lowest pitch, number of pitches).
BAND_LAYOUT = tuple(("onsets", DRUM_LOWEST, N_DRUM_CELLS) if track == DRUMS
                    else ("one_of_n" if track == BASS else "onset_sustain", LOWEST_PITCH, N_PITCHES) for track in range(N_TRACKS))


def n_cells_of(layout):
    """Cells per step of each track."""
    return tuple({"onsets": n, "one_of_n": n + 2, "onset_sustain": 2 * n}[kind] for kind, _, n in layout)


def cells_of_batch(batch, layout=BAND_LAYOUT):
    """The host's cells of a batch's window: (n, 8, 16, n_cells) float 0/1."""
    n = len(batch["drums"])
    parts = []
    for track, (kind, lowest, n_pitches) in enumerate(layout):
        if kind == "onsets":
            drums = np.zeros((n, N_WINDOW, n_pitches), np.float32)
            drums[..., [pitch - lowest for pitch in DRUM_PITCHES]] = batch["drums"].numpy()
            parts.append(drums)
            continue
        onset, sounding = batch["onset"][:, track - 1].numpy(), batch["sounding"][:, track - 1].numpy()
        parts.append(onset)
        if kind == "one_of_n":
            begins = onset.any(-1, keepdims=True)
            held = (sounding * (1 - onset)).any(-1, keepdims=True) & ~begins
            parts += [~(held | begins), held]
        else:
            parts.append(sounding)
    return np.concatenate([part.astype(np.float32) for part in parts], -1).reshape(n, WINDOW_BARS, N_STEPS, -1)


def decode(logits, temperature=0.0, threshold=0.5, rng=None, bias=None, layout=BAND_LAYOUT):
    """Logits (n, n_bars, 16, n_cells) -> onsets, sounding (n, n_tracks, n_bars, 16, 128), as the host plays them.

    Bars are consecutive; what sounds does not outlast the last. `bias` (n_tracks,) is added to the onset cells of each track: the density
    knob. A binary cell at either end of the int8 range is taken at its word, without noise.
    """
    n, n_bars = logits.shape[:2]
    rolls = np.clip(np.rint(logits * 16), -128, 127).reshape(n, -1, logits.shape[-1]) / 16
    bar_threshold = np.log(threshold / (1 - threshold))

    def on(cells, lowered):
        if not temperature:
            return cells > lowered
        noise = temperature * rng.logistic(size=cells.shape)
        return cells + np.where((cells == -8) | (cells == 127 / 16), 0, noise) > lowered

    onset = np.zeros((n, len(layout), rolls.shape[1], 128), bool)
    sounding = np.zeros_like(onset)
    first = 0
    for track, ((kind, lowest, n_pitches), n_cells) in enumerate(zip(layout, n_cells_of(layout))):
        cells = rolls[..., first:first + n_cells]
        first += n_cells
        lowered = bar_threshold - (0 if bias is None else bias[track])
        span = slice(lowest, lowest + n_pitches)
        if kind == "onsets":
            onset[:, track, :, span] = on(cells, lowered)
            sounding[:, track] = onset[:, track]
            continue
        if kind == "one_of_n":
            cells = cells - lowered * (np.arange(n_cells) < n_pitches)
            if temperature:
                cells = cells + temperature * rng.gumbel(size=cells.shape)
            state = cells.argmax(-1)
            onset[:, track, :, span] = np.eye(n_cells, dtype=bool)[state][..., :n_pitches]
            sustain = np.repeat((state == n_pitches + 1)[..., None], n_pitches, -1)
        else:
            onset[:, track, :, span] = on(cells[..., :n_pitches], lowered)
            sustain = on(cells[..., n_pitches:], bar_threshold)
        now = np.zeros((n, n_pitches), bool)
        for step in range(rolls.shape[1]):
            now = onset[:, track, step, span] | (now & sustain[:, step])
            sounding[:, track, step, span] = now
    return tuple(x.reshape(n, len(layout), n_bars, N_STEPS, 128) for x in (onset, sounding))


def cells_of_logits(logits, layout=BAND_LAYOUT):
    """What the bars after these see of them, (n, n_bars, 16, n_cells) float 0/1: greedy decoding, as the host chains phrases."""
    cells = (np.rint(logits * 16) > 0).astype(np.float32)
    first = 0
    for (kind, _, _), n_cells in zip(layout, n_cells_of(layout)):
        if kind == "one_of_n":
            states = logits[..., first:first + n_cells].argmax(-1)
            cells[..., first:first + n_cells] = np.eye(n_cells, dtype=np.float32)[states]
        first += n_cells
    return cells


@torch.no_grad()
def write(sampler, triads, given=None, known=None, seed=0, noise=None, batch_size=64):
    """Logits (n, 4, 16, 541) of a sampler: triads (n, 16, 24) per half bar of the window, given (n, 8, 16, 541), known (n, 5, 8)."""
    n = len(triads)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, N_TRACKS, PHRASE_BARS, N_STEPS, N_NOISE, generator=generator) if noise is None else noise
    given = np.zeros((n, WINDOW_BARS, N_STEPS, sum(N_CELLS)), np.float32) if given is None else given
    known = np.zeros((n, N_TRACKS, WINDOW_BARS), np.float32) if known is None else known
    out = []
    for start in range(0, n, batch_size):
        part = slice(start, start + batch_size)
        out.append(sampler(noise[part], torch.as_tensor(triads[part]).float(), torch.as_tensor(given[part]),
                           torch.as_tensor(known[part])).numpy())
    return np.concatenate(out)


def triads_of(batch):
    """Per half bar of the window: (n, 16, 24)."""
    return batch["triads"][:, ::8].numpy()


def masks(n, tracks=(), bars=range(PHRASE_BARS), context=False):
    """known (n, 5, 8): the given tracks at the given bars of the phrase, and the bars before if `context`."""
    known = np.zeros((n, N_TRACKS, WINDOW_BARS), np.float32)
    for track in tracks:
        for bar in bars:
            known[:, track, CONTEXT_BARS + bar] = 1
    if context:
        known[:, :, :CONTEXT_BARS] = 1
    return known


