import subprocess
import sys
import threading

import anyio
import httpx2
import pytest

from eai_mcp.calls import unheard
from eai_mcp.catalog.catalog import Catalog, shipped
from eai_mcp.messages import Usage
from eai_mcp.providers.prices import PriceList, installed, with_cost
from tests.fakes import said
from tests.providers.answering import HELLO, Answers, call, chunk, stream

ANTHROPIC = httpx2.URL("https://api.anthropic.com/v1/messages")
OPENAI = httpx2.URL("https://api.openai.com/v1/responses")
ELSEWHERE = httpx2.URL("https://api.example/v1/chat/completions")
MILLION = 1_000_000


@pytest.fixture(scope="module")
def real():
    return PriceList(installed)


@pytest.fixture(scope="module")
def opus():
    """What the provider calls its strongest model is in the shipped file alone."""
    return Catalog(roots=(shipped(),)).model("claude_opus").model


def listed(answer):
    """A list with one price, or one error, for everything."""

    def price(usage: Usage, model: str, url: str) -> float:
        if isinstance(answer, Exception):
            raise answer
        return float(answer)

    return PriceList(lambda: price)


def printed(code: str) -> str:
    """What a new process says that runs this."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip()


async def test_the_tokens_of_a_known_model_have_a_price(real, opus):
    """Issue 3: cost when the optional price library knows the model."""
    read = await real.cost_usd(Usage(input=MILLION), model=opus, url=ANTHROPIC)
    wrote = await real.cost_usd(Usage(output=MILLION), model=opus, url=ANTHROPIC)
    both = await real.cost_usd(Usage(input=MILLION, output=MILLION, reasoning=9), model=opus, url=ANTHROPIC)

    assert read is not None
    assert wrote is not None
    assert 0 < read < wrote
    assert both == pytest.approx(read + wrote)


async def test_cached_tokens_are_a_part_of_the_input_and_are_not_paid_twice(real, opus):
    """messages.Usage: `cache_read` and `cache_write` are parts of `input`."""

    async def cost(**tokens: int) -> float:
        found: float | None = await real.cost_usd(Usage(**tokens), model=opus, url=ANTHROPIC)
        return found or 0.0

    plain = await cost(input=MILLION)
    read = await cost(input=MILLION, cache_read=MILLION)
    written = await cost(input=MILLION, cache_write=MILLION)
    assert read < plain < written
    mixed = await cost(input=3 * MILLION, cache_read=MILLION, cache_write=MILLION)
    assert mixed == pytest.approx(plain + read + written)


@pytest.mark.parametrize(
    ("usage", "model", "url"),
    [
        (Usage(input=1), "no-such-model", OPENAI),
        (Usage(input=1), "gpt-4o", ELSEWHERE),
        (Usage(input=1), "gpt-4o", httpx2.URL("http://127.0.0.1:11434/v1/chat/completions")),
        (Usage(), "gpt-4o", OPENAI),
        (Usage(input=1, cache_read=2), "gpt-4o", OPENAI),
    ],
    ids=["unknown model", "unknown host", "this machine", "nothing counted", "odd counts"],
)
async def test_what_nobody_knows_has_no_price(real, usage, model, url):
    assert await real.cost_usd(usage, model=model, url=url) is None


@pytest.mark.parametrize(
    "answer",
    [LookupError(), ValueError(), ZeroDivisionError(), TypeError(), -1, float("nan"), float("inf")],
    ids=repr,
)
async def test_an_odd_answer_of_the_list_is_no_price(answer):
    assert await listed(answer).cost_usd(Usage(input=1), model="m", url=ELSEWHERE) is None


async def test_a_free_model_costs_nothing_and_that_is_known():
    assert await listed(0).cost_usd(Usage(input=1), model="m", url=ELSEWHERE) == 0.0


async def test_without_the_library_there_is_no_price():
    """The extra `prices` is optional."""
    absent = "import sys; sys.modules['genai_prices'] = None; from eai_mcp.providers.prices import installed"
    assert printed(f"{absent}; print(installed())") == "None"
    assert await PriceList(lambda: None).cost_usd(Usage(input=1), model="m", url=OPENAI) is None


async def test_the_list_is_loaded_once_by_a_thread_and_only_when_something_may_have_a_price():
    loaders = []

    def load():
        loaders.append(threading.current_thread())
        return installed()

    prices = PriceList(load)
    await prices.cost_usd(Usage(), model="m", url=OPENAI)
    assert loaders == []
    for _ in range(2):
        await prices.cost_usd(Usage(input=1), model="m", url=OPENAI)
    (loader,) = loaders
    assert loader is not threading.main_thread()


async def test_somebody_who_leaves_does_not_wait_for_the_list():
    let_go = threading.Event()

    def load() -> None:
        let_go.wait(5)

    prices = PriceList(load)

    with anyio.fail_after(2), anyio.move_on_after(0.01) as limit:
        await prices.cost_usd(Usage(input=1), model="m", url=OPENAI)
    let_go.set()
    assert limit.cancelled_caught


async def test_the_address_is_told_without_its_query():
    places = []

    def price(usage: Usage, model: str, url: str) -> float:
        places.append((model, url))
        return 0.0

    prices = PriceList(lambda: price)
    await prices.cost_usd(Usage(input=1), model="m", url=httpx2.URL("https://u:p@host/v1/chat?key=secret"))
    assert places == [("m", "https://host/v1/chat")]


async def test_a_provider_that_names_the_cost_is_believed():
    told = said("x", usage=Usage(input=1, cost_usd=0.25))
    assert await with_cost(told, model="m", url=OPENAI, prices=listed(9)) == told

    silent = said("x", usage=Usage(input=1))
    assert (await with_cost(silent, model="m", url=OPENAI, prices=listed(9))).usage.cost_usd == 9.0
    assert await with_cost(silent, model="m", url=OPENAI, prices=listed(LookupError())) == silent


async def test_an_answer_over_http_says_what_it_cost(opus):
    """Issue 3: cost when the optional price library knows the model."""
    counted = {"prompt_tokens": 1000, "completion_tokens": 10}
    answers = [stream(chunk({"content": "hi"}, "stop"), {"choices": [], "usage": counted}) for _ in range(2)]

    known = call(Answers(answers[0]), model=opus, base_url="https://api.anthropic.com/v1")
    cost = (await known(HELLO, unheard)).usage.cost_usd
    assert cost is not None
    assert 0 < cost < 1

    unknown = call(Answers(answers[1]), model=opus, base_url="http://127.0.0.1:9/v1")
    assert (await unknown(HELLO, unheard)).usage == Usage(input=1000, output=10)


def test_the_adapters_do_not_load_the_library_at_their_start():
    """Issue 3: import of `eai_mcp.providers` pulls in no vendor SDK; here neither does that of an adapter."""
    code = "import sys, eai_mcp.providers.openai_chat; print('genai_prices' in sys.modules)"
    assert printed(code) == "False"
