"""The control room: a web app over run folders, on one PC without internet. It reads run folders and speaks by the inbox.

server    the app: routes, and what stands before them
desk      which runs there are, followed as they grow
security  headers, sessions, tokens, limits of rate
accounts  who may sign in, and their keys
stream    server-sent events: one rendering for all who look
pages/    one file for each page
api       the same as JSON, with OpenAPI
"""
