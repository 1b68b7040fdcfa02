"""Imported by the fork server, and by nothing else, for its one effect: the fork server dies with the agent.

By itself it lives as long as any of its workers, for each of them holds the pipe whose end it waits for; so after a
kill -9 of the agent a worker would go on scoring for nobody. Workers, in turn, die with the fork server.
"""

from node.lifeline import die_with_parent

die_with_parent()
