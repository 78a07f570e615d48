"""Turn songs for a band into phrases: the data step of Barline's multi-track models.

`--midi FOLDER` reads any folder of MIDI files (several times: several folders), `--slakh FOLDER` the quantised Slakh2100 of
`zhaojw1998/Query-and-reArrange`, `--groove FOLDER` the Groove MIDI Dataset. Each song becomes five tracks on a grid of sixteenths:
drums (channel 10) and four families by General MIDI program, with one estimated triad per half bar. The output is one `.npz` of
notes, split by song; what was kept is printed, and what was refused with the reason.

A note's pitch is an index: one of 16 drum classes, or MIDI pitch - 24 for 72 pitches. A track that a source does not have (drums
in Slakh, everything but drums in Groove) is *unknown* there, which is not the same as silent.
"""

import argparse
import csv
import re
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from midi_files import STEPS_PER_BEAT, Rejected, open_midi, read_folder
from prepare import NO_CHORD, SPLITS, data_sha256, save_atomically, triad_mask

N_STEPS = 16
STEPS_PER_SLOT = 8  # a chord holds for half a bar
SLOTS_PER_BAR = 2
PHRASE_BARS = 4
LOWEST_PITCH = 24
N_PITCHES = 72
TRACKS = ("Drums", "Bass", "Piano", "Guitar", "Strings")
DRUMS, BASS, PIANO, GUITAR, STRINGS = range(5)
PROGRAMS = (0, 33, 0, 25, 48)
SOURCES = ("midi", "slakh", "groove")

# The lead instruments (brass, reeds, pipes, synth leads) count as strings: MuseGAN's fifth track takes all that is left too.
# Effects and percussive programs from 96 on are no notes of a band.
FAMILIES = {PIANO: range(0, 24), GUITAR: range(24, 32), BASS: range(32, 40), STRINGS: range(40, 96)}

# What each of the 16 drum classes is written as, and the General MIDI (and Roland TD-11) notes that count as it.
DRUM_PITCHES = (36, 37, 38, 39, 41, 42, 44, 45, 46, 48, 49, 51, 53, 54, 56, 70)
DRUM_NOTES = ((35, 36), (37,), (38, 40), (39,), (41, 43), (22, 42), (44,), (45, 47, 61, 63, 64, 66), (26, 46),
              (48, 50, 60, 62, 65), (49, 52, 55, 57), (51, 59), (53,), (54,), (56, 67, 68, 75, 76, 77), (69, 70, 82))
DRUM_CLASS = {note: idx for idx, notes in enumerate(DRUM_NOTES) for note in notes}

MIN_BARS = 4
MIN_NOTES = 16
MAX_OFF_GRID = 0.2
SAME_SONG = 0.25  # share of equal bars from which two files are versions of one song


@dataclass
class Song:
    """One song: `notes` per track, each (onset_steps, duration_steps, pitch index); `known` says which tracks the source has."""

    name: str
    group: str
    source: str
    n_bars: int
    notes: list
    known: tuple = (True,) * len(TRACKS)
    chords: np.ndarray = field(default=None)


def family_of(program):
    """The track of a General MIDI program, None for effects and percussion."""
    return next((track for track, programs in FAMILIES.items() if program in programs), None)


def merged(notes):
    """Notes of one family, which may come from several instruments: equal onsets of a pitch become the longest, a note ends where
    its pitch begins again.
    """
    longest = {}
    for onset, duration, pitch in notes:
        longest[onset, pitch] = max(duration, longest.get((onset, pitch), 0))
    by_pitch = defaultdict(list)
    for (onset, pitch), duration in sorted(longest.items()):
        by_pitch[pitch].append([onset, duration])
    out = []
    for pitch, line in by_pitch.items():
        for (onset, duration), (following, _) in zip(line, line[1:] + [(10**9, 0)]):
            out.append((onset, min(duration, following - onset), pitch))
    return sorted(out)


def monophonic(notes):
    """A bass line: the lowest note of each onset, ending where the next begins."""
    lowest = {}
    for onset, duration, pitch in notes:
        if onset not in lowest or pitch < lowest[onset][1]:
            lowest[onset] = (duration, pitch)
    onsets = sorted(lowest)
    return [(onset, min(lowest[onset][0], following - onset), lowest[onset][1])
            for onset, following in zip(onsets, onsets[1:] + [10**9])]


def song_of(name, group, source, raw, n_steps, known=(True,) * len(TRACKS)):
    """Make a song from raw notes per track; pitched notes outside the range fold by octaves."""
    tracks = []
    for track, notes in enumerate(raw):
        if track == DRUMS:
            tracks.append(merged([(onset, 1, pitch) for onset, _, pitch in notes]))
            continue
        folded = [(onset, duration, fold(pitch - LOWEST_PITCH)) for onset, duration, pitch in notes]
        tracks.append(merged(monophonic(folded) if track == BASS else folded))
    if sum(map(len, tracks)) < MIN_NOTES:
        raise Rejected(f"fewer than {MIN_NOTES} notes")
    n_bars = -(-n_steps // N_STEPS)
    if n_bars < MIN_BARS:
        raise Rejected(f"shorter than {MIN_BARS} bars")
    return Song(name, group, source, n_bars, tracks, known)


def fold(pitch):
    """A pitch index brought into 0..71 by octaves."""
    while pitch < 0:
        pitch += 12
    while pitch >= N_PITCHES:
        pitch -= 12
    return pitch


def read_midi_song(path, name):
    """Read one MIDI file of a band; bars count from its first tick."""
    midi, grid = open_midi(path)
    raw, deviations = [[] for _ in TRACKS], []
    for instrument in midi.instruments:
        track = DRUMS if instrument.is_drum else family_of(instrument.program)
        if track is None:
            continue
        for note in instrument.notes:
            start, end = grid(note.start), grid(note.end)
            onset = round(start)
            deviations.append(abs(start - onset))
            if track == DRUMS:
                if note.pitch in DRUM_CLASS:
                    raw[track].append((onset, 1, DRUM_CLASS[note.pitch]))
            else:
                raw[track].append((onset, max(1, round(end - start)), note.pitch))
    if not deviations:
        raise Rejected("no notes of a band")
    # A quarter of a step is 30 ms at 120 bpm: beyond it a note belongs to another grid (triplets, or no grid at all).
    off_grid = np.mean(np.array(deviations) > 0.25)
    if off_grid > MAX_OFF_GRID:
        raise Rejected("off the grid of sixteenths")
    n_steps = max(onset + 1 for notes in raw for onset, _, _ in notes)
    return song_of(name, group_of(name), "midi", raw, n_steps)


def group_of(name):
    """Files of one song share a group by name: freedoom keeps versions as `d_map07__2023-07-15`."""
    stem = Path(name).stem.lower()
    match = re.match(r"(?:history_)?d_([a-z0-9]+)", stem)
    return match[1] if match else stem


def read_slakh_song(path):
    """One song of the quantised Slakh2100: `tracks` (track, step, pitch) = duration at onsets; no drums, bass in one octave.

    Bars are cut at the downbeats; the longest run of bars of 16 steps is used.
    """
    with np.load(path) as file:
        tracks, programs, downbeats = file["tracks"], file["programs"], np.flatnonzero(file["db_indicator"] == 1)
    whole = np.diff(downbeats) == N_STEPS
    runs = np.split(np.arange(len(whole)), np.flatnonzero(~whole))
    run = max(([bar for bar in run if whole[bar]] for run in runs), key=len, default=[])
    if len(run) < MIN_BARS:
        raise Rejected("no run of four bars of 16 steps")
    start, stop = downbeats[run[0]], downbeats[run[-1]] + N_STEPS
    raw = [[] for _ in TRACKS]
    for roll, program in zip(tracks, programs):
        track = family_of(int(program))
        if track is None:
            continue
        for onset, pitch in zip(*np.nonzero(roll[start:stop])):
            # The set folds bass into MIDI 47..58; an octave down it is a bass again.
            raw[track].append((int(onset), int(roll[start + onset, pitch]), int(pitch) - 12 * (track == BASS)))
    return song_of(path.stem, path.stem, "slakh", raw, int(stop - start), (False, True, True, True, True))


def read_slakh(root):
    """Yield (name, Song or Rejected) of every song of the set."""
    for path in tqdm(sorted(root.glob("*.npz")), desc="slakh", unit="song"):
        try:
            yield path.stem, read_slakh_song(path)
        except Rejected as reason:
            yield path.stem, reason


def read_groove(root):
    """Yield (name, Song or Rejected) of the beats (not fills) of the Groove MIDI Dataset that are in 4/4 and on the grid."""
    with open(root / "info.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in tqdm(rows, desc="groove", unit="file"):
        name = row["midi_filename"]
        try:
            if row["beat_type"] != "beat":
                raise Rejected("a fill")
            if row["time_signature"] != "4-4":
                raise Rejected("not in 4/4")
            midi, grid = open_midi(root / name)
            raw, deviations = [[] for _ in TRACKS], []
            for note in (note for instrument in midi.instruments for note in instrument.notes):
                step = grid(note.start)
                deviations.append(abs(step - round(step)))
                if note.pitch in DRUM_CLASS:
                    raw[DRUMS].append((round(step), 1, DRUM_CLASS[note.pitch]))
            # People play up to a third of a sixteenth off; shuffles lie half a sixteenth off on every other note.
            if not deviations or np.mean(deviations) > 0.18:
                raise Rejected("off the grid of sixteenths")
            n_steps = max(onset + 1 for onset, _, _ in raw[DRUMS])
            group = "/".join([row["drummer"], row["style"]])
            yield name, song_of(name, group, "groove", raw, n_steps, (True, False, False, False, False))
        except Rejected as reason:
            yield name, reason


# Chords --------------------------------------------------------------------------------------------------------------

TRIADS = np.array([[triad_mask(triad) >> pc & 1 for pc in range(12)] for triad in range(24)], float)


def estimate_chords(notes_of_tracks, n_bars, change_cost=0.08):
    """One of 24 triads per half bar from what sounds there, `NO_CHORD` where nothing does: (n_bars, 2) int8.

    Each half bar weighs its pitch classes by sounding steps (the lowest sounding pitch of every step counts twice, as it tends to
    be the root); a triad's score is the share of the weight on its tones, plus 0.15 for a root that lies lowest, minus 0.1 for a
    third that never sounds. The best path over the half bars pays `change_cost` for every change, so that passing notes do not
    make chords; a change on a half bar costs twice that on a bar.
    """
    n_slots = n_bars * SLOTS_PER_BAR
    sounding = np.zeros((n_bars * N_STEPS, N_PITCHES), np.float32)
    for notes in notes_of_tracks[BASS:]:
        for onset, duration, pitch in notes:
            sounding[onset:onset + min(duration, 4 * N_STEPS), pitch] += 1
    lowest = np.where(sounding.any(1), (sounding > 0).argmax(1), -1)
    weight = np.zeros((n_slots, 12))
    bass = np.zeros((n_slots, 12))
    steps, pitches = np.nonzero(sounding)
    np.add.at(weight, (steps // STEPS_PER_SLOT, (pitches + LOWEST_PITCH) % 12), sounding[steps, pitches])
    with_bass = np.flatnonzero(lowest >= 0)
    np.add.at(bass, (with_bass // STEPS_PER_SLOT, (lowest[with_bass] + LOWEST_PITCH) % 12), 1)
    weight += bass
    total = weight.sum(1, keepdims=True)
    share = weight / np.maximum(total, 1e-9)
    score = share @ TRIADS.T
    score += 0.15 * (bass / np.maximum(bass.sum(1, keepdims=True), 1e-9))[:, np.arange(24) % 12]
    thirds = (np.arange(24) % 12 + np.where(np.arange(24) >= 12, 3, 4)) % 12
    score -= 0.1 * (share[:, thirds] < 0.02)
    best = np.zeros((n_slots, 24))
    came_from = np.zeros((n_slots, 24), int)
    best[0] = score[0]
    for slot in range(1, n_slots):
        cost = change_cost * (1 if slot % SLOTS_PER_BAR == 0 else 2)
        stay, move = best[slot - 1], best[slot - 1].max() - cost
        came_from[slot] = np.where(stay >= move, np.arange(24), best[slot - 1].argmax())
        best[slot] = np.maximum(stay, move) + score[slot]
    path = np.zeros(n_slots, np.int8)
    path[-1] = best[-1].argmax()
    for slot in range(n_slots - 1, 0, -1):
        path[slot - 1] = came_from[slot][path[slot]]
    path[total[:, 0] == 0] = NO_CHORD
    return path.reshape(n_bars, SLOTS_PER_BAR)


# The file ------------------------------------------------------------------------------------------------------------


def join_versions(songs):
    """Give files that share bars the same group, so that no version of a training song is held out.

    A bar is its notes of all tracks, transposed to start from its lowest pitch; drums alone, and bars of fewer than four notes,
    say nothing.
    """
    seen = defaultdict(set)
    n_keys = []
    for idx, song in enumerate(songs):
        bars = defaultdict(list)
        for track, notes in enumerate(song.notes):
            for onset, duration, pitch in notes if track != DRUMS else ():
                bars[onset // N_STEPS].append((track, onset % N_STEPS, pitch))
        keys = {tuple(sorted((t, o, p - min(q for _, _, q in bar)) for t, o, p in bar)) for bar in bars.values() if len(bar) >= 4}
        n_keys.append(len(keys))
        for key in keys:
            seen[key].add(idx)
    shared = Counter()
    for owners in seen.values():
        shared.update((a, b) for a in owners for b in owners if a < b)
    parent = list(range(len(songs)))

    def root(idx):
        while parent[idx] != idx:
            idx = parent[idx]
        return idx

    by_name = {}
    for idx, song in enumerate(songs):
        parent[root(idx)] = root(by_name.setdefault((song.source, song.group), idx))
    for (a, b), n in shared.items():
        if n >= SAME_SONG * min(n_keys[a], n_keys[b]):
            parent[root(a)] = root(b)
    for idx, song in enumerate(songs):
        song.group = songs[root(idx)].name


def split_groups(songs, val_share, test_share, seed):
    """Split each source by group with a fixed seed, to about the shares given: (n_songs,) uint8 of indices into `SPLITS`."""
    split = np.zeros(len(songs), np.uint8)
    for source in SOURCES:
        of_source = [idx for idx, song in enumerate(songs) if song.source == source]
        groups = sorted({songs[idx].group for idx in of_source})
        order = np.random.default_rng(seed).permutation(len(groups))
        n_val, n_test = (max(1, round(len(groups) * share)) if len(groups) > 2 else 0 for share in (val_share, test_share))
        part = {groups[i]: 1 if rank < n_val else 2 if rank < n_val + n_test else 0 for rank, i in enumerate(order)}
        for idx in of_source:
            split[idx] = part[songs[idx].group]
    return split


def arrays_of(songs, val_share, test_share, seed):
    """The arrays of the `.npz`; `notes` (n, 5) int32 = song, track, onset_steps, duration_steps, pitch index."""
    rows = [(idx, track, onset, duration, pitch)
            for idx, song in enumerate(songs) for track, notes in enumerate(song.notes) for onset, duration, pitch in notes]
    return {
        "notes": np.array(rows, np.int32),
        "chords": np.concatenate([song.chords for song in songs]),
        "song_bars": np.array([song.n_bars for song in songs], np.int32),
        "song_names": np.array([song.name for song in songs]),
        "song_groups": np.array([song.group for song in songs]),
        "song_source": np.array([SOURCES.index(song.source) for song in songs], np.uint8),
        "song_known": np.array([song.known for song in songs]),
        "song_split": split_groups(songs, val_share, test_share, seed),
    }


def load_songs(path):
    """Load a prepared `.npz`; returns (arrays, sha256). `chords` is split per song: a list of (n_bars, 2)."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    sha256 = data_sha256(arrays)
    arrays["chords"] = np.split(arrays["chords"], np.cumsum(arrays["song_bars"])[:-1])
    return arrays, sha256


def roll_of(arrays, song_idx, notes=None):
    """Durations at onsets, 0 elsewhere: drums (n_steps, 16) and pitched (n_steps, 4, 72), both uint8; a duration is cut at 64."""
    if notes is None:
        notes = arrays["notes"][arrays["notes"][:, 0] == song_idx]
    n_steps = int(arrays["song_bars"][song_idx]) * N_STEPS
    drums = np.zeros((n_steps, len(DRUM_PITCHES)), np.uint8)
    pitched = np.zeros((n_steps, 4, N_PITCHES), np.uint8)
    notes = notes[notes[:, 2] < n_steps]
    is_drum = notes[:, 1] == DRUMS
    drums[notes[is_drum, 2], notes[is_drum, 4]] = 1
    rest = notes[~is_drum]
    pitched[rest[:, 2], rest[:, 1] - 1, rest[:, 4]] = np.minimum(rest[:, 3], 64)
    return drums, pitched


def active_tracks(drums, pitched):
    """Which tracks have an onset in each bar: (n_bars, 5) bool."""
    n_bars = len(drums) // N_STEPS
    return np.concatenate([drums.reshape(n_bars, -1).any(1)[:, None],
                           pitched.reshape(n_bars, N_STEPS, 4, N_PITCHES).any((1, 3))], 1)


def check_chords(pop909_midi, pop909_structure):
    """How often the estimate agrees with POP909's own chords on the half bars of its MIDI files: (triad, root) shares.

    The MIDI files are performances; they are put on the grid by the data set's beat annotation.
    """
    import pretty_midi
    from prepare import read_pop909_song

    same_triad, same_root = [], []
    folders = sorted(path for path in (pop909_midi / "POP909").iterdir() if path.is_dir()) if (
        pop909_midi / "POP909").is_dir() else sorted(path for path in pop909_midi.iterdir() if path.is_dir())
    skip = (pop909_structure / "NOT_4_4.txt").read_text().split() if (pop909_structure / "NOT_4_4.txt").exists() else []
    for folder in tqdm([f for f in folders if f.name not in skip][::6], desc="pop909", unit="song"):
        beats = [[float(x) for x in line.split()] for line in (folder / "beat_midi.txt").read_text().splitlines() if line.strip()]
        first = next(i for i, beat in enumerate(beats) if beat[2])
        times = np.array([beat[0] for beat in beats[first:]])
        midi = pretty_midi.PrettyMIDI(str(folder / f"{folder.name}.mid"))
        n_bars = len(times) // 4
        notes = [[] for _ in TRACKS]
        for note in (note for instrument in midi.instruments for note in instrument.notes):
            start, end = np.interp([note.start, note.end], times, np.arange(len(times)) * STEPS_PER_BEAT)
            onset = round(start)
            if note.start >= times[0] - 0.1 and onset < n_bars * N_STEPS:
                notes[PIANO].append((onset, max(1, round(end - start)), fold(note.pitch - LOWEST_PITCH)))
        truth = chords_at(folder / "chord_midi.txt", times, n_bars)
        ours = estimate_chords(notes, n_bars).ravel()
        known = (truth != NO_CHORD) & (ours != NO_CHORD)
        same_triad.append(ours[known] == truth[known])
        same_root.append(ours[known] % 12 == truth[known] % 12)
    return float(np.concatenate(same_triad).mean()), float(np.concatenate(same_root).mean())


def chords_at(path, beat_times, n_bars):
    """The triad that covers most of each half bar, from a chord file of (start, end, name) in seconds."""
    from prepare import triad_of

    spans = []
    for line in path.read_text().splitlines():
        if line.strip():
            start, end, name = line.split()
            spans.append((*np.interp([float(start), float(end)], beat_times, np.arange(len(beat_times))), triad_of(name)))
    cover = np.zeros((n_bars * SLOTS_PER_BAR, 25))
    for start, end, triad in spans:
        for slot in range(int(start // 2), min(int(np.ceil(end / 2)), len(cover))):
            cover[slot, triad] += max(0, min(end, 2 * slot + 2) - max(start, 2 * slot))
    best = cover.argmax(1)
    return np.where((cover.max(1) > 0) & (best < 24), best, NO_CHORD)


def summary(arrays):
    """What a file holds, for people: lines of (name, value)."""
    lines = []
    for source_idx, source in enumerate(SOURCES):
        for split_idx, split in enumerate(SPLITS):
            songs = np.flatnonzero((arrays["song_source"] == source_idx) & (arrays["song_split"] == split_idx))
            if not len(songs):
                continue
            notes = arrays["notes"][np.isin(arrays["notes"][:, 0], songs)]
            per_track = ", ".join(f"{name} {int((notes[:, 1] == t).sum())}" for t, name in enumerate(TRACKS))
            lines.append((f"{source} {split}", f"{len(songs)} songs in {len(set(arrays['song_groups'][songs]))} groups, "
                          f"{int(arrays['song_bars'][songs].sum())} bars, notes: {per_track}"))
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--midi", type=Path, action="append", default=[], help="folder of MIDI files, searched recursively")
    parser.add_argument("--slakh", type=Path, help="folder data/Slakh2100 of zhaojw1998/Query-and-reArrange")
    parser.add_argument("--groove", type=Path, help="folder of the Groove MIDI Dataset, with info.csv")
    parser.add_argument("--check-chords", type=Path, nargs=2, metavar=("POP909", "POP909_STRUCTURE"),
                        help="only compare the chord estimate with POP909's annotation")
    parser.add_argument("--val", type=float, default=0.08, help="share of songs for validation")
    parser.add_argument("--test", type=float, default=0.12, help="share of songs held out for the final table")
    parser.add_argument("--seed", type=int, default=5, help="seed of the split")
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    if args.check_chords:
        triad, root = check_chords(*args.check_chords)
        print(f"half bars with POP909's own triad {triad:.3f}, with its root {root:.3f}")
        return
    if not args.output or not (args.midi or args.slakh or args.groove):
        parser.error("give --output and at least one of --midi, --slakh, --groove")
    songs, rejected = [], []
    loaded = [read_folder(root, read_midi_song) for root in args.midi]
    loaded += [read_slakh(args.slakh)] if args.slakh else []
    loaded += [read_groove(args.groove)] if args.groove else []
    for source in loaded:
        for name, song in source:
            if isinstance(song, Song):
                songs.append(song)
            else:
                rejected.append((name, str(song)))
    for reason, count in Counter(reason for _, reason in rejected).most_common():
        names = [name for name, why in rejected if why == reason]
        print(f"rejected {count:4}  {reason}: {', '.join(names[:8])}{' …' if count > 8 else ''}")
    if not songs:
        sys.exit("no usable file: a song needs 4/4, four bars, notes near the sixteenth grid; see the reasons above")
    for song in tqdm(songs, desc="chords", unit="song"):
        song.chords = (estimate_chords(song.notes, song.n_bars) if any(song.known[BASS:])
                       else np.full((song.n_bars, SLOTS_PER_BAR), NO_CHORD, np.int8))
    join_versions(songs)
    arrays = arrays_of(songs, args.val, args.test, args.seed)
    save_atomically(args.output, lambda file: np.savez_compressed(file, **arrays))
    for name, value in [*summary(arrays), ("sha256", data_sha256(arrays))]:
        print(f"{name:14} {value}")
    phrases = Counter()
    for idx in np.flatnonzero(arrays["song_source"] == 0):
        active = active_tracks(*roll_of(arrays, idx))
        n_phrases = len(active) // PHRASE_BARS
        playing = active[:n_phrases * PHRASE_BARS].reshape(n_phrases, PHRASE_BARS, len(TRACKS)).any(1).sum(1)
        phrases.update(playing.tolist())
    print("phrases of four bars by how many tracks play: " + ", ".join(f"{n}: {phrases[n]}" for n in sorted(phrases)))


if __name__ == "__main__":
    main()
