"""What Guardian keeps: the household's settings and the history, each in one SQLite file, and the list images.

One writer per file. A reader sees the old state or the new one, never half of a change.
"""
