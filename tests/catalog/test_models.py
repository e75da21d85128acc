from itertools import count

import pytest

from eai_mcp.calls import Samplers
from eai_mcp.catalog.catalog import Catalog
from eai_mcp.catalog.entries import Breaker, Model, Reliability

ADAPTER = "must be an adapter's name or module:attribute"
ADDRESS = "must be an address, as in https://api.example.com/v1"
VARIABLE = "must be the name of an environment variable, as in OPENAI_API_KEY"
HEADER = "must be text of printable ASCII characters, on one line"
SAYABLE = "must be something that JSON can say, at most 32 levels deep"
UNREADABLE = "is not TOML that can be read: a number too long, or brackets too deep"
KNOWN = (
    "api_key_env, base_url, context, context_window, description, headers, model, provider, quirks, "
    "reliability, samplers, turn_limit_s, vision"
)
WHOLE = """
provider = "openai_chat"
model = "wire-1"
base_url = "https://api.example.com/v1/"
api_key_env = "EXAMPLE_KEY"
headers = { X-Title = "mine", Authorization = "Basic abc" }
description = "All of it"
vision = true
context_window = 1000
quirks = { seed = "random_seed", list = [1, 2.5, "x", false, { deep = [] }] }
turn_limit_s = 60

[samplers]
temperature = 0
top_p = 0.0
top_k = 0
min_p = 0.1
max_tokens = 5
repetition_penalty = 1.1
frequency_penalty = -2
presence_penalty = 2
stop_sequences = []
seed = 0
anthropic_beta = ["a-1", "b-2"]
reasoning_effort = "none"

[reliability]
attempts = 2
attempt_timeout_s = 30
backoff_first_s = 0.5
backoff_longest_s = 8
breaker = { failures = 3 }
rate = 1.5
burst = 4
concurrency = 2
fallback = ["spare"]

[context]
policy = "drop_oldest"
"""


def catalog_of(tmp_path, **files):
    folder = tmp_path / "models"
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    return Catalog(models=(folder,))


def reported(tmp_path, content):
    """What is said of x.toml, each without the path before it."""
    catalog = catalog_of(tmp_path, x=content)
    assert catalog.models() == ()
    return [str(problem).removeprefix(f"{tmp_path}/models/") for problem in catalog.problems()]


def test_every_field_of_a_model_file_arrives(tmp_path):
    catalog = catalog_of(tmp_path, whole=WHOLE, spare='model = "s"')

    assert catalog.problems() == ()
    assert catalog.model("whole") == Model(
        name="whole",
        provider="openai_chat",
        model="wire-1",
        base_url="https://api.example.com/v1",
        api_key_env="EXAMPLE_KEY",
        headers={"X-Title": "mine", "Authorization": "Basic abc"},
        description="All of it",
        vision=True,
        context_window=1000,
        quirks={"seed": "random_seed", "list": [1, 2.5, "x", False, {"deep": []}]},
        turn_limit_s=60.0,
        samplers=Samplers(
            temperature=0.0,
            top_p=0.0,
            top_k=0,
            min_p=0.1,
            max_tokens=5,
            repetition_penalty=1.1,
            frequency_penalty=-2.0,
            presence_penalty=2.0,
            stop_sequences=(),
            seed=0,
            anthropic_beta=("a-1", "b-2"),
            reasoning_effort="none",
        ),
        reliability=Reliability(
            attempts=2,
            attempt_timeout_s=30.0,
            backoff_first_s=0.5,
            backoff_longest_s=8.0,
            breaker=Breaker(failures=3),
            rate=1.5,
            burst=4,
            concurrency=2,
            fallback=("spare",),
        ),
        context_policy="drop_oldest",
    )


def test_a_model_file_needs_no_more_than_the_wire_id(tmp_path):
    catalog = catalog_of(tmp_path, small='model = "wire-1"')

    assert catalog.model("small") == Model(name="small", provider="openai_chat", model="wire-1")


def test_an_empty_breaker_table_asks_for_the_usual_breaker(tmp_path):
    catalog = catalog_of(tmp_path, x='model = "m"\nreliability.breaker = {}')

    assert catalog.model("x").reliability.breaker == Breaker()


def test_a_breaker_may_say_only_how_long_it_rests(tmp_path):
    catalog = catalog_of(tmp_path, x='model = "m"\nreliability.breaker.recovery_s = 5')

    assert catalog.model("x").reliability.breaker == Breaker(recovery_s=5.0)


def test_a_provider_of_ones_own_is_a_module_and_an_attribute(tmp_path):
    catalog = catalog_of(tmp_path, x='model = "m"\nprovider = "my.adapters:build"')

    assert catalog.model("x").provider == "my.adapters:build"


def test_the_values_of_headers_are_not_printed(tmp_path):
    catalog = catalog_of(tmp_path, whole=WHOLE, spare='model = "s"')

    assert "Basic abc" not in repr(catalog.model("whole"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("provider = 5", f"provider: {ADAPTER}, not 5"),
        ('provider = "Open AI"', f"provider: {ADAPTER}, not 'Open AI'"),
        ('base_url = ["x"]', "base_url: must be text, not a list"),
        (
            'base_url = "api.example.com"',
            f"base_url: {ADDRESS}",
        ),
        (
            'base_url = "ftp://example.com"',
            f"base_url: {ADDRESS}",
        ),
        (
            'base_url = "https://exa mple.com"',
            f"base_url: {ADDRESS}",
        ),
        (
            'base_url = "me:hush@example.com/v1"',
            "base_url: must not hold a user or a password; api_key_env names the variable that has the key",
        ),
        ('base_url = "http://:80/v1"', f"base_url: {ADDRESS}"),
        ('base_url = "https://example.com/\u00e4"', f"base_url: {ADDRESS}"),
        ('base_url = "http://[::1"', "base_url: is no address that can be read"),
        ('base_url = "http://host:99999"', "base_url: is no address that can be read"),
        (
            'base_url = "https://me:hush@example.com"',
            "base_url: must not hold a user or a password; api_key_env names the variable that has the key",
        ),
        (
            'base_url = "https://example.com/v1?key=hush"',
            "base_url: must have no ? and no #: the adapter adds its own path",
        ),
        (
            'api_key = "hush"',
            "api_key: must not stand in a file; api_key_env names the environment variable that has it",
        ),
        (
            'api_key_env = "gsk_hush"',
            f"api_key_env: {VARIABLE}",
        ),
        ("api_key_env = 1", f"api_key_env: {VARIABLE}"),
        ('headers = "x"', "headers: must be a table of texts"),
        ("headers = { X = 5 }", f"headers.X: {HEADER}"),
        (
            'headers = { X = "hush\\nY: 1" }',
            f"headers.X: {HEADER}",
        ),
        ('headers = { "X Y" = "hush" }', "headers.'X Y': is no name of an HTTP header"),
        ("description = 5", "description: must be text, not 5"),
        (f'description = "{"x" * 2001}"', "description: must have at most 2000 characters, not 2001"),
        ('vision = "yes"', "vision: must be true or false, not 'yes'"),
        ("context_window = 0", "context_window: must be a whole number from 1 to 1,000,000,000, not 0"),
        ("context_window = true", "context_window: must be a whole number from 1 to 1,000,000,000, not true"),
        ("quirks = 1", "quirks: must be a table, not 1"),
        (
            "quirks = { day = 2026-01-01 }",
            f"quirks.day: {SAYABLE}, not 2026-01-01",
        ),
        (
            "quirks = { a = [inf] }",
            f"quirks.a.0: {SAYABLE}, not inf",
        ),
        (
            f"quirks = {{ a = {'[' * 40}{']' * 40} }}",
            f"quirks.a{'.0' * 32}: {SAYABLE}, not a list",
        ),
        (
            f"quirks = {{ a = 0x{'f' * 5000} }}",
            f"quirks.a: {SAYABLE}, not a number of that size",
        ),
        ("turn_limit_s = 0", "turn_limit_s: must be a number from 1 to 86,400, not 0"),
        ('samplers = "hot"', "samplers: must be a table, not 'hot'"),
        ('samplers.temperature = "hot"', "samplers.temperature: must be a number from 0 to 2, not 'hot'"),
        ("samplers.temperature = 2.5", "samplers.temperature: must be a number from 0 to 2, not 2.5"),
        ("samplers.temperature = nan", "samplers.temperature: must be a number from 0 to 2, not nan"),
        ("samplers.temperature = true", "samplers.temperature: must be a number from 0 to 2, not true"),
        ("samplers.top_k = 1.5", "samplers.top_k: must be a whole number from 0 to 1,000,000, not 1.5"),
        ('samplers.stop_sequences = "x"', "samplers.stop_sequences: must be a list, not 'x'"),
        (
            'samplers.stop_sequences = ["a", ""]',
            "samplers.stop_sequences.1: must be text that is not empty, not ''",
        ),
        (
            f"samplers.stop_sequences = {['a'] * 17}",
            "samplers.stop_sequences: must have at most 16 items, not 17",
        ),
        (
            'samplers.reasoning_effort = "x"',
            "samplers.reasoning_effort: must be one of none, minimal, low, medium, high, xhigh, max, not 'x'",
        ),
        (
            "samplers.temprature = 1",
            "samplers.temprature: is not a known field; did you mean temperature?",
        ),
        (
            "reliability.breaker = 3",
            "reliability.breaker: must be a table, not 3",
        ),
        (
            "reliability.breaker.open = 3",
            "reliability.breaker.open: is not a known field; known: failures, recovery_s",
        ),
        (
            "reliability = { backoff_first_s = 5, backoff_longest_s = 2 }",
            "reliability.backoff_longest_s: must not be less than backoff_first_s, 5",
        ),
        ('reliability.fallback = ["a b"]', "reliability.fallback.0: must be a model's name, not 'a b'"),
        ('context.policy = "forget"', "context.policy: must be one of error, drop_oldest, not 'forget'"),
        ("context.police = 1", "context.police: is not a known field; did you mean policy?"),
        ("api_key_en = 1", "api_key_en: is not a known field; did you mean api_key_env?"),
        (
            '"w h a t" = 1',
            f"'w h a t': is not a known field; known: {KNOWN}",
        ),
        (f'provider = "{"=" * 99}"', f"provider: {ADAPTER}, not '{'=' * 59}…"),
    ],
    ids=count(1),
)  # fmt: skip
def test_a_wrong_field_is_named_with_what_it_must_be(tmp_path, line, said):
    assert reported(tmp_path, f'model = "m"\n{line}') == [f"x.toml: {said}"]


def test_everything_that_is_wrong_is_said_at_once(tmp_path):
    assert reported(tmp_path, "vision = 1\nsamplers.top_p = 2\nquirk = 1") == [
        "x.toml: model: is missing",
        "x.toml: vision: must be true or false, not 1",
        "x.toml: samplers.top_p: must be a number from 0 to 1, not 2",
        "x.toml: quirk: is not a known field; did you mean quirks?",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('model = ""', "model: must not be empty"),
        ("model = 5", "model: must be text, not 5"),
        ("model = ", "is not TOML: Invalid value (at end of document)"),
        ("a = 1\na = 2\n", "is not TOML: Cannot overwrite a value (at line 2, column 6)"),
        (f"a = {'9' * 5000}", UNREADABLE),
        (f"a = {'[' * 50_000}", UNREADABLE),
        (b'model = "\xff"', "is not UTF-8 text: byte 9"),
        (b" \n", "is empty"),
        (b"#" * (1024 * 1024 + 1), "is larger than 1 MiB"),
    ],
    ids=count(1),
)
def test_a_file_that_is_no_model_is_reported(tmp_path, content, said):
    assert reported(tmp_path, content) == [f"x.toml: {said}"]


def test_a_byte_order_mark_and_the_lines_of_windows_do_no_harm(tmp_path):
    catalog = catalog_of(tmp_path, x=b'\xef\xbb\xbfmodel = "m"\r\nvision = true\r\n')

    assert catalog.model("x") == Model(name="x", provider="openai_chat", model="m", vision=True)


def test_models_that_fall_back_in_a_circle_are_skipped_and_so_are_those_that_lead_there(tmp_path):
    catalog = catalog_of(
        tmp_path,
        a='model = "m"\nreliability.fallback = ["good", "b"]',
        b='model = "m"\nreliability.fallback = ["a"]',
        alone='model = "m"\nreliability.fallback = ["alone"]',
        leads='model = "m"\nreliability.fallback = ["a"]',
        further='model = "m"\nreliability.fallback = ["leads"]',
        good='model = "m"\nreliability.fallback = ["best", "best"]',
        best='model = "m"',
    )

    assert [model.name for model in catalog.models()] == ["best", "good"]
    assert {problem.path.stem: f"{problem.field}: {problem.reason}" for problem in catalog.problems()} == {
        "a": "reliability.fallback: goes round in a circle: a > b > a",
        "alone": "reliability.fallback: goes round in a circle: alone > alone",
        "b": "reliability.fallback: goes round in a circle: b > a > b",
        "leads": "reliability.fallback: names 'a', whose own file has a problem",
        "further": "reliability.fallback: names 'leads', whose own file has a problem",
    }


def test_a_fallback_that_cannot_be_used_is_a_problem_of_the_file_that_names_it(tmp_path):
    catalog = catalog_of(
        tmp_path,
        lost='model = "m"\nreliability.fallback = ["nobody"]',
        leans='model = "m"\nreliability.fallback = ["bad"]',
        bad="model = 1",
        good='model = "m"',
    )

    assert [model.name for model in catalog.models()] == ["good"]
    assert sorted(f"{problem.path.stem}: {problem.reason}" for problem in catalog.problems()) == [
        "bad: must be text, not 1",
        "leans: names 'bad', whose own file has a problem",
        "lost: names 'nobody', and there is no such model",
    ]
