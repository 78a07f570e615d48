"""Turn songs into bars: the data step of Barline's melody models.

Two sources, one output. `--pop909-structure` reads the text layout of the public repository
`Dsqvival/hierarchical-structure-analysis` (folder `POP909/<song>/melody.txt`, `finalized_chord.txt`);
`--midi` reads a folder of the user's own MIDI files with a melody track and a chord track. Both give one `.npz`
of bars on a grid of 16 steps per bar of 4/4, split by song, and print what was kept and what was refused and why.

A bar is 16 *states*: 0..35 is the onset of MIDI pitch 48 + state, 36 a rest, 37 a hold (the note before goes on).
A chord is one of 24 *triads*: root for major, 12 + root for minor (root 0 = C, always the chord's own root, never the
relative major's); -1 is no chord. A bar has two chord slots, beats 1-2 and beats 3-4, each named by the chord that sounds
when the slot begins.
"""

import argparse
import hashlib
import os
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from midi_files import STEPS_PER_BEAT, Rejected, open_midi, read_folder

N_STEPS = 16
SLOTS_PER_BAR = 2
LOWEST_PITCH = 48
N_PITCHES = 36
REST = 36
HOLD = 37
N_STATES = 38
NO_CHORD = -1
CHAIN_BARS = 8  # bars that a host generates in a row before it starts afresh
SPLITS = ("train", "val", "test")
NOT_4_4 = Path(__file__).parent / "configs" / "pop909_not_4_4.txt"

# A third counts as minor when the quality says so. Suspended, augmented and dominant chords have no minor third, so they
# reduce to the major triad of their root; diminished ones have, so they reduce to minor.
MINOR_QUALITIES = ("min", "dim", "hdim")
PITCH_CLASS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


@dataclass
class Song:
    """One song before it is cut into bars.

    `notes`: (onset_steps, duration_steps, pitch) sorted by onset, monophonic.
    `chords`: per beat, (triad, pitch-class mask as a 12-bit integer).
    """

    name: str
    notes: list
    chords: list


def triad_of(name):
    """Reduce a chord name such as `Bb:min7/b7` to a triad index, `NO_CHORD` for `N`."""
    match = re.match(r"^([A-G])([#b]*):(\S+)$", name)
    if not match:
        return NO_CHORD
    letter, accidentals, quality = match.groups()
    root = (PITCH_CLASS[letter] + accidentals.count("#") - accidentals.count("b")) % 12
    return root + (12 if quality.startswith(MINOR_QUALITIES) else 0)


def triad_mask(triad):
    """The pitch classes of a triad as a 12-bit mask."""
    if triad == NO_CHORD:
        return 0
    third = 3 if triad >= 12 else 4
    return sum(1 << ((triad + step) % 12) for step in (0, third, 7))


def read_pop909_song(folder):
    """Read one song of the POP909-structure layout."""
    chords = []
    for line in (folder / "finalized_chord.txt").read_text().splitlines():
        if not line.strip():
            continue
        match = re.match(r"^(\S+)\s+\[(.*?)\]\s*(.*)$", line.strip())
        if not match or not match[3].split():
            raise Rejected(f"finalized_chord.txt: cannot read {line!r}")
        # The duration is the last field: lines without a bass note and lines with a stray extra field both exist.
        mask = sum(1 << pitch_class for pitch_class in {int(pc) % 12 for pc in match[2].split(",") if pc.strip()})
        n_beats = int(float(match[3].split()[1 if len(match[3].split()) > 1 else 0]))
        triad = triad_of(match[1])
        chords += [(triad, mask if triad != NO_CHORD else 0)] * n_beats

    notes, position = [], 0
    for line in (folder / "melody.txt").read_text().splitlines():
        if not line.strip():
            continue
        pitch, duration = (int(field) for field in line.split())
        if pitch > 0:
            notes.append((position, duration, pitch))
        position += duration
    return Song(folder.name, notes, chords)


def read_pop909(root):
    """Yield (name, Song or Rejected) of every song below `root`, dropping those listed as not in 4/4.

    The public layout does not tell the meter. `NOT_4_4.txt` beside the songs is used where there is one, else the list of
    this project.
    """
    folders = sorted(path for path in (root / "POP909").iterdir() if path.is_dir())
    meter_list = root / "NOT_4_4.txt"
    lines = (meter_list if meter_list.exists() else NOT_4_4).read_text().splitlines()
    other_meter = {line.strip() for line in lines if not line.startswith("#")}
    for folder in tqdm(folders, desc="songs", unit="song"):
        try:
            if folder.name in other_meter:
                raise Rejected("not in 4/4")
            yield folder.name, read_pop909_song(folder)
        except Rejected as reason:
            yield folder.name, reason
        except (OSError, ValueError) as error:
            yield folder.name, Rejected(f"unreadable: {error}")


def read_midi_song(path, melody_track, chord_track):
    """Read one MIDI file: a monophonic melody track and a track of block chords, both found by name (case ignored)."""
    midi, grid = open_midi(path)

    def track(name):
        found = [track for track in midi.instruments if track.name.strip().lower() == name.lower() and not track.is_drum]
        if not found or not found[0].notes:
            names = sorted({track.name.strip() for track in midi.instruments})
            raise Rejected(f"no notes on a track named {name!r}; tracks: {names}")
        return found[0]

    raw = sorted((grid(note.start), grid(note.end), note.pitch) for note in track(melody_track).notes)
    off_grid = np.mean([abs(onset - round(onset)) > 0.25 for onset, _, _ in raw])
    if off_grid > 0.2:
        raise Rejected(f"{off_grid:.0%} of the melody onsets lie between sixteenths")
    # Monophonic: of notes on one step the highest stays, and a note ends where the next begins.
    highest = {}
    for onset, end, pitch in raw:
        step = round(onset)
        if step not in highest or pitch > highest[step][1]:
            highest[step] = (max(step + 1, round(end)), pitch)
    onsets = sorted(highest)
    notes = []
    for onset, following in zip(onsets, onsets[1:] + [None]):
        end, pitch = highest[onset]
        notes.append((onset, (min(end, following) if following is not None else end) - onset, pitch))

    # A chord is the triad whose pitch classes cover most of what sounds in the beat; the root breaks ties as lowest note.
    held = [(grid(note.start) / STEPS_PER_BEAT, grid(note.end) / STEPS_PER_BEAT, note.pitch)
            for note in track(chord_track).notes]
    n_beats = int(np.ceil(max(end for _, end, _ in held)))
    chords = []
    for beat in range(n_beats):
        weight, lowest = np.zeros(12), None
        for start, end, pitch in held:
            overlap = min(end, beat + 1) - max(start, beat)
            if overlap > 0.05:
                weight[pitch % 12] += overlap
                lowest = pitch if lowest is None else min(lowest, pitch)
        if lowest is None:
            chords.append((NO_CHORD, 0))
            continue
        inside = [sum(weight[pc] for pc in range(12) if triad_mask(t) >> pc & 1) + 0.1 * (t % 12 == lowest % 12)
                  for t in range(24)]
        chords.append((int(np.argmax(inside)), int(sum(1 << pc for pc in range(12) if weight[pc] > 0))))
    return Song(path.stem, notes, chords)


def read_midi_folder(root, melody_track, chord_track):
    """Yield (name, Song or Rejected) of every MIDI file below `root`."""
    return read_folder(root, lambda path, _: read_midi_song(path, melody_track, chord_track))


def states_of(song):
    """Cut a song into bars.

    Returns states (n_bars, 16) uint8, chords (n_bars, 2) int8, masks (n_bars, 2) uint16 of the chords' pitch classes.

    The whole song moves by the octaves that leave the fewest notes outside 48..83; what is still outside is folded by
    octaves. Folding note by note alone would turn the highest songs into octave leaps.
    """
    if not song.notes:
        raise Rejected("no melody notes")
    if not song.chords or all(triad == NO_CHORD for triad, _ in song.chords):
        raise Rejected("no chords")
    pitches = np.array([pitch for _, _, pitch in song.notes])

    def outside(shift):
        return np.sum((pitches + shift < LOWEST_PITCH) | (pitches + shift >= LOWEST_PITCH + N_PITCHES))

    shift = min((0, -12, 12, -24, 24), key=outside)
    end = max(onset + duration for onset, duration, _ in song.notes)
    n_bars = -(-end // N_STEPS)
    flat = np.full(n_bars * N_STEPS, REST, np.uint8)
    for onset, duration, pitch in song.notes:
        pitch += shift
        while pitch < LOWEST_PITCH:
            pitch += 12
        while pitch >= LOWEST_PITCH + N_PITCHES:
            pitch -= 12
        flat[onset:onset + duration] = HOLD
        flat[onset] = pitch - LOWEST_PITCH
    beats_per_slot = N_STEPS // STEPS_PER_BEAT // SLOTS_PER_BAR
    slots = [song.chords[beat] if beat < len(song.chords) else (NO_CHORD, 0)
             for beat in range(0, n_bars * SLOTS_PER_BAR * beats_per_slot, beats_per_slot)]
    triads = np.array([triad for triad, _ in slots], np.int8).reshape(n_bars, SLOTS_PER_BAR)
    masks = np.array([mask for _, mask in slots], np.uint16).reshape(n_bars, SLOTS_PER_BAR)
    return flat.reshape(n_bars, N_STEPS), triads, masks


def chord_tone_rate(songs):
    """Share of melody onsets on a tone of the chord that sounds on that very beat: (all onsets, onsets on beats).

    The check of the loader: POP909-structure gives 0.648 and 0.711, a shifted alignment 0.45 to 0.62.
    """
    inside, on_beat = [], []
    for song in songs:
        for onset, _, pitch in song.notes:
            beat = onset // STEPS_PER_BEAT
            if beat < len(song.chords) and song.chords[beat][0] != NO_CHORD:
                inside.append(song.chords[beat][1] >> pitch % 12 & 1)
                on_beat.append(onset % STEPS_PER_BEAT == 0)
    inside, on_beat = np.array(inside), np.array(on_beat, bool)
    return float(inside.mean()), float(inside[on_beat].mean())


def split_songs(n_songs, val_share, test_share, seed):
    """Song-wise split by a fixed seed: (n_songs,) uint8 of indices into `SPLITS`."""
    order = np.random.default_rng(seed).permutation(n_songs)
    n_val, n_test = round(n_songs * val_share), round(n_songs * test_share)
    split = np.zeros(n_songs, np.uint8)
    split[order[:n_val]] = 1
    split[order[n_val:n_val + n_test]] = 2
    return split


def build(loaded, val_share, test_share, seed):
    """Make the arrays of the `.npz` from (name, Song or Rejected) pairs; returns (arrays, songs kept, rejected)."""
    songs, bars, rejected = [], [], []
    for name, song in loaded:
        if isinstance(song, Song):
            try:
                bars.append(states_of(song))
                songs.append(song)
                continue
            except Rejected as reason:
                song = reason
        rejected.append((name, str(song)))
    if len(songs) < 3:
        raise SystemExit(f"{len(songs)} usable songs; a split by song needs at least 3")
    arrays = {
        "states": np.concatenate([states for states, _, _ in bars]),
        "chords": np.concatenate([triads for _, triads, _ in bars]),
        "chord_masks": np.concatenate([masks for _, _, masks in bars]),
        "song_idx": np.repeat(np.arange(len(bars)), [len(states) for states, _, _ in bars]).astype(np.int32),
        "song_names": np.array([song.name for song in songs]),
        "song_split": split_songs(len(songs), val_share, test_share, seed),
    }
    return arrays, songs, rejected


def data_sha256(arrays):
    """Hash of the content (names, shapes and bytes of all arrays), independent of the zip container's time stamps."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save_atomically(path, write):
    """Call `write(file)` on a temporary file beside `path`, then move it there, so that no half file is ever seen."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            write(file)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass
class Bars:
    """The bars of one split that a network learns from: each has at least one onset and a chord in its first slot.

    A bar of rest before stays a bar of rest. Were it "no bar", then "no bar" would mean a phrase that enters late, and a
    chain without a primer would begin with one each time.

    `states` (n, 16) and `previous` (n, 16) uint8, `previous` all 255 where there is no bar before; `chords` (n, 2) int8,
    `chord_masks` (n, 2) uint16, `song` (n,), `bar` (n,) = index of the bar in the whole data set.
    """

    states: np.ndarray
    previous: np.ndarray
    chords: np.ndarray
    chord_masks: np.ndarray
    song: np.ndarray
    bar: np.ndarray

    def __len__(self):
        return len(self.states)

    def take(self, idx):
        """The bars at `idx`."""
        return Bars(*(getattr(self, name)[idx] for name in Bars.__dataclass_fields__))


NO_BAR = 255


def load_bars(path, split):
    """Load one split ("train", "val" or "test") of a prepared `.npz`; returns (Bars, sha256 of the data)."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    states, chords, song = arrays["states"], arrays["chords"], arrays["song_idx"]
    previous = np.full_like(states, NO_BAR)
    same_song = np.flatnonzero(song[1:] == song[:-1]) + 1
    previous[same_song] = states[same_song - 1]
    wanted = arrays["song_split"][song] == SPLITS.index(split)
    usable = (states < REST).any(1) & (chords[:, 0] != NO_CHORD) & wanted
    idx = np.flatnonzero(usable)
    bars = Bars(states[idx], previous[idx], chords[idx], arrays["chord_masks"][idx], song[idx], idx)
    return bars, data_sha256(arrays)


def windows_of(bars, n_windows, rng):
    """Indices (n, 8) of runs of eight consecutive bars of one song, without overlap."""
    runs, start = [], 0
    while start + CHAIN_BARS <= len(bars):
        stop = start + CHAIN_BARS - 1
        if bars.bar[stop] - bars.bar[start] == CHAIN_BARS - 1 and bars.song[stop] == bars.song[start]:
            runs.append(np.arange(start, start + CHAIN_BARS))
            start += CHAIN_BARS
        else:
            start += 1
    return np.stack(runs)[rng.permutation(len(runs))[:n_windows]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--pop909-structure", type=Path, help="checkout of Dsqvival/hierarchical-structure-analysis")
    source.add_argument("--midi", type=Path, help="folder of MIDI files, searched recursively")
    parser.add_argument("--melody-track", default="MELODY", help="name of the melody track of --midi files")
    parser.add_argument("--chord-track", default="CHORDS", help="name of the block-chord track of --midi files")
    parser.add_argument("--val", type=float, default=0.08, help="share of songs for validation")
    parser.add_argument("--test", type=float, default=0.10, help="share of songs held out for the final table")
    parser.add_argument("--seed", type=int, default=909, help="seed of the split")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()

    if args.pop909_structure:
        if not (args.pop909_structure / "POP909").is_dir():
            sys.exit(f"{args.pop909_structure} has no folder POP909")
        loaded = read_pop909(args.pop909_structure)
    else:
        loaded = read_midi_folder(args.midi, args.melody_track, args.chord_track)
    arrays, songs, rejected = build(loaded, args.val, args.test, args.seed)
    save_atomically(args.output, lambda file: np.savez_compressed(file, **arrays))

    all_onsets, on_beats = chord_tone_rate(songs)
    states = arrays["states"]
    with_onset = (states < REST).any(1)
    summary = {
        "songs": len(songs),
        "rejected": len(rejected),
        "bars": len(states),
        "melody bars": int(with_onset.sum()),
        "notes": int((states < REST).sum()),
        "notes per melody bar": round(float((states < REST).sum(1)[with_onset].mean()), 3),
        "chord-tone rate": f"{all_onsets:.3f}, on beats {on_beats:.3f}",
        "sha256": data_sha256(arrays),
    }
    for split_idx, split in enumerate(SPLITS):
        bars, _ = load_bars(args.output, split)
        summary[split] = f"{int((arrays['song_split'] == split_idx).sum())} songs, {len(bars)} bars to learn or test on"
    for key, value in summary.items():
        print(f"{key:22} {value}")
    for reason, count in Counter(reason for _, reason in rejected).most_common():
        names = [name for name, why in rejected if why == reason]
        print(f"rejected {count:4}  {reason}: {', '.join(names[:40])}{' …' if count > 40 else ''}")


if __name__ == "__main__":
    main()
