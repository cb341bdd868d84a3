"""A deterministic stand-in for a language model: an OpenAI-compatible endpoint on loopback, without a model behind it.

The same request gets the same answer, marked `[stub:MODEL]` and saying what it answers. A request for structured
output gets JSON that is valid by its schema, a forced tool gets called, and nothing else is: a crew with tools comes
to an end.
"""

from .endpoint import serve, start

__all__ = ["serve", "start"]
