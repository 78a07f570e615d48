"""MIDI files as the data steps read them: positions in sixteenths, refused with a reason."""

from tqdm import tqdm

STEPS_PER_BEAT = 4


class Rejected(Exception):
    """A song that cannot be used; the text says why."""


def open_midi(path):
    """Open one file; returns (pretty_midi.PrettyMIDI, a function from seconds to steps).

    Raises Rejected where the file cannot be read or has other meters than 4/4.
    """
    import pretty_midi

    try:
        midi = pretty_midi.PrettyMIDI(str(path))
    except Exception as error:  # mido raises many types for broken files; each means the same here.
        raise Rejected(f"unreadable: {error or type(error).__name__}") from error
    meters = {(change.numerator, change.denominator) for change in midi.time_signature_changes}
    if meters - {(4, 4)}:
        raise Rejected("not in 4/4")
    return midi, lambda seconds: midi.time_to_tick(seconds) / midi.resolution * STEPS_PER_BEAT


def read_folder(root, read_song):
    """Yield (name, song or Rejected) of every MIDI file below `root`, by `read_song(path, name)`."""
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in (".mid", ".midi"))
    for path in tqdm(paths, desc=root.name, unit="file"):
        name = str(path.relative_to(root))
        try:
            yield name, read_song(path, name)
        except Rejected as reason:
            yield name, reason
