"""Claims of papers and of the course, replicated: `python -m experiments --list`.

A claim is a file here, `<author><year>_<claim>.py`, that defines `CLAIM` (see `claim.py`). Running
it writes `results/<same name>.json`, the only place that measured figures come from; the README's
tables are made from those files.
"""
