"""The networks that read a sequence of epochs: their base, and two that are an LSTM upon a CNN.

In come sequences of scaled epochs of one derivation, out go logits of the five stages for each
epoch of the sequence. Such a network is served causally: the newest epoch is the last of its
sequence, and what is said about it is all that is taken. A direction of reading that begins at the
end has then seen the newest epoch alone, so a network that was published for whole nights at hand
gives less here than there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sleepstream.messages import N_STAGES
from sleepstream.stager.networks import DeepSleepNet, TinySleepNet


class SequenceNetwork(nn.Module):
    """A network in two parts: one looks at an epoch, the other reads what was seen in order.

    An epoch that could not be scored is all zeros in its sequence, in training and in serving.

    Attributes
    ----------
    n_epochs : int
        Length of the sequences it is trained on. It reads shorter ones, at the start of a night.
    """

    n_epochs: int

    def represent(self, x: Tensor) -> Tensor:
        """Return what is seen in each epoch, shape (n, width), of `x`, shape (n, 1, 3000)."""
        raise NotImplementedError

    def classify(self, rows: Tensor) -> Tensor:
        """Return logits, shape (n, l, 5), of what was seen, shape (n, l, width)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, shape (n, l, 5), of sequences of epochs `x`, shape (n, l, 3000)."""
        n, length, n_samples = x.shape
        rows = self.represent(x.reshape(n * length, 1, n_samples))
        return self.classify(rows.reshape(n, length, -1))


class TinySleepNetLstm(SequenceNetwork):
    """TinySleepNet as published: the CNN, and an LSTM of 128 units that reads forwards.

    The published LSTM carries its state through the whole night; ours begins anew with each
    sequence, which is then the same function in training and in serving.

    References
    ----------
    .. [1] Supratak A, Guo Y. TinySleepNet: an efficient deep learning model for sleep stage
       scoring based on raw single-channel EEG. EMBC 2020:641-644.
    """

    n_epochs = 15

    def __init__(self) -> None:
        super().__init__()
        epoch = TinySleepNet()
        self.features = epoch.features
        self.lstm = nn.LSTM(epoch.classifier.in_features, 128, batch_first=True)
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(128, N_STAGES)

    def represent(self, x: Tensor) -> Tensor:
        """Return what the CNN sees, shape (n, 1920)."""
        rows: Tensor = self.features(x).flatten(1)
        return rows

    def classify(self, rows: Tensor) -> Tensor:
        """Return logits, shape (n, l, 5)."""
        logits: Tensor = self.classifier(self.dropout(self.lstm(rows)[0]))
        return logits


class DeepSleepNetLstm(SequenceNetwork):
    """DeepSleepNet as published: two CNN branches, two bidirectional LSTMs and a path around them.

    The published LSTM cells have peepholes and keep their state through the night; these have
    neither. The published training is in two steps, the CNN by itself on balanced epochs first.

    References
    ----------
    .. [1] Supratak A, Dong H, Wu C, Guo Y. DeepSleepNet: a model for automatic sleep stage
       scoring based on raw single-channel EEG. IEEE TNSRE 2017;25(11):1998-2008.
    """

    n_epochs = 25

    def __init__(self) -> None:
        super().__init__()
        epoch = DeepSleepNet()
        self.small, self.large = epoch.small, epoch.large
        width = epoch.classifier.in_features
        self.dropout = nn.Dropout(0.5)
        self.lstm = nn.LSTM(
            width, 512, num_layers=2, batch_first=True, bidirectional=True, dropout=0.5
        )
        self.around = nn.Linear(width, 1024, bias=False)
        self.norm = nn.BatchNorm1d(1024)
        self.classifier = nn.Linear(1024, N_STAGES)

    def represent(self, x: Tensor) -> Tensor:
        """Return what the two branches see, shape (n, 3072)."""
        return torch.cat((self.small(x).flatten(1), self.large(x).flatten(1)), dim=1)

    def classify(self, rows: Tensor) -> Tensor:
        """Return logits, shape (n, l, 5)."""
        rows = self.dropout(rows)
        around = self.norm(self.around(rows).transpose(1, 2)).transpose(1, 2).relu()
        logits: Tensor = self.classifier(self.dropout(self.lstm(rows)[0] + around))
        return logits
