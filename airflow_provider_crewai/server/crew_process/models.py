"""Which models a crew talks to: the author's own, any OpenAI-compatible endpoint, or the built-in stub (`--llm`)."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import keys, stub_model

_KEY = "OPENAI_API_KEY"
# OpenAI's client and crewai's LLM read the first variable, crewai's default embedder the second (1.15.2 to 1.15.30).
_ENDPOINTS = ("OPENAI_BASE_URL", "OPENAI_API_BASE")

# What an author says about a model's endpoint and account. Another endpoint must not see it.
_ABOUT_THE_ENDPOINT = """
    provider custom_openai llm_type api_key base_url api_base organization project default_headers default_query
    client_params interceptor
""".split()  # noqa: SIM905 - words read best as words

# Prefixes of a model's name that say where it is: crewai's own providers, and those that it would reach by LiteLLM.
_PROVIDERS = """
    openai anthropic claude azure azure_openai azure_ai google gemini vertex_ai bedrock aws openrouter deepseek ollama
    ollama_chat hosted_vllm vllm cerebras dashscope snowflake deepinfra groq mistral codestral cohere cohere_chat
    huggingface nvidia_nim sambanova watson watsonx together_ai fireworks_ai perplexity replicate xai databricks
    sagemaker lm_studio llamafile litellm_proxy moonshot novita nebius github github_copilot volcengine ai21
    text-completion-openai openai_like custom_openai
""".split()  # noqa: SIM905 - words read best as words

# Embedders of crewai that call an endpoint. The others compute by themselves, and stay as the author wants them.
_REMOTE_EMBEDDERS = """
    azure amazon-bedrock cohere google google-generativeai google-vertex huggingface jina ollama openai openrouter
    oracle roboflow voyageai watsonx
""".split()  # noqa: SIM905 - words read best as words


_MODEL_KEYS = [_KEY, *(f"{provider.upper().replace('-', '_')}_API_KEY" for provider in _PROVIDERS)]
_routed_to: str | None = None


def use(spec: str | None) -> str | None:
    """Let every model of crewai's own classes talk to one endpoint.

    Call it once per process, after the project's `.env` is loaded and before the project is imported. It imports
    crewai. If the endpoint wants a key, `OPENAI_API_KEY` is sent. An author's own `BaseLLM`, a subclass of crewai's
    classes and an embedder that computes by itself stay as they are. Keys of models that are not set get a placeholder,
    since a project may look for them and stop; with `stub` all keys that the project's files name do.

    :param spec: None leaves the author's models as they are; `stub` starts the built-in stub; `URL` is an
        OpenAI-compatible endpoint, which gets the model names that the author chose; `URL=MODEL` uses that one model.
    :returns: the spec for another process: it holds the URL of a stub that was started.
    :raises ValueError: the spec is none of these.
    :raises OSError: the stub cannot be started.
    """
    if spec is None:
        return None
    global _routed_to  # noqa: PLW0603 - once per process, like the patches below
    _routed_to = spec
    keys.place(_MODEL_KEYS)
    if spec == "stub":
        keys.place(keys.named_in(Path.cwd()))
        spec, _ = stub_model.start()
    url, _, model = spec.partition("=")
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{spec!r} is neither `stub` nor URL nor URL=MODEL")
    os.environ.update(dict.fromkeys(_ENDPOINTS, url))
    key = os.environ[_KEY]  # a project may remove it later
    _route_models(url, model, key)
    _route_embedders(url, key)
    return spec


def _route_models(url: str, only: str, key: str) -> None:
    """Let `LLM(…)` build OpenAI's class for the endpoint, whatever model the author named.

    `LLM.__new__` is the place where crewai itself turns a name into a class, in 1.15.2 as in 1.15.30, for agents'
    strings, configuration files, flows, memory and defaults. Environment variables reach only OpenAI's models.
    `crewai.llm_overlay` is newer, sets one model for all, and does not reach threads that an author starts.
    """
    llm = importlib.import_module("crewai.llm").LLM
    openai = importlib.import_module("crewai.llms.providers.openai.completion").OpenAICompletion
    accepted = {*openai.model_fields, "stop_sequences"}.difference(_ABOUT_THE_ENDPOINT)
    original = llm.__new__

    def routed(cls: type[Any], model: Any, is_litellm: bool = False, **wanted: Any) -> Any:
        if cls is not llm or not isinstance(model, str):
            return original(cls, model, is_litellm, **wanted)
        kept = {name: value for name, value in wanted.items() if name in accepted}
        endpoint = {"provider": "openai", "base_url": url, "api_key": os.environ.get(_KEY, key)}
        return original(cls, only or _without_provider(model), **kept, **endpoint)

    llm.__new__ = routed


def _without_provider(model: str) -> str:
    provider, _, rest = model.partition("/")
    return rest if rest and provider.lower() in _PROVIDERS else model


def _route_embedders(url: str, key: str) -> None:
    """Let crewai's factory build OpenAI's embedder for the endpoint, with the model that the author named."""
    factory: Any = importlib.import_module("crewai.rag.embeddings.factory")
    original = factory.build_embedder_from_dict

    def routed(spec: dict[str, Any]) -> Any:
        if spec.get("provider") not in _REMOTE_EMBEDDERS:
            return original(spec)
        config = spec.get("config") or {}
        named = {"model_name": config.get("model_name") or config.get("model"), "dimensions": config.get("dimensions")}
        endpoint = {"api_base": url, "api_key": os.environ.get(_KEY, key)}
        kept = {name: value for name, value in named.items() if value}
        return original({"provider": "openai", "config": kept | endpoint})

    factory.build_embedder_from_dict = routed


# ---- advice -----------------------------------------------------------------------------------------------------

_ELSEWHERE = (
    ", or start the server with `--llm URL[=MODEL]` (Ollama or any OpenAI-compatible endpoint) "
    "or with `--llm stub` (stand-in answers, no model)"
)
_ROUTED = ". The project asks this model past crewai's own classes, so `--llm` does not lead it elsewhere"
_SET_IT = "set {} in the environment or in the project's .env"

# How crewai and its clients phrase these errors (1.15.2 to 1.15.30). The first pattern that matches counts.
# Only keys of models and embedders: `--llm` does not help where the key of a tool is missing.
_KEYS = rf"(?:EMBEDDINGS_\w+|{'|'.join(_PROVIDERS).upper()})_(?:API_KEY|PAT)"
_NO_KEY = rf"\b(?:CHROMA_)?({_KEYS})\b(?:,|\n +Field req| is required| environment variable|`? or `?[A-Z_]+)"
_BAD_KEY = r"(?:openai|anthropic|litellm)\S*\.AuthenticationError|invalid_api_key|Incorrect API key"
_NO_PROVIDER = r"native provider not available, to install: (.*?\]['\"]?)"
_NO_LITELLM = r"LiteLLM fallback package is not|No module named 'litellm'"
_NO_ENDPOINT = r"Failed to connect to OpenAI API|(?:openai|anthropic|litellm)\S*\.API(?:Connection|Timeout)Error"
_NO_MODEL = r"Model (\S+) not found: "

_ADVICE = {
    _NO_KEY: f"A key is missing: {_SET_IT}",
    _BAD_KEY: f"The model's endpoint does not accept the key: {_SET_IT.format('a valid one')}",
    _NO_PROVIDER: "The package for the model's provider is missing: run `{}` in the project",
    _NO_LITELLM: "The model needs LiteLLM, which is missing: run `uv add crewai[litellm]` there",
    _NO_ENDPOINT: "The model's endpoint does not answer: check that this machine can reach it",
}
_NAME_ANOTHER = "The endpoint has no model {}: name one that it has, for the whole crew, with `--llm URL=MODEL`."


def advice(error: BaseException) -> str | None:
    """Say in a sentence what to do about a missing key, endpoint, package or model.

    It never names what the server does already: with `--llm`, it does not advise `--llm`.

    :returns: None if neither the error nor its causes come from one of these.
    """
    said = "\n".join(f"{type(one).__module__}.{type(one).__name__}: {one}" for one in with_causes(error))
    for pattern, sentence in _ADVICE.items():
        if found := re.search(pattern, said):
            return f"{sentence.format(*found.groups())}{_ROUTED if _routed_to else _ELSEWHERE}."
    # A model is unknown to the endpoint that `--llm` names; the stub knows every model.
    unknown = re.search(_NO_MODEL, said)
    return _NAME_ANOTHER.format(unknown[1]) if unknown else None


def with_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, then what it was raised from, down to the first cause."""
    seen: set[int] = set()
    one: BaseException | None = error
    # An error may be its own cause: crewai raises some with `raise e from e`.
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__
