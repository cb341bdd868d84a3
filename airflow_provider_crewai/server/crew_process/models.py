"""Which models a crew talks to: the author's own, any OpenAI-compatible endpoint, or the built-in stub (`--llm`)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from crew_process import stub_model

_KEY = "OPENAI_API_KEY"
_PLACEHOLDER = "no-key"
# OpenAI's client and crewai's LLM read the first, crewai's default embedder the second (1.15.2 to 1.15.30).
_ENDPOINTS = ("OPENAI_BASE_URL", "OPENAI_API_BASE")

# What an author says about where a model is and who calls it: not true of another endpoint, and none of its business.
_ABOUT_THE_ENDPOINT = frozenset(
    "provider custom_openai llm_type api_key base_url api_base organization project default_headers default_query "
    "client_params interceptor".split()
)

# Prefixes of model names that say where a model is: crewai's own providers, and what it would have asked LiteLLM for.
_PROVIDERS = frozenset(
    "openai anthropic claude azure azure_openai azure_ai google gemini vertex_ai bedrock aws openrouter deepseek ollama "
    "ollama_chat hosted_vllm vllm cerebras dashscope snowflake deepinfra groq mistral codestral cohere cohere_chat "
    "huggingface nvidia_nim sambanova watson watsonx together_ai fireworks_ai perplexity replicate xai databricks "
    "sagemaker lm_studio llamafile litellm_proxy moonshot novita nebius github github_copilot volcengine ai21 "
    "text-completion-openai openai_like custom_openai".split()
)

# Embedders of crewai that ask an endpoint; the others compute, and stay as the author wants them.
_REMOTE_EMBEDDERS = frozenset(
    "azure amazon-bedrock cohere google google-generativeai google-vertex huggingface jina ollama openai openrouter "
    "oracle roboflow voyageai watsonx".split()
)


def use(spec: str | None) -> str | None:
    """Have every model of crewai's own classes talk to one endpoint; called before the project is imported.

    A `BaseLLM` of the author's stays as it is. Where the endpoint wants a key, it is `OPENAI_API_KEY` of the
    environment.

    :param spec: None is the author's own environment as it is; `stub` starts the built-in stub; else `URL` of an
        OpenAI-compatible endpoint, with the models that the author names, or `URL=MODEL`, with that one for all.
    :returns: the same for another process: the stub that was started has a URL.
    :raises ValueError: it is none of these.
    :raises OSError: the stub cannot be started.
    """
    if spec is None:
        return None
    if spec == "stub":
        spec, _ = stub_model.start()
    url, _, model = spec.partition("=")
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{spec!r} is neither `stub` nor URL nor URL=MODEL")
    os.environ.update(dict.fromkeys(_ENDPOINTS, url))
    os.environ[_KEY] = os.environ.get(_KEY) or _PLACEHOLDER
    _route_models(url, model)
    _route_embedders(url)
    return spec


def _route_models(url: str, only: str) -> None:
    """Let `LLM(…)` build OpenAI's class for the endpoint, whatever the author named.

    `LLM.__new__` is where crewai itself goes from a name to a class, in 1.15.2 as in 1.15.30, for agents' strings,
    configuration files, flows, memory and defaults alike. The environment reaches only models of OpenAI's; and
    `crewai.llm_overlay` came late, knows one model for all, and is not seen by threads that an author starts.
    """
    from crewai.llm import LLM
    from crewai.llms.providers.openai.completion import OpenAICompletion

    original = LLM.__new__
    accepted = (set(OpenAICompletion.model_fields) | {"stop_sequences"}) - _ABOUT_THE_ENDPOINT

    def routed(cls: type[Any], model: Any, is_litellm: bool = False, **wanted: Any) -> Any:
        if cls is not LLM or not isinstance(model, str):
            return original(cls, model, is_litellm, **wanted)
        kept = {name: value for name, value in wanted.items() if name in accepted}
        endpoint = {"provider": "openai", "base_url": url, "api_key": os.environ[_KEY]}
        return original(cls, only or _without_provider(model), **kept, **endpoint)

    LLM.__new__ = routed


def _without_provider(model: str) -> str:
    provider, _, rest = model.partition("/")
    return rest if rest and provider.lower() in _PROVIDERS else model


def _route_embedders(url: str) -> None:
    """Let crewai's factory build OpenAI's embedder for the endpoint, with the model that the author named."""
    from crewai.rag.embeddings import factory

    original = factory.build_embedder_from_dict

    def routed(spec: dict[str, Any]) -> Any:
        if spec.get("provider") not in _REMOTE_EMBEDDERS:
            return original(spec)
        config = spec.get("config") or {}
        kept = {name: config[name] for name in ("model_name", "model", "dimensions") if config.get(name)}
        return original({"provider": "openai", "config": {**kept, "api_base": url, "api_key": os.environ[_KEY]}})

    factory.build_embedder_from_dict = routed


# ---- advice -----------------------------------------------------------------------------------------------------

_ELSEWHERE = (
    "start the server with `--llm URL[=MODEL]` (Ollama or any OpenAI-compatible endpoint) "
    "or with `--llm stub` (stand-in answers, no model)"
)
_SET_IT = "set {} in the environment or in the project's .env"

# How crewai and the clients under it say it (1.15.2 to 1.15.30), looked for in this order, and what to do about it.
_ADVICE = [
    (
        r"(?:CHROMA_)?\b([A-Z_]+_(?:API_KEY|PAT|TOKEN))\b(?: is required| environment variable|,| or [A-Z_]+,|\n +Field req)",
        f"A key is missing: {_SET_IT}, or {_ELSEWHERE}.",
    ),
    (
        r"openai\.(?:Authentication|PermissionDenied)Error|anthropic\.AuthenticationError|litellm\S*AuthenticationError"
        r"|invalid_api_key|Incorrect API key",
        f"The model's endpoint does not accept the key: {_SET_IT.format('a valid one')}, or {_ELSEWHERE}.",
    ),
    (
        r"native provider not available, to install: (.*?\])",
        f"The package for the model's provider is missing: run `{{}}` in the project, or {_ELSEWHERE}.",
    ),
    (
        r"LiteLLM fallback package is not|No module named 'litellm'",
        f"The model needs LiteLLM, which is missing: run `uv add 'crewai[litellm]'` in the project, or {_ELSEWHERE}.",
    ),
    (
        r"Failed to connect to \w+ API|(?:openai|anthropic)\.API(?:Connection|Timeout)Error|litellm\S*APIConnectionError",
        f"Nothing answers where the model should be: see that its endpoint runs and is reachable, or {_ELSEWHERE}.",
    ),
    (
        r"Model (\S+) not found: ",
        "The endpoint has no model {}: name one that it has, for all of the crew, with `--llm URL=MODEL`.",
    ),
]


def advice(error: BaseException) -> str | None:
    """Say in a sentence what to do about an error that comes from a missing key, endpoint, package or model.

    :returns: None if neither the error nor what caused it says so.
    """
    said = "\n".join(f"{type(one).__module__}.{type(one).__name__}: {one}" for one in _with_causes(error))
    for pattern, sentence in _ADVICE:
        if found := re.search(pattern, said):
            return sentence.format(*found.groups())
    return None


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    # crewai raises errors from themselves (`raise e from e`).
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__
