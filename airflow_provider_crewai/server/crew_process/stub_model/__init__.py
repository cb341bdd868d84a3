"""A deterministic stand-in for a language model: an OpenAI-compatible endpoint on loopback, without a model behind it.

The same request always gets the same answer. It begins with `[stub:MODEL]` and says what it answers. A request for
structured output gets JSON that its schema accepts. Only a forced tool is called, so a crew with tools comes to an end.
"""

from .endpoint import serve, start

__all__ = ["serve", "start"]
