"""Modbus TCP: a client as a plant, and a server that plays a simulated one. Needs the extra `modbus` (pymodbus).

Modbus carries registers of 16 bits and coils of one, without types, units, status or time; `address` says how they are read.
"""
