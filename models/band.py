"""The band: one operation that completes whatever is missing of a phrase for five tracks.

A window is 8 bars: 4 of context, 4 of the phrase. Given any known tracks and bars of it and a chord per half bar, `TrackNet` writes
one track's missing steps, one after another: what begins, from the lowest note up, and how long it lasts. `BandSampler` does so
for the five tracks in turn, each seeing those before it, inside one graph; writing from nothing, re-rolling a track or a bar,
locking and accompanying are the same graph with other masks.

Everything tonal is seen from the chord's root, so that a phrase and its transposition look alike; a track sees its own past one,
two and four bars ago and whether it has followed it so far, because bands repeat themselves.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from nets import GruCell, over_steps
from phrases import BASS, DRUM_PITCHES, DRUMS, LOWEST_PITCH, N_PITCHES, N_STEPS, PHRASE_BARS, SOURCES, STEPS_PER_SLOT, TRACKS

N_TRACKS = len(TRACKS)
CONTEXT_BARS = 4
WINDOW_BARS = CONTEXT_BARS + PHRASE_BARS
N_CONTEXT = CONTEXT_BARS * N_STEPS
N_PHRASE = PHRASE_BARS * N_STEPS
N_WINDOW = N_CONTEXT + N_PHRASE
N_DRUMS = len(DRUM_PITCHES)
DURATIONS = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)  # steps; others count as the nearest
LAGS = (16, 32, 64)  # how far back a track looks at itself: one, two, four bars
N_AHEAD = 8  # steps of rhythm seen after each lag
MAX_NOTES = (5, 1, 7, 7, 7)  # most notes that begin on one step, per track
N_NOISE = 5  # numbers per step: begin, lowest note, shape, duration of the lowest, of the others
N_LOW_RANK = 32
N_BLOCK = 32
FOLLOW_DECAY = 0.75
N_INTERVALS = 2 * N_PITCHES - 1
N_RISES = 48  # how far above the lowest note a chord reaches, in semitones
# Drum cells of the host are contiguous pitches; classes lie at their own pitch among them.
DRUM_LOWEST = min(DRUM_PITCHES)
N_DRUM_CELLS = max(DRUM_PITCHES) - DRUM_LOWEST + 1
N_CELLS = (N_DRUM_CELLS, N_PITCHES + 2, *(2 * N_PITCHES,) * 3)
NEVER = -8.0
SURE = 7.9
NARROW = 0.25  # the least by which a decision is won: four steps of the host's int8


def is_pitched(track):
    """Whether a track has pitches (all but drums)."""
    return track != DRUMS


class Harmony(nn.Module):
    """Tables that turn chords and pitches into features relative to the chord's root, by plain products."""

    def __init__(self):
        super().__init__()
        pc = torch.arange(12)
        # (12 roots, 12 degrees x 12 pitch classes): 1 where the class is that many semitones above the root
        rotations = F.one_hot((pc[None] - pc[:, None]) % 12, 12).permute(0, 2, 1).reshape(12, 144).float()
        triad = torch.arange(24)
        relation = (triad[None] - triad[:, None]) % 12 + 12 * (triad[None] >= 12)
        self.register_buffer("rotations", rotations, persistent=False)
        self.register_buffer("folding", F.one_hot((torch.arange(N_PITCHES) + LOWEST_PITCH) % 12, 12).float(), persistent=False)
        self.register_buffer("relations", F.one_hot(relation, 24).float().reshape(24, 24 * 24), persistent=False)
        self.register_buffer("heights", (torch.arange(N_PITCHES).float() + 1) / N_PITCHES, persistent=False)

    def roots(self, triads):
        """Triads (..., 24), 0 for none -> roots (..., 12) one-hot, C where there is no chord, and (..., 2) = minor, none."""
        roots = triads[..., :12] + triads[..., 12:]
        none = 1 - roots.sum(-1, keepdim=True)
        first = torch.cat([none, torch.zeros_like(roots[..., 1:])], -1)
        return roots + first, torch.cat([triads[..., 12:].sum(-1, keepdim=True), none], -1)

    def degree_map(self, roots):
        """roots (..., 12) -> (..., 12, 12): row d marks the pitch class d semitones above the root."""
        return (roots @ self.rotations).reshape(*roots.shape[:-1], 12, 12)

    def degrees(self, pitches, degree_map):
        """Pitches (..., 72) -> how many of them are at each degree (..., 12)."""
        return (degree_map @ (pitches @ self.folding).unsqueeze(-1)).squeeze(-1)

    def pitches(self, scores, degree_map):
        """Scores of degrees (..., 12) -> scores of pitches (..., 72)."""
        return (scores.unsqueeze(-2) @ degree_map).squeeze(-2) @ self.folding.T

    def relation(self, first, second):
        """Triads (..., 24) -> (..., 24): the second seen from the first's root, 0 where either is none."""
        table = (first @ self.relations).reshape(*first.shape[:-1], 24, 24)
        return (second.unsqueeze(-2) @ table).squeeze(-2)


class Content(nn.Module):
    """What is seen of a track at a step, from its onsets and what sounds.

    Pitched: degrees that begin (12), degrees that sound (12), any onset, held without onset, share of onsets, lowest and highest onset
    as heights. Drums: the classes (16), any onset.
    """

    N_PITCHED = 29
    N_DRUMS = N_DRUMS + 1

    def __init__(self, harmony):
        super().__init__()
        self.harmony = harmony

    def pitched(self, onset, sounding, degrees):
        """onset, sounding (..., 72), degrees (..., 12, 12) of `Harmony.degree_map` -> (..., 29)."""
        both = torch.stack([onset, sounding], -2) @ self.harmony.folding @ degrees.transpose(-1, -2)
        n = onset.sum(-1, keepdim=True)
        any_onset = n.clamp(max=1)
        held = sounding.sum(-1, keepdim=True).clamp(max=1) * (1 - any_onset)
        heights = onset * self.harmony.heights
        highest = heights.amax(-1, keepdim=True)
        lowest = any_onset * (1 - (onset * (1 - self.harmony.heights)).amax(-1, keepdim=True))
        return torch.cat([both.clamp(max=1).flatten(-2), any_onset, held, n / 4, lowest, highest], -1)

    @staticmethod
    def drums(onset):
        """onset (..., 16) -> (..., 17)."""
        return torch.cat([onset, onset.sum(-1, keepdim=True).clamp(max=1)], -1)


N_SEEN = Content.N_DRUMS + (N_TRACKS - 1) * Content.N_PITCHED
N_PLACE = 2 + 24 + N_STEPS + WINDOW_BARS + len(SOURCES)


class Surroundings(nn.Module):
    """All that is known of the window, as features per step of the phrase: a few convolutions over steps, beats and bars.

    Not causal: a bar in the middle sees the known bars after it.
    """

    # Offsets in steps that a layer sees: neighbours, beats, bars, eighths.
    OFFSETS = ((-1, 0, 1), (-4, 0, 4), (-16, 0, 16), (-2, 0, 2))

    def __init__(self, n_hidden, n_targets, dropout):
        super().__init__()
        self.enter = nn.Linear(N_SEEN + N_TRACKS + N_PLACE + n_targets, n_hidden)
        self.layers = nn.ModuleList(nn.Linear(3 * n_hidden, n_hidden) for _ in self.OFFSETS)
        self.norms = nn.ModuleList(nn.LayerNorm(n_hidden) for _ in self.OFFSETS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features):
        """features (B, 128, F) -> (B, 64, n_hidden)."""
        x = torch.relu(self.enter(features))
        for layer, norm, offsets in zip(self.layers, self.norms, self.OFFSETS):
            seen = norm(x)
            x = x + self.dropout(torch.relu(layer(torch.cat([shifted(seen, offset) for offset in offsets], -1))))
        return x[:, N_CONTEXT:]


def shifted(x, offset):
    """x (B, T, C) -> the value `offset` steps away, 0 outside the window."""
    if offset == 0:
        return x
    return F.pad(x, (0, 0, 0, offset))[:, offset:] if offset > 0 else F.pad(x, (0, 0, -offset, 0))[:, :offset]


class TrackNet(nn.Module):
    """Writes the missing steps of one track; `targets` are the tracks that share these weights.

    Per step a GRU reads the surroundings, its own last step, what still sounds, itself one, two and four bars ago with the rhythm
    that followed there, and how well it has followed each so far. Then it decides: does anything begin; which note is the lowest
    (for drums: which set of drums); which *shape* of intervals stands on it; how long the lowest and the others last. Scores of
    pitches are sums of absolute pitch, degree of the chord, interval from the last lowest note, and gates that copy from the lags.

    `shapes` (n_shapes, 48) or (n_sets, 16) 0/1: the chords above a lowest note, or the sets of drums, that the training songs use.
    """

    def __init__(self, targets, n_hidden, n_surroundings, dropout, shapes):
        super().__init__()
        self.targets = tuple(targets)
        self.pitched = is_pitched(self.targets[0])
        self.mono = self.targets == (BASS,)
        self.n_values = N_PITCHES if self.pitched else N_DRUMS
        self.n_own = Content.N_PITCHED if self.pitched else Content.N_DRUMS
        self.harmony = Harmony()
        self.content = Content(self.harmony)
        self.around = Surroundings(n_surroundings, len(self.targets), dropout)
        n_input = (self.n_own + (12 if self.pitched else 0) + len(LAGS) * (self.n_own + 2 * N_AHEAD) + self.n_kinds * len(LAGS))
        self.gates = nn.Linear(n_surroundings, 3 * n_hidden)
        self.own = nn.Linear(n_input, 3 * n_hidden, bias=False)
        self.start = nn.Linear(n_surroundings, n_hidden)
        self.cell = GruCell(n_hidden)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.Linear(n_hidden, sum(self.head_sizes.values()))
        self.register_buffer("shapes", shapes.float())
        if not self.mono:
            n_members = N_RISES if self.pitched else N_DRUMS
            self.shape_out = nn.Linear(N_LOW_RANK, len(shapes))
            self.n_members = n_members
        if self.pitched and not self.mono:
            self.others_after = nn.Linear(len(DURATIONS), len(DURATIONS), bias=False)
        idx = torch.arange(N_PITCHES)
        # interval from a reference (row) to a pitch (column); the pitches above a lowest one; and back
        self.register_buffer("interval_idx", (idx[None] - idx[:, None] + N_PITCHES - 1).reshape(-1), persistent=False)
        self.register_buffer("above_idx", (idx[:, None] + 1 + torch.arange(N_RISES)[None]).reshape(-1), persistent=False)
        rise = idx[None] - idx[:, None]
        self.register_buffer("rise_idx", torch.where((rise >= 1) & (rise <= N_RISES), rise - 1, N_RISES).reshape(-1),
                             persistent=False)
        self.register_buffer("steps", torch.tensor(DURATIONS).float().unsqueeze(-1), persistent=False)
        # what two steps are compared by: onsets, any onset, and (pitched) degrees that begin
        compare = torch.zeros(self.n_own + self.n_values, self.n_kinds)
        compare[self.n_own:, 0] = 1
        compare[24 if self.pitched else self.n_own - 1, 1] = 1
        if self.pitched:
            compare[:12, 2] = 1
        self.register_buffer("compare", compare, persistent=False)

    @property
    def n_kinds(self):
        """In how many ways a step is compared with its lags."""
        return 3 if self.pitched else 2

    @property
    def head_sizes(self):
        """Outputs of the one linear layer over the hidden state, by use."""
        lags = len(LAGS)
        sizes = {"begin": 1, "begin_lag": lags}
        if not self.pitched:
            return sizes | {"drum": N_DRUMS, "drum_lag": lags, "shape": N_LOW_RANK}
        sizes |= {"low": N_PITCHES, "low_lag": lags, "low_degree": 12, "low_degree_lag": lags, "interval": N_INTERVALS,
                  "duration": len(DURATIONS)}
        if not self.mono:
            sizes |= {"high": N_PITCHES, "high_lag": lags, "high_degree": 12, "high_degree_lag": lags, "rise": N_RISES,
                      "shape": N_LOW_RANK, "others": len(DURATIONS)}
        return sizes

    def decide(self, hidden):
        """hidden (N, H) -> the heads by name."""
        return dict(zip(self.head_sizes, self.heads(hidden).split(list(self.head_sizes.values()), -1)))

    def own_content(self, onset, sounding, degrees):
        """The features of this track itself at steps, as in `Content`."""
        return self.content.pitched(onset, sounding, degrees) if self.pitched else self.content.drums(onset)

    def rhythm_of(self, own):
        """(..., n_own) -> (..., 2): any onset, held (never, for drums)."""
        if self.pitched:
            return own[..., 24:26]
        return torch.cat([own[..., -1:], 0 * own[..., -1:]], -1)

    # Scores, shared by training and sampling ------------------------------------------------------------------------

    def begin_scores(self, heads, lag_any):
        """Log-odds that anything begins: lag_any (N, 3) -> (N, 1)."""
        return heads["begin"] + (heads["begin_lag"] * (2 * lag_any - 1)).sum(-1, keepdim=True)

    def pitch_scores(self, heads, name, lag_pitches, lag_degrees, degrees):
        """Scores of pitches (N, 72) by the heads called `name`: lag_pitches (N, 3, 72), lag_degrees (N, 3, 12)."""
        by_degree = heads[f"{name}_degree"].unsqueeze(1) + heads[f"{name}_degree_lag"].unsqueeze(1) @ lag_degrees
        return (heads[name].unsqueeze(1) + heads[f"{name}_lag"].unsqueeze(1) @ lag_pitches
                + by_degree @ degrees @ self.harmony.folding.T).squeeze(1)

    def interval_scores(self, heads, reference, gathered):
        """Scores of pitches (N, 72) by their interval from `reference` (N, 72), the last lowest note, one-hot or 0."""
        table = heads["interval"]
        if gathered:
            idx = torch.arange(N_PITCHES) - reference.argmax(-1, keepdim=True) + N_PITCHES - 1
            return table.gather(-1, idx) * reference.sum(-1, keepdim=True)
        return (reference.unsqueeze(1) @ table[:, self.interval_idx].reshape(-1, N_PITCHES, N_PITCHES)).squeeze(1)

    def rises(self, scores, low, gathered):
        """Scores of pitches (N, 72) -> of the 48 pitches above `low` (N, 72) one-hot; 0 beyond the range."""
        padded = F.pad(scores, (0, N_RISES))
        if gathered:
            return padded.gather(-1, low.argmax(-1, keepdim=True) + 1 + torch.arange(N_RISES))
        return (low.unsqueeze(1) @ padded[:, self.above_idx].reshape(-1, N_PITCHES, N_RISES)).squeeze(1)

    def shape_scores(self, heads, members):
        """Scores of the shapes (N, n_shapes): the sum of their members' scores (N, 48 or 16), and what is learnt of each."""
        return members @ self.shapes.T + self.shape_out(torch.tanh(heads["shape"]))

    def drum_scores(self, heads, lag_onsets):
        """Scores of the drums (N, 16): lag_onsets (N, 3, 16)."""
        return heads["drum"] + (heads["drum_lag"].unsqueeze(1) @ (2 * lag_onsets - 1)).squeeze(1)

    # Teacher forcing ------------------------------------------------------------------------------------------------

    def log_prob(self, features, onset, sounding, shape, duration, triads):
        """Log-likelihood of each step of the phrase: (B, 64).

        features (B, 128, F) of `Band.features`; onset, sounding (B, 128, n) of this track, true everywhere (zeros where there is
        no context); shape (B, 64) index among `shapes`; duration (B, 64, 2) classes of the lowest and the other notes, the second
        -1 without others; triads (B, 128, 24).
        """
        n_batch = len(onset)
        roots, _ = self.harmony.roots(triads)
        degrees = self.harmony.degree_map(roots) if self.pitched else None
        own = self.own_content(onset, sounding, degrees)  # (B, 128, n_own)
        around = self.around(features)  # (B, 64, S)
        phrase = slice(N_CONTEXT, None)
        here = degrees[:, phrase] if self.pitched else None
        inputs = [own[:, N_CONTEXT - 1:-1]]
        if self.pitched:
            inputs.append(self.harmony.degrees((sounding * (1 - onset))[:, phrase], here).clamp(max=1))
        lags = [slice(N_CONTEXT - lag, N_WINDOW - lag) for lag in LAGS]
        inputs += [own[:, at] for at in lags]
        rhythm = self.rhythm_of(own)
        inputs += [rhythm[:, N_CONTEXT - lag + ahead:N_WINDOW - lag + ahead] for lag in LAGS for ahead in range(1, N_AHEAD + 1)]
        both = torch.cat([own, onset], -1)
        differs = [((both[:, phrase] - both[:, at]).abs() @ self.compare).clamp(max=1) for at in lags]
        inputs.append(followed(1 - torch.cat(differs, -1)))
        gates = self.gates(around) + self.own(torch.cat(inputs, -1))
        hidden = torch.tanh(self.start(around[:, 0]))
        out = []
        for gates_t in gates.unbind(1):
            hidden = self.cell(gates_t, hidden)
            out.append(hidden)
        hidden = self.dropout(torch.stack(out, 1)).flatten(0, 1)  # (N, H)

        truth = onset[:, phrase].flatten(0, 1)  # (N, n)
        begins = truth.any(-1)
        lag_any = torch.stack([rhythm[:, at, 0] for at in lags], -1).flatten(0, 1)
        heads = self.decide(hidden)
        total = F.logsigmoid(self.begin_scores(heads, lag_any).float()[:, 0] * (2.0 * begins - 1))
        # All further decisions matter only where something begins, a fraction of the steps.
        rows = torch.nonzero(begins).squeeze(-1)
        if len(rows):
            some = {name: value[rows] for name, value in heads.items()}
            lag_onsets = torch.stack([onset[:, at] for at in lags], 2).flatten(0, 1)[rows]
            shape = shape.flatten()[rows]
            if self.pitched:
                lp = self.pitched_log_prob(some, truth[rows], lag_onsets, shape, duration.flatten(0, 1)[rows], here.flatten(0, 1)[rows],
                                           torch.stack([own[:, at, :12] for at in lags], 2).flatten(0, 1)[rows],
                                           lowest_before(onset).flatten(0, 1)[rows])
            else:
                lp = chosen_log_prob(self.shape_scores(some, self.drum_scores(some, lag_onsets)), shape)
            total = total.index_add(0, rows, lp)
        return total.reshape(n_batch, N_PHRASE)

    def pitched_log_prob(self, heads, truth, lag_onsets, shape, duration, degrees, lag_degrees, reference):
        """Log-likelihood of the notes of steps that have some: (N,)."""
        low = lowest_of(truth)
        scores = (self.pitch_scores(heads, "low", lowest_of(lag_onsets), lag_degrees, degrees)
                  + self.interval_scores(heads, reference, gathered=True))
        lp = chosen_log_prob(scores, low.argmax(-1)) + chosen_log_prob(heads["duration"], duration[:, 0])
        if self.mono:
            return lp
        members = self.rises(self.pitch_scores(heads, "high", lag_onsets, lag_degrees, degrees), low, gathered=True) + heads["rise"]
        lp = lp + chosen_log_prob(self.shape_scores(heads, members), shape)
        first = F.one_hot(duration[:, 0], len(DURATIONS)).float()
        others = chosen_log_prob(heads["others"] + self.others_after(first), duration[:, 1].clamp(min=0))
        return lp + others * (duration[:, 1] >= 0)


def chosen_log_prob(scores, idx):
    """Log-probability of a class: scores (N, n), idx (N,) -> (N,)."""
    return torch.log_softmax(scores.float(), -1).gather(-1, idx.unsqueeze(-1)).squeeze(-1)


def lowest_of(onset):
    """The lowest of each set of pitches (..., n) -> one-hot or 0."""
    return onset * (onset.cumsum(-1) == 1)


def followed(same):
    """Exponentially decayed share of steps that agreed with a lag, before each step: (B, 64, k) -> (B, 64, k); 0.5 at the start."""
    n = same.shape[1]
    age = torch.arange(n)[:, None] - torch.arange(n)[None] - 1
    kernel = torch.where(age >= 0, (1 - FOLLOW_DECAY) * FOLLOW_DECAY ** age.clamp(min=0), torch.zeros(()))
    start = 0.5 * FOLLOW_DECAY ** torch.arange(n).float()
    return kernel @ same + start[:, None]


def lowest_before(onset):
    """The lowest onset of the last step with one before each step of the phrase: (B, 128, 72) -> (B, 64, 72) one-hot or 0."""
    has = onset.sum(-1) > 0  # (B, 128)
    at = torch.where(has, torch.arange(N_WINDOW), -1).cummax(1).values  # last step with an onset, up to and with this one
    before = at[:, N_CONTEXT - 1:-1]
    found = lowest_of(onset).gather(1, before.clamp(min=0).unsqueeze(-1).expand(-1, -1, N_PITCHES))
    return found * (before >= 0).unsqueeze(-1)


def steps_of_bars(x):
    """(B, k, bars) -> (B, 16 x bars, k)."""
    return x.transpose(1, 2).repeat_interleave(N_STEPS, 1)


class Band(nn.Module):
    """The networks of the five tracks: drums, bass, and one that piano, guitar and strings share."""

    GROUPS = {"drums": (0,), "bass": (1,), "poly": (2, 3, 4)}

    def __init__(self, drums_hidden, bass_hidden, poly_hidden, n_surroundings, dropout, shapes):
        super().__init__()
        sizes = {"drums": drums_hidden, "bass": bass_hidden, "poly": poly_hidden}
        for name, tracks in self.GROUPS.items():
            self.add_module(name, TrackNet(tracks, sizes[name], n_surroundings, dropout, shapes[name]))
        self.harmony = Harmony()
        self.content = Content(self.harmony)
        position = torch.cat([torch.eye(N_STEPS).repeat(WINDOW_BARS, 1),
                              torch.eye(WINDOW_BARS).repeat_interleave(N_STEPS, 0)], -1)
        self.register_buffer("position", position.unsqueeze(0), persistent=False)

    def net_of(self, track):
        """(network, index of the track among those that share it)."""
        name = next(name for name, tracks in self.GROUPS.items() if track in tracks)
        return getattr(self, name), self.GROUPS[name].index(track)

    def places(self, triads):
        """Chord and position of each step of the window: triads (B, 128, 24) -> (B, 128, 2 + 24 + 16 + 8)."""
        _, flags = self.harmony.roots(triads)
        following = F.pad(triads, (0, 0, 0, STEPS_PER_SLOT))[:, STEPS_PER_SLOT:]
        position = self.position + 0 * flags[..., :1]  # in the batch's shape without an Expand, which tract refuses
        return torch.cat([flags, self.harmony.relation(triads, following), position], -1)

    def contents(self, drums, onset, sounding, triads):
        """What is seen of each track: drums (B, 128, 16), onset and sounding four each of (B, 128, 72) -> five (B, 128, f)."""
        degrees = self.harmony.degree_map(self.harmony.roots(triads)[0])
        return [self.content.drums(drums)] + [self.content.pitched(o, s, degrees) for o, s in zip(onset, sounding)]

    @staticmethod
    def features(contents, known, places, tags):
        """What `Surroundings` sees: contents five (B, 128, f), known (B, 128, 5), places (B, 128, p), tags (B, 128, 3 + k) = source
        and target one-hots -> (B, 128, F)."""
        parts = [content * known[..., track:track + 1] for track, content in enumerate(contents)]
        return torch.cat([*parts, known, places, tags], -1)


def uniform_of(noise):
    """Gaussian noise -> uniform, so that a latent is Gaussian and two seeds can be mixed."""
    return (0.5 * (1 + torch.erf(noise / math.sqrt(2)))).clamp(1e-6, 1 - 1e-6)


class BandSampler(nn.Module):
    """The released graph: completes a phrase, five tracks in turn, and gives logits whose greedy decoding is what was drawn.

    Every decision is drawn by the inverse of its cumulative distribution at a number that the noise gives, so that a small change of
    the noise moves to a neighbouring class. Onset cells: a step's notes stand together, as surely as "something begins here" was
    likely; where nothing was drawn, the notes that would have begun lie as far below as that was unlikely, at least `NARROW` either
    way. So more noise or a lower threshold changes the doubtful steps first. How long notes last is never in doubt: sustain cells
    are sure, and a note that the knobs add sounds as long as the chord it joins.

    `temperature` divides the scores of begin, pitch, shape and duration. Pitches and chords less likely than `least` (pitch, chord) times
    the likeliest are never drawn: one note out of the style leads to more of them. The calibration (DESIGN 1.2) is added to scores: `begin`
    (5, 16) to the log-odds that something begins on a step of the bar, `duration` (5, 10) to the classes of durations, `single` (5,)
    to the shape without further notes; without it sharper draws favour strong steps, frequent lengths and single notes.
    """

    def __init__(self, band, temperature=(1.0,) * 4, least=(0.0, 0.0), begin=None, duration=None, single=None, source=0):
        super().__init__()
        self.band = band
        self.temperature, self.least, self.source = tuple(temperature), tuple(least), source
        zeros = {"begin": torch.zeros(N_TRACKS, N_STEPS), "duration": torch.zeros(N_TRACKS, len(DURATIONS)), "single": torch.zeros(N_TRACKS)}
        for name, value in {"begin": begin, "duration": duration, "single": single}.items():
            value = zeros[name] if value is None else torch.as_tensor(value, dtype=torch.float32)
            self.register_buffer(f"{name}_bias", value, persistent=False)
        classes = torch.zeros(N_DRUM_CELLS, N_DRUMS)
        for cell in range(N_DRUM_CELLS):
            nearest = min(range(N_DRUMS), key=lambda i: (abs(DRUM_PITCHES[i] - DRUM_LOWEST - cell), i))
            classes[cell, nearest] = 1
        cells = torch.zeros(N_DRUMS, N_DRUM_CELLS)
        for idx, pitch in enumerate(DRUM_PITCHES):
            cells[idx, pitch - DRUM_LOWEST] = 1
        self.register_buffer("drum_classes", classes, persistent=False)
        self.register_buffer("drum_cells", cells, persistent=False)
        self.register_buffer("up_to", torch.tril(torch.ones(N_WINDOW, N_WINDOW)), persistent=False)
        self.register_buffer("all_steps", torch.arange(N_PHRASE), persistent=False)
        self.register_buffer("lag_rows", torch.tensor([N_CONTEXT - 1] + [N_CONTEXT - lag for lag in LAGS]), persistent=False)
        self.register_buffer("ahead_rows", torch.tensor([N_CONTEXT - lag + ahead for lag in LAGS for ahead in range(1, N_AHEAD + 1)]),
                             persistent=False)

    @staticmethod
    def draw(scores, uniform, temperature, least=0.0):
        """One-hot draw (N, n) at `uniform` (N, 1), of the classes that are at least `least` times as likely as the likeliest."""
        n = scores.shape[-1]
        scores = scores / temperature
        if least:
            scores = torch.where(scores >= scores.amax(-1, keepdim=True) + math.log(least), scores, torch.full((), -1e9))
        p = torch.softmax(scores, -1)
        if n <= 4 * N_BLOCK:
            sums = p @ torch.triu(torch.ones(n, n))
        else:
            # In two levels: one product with a 512 x 512 triangle would cost more than all the rest of the step.
            blocks = F.pad(p, (0, -n % N_BLOCK)).reshape(len(p), -1, N_BLOCK) @ torch.triu(torch.ones(N_BLOCK, N_BLOCK))
            n_blocks = blocks.shape[1]
            before = torch.tril(torch.ones(n_blocks, n_blocks), -1) @ blocks[..., -1:]
            sums = (blocks + before).flatten(1)[:, :n]
        # The last class is always reached, whatever the rounding.
        end = F.pad(torch.zeros(1, n - 1), (0, 1), value=2.0)
        reached = (sums + end > uniform).float()
        return reached - F.pad(reached, (1, 0))[:, :n]

    def step(self, track, hidden, history, left, follow, reference, gates, degrees, uniform, missing, packed):
        """One step of a track.

        States: hidden (B, H); history (B, 64, n_own + n) of the last 64 steps; left (B, n) steps that notes still last; follow (B, 9
        or 6); reference (B, n) the last lowest note. Inputs: gates (B, 3H), degrees (B, 12, 12), uniform (B, 6) =
        five uniforms and the bias on the log-odds that something begins, missing (B, 1), packed
        (B, 3n) = what is given, 0 where missing: onsets, what sounds, what sounds without beginning. Returns the states and y (B, 3n)
        = onsets, what sounds, and the log-odds of the notes that were or might have been drawn, 0 for all others.
        """
        net = self.band.net_of(track)[0]
        n, pitched = net.n_values, net.pitched
        given_onset, given_sounding, given_still = packed.split(n, -1)
        lasting = (left > 0.5).float()
        rows = history[:, self.lag_rows]  # (B, 4, n_own + n): the last step, then the lags
        own_rows = rows[..., :net.n_own]
        ahead = net.rhythm_of(history[:, self.ahead_rows, :net.n_own])
        inputs = [own_rows[:, 0]]
        if pitched:
            inputs.append(net.harmony.degrees(given_still + missing * lasting, degrees).clamp(max=1))
        inputs += [own_rows[:, 1:].flatten(1), ahead.flatten(1), follow]
        # The exporter drops an input that nothing reads, and drums do not read these.
        unread = 0 if pitched else 0 * degrees[:, 0, :1] + 0 * (given_sounding + given_still)[:, :1] + 0 * reference[:, :1]
        hidden = net.cell(gates + net.own(torch.cat(inputs, -1)) + unread, hidden)
        heads = net.decide(hidden)
        lags = rows[:, 1:]
        lag_onsets = lags[..., net.n_own:]
        lag_any = lags[..., 24 if pitched else net.n_own - 1]
        t_begin, t_pitch, t_shape, t_duration = self.temperature
        u_begin, u_low, u_shape, u_first, u_others, bias = uniform.split(1, -1)

        odds = (net.begin_scores(heads, lag_any) + bias) / t_begin
        begins = missing * (torch.sigmoid(odds) > u_begin).float()
        lasts = None
        if pitched:
            lag_degrees = lags[..., :12]
            scores = (net.pitch_scores(heads, "low", self.lowest(lag_onsets), lag_degrees, degrees)
                      + net.interval_scores(heads, reference, gathered=False))
            low = self.draw(scores, u_low, t_pitch, self.least[0])
            notes = low
            first = self.draw(heads["duration"] + self.duration_bias[track:track + 1], u_first, t_duration)
            lasts = low * (first @ net.steps)
            if not net.mono:
                members = net.rises(net.pitch_scores(heads, "high", lag_onsets, lag_degrees, degrees), low, gathered=False) + heads["rise"]
                alone = (net.shapes.sum(-1) == 0).float() * self.single_bias[track]
                shape = self.draw(net.shape_scores(heads, members) + alone, u_shape, t_shape, self.least[1]) @ net.shapes
                above = (low.unsqueeze(1) @ F.pad(shape, (0, 1))[:, net.rise_idx].reshape(-1, N_PITCHES, N_PITCHES)).squeeze(1)
                notes = low + above
                others = heads["others"] + net.others_after(first) + self.duration_bias[track:track + 1]
                others = self.draw(others, u_others, t_duration)
                lasts = lasts + above * (others @ net.steps)
        else:
            notes = self.draw(net.shape_scores(heads, net.drum_scores(heads, lag_onsets)), u_shape, t_shape) @ net.shapes
            lasts = notes

        chosen = begins * notes
        onset = given_onset + chosen
        any_onset = onset.sum(-1, keepdim=True).clamp(max=1)
        if net.mono:
            lasting = lasting * (1 - begins)
        kept = missing * lasting * (1 - chosen)
        sounding = given_sounding + chosen + kept
        own = net.own_content(onset, sounding, degrees)
        row = torch.cat([own, onset], -1).unsqueeze(1)
        differs = ((row - lags).abs() @ net.compare).clamp(max=1)
        follow = FOLLOW_DECAY * follow + (1 - FOLLOW_DECAY) * (1 - differs.flatten(1))
        if pitched:
            reference = self.lowest(onset) + (1 - any_onset) * reference
        left = (chosen * lasts + kept * left - 1).clamp(min=0)
        history = torch.cat([history[:, 1:], row], 1)
        # Sure by the sign of what was drawn: where chance went against the odds, only just.
        doubt = torch.where(begins > 0.5, odds.clamp(NARROW, SURE), odds.clamp(NEVER, -NARROW))
        return hidden, history, left, follow, reference, torch.cat([onset, sounding, notes * doubt], -1)

    @staticmethod
    def lowest(onset):
        """`lowest_of` in operations that every runtime has."""
        n = onset.shape[-1]
        return onset * (onset @ torch.triu(torch.ones(n, n), 1) < 0.5).float()

    def forward(self, noise, chords, given, known):
        """noise (B, 5, 4, 16, 5), chords (B, 16, 24), given (B, 8, 16, 541), known (B, 5, 8) -> logits (B, 4, 16, 541)."""
        band, harmony = self.band, self.band.harmony
        triads = steps_of_slots(chords)
        roots, _ = harmony.roots(triads)
        seen = steps_of_bars(known)  # (B, 128, 5)
        cells = given.reshape(-1, N_WINDOW, sum(N_CELLS))
        parts = [part * seen[..., track:track + 1] for track, part in enumerate(cells.split(N_CELLS, -1))]
        drums = (parts[DRUMS] @ self.drum_classes).clamp(max=1)
        onset, sounding = [parts[BASS][..., :N_PITCHES]], [self.bass_sounding(parts[BASS])]
        for part in parts[BASS + 1:]:
            onset.append(part[..., :N_PITCHES])
            sounding.append((part[..., :N_PITCHES] + part[..., N_PITCHES:]).clamp(max=1))
        # A note of the bars before does not reach into the phrase: its length is not known there.
        places = band.places(triads)
        contents = band.contents(drums, onset, sounding, triads)
        phrase = slice(N_CONTEXT, None)
        uniform = uniform_of(noise)
        degrees = harmony.degree_map(roots[:, phrase])
        out = []
        for track in range(N_TRACKS):
            net, target = band.net_of(track)
            n = net.n_values
            tags = torch.zeros(1, N_WINDOW, len(SOURCES) + len(net.targets))
            tags[..., self.source] = 1
            tags[..., len(SOURCES) + target] = 1
            around = net.around(band.features(contents, seen, places, tags + 0 * seen[..., :1]))
            mine = (drums, drums) if track == DRUMS else (onset[track - 1], sounding[track - 1])
            history = torch.cat([contents[track], mine[0]], -1)[:, :N_CONTEXT]
            zeros = 0 * mine[0][:, 0]
            states = (torch.tanh(net.start(around[:, 0])), history, zeros, 0.5 + 0 * history[:, 0, :net.n_kinds * len(LAGS)],
                      self.last_lowest(mine[0][:, :N_CONTEXT]))
            missing = 1 - seen[:, phrase, track:track + 1]
            given_onset, given_sounding = mine[0][:, phrase], mine[1][:, phrase]
            packed = torch.cat([given_onset, given_sounding, given_sounding * (1 - given_onset)], -1)
            bias = self.begin_bias[track].repeat(PHRASE_BARS).reshape(1, N_PHRASE, 1) + 0 * missing
            chance = torch.cat([uniform[:, track].reshape(-1, N_PHRASE, N_NOISE), bias], -1)
            inputs = (net.gates(around), degrees, chance, missing, packed)
            y = over_steps(self, f"step_of_{track}", states, inputs)
            # Gathers, not slices: tract tries to push a slice up through the Scan and takes 40 s to find that it cannot.
            y = y[:, self.all_steps]
            new_onset, new_sounding, doubts = (y[..., torch.arange(part * n, part * n + n)] for part in range(3))
            out.append(self.cells_of(track, new_onset, new_sounding, doubts, missing))
            new = (band.content.drums(new_onset) if track == DRUMS else band.content.pitched(new_onset, new_sounding, degrees))
            contents[track] = torch.cat([contents[track][:, :N_CONTEXT], new], 1)
            seen = torch.cat([seen[:, :N_CONTEXT], torch.cat([seen[:, phrase, :track], 1 + 0 * missing, seen[:, phrase, track + 1:]], -1)], 1)
        return torch.cat(out, -1).reshape(-1, PHRASE_BARS, N_STEPS, sum(N_CELLS))

    def bass_sounding(self, part):
        """What sounds of a one-of-n track: (B, 128, 74) -> (B, 128, 72); a hold goes on with the last onset."""
        onset, rest = part[..., :N_PITCHES], part[..., N_PITCHES:N_PITCHES + 1]
        hold = part[..., N_PITCHES + 1:]
        any_onset = onset.sum(-1, keepdim=True)
        so_far = self.up_to @ any_onset
        latest = (so_far == so_far.transpose(1, 2)).float() * self.up_to * any_onset.transpose(1, 2)
        return onset + hold * (latest @ onset) + 0 * rest

    def last_lowest(self, onset):
        """The lowest onset of the last step that has one: (B, 64, n) -> (B, n)."""
        lowest = self.lowest(onset)
        has = onset.sum(-1, keepdim=True).clamp(max=1)
        after = torch.triu(torch.ones(N_CONTEXT, N_CONTEXT), 1) @ has  # onsets on later steps
        return (lowest * (after < 0.5).float()).sum(1)

    def cells_of(self, track, onset, sounding, doubts, missing):
        """Output cells of a track: onset, sounding, doubts (B, 64, n), missing (B, 64, 1) -> (B, 64, N_CELLS[track])."""
        possible = (doubts.abs() > 0.5 * NARROW).float() * missing
        logits = possible * doubts + (1 - possible) * (onset * (SURE - NEVER) + NEVER)
        if track == DRUMS:
            return (logits - NEVER) @ self.drum_cells + NEVER
        before = F.pad(sounding, (0, 0, 1, 0))[:, :-1]
        held = (sounding * (1 - onset)).sum(-1, keepdim=True).clamp(max=1)
        if track == BASS:
            any_onset = onset.sum(-1, keepdim=True)
            # What sounds if no note begins, at 0; the other of rest and hold never. A drawn note lies above that as far as it is sure.
            goes_on = (before.sum(-1, keepdim=True) * any_onset + held).clamp(max=1)
            return torch.cat([logits, goes_on * NEVER, (1 - goes_on) * NEVER], -1)
        # A pitch that nothing drew is held as long as anything is, so that a note which the knobs add is no fragment; one that sounded
        # before ends where it was drawn to end.
        sustain = (sounding + held * (1 - before)).clamp(max=1)
        return torch.cat([logits, sustain * (SURE - NEVER) + NEVER], -1)


def steps_of_slots(chords):
    """(B, 16, 24) per half bar -> (B, 128, 24) per step."""
    return chords.repeat_interleave(STEPS_PER_SLOT, 1)


for _track in range(N_TRACKS):
    setattr(BandSampler, f"step_of_{_track}", lambda self, *tensors, track=_track: self.step(track, *tensors))
