"""One module as a service: `calls` and `streams` run it, `state` counts and refuses, `http` reads and answers.

The application that puts them together is `modcore.serve.module_app`. Nothing here needs FastAPI: a call is a few
function calls between the socket and the module.
"""
