"""Bytes of the network <-> values. Pure: no sockets, no clock.

A parser returns a value, or None (needs more bytes), or raises FormError; nothing else, ever; in linear time.
"""
