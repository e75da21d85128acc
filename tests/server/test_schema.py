"""JSON Schemas as they are published."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from eai_mcp.server import schema


class Inner(BaseModel):
    """Not for clients."""

    title: str = Field(max_length=9)


class Given(BaseModel):
    """Not for clients."""

    wanted: str
    title: Annotated[str, Field(min_length=1, max_length=5)] = ""
    inner: Inner | None = None
    several: list[Inner] | str | None = Field(None, description="some")
    share: Annotated[float, Field(ge=0, le=1)] | None = None
    shift: Annotated[float, Field(ge=-2, le=2)] = 0
    above: Annotated[float, Field(gt=0, lt=5)] | None = None
    many: Annotated[int, Field(ge=1, le=2**53)] = 10
    choice: Literal["a", "b"] = "a"


class Row(TypedDict, total=False):
    """Not for clients."""

    name: str


class Told(TypedDict, total=False):
    """Not for clients."""

    name: str
    rows: list[Row]
    words: list[str]
    row: Row
    title: int


def test_arguments_show_what_guides_a_caller_and_nothing_else():
    """Issue 8: schemas without `$ref` and titles."""
    inner = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
    assert schema.of_arguments(Given) == {
        "type": "object",
        "properties": {
            "wanted": {"type": "string"},
            "title": {"type": "string"},
            "inner": inner,
            "several": {
                "anyOf": [{"type": "array", "items": inner}, {"type": "string"}],
                "description": "some",
            },
            "share": {"type": "number", "maximum": 1},
            "shift": {"type": "number", "minimum": -2, "maximum": 2},
            "above": {"type": "number"},
            "many": {"type": "integer", "default": 10},
            "choice": {"type": "string", "enum": ["a", "b"], "default": "a"},
        },
        "required": ["wanted"],
    }


def test_a_result_demands_nothing_and_tells_what_its_own_fields_are():
    """DESIGN section 5: a schema has no `required` and no `additionalProperties: false`."""
    assert schema.of_result(Told) == {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "rows": {"type": "array", "items": {"type": "object"}},
            "words": {"type": "array"},
            "row": {"type": "object"},
            "title": {"type": "integer"},
        },
    }
