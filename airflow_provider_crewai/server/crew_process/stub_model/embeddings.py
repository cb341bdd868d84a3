"""`POST /embeddings`: texts that share words lie near each other."""

from __future__ import annotations

import base64
import math
import re
import zlib
from array import array
from typing import Any

from .asked import BadRequest, Json

# From https://platform.openai.com/docs/guides/embeddings and the models' cards. Other models get OpenAI's usual number.
_DIMENSIONS = {"text-embedding-3-large": 3072, "nomic-embed-text": 768, "mxbai-embed-large": 1024, "all-minilm": 384}
_USUAL_DIMENSIONS = 1536


def embedding(text: str, dimensions: int) -> list[float]:
    """Return a vector of length one. Texts that share words lie near each other, as the search of a memory needs."""
    vector = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()):
        drawn = zlib.crc32(word.encode())
        vector[drawn % dimensions] += 1 if drawn >> 31 else -1
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector] if length else [1.0] + [0.0] * (dimensions - 1)


def embeddings_body(body: Json) -> Json:
    """Answer `POST /embeddings`, with floats, or with base64 of little-endian floats as OpenAI's clients ask."""
    given = body.get("input")
    if not isinstance(given, (str, list)):
        raise BadRequest("'input' is required")
    one = isinstance(given, str) or all(isinstance(token, int) for token in given)  # a text, or a text in tokens
    texts = [str(text) for text in ([given] if one else given)]
    model = str(body.get("model") or "model")
    dimensions = body.get("dimensions") or _DIMENSIONS.get(model.partition(":")[0], _USUAL_DIMENSIONS)
    vectors: list[Any] = [embedding(text, dimensions) for text in texts]
    if body.get("encoding_format") == "base64":
        vectors = [base64.b64encode(array("f", vector).tobytes()).decode() for vector in vectors]
    data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    words = sum(len(text.split()) for text in texts)
    return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": words, "total_tokens": words}}
