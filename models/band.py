"""The band: one operation that completes whatever is missing of a phrase for five tracks.

A window is 8 bars: 4 of context, 4 of the phrase. Given any known tracks and bars of it and a chord per half bar, `TrackNet` writes
one track's missing steps, one after another: the notes that begin (lowest first), then how long each lasts. `BandSampler` does so
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
N_SLOTS = (4, 1, 5, 5, 5)  # most notes that begin on one step, per track
N_NOISE = 2 * max(N_SLOTS)  # numbers per step: a uniform for each note, and for each duration
FOLLOW_DECAY = 0.75
N_INTERVALS = 2 * N_PITCHES - 1
N_RISES = 36  # largest interval between two neighbouring notes of a chord that has a score of its own
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
        begins = self.harmony.degrees(onset, degrees).clamp(max=1)
        sounds = self.harmony.degrees(sounding, degrees).clamp(max=1)
        n = onset.sum(-1, keepdim=True)
        any_onset = n.clamp(max=1)
        held = sounding.sum(-1, keepdim=True).clamp(max=1) * (1 - any_onset)
        heights = onset * self.harmony.heights
        highest = heights.amax(-1, keepdim=True)
        lowest = any_onset * (1 - (onset * (1 - self.harmony.heights)).amax(-1, keepdim=True))
        return torch.cat([begins, sounds, any_onset, held, n / 4, lowest, highest], -1)

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

    Per step: a GRU reads the surroundings, its own last step, what still sounds, itself one, two and four bars ago with the
    rhythm that followed there, and how well it has followed each so far. Notes are drawn lowest first until none is; scores are
    sums of absolute pitch, degree of the chord, interval from the last lowest note, and gates that copy from the lags.
    """

    def __init__(self, targets, n_hidden, n_surroundings, dropout):
        super().__init__()
        self.targets = tuple(targets)
        self.pitched = is_pitched(self.targets[0])
        self.n_slots = N_SLOTS[self.targets[0]]
        self.n_values = N_PITCHES if self.pitched else N_DRUMS
        self.n_own = Content.N_PITCHED if self.pitched else Content.N_DRUMS
        self.harmony = Harmony()
        self.content = Content(self.harmony)
        self.around = Surroundings(n_surroundings, len(self.targets), dropout)
        n_lag = self.n_own + 2 * N_AHEAD
        n_input = self.n_own + (12 if self.pitched else 0) + len(LAGS) * n_lag + 2 * len(LAGS)
        self.gates = nn.Linear(n_surroundings, 3 * n_hidden)
        self.own = nn.Linear(n_input, 3 * n_hidden, bias=False)
        self.start = nn.Linear(n_surroundings, n_hidden)
        self.cell = GruCell(n_hidden)
        self.dropout = nn.Dropout(dropout)
        n, lags = self.n_values, len(LAGS)
        self.first = nn.Linear(n_hidden, n + 1)
        self.first_lag = nn.Linear(n_hidden, 2 * lags)  # copy the onsets of a lag, or its silence
        if self.pitched:
            self.first_degree = nn.Linear(n_hidden, 12 + lags)  # degrees, and copying a lag's degrees
            self.first_interval = nn.Linear(n_hidden, N_INTERVALS)
            self.duration = nn.Linear(n_hidden, len(DURATIONS))
            self.duration_next = nn.Linear(len(DURATIONS) + 1, len(DURATIONS), bias=False)
            self.duration_degree = nn.Linear(12, len(DURATIONS), bias=False)
        if self.n_slots > 1:
            self.later = nn.Linear(n_hidden, n + 1)
            self.later_lag = nn.Linear(n_hidden, 2 * lags)
            self.later_hidden = nn.Linear(n_hidden, 64)
            self.later_chosen = nn.Linear((12 if self.pitched else n) + self.n_slots, 64, bias=False)
            if self.pitched:
                self.later_degree = nn.Linear(n_hidden, 12 + lags)
                self.later_rise = nn.Linear(n_hidden, N_RISES)
                self.later_out = nn.Linear(64, 12 + 1)
            else:
                self.later_out = nn.Linear(64, n + 1)
        idx = torch.arange(n)
        self.register_buffer("above", (idx[None] > idx[:, None]).float(), persistent=False)  # [last, candidate]
        self.register_buffer("interval_idx", (idx[None] - idx[:, None] + N_PITCHES - 1).reshape(-1), persistent=False)
        self.register_buffer("rise_idx", (idx[None] - idx[:, None]).clamp(0, N_RISES).reshape(-1), persistent=False)
        self.register_buffer("steps", torch.tensor(DURATIONS).float(), persistent=False)

    # Features -----------------------------------------------------------------------------------------------------

    def own_content(self, onset, sounding, degrees):
        """The features of this track itself at steps, as in `Content`."""
        return self.content.pitched(onset, sounding, degrees) if self.pitched else self.content.drums(onset)

    def rhythm_of(self, own):
        """(..., n_own) -> (..., 2): any onset, held."""
        if self.pitched:
            return own[..., 24:26]
        return torch.cat([own[..., -1:], torch.zeros_like(own[..., -1:])], -1)

    # Heads ----------------------------------------------------------------------------------------------------------

    def copied(self, head, hidden, lag_onsets):
        """Scores (N, n + 1) that copy the onsets of the lags, or their silence; lag_onsets (N, 3, n)."""
        weights = head(hidden)
        onset_weight, none_weight = weights[:, :len(LAGS)], weights[:, len(LAGS):]
        silent = 1 - lag_onsets.sum(-1).clamp(max=1)
        copied = (onset_weight.unsqueeze(1) @ lag_onsets).squeeze(1)
        return torch.cat([copied, (none_weight * silent).sum(-1, keepdim=True)], -1)

    def by_degree(self, head, hidden, lag_degrees, degrees):
        """Scores (N, 72) by degree of the chord, with copies of the lags' degrees; lag_degrees (N, 3, 12)."""
        out = head(hidden)
        score = out[:, :12] + (out[:, 12:].unsqueeze(1) @ lag_degrees).squeeze(1)
        return self.harmony.pitches(score, degrees)

    def first_scores(self, hidden, lag_onsets, lag_degrees, degrees, reference, gathered):
        """Scores of the first note (N, n + 1), the last for none; `reference` (N, 72) the last lowest note."""
        scores = self.first(hidden) + self.copied(self.first_lag, hidden, lag_onsets)
        if not self.pitched:
            return scores
        pitches = self.by_degree(self.first_degree, hidden, lag_degrees, degrees)
        table = self.first_interval(hidden)
        if gathered:
            start = reference.argmax(-1, keepdim=True)
            idx = torch.arange(N_PITCHES) - start + N_PITCHES - 1
            pitches = pitches + table.gather(-1, idx) * reference.sum(-1, keepdim=True)
        else:
            placed = table[:, self.interval_idx].reshape(-1, N_PITCHES, N_PITCHES)
            pitches = pitches + (reference.unsqueeze(1) @ placed).squeeze(1)
        return scores + F.pad(pitches, (0, 1))

    def later_base(self, hidden, lag_onsets, lag_degrees, degrees):
        """What the scores of all later notes of a step share: (N, n + 1)."""
        scores = self.later(hidden) + self.copied(self.later_lag, hidden, lag_onsets)
        if not self.pitched:
            return scores
        return scores + F.pad(self.by_degree(self.later_degree, hidden, lag_degrees, degrees), (0, 1))

    def later_scores(self, base, seen, chosen, last, order, degrees, rise):
        """Scores of the next note above `last`: base (N, n + 1), seen (N, 64), chosen and last (N, n), order (N, n_slots) one-hot,
        rise (N, n, n) or a function of `last`.
        """
        said = self.harmony.degrees(chosen, degrees).clamp(max=1) if self.pitched else chosen
        u = torch.relu(seen + self.later_chosen(torch.cat([said, order], -1)))
        out = self.later_out(u)
        if self.pitched:
            pitches = self.harmony.pitches(out[:, :12], degrees) + rise(last)
            out = torch.cat([pitches, out[:, 12:]], -1)
        not_above = 1 - last @ self.above
        return base + out + F.pad(not_above, (0, 1)) * -40.0

    def duration_scores(self, hidden, before, chosen_one, degrees):
        """Scores of a note's duration (N, 10): `before` (N, 10) the duration of the note below it, 0 for the lowest."""
        later = before.sum(-1, keepdim=True)
        degree = self.harmony.degrees(chosen_one, degrees)
        return self.duration(hidden) + self.duration_next(torch.cat([before, later], -1)) + self.duration_degree(degree)

    # Teacher forcing ------------------------------------------------------------------------------------------------

    def log_prob(self, features, onset, sounding, duration, triads):
        """Log-likelihood of each step of the phrase: (B, 64).

        features (B, 128, F) of `window_features`; onset, sounding (B, 128, n) of this track, true everywhere (zeros where there is
        no context); duration (B, 64, n) class of each onset of the phrase; triads (B, 128, 24).
        """
        n_batch = len(onset)
        roots, _ = self.harmony.roots(triads)
        degrees = self.harmony.degree_map(roots) if self.pitched else None
        own = self.own_content(onset, sounding, degrees)  # (B, 128, n_own)
        around = self.around(features)  # (B, 64, S)
        phrase = slice(N_CONTEXT, None)
        inputs = [own[:, N_CONTEXT - 1:-1]]
        here = degrees[:, phrase].flatten(0, 1) if self.pitched else None
        if self.pitched:
            still = (sounding * (1 - onset))[:, phrase].flatten(0, 1)
            inputs.append(self.harmony.degrees(still, here).clamp(max=1).reshape(n_batch, N_PHRASE, 12))
        rhythm = self.rhythm_of(own)
        follow, lag_onsets, lag_degrees = [], [], []
        any_onset = rhythm[..., :1]
        for lag in LAGS:
            at = slice(N_CONTEXT - lag, N_WINDOW - lag)
            inputs.append(own[:, at])
            lag_onsets.append(onset[:, at])
            lag_degrees.append(own[:, at, :12])
            for ahead in range(1, N_AHEAD + 1):
                inputs.append(rhythm[:, N_CONTEXT - lag + ahead:N_WINDOW - lag + ahead])
            same = 1 - (onset[:, phrase] - onset[:, at]).abs().sum(-1, keepdim=True).clamp(max=1)
            same_rhythm = 1 - (any_onset[:, phrase] - any_onset[:, at]).abs()
            follow.append(torch.cat([same, same_rhythm], -1))
        inputs.append(followed(torch.cat(follow, -1)))
        gates = self.gates(around) + self.own(torch.cat(inputs, -1))
        hidden = torch.tanh(self.start(around[:, 0]))
        out = []
        for gates_t in gates.unbind(1):
            hidden = self.cell(gates_t, hidden)
            out.append(hidden)
        hidden = self.dropout(torch.stack(out, 1)).flatten(0, 1)  # (N, H)
        lag_onsets = torch.stack(lag_onsets, 2).flatten(0, 1)
        lag_degrees = torch.stack(lag_degrees, 2).flatten(0, 1)
        truth = onset[:, phrase].flatten(0, 1)  # (N, n)
        reference = lowest_before(onset).flatten(0, 1) if self.pitched else None
        scores = self.first_scores(hidden, lag_onsets, lag_degrees, here, reference, gathered=True)
        rank = truth.cumsum(-1) * truth  # 1 for the lowest onset, 2 for the next
        n_onsets = truth.sum(-1)
        durations = duration.flatten(0, 1) if self.pitched else None
        total = 0
        before = None
        # Later notes matter only on steps with onsets, a fraction of all: computed there alone.
        for slot in range(self.n_slots):
            if slot == 0:
                rows, base = None, None
            else:
                rows = torch.nonzero(n_onsets >= slot).squeeze(-1)
                if not len(rows):
                    break
                some = hidden[rows]
                here_rows = here[rows] if self.pitched else None
                base = self.later_base(some, lag_onsets[rows], lag_degrees[rows], here_rows)
                chosen = truth[rows] * (rank[rows] <= slot)
                last = (rank[rows] == slot).float()
                order = F.one_hot(torch.full((len(rows),), slot), self.n_slots).float()
                rise = None
                if self.pitched:
                    table = F.pad(self.later_rise(some), (1, 0))

                    def rise(at, table=table):
                        return table.gather(-1, (torch.arange(N_PITCHES) - at.argmax(-1, keepdim=True)).clamp(0, N_RISES))

                scores = self.later_scores(base, self.later_hidden(some), chosen, last, order, here_rows, rise)
            pick = (rank if rows is None else rank[rows]) == slot + 1
            any_pick = pick.any(-1)
            target = torch.where(any_pick, pick.float().argmax(-1), self.n_values)
            lp = torch.log_softmax(scores.float(), -1).gather(-1, target.unsqueeze(-1)).squeeze(-1)
            if self.pitched:
                at = torch.nonzero(any_pick).squeeze(-1)
                where_at = at if rows is None else rows[at]
                one = pick[at].float()
                if slot == 0:
                    below = torch.zeros(len(at), len(DURATIONS))
                else:
                    idx = (durations[where_at] * (rank[where_at] == slot)).sum(-1)
                    below = F.one_hot(idx, len(DURATIONS)).float()
                own_class = (durations[where_at] * pick[at]).sum(-1)
                d_scores = self.duration_scores(hidden[where_at], below, one, here[where_at])
                d_lp = torch.log_softmax(d_scores.float(), -1).gather(-1, own_class.unsqueeze(-1)).squeeze(-1)
                lp = lp.index_add(0, at, d_lp)
            total = lp if rows is None else total.index_add(0, rows, lp)
        return total.reshape(n_batch, N_PHRASE)


def followed(same):
    """Exponentially decayed share of steps that agreed with a lag, before each step: (B, 64, k) -> (B, 64, k); 0.5 at the start."""
    n = same.shape[1]
    age = torch.arange(n)[:, None] - torch.arange(n)[None] - 1
    kernel = torch.where(age >= 0, (1 - FOLLOW_DECAY) * FOLLOW_DECAY ** age.clamp(min=0), torch.zeros(()))
    start = 0.5 * FOLLOW_DECAY ** torch.arange(n).float()
    return kernel @ same + start[:, None]


def lowest_before(onset):
    """The lowest onset of the last step with one before each step of the phrase: (B, 128, 72) -> (B, 64, 72) one-hot or 0."""
    lowest = onset * (onset.cumsum(-1) == 1)
    has = onset.sum(-1) > 0  # (B, 128)
    at = torch.where(has, torch.arange(N_WINDOW), -1).cummax(1).values  # last step with an onset, up to and with this one
    before = at[:, N_CONTEXT - 1:-1]
    found = lowest.gather(1, before.clamp(min=0).unsqueeze(-1).expand(-1, -1, N_PITCHES))
    return found * (before >= 0).unsqueeze(-1)


def duration_class(steps):
    """Durations in steps -> the index of the nearest class (on a logarithmic scale); 0 for no note."""
    table = torch.tensor([min(range(len(DURATIONS)), key=lambda i: abs(math.log(DURATIONS[i] / max(d, 1)))) for d in range(65)])
    return table[steps.long().clamp(max=64)]


def steps_of_bars(x):
    """(B, k, bars) -> (B, 16 x bars, k)."""
    return x.transpose(1, 2).repeat_interleave(N_STEPS, 1)


class Band(nn.Module):
    """The networks of the five tracks: drums, bass, and one that piano, guitar and strings share."""

    GROUPS = {"drums": (0,), "bass": (1,), "poly": (2, 3, 4)}

    def __init__(self, drums_hidden, bass_hidden, poly_hidden, n_surroundings, dropout):
        super().__init__()
        sizes = {"drums": drums_hidden, "bass": bass_hidden, "poly": poly_hidden}
        for name, tracks in self.GROUPS.items():
            self.add_module(name, TrackNet(tracks, sizes[name], n_surroundings, dropout))
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


def drawn(scores, uniform, temperature, floor):
    """One-hot draw (N, n) by the inverse of the cumulative distribution at `uniform` (N, 1), and the distribution.

    Classes less likely than `floor` times the likeliest never come. A small change of the uniform moves to a neighbouring class,
    which is what makes a morph between two seeds gradual.
    """
    p = torch.softmax(scores / temperature, -1)
    p = p * (p >= floor * p.amax(-1, keepdim=True)).float()
    p = p / p.sum(-1, keepdim=True)
    n = p.shape[-1]
    cumulative = p @ torch.triu(torch.ones(n, n))
    reached = torch.cat([(cumulative[..., :-1] > uniform).float(), torch.ones_like(uniform)], -1)
    return reached - F.pad(reached, (1, 0))[..., :-1], p


class BandSampler(nn.Module):
    """The released graph: completes a phrase, five tracks in turn, and gives logits whose greedy decoding is what was drawn.

    Onset cells: how surely a note was drawn (its log-odds), or by how much "no further note" was likelier than it, at least `NARROW`
    either way; so more noise or a lower threshold changes the doubtful notes first. How long notes last is never in doubt: sustain
    cells are sure, and a note that the knobs add sounds as long as the chord it joins.

    `none_bias` per track is added to the score of "no note": the calibration of density (DESIGN 1.2).
    """

    def __init__(self, band, temperature=(1.0,) * N_TRACKS, floor=0.0, none_bias=(0.0,) * N_TRACKS, source=0):
        super().__init__()
        self.band = band
        self.temperature, self.floor, self.none_bias, self.source = tuple(temperature), floor, tuple(none_bias), source
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

    def step(self, track, hidden, history, left, owned, follow, reference, gates, roots, noise, known, given_onset, given_sounding):
        """One step of a track.

        States: hidden (B, H); history (B, 64, n_own + n) of the last 64 steps; left (B, n) steps that notes still last; owned (B, n)
        pitches whose note is not to be prolonged by others; follow (B, 6); reference (B, n) the last lowest note. Inputs: gates
        (B, 3H), roots (B, 12), noise (B, 10), known (B, 1), given_onset, given_sounding (B, n). Returns the states and y (B, 3n + 2)
        = onsets, what sounds, logits of the onset cells (then rest and hold of bass), sustain.
        """
        net = self.band.net_of(track)[0]
        n, pitched = net.n_values, net.pitched
        missing = 1 - known
        degrees = net.harmony.degree_map(roots) if pitched else None
        lasting = (left > 0.5).float()
        inputs = [history[:, -1, :net.n_own]]
        if pitched:
            still = known * given_sounding * (1 - given_onset) + missing * lasting
            inputs.append(net.harmony.degrees(still, degrees).clamp(max=1))
        for lag in LAGS:
            inputs.append(history[:, N_CONTEXT - lag, :net.n_own])
            ahead = history[:, N_CONTEXT - lag + 1:N_CONTEXT - lag + N_AHEAD + 1, :net.n_own]
            inputs.append(net.rhythm_of(ahead).reshape(-1, 2 * N_AHEAD))
        inputs.append(follow)
        hidden = net.cell(gates + net.own(torch.cat(inputs, -1)), hidden)
        lags = torch.stack([history[:, N_CONTEXT - lag] for lag in LAGS], 1)
        lag_onsets, lag_degrees = lags[..., net.n_own:], lags[..., :12]
        bias = F.pad(torch.zeros(1, n), (0, 1), value=self.none_bias[track])
        uniform = (0.5 * (1 + torch.erf(noise / math.sqrt(2)))).clamp(1e-6, 1 - 1e-6)

        chosen = torch.zeros_like(left)
        lasts = torch.zeros_like(left)
        sure = torch.zeros_like(left)
        almost = torch.zeros_like(left)
        ended = torch.zeros_like(known)
        going = torch.ones_like(known)
        below, last = None, None
        for slot in range(net.n_slots):
            if slot == 0:
                scores = net.first_scores(hidden, lag_onsets, lag_degrees, degrees, reference, gathered=False)
            else:
                if slot == 1:
                    base = net.later_base(hidden, lag_onsets, lag_degrees, degrees)
                    seen = net.later_hidden(hidden)
                    if pitched:
                        risen = F.pad(net.later_rise(hidden), (1, 0))[:, net.rise_idx].reshape(-1, n, n)
                order = torch.eye(net.n_slots)[slot:slot + 1] + 0 * known
                rise = (lambda at: (at.unsqueeze(1) @ risen).squeeze(1)) if pitched else None
                scores = net.later_scores(base, seen, chosen, last, order, degrees, rise)
            one, p = drawn(scores + bias, uniform[:, 2 * slot:2 * slot + 1], self.temperature[track], self.floor)
            log_p = torch.log(p + 1e-7)
            # The row of a note that was not needed any more chooses nothing.
            pick = one[:, :n] * going
            odds = (one * (log_p - torch.log(1 - p + 1e-7))).sum(-1, keepdim=True).clamp(NARROW, SURE)
            stop = going * one[:, n:]
            almost = almost + stop * (log_p[:, :n] - log_p[:, n:])
            ended = ended + stop
            sure = sure + pick * odds
            if pitched:
                before = torch.zeros(1, len(DURATIONS)) + 0 * known if below is None else below
                d_scores = net.duration_scores(hidden, before, pick, degrees)
                below, _ = drawn(d_scores, uniform[:, 2 * slot + 1:2 * slot + 2], 1.0, self.floor)
                lasts = lasts + pick * (below * net.steps).sum(-1, keepdim=True)
            chosen, last = chosen + pick, pick
            going = going - stop

        onset = known * given_onset + missing * chosen
        any_onset = onset.sum(-1, keepdim=True).clamp(max=1)
        if net.n_slots == 1:
            lasting = lasting * (1 - missing * any_onset)
        kept = lasting * (1 - chosen)
        sounding = known * given_sounding + missing * (chosen + kept)
        own = net.own_content(onset, sounding, degrees)
        lag_any = torch.stack([net.rhythm_of(history[:, N_CONTEXT - lag, :net.n_own])[:, :1] for lag in LAGS], 1)
        same = 1 - (onset.unsqueeze(1) - lag_onsets).abs().sum(-1, keepdim=True).clamp(max=1)
        same_rhythm = 1 - (any_onset.unsqueeze(1) - lag_any).abs()
        follow = FOLLOW_DECAY * follow + (1 - FOLLOW_DECAY) * torch.cat([same, same_rhythm], -1).reshape(-1, 2 * len(LAGS))
        lowest = onset * (onset @ net.above < 0.5).float()
        reference = lowest + (1 - any_onset) * reference
        owned = any_onset * (onset + kept).clamp(max=1) + (1 - any_onset) * owned
        left = missing * ((chosen * lasts + kept * left - 1).clamp(min=0))
        history = torch.cat([history[:, 1:], torch.cat([own, onset], -1).unsqueeze(1)], 1)

        doubt = missing * (ended * almost.clamp(NEVER, -NARROW) + (1 - ended) * NEVER) + known * NEVER
        logits = onset * (missing * sure + known * SURE) + (1 - onset) * doubt
        held = (sounding * (1 - onset)).sum(-1, keepdim=True).clamp(max=1)
        sustain = (sounding + held * (1 - owned)).clamp(max=1)
        return hidden, history, left, owned, follow, reference, torch.cat([onset, sounding, logits, sustain], -1)

    def forward(self, noise, chords, given, known):
        """noise (B, 5, 4, 16, 10), chords (B, 16, 24), given (B, 8, 16, 541), known (B, 5, 8) -> logits (B, 4, 16, 541)."""
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
            reference = self.last_lowest(mine[0][:, :N_CONTEXT], net)
            states = (torch.tanh(net.start(around[:, 0])), history, zeros, zeros, 0.5 + 0 * history[:, 0, :2 * len(LAGS)], reference)
            is_known = seen[:, phrase, track:track + 1]
            # The last input's shape is the output's.
            shape_of_y = torch.cat([0 * mine[0][:, phrase]] * 2 + [mine[0][:, phrase], mine[1][:, phrase]], -1)
            inputs = (net.gates(around), roots[:, phrase], noise[:, track].reshape(-1, N_PHRASE, N_NOISE), is_known, shape_of_y)
            y = over_steps(self, f"step_of_{track}", states, inputs)
            new_onset, new_sounding, logits, sustain = y.split(n, -1)
            out.append(self.cells_of(track, new_onset, new_sounding, logits, sustain))
            degrees = harmony.degree_map(roots[:, phrase])
            new = (band.content.drums(new_onset) if track == DRUMS else band.content.pitched(new_onset, new_sounding, degrees))
            contents[track] = torch.cat([contents[track][:, :N_CONTEXT], new], 1)
            seen = torch.cat([seen[:, :N_CONTEXT], torch.cat([seen[:, phrase, :track], 1 + 0 * is_known, seen[:, phrase, track + 1:]], -1)], 1)
        return torch.cat(out, -1).reshape(-1, PHRASE_BARS, N_STEPS, sum(N_CELLS))

    def step_of(self, track, *tensors):
        """`step` with the given onsets and what sounds taken out of one input, whose shape is the output's."""
        *rest, packed = tensors
        n = packed.shape[-1] // 4
        return self.step(track, *rest, packed[:, 2 * n:3 * n], packed[:, 3 * n:])

    def bass_sounding(self, part):
        """What sounds of a one-of-n track: (B, 128, 74) -> (B, 128, 72); a hold goes on with the last onset."""
        onset, rest = part[..., :N_PITCHES], part[..., N_PITCHES:N_PITCHES + 1]
        hold = part[..., N_PITCHES + 1:]
        any_onset = onset.sum(-1, keepdim=True)
        so_far = self.up_to @ any_onset
        latest = (so_far == so_far.transpose(1, 2)).float() * self.up_to * any_onset.transpose(1, 2)
        return onset + hold * (latest @ onset) + 0 * rest

    @staticmethod
    def last_lowest(onset, net):
        """The lowest onset of the last step that has one: (B, 64, n) -> (B, n)."""
        lowest = onset * (onset @ net.above < 0.5).float()
        has = onset.sum(-1, keepdim=True).clamp(max=1)
        after = torch.triu(torch.ones(N_CONTEXT, N_CONTEXT), 1) @ has  # onsets on later steps
        return (lowest * (after < 0.5).float()).sum(1)

    def cells_of(self, track, onset, sounding, logits, sustain):
        """Output cells of a track, each (B, 64, n) -> (B, 64, N_CELLS[track])."""
        if track == DRUMS:
            return (logits - NEVER) @ self.drum_cells + NEVER
        if track == BASS:
            any_onset = onset.sum(-1, keepdim=True)
            held = sounding.sum(-1, keepdim=True).clamp(max=1) * (1 - any_onset)
            # The winner of the step is 0; where a note was drawn the others are as far below as it was sure.
            sure = (onset * logits).sum(-1, keepdim=True)
            pitches = any_onset * ((1 - onset) * NEVER) + (1 - any_onset) * logits
            rest = -(any_onset * sure) + NEVER * held
            return torch.cat([pitches, rest, -(any_onset * sure) + NEVER * (1 - held - any_onset) + NEVER * any_onset], -1)
        return torch.cat([logits, sustain * (SURE - NEVER) + NEVER], -1)


def steps_of_slots(chords):
    """(B, 16, 24) per half bar -> (B, 128, 24) per step."""
    return chords.repeat_interleave(STEPS_PER_SLOT, 1)


for _track in range(N_TRACKS):
    setattr(BandSampler, f"step_of_{_track}", lambda self, *tensors, track=_track: self.step_of(track, *tensors))
