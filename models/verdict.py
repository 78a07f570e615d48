"""Which figures of a band come as near to held-out songs as they should, counted.

The rows are those of the correct metrics (`band_metrics.figures`); copying, classifier and legacy figures have no value to come near.
A figure that a column cannot have (a track that never plays) is as far as can be.
"""

import math

import numpy as np

import band_metrics

NEAR = 0.1  # of the data's value
JUDGED = ("empty bars", "notes per active bar", "pitches per bar", "pitch classes per bar", "notes of an eighth or longer", "polyphony",
          "polyphonic rate", "drum pattern", "onsets on eighths", "onsets on quarters", "tonal distance", "time in best scale",
          "bar-to-bar onset IoU", "diversity")
WITHIN = {"notes of an eighth or longer": 0.08, "tonal distance": 0.1, "bar-to-bar onset IoU": 0.1}
EMPTIER = 0.05
INTERVAL = 0.9


def interval(real, songs, n_draws=200, seed=0):
    """The figures' `INTERVAL` over songs drawn with replacement: real (onsets, sounding), songs (n,) -> two columns, low and high."""
    rng = np.random.default_rng(seed)
    names, song = np.unique(songs, return_inverse=True)
    rows_of = [np.flatnonzero(song == idx) for idx in range(len(names))]
    draws = []
    for _ in range(n_draws):
        rows = np.concatenate([rows_of[idx] for idx in rng.integers(len(names), size=len(names))])
        draws.append(band_metrics.figures(*(x[rows] for x in real), legacy=False))
    ends = (0.5 - INTERVAL / 2, 0.5 + INTERVAL / 2)
    values = {(metric, place): [draw[metric][place] for draw in draws] for metric, column in draws[0].items() for place in column}
    low, high = {}, {}
    for (metric, place), value in values.items():
        value = np.array(value)[~np.isnan(value)]
        for column, end in zip((low, high), ends):
            column.setdefault(metric, {})[place] = float(np.quantile(value, end)) if len(value) else math.nan
    return low, high


def rows_of(data, metrics=JUDGED):
    """(metric, place) of everything judged that the data has."""
    return [(metric, place) for metric in metrics for place, value in data.get(metric, {}).items() if not math.isnan(value)]


def off(column, data, row):
    """How far a column is from the data in a row."""
    metric, place = row
    value = column.get(metric, {}).get(place, math.nan)
    return math.inf if math.isnan(value) else abs(value - data[metric][place])


def nearest(columns, data):
    """The name of the column that comes nearest: by distance as a share of the data's value, at most 1, mean over all rows."""
    def far(column):
        return np.mean([min(off(column, data, row) / max(abs(data[row[0]][row[1]]), 1e-3), 1) for row in rows_of(data)])

    return min(columns, key=lambda name: far(columns[name]))


def judged(column, data, best, low, high):
    """{criterion: {row: met}} of a column; `best`: the column to be better than, `low` and `high`: of `interval`."""
    def rows(met, metrics=JUDGED):
        return {row: bool(met(row)) for row in rows_of(data, metrics)}

    def near(row):
        return off(column, data, row) <= NEAR * abs(data[row[0]][row[1]])

    out = {
        "within 10 % of the data, or half the best published distance": rows(lambda row: near(row) or off(column, data, row) < off(best, data, row) / 2),
        "no farther than the best published": rows(lambda row: off(column, data, row) <= off(best, data, row)),
        f"empty bars at most the data's + {EMPTIER}": rows(lambda row: column["empty bars"][row[1]] <= data["empty bars"][row[1]] + EMPTIER, ["empty bars"]),
    }
    for metric, distance in WITHIN.items():
        out[f"{metric} within {distance}"] = rows(lambda row: off(column, data, row) <= distance, [metric])
    drums = [row for row in rows_of(data, ["drum pattern", "onsets on eighths", "onsets on quarters"]) if row[1] == "Drums"]
    out["drums on the grid within 10 %"] = {row: near(row) for row in drums}
    out[f"inside the songs' {INTERVAL:.0%} interval".replace("%", " %")] = rows(
        lambda row: low[row[0]][row[1]] <= column.get(row[0], {}).get(row[1], math.nan) <= high[row[0]][row[1]])
    return out


def counts(verdicts):
    """{column: {criterion: {row: met}}} -> Markdown, a line per criterion: how many rows each column meets."""
    criteria = next(iter(verdicts.values()))
    lines = ["| criterion | of | " + " | ".join(verdicts) + " |", "|---|---|" + "---|" * len(verdicts)]
    for criterion, rows in criteria.items():
        met = " | ".join(str(sum(verdict[criterion].values())) for verdict in verdicts.values())
        lines.append(f"| {criterion} | {len(rows)} | {met} |")
    return "\n".join(lines)


def missed(verdict, columns):
    """What a column misses, as Markdown: a line per row, with the row's figures of all `columns` and the criteria."""
    rows = {}
    for criterion, of in verdict.items():
        for row, met in of.items():
            if not met:
                rows.setdefault(row, []).append(criterion)
    lines = ["| | | " + " | ".join(columns) + " | missed |", "|---|---|" + "---|" * (len(columns) + 1)]
    for (metric, place), criteria in rows.items():
        values = " | ".join(f"{column.get(metric, {}).get(place, math.nan):.3f}" for column in columns.values())
        lines.append(f"| {metric} | {place} | {values} | {'; '.join(criteria)} |")
    return "\n".join(lines)
