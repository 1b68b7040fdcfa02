"""Golden histories: what every branch of every orchestrator did on its recorded day, to be replayed by today's code.

A run that waits when a new version is deployed is replayed by that version. If it then asks for something else than
its history says, the run is stuck. So each history here is replayed turn by turn, and must ask for the same.
Record anew, after a change that no running instance can meet: `python -m tests.histories.record`.
"""
