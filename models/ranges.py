"""The range of every figure over the songs of the training data, for the editor's panel to set a pattern beside.

    python ranges.py band.npz pop909.npz --output released/ranges.json

`band.npz` is what `phrases.py` prepares, the other what `prepare.py` does. Per kind of track and figure: the 10th, 50th and 90th
percentile over the training songs in which the track plays at least `LEAST_BARS` bars. The figures are those of `band_metrics.py`, each
over a whole song.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from band_metrics import (
    N_STEPS, TRACKS, bar_to_bar, drum_pattern, notes_per_active_bar, onsets_on, pitch_classes_used, polyphony, qualified_notes,
)
from phrases import DRUM_PITCHES, LOWEST_PITCH, load_songs
from prepare import HOLD, LOWEST_PITCH as MELODY_LOWEST, REST, data_sha256

LEAST_BARS = 8
PERCENTILES = (10, 50, 90)


def figures_of(onsets, sounding, is_drums):
    """The figures of a track of one song: onsets, sounding (n_bars, 16, 128)."""
    onsets, sounding = onsets[None], sounding[None]
    figures = {
        "notes_per_active_bar": notes_per_active_bar(onsets, sounding),
        "onsets_on_quarters": onsets_on(onsets, 4),
        "bar_to_bar_onset_iou": bar_to_bar(onsets),
    }
    if is_drums:
        return figures | {"drum_pattern": drum_pattern(onsets)}
    return figures | {
        "pitch_classes_per_bar": pitch_classes_used(sounding),
        "polyphony": polyphony(sounding),
        "qualified_notes": qualified_notes(onsets, sounding),
    }


def rolls_of(notes, n_bars):
    """Notes (onset_steps, duration_steps, pitch) of a track -> onsets, sounding (n_bars, 16, 128) bool."""
    onsets, sounding = (np.zeros((n_bars * N_STEPS, 128), bool) for _ in range(2))
    for onset, duration, pitch in notes[notes[:, 0] < n_bars * N_STEPS]:
        onsets[onset, pitch] = True
        sounding[onset:onset + duration, pitch] = True
    return tuple(roll.reshape(n_bars, N_STEPS, 128) for roll in (onsets, sounding))


def band_songs(path):
    """(kind, onsets, sounding) of every track of every training song."""
    arrays, sha256 = load_songs(path)

    def songs():
        bounds = np.searchsorted(arrays["notes"][:, 0], np.arange(len(arrays["song_bars"]) + 1))
        for idx in np.flatnonzero(arrays["song_split"] == 0):
            notes = arrays["notes"][bounds[idx]:bounds[idx + 1], 1:]
            for track, name in enumerate(TRACKS):
                # What a source lacks is unknown, not silent.
                if arrays["song_known"][idx, track]:
                    own = notes[notes[:, 0] == track][:, 1:].astype(int)
                    own[:, 2] = np.array(DRUM_PITCHES)[own[:, 2]] if name == "Drums" else own[:, 2] + LOWEST_PITCH
                    if name == "Drums":
                        own[:, 1] = 1
                    yield name.lower(), *rolls_of(own, int(arrays["song_bars"][idx]))

    return songs(), sha256


def melody_songs(path):
    """The same of the melodies: states are a pitch from `LOWEST_PITCH` of `prepare.py`, then rest, then hold."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}

    def songs():
        for idx in np.flatnonzero(arrays["song_split"] == 0):
            states = arrays["states"][arrays["song_idx"] == idx].reshape(-1).astype(int)
            onsets, sounding = (np.zeros((len(states), 128), bool) for _ in range(2))
            now = None
            for step, state in enumerate(states):
                now = None if state == REST else now if state == HOLD else state + MELODY_LOWEST
                onsets[step, now or 0] = now is not None and state != HOLD
                sounding[step, now or 0] = now is not None
            yield "melody", *(roll.reshape(-1, N_STEPS, 128) for roll in (onsets, sounding))

    return songs(), data_sha256(arrays)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("band", type=Path)
    parser.add_argument("melody", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    measured, hashes = {}, {}
    for what, (songs, sha256) in {"band": band_songs(args.band), "melody": melody_songs(args.melody)}.items():
        hashes[what] = sha256
        for kind, onsets, sounding in songs:
            if sounding.any((1, 2)).sum() >= LEAST_BARS:
                of_kind = measured.setdefault(kind, {})
                for name, value in figures_of(onsets, sounding, kind == "drums").items():
                    of_kind.setdefault(name, []).append(value)
    kinds = {}
    for kind, figures in measured.items():
        kinds[kind] = {"n_songs": len(figures["notes_per_active_bar"])}
        for name, values in figures.items():
            kinds[kind][name] = [float(f"{value:.3g}") for value in np.nanpercentile(values, PERCENTILES)]
    lines = [f' {json.dumps(kind)}: {json.dumps(figures)}' for kind, figures in kinds.items()]
    data = f' "data": {json.dumps(hashes)},\n "percentiles": {json.dumps(PERCENTILES)}'
    args.output.write_text("{\n" + data + ',\n "kinds": {\n ' + ",\n ".join(lines) + "\n }\n}\n")
    print(args.output.read_text())


if __name__ == "__main__":
    main()
