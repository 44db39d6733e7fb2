"""OPC UA: a plant behind a server (`client`), a tag table made from one (`browse`), a simulated plant that plays one (`server`).

Only `decode`, `session` and what they serve import asyncua; `client` and `address` can be read without it.
"""
