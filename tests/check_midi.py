"""Outside readers and writers against Barline, note for note.

    check_midi.py read OUT.mid OUT.npz OUT.json    what Barline wrote, read by pretty_midi and pypianoroll
    check_midi.py rewrite OUT.mid OUT.npz          what pypianoroll writes of OUT.npz, against OUT.mid
    check_midi.py write FOLDER                     files by pretty_midi and mido for Barline to read, with their notes as JSON

Needs PyPI `pretty_midi` and `pypianoroll`. Exit code 77 says that they are missing.
"""

import json
import random
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

try:
    import mido
    import numpy as np
    import pretty_midi
    import pypianoroll
except ImportError as error:
    print(error)
    sys.exit(77)

TICKS_PER_BEAT = 480
RESOLUTION = 24


def same(what, got, wanted):
    """Ends with the first differences."""
    if got != wanted:
        missing = [n for n in wanted if n not in got][:5] if isinstance(wanted, list) else wanted
        extra = [n for n in got if n not in wanted][:5] if isinstance(got, list) else got
        sys.exit(f"{what}: wanted {missing}, got {extra}")


def read(mid_path, npz_path, json_path):
    """Compares the files of one `barline generate` with each other."""
    with open(json_path, encoding="utf-8") as file:
        report = json.load(file)
    tracks = [t for t in report["tracks"] if t["notes"]]
    check_pretty_midi(pretty_midi.PrettyMIDI(mid_path), report, tracks)
    check_npz(pypianoroll.load(npz_path), report)
    # Where the meter counts eighths, pretty_midi's beats are eighths, and its cells another grid.
    if report["time_signature"].endswith("/4"):
        check_pypianoroll_read(pypianoroll.read(mid_path, resolution=RESOLUTION, collect_onsets_only=True), tracks)
    check_text(mid_path, report)
    n_notes = sum(len(t["notes"]) for t in tracks)
    print(f"{n_notes} notes in {len(tracks)} tracks agree")


def check_pretty_midi(midi, report, tracks):
    """Every note, its velocity, tracks, tempo, meter, key."""
    same("resolution", midi.resolution, TICKS_PER_BEAT)
    times, tempos = midi.get_tempo_changes()
    same("tempo changes", len(times), 1)
    # A file holds whole microseconds per quarter note.
    assert abs(60e6 / tempos[0] - 60e6 / report["tempo_bpm"]) <= 0.5, (tempos, report["tempo_bpm"])
    meters = [(t.numerator, t.denominator, t.time) for t in midi.time_signature_changes]
    same("meter", meters, [(*map(int, report["time_signature"].split("/")), 0.0)])
    keys = [pretty_midi.key_number_to_key_name(k.key_number) for k in midi.key_signature_changes]
    if report["key"] is None:
        same("key", keys, [])
    else:
        tonic, scale = report["key"].split(" ", 1)
        flats = {"C#": "Db", "D#": "Eb", "F#": "F#", "G#": "Ab", "A#": "Bb"}
        assert keys and keys[0].split(" ")[0].split("/")[0] in (tonic, flats.get(tonic)), (keys, report["key"])
        if scale in ("major", "minor"):
            same("mode", keys[0].split(" ")[1].lower(), scale)
    instruments = [i for i in midi.instruments if i.notes]
    same("tracks", len(instruments), len(tracks))
    for instrument, track in zip(instruments, tracks):
        same("name", instrument.name, track["name"])
        same("drums", instrument.is_drum, track["is_drum"])
        same("program", instrument.program, track["program"])
        got = [(midi.time_to_tick(n.start), midi.time_to_tick(n.end), n.pitch, n.velocity) for n in instrument.notes]
        same(f"notes of {track['name']}", sorted(got), sorted(spans(track)))


def spans(track):
    """Onset, end, pitch, velocity of a track of the report."""
    notes = track["notes"]
    return [(n["onset_ticks"], n["onset_ticks"] + n["duration_ticks"], n["pitch"], n["velocity"]) for n in notes]


def cell(ticks):
    """The nearest grid cell, halves upward."""
    return int((Fraction(ticks * RESOLUTION, TICKS_PER_BEAT) + Fraction(1, 2)).__floor__())


def check_npz(multitrack, report):
    """The piano rolls, through pypianoroll's own way back to notes."""
    multitrack.validate()
    same("resolution", multitrack.resolution, RESOLUTION)
    same("tracks", len(multitrack.tracks), len(report["tracks"]))
    assert np.allclose(multitrack.tempo, report["tempo_bpm"]), multitrack.tempo
    numerator, denominator = map(int, report["time_signature"].split("/"))
    bar = Fraction(4 * RESOLUTION * numerator, denominator)
    n_cells = multitrack.tracks[0].pianoroll.shape[0]
    same("length", n_cells, cell(report["length_ticks"]))
    if bar.denominator == 1:
        same("downbeats", np.flatnonzero(multitrack.downbeat).tolist(), list(range(0, n_cells, int(bar))))
    midi = multitrack.to_pretty_midi()
    step = 60.0 / float(np.mean(multitrack.tempo)) / RESOLUTION
    for instrument, roll, track in zip(midi.instruments, multitrack.tracks, report["tracks"]):
        same("shape", roll.pianoroll.shape, (n_cells, 128))
        same("name", roll.name, track["name"])
        same("drums", roll.is_drum, track["is_drum"])
        same("program", roll.program, track["program"])
        got = [(round(n.start / step), round(n.end / step), n.pitch, n.velocity) for n in instrument.notes]
        same(f"roll of {track['name']}", sorted(got), sorted(cells(track, n_cells)))


def cells(track, n_cells):
    """The notes of a track on the grid: at least one cell each, and one cell of air before the next of their pitch."""
    by_pitch = {}
    for onset, end, pitch, velocity in spans(track):
        start = cell(onset)
        by_pitch.setdefault(pitch, []).append([start, min(max(cell(end), start + 1), n_cells), pitch, velocity])
    for notes in by_pitch.values():
        notes.sort()
        for note, following in zip(notes, notes[1:]):
            if note[1] >= following[0]:
                note[1] = max(following[0] - 1, note[0] + 1)
    return [tuple(note) for notes in by_pitch.values() for note in notes]


def check_pypianoroll_read(multitrack, tracks):
    """The onsets that pypianoroll finds in the MIDI file by itself."""
    for roll, track in zip(multitrack.tracks, tracks, strict=True):
        got = [(int(start), int(pitch)) for start, pitch in zip(*np.nonzero(roll.pianoroll))]
        # It rounds halves to even, as numpy does.
        wanted = {(round(Fraction(onset * RESOLUTION, TICKS_PER_BEAT)), pitch) for onset, _, pitch, _ in spans(track)}
        same(f"onsets of {track['name']}", sorted(got), sorted(wanted))


def check_text(mid_path, report):
    """The text event holds what the report says of the piece's origin; markers hold the chords."""
    conductor = mido.MidiFile(mid_path).tracks[0]
    texts = [m.text for m in conductor if m.type == "text"]
    same("texts", len(texts), 1)
    assert texts[0].startswith("barline {"), texts
    same("provenance", json.loads(texts[0].removeprefix("barline ")), report["provenance"])
    at, markers = 0, []
    for message in conductor:
        at += message.time
        if message.type == "marker":
            markers.append((at, message.text))
    same("chords", markers, [(c["onset_ticks"], c["name"]) for c in report["chords"]])
    same("end", at, report["length_ticks"])


def rewrite(mid_path, npz_path):
    """MuseGAN's way from piano rolls to a file: the tracks of the rolls, written by pypianoroll, have the notes of Barline's own file.

    In steps of the rolls' resolution, and as far as a roll can tell notes of a pitch apart.
    """
    multitrack = pypianoroll.load(npz_path)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "theirs.mid")
        pypianoroll.write(path, multitrack)
        theirs = pretty_midi.PrettyMIDI(path)
    ours = pretty_midi.PrettyMIDI(mid_path)
    tempos = [float(midi.get_tempo_changes()[1][0]) for midi in (theirs, ours)]
    # Each rounds to whole microseconds per quarter note in its own way.
    assert abs(60e6 / tempos[0] - 60e6 / tempos[1]) <= 1, tempos
    theirs, ours = ([i for i in midi.instruments if i.notes] for midi in (theirs, ours))
    same("tracks", *([(i.name, i.is_drum, i.program) for i in instruments] for instruments in (theirs, ours)))
    n_notes = 0
    for their, our in zip(theirs, ours):
        notes = [as_rolled(instrument, tempo * multitrack.resolution / 60) for instrument, tempo in zip((their, our), tempos)]
        same(f"notes of {our.name}", *notes)
        n_notes += len(notes[0])
    print(f"{n_notes} notes in {len(ours)} tracks agree")


def as_rolled(instrument, steps_per_second):
    """Sorted (onset_steps, end, pitch) as a piano roll holds them: a note ends a step before the next of its pitch, or runs into it
    if it has but one step.
    """
    out = []
    for pitch in sorted({note.pitch for note in instrument.notes}):
        spans = sorted([round(n.start * steps_per_second), round(n.end * steps_per_second)]
                       for n in instrument.notes if n.pitch == pitch)
        merged = []
        for (start, end), following in zip(spans, spans[1:] + [[10**9]]):
            end = min(end, max(following[0] - 1, start + 1))
            if merged and start <= merged[-1][1]:
                merged[-1][1] = end
            else:
                merged.append([start, end])
        out += [(start, end, pitch) for start, end in merged]
    return sorted(out)


def write(folder):
    """Files by others: every note of `NAME.mid` stands in `NAME.json` as (onset, duration, pitch, velocity) in 1/480 beat."""
    draw = random.Random(20)
    for name, resolution in [("pretty-220", 220), ("pretty-960", 960)]:
        midi = pretty_midi.PrettyMIDI(resolution=resolution, initial_tempo=93.0)
        notes = []
        for program, is_drum in [(0, False), (33, False), (0, True)]:
            instrument = pretty_midi.Instrument(program, is_drum, f"part {program}")
            for pitch in draw.sample(range(20, 110), 12):
                at = draw.randrange(50)
                for _ in range(8):
                    start, end = at, at + 1 + draw.randrange(700)
                    at = end + draw.randrange(90)
                    velocity = 1 + draw.randrange(127)
                    seconds = [midi.tick_to_time(t) for t in (start, end)]
                    instrument.notes.append(pretty_midi.Note(velocity, pitch, *seconds))
                    notes.append((start, end, pitch, velocity))
            midi.instruments.append(instrument)
        midi.write(f"{folder}/{name}.mid")
        dump(folder, name, notes, resolution)
    # Type 0, written by mido: note-on with velocity 0 as off, running status by its writer.
    midi = mido.MidiFile(type=0, ticks_per_beat=96)
    track = mido.MidiTrack()
    midi.tracks.append(track)
    notes, at = [], 0
    for _ in range(200):
        pitch, length, velocity = draw.randrange(128), 1 + draw.randrange(96), 1 + draw.randrange(127)
        channel = draw.randrange(16)
        track.append(mido.Message("note_on", channel=channel, note=pitch, velocity=velocity, time=3))
        track.append(mido.Message("note_on", channel=channel, note=pitch, velocity=0, time=length))
        notes.append((at + 3, at + 3 + length, pitch, velocity))
        at += 3 + length
    midi.save(f"{folder}/mido-0.mid")
    dump(folder, "mido-0", notes, 96)


def dump(folder, name, notes, resolution):
    """Scales to 480 ticks per quarter, halves upward, at least one tick."""
    def scaled(ticks):
        return int((Fraction(ticks * TICKS_PER_BEAT, resolution) + Fraction(1, 2)).__floor__())

    rows = [(scaled(start), max(scaled(end) - scaled(start), 1), pitch, velocity) for start, end, pitch, velocity in notes]
    with open(f"{folder}/{name}.json", "w", encoding="utf-8") as file:
        json.dump(sorted(rows), file)


if __name__ == "__main__":
    {"read": read, "rewrite": rewrite, "write": write}[sys.argv[1]](*sys.argv[2:])
