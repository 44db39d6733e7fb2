"""The pages, one file each: what is on it (a struct), how it is rendered, what may be done from it."""
