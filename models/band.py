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
N_DIRECT = 128  # most classes that are drawn by one product with a triangle
N_BLOCK_STEPS = 8  # the shortest lag is two of these, and no rhythm is seen further ahead
FOLLOW_DECAY = 0.75
N_INTERVALS = 2 * N_PITCHES - 1
N_RISES = 48  # how far above the lowest note a chord reaches, in semitones
N_SIZES = 5  # notes that begin together; the last for five or more
# Drum cells of the host are contiguous pitches; classes lie at their own pitch among them.
DRUM_LOWEST = min(DRUM_PITCHES)
N_DRUM_CELLS = max(DRUM_PITCHES) - DRUM_LOWEST + 1
N_CELLS = (N_DRUM_CELLS, N_PITCHES + 2, *(2 * N_PITCHES,) * 3)
NEVER = -8.0
SURE = 7.9
UNREACHED = 1e9  # log-odds and steps left that nothing has
NARROW = 0.25  # the least by which a decision is won: four steps of the host's int8


def is_pitched(track):
    """Whether a track has pitches (all but drums)."""
    return track != DRUMS


def product(x, matrix):
    """x (..., k) times a matrix of its own (..., k, n) -> (..., n)."""
    return x @ matrix if x.dim() == 1 else (x.unsqueeze(-2) @ matrix).reshape(*x.shape[:-1], matrix.shape[-1])


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
        return product(second, table)


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
        return x[..., N_CONTEXT:, :]


def shifted(x, offset):
    """x (B, T, C) -> the value `offset` steps away, 0 outside the window."""
    if offset == 0:
        return x
    return F.pad(x, (0, 0, 0, offset))[..., offset:, :] if offset > 0 else F.pad(x, (0, 0, -offset, 0))[..., :offset, :]


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

    def interval_scores(self, heads, reference):
        """Scores of pitches (N, 72) by their interval from `reference` (N, 72), the last lowest note, one-hot or 0."""
        idx = torch.arange(N_PITCHES) - reference.argmax(-1, keepdim=True) + N_PITCHES - 1
        return heads["interval"].gather(-1, idx) * reference.sum(-1, keepdim=True)

    def rises(self, scores, low):
        """Scores of pitches (N, 72) -> of the 48 pitches above `low` (N, 72) one-hot; 0 beyond the range."""
        return F.pad(scores, (0, N_RISES)).gather(-1, low.argmax(-1, keepdim=True) + 1 + torch.arange(N_RISES))

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
                  + self.interval_scores(heads, reference))
        lp = chosen_log_prob(scores, low.argmax(-1)) + chosen_log_prob(heads["duration"], duration[:, 0])
        if self.mono:
            return lp
        members = self.rises(self.pitch_scores(heads, "high", lag_onsets, lag_degrees, degrees), low) + heads["rise"]
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
    return x.transpose(-1, -2).repeat_interleave(N_STEPS, x.dim() - 2)


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
        self.register_buffer("position", position, persistent=False)

    def net_of(self, track):
        """(network, index of the track among those that share it)."""
        name = next(name for name, tracks in self.GROUPS.items() if track in tracks)
        return getattr(self, name), self.GROUPS[name].index(track)

    def places(self, triads):
        """Chord and position of each step of the window: triads (B, 128, 24) -> (B, 128, 2 + 24 + 16 + 8)."""
        _, flags = self.harmony.roots(triads)
        following = F.pad(triads, (0, 0, 0, STEPS_PER_SLOT))[..., STEPS_PER_SLOT:, :]
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


def lowest(onset):
    """`lowest_of` in operations that every runtime has."""
    n = onset.shape[-1]
    return onset * (onset @ torch.triu(torch.ones(n, n), 1) < 0.5).float()


def passed(scores, uniform, least=0.0):
    """The classes that lie before the drawn one, by the inverse of the cumulative distribution: scores (..., n), uniform (..., 1) ->
    (..., n - 1), or (..., n_blocks, 32) for more than 128 classes. Only classes at least `least` times as likely as the likeliest are drawn."""
    n = scores.shape[-1]
    if least:
        scores = torch.where(scores >= scores.amax(-1, keepdim=True) + math.log(least), scores, torch.full((), -UNREACHED))
    p = torch.softmax(scores, -1)
    if n <= N_DIRECT:
        return p @ torch.triu(torch.ones(n, n))[:, :-1] <= uniform
    # In two levels: one product with a 1,024 x 1,024 triangle would cost more than all the rest of the step.
    if n % N_BLOCK:
        p = F.pad(p, (0, -n % N_BLOCK))
    sums = p.reshape(*p.shape[:-1], -1, N_BLOCK) @ torch.triu(torch.ones(N_BLOCK, N_BLOCK))
    n_blocks = sums.shape[-2]
    return sums + torch.tril(torch.ones(n_blocks, n_blocks), -1) @ sums[..., -1:] <= (uniform if scores.dim() == 1 else uniform.unsqueeze(-1))


def counted(before, n_dims):
    """The number of classes that were passed, along the last `n_dims` axes."""
    return before.sum(list(range(-n_dims, 0)), dtype=torch.int32)


def looked_up(values, idx):
    """values (..., n) at idx (..., m) -> (..., m)."""
    return values[idx] if idx.dim() == 1 else values.gather(-1, idx)


def by_count(table):
    """Rows of a table by how many classes were passed: rounding may pass all of them and those that fill the last block up."""
    n = len(table)
    more = 0 if n <= N_DIRECT else -n % N_BLOCK + 1
    return torch.cat([table, table[-1:].expand(more, -1)])


class Writer(nn.Module):
    """One track's network as a step of sampling wants it: few operations, since each costs more than what it computes.

    Temperatures and calibration are folded into the weights, the features of a step are kept in a form that two products and a
    maximum give (*raw*: `own` of `Content` is linear in it), and what is looked up by a pitch is a row of a table.

    A row of history holds the onsets (n), then the raw features. Pitched: twice degrees (12), any and a quarter of the number of
    pitches, for onsets and for what sounds; highest onset; 1 - lowest onset, 0 without. Drums: any onset.
    """

    def __init__(self, net, temperature, least, duration_bias, size_bias):
        super().__init__()
        t_begin, t_pitch, t_shape, t_duration = temperature
        self.least_pitch, self.least_chord = least if net.pitched and not net.mono else (0.0, 0.0)
        self.pitched, self.mono, self.n, self.n_follow = net.pitched, net.mono, net.n_values, net.n_kinds * len(LAGS)
        n = self.n
        with torch.no_grad():
            own, compare, keep = torch.eye(net.n_own), torch.zeros(n + 1, net.n_kinds), {}
            self.own_start, keep["rhythm"] = 0, torch.tensor([n])
            if self.pitched:
                own = torch.zeros(30, net.n_own)  # raw -> own
                for source, target, factor in ((12, 24, 1), (12, 25, -1), (26, 25, 1), (13, 26, 1), (12, 27, 1), (29, 27, -1), (28, 28, 1)):
                    own[source, target] = factor
                own[:12, :12] = own[14:26, 12:24] = torch.eye(12)
                compare = torch.zeros(n + 30, net.n_kinds)
                compare[n:n + 12, 2] = 1
                self.own_start, keep["rhythm"] = n, torch.tensor([n + 12, n + 26])
            compare[:n, 0] = 1
            compare[n + 12 if self.pitched else n, 1] = 1
            # Decayed by `FOLLOW_DECAY`, what differs now counts the rest.
            keep |= {"own": own, "compare": compare, "kept": (1 - FOLLOW_DECAY) * compare}
            n_lags = len(LAGS)
            last, still, lags, ahead, follow = net.own.weight.split(
                [net.n_own, 12 if self.pitched else 0, n_lags * net.n_own, n_lags * N_AHEAD * 2, self.n_follow], -1)
            keep["gates_bias"] = net.gates.bias + follow.sum(-1)  # the state holds 1 - follow
            still = [still, torch.zeros(len(last), 2)] if self.pitched else []
            keep["enter"] = torch.cat([last @ own.T, *still, -follow], -1)
            lags = lags.reshape(len(last), n_lags, -1) @ own.T
            begin, held = ahead.reshape(len(last), -1, 2).unbind(-1)
            ahead = torch.stack([begin - held, held], -1) if self.pitched else begin
            keep["lags"] = -torch.cat([lags.flatten(1), ahead.flatten(1)], -1)
            keep["recurrent"], keep["recurrent_less"] = net.cell.recurrent.weight, -net.cell.recurrent.bias
            parts = {name: torch.cat(part, -1) for name, part in zip(net.head_sizes, zip(
                *(x.split(list(net.head_sizes.values())) for x in (net.heads.weight, net.heads.bias.unsqueeze(-1)))))}
            nothing = torch.zeros(1, parts["begin"].shape[-1])
            scale = {"begin": t_begin, "low": t_pitch, "interval": t_pitch, "high": t_shape, "rise": t_shape, "drum": t_shape,
                     "duration": t_duration, "others": t_duration}
            parts = {name: part / scale.get(name.split("_")[0], 1.0) for name, part in parts.items()}
            if self.pitched:
                parts["interval"] = torch.cat([parts["interval"], nothing])
                parts["duration"][:, -1] += duration_bias / t_duration
                fixed, summed = ["begin", "low"], ["begin_lag", "low_lag", "low_degree", "low_degree_lag"]
                rest = ["interval", "duration"]
                lengths = torch.tensor(DURATIONS).float().unsqueeze(-1)
                if not self.mono:
                    parts["high"] = torch.cat([parts["high"], nothing])
                    after = net.others_after.weight.T / t_duration
                    parts["others"][:, -1] += duration_bias / t_duration + after[0]
                    shortest = nothing.clone()
                    shortest[:, -1] = lengths[0]
                    parts["others"] = -torch.cat([parts["others"], shortest])
                    keep["after"] = torch.cat([after, lengths], -1).diff(dim=0)
                    fixed, summed = [*fixed, "high"], [*summed, "high_lag", "high_degree", "high_degree_lag"]
                    rest += ["shape", "others", "rise"]
                keep["lengths"] = -lengths.diff(dim=0)
            else:
                fixed, summed, rest = ["begin", "drum"], ["begin_lag", "drum_lag"], ["shape"]
            groups = [torch.cat([parts[name] for name in names]) for names in (fixed, summed, *([name] for name in rest))]
            groups[0] = -groups[0]
            self.head_sizes = [len(group) for group in groups]
            heads = torch.cat(groups)
            keep["heads"], keep["heads_less"] = heads[:, :-1], -heads[:, -1]
            if not self.mono:
                keep["shapes"] = torch.cat([net.shapes, net.shape_out.weight / t_shape], -1)
                sizes = size_bias[:, net.shapes.sum(-1).long().clamp(max=N_SIZES - 1)] * self.pitched
                # Of phrases that begin, and what is added to it after bars.
                keep["shapes_less"] = -torch.stack([net.shape_out.bias + sizes[0], sizes[1] - sizes[0]]) / t_shape
                # A pitched chord: nothing below, the lowest note, what stands on it, nothing above.
                side, base = torch.zeros(len(net.shapes), 1), torch.ones(len(net.shapes), 1)
                keep["chords"] = by_count(torch.cat([side, base, net.shapes, side], -1) if self.pitched else net.shapes)
            if self.pitched:
                keep["folding"] = net.harmony.folding
                keep["caps"] = torch.tensor([1.0] * 13 + [N_PITCHES])
                keep["heights"] = torch.stack([net.harmony.heights, 1 - net.harmony.heights])
                idx = torch.arange(n)
                rise = idx[None] - idx[:, None]  # from a lowest note (row) to a pitch (column)
                intervals = rise + N_PITCHES - 1
                keep["intervals"] = torch.cat([intervals, torch.full((1, n), N_INTERVALS)])  # the last row: from no note
                keep["above"] = (idx[:, None] + 1 + torch.arange(N_RISES)).clamp(max=n)
                keep["places"] = (rise + 1).clamp(0, N_RISES + 2)
                keep["is_low"] = torch.eye(n) if self.mono else torch.eye(n) > 0.5
        for name, value in keep.items():
            self.register_buffer(name, value.detach().clone(), persistent=False)

    def raw(self, onset, sounding, collect):
        """Onsets and what sounds (..., n), collect (..., 72, 14) of `collecting` -> the raw features: three for pitched tracks."""
        if not self.pitched:
            return (onset.sum(-1, keepdim=True).clamp(max=1),)
        each = onset if onset.dim() == 1 else onset.unsqueeze(-2)
        return (torch.minimum(product(onset, collect), self.caps), torch.minimum(product(sounding, collect), self.caps),
                (each * self.heights).amax(-1))

    def hidden_of(self, inputs, gates, hidden):
        """The GRU (see `GruCell`): inputs (B, k), gates (B, 3H), hidden (B, H) -> hidden (B, H)."""
        n = hidden.shape[-1]
        both_in, candidate_in = (F.linear(inputs, self.enter) - gates).split([2 * n, n], -1)
        both, candidate = (F.linear(hidden, self.recurrent) - self.recurrent_less).split([2 * n, n], -1)
        reset, update = torch.sigmoid(both_in + both).split(n, -1)
        candidate = torch.tanh(candidate_in + reset * candidate)
        return candidate + update * (hidden - candidate)

    def decide(self, hidden):
        """hidden (B, H) -> the groups of heads."""
        return (F.linear(hidden, self.heads) - self.heads_less).split(self.head_sizes, -1)

    def chord(self, members, shape, less, uniform):
        """Draw a shape or a set of drums: members (B, m) scores, shape (B, 32) of the heads, less (B, n_shapes), uniform -> its row of
        `chords`."""
        scores = F.linear(torch.cat([members, torch.tanh(shape)], -1), self.shapes) - less
        return self.chords[counted(passed(scores, uniform, self.least_chord), 1 if len(self.shapes) <= N_DIRECT else 2)]

    def past(self, lags, spread):
        """What a step sees of its past besides the gates: lags (B, T, 3, w) rows of history, spread (B, T, 12, 72) -> the matrix that
        turns the heads' second group into additions to the first, and the matrix and the offset that compare a step with its lags."""
        onset, compared = lags[..., :self.n], lags[..., :len(self.compare)]
        at = self.n + 12 * self.pitched
        any_onset = 2 * lags[..., at:at + 1] - 1
        if self.pitched:
            degrees = torch.cat([spread, lags[..., self.n:self.n + 12] @ spread], -2)
            parts = [torch.cat([low, degrees], -2) for low in (lowest(onset), *[onset] * (not self.mono))]
        else:
            parts = [2 * onset - 1]
        width, at, rows = self.head_sizes[0], 1, [F.pad(any_onset, (0, self.head_sizes[0] - 1))]
        for part in parts:
            rows.append(F.pad(part, (at, width - at - part.shape[-1])))
            at += part.shape[-1]
        # |a - b| = a + b - 2ab for zeros and ones, so the differences are linear in the step.
        differs = (1 - 2 * compared).transpose(-1, -2).unsqueeze(-1) * self.kept.unsqueeze(1)
        return torch.cat(rows, -2), differs.flatten(-2), -(compared @ self.kept).flatten(-2)


class BandSampler(nn.Module):
    """The released graph: completes a phrase, five tracks in turn, and gives logits whose greedy decoding is what was drawn.

    Every decision is drawn by the inverse of its cumulative distribution at a number that the noise gives, so that a small change of
    the noise moves to a neighbouring class. Onset cells: a step's notes stand together, as surely as "something begins here" was
    likely; where nothing was drawn, the notes that would have begun lie as far below as that was unlikely, at least `NARROW` either
    way. So more noise or a lower threshold changes the doubtful steps first. How long notes last is never in doubt: sustain cells
    are sure, and a note that the knobs add sounds as long as the chord it joins.

    `temperature` divides the scores of begin, pitch, shape and duration. Lowest notes and chords of piano, guitar and strings less
    likely than `least` times the likeliest are never drawn: one note out of the style leads to more of them. The calibration (DESIGN
    1.2) is added to scores: `begin` (2, 5, 16) to the log-odds that something begins on a step of the bar, `duration` (5, 10) to the
    classes of durations, `size` (2, 5, 5) to the shapes by their number of further notes (the last: four or more); the second of two
    holds where bars before are known. Without it sharper draws favour strong steps, frequent lengths and single notes, and phrases
    after phrases of its own grow denser.
    """

    def __init__(self, band, temperature=(1.0,) * 4, least=(0.0, 0.0), begin=None, duration=None, size=None, source=0):
        super().__init__()
        self.band = band
        self.temperature, self.source = tuple(temperature), source
        zeros = {"begin": torch.zeros(2, N_TRACKS, N_STEPS), "duration": torch.zeros(N_TRACKS, len(DURATIONS)),
                 "size": torch.zeros(2, N_TRACKS, N_SIZES)}
        begin, duration, size = (zeros[name] if value is None else torch.as_tensor(value, dtype=torch.float32)
                                   for name, value in (("begin", begin), ("duration", duration), ("size", size)))
        # Of phrases that begin, and what is added to it after bars.
        begin = torch.stack([begin[0], begin[1] - begin[0]]) / self.temperature[0]
        self.register_buffer("begin_bias", begin, persistent=False)
        self.writers = nn.ModuleList(Writer(band.net_of(track)[0], self.temperature, least, duration[track], size[:, track])
                                     for track in range(N_TRACKS))
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
        self.register_buffer("pitch_idx", torch.arange(N_PITCHES), persistent=False)
        steps = torch.arange(N_BLOCK_STEPS).unsqueeze(-1)
        lags = N_CONTEXT - torch.tensor(LAGS)
        ahead = (lags.unsqueeze(-1) + torch.arange(1, N_AHEAD + 1)).flatten()
        self.register_buffer("lag_rows", (steps + lags).flatten(), persistent=False)
        self.register_buffer("ahead_rows", (steps + ahead).flatten(), persistent=False)

    def block(self, track, history, hidden, follow, *rest):
        """Half a bar of a track. No lag, with the rhythm that followed there, reaches into it, so that all that the past gives is
        computed here for its eight steps at once, and the loop over them does only what needs the step before.

        States: history (B, 64, w) of the last 64 steps, then those of `step`: hidden, follow and, pitched, left, reference. Inputs:
        gates and, of `step`, those from `doubtful` to `given_any` for eight steps (B, 8, ...); for pitched tracks also spread
        (B, 8, 12, 72) and collect (B, 8, 72, 14). Returns the states and y: rows of history, what sounds (pitched), notes, odds.
        """
        writer = self.writers[track]
        n, n_tail, spread, collect = writer.n, 0, None, ()
        if writer.pitched:
            *rest, spread, tail = rest
            n_tail, collect = 2, (tail,)
        carried, (gates, *inputs) = rest[:n_tail], rest[n_tail:]
        shape = *history.shape[:-2], N_BLOCK_STEPS
        lags = history.index_select(-2, self.lag_rows).reshape(*shape, len(LAGS), -1)
        ahead = history.index_select(-1, writer.rhythm).index_select(-2, self.ahead_rows).reshape(*shape, -1)
        gates = F.linear(torch.cat([lags[..., writer.own_start:].flatten(-2), ahead], -1), writer.lags) - gates
        additions, differs, offset = writer.past(lags, spread)
        states = (hidden, follow, *carried, history[..., -1, writer.own_start:])
        widths = (len(writer.compare), *[n] * (1 + writer.pitched), 1)
        out = over_steps(self, f"step_of_{track}", states, (gates, offset, *inputs, additions, differs, *collect),
                         [(width,) for width in widths], batched=False)
        rows, *y = out[len(states):]
        return torch.cat([history[..., N_BLOCK_STEPS:, :], rows], -2), *out[:2 + n_tail], rows, *y

    def step(self, track, *tensors):
        """One step of a track: `drum_step` or `pitched_step`."""
        return (self.pitched_step if is_pitched(track) else self.drum_step)(self.writers[track], *tensors)

    def drum_step(self, writer, hidden, follow, last, gates, offset, doubtful, chance, given, less, additions, differs):
        """One step of the drums: as `pitched_step`, but nothing lasts. The state `last` is the last row of history."""
        hidden = writer.hidden_of(torch.cat([last, follow], -1), gates, hidden)
        fixed, summed, shape = writer.decide(hidden)
        odds, members = (product(summed, additions) - fixed).split([1, writer.n], -1)
        notes = writer.chord(members, shape, less, chance)
        onset = given + (odds > doubtful).float() * notes
        row = torch.cat([onset, *writer.raw(onset, None, None)], -1)
        follow = FOLLOW_DECAY * follow + (product(row, differs) - offset).clamp(max=1 - FOLLOW_DECAY)
        return hidden, follow, row, row, notes, odds

    def pitched_step(self, writer, hidden, follow, left, reference, last, gates, offset, doubtful, alive, *rest):
        """One step of a pitched track.

        States: hidden (B, H); follow (B, 9), one minus what `TrackNet` sees; left (B, 72) steps that notes still last; reference (B,)
        the last lowest note, 72 for none; the raw features of the last step. Inputs: gates (B, 3H) but for the last step's part,
        negated; offset (B, 9), negated; doubtful (B, 1), the log-odds from which something begins; alive (B, 1), the steps left from
        which a note goes on; numbers for the lowest note, its duration and, unless mono, the others' duration and the shape (B, 1), and
        what is taken from the scores of the shapes (B, n_shapes);
        what is given, 0 where missing (B, 72): onsets, what sounds without beginning, what sounds; the lowest given onset (B,) and
        whether there is one; additions, differs of `Writer.past`; collect (B, 72, 14). Returns the states and y: the row of history,
        what sounds, the notes that were or might have been drawn, and the log-odds that something begins.
        """
        *chances, given_onset, given_still, given_sounding, given_low, given_any, additions, differs, collect = rest
        lasting = (left > alive).float()
        still = torch.minimum(product(given_still + lasting, collect), writer.caps)
        hidden = writer.hidden_of(torch.cat([last, still, follow], -1), gates, hidden)
        fixed, summed, interval, duration, *more = writer.decide(hidden)
        odds, low_scores, *high = (product(summed, additions) - fixed).split([1, writer.n, *[writer.n + 1] * (not writer.mono)], -1)
        low = counted(passed(low_scores + looked_up(interval, writer.intervals[reference]), chances[0], writer.least_pitch), 1)
        first = passed(duration, chances[1]).float()
        if writer.mono:
            notes = writer.is_low[low]
            lasts = 1 - first @ writer.lengths
        else:
            shape, others, rise = more
            others, lasts = (first @ writer.after - others).split([len(DURATIONS), 1], -1)
            second = passed(others, chances[2]).float()
            chord = writer.chord(looked_up(high[0], writer.above[low]) + rise, shape, chances[4], chances[3])
            notes = looked_up(chord, writer.places[low])
            lasts = torch.where(writer.is_low[low], lasts, 1 - second @ writer.lengths)
        begins = odds > doubtful
        chosen = begins.float() * notes
        onset = given_onset + chosen
        kept = (lasting > (begins.float() if writer.mono else chosen)).float()
        sounding = given_sounding + chosen + kept
        left = chosen * lasts + kept * left - 1
        reference = torch.where(given_any, given_low, torch.where(begins.reshape(reference.shape), low, reference))
        last = torch.cat(writer.raw(onset, sounding, collect), -1)
        row = torch.cat([onset, last], -1)
        follow = FOLLOW_DECAY * follow + (product(row, differs) - offset).clamp(max=1 - FOLLOW_DECAY)
        return hidden, follow, left, reference, last, row, sounding, notes, odds

    def forward(self, noise, chords, given, known):
        """noise (B, 5, 4, 16, 5), chords (B, 16, 24), given (B, 8, 16, 541), known (B, 5, 8) -> logits (B, 4, 16, 541)."""
        if torch.onnx.is_in_onnx_export():
            # Without the batch's axis of length 1, which tract moves about in every step until it finds that it cannot.
            noise, chords, given, known = (x.reshape(x.shape[1:]) for x in (noise, chords, given, known))
        band = self.band
        triads = steps_of_slots(chords)
        seen = steps_of_bars(known)  # (B, 128, 5)
        cells = given.reshape(*given.shape[:-3], N_WINDOW, sum(N_CELLS))
        parts = [part * seen[..., track:track + 1] for track, part in enumerate(cells.split(N_CELLS, -1))]
        onset, sounding = [(parts[DRUMS] @ self.drum_classes).clamp(max=1), parts[BASS][..., :N_PITCHES]], [None, self.bass_sounding(parts[BASS])]
        for part in parts[BASS + 1:]:
            onset.append(part[..., :N_PITCHES])
            sounding.append((part[..., :N_PITCHES] + part[..., N_PITCHES:]).clamp(max=1))
        # A note of the bars before does not reach into the phrase: its length is not known there.
        places = band.places(triads)
        spread, collect = self.maps(triads)
        rows = [torch.cat([onset[track], *writer.raw(onset[track], sounding[track], collect)], -1)
                for track, writer in enumerate(self.writers)]
        contents = [self.own(track, row) for track, row in enumerate(rows)]
        phrase = slice(N_CONTEXT, None)
        # 1 where a bar before is known.
        after = known[..., :CONTEXT_BARS].amax((-2, -1)).reshape(*known.shape[:-2], 1, 1)
        uniform = uniform_of(noise).reshape(*noise.shape[:-3], N_PHRASE, N_NOISE)
        out = []
        for track, writer in enumerate(self.writers):
            net, target = band.net_of(track)
            tags = torch.zeros(N_WINDOW, len(SOURCES) + len(net.targets))
            tags[..., self.source] = 1
            tags[..., len(SOURCES) + target] = 1
            around = net.around(band.features(contents, seen, places, tags + 0 * seen[..., :1]))
            missing = 1 - seen[..., phrase, track:track + 1]
            new, new_sounding, doubts = self.complete(track, around, rows[track], onset[track], sounding[track], missing, after,
                                                      uniform.select(-3, track), spread, collect)
            out.append(self.cells_of(track, new[..., :writer.n], new_sounding, doubts, missing))
            contents[track] = torch.cat([contents[track][..., :N_CONTEXT, :], self.own(track, new)], -2)
            now = torch.cat([seen[..., phrase, :track], 1 + 0 * missing, seen[..., phrase, track + 1:]], -1)
            seen = torch.cat([seen[..., :N_CONTEXT, :], now], -2)
        return torch.cat(out, -1).reshape(-1, PHRASE_BARS, N_STEPS, sum(N_CELLS))

    def maps(self, triads):
        """triads (B, 128, 24) -> matrices that turn scores of degrees into those of pitches (B, 128, 12, 72), and pitches into raw
        features (B, 128, 72, 14)."""
        harmony = self.band.harmony
        spread = harmony.degree_map(harmony.roots(triads)[0]) @ harmony.folding.T
        counts = 0 * spread[..., :2, :] + torch.tensor([[1.0], [0.25]])
        return spread, torch.cat([spread, counts], -2).transpose(-1, -2)

    def complete(self, track, around, rows, onset, sounding, missing, after, uniform, spread, collect):
        """Write what is missing of a track. around (B, 64, S); of the window rows of history (B, 128, w), onset and sounding (B, 128, n)
        as given, spread and collect of `maps`; missing (B, 64, 1), after (B, 1, 1) whether there are bars before, uniform (B, 64, 5).
        Returns, of the phrase, the rows of history, what sounds, and log-odds of the notes that were or might have been drawn, 0 for
        all others."""
        net, writer, n_batch_axes = self.band.net_of(track)[0], self.writers[track], missing.dim() - 2
        phrase = slice(N_CONTEXT, None)
        never = UNREACHED * (1 - missing)
        begins, continues = self.begin_bias[:, track].repeat(1, PHRASE_BARS).unsqueeze(-1)
        bias = begins + after * continues
        less = [] if writer.mono else [writer.shapes_less[0] + after * writer.shapes_less[1] + 0 * missing]
        begin, low, shape, first, others = uniform.split(1, -1)
        doubtful = missing * (torch.logit(begin) - bias) + never
        given = onset[..., phrase, :]
        states = [rows[..., :N_CONTEXT, :], torch.tanh(net.start(around[..., 0, :])), 0.5 + 0 * rows[..., 0, :writer.n_follow]]
        inputs = [F.linear(around, net.gates.weight, writer.gates_bias), doubtful]
        if writer.pitched:
            given_sounding = sounding[..., phrase, :]
            states += [0 * given[..., 0, :], self.index_of(self.last_lowest(onset[..., :N_CONTEXT, :]))]
            inputs += [0.5 + never, low, first, *([] if writer.mono else [others, shape]), *less, given, given_sounding * (1 - given),
                       given_sounding, self.index_of(lowest(given)), given.sum(-1) > 0.5, spread[..., phrase, :, :],
                       collect[..., phrase, :, :]]
        else:
            inputs += [shape, given, *less]
        inputs = [x.reshape(*x.shape[:n_batch_axes], -1, N_BLOCK_STEPS, *x.shape[n_batch_axes + 1:]) for x in inputs]
        shapes = [(N_BLOCK_STEPS, width) for width in (rows.shape[-1], *[writer.n] * (1 + writer.pitched), 1)]
        y = over_steps(self, f"block_of_{track}", states, inputs, shapes, batched=False)[len(states):]
        new, *new_sounding, notes, odds = (x.reshape(*x.shape[:n_batch_axes], N_PHRASE, x.shape[-1]) for x in y)
        # Sure by the sign of what was drawn: where chance went against the odds, only just.
        likely = odds + bias
        doubts = notes * torch.where(odds > doubtful, likely.clamp(NARROW, SURE), likely.clamp(NEVER, -NARROW))
        return new, *(new_sounding or [new[..., :writer.n]]), doubts

    def own(self, track, rows):
        """Rows of history (B, T, w) -> what `Content` gives (B, T, n_own)."""
        return rows[..., self.writers[track].own_start:] @ self.writers[track].own

    def index_of(self, low):
        """One-hot or 0 (..., 72) -> the index, 72 for none (...)."""
        return (N_PITCHES + (low * (self.pitch_idx - N_PITCHES)).sum(-1)).int()

    def bass_sounding(self, part):
        """What sounds of a one-of-n track: (B, 128, 74) -> (B, 128, 72); a hold goes on with the last onset."""
        onset, rest = part[..., :N_PITCHES], part[..., N_PITCHES:N_PITCHES + 1]
        hold = part[..., N_PITCHES + 1:]
        any_onset = onset.sum(-1, keepdim=True)
        so_far = self.up_to @ any_onset
        latest = (so_far == so_far.transpose(-1, -2)).float() * self.up_to * any_onset.transpose(-1, -2)
        return onset + hold * (latest @ onset) + 0 * rest

    def last_lowest(self, onset):
        """The lowest onset of the last step that has one: (B, 64, n) -> (B, n)."""
        low = lowest(onset)
        has = onset.sum(-1, keepdim=True).clamp(max=1)
        after = torch.triu(torch.ones(N_CONTEXT, N_CONTEXT), 1) @ has  # onsets on later steps
        return (low * (after < 0.5).float()).sum(-2)

    def cells_of(self, track, onset, sounding, doubts, missing):
        """Output cells of a track: onset, sounding, doubts (B, 64, n), missing (B, 64, 1) -> (B, 64, N_CELLS[track])."""
        possible = (doubts.abs() > 0.5 * NARROW).float() * missing
        logits = possible * doubts + (1 - possible) * (onset * (SURE - NEVER) + NEVER)
        if track == DRUMS:
            return (logits - NEVER) @ self.drum_cells + NEVER
        before = F.pad(sounding, (0, 0, 1, 0))[..., :-1, :]
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
    return chords.repeat_interleave(STEPS_PER_SLOT, chords.dim() - 2)


for _track in range(N_TRACKS):
    setattr(BandSampler, f"block_of_{_track}", lambda self, *tensors, track=_track: self.block(track, *tensors))
    setattr(BandSampler, f"step_of_{_track}", lambda self, *tensors, track=_track: self.step(track, *tensors))
