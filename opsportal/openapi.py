"""What the OpenAPI of every endpoint has in common: the ways to be refused."""

from __future__ import annotations

from typing import Any, Final

PREFIX: Final = "/api/v1/"
METHODS: Final = {"get", "post", "put", "patch", "delete"}
ERROR: Final = {
    "type": "object",
    "description": "`detail` is for people; `errors` tells what is wrong with which field.",
    "properties": {"detail": {"type": "string"}, "errors": {}},
    "required": ["detail"],
}
EVERYWHERE: Final = {
    "401": "No credentials, or bad ones.",
    "403": "This user has no right to it.",
    "404": "There is no such thing.",
    "406": "It cannot be given in the form that was asked for.",
}
WITH_INPUT: Final = {
    "400": "The input is not valid.",
    "413": "The body is larger than 1 MB.",
    "415": "The body is not JSON.",
}


def declare_errors(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's hook: adds the answers below 500 that its views do not name themselves."""
    result.setdefault("components", {}).setdefault("schemas", {})["Error"] = ERROR
    for path, methods in result["paths"].items():
        for method, operation in methods.items():
            if path.startswith(PREFIX) and method in METHODS:
                _add(operation, EVERYWHERE | (WITH_INPUT if _takes_input(operation) else {}))
    return result


def _takes_input(operation: dict[str, Any]) -> bool:
    queries = any(parameter["in"] == "query" for parameter in operation.get("parameters", ()))
    return "requestBody" in operation or queries


def _add(operation: dict[str, Any], answers: dict[str, str]) -> None:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    responses = operation["responses"]
    for status, description in answers.items():
        responses.setdefault(status, {"description": description})
    for status, response in responses.items():
        if status.startswith("4"):
            response.setdefault("content", content)
