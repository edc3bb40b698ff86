"""Recordings, and a synthetic night, as Lab Streaming Layer streams.

This package stands beside the daemon and shares nothing with it but the wire. Files come in through
`recording`, the synthetic night through `synthetic`; `player` paces them onto an outlet of `wire`.
"""
