"""Whether this Python has what requirements.txt pins: `python3 ensure.py requirements.txt`, exit code 0 or 1.

Runs on whatever python3 a machine has, from 3.6 on, with the standard library alone; so no newer syntax here.
"""

import re
import sys

OLDEST = (3, 13)


def pins(lines):
    """`["numpy==2.5.5  # why"] -> [("numpy", "2.5.5")]`. A line that is no exact pin is an error: it promises nothing."""
    found = []
    for line in lines:
        line = line.split("#")[0].strip()
        if not line:
            continue
        match = re.match(r"^([A-Za-z0-9._-]+)==([A-Za-z0-9.!+_-]+)$", line)
        if match is None:
            raise ValueError("not an exact pin: " + line)
        found.append((match.group(1), match.group(2)))
    return found


def lacking(wanted):
    """What is missing or of another version, as `name wanted (found)`."""
    from importlib import metadata

    lacks = []
    for name, version in wanted:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "none"
        if found != version:
            lacks.append("%s %s (%s)" % (name, version, found))
    return lacks


def main(path):
    if sys.version_info[:2] < OLDEST:
        sys.stderr.write("python %d.%d is older than %d.%d\n" % (sys.version_info[:2] + OLDEST))
        return 1
    with open(path, encoding="utf-8") as file:
        lacks = lacking(pins(file))
    for lack in lacks:
        sys.stderr.write("lacks " + lack + "\n")
    return 1 if lacks else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
