"""The HMM filter: a decoder that knows nothing but how often one stage follows another.

In come the encoder's five probabilities per epoch, or the news that an epoch could not be scored;
out go the stage probabilities given all epochs so far, and the chain's forecast from them. There
are no weights: the transitions are those of `sleepstream.stager.forecast`.
"""

from __future__ import annotations

import hashlib

from sleepstream.messages import Float32Array, Float64Array, frozen
from sleepstream.stager import forecast
from sleepstream.stager.decoder import DecoderOutput

_TINY = 1e-12


class HmmDecoder:
    """The forward algorithm over stages, in probabilities that are scaled at every epoch.

    The belief moves one step along the chain and is multiplied by the likelihood of what the
    encoder saw: its posterior over the class prior, by Bayes' rule. The prior is the chain's own
    stationary distribution, and it is raised to `prior_power`. At 1 that is the rule as it stands,
    which is right for a calibrated encoder whose errors are independent from one epoch to the
    next. They are not: an encoder that takes one N2 epoch for N1 takes its neighbours for N1 too,
    and each of them counts as new evidence that divides by the rare stage's small prior once more,
    so that rare stages are called too often. At 0 nothing is divided out and the prior counts
    twice, in the encoder and in the chain: rare stages vanish. Half-way is the geometric mean of
    the two likelihoods, and is the default.

    An unscorable epoch is a step along the chain with nothing seen.

    Parameters
    ----------
    prior_power : float
        From 0, nothing divided out, to 1, the whole prior.
    name : str
        What the model is called.

    Raises
    ------
    ValueError
        `prior_power` is out of range.

    References
    ----------
    Rabiner LR (1989). A tutorial on hidden Markov models and selected applications in speech
    recognition. Proceedings of the IEEE 77(2):257-286.
    Bourlard H, Morgan N (1994). Connectionist Speech Recognition: A Hybrid Approach. Kluwer.
    (Posteriors over priors as scaled likelihoods.)
    """

    def __init__(self, prior_power: float = 0.5, name: str = "hmm") -> None:
        if not 0.0 <= prior_power <= 1.0:
            raise ValueError(f"prior_power is from 0 to 1, not {prior_power}")
        self.name = name
        self._matrix = forecast.transitions()
        self._settled = forecast.stationary(self._matrix)
        self._prior = self._settled**prior_power
        self.sha256 = hashlib.sha256(self._matrix.tobytes() + self._prior.tobytes()).hexdigest()
        self.reset()

    def step(
        self,
        probs: Float32Array | None,
        spectrum: Float32Array | None = None,  # noqa: ARG002
    ) -> DecoderOutput:
        """Take in one epoch's probabilities, None where it was unscorable."""
        self._belief = self._filtered(probs)
        return self._output(self._belief)

    def peek(
        self,
        probs: Float32Array | None,
        spectrum: Float32Array | None = None,  # noqa: ARG002
    ) -> DecoderOutput:
        """Say what `step` would say, and leave no trace."""
        return self._output(self._filtered(probs))

    def reset(self) -> None:
        """Forget the night."""
        self._belief = self._settled

    def _filtered(self, probs: Float32Array | None) -> Float64Array:
        predicted: Float64Array = self._belief @ self._matrix
        if probs is None:
            return predicted
        joint = predicted * (probs + _TINY) / self._prior
        filtered: Float64Array = joint / joint.sum()
        return filtered

    def _output(self, belief: Float64Array) -> DecoderOutput:
        return DecoderOutput(frozen(belief), *forecast.markov(belief, self._matrix))
