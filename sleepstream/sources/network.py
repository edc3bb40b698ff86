"""Who is on the network: every stream that announces itself, and the one that is meant.

Enters: what liblsl hears, which anybody on the network may have said. Leaves: descriptions made
harmless, and the one stream among them that a user asked for. With `sleepstream.sources.lsl` this
is all of the daemon's input side that knows pylsl.

A name is no proof of identity: two headbands of one make announce the same one. So a search always
waits its full time, lists all matches, and refuses to choose between two.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice

import pylsl

from sleepstream.errors import StreamError
from sleepstream.plain import printable
from sleepstream.sources.description import Query, StreamDescription

SEARCH_S = 1.0
"""How long one look around takes. On one network every stream answers well within it."""

ANSWER_S, ASK_S = 5.0, 0.25
"""How long a stream that was announced may take to answer before it counts as a zombie, and how
long it is waited for at a time: somebody may want to stop us meanwhile."""

FORGET_S = 2.0
"""After so many seconds without an announcement a stream counts as gone from the network."""

MOST_CHANNELS, HIGHEST_SFREQ = 2048, 1e6
"""No recording of sleep has more; to receive a stream that claims to, takes all the memory."""

LONGEST_NAME, MOST_LISTED = 255, 16
"""Characters of a name, label or unit that are kept, and streams that one message lists."""

NO_ANSWER = (pylsl.util.TimeoutError, pylsl.util.LostError)  # not Python's TimeoutError


def never() -> bool:
    """Return that nobody wants to stop."""
    return False


def look_around(
    wait_s: float = SEARCH_S, stop: Callable[[], bool] = never
) -> dict[StreamDescription, pylsl.StreamInfo]:
    """Return every stream that announces itself within `wait_s` seconds, by description.

    Parameters
    ----------
    wait_s : float
        How long to listen, in seconds.
    stop : callable, optional
        Asked meanwhile whether to give up; then what has been heard so far is returned.
    """
    resolver = pylsl.ContinuousResolver(forget_after=wait_s + FORGET_S)
    deadline = time.monotonic() + wait_s
    while (left_s := deadline - time.monotonic()) > 0 and not stop():
        time.sleep(min(0.1, left_s))
    return {announced(info): info for info in resolver.results()}


def describe(info: pylsl.StreamInfo) -> StreamDescription:
    """Ask a stream for its channel labels and units; without them if it does not answer."""
    brief = announced(info)
    if not receivable(brief):
        return brief
    inlet = pylsl.StreamInlet(info, max_buflen=1, recover=False)  # it is asked, not listened to
    try:
        return described(brief, inlet.info(ANSWER_S))
    except NO_ANSWER:
        return brief
    finally:
        inlet.close_stream()


def receivable(stream: StreamDescription) -> bool:
    """Return whether a stream claims a size that some device could have."""
    return 0 < stream.n_channels <= MOST_CHANNELS and 0 <= stream.sfreq <= HIGHEST_SFREQ


def find(
    query: Query, timeout_s: float, on_wait: Callable[[str], None], stop: Callable[[], bool]
) -> pylsl.StreamInfo | None:
    """Wait for the stream that is meant.

    Parameters
    ----------
    query : Query
        Which one.
    timeout_s : float
        How long to look, in seconds; 0 for as long as it takes.
    on_wait : callable
        Told, in a sentence, whenever what is on the network changes while we wait.
    stop : callable
        Asked between looks whether to give up.

    Returns
    -------
    pylsl.StreamInfo or None
        None if `stop` said so.

    Raises
    ------
    StreamError
        None in time, or more than one that fits.
    """
    deadline = time.monotonic() + timeout_s if timeout_s else float("inf")
    told = None
    while not stop():
        left = deadline - time.monotonic()
        around = look_around(max(0.2, min(SEARCH_S, left)), stop)
        fitting = query.among(around)
        if len(fitting) > 1:
            raise _ambiguous(query, fitting)
        if fitting:
            # one more look: a second stream of that name may only be a little later
            around |= look_around(stop=stop)
            if stop():
                break
            fitting = query.among(around)
            if len(fitting) > 1:
                raise _ambiguous(query, fitting)
            return around[fitting[0]]
        if time.monotonic() >= deadline:
            raise StreamError(
                f"an LSL stream {query.text!r} (a name, type or source_id) within {timeout_s:g} s",
                _on_network(around),
                "start the sender, check the name with `sleepstream streams`, and see that the "
                "firewall lets LSL pass (UDP 16571, TCP 16572-16604)",
            )
        sentence = (
            f"waiting for an LSL stream {query.text!r}; on the network: {_on_network(around)}"
        )
        if sentence != told:
            on_wait(sentence)
            told = sentence
    return None


def announced(info: pylsl.StreamInfo) -> StreamDescription:
    """Return what a stream says to everybody: all but its channels."""
    return StreamDescription(
        name=_plain(info.name()),
        type=_plain(info.type()),
        source_id=_plain(info.source_id()),
        host=_plain(info.hostname()),
        uid=_plain(info.uid()),
        n_channels=int(info.channel_count()),
        sfreq=float(info.nominal_srate()),
        numeric=info.channel_format() != pylsl.cf_string,
    )


def described(brief: StreamDescription, answer: pylsl.StreamInfo) -> StreamDescription:
    """Add what a stream answered about its channels to what it said to everybody.

    Its size, rate and format stay those that it announced: the inlet was made for these.
    """
    told = list(islice(_channels(answer), brief.n_channels))
    told += [("", "")] * (brief.n_channels - len(told))
    return replace(
        brief,
        labels=tuple(label or f"channel {k + 1}" for k, (label, _) in enumerate(told)),
        units=tuple(unit for _, unit in told),
        synthetic=answer.desc().child_value("synthetic") == "true",
        ends=answer.desc().child_value("ends") == "true",
    )


def _channels(info: pylsl.StreamInfo) -> Iterator[tuple[str, str]]:
    """Yield label and unit of each channel that is described, as many as there are."""
    # pylsl does the same, but prints on our standard output where their number is odd
    channel = info.desc().child("channels").child("channel")
    while not channel.empty():
        yield _plain(channel.child_value("label")), _plain(channel.child_value("unit"))
        channel = channel.next_sibling("channel")


def _plain(text: str) -> str:
    return printable(text[:LONGEST_NAME])


def _ambiguous(query: Query, fitting: list[StreamDescription]) -> StreamError:
    listed = "".join(f"\n         {stream.selector}" for stream in fitting[:MOST_LISTED])
    return StreamError(
        f"one LSL stream {query.text!r}",
        f"{len(fitting)} that fit, and only you know whose is whose:{listed}",
        "give one of these lines to --lsl-stream"
        if len({stream.selector for stream in fitting}) == len(fitting)
        else "give each sender a source_id of its own, or stop all but one",
    )


def _on_network(around: Iterable[StreamDescription]) -> str:
    seen = sorted(f"{s.name!r} ({s.type or 'no type'}, {s.host})" for s in around)
    more = f" and {len(seen) - MOST_LISTED} more" if len(seen) > MOST_LISTED else ""
    return ", ".join(seen[:MOST_LISTED]) + more or "no stream at all"
