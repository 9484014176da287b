"""One joint likelihood of duels with and without draws, picks and rankings, and the strengths that make it largest.

Model i has strength theta_i (natural logarithm) and is chosen out of a set S with

    P(i | S)    = exp(theta_i) / sum over k in S of exp(theta_k)            (Bradley and Terry 1952; Luce 1959)
    P(draw | S) = nu exp((theta_i + theta_j) / 2) / (that sum + numerator)  (Davidson 1970), where one is offered

A ranking is a chain of choices, each out of what is left (Plackett 1975). Where ranks are equal and no draw was offered
the vote is the event that any of the orders it leaves open holds, whose probability is their sum. All of these are
log-concave in (theta, log nu), the sums by Prekopa's theorem, so there is one maximum.

A normal prior with a standard deviation of `PRIOR` on every theta and on log nu makes it finite, and unique: models
that always win, that nobody compared and draws that never happened stay where the prior holds them. Its cost: a theta
about which the votes have Fisher information I comes out short of its distance from the mean by 1 / (1 + I PRIOR^2). A
duel with an equal carries I = 1/4, so after 20 duels that is 1.2 %, after 200 it is 0.1 %.

Newton's method with step halving; the curvature is looked at anew where steps shrink too slowly, and where orders are
open it is that of the complete data (Lange 1995).
Many weightings of the same events (a bootstrap) are fitted at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from animetune.arena.ratings.events import Event

PRIOR = 4.0
"""Standard deviation of theta and of log nu: 695 points of Elo."""
STEPS = 500
TOLERANCE = 1e-10
"""The largest step, in natural logarithms, that is taken for none: 2e-8 points of Elo."""
_CHUNK = 4_000_000
"""Numbers in the largest array."""


class Likelihood:
    """The log-likelihood of weighted events over parameters (theta of each model, log nu)."""

    def __init__(self, events: Sequence[Event], models: int):
        self.models = models
        self.has_draws = any(event.offers_draw for event in events)
        self.parameters = models + self.has_draws
        sets: dict[tuple[bool, tuple[int, ...]], int] = {}
        orders: list[list[tuple[int, int]]] = []
        order_starts = []
        for event in events:
            order_starts.append(len(orders))
            orders += [
                [(sets.setdefault(key, len(sets)), alternative) for key, alternative in stages]
                for stages in _orders(event)
            ]
        width = max((len(_alternatives(*key)) for key in sets), default=1)
        self._features = np.zeros((len(sets), width, self.parameters))
        self._absent = np.ones((len(sets), width), dtype=bool)
        for (offers_draw, members), place in sets.items():
            for number, alternative in enumerate(_alternatives(offers_draw, members)):
                self._absent[place, number] = False
                for model in alternative:
                    self._features[place, number, model] += 1 / len(alternative)
                if len(alternative) == 2:
                    self._features[place, number, models] = 1
        self._flat = self._features.reshape(self._absent.size, self.parameters)
        depth = max(map(len, orders), default=1)
        nothing = len(sets) * width  # a stage that is not there, of log-probability 0
        self._stages = np.full((len(orders), depth), nothing)
        for number, stages in enumerate(orders):
            self._stages[number, : len(stages)] = [place * width + alternative for place, alternative in stages]
        self._order_starts = np.array(order_starts, dtype=np.intp)
        self._event_of_order = np.repeat(np.arange(len(events)), np.diff([*order_starts, len(orders)]))
        used = np.flatnonzero(self._stages.ravel() != nothing)
        by_cell = used[np.argsort(self._stages.ravel()[used], kind="stable")]
        self._cells, self._cell_starts = np.unique(self._stages.ravel()[by_cell], return_index=True)
        self._order_of_use = by_cell // depth

    def value(self, beta: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Log-likelihood and log-prior, float64 (n,), of `beta` (n, parameters) under `weights` (n, events)."""
        log_p, _ = self._log_choices(beta)
        return self._value(beta, weights, self._log_orders(log_p))

    def gradient(self, beta: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Its derivative, float64 (n, parameters)."""
        return self._slope(beta, weights)[1]

    def information(self, beta: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Fisher information of the complete data with the prior's, float64 (n, parameters, parameters)."""
        log_p, p = self._log_choices(beta)
        asked = self._chosen(weights, self._log_orders(log_p)).sum(axis=2)
        parameters = self.parameters
        if len(beta) > 1 and (beta == beta[0]).all():  # a bootstrap begins at one place
            mean = p[0, :, None] @ self._features
            spread = (self._features * p[0, ..., None]).transpose(0, 2, 1) @ self._features
            spread -= mean.transpose(0, 2, 1) @ mean
            information = (asked @ spread.reshape(len(spread), -1)).reshape(-1, parameters, parameters)
        else:
            information = np.empty((len(beta), parameters, parameters))
            for row in range(len(beta)):
                expected = (asked[row, :, None] * p[row]).reshape(-1, 1)
                means = (p[row, :, None] @ self._features)[:, 0]
                information[row] = (self._flat * expected).T @ self._flat - (means * asked[row, :, None]).T @ means
        return information + np.eye(parameters) / PRIOR**2

    def fit(self, weights: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
        """The maximum for each row of `weights` (n, events): float64 (n, parameters)."""
        beta = np.zeros((len(weights), self.parameters))
        if start is not None:
            beta += start
        if not self._absent.size:
            return beta
        rows = max(1, _CHUNK // max(1, self._absent.size, self._stages.size))
        for first in range(0, len(weights), rows):
            part = slice(first, first + rows)
            beta[part] = self._climb(beta[part], np.asarray(weights[part], dtype=np.float64))
        return beta

    def _climb(self, beta: np.ndarray, weights: np.ndarray) -> np.ndarray:
        beta = beta.copy()
        information = self.information(beta, weights)
        reach = np.full(len(beta), np.inf)
        active = np.arange(len(beta))
        for _ in range(STEPS):
            here, mass = beta[active], weights[active]
            value, gradient = self._slope(here, mass)
            step = np.linalg.solve(information[active], gradient[..., None])[..., 0]
            slow = np.abs(step).max(axis=1) > 0.3 * reach[active]
            if slow.any():  # the curvature is that of too far a place
                information[active[slow]] = self.information(here[slow], mass[slow])
                step[slow] = np.linalg.solve(information[active[slow]], gradient[slow][..., None])[..., 0]
            gain = (gradient * step).sum(axis=1)
            scale = np.ones(len(active))
            slack = 1e-13 * (1 + np.abs(value))  # what rounding takes
            for _ in range(60):
                reached = self.value(here + scale[:, None] * step, mass)
                is_short = reached < value + 1e-4 * scale * gain - slack
                if not is_short.any():
                    break
                scale[is_short] /= 2
            beta[active] = here + scale[:, None] * step
            reach[active] = np.abs(step).max(axis=1)
            active = active[reach[active] > TOLERANCE]
            if not len(active):
                return beta
        raise ArithmeticError(f"the ratings of {len(active)} weightings did not settle within {STEPS} steps")

    def _slope(self, beta: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Value and gradient."""
        log_p, p = self._log_choices(beta)
        log_orders = self._log_orders(log_p)
        chosen = self._chosen(weights, log_orders)
        surprise = chosen - chosen.sum(axis=2, keepdims=True) * p
        gradient = surprise.reshape(len(beta), -1) @ self._flat - beta / PRIOR**2
        return self._value(beta, weights, log_orders), gradient

    def _chosen(self, weights: np.ndarray, log_orders: np.ndarray) -> np.ndarray:
        """How often each alternative was chosen, expected over orders left open: (n, sets, width)."""
        n, (sets, width) = len(weights), self._absent.shape
        share = np.exp(log_orders - self._sum_orders(log_orders)[:, self._event_of_order])
        by_order = weights[:, self._event_of_order] * share
        chosen = np.zeros((n, sets * width))
        chosen[:, self._cells] = np.add.reduceat(by_order[:, self._order_of_use], self._cell_starts, axis=1)
        return chosen.reshape(n, sets, width)

    def _value(self, beta: np.ndarray, weights: np.ndarray, log_orders: np.ndarray) -> np.ndarray:
        value: np.ndarray = (weights * self._sum_orders(log_orders)).sum(axis=1)
        return value - (beta * beta).sum(axis=1) / (2 * PRIOR**2)

    def _log_choices(self, beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-probability of every alternative, flat and with a 0 behind, and the probabilities (n, sets, width)."""
        scores = (beta @ self._flat.T).reshape(len(beta), *self._absent.shape)
        scores[:, self._absent] = -np.inf
        top = scores.max(axis=2, keepdims=True)
        log_p = scores - top - np.log(np.exp(scores - top).sum(axis=2, keepdims=True))
        flat = np.concatenate([log_p.reshape(len(beta), -1), np.zeros((len(beta), 1))], axis=1)
        return flat, np.exp(log_p)

    def _log_orders(self, log_p: np.ndarray) -> np.ndarray:
        log_orders: np.ndarray = log_p[:, self._stages].sum(axis=2)
        return log_orders

    def _sum_orders(self, log_orders: np.ndarray) -> np.ndarray:
        """Log-probability of each event: the sum over the orders that it leaves open."""
        if len(self._order_starts) == log_orders.shape[1]:
            return log_orders
        top = np.maximum.reduceat(log_orders, self._order_starts, axis=1)
        sums = np.add.reduceat(np.exp(log_orders - top[:, self._event_of_order]), self._order_starts, axis=1)
        return top + np.log(sums)


def _alternatives(offers_draw: bool, members: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [*((model,) for model in members), *([members] if offers_draw else [])]


def _orders(event: Event) -> list[list[tuple[tuple[bool, tuple[int, ...]], int]]]:
    """For each order that the event leaves open: (set, which alternative of it) of every choice."""
    everyone = tuple(sorted(itertools.chain.from_iterable(event.groups)))
    if event.offers_draw:
        is_draw = len(event.groups) == 1
        return [[((True, everyone), 2 if is_draw else everyone.index(event.groups[0][0]))]]
    found = []
    ways = (itertools.permutations(group) for group in event.groups[:-1])  # the order of the last group is anyone's
    for parts in itertools.product(*ways):
        left, stages = list(everyone), []
        for model in itertools.chain.from_iterable(parts):
            stages.append(((False, tuple(left)), left.index(model)))
            left.remove(model)
            if len(left) == 1:
                break
        found.append(stages)
    return found
