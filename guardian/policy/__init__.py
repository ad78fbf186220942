"""The policy: frozen values in, one Decision out. Pure: no files, sockets or clocks; `now` is an argument.

Words: a *household* is all that parents set; a *profile* holds the rules of a child or group; a *device* belongs to a
profile; a *posture* is what a profile's settings come to at one moment; a *decision* is the answer about one name.
"""
