"""The terminal dashboard: in come estimates and reports on the stream, out goes one calm screen.

`board` keeps the state and owns the terminal, `view` is that state frozen, `layout` says what sits
where, `sections` draw one matter each, `drawing` makes plots of characters and `palette` has the
colours and shapes. Needs neither torch nor mne.
"""

from sleepstream.outputs.dashboard.board import Dashboard, DashboardScreen, screenshot
from sleepstream.outputs.dashboard.view import StreamHealth

__all__ = ["Dashboard", "DashboardScreen", "StreamHealth", "screenshot"]
