"""The parents' console: a JSON API under /api/v1 with its OpenAPI document, and the pages of `webui/`.

`shapes` what travels as JSON, `routing` and `openapi` the frame, `console` what the calls work on, `api` the calls,
`app` and `process` the server around them.
"""
