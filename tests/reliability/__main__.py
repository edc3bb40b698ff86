"""``make faults``: the tables in ``docs/reliability.md``, made over real LSL.

Writes them if all rows were asked for, and leaves with 1 if anything is not as it has to be.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from reliability.cases import Case, all_cases
from reliability.crashes import a_stager, killed_night
from reliability.house import House, NotHereError, a_recording
from reliability.leaving import departures
from reliability.oracle import Oracle, Row
from reliability.table import faults_table, kills_table, leaving_table
from sleepstream_training.evaluation.documents import write
from sleepstream_training.evaluation.tables import Table

LEAVE_S = 2.0
"""A daemon that is asked to leave may take so long."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases that are asked for; return 0 if nothing was lost, doubled or different."""
    options = _options(arguments)
    cases = [case for case in all_cases() if options.only in case.name]
    if not cases:
        _say("no row has this in its name; there are:", *(f"\n  {c.name}" for c in all_cases()))
        return 2
    began_s, rows, troubles, tables = monotonic(), dict[Case, Row](), 0, list[Table]()
    with TemporaryDirectory(prefix="sleepstream-faults-") as name:
        folder = Path(name)
        recording = a_recording(folder)
        if not options.only:
            _say(f"kill -9, {options.kills} times without a wire …")  # first, as it forks
            how = killed_night(folder, options.kills, a_stager())
            left = departures(recording, folder)
            tables += [kills_table(how), leaving_table(left)]
            troubles += len(how.different) + sum(d.seconds > LEAVE_S for d in left)
        for case, row, problems in _lived(cases, recording, folder, options.jobs):
            if row is not None:
                rows[case] = row
            troubles += len(problems)
            _say("TROUBLE " if problems else "as it has to be" if row else "SKIPPED", case.name)
            _say(*(f"        {problem}\n" for problem in problems), end="")
    tables.append(faults_table([rows[case] for case in cases if case in rows]))
    _say("\n\n".join(table.markdown() for table in tables))
    _say(f"{len(rows)} rows in {(monotonic() - began_s) / 60:.0f} min, {troubles} troubles")
    if options.write and not options.only:
        write(options.write, {table.name: table for table in tables})
    return 1 if troubles else 0


def _lived(
    cases: Sequence[Case], recording: Path, folder: Path, n_jobs: int
) -> Iterator[tuple[Case, Row | None, tuple[str, ...]]]:
    """Yield each case, as it is over, with its row and what is wrong with it."""
    oracle = Oracle(recording)

    def live(number: int, case: Case) -> Row:
        here = folder / str(number)
        here.mkdir()
        return oracle.judge(case, House(case, recording, here).live())

    with ThreadPoolExecutor(n_jobs) as pool:
        waiting = {pool.submit(live, n, case): case for n, case in enumerate(cases)}
        for done in as_completed(waiting):
            case = waiting[done]
            try:
                row = done.result()
            except NotHereError as error:
                _say(f"{case.name}: {error}")
                yield case, None, ()
            except Exception as error:  # noqa: BLE001 - one bad case must not end the others
                yield case, None, ("".join(traceback.format_exception(error)),)
            else:
                yield case, row, row.problems


def _say(*words: str, end: str = "\n") -> None:
    sys.stdout.write(" ".join(words) + end)
    sys.stdout.flush()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="reliability", description=__doc__)
    parser.add_argument("--only", default="", help="rows with this in their name")
    parser.add_argument("--jobs", type=int, default=2, help="rows at a time (2)")
    parser.add_argument("--kills", type=int, default=200, help="kill -9 without a wire (200)")
    parser.add_argument("--write", type=Path, help="document to put the tables into")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
