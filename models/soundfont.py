"""Cuts the small SoundFont that Barline embeds out of Fluid R3 (MIT, Frank Wen).

    python soundfont.py FluidR3_GM.sf2 ../plugin/assets/barline.sf2

`FluidR3_GM.sf2` is what Debian's `fluid-soundfont-gm` 3.1 installs. A few notes of each instrument are kept, one side of the stereo
recordings, at half the sample rate and up to the end of their loops; drums are cut short. All 128 programs of General MIDI are there, each
with the sound of its family. The same input gives the same bytes.
"""

import argparse
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.signal import firwin

KEY_RANGE, VEL_RANGE, INSTRUMENT, SAMPLE, LOOP, PAN, ROOT, FINE, COARSE = 43, 44, 41, 53, 54, 17, 58, 52, 51
"""Generators of the SoundFont specification 2.04, section 8.1.2."""

VELOCITY = 90
"""The layer that is kept."""

SMALL = 6_000
"""Samples shorter than this keep their rate: they are single waves, whose harmonics half the rate would lose."""

DRUM_RATE = 0.7
"""Of the original rate: cymbals live above 11 kHz."""

# Program of Fluid R3, the programs that it stands for, and the notes that are kept of it.
INSTRUMENTS: list[tuple[int, range, list[int]]] = [
    (0, range(0, 4), [34, 46, 57, 68, 82]),
    (4, range(4, 8), [45, 60, 76]),
    (11, range(8, 16), [60, 77]),
    (16, range(16, 24), [60]),
    (25, range(24, 26), [45, 56, 68]),
    (27, range(26, 32), [45, 57, 70]),
    (33, range(32, 38), [30, 40, 52]),
    (38, range(38, 40), [40]),
    (48, range(40, 56), [43, 57, 69, 81]),
    (56, range(56, 64), [60, 72]),
    (65, range(64, 72), [52, 64, 74]),
    (73, range(72, 80), [67, 79]),
    (80, range(80, 81), [60]),
    (81, range(81, 88), [60]),
    (89, range(88, 104), [60]),
    (27, range(104, 128), []),
]
"""The last has no notes of its own: what it stands for is not worth any."""

# Keys of the drum kit and the seconds that are kept of each.
DRUMS = {
    35: 0.35, 36: 0.35, 37: 0.2, 38: 0.4, 39: 0.3, 40: 0.4, 41: 0.6, 42: 0.2, 43: 0.6, 44: 0.2, 45: 0.6, 46: 0.6, 47: 0.6, 48: 0.6,
    49: 1.5, 50: 0.6, 51: 1.1, 53: 0.8, 54: 0.25, 55: 0.8, 56: 0.3, 57: 1.5, 59: 1.1, 62: 0.25, 63: 0.35, 64: 0.35, 69: 0.15, 70: 0.15,
}  # fmt: skip

NOTICE = "Cut out of Fluid R3 GM, copyright 2000-2002, 2008 Frank Wen, MIT licence. Recordings public domain or by the contributors named in its README."


@dataclass
class Font:
    """A SoundFont's records. `samples` is `(n,)` int16, the waves of all of it one after another."""

    samples: np.ndarray
    presets: list[tuple]
    preset_zones: list[tuple]
    preset_generators: list[tuple[int, int]]
    instruments: list[tuple]
    instrument_zones: list[tuple]
    instrument_generators: list[tuple[int, int]]
    headers: list[tuple]

    @classmethod
    def read(cls, path: Path) -> "Font":
        """Reads a file as SoundFont 2 lays it out."""
        data, chunks = path.read_bytes(), {}

        def walk(start: int, end: int) -> None:
            while start + 8 <= end:
                name, size = data[start : start + 4], struct.unpack_from("<I", data, start + 4)[0]
                if name in (b"RIFF", b"LIST"):
                    walk(start + 12, start + 8 + size)
                else:
                    chunks[name] = data[start + 8 : start + 8 + size]
                start += 8 + size + (size & 1)

        walk(0, len(data))
        records = {name: list(struct.iter_unpack(form, chunks[name])) for name, form in FORMS.items()}
        return cls(np.frombuffer(chunks[b"smpl"], "<i2"), *(records[name] for name in FORMS))

    def zones(self, owners: list[tuple], zones: list[tuple], generators: list[tuple], idx: int, bag: int, last: int) -> list[dict]:
        """The generators of each zone that ends in `last`, those of the global zone laid under them."""
        found, common = [], {}
        for zone in range(owners[idx][bag], owners[idx + 1][bag]):
            own = dict(generators[zones[zone][0] : zones[zone + 1][0]])
            if last in own:
                found.append(common | own)
            else:
                common = own
        return found

    def preset(self, bank: int, program: int) -> list[tuple[dict, dict]]:
        """Pairs of a preset's zone and an instrument's zone that sound together at `VELOCITY`, one side of stereo pairs."""
        idx = next(i for i, p in enumerate(self.presets) if (p[2], p[1]) == (bank, program))
        pairs = []
        for outer in self.zones(self.presets, self.preset_zones, self.preset_generators, idx, 3, INSTRUMENT):
            if holds(outer, VEL_RANGE, VELOCITY):
                for inner in self.zones(
                    self.instruments, self.instrument_zones, self.instrument_generators, outer[INSTRUMENT], 1, SAMPLE
                ):
                    if holds(inner, VEL_RANGE, VELOCITY) and signed(inner.get(PAN, 0)) <= 0:
                        pairs.append((outer, inner))
        return pairs


FORMS = {
    b"phdr": "<20sHHHIII",
    b"pbag": "<HH",
    b"pgen": "<HH",
    b"inst": "<20sH",
    b"ibag": "<HH",
    b"igen": "<HH",
    b"shdr": "<20sIIIIIBbHH",
}


def signed(value: int) -> int:
    """A generator's 16 bits as a signed number."""
    return value - 65536 if value > 32767 else value


def holds(zone: dict, which: int, value: int) -> bool:
    """Whether a zone's range holds a key or velocity; a zone without one holds all."""
    low, high = zone.get(which, 127 << 8) & 255, zone.get(which, 127 << 8) >> 8
    return low <= value <= high


def resampled(wave: np.ndarray, ratio: float, loop: tuple[int, int] | None) -> tuple[np.ndarray, float, tuple[int, int]]:
    """The wave with about `ratio` of its samples: the wave, the exact ratio, the loop. The loop's ends fall on samples."""
    if ratio < 1.0:
        taps = firwin(127, 0.94 * ratio)
        smooth = np.convolve(np.pad(wave.astype(float), 63, mode="edge"), taps, mode="valid")
    else:
        smooth = wave.astype(float)
    start, end = loop or (0, len(wave))
    n_loop = max(round((end - start) * ratio), 1)
    ratio = n_loop / (end - start) if loop else ratio
    n_before = int(start * ratio)
    n = n_before + n_loop + (8 if loop else 0)
    at = start + (np.arange(n) - n_before) / ratio
    # Beyond the end of a loop comes its beginning.
    at = np.where(at >= end, at - (end - start), at) if loop else np.clip(at, 0, len(wave) - 1)
    new = CubicSpline(np.arange(len(smooth)), smooth)(at)
    return np.clip(np.round(new), -32768, 32767).astype("<i2"), ratio, (n_before, n_before + n_loop)


@dataclass
class Writer:
    """Collects records and waves."""

    waves: list[np.ndarray] = field(default_factory=list)
    n: int = 0
    records: dict[bytes, list[tuple]] = field(default_factory=lambda: {name: [] for name in FORMS})

    def zone(self, bag: bytes, generators: bytes, zone: list[tuple[int, int]]) -> None:
        """Adds a zone."""
        self.records[bag].append((len(self.records[generators]), 0))
        self.records[generators].extend(zone)

    def sample(self, font: Font, idx: int, ratio: float, seconds: float | None) -> int:
        """Adds a sample; `seconds` cuts it there and fades it out."""
        name, start, end, loop_start, loop_end, rate, root, correction, _, _ = font.headers[idx]
        wave = font.samples[start:end]
        if seconds is None:
            loop = (loop_start - start, loop_end - start)
            wave, ratio, loop = resampled(wave[: loop[1] + 8], 1.0 if len(wave) < SMALL else ratio, loop)
        else:
            n = min(int(seconds * rate), len(wave))
            fade = np.minimum(1.0, np.arange(n, 0, -1) / (0.3 * n))
            wave, ratio, loop = resampled((wave[:n] * fade).astype("<i2"), ratio, None)
        first = self.n
        self.waves.append(np.concatenate([wave, np.zeros(46, "<i2")]))
        self.n += len(self.waves[-1])
        header = (name, first, first + len(wave), first + loop[0], first + loop[1], round(rate * ratio), root, correction, 0, 1)
        self.records[b"shdr"].append(header)
        return len(self.records[b"shdr"]) - 1

    def bytes(self) -> bytes:
        """The file."""
        ends = {b"phdr": (b"EOP", 0, 0, len(self.records[b"pbag"]), 0, 0, 0), b"inst": (b"EOI", len(self.records[b"ibag"]))}
        ends |= {b"pbag": (len(self.records[b"pgen"]), 0), b"ibag": (len(self.records[b"igen"]), 0)}
        ends |= {b"pgen": (0, 0), b"igen": (0, 0), b"shdr": (b"EOS", 0, 0, 0, 0, 0, 0, 0, 0, 0)}
        packed = {
            name: b"".join(struct.pack(form, *record) for record in [*self.records[name], ends[name]]) for name, form in FORMS.items()
        }
        modulators = bytes(10)
        order = [b"phdr", b"pbag", b"pmod", b"pgen", b"inst", b"ibag", b"imod", b"igen", b"shdr"]
        pdta = b"".join(chunk(name, packed.get(name, modulators)) for name in order)
        info = [(b"ifil", struct.pack("<HH", 2, 1)), (b"isng", b"EMU8000\0"), (b"INAM", b"Barline\0"), (b"ICOP", NOTICE.encode() + b"\0")]
        lists = [
            (b"INFO", b"".join(chunk(name, even(text)) for name, text in info)),
            (b"sdta", chunk(b"smpl", np.concatenate(self.waves).tobytes())),
            (b"pdta", pdta),
        ]
        return chunk(b"RIFF", b"sfbk" + b"".join(chunk(b"LIST", name + data) for name, data in lists))


def even(data: bytes) -> bytes:
    """Padded with a zero to an even length, as texts are."""
    return data + bytes(len(data) & 1)


def chunk(name: bytes, data: bytes) -> bytes:
    """A RIFF chunk."""
    return name + struct.pack("<I", len(data)) + even(data)


def kept(zone: dict, without: tuple[int, ...]) -> list[tuple[int, int]]:
    """A zone's generators but for those."""
    return [(which, value) for which, value in sorted(zone.items()) if which not in without]


def instrument(font: Font, writer: Writer, program: int, pitches: list[int]) -> list[tuple[int, int]]:
    """Adds an instrument of a few notes; the generators of the preset's zone that plays it."""
    pairs = font.preset(0, program)
    first = pairs[0][0]
    chosen: dict[int, dict] = {}
    for pitch in pitches:
        zone = next(inner for outer, inner in pairs if outer[INSTRUMENT] == first[INSTRUMENT] and holds(inner, KEY_RANGE, pitch))
        chosen.setdefault(zone[SAMPLE], zone)
    root: Callable[[dict], int] = lambda zone: zone.get(ROOT, font.headers[zone[SAMPLE]][6])  # noqa: E731
    zones = sorted(chosen.values(), key=root)
    writer.records[b"inst"].append((font.instruments[first[INSTRUMENT]][0], len(writer.records[b"ibag"])))
    for i, zone in enumerate(zones):
        low = 0 if i == 0 else (root(zones[i - 1]) + root(zone)) // 2 + 1
        high = 127 if i == len(zones) - 1 else (root(zone) + root(zones[i + 1])) // 2
        sample = writer.sample(font, zone[SAMPLE], 0.5, None)
        middle = kept(zone, (KEY_RANGE, VEL_RANGE, SAMPLE, PAN, ROOT, LOOP, 0, 1, 2, 3, 4, 12, 45, 50))
        loop = zone.get(LOOP, 0) or 1
        writer.zone(b"ibag", b"igen", [(KEY_RANGE, high << 8 | low), *middle, (LOOP, loop), (ROOT, root(zone)), (SAMPLE, sample)])
    number = len(writer.records[b"inst"]) - 1
    return [*kept(first, (KEY_RANGE, VEL_RANGE, INSTRUMENT, PAN)), (INSTRUMENT, number)]


def drums(font: Font, writer: Writer) -> list[tuple[int, int]]:
    """Adds the drum kit; the generators of the zone that plays it."""
    pairs = font.preset(128, 0)
    samples: dict[tuple[int, float], int] = {}
    writer.records[b"inst"].append((b"Drums", len(writer.records[b"ibag"])))
    for key, seconds in DRUMS.items():
        zone = next(inner for outer, inner in pairs if holds(outer, KEY_RANGE, key) and holds(inner, KEY_RANGE, key))
        cut = (zone[SAMPLE], seconds)
        if cut not in samples:
            samples[cut] = writer.sample(font, zone[SAMPLE], DRUM_RATE, seconds)
        middle = kept(zone, (KEY_RANGE, VEL_RANGE, SAMPLE, PAN, ROOT, LOOP, 0, 1, 2, 3, 4, 12, 45, 50))
        root = zone.get(ROOT, font.headers[zone[SAMPLE]][6])
        writer.zone(b"ibag", b"igen", [(KEY_RANGE, key << 8 | key), *middle, (LOOP, 0), (ROOT, root), (SAMPLE, samples[cut])])
    return [(INSTRUMENT, len(writer.records[b"inst"]) - 1)]


def main() -> None:
    """Reads the font and writes the small one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("font", type=Path)
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    font, writer, zones = Font.read(args.font), Writer(), {}
    for program, stands_for, pitches in INSTRUMENTS:
        if program not in zones:
            before = writer.n
            zones[program] = instrument(font, writer, program, pitches)
            print(f"{program:3} {(writer.n - before) * 2 / 1024:6.0f} KiB")
        for number in stands_for:
            name = f"Program {number + 1}".encode()
            writer.records[b"phdr"].append((name, number, 0, len(writer.records[b"pbag"]), 0, 0, 0))
            writer.zone(b"pbag", b"pgen", zones[program])
    before, zone = writer.n, drums(font, writer)
    print(f"drums {(writer.n - before) * 2 / 1024:4.0f} KiB")
    writer.records[b"phdr"].append((b"Drums", 0, 128, len(writer.records[b"pbag"]), 0, 0, 0))
    writer.zone(b"pbag", b"pgen", zone)
    args.output.write_bytes(writer.bytes())
    print(f"{args.output}: {args.output.stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
