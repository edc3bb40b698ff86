"""The last minutes of the conditioned signal, addressed by place on the 100 Hz grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sleepstream.messages import Float32Array


class Ring:
    """A ring buffer whose places are grid numbers.

    Parameters
    ----------
    n_rows : int
        Signals kept side by side.
    n_places : int
        How many samples are remembered.
    """

    def __init__(self, n_rows: int, n_places: int) -> None:
        self._data = np.zeros((n_rows, n_places), np.float32)
        self._real = np.zeros(n_places, np.bool_)
        self.end = 0

    @property
    def n_places(self) -> int:
        """How many samples are remembered."""
        return self._real.size

    def write(self, start: int, data: Float32Array, real: npt.NDArray[np.bool_]) -> None:
        """Write samples at `start`; places between the old end and `start` become missing.

        Parameters
        ----------
        start : int
            Grid number of the first sample, at or after `end`.
        data : ndarray of float32, shape (n_rows, n_samples)
        real : ndarray of bool, shape (n_samples,)

        Raises
        ------
        ValueError
            `start` lies before `end`: time does not run backwards on the grid.
        """
        if start < self.end:
            raise ValueError(f"write at {start} before the end {self.end}")
        self.skip_to(start)
        self.end = start + real.size
        keep = min(real.size, self.n_places)
        places = np.arange(self.end - keep, self.end) % self.n_places
        self._data[:, places] = data[:, real.size - keep :]
        self._real[places] = real[real.size - keep :]

    def skip_to(self, start: int) -> None:
        """Mark everything from the end to `start` as missing."""
        first = max(self.end, start - self.n_places)
        places = np.arange(first, start) % self.n_places
        self._data[:, places] = 0.0
        self._real[places] = False
        self.end = max(self.end, start)

    def read(self, start: int, stop: int) -> tuple[Float32Array, npt.NDArray[np.bool_]]:
        """Return copies of the samples `start` to `stop` (exclusive) and which of them are real.

        Parameters
        ----------
        start, stop : int
            Grid numbers, within the last `n_places` before `end`.

        Returns
        -------
        data : ndarray of float32, shape (n_rows, stop - start)
        real : ndarray of bool, shape (stop - start,)

        Raises
        ------
        ValueError
            The ring does not hold that stretch (any more, or yet).
        """
        if start < max(0, self.end - self.n_places) or stop > self.end:
            raise ValueError(f"[{start}, {stop}) is not within the ring, which ends at {self.end}")
        places = np.arange(start, stop) % self.n_places
        return self._data[:, places], self._real[places]
