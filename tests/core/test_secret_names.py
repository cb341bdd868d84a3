"""Which inputs count as secrets, and what a person sees of them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_crewai.wire.model import JSON, JSONObject
from airflow_provider_crewai.wire.secret_names import is_secret, masked, without_secrets


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "db_password",
        "dbPassword",
        "DB-PASSWD",
        "pwd",
        "passphrase",
        "api_key",
        "apiKey",
        "APIKey",
        "OPENAI_API_KEY",
        "openai apikey",
        "private_keys",
        "secret",
        "client_secret",
        "token",
        "GITHUB_TOKEN",
        "accessToken",
        "credentials",
        "Authorization",
    ],
)
def test_such_a_name_says_that_its_value_is_a_secret(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    ["", "topic", "max_tokens", "tokenizer", "key", "keywords", "primary_key", "monkey", "secretary", "author", "潮"],
)
def test_such_a_name_does_not(name: str) -> None:
    assert not is_secret(name)


def test_secrets_are_masked_at_any_depth_and_all_else_is_as_it_was() -> None:
    said: JSONObject = {
        "topic": "tides",
        "api_key": "s1",
        "deep": [{"token": ["s2"], "n": 1}],
        "max_tokens": 7,
        "token": None,
    }
    assert masked(said) == {**said, "api_key": "***", "deep": [{"token": "***", "n": 1}]}  # type: ignore[dict-item]  # JSON
    assert without_secrets(said) == {"topic": "tides", "deep": [{"n": 1}], "max_tokens": 7, "token": None}


VALUES: st.SearchStrategy[JSON] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_a_secret_is_in_no_value_that_is_shown(value: JSON) -> None:
    inputs: JSONObject = {"a": [value, {"api_key": {"x": ["s3cret"]}}]}
    assert "s3cret" not in str([masked(inputs), without_secrets(inputs)])


def test_neither_a_long_name_nor_a_deep_value_costs_time() -> None:
    deep: JSON = "s3cret"
    for _ in range(900):
        deep = [{"a": deep}]
    begun = time.process_time()
    assert not is_secret("aA" * 1_000_000)
    assert "s3cret" not in str(masked(deep))
    assert without_secrets({"deep": deep})
    assert time.process_time() - begun < 1
