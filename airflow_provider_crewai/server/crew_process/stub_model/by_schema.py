"""Values that a JSON schema accepts, always the same for the same schema."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from typing import Any

from .asked import BadRequest, Json
from .by_pattern import matching
from .choosing import chosen

_DEEPEST = 8


_OF_FORMAT = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "stub@example.com",
    "uri": "https://example.com/stub",
    "url": "https://example.com/stub",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
}
# Names of fields where `true` is the bad answer, such as crewai's StepObservation.needs_full_replan.
_UNHAPPY = re.compile(r"fail|error|invalid|replan|already|abort|reject|block|retry|revis", re.IGNORECASE)


def filled(schema: Json, mark: str, subject: str, prompt: str) -> Any:
    """Make a value that a JSON schema accepts.

    :param mark: the beginning of each text.
    :param subject: what each text says it answers.
    :param prompt: decides which one of several strings is chosen.
    :raises BadRequest: the schema names a type that does not exist.
    """
    return _Filling(schema, mark, subject, prompt).filled()


@dataclass
class _Filling:
    """Makes the value. A part that may be null, or has a default, gets that, so that recursion ends."""

    root: Json
    mark: str
    subject: str
    prompt: str
    depth: int = 0

    def filled(self) -> Any:
        return self._value(self.root, "answer")

    def _value(self, schema: Any, name: str) -> Any:
        schema = self._flat(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._one_of(schema)
        if schema.get("default") not in (None, ""):
            return schema["default"]
        self.depth += 1
        made = self._made(_kind(schema), schema, name)
        self.depth -= 1
        return made

    def _made(self, kind: str, schema: Json, name: str) -> Any:
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            return self._array(schema, name)
        if kind in {"integer", "number"}:
            return _number(schema, kind)
        if kind == "boolean":
            return not _UNHAPPY.search(name)
        if kind == "string":
            return self._string(schema, name)
        if kind == "null":
            return None
        raise BadRequest(f"no such type: {kind}")

    def _flat(self, given: Any) -> Json:
        """Resolve `$ref`, `allOf` and alternatives. Among alternatives null wins."""
        schema: Json = given if isinstance(given, dict) else {}
        for _ in range(_DEEPEST):
            if "$ref" in schema:
                schema = self._referred(schema["$ref"]) | _without(schema, "$ref")
            elif "allOf" in schema:
                schema = _merged([_without(schema, "allOf"), *map(self._flat, schema["allOf"])])
            elif choices := schema.get("anyOf") or schema.get("oneOf"):
                null: Json = next((one for one in choices if one.get("type") == "null"), choices[0])
                schema = _without(schema, "anyOf", "oneOf") | null
        return schema

    def _referred(self, reference: str) -> Json:
        found: Any = self.root
        for step in reference.removeprefix("#").split("/")[1:]:
            found = found.get(step.replace("~1", "/").replace("~0", "~"), {})
        return dict(found)

    def _one_of(self, schema: Json) -> Any:
        options: list[Any] = schema["enum"]
        if "default" in schema and schema["default"] in options:
            return schema["default"]
        return chosen(options, self.prompt) if all(isinstance(one, str) for one in options) else options[0]

    def _object(self, schema: Json) -> Json:
        named: Json = schema.get("properties") or {}
        wanted = [key for key in named if self.depth < _DEEPEST or key in schema.get("required", [])]
        made = {key: self._value(named[key], key) for key in wanted}
        for number in range(len(made), schema.get("minProperties", 0)):
            made[f"key{number}"] = self._value(schema.get("additionalProperties"), f"key{number}")
        return made

    def _array(self, schema: Json, name: str) -> list[Any]:
        first = [self._value(one, name) for one in schema.get("prefixItems") or []]
        usual = 0 if first or self.depth >= _DEEPEST else 1
        count = min(max(schema.get("minItems", 0), usual), schema.get("maxItems", sys.maxsize))
        items = self._flat(schema.get("items"))
        return first + [self._item(items, name, number) for number in range(len(first), count)]

    def _item(self, schema: Json, name: str, number: int) -> Any:
        """Make one of several items. Its number makes it different, as far as its schema allows."""
        if number and "enum" in schema:
            return schema["enum"][number % len(schema["enum"])]
        made = self._value(schema, f"{name} {number + 1}" if number else name)
        numeric = _kind(schema) in {"integer", "number"}
        return made + number * schema.get("multipleOf", 1) if numeric else made

    def _string(self, schema: Json, name: str) -> str:
        if schema.get("format") in _OF_FORMAT:
            return _OF_FORMAT[schema["format"]]
        if "pattern" in schema:
            return matching(schema["pattern"])
        text = f"{self.mark} {name}: {self.subject}"
        return text[: schema.get("maxLength")].ljust(schema.get("minLength", 0), ".")


def _kind(schema: Json) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        return "null" if "null" in kind else str(kind[0])
    return str(kind or ("object" if "properties" in schema else "array" if "items" in schema else "string"))


def _without(schema: Json, *keys: str) -> Json:
    return {name: value for name, value in schema.items() if name not in keys}


def _merged(schemas: list[Json]) -> Json:
    made: Json = {}
    for schema in schemas:
        properties = made.get("properties", {}) | schema.get("properties", {})
        required = made.get("required", []) + schema.get("required", [])
        made = made | schema | ({"properties": properties, "required": required} if properties else {})
    return made


def _number(schema: Json, kind: str) -> float:
    step = schema.get("multipleOf", 1)
    bounds = [schema[key] for key in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum") if key in schema]
    near = [math.floor(bound / step) * step + offset for bound in bounds for offset in (0, step, -step)]
    between = [sum(bounds) / len(bounds)] if bounds else []
    fitting = (value for value in [1, 0, *bounds, *near, *between] if _fits(value, schema, step, kind))
    value = next(fitting, 1)
    return int(value) if kind == "integer" else value


def _fits(value: float, schema: Json, step: float, kind: str) -> bool:
    return (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
        and schema.get("exclusiveMinimum", value - 1) < value < schema.get("exclusiveMaximum", value + 1)
        and (kind == "number" or value == int(value))
        and ("multipleOf" not in schema or math.isclose(value / step, round(value / step)))
    )
