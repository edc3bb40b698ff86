"""The networks that see one epoch at a time, in the published shapes.

In come scaled epochs of one derivation, out go logits of the five stages. The networks that read a
sequence of epochs are in `sleepstream.stager.sequences` and `sleepstream.stager.seqsleepnet`.
"""

from __future__ import annotations

import torch
from torch import nn

from sleepstream.messages import N_STAGES


class _Block(nn.Module):
    """Padding, convolution without bias, batch norm, ReLU."""

    def __init__(
        self, n_in: int, n_out: int, size: int, stride: int, padding: tuple[int, int]
    ) -> None:
        super().__init__()
        self.pad = nn.ConstantPad1d(padding, 0.0)
        self.conv = nn.Conv1d(n_in, n_out, size, stride, bias=False)
        self.norm = nn.BatchNorm1d(n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.relu(self.norm(self.conv(self.pad(x))))
        return out


class TinySleepNet(nn.Module):
    """The single-epoch part of TinySleepNet: a small CNN and a linear classifier.

    The published network adds an LSTM over epochs (`sleepstream.stager.sequences`); here the
    night's context is the decoder's task. Shapes and padding are those of the PyTorch version
    published with SleepGPT, so that its weights can be imported.

    References
    ----------
    .. [1] Supratak A, Guo Y. TinySleepNet: an efficient deep learning model for sleep stage
       scoring based on raw single-channel EEG. EMBC 2020:641-644.
    .. [2] SleepGPT, https://github.com/yuty2009/sleepgpt
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _Block(1, 128, 50, 6, (24, 25)),
            nn.MaxPool1d(8),
            nn.Dropout(0.5),
            _Block(128, 128, 8, 1, (3, 4)),
            _Block(128, 128, 8, 1, (3, 4)),
            _Block(128, 128, 8, 1, (3, 4)),
            nn.MaxPool1d(4),
            nn.Dropout(0.5),
        )
        self.classifier = nn.Linear(1920, N_STAGES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (n, 5), of epochs `x`, shape (n, 1, 3000)."""
        logits: torch.Tensor = self.classifier(self.features(x).flatten(1))
        return logits


class DeepSleepNet(nn.Module):
    """The representation-learning part of DeepSleepNet and its classifier.

    Two CNN branches: small filters (Fs/2 wide, stride Fs/16) see when something happens, large
    ones (Fs*4, stride Fs/2) see which rhythms there are. The published network adds a
    bidirectional LSTM over epochs with a residual path (`sleepstream.stager.sequences`); here the
    night's context is the decoder's task.

    References
    ----------
    .. [1] Supratak A, Dong H, Wu C, Guo Y. DeepSleepNet: a model for automatic sleep stage
       scoring based on raw single-channel EEG. IEEE TNSRE 2017;25(11):1998-2008.
    """

    def __init__(self) -> None:
        super().__init__()
        # pools round up, as TensorFlow's "same" does: 16 x 128 and 8 x 128 outputs
        self.small = nn.Sequential(
            _Block(1, 64, 50, 6, (22, 22)),
            nn.MaxPool1d(8, ceil_mode=True),
            nn.Dropout(0.5),
            _Block(64, 128, 8, 1, (3, 4)),
            _Block(128, 128, 8, 1, (3, 4)),
            _Block(128, 128, 8, 1, (3, 4)),
            nn.MaxPool1d(4, ceil_mode=True),
        )
        self.large = nn.Sequential(
            _Block(1, 64, 400, 50, (175, 175)),
            nn.MaxPool1d(4, ceil_mode=True),
            nn.Dropout(0.5),
            _Block(64, 128, 6, 1, (2, 3)),
            _Block(128, 128, 6, 1, (2, 3)),
            _Block(128, 128, 6, 1, (2, 3)),
            nn.MaxPool1d(2, ceil_mode=True),
        )
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(3072, N_STAGES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (n, 5), of epochs `x`, shape (n, 1, 3000)."""
        both = torch.cat((self.small(x).flatten(1), self.large(x).flatten(1)), dim=1)
        logits: torch.Tensor = self.classifier(self.dropout(both))
        return logits
