"""The networks: MidiNet (a GAN) and Melody (an exact-likelihood, rhythm-first autoregressive generator).

Tensors follow the files of `prepare.py`: a bar is 16 states (36 pitches from MIDI 48, REST, HOLD), a bar has two chord slots,
a chord is one of 24 triads. Where a network takes a bar as a number tensor it is one-hot, all zero for "no bar before".
What is exported is `MelodySampler` and `MidiNetSampler`, whose `forward` is the graph of the released file.
"""

import json
import math

import torch
from torch import nn
from torch.nn import functional as F

from prepare import HOLD, LOWEST_PITCH, N_PITCHES, N_STATES, N_STEPS, REST, SLOTS_PER_BAR

N_TRIADS = 24
N_RHYTHM = 3  # onset, hold, rest
ONSET_R, HOLD_R, REST_R = range(N_RHYTHM)
N_INTERVALS = 2 * N_PITCHES - 1  # -35..35 semitones
N_ORIGINS = 4  # pitches that a new one is measured from, see PitchStage
STEPS_PER_SLOT = N_STEPS // SLOTS_PER_BAR
# The host stores a logit as int8 with 1/16 per step, so 127/16 is the largest one it can tell apart from the next.
TOP_LOGIT = 127 / 16
LOGIT_STEP = 1 / 16
TAIL_PENALTY = 4.0


def triad_one_hot(chords):
    """(..., 2) triad indices, -1 for none -> (..., 2, 24) float one-hot."""
    return F.one_hot(chords.long().clamp(min=0), N_TRIADS).float() * (chords >= 0).unsqueeze(-1)


def state_one_hot(states, n_states=N_STATES):
    """(..., 16) states, 255 for no bar -> (..., 16, n_states) float one-hot."""
    known = states < n_states
    return F.one_hot(states.long() * known, n_states).float() * known.unsqueeze(-1)


def rhythm_of(states):
    """(..., 16) states -> (..., 16) of {0 onset, 1 hold, 2 rest}."""
    states = states.long()
    return torch.where(states < N_PITCHES, 0, torch.where(states == HOLD, HOLD_R, REST_R))


def gumbel_of(noise):
    """Gaussian noise -> Gumbel noise, so that a sampler's latent is Gaussian and two seeds can be slerped."""
    # Near 1 single precision leaves 6e-8 of 1 - u: clamped there at 1e-5 two runtimes differ by 0.006 at most.
    uniform = (0.5 * (1 + torch.erf(noise / math.sqrt(2)))).clamp(1e-5, 1 - 1e-5)
    return -torch.log(-torch.log(uniform))


def one_hot_of_largest(x):
    """One-hot of the largest along the last axis, in operations every ONNX runtime has."""
    return (x == x.amax(-1, keepdim=True)).float()


class GruCell(nn.Module):
    """A GRU cell whose input part may be computed outside the loop for all steps at once.

    Source: Cho et al. 2014, with the reset gate after the product (the cuDNN and PyTorch form).
    """

    def __init__(self, n_hidden):
        super().__init__()
        self.n_hidden = n_hidden
        self.recurrent = nn.Linear(n_hidden, 3 * n_hidden)

    def forward(self, gates, hidden):
        """gates (B, 3H) = the input's contribution, hidden (B, H) -> hidden (B, H)."""
        reset_in, update_in, candidate_in = gates.split(self.n_hidden, -1)
        reset, update, candidate = self.recurrent(hidden).split(self.n_hidden, -1)
        update = torch.sigmoid(update_in + update)
        candidate = torch.tanh(candidate_in + torch.sigmoid(reset_in + reset) * candidate)
        return candidate + update * (hidden - candidate)


class MelodyTables(nn.Module):
    """Constant index tables that turn chord and pitch one-hots into relative features by plain products.

    A *degree* is one of 24: how far a pitch class lies above the chord's root, 0..11 in a major chord, 12..23 in a minor one.
    """

    def __init__(self):
        super().__init__()
        pitch = torch.arange(N_PITCHES) + LOWEST_PITCH
        triad = torch.arange(N_TRIADS)
        root, minor = triad % 12, triad // 12
        degree = (pitch[None, :] - root[:, None]) % 12 + 12 * minor[:, None]  # (24 triads, 36 pitches)
        relation = (root[None, :] - root[:, None]) % 12 + 12 * minor[None, :]  # (24 first, 24 second)
        idx = torch.arange(N_PITCHES)
        interval = torch.arange(N_INTERVALS) - (N_PITCHES - 1)
        for name, table in {
            "degree_of_pitch": F.one_hot(degree, 24).float().reshape(N_TRIADS, -1),
            "chord_relation": F.one_hot(relation, 24).float().reshape(N_TRIADS, -1),
            # spreading: from origin i (row) to pitch j (column) is interval j - i
            "spread_idx": torch.cat([(idx[None, :] - idx[:, None] + N_PITCHES - 1).reshape(-1) + origin * N_INTERVALS
                                     for origin in range(N_ORIGINS)]),
            # reading: pitch j (row) minus interval k (column), in an origin padded by 35 zeros on both sides
            "origin_idx": (idx[:, None] - interval[None, :] + N_PITCHES - 1).reshape(-1),
            "rank": torch.tensor([[1.0], [2.0]]),
            "up_to": torch.tril(torch.ones(N_STEPS, N_STEPS)),  # [t, s] = 1 where s <= t
        }.items():
            self.register_buffer(name, table, persistent=False)

    def degree_map(self, triads):
        """triads (..., 24) one-hot -> (..., 36, 24): row p is the one-hot degree of pitch p; 0 without a chord."""
        return (triads @ self.degree_of_pitch).reshape(*triads.shape[:-1], N_PITCHES, 24)

    def relation(self, first, second):
        """Two chords (..., 24) -> (..., 24): the second seen from the first's root (12 major, 12 minor)."""
        table = (first @ self.chord_relation).reshape(*first.shape[:-1], N_TRIADS, 24)
        return (second.unsqueeze(-2) @ table).squeeze(-2)

    def spread(self, tables, origins):
        """Place tables over intervals onto pitches, and add them up.

        tables (B, 4 x 71), origins (B, 4 x 36), each one-hot or 0 -> (B, 36): sum over the origins o of table_o[pitch - o].
        """
        placed = tables[:, self.spread_idx].reshape(-1, N_ORIGINS * N_PITCHES, N_PITCHES)
        return (origins.unsqueeze(1) @ placed).squeeze(1)

    @staticmethod
    def spread_gathered(tables, origins):
        """`spread` for many steps at once in the form whose gradient is cheap; tables (..., 284), origins (..., 144)."""
        total = 0
        for table, origin in zip(tables.split(N_INTERVALS, -1), origins.split(N_PITCHES, -1)):
            idx = torch.arange(N_PITCHES) - origin.argmax(-1, keepdim=True) + N_PITCHES - 1
            total = total + table.gather(-1, idx) * origin.sum(-1, keepdim=True)
        return total

    @staticmethod
    def interval_counted(pitch, origin):
        """`interval` by counting, the fast form for many steps at once; used in training."""
        idx = pitch.argmax(-1) - origin.argmax(-1) + N_PITCHES - 1
        return F.one_hot(idx, N_INTERVALS).float() * (pitch.sum(-1) * origin.sum(-1)).unsqueeze(-1)

    def interval(self, pitch, origin):
        """One-hot interval from origin to pitch, both (B, 1, 36) one-hot or 0 -> (B, 1, 71), 0 where either is missing."""
        padded = F.pad(origin, (N_PITCHES - 1, N_PITCHES))
        return pitch @ padded[:, 0, self.origin_idx].reshape(-1, N_PITCHES, N_INTERVALS)

    def last_onsets(self, pitches):
        """Last and last but one onset of a bar: pitches (B, 16, 36) one-hot at onsets -> (B, 2, 36), 0 where missing."""
        onset = pitches.sum(-1, keepdim=True)  # (B, 16, 1)
        from_here = (self.up_to.T @ onset).transpose(1, 2)  # (B, 1, 16): onsets at or after a step
        return ((from_here == self.rank).float() * onset.transpose(1, 2)) @ pitches

    @staticmethod
    def hear(heard, onset, pitch):
        """Advance the last two onsets (B, 2, 36) by a step: onset (B, 1) 0 or 1, pitch (B, 36), 0 without an onset."""
        onset = onset.unsqueeze(-1)
        return torch.cat([pitch.unsqueeze(1), onset * heard[:, :1]], 1) + (1 - onset) * heard

    def sounding(self, pitches):
        """The latest onset at or before each step, through holds and rests: (B, 16, 36) -> (B, 16, 36)."""
        onset = pitches.sum(-1, keepdim=True)
        so_far = self.up_to @ onset  # (B, 16, 1)
        latest = (so_far == so_far.transpose(1, 2)).float() * self.up_to * onset.transpose(1, 2)  # (B, t, s)
        return latest @ pitches

    def same_order(self, pitches, onset_now):
        """The previous bar's j-th onset where the bar at hand has had j - 1: pitches (B, 16, 36), onset_now (B, 16, 1)."""
        onset = pitches.sum(-1, keepdim=True)
        rank = self.up_to @ onset
        rank_now = self.up_to @ onset_now - onset_now + 1  # the rank an onset would have at this step
        return ((rank_now == rank.transpose(1, 2)).float() * onset.transpose(1, 2)) @ pitches


class PreviousBar(nn.Module):
    """What both stages see of the bar before: per-step features in the frame of the first chord, and a summary.

    The first chord's root is the frame so that a phrase and its transposition look alike.
    """

    def __init__(self, n_step, n_summary, dropout):
        super().__init__()
        self.n_step = n_step
        self.state = nn.Linear(N_STATES, n_step)
        self.degree = nn.Linear(24, n_step, bias=False)
        self.summary = nn.Linear(N_STEPS * n_step, n_summary)
        self.relation = nn.Linear(24, n_summary, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, previous, degrees, relation):
        """previous (B, 16, 38), degrees (B, 16, 24) of its onsets, relation (B, 24) -> (B, 16, n_step), (B, n_summary)."""
        if self.training:
            # Whole steps are hidden: with the bar before in full view a song is recognised and its next bar recited.
            seen = (torch.rand(*previous.shape[:2], 1) >= self.dropout.p).float()
            previous, degrees = previous * seen, degrees * seen
        steps = self.dropout(torch.tanh(self.state(previous) + self.degree(degrees)))
        summary = self.summary(steps.reshape(-1, N_STEPS * self.n_step)) + self.relation(relation)
        return steps, self.dropout(torch.tanh(summary))


class RhythmStage(nn.Module):
    """p(onset, hold or rest of step t | steps before t, previous bar, chords): a GRU over the 16 steps.

    Besides its own past each step sees the previous bar's rhythm around the same place, and whether the bar has followed
    that rhythm so far: repeating a rhythm is one decision, not sixteen.
    """

    N_BEFORE, N_AFTER = 1, 4

    def __init__(self, n_hidden, n_step, n_summary, dropout):
        super().__init__()
        self.previous = PreviousBar(n_step, n_summary, dropout)
        self.start = nn.Linear(n_summary, n_hidden)
        self.place = nn.Parameter(torch.zeros(N_STEPS, 3 * n_hidden))
        self.window = nn.Linear((self.N_BEFORE + 1 + self.N_AFTER) * N_RHYTHM, 3 * n_hidden, bias=False)
        self.context = nn.Linear(n_summary, 3 * n_hidden)
        self.own = nn.Linear(2 * N_RHYTHM + 1, 3 * n_hidden, bias=False)
        self.cell = GruCell(n_hidden)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(n_hidden, N_RHYTHM)
        self.place_head = nn.Parameter(torch.zeros(N_STEPS, N_RHYTHM))
        self.follow_head = nn.Linear(N_RHYTHM, N_RHYTHM, bias=False)
        self.register_buffer("forbid_hold", torch.tensor([0.0, -40.0, 0.0]), persistent=False)

    def begin(self, previous, degrees, relation):
        """All that does not depend on the bar itself: the previous rhythm (B, 16, 3), gates (B, 16, 3H), hidden (B, H)."""
        before = torch.cat([previous[..., :N_PITCHES].sum(-1, keepdim=True), previous[..., HOLD:HOLD + 1],
                            previous[..., REST:REST + 1]], -1)
        _, summary = self.previous(previous, degrees, relation)
        padded = F.pad(before, (0, 0, self.N_BEFORE, self.N_AFTER))
        windows = torch.cat([padded[:, w:w + N_STEPS] for w in range(self.N_BEFORE + 1 + self.N_AFTER)], -1)
        gates = self.window(windows) + self.place + self.context(summary).unsqueeze(1)
        return before, gates, torch.tanh(self.start(summary))

    def step(self, last, follows, hidden, before, gates, place):
        """One step: last (B, 3), follows (B, 1), hidden (B, H), before (B, 3), gates (B, 3H), place (B or 1, 3) of `place_head`
        -> logits (B, 3), hidden (B, H).
        """
        following = follows * before
        hidden = self.cell(gates + self.own(torch.cat([last, following, follows], -1)), hidden)
        logits = self.head(self.dropout(hidden)) + place + self.follow_head(following)
        # A hold needs something to hold. -40 is out of reach of any noise, yet exp(-40) is not 0 in single precision:
        # tract computes log-softmax as log(softmax) and would give -inf.
        silent = 1 - last[:, ONSET_R:ONSET_R + 1] - last[:, HOLD_R:HOLD_R + 1]
        return logits + silent * self.forbid_hold, hidden

    @staticmethod
    def first(before):
        """What the first step sees: the last state of the previous bar, and that there is a rhythm to follow."""
        return before[:, N_STEPS - 1], before[:, 0].sum(-1, keepdim=True)

    def forward(self, previous, degrees, relation, rhythm):
        """Teacher-forced: rhythm (B, 16, 3) one-hot -> log-probabilities (B, 16, 3)."""
        before, gates, hidden = self.begin(previous, degrees, relation)
        (last, follows), out = self.first(before), []
        # unbind, not indexing: the gradient of an index fills a whole zero tensor per step.
        for before_t, gates_t, place_t, truth_t in zip(before.unbind(1), gates.unbind(1), self.place_head, rhythm.unbind(1)):
            logits, hidden = self.step(last, follows, hidden, before_t, gates_t, place_t)
            out.append(logits)
            last = truth_t
            follows = follows * (last * before_t).sum(-1, keepdim=True)
        return torch.log_softmax(torch.stack(out, 1), -1)


class PitchStage(nn.Module):
    """p(pitch of an onset at step t | the bar's whole rhythm, pitches before t, previous bar, chords): a GRU over the steps.

    The logits are a sum of tables that the hidden state weighs: absolute pitch, degree of the chord, interval from the last
    onset, from the one before it, from what the previous bar sounds at the same step, and from its onset of the same rank.
    """

    N_AROUND = 4  # rhythm seen on each side of a step

    def __init__(self, n_hidden, n_step, n_summary, n_rhythm, dropout, input_dropout):
        super().__init__()
        self.n_rhythm = n_rhythm
        self.previous = PreviousBar(n_step, n_summary, dropout)
        self.start = nn.Linear(n_summary, n_hidden)
        self.place = nn.Parameter(torch.zeros(N_STEPS, 3 * n_hidden))
        self.whole = nn.Linear(N_STEPS * N_RHYTHM, N_STEPS * n_rhythm)
        self.known = nn.Linear(2 * self.N_AROUND * N_RHYTHM + n_rhythm + 2 * n_step + 26 + 2 * 24, 3 * n_hidden, bias=False)
        self.context = nn.Linear(n_summary, 3 * n_hidden)
        self.own = nn.Linear(24 + 24 + N_PITCHES + N_INTERVALS, 3 * n_hidden, bias=False)
        self.cell = GruCell(n_hidden)
        self.dropout = nn.Dropout(dropout)
        self.input_dropout = nn.Dropout(input_dropout)
        self.absolute = nn.Linear(n_hidden, N_PITCHES)
        self.degree = nn.Linear(n_hidden, 24)
        self.interval = nn.Linear(n_hidden, N_ORIGINS * N_INTERVALS)

    def begin(self, previous, degrees, relation, slots, around, known):
        """All that does not depend on the bar's pitches: gates (B, 16, 3H), hidden (B, H).

        slots (B, 16, 26) = the step's chord (mode, and the other half's chord seen from it), around = rhythm (B, 16, 3) one-hot,
        known (B, 16, 48) = degrees of the previous bar's pitch at the same step and of its onset of the same rank.
        """
        steps, summary = self.previous(previous, degrees, relation)
        # The step's own state is left out: where the bar holds or rests the logits still say which pitch an onset would take.
        n = self.N_AROUND
        padded = F.pad(around, (0, 0, n, n))
        windows = [padded[:, w:w + N_STEPS] for w in range(2 * n + 1) if w != n]
        whole = torch.relu(self.whole(around.reshape(-1, N_STEPS * N_RHYTHM))).reshape(-1, N_STEPS, self.n_rhythm)
        ahead = F.pad(steps[:, 1:], (0, 0, 0, 1))
        known = self.input_dropout(torch.cat([*windows, whole, steps, ahead, slots, known], -1))
        return self.known(known) + self.place + self.context(summary).unsqueeze(1), torch.tanh(self.start(summary))

    def logits(self, hidden, degree_maps, origins, spread):
        """hidden (..., n, H) of n steps under one chord, degree_maps (..., 36, 24), origins (..., n, 144) -> (..., n, 36)."""
        hidden = self.dropout(hidden)
        degree = self.degree(hidden) @ degree_maps.transpose(-1, -2)
        return self.absolute(hidden) + degree + spread(self.interval(hidden), origins)


class Melody(nn.Module):
    """A bar's melody from two chords and the previous bar: first its rhythm, then its pitches.

    log p(bar) = sum over steps of log p(onset/hold/rest) + sum over onsets of log p(pitch), exact.
    """

    def __init__(self, rhythm_hidden, pitch_hidden, n_step, n_summary, n_rhythm, rhythm_dropout, pitch_dropout, input_dropout):
        super().__init__()
        self.tables = MelodyTables()
        self.rhythm = RhythmStage(rhythm_hidden, n_step, n_summary, rhythm_dropout)
        self.pitch = PitchStage(pitch_hidden, n_step, n_summary, n_rhythm, pitch_dropout, input_dropout)
        slot_of_step = torch.arange(N_STEPS) // STEPS_PER_SLOT
        self.register_buffer("slot_of_step", F.one_hot(slot_of_step, SLOTS_PER_BAR).float(), persistent=False)

    def relate(self, chords, previous):
        """Everything relative that depends on the conditions alone.

        chords (B, 2, 24), previous (B, 16, 38) -> degree maps (B, 2, 36, 24), degrees of the previous bar's onsets in the
        first chord (B, 16, 24), second chord seen from the first (B, 24), per-step chord features (B, 16, 26).
        """
        maps = self.tables.degree_map(chords)
        degrees = previous[..., :N_PITCHES] @ maps[:, 0]
        relation = self.tables.relation(chords[:, 0], chords[:, 1])
        back = self.tables.relation(chords[:, 1], chords[:, 0])
        mode = torch.stack([chords[..., :12].sum(-1), chords[..., 12:].sum(-1)], -1)  # (B, 2, 2)
        slots = torch.cat([torch.stack([relation, back], 1), mode], -1)  # (B, 2, 26)
        return maps, degrees, relation, self.slot_of_step @ slots

    def degrees_here(self, pitches, maps):
        """Degrees of per-step pitches in the chord of their own half: (B, 16, 36) x (B, 2, 36, 24) -> (B, 16, 24)."""
        halves = pitches.reshape(-1, SLOTS_PER_BAR, STEPS_PER_SLOT, N_PITCHES) @ maps
        return halves.reshape(-1, N_STEPS, 24)

    def known_pitches(self, previous, maps, onset_now):
        """The previous bar's pitch at the same step and its onset of the same rank: pitches (B, 16, 72), degrees (B, 16, 48)."""
        pitches = previous[..., :N_PITCHES]
        sounding, same_order = self.tables.sounding(pitches), self.tables.same_order(pitches, onset_now)
        known = torch.cat([self.degrees_here(sounding, maps), self.degrees_here(same_order, maps)], -1)
        return torch.cat([sounding, same_order], -1), known

    def rhythm_log_prob(self, states, previous, chords):
        """Teacher-forced log p(rhythm) of real bars in nats (B,): states, previous (B, 16) of 0..37, 255 = no bar; chords (B, 2)."""
        previous, chords = state_one_hot(previous), triad_one_hot(chords)
        _, degrees, relation, _ = self.relate(chords, previous)
        truth = F.one_hot(rhythm_of(states), N_RHYTHM).float()
        return (self.rhythm(previous, degrees, relation, truth) * truth).sum((1, 2))

    def pitch_log_prob(self, states, previous, chords):
        """Teacher-forced log p(pitches | rhythm) of real bars in nats (B,); arguments as `rhythm_log_prob`."""
        bar, previous, chords = state_one_hot(states), state_one_hot(previous), triad_one_hot(chords)
        maps, degrees, relation, slots = self.relate(chords, previous)
        truth = F.one_hot(rhythm_of(states), N_RHYTHM).float()
        onset = truth[..., ONSET_R:ONSET_R + 1]
        given, known = self.known_pitches(previous, maps, onset)
        gates, hidden = self.pitch.begin(previous, degrees, relation, slots, truth, known)
        pitches = bar[..., :N_PITCHES]
        heard, heard_before = self.tables.last_onsets(previous[..., :N_PITCHES]), []
        for onset_t, pitch_t in zip(onset.unbind(1), pitches.unbind(1)):
            heard_before.append(heard)
            heard = self.tables.hear(heard, onset_t, pitch_t)
        heard = torch.stack(heard_before, 1)  # (B, 16, 2, 36)
        last, second = heard.unbind(2)
        own = torch.cat([self.degrees_here(last, maps), self.degrees_here(second, maps), last,
                         self.tables.interval_counted(last, second)], -1)
        gates = gates + self.pitch.own(self.pitch.input_dropout(own))
        outputs = []
        for gates_t in gates.unbind(1):
            hidden = self.pitch.cell(gates_t, hidden)
            outputs.append(hidden)
        hidden, origins = (x.reshape(-1, SLOTS_PER_BAR, STEPS_PER_SLOT, x.shape[-1])
                           for x in (torch.stack(outputs, 1), torch.cat([last, second, given], -1)))
        logits = self.pitch.logits(hidden, maps, origins, self.tables.spread_gathered).reshape(pitches.shape)
        return (torch.log_softmax(logits, -1) * pitches).sum((1, 2))


class ScanPlaceholder(torch.autograd.Function):
    """What `over_steps` leaves in an exported graph; `export.py` puts an ONNX Scan in its place.

    Unrolled, the 16 steps of both stages are 1,700 nodes, over which tract takes 1.7 s of CPU to load, and 0.15 s over these 250.
    """

    DOMAIN = "barline"

    @staticmethod
    def forward(ctx, step, shapes, outputs, *tensors):
        return tuple(torch.zeros(shape, dtype=dtype) for shape, dtype in outputs)

    @staticmethod
    def symbolic(graph, step, shapes, outputs, *tensors):
        made = graph.op(f"{ScanPlaceholder.DOMAIN}::{step}", *tensors, outputs=len(outputs), shapes_s=json.dumps(shapes))
        return tuple(out.setType(tensors[0].type().with_dtype(dtype).with_sizes(shape)) for out, (shape, dtype) in zip(made, outputs))


def over_steps(sampler, step, states, inputs, shapes=None, batched=True):
    """Run sampler.<step>(*states, *inputs of step t) -> (*next states, *y) along axis 1 of the inputs (B, T, ...).

    Returns the last states and all y, (B, T, *shape) for each of `shapes`; without them one y of the last input's shape. Not `batched`:
    in an export there is no batch axis, and axis 0 is run along.
    """
    shapes = (inputs[-1].shape[2:],) if shapes is None else shapes
    if torch.onnx.is_in_onnx_export():
        # The scanned axis comes first: for any other ONNX Runtime copies the whole input.
        batch = (1,) if batched else ()
        inputs = [x.reshape(x.shape[1], 1, *x.shape[2:]) for x in inputs] if batched else inputs
        arguments = [[[[int(n) for n in x.shape[skip:]], str(x.dtype).removeprefix("torch.")] for x in tensors]
                     for tensors, skip in ((states, 0), (inputs, 1))]
        n_steps = int(inputs[0].shape[0])
        outputs = [([int(n) for n in x.shape], x.dtype) for x in states]
        outputs += [([n_steps, *batch, *(int(n) for n in shape)], torch.float32) for shape in shapes]
        out = ScanPlaceholder.apply(step, arguments, outputs, *states, *inputs)
        return *out[:len(states)], *(y.reshape(*batch, n_steps, *shape) for y, shape in zip(out[len(states):], shapes))
    out = []
    for inputs_t in zip(*(x.unbind(1) for x in inputs)):
        values = getattr(sampler, step)(*states, *inputs_t)
        states, y = values[:len(states)], values[len(states):]
        out.append(y)
    return *states, *(torch.stack(y, 1) for y in zip(*out))


class MelodySampler(nn.Module):
    """The released graph of `Melody`: draws one bar inside the graph and gives logits whose argmax is that bar.

    Gumbel-max sampling: each decision is the argmax of log p / temperature + Gumbel noise, and the perturbed values are the
    output (up to a constant per step), so the gap between the winner and the others is how narrowly it won, and more noise at decoding changes the
    narrow decisions first. Per step the pitch logits are a[onset] + b[pitch] - max b, rest a[rest], hold a[hold] (a, b the
    perturbed rhythm and pitch values), moved so that the largest is `TOP_LOGIT`; all others lie at least one int8 step below.

    `rhythm_min_p`: a rhythm state less likely than this share of the likeliest one is made e^-`TAIL_PENALTY` times as likely.
    Sixteen draws of a few per cent each invent rhythms that no song has; a temperature low enough to prevent that would also
    take the syncopation.

    `rhythm_bias` (16, 3) is added to the log-probabilities of onset, hold and rest of each step. It calibrates notes and rests
    (DESIGN 1.2) step by step, because a temperature below 1 favours holds and the strong steps.
    """

    def __init__(self, melody, rhythm_temperature=1.0, pitch_temperature=1.0, rhythm_min_p=0.0, rhythm_bias=None):
        super().__init__()
        self.melody = melody
        self.rhythm_temperature = rhythm_temperature
        self.pitch_temperature = pitch_temperature
        self.rhythm_floor = math.log(max(rhythm_min_p, 1e-9))
        self.register_buffer("rhythm_bias", torch.zeros(N_STEPS, N_RHYTHM) if rhythm_bias is None else rhythm_bias)

    def rhythm_step(self, last, follows, hidden, before, gates, place, gumbel):
        """States, then inputs of `RhythmStage.step`, and gumbel (B, 3) -> the next states and the perturbed values (B, 3)."""
        logits, hidden = self.melody.rhythm.step(last, follows, hidden, before, gates, place)
        unlikely = (logits - logits.amax(-1, keepdim=True) < self.rhythm_floor).float()
        perturbed = (logits - TAIL_PENALTY * unlikely) / self.rhythm_temperature + gumbel
        last = one_hot_of_largest(perturbed)
        return last, follows * (last * before).sum(-1, keepdim=True), hidden, perturbed

    def pitch_step(self, heard, hidden, gates, here, given, onset, gumbel):
        """States heard (B, 2, 36) = the last two onsets, hidden (B, H); inputs gates (B, 3H), here (B, 36, 24) = the chord's
        degrees, given (B, 72), onset (B, 1), gumbel (B, 36) -> the next states and the perturbed values (B, 36).
        """
        tables, pitch = self.melody.tables, self.melody.pitch
        flat = heard.reshape(-1, 2 * N_PITCHES)
        interval = tables.interval(heard[:, :1], heard[:, 1:])[:, 0]
        own = torch.cat([(heard @ here).reshape(-1, 2 * 24), flat[:, :N_PITCHES], interval], -1)
        hidden = pitch.cell(gates + pitch.own(own), hidden)
        logits = (pitch.degree(hidden).unsqueeze(1) @ here.transpose(1, 2))[:, 0] + pitch.absolute(hidden)
        logits = logits + tables.spread(pitch.interval(hidden), torch.cat([flat, given], -1))
        perturbed = logits / self.pitch_temperature + gumbel
        return tables.hear(heard, onset, onset * one_hot_of_largest(perturbed)), hidden, perturbed

    def forward(self, noise, chords, previous_bar):
        """noise (B, 16, 39), chords (B, 2, 24), previous_bar (B, 16, 38) -> logits (B, 1, 16, 38)."""
        net = self.melody
        gumbel = gumbel_of(noise)
        maps, degrees, relation, slots = net.relate(chords, previous_bar)

        rhythm_gumbel = gumbel[..., :N_RHYTHM] + self.rhythm_bias / self.rhythm_temperature
        before, gates, hidden = net.rhythm.begin(previous_bar, degrees, relation)
        place = net.rhythm.place_head.expand(before.shape)
        *_, perturbed = over_steps(self, "rhythm_step", (*net.rhythm.first(before), hidden), (before, gates, place, rhythm_gumbel))
        rhythm = one_hot_of_largest(perturbed)  # (B, 16, 3)

        onset = rhythm[..., ONSET_R:ONSET_R + 1]
        given, known = net.known_pitches(previous_bar, maps, onset)
        gates, hidden = net.pitch.begin(previous_bar, degrees, relation, slots, rhythm, known)
        heard = net.tables.last_onsets(previous_bar[..., :N_PITCHES])  # (B, 2, 36)
        here = maps[:, net.slot_of_step.argmax(-1)]  # (B, 16, 36, 24)
        *_, b = over_steps(self, "pitch_step", (heard, hidden), (gates, here, given, onset, gumbel[..., N_RHYTHM:]))  # (B, 16, 36)
        pitches = perturbed[..., ONSET_R:ONSET_R + 1] + b - b.amax(-1, keepdim=True)
        logits = torch.cat([pitches, perturbed[..., REST_R:REST_R + 1], perturbed[..., HOLD_R:HOLD_R + 1]], -1)
        below = logits - logits.amax(-1, keepdim=True)
        return (below - LOGIT_STEP * (1 - one_hot_of_largest(below)) + TOP_LOGIT).unsqueeze(1)


# MidiNet ------------------------------------------------------------------------------------------------------------

MIDI_ROWS = 128
N_CHORD = 13  # 12 roots and a minor flag, per half bar
FOLD_LOWEST, FOLD_HIGHEST = 60, 83
LENGTHS = (2, 4, 8, 16)


def midinet_chords(triads):
    """(..., 2, 24) one-hot triads -> (..., 2, 13): 12 one-hot roots, then 1 for minor. The root is the minor chord's own."""
    return torch.cat([triads[..., :12] + triads[..., 12:], triads[..., 12:].sum(-1, keepdim=True)], -1)


def fold_matrix():
    """(128, 128): moves each MIDI pitch by octaves into 60..83; rows outside stay in the matrix so that collapse shows."""
    pitch = torch.arange(MIDI_ROWS)
    folded = torch.where(pitch < FOLD_LOWEST, FOLD_LOWEST + (pitch - FOLD_LOWEST) % 12,
                         torch.where(pitch > FOLD_HIGHEST, FOLD_HIGHEST - 11 + (pitch - FOLD_HIGHEST + 11) % 12, pitch))
    return F.one_hot(folded, MIDI_ROWS).float()


def lengthen(onsets):
    """Remove rests by lengthening the note before; what precedes the first note takes the first note.

    onsets (B, 16, 128) one-hot at onsets, 0 at rests and holds -> (B, 16, 128) one note per step; 0 for a bar without notes.
    """
    out = []
    sounding = torch.zeros_like(onsets[:, 0])
    for t in range(N_STEPS):
        onset = onsets[:, t]
        sounding = onset + (1 - onset.sum(-1, keepdim=True)) * sounding
        out.append(sounding)
    for t in range(N_STEPS - 2, -1, -1):
        out[t] = out[t] + (1 - out[t].sum(-1, keepdim=True)) * out[t + 1]
    return torch.stack(out, 1)


def leaky(x):
    """The LeakyReLU of the released code."""
    return F.leaky_relu(x, 0.2)


def slot_rows(chords, length):
    """Chord slots repeated over the steps they cover: (B, 2, 13) -> (B, length, 13)."""
    return chords.repeat_interleave(length // SLOTS_PER_BAR, 1)


class Rows(nn.Module):
    """BatchNorm over the channels of (B, length, C): each row is a sample, as in a convolution of width 1."""

    def __init__(self, n_channels):
        super().__init__()
        # TensorFlow's decay 0.9 is PyTorch's momentum 0.1.
        self.norm = nn.BatchNorm1d(n_channels, eps=1e-5, momentum=0.1)

    def forward(self, x):
        return self.norm(x.flatten(0, -2)).reshape(x.shape)


class MidiNetGenerator(nn.Module):
    """MidiNet's generator with its conditioner CNN.

    The (transposed) convolutions of the released code have width 1 and stride equal to their length, so they are linear
    layers over reshaped rows, which run six times faster on a CPU. With two chord slots per bar the fully connected layers
    see both (26 values), each row of the convolutional part sees the slot it lies in (13 values, the paper's channel count).

    `chords`: whether chords enter. `previous`: "all" levels see the previous bar, or "last" only.

    Source: Yang, Chou, Yang 2017 (MidiNet), sizes of the released `v1/model.py`.
    """

    def __init__(self, n_noise, chords, previous, n_filters, n_conditioner):
        super().__init__()
        if previous not in ("all", "last"):
            raise ValueError(f'previous must be "all" or "last", not {previous!r}')
        self.chords, self.previous = chords, previous
        self.n_filters, self.n_conditioner = n_filters, n_conditioner
        n_chord, n_both = (N_CHORD, SLOTS_PER_BAR * N_CHORD) if chords else (0, 0)
        self.fc1 = nn.Linear(n_noise + n_both, 1024)
        self.fc1_norm = Rows(1024)
        self.fc2 = nn.Linear(1024 + n_both, 2 * n_filters)
        self.fc2_norm = Rows(2 * n_filters)
        widths = [n_filters + n_chord + (n_conditioner if self.sees_previous(level) else 0) for level in range(4)]
        self.up = nn.ModuleList(nn.Linear(width, 2 * n_filters) for width in widths[:3])
        self.up_norm = nn.ModuleList(Rows(n_filters) for _ in range(3))
        self.out = nn.Linear(widths[3], MIDI_ROWS)
        self.down = nn.ModuleList(
            [nn.Linear(MIDI_ROWS, n_conditioner)] + [nn.Linear(2 * n_conditioner, n_conditioner) for _ in range(3)])
        self.down_norm = nn.ModuleList(Rows(n_conditioner) for _ in range(4))

    def sees_previous(self, level):
        """Whether the level of length `LENGTHS[level]` is given the previous bar."""
        return self.previous == "all" or level == 3

    def condition(self, previous):
        """previous (B, 16, 128) -> feature maps of length 2, 4, 8, 16 and `n_conditioner` channels."""
        maps, x = [], previous
        for level, (layer, norm) in enumerate(zip(self.down, self.down_norm)):
            if level:
                x = x.reshape(-1, x.shape[1] // 2, 2 * self.n_conditioner)
            x = leaky(norm(layer(x)))
            maps.append(x)
        return maps[::-1]

    def forward(self, noise, chords, previous):
        """noise (B, n_noise), chords (B, 2, 13), previous (B, 16, 128) -> activations before the sigmoid (B, 16, 128)."""
        both = [chords.flatten(1)] if self.chords else []
        maps = self.condition(previous)
        x = torch.relu(self.fc1_norm(self.fc1(torch.cat([noise, *both], -1))))
        x = torch.relu(self.fc2_norm(self.fc2(torch.cat([x, *both], -1)))).reshape(-1, 2, self.n_filters)
        for level, length in enumerate(LENGTHS):
            seen = [slot_rows(chords, length)] if self.chords else []
            seen += [maps[level]] if self.sees_previous(level) else []
            x = torch.cat([x, *seen], -1)
            if level == 3:
                return self.out(x)
            x = self.up[level](x).reshape(-1, 2 * length, self.n_filters)
            x = torch.relu(self.up_norm[level](x))


class MidiNetDiscriminator(nn.Module):
    """MidiNet's discriminator: two convolutions over time and two fully connected layers, the chord joined at each.

    Source: released `v1/model.py`; the first layer's output is the feature-matching layer.
    """

    def __init__(self, chords):
        super().__init__()
        self.chords = chords
        n_chord, n_both = (N_CHORD, SLOTS_PER_BAR * N_CHORD) if chords else (0, 0)
        self.conv1 = nn.Linear(2 * (MIDI_ROWS + n_chord), 14)
        self.conv2 = nn.Linear(4 * (14 + n_chord), 77)
        self.conv2_norm = Rows(77)
        self.fc1 = nn.Linear(3 * 77 + n_both, 1024)
        self.fc1_norm = Rows(1024)
        self.fc2 = nn.Linear(1024 + n_both, 1)

    def forward(self, bar, chords):
        """bar (B, 16, 128) in 0..1, chords (B, 2, 13) -> logit (B, 1), features (B, 8, 14)."""
        both = [chords.flatten(1)] if self.chords else []
        x = torch.cat([bar, slot_rows(chords, N_STEPS)], -1) if self.chords else bar
        features = leaky(self.conv1(x.reshape(-1, N_STEPS // 2, 2 * x.shape[-1])))
        x = torch.cat([features, slot_rows(chords, N_STEPS // 2)], -1) if self.chords else features
        windows = torch.cat([x[:, start:start + 5:2] for start in range(4)], -1)  # kernel 4, stride 2: (B, 3, 4C)
        x = leaky(self.conv2_norm(self.conv2(windows))).flatten(1)
        x = leaky(self.fc1_norm(self.fc1(torch.cat([x, *both], -1))))
        return self.fc2(torch.cat([x, *both], -1)), features


def init_midinet(net):
    """Weights N(0, 0.02), biases 0, as released."""
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.02)
            nn.init.zeros_(module.bias)


def folded(linear, norm, n_repeats):
    """A linear layer with the following BatchNorm (in eval mode) folded in; the norm's channels repeat `n_repeats` times."""
    norm = norm.norm
    scale = (norm.weight / torch.sqrt(norm.running_var + norm.eps)).repeat(n_repeats)
    shift = norm.bias.repeat(n_repeats) - norm.running_mean.repeat(n_repeats) * scale
    out = nn.Linear(linear.in_features, linear.out_features)
    out.weight.data = linear.weight * scale.unsqueeze(-1)
    out.bias.data = linear.bias * scale + shift
    return out


class MidiNetSampler(nn.Module):
    """The released graph of MidiNet: generator and conditioner with BatchNorm folded, in the host's 130-class coding.

    The previous bar arrives as onset, rest and hold; rests are lengthened away and pitches folded into 60..83 inside the
    graph, as in the training data. The activations before the sigmoid are scaled so that they fit the host's int8 range;
    the hold column is a constant that lies below the strongest pitch of all but the weakest steps, so it wins only where
    the host lowers the pitches (threshold above 0.5); the rest column never wins.

    Conditions join as sums of products, not as concatenations of broadcast tensors: tract's optimiser refuses those.
    """

    def __init__(self, generator, scale, hold_level, pitch_bias=0.0):
        super().__init__()
        g = generator.eval()
        self.g = g
        with torch.no_grad():
            self.fc1 = folded(g.fc1, g.fc1_norm, 1)
            self.fc2 = folded(g.fc2, g.fc2_norm, 1)
            self.up = nn.ModuleList(folded(layer, norm, 2) for layer, norm in zip(g.up, g.up_norm))
            self.down = nn.ModuleList(folded(layer, norm, 1) for layer, norm in zip(g.down, g.down_norm))
        self.scale, self.hold_level, self.pitch_bias = scale, hold_level, pitch_bias
        self.register_buffer("fold", fold_matrix(), persistent=False)
        self.register_buffer("edge", torch.tensor([-8.0, hold_level]).repeat(N_STEPS, 1), persistent=False)

    def join(self, layer, x, chords, condition):
        """layer(cat(x, chord rows, condition)) as a sum: x (B, L, C), chords (B, 2, 13), condition (B, L, K) -> (B, L, out)."""
        length, start = x.shape[1], x.shape[2]
        y = F.linear(x, layer.weight[:, :start], layer.bias)
        if self.g.chords:
            own = F.linear(chords, layer.weight[:, start:start + N_CHORD])  # (B, 2, out)
            n_out = own.shape[-1]
            halves = y.reshape(-1, SLOTS_PER_BAR, length // SLOTS_PER_BAR, n_out) + own.unsqueeze(2)
            y, start = halves.reshape(-1, length, n_out), start + N_CHORD
        return y if condition is None else y + F.linear(condition, layer.weight[:, start:])

    def forward(self, noise, chords, previous_bar):
        """noise (B, 100), chords (B, 2, 24), previous_bar (B, 16, 130) -> logits (B, 1, 16, 130)."""
        previous = lengthen(previous_bar[..., :MIDI_ROWS] @ self.fold)
        chords = midinet_chords(chords)
        maps, x = [], previous
        for level, layer in enumerate(self.down):
            if level:
                x = x.reshape(-1, x.shape[1] // 2, 2 * self.g.n_conditioner)
            x = leaky(layer(x))
            maps.append(x)
        maps = maps[::-1]

        both = [chords.reshape(-1, SLOTS_PER_BAR * N_CHORD)] if self.g.chords else []
        x = torch.relu(self.fc1(torch.cat([noise, *both], -1)))
        x = torch.relu(self.fc2(torch.cat([x, *both], -1))).reshape(-1, 2, self.g.n_filters)
        for level, layer in enumerate([*self.up, self.g.out]):
            x = self.join(layer, x, chords, maps[level] if self.g.sees_previous(level) else None)
            if level < 3:
                x = torch.relu(x).reshape(-1, 2 * LENGTHS[level], self.g.n_filters)
        logits = (x * self.scale + self.pitch_bias).clamp(-8, TOP_LOGIT)
        edge = self.edge + 0 * logits[:, :, :2]  # the two constant columns, in the batch's shape
        return torch.cat([logits, edge], -1).unsqueeze(1)
