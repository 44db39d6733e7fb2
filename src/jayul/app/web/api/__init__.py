"""The same as JSON, for programs: one table of endpoints makes the routes and the OpenAPI description.

Sign in with POST /api/v1/session; every request that changes something sends back its `csrf` as the header X-CSRF. `/events` is a
stream of server-sent events whose ids are ticks: a client that comes back with Last-Event-ID misses none: the journal keeps all.
"""
