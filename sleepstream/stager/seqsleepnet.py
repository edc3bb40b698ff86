"""SeqSleepNet: what time and frequency show of each epoch, and what a sequence of epochs shows.

In come sequences of scaled epochs of one derivation at 100 Hz, out go logits of the five stages for
each epoch of the sequence.

References
----------
.. [1] Phan H, Andreotti F, Cooray N, Chén OY, De Vos M. SeqSleepNet: end-to-end hierarchical
   recurrent neural network for sequence-to-sequence automatic sleep staging. IEEE TNSRE
   2019;27(3):400-410.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sleepstream.messages import N_STAGES, SFREQ
from sleepstream.stager.sequences import SequenceNetwork

WINDOW = int(2 * SFREQ)
"""Samples in one window of the image: two seconds, and half of it to the next."""

N_FFT = 256
N_BINS = N_FFT // 2 + 1
N_FILTERS = 32
WIDTH = 64
"""Units of each recurrent layer in each direction, and of the attention."""

FLOOR = 1e-4
"""Power, in squared units of the scaled signal, below which there is nothing to see: missing
samples, or what an amplifier's low-pass took away."""


class SeqSleepNet(SequenceNetwork):
    """SeqSleepNet on one channel, with the published sizes.

    The image of an epoch is its log-power in 29 windows of 2 s and 129 frequency bins, each bin
    standardised over the training data (by the running statistics of a batch norm without weights).
    A filterbank of 32 triangles, each point weighted by a learned number between 0 and 1, makes 32
    bands of it; a bidirectional GRU reads the windows, attention sums them up; a bidirectional GRU
    reads the epochs. With three channels, as published, it would have 157 thousand parameters; the
    filterbanks and inputs of one make it 125 thousand.

    Beside the number of channels two things differ from the paper. The normalisation inside the
    recurrent cells is left out: library GRUs have none. And the paper averages what 20 sequences
    that hold the same epoch say of it, 19 of which end later; here only the one that ends with it
    counts.
    """

    n_epochs = 20
    window: Tensor
    triangles: Tensor

    def __init__(self) -> None:
        super().__init__()
        window = torch.hamming_window(WINDOW, periodic=False)
        # white noise of variance 1 has power 1
        self.register_buffer("window", window / window.square().sum().sqrt(), persistent=False)
        self.register_buffer("triangles", _triangles(), persistent=False)
        self.standardise = nn.BatchNorm1d(N_BINS, affine=False)
        self.filterbank = nn.Parameter(torch.randn(N_BINS, N_FILTERS))
        self.windows = nn.GRU(N_FILTERS, WIDTH, batch_first=True, bidirectional=True)
        self.attention = nn.Linear(2 * WIDTH, WIDTH)
        self.query = nn.Linear(WIDTH, 1, bias=False)
        self.epochs = nn.GRU(2 * WIDTH, WIDTH, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(0.25)
        self.classifier = nn.Linear(2 * WIDTH, N_STAGES)

    def image(self, x: Tensor) -> Tensor:
        """Return log-power, shape (n, 129, 29), of epochs `x`, shape (n, 1, 3000)."""
        pieces = x[:, 0].unfold(-1, WINDOW, WINDOW // 2) * self.window
        power = torch.fft.rfft(pieces, N_FFT).abs().square()
        logs: Tensor = (power + FLOOR).log().transpose(1, 2)
        return logs

    def represent(self, x: Tensor) -> Tensor:
        """Return what the first recurrent layer attends to in each epoch, shape (n, 128)."""
        image = self.standardise(self.image(x)).transpose(1, 2)
        bands = image @ (self.filterbank.sigmoid() * self.triangles)
        seen = self.dropout(self.windows(self.dropout(bands))[0])
        share = self.query(self.attention(seen).tanh()).softmax(dim=1)
        summed: Tensor = (share * seen).sum(dim=1)
        return summed

    def classify(self, rows: Tensor) -> Tensor:
        """Return logits, shape (n, l, 5)."""
        logits: Tensor = self.classifier(self.dropout(self.epochs(rows)[0]))
        return logits


def _triangles() -> Tensor:
    """Return the shape of a bank of overlapping triangles from 0 Hz to half the rate.

    Returns
    -------
    Tensor, shape (129, 32)
        Weight of each frequency bin in each band; a band reaches from its lower neighbour's peak
        to its upper neighbour's.
    """
    peaks = torch.linspace(0.0, N_BINS - 1.0, N_FILTERS + 2)
    distance = (torch.arange(N_BINS)[:, None] - peaks[1:-1]).abs()
    return F.relu(1.0 - distance / (peaks[1] - peaks[0]))
