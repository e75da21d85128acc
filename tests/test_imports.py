"""What is imported when: start-up counts, and a vendor's SDK would double it."""

import subprocess
import sys

import pytest

from eai_mcp import providers

SDKS = ("openai", "anthropic", "boto3", "botocore", "google.genai", "genai_prices", "litellm")


def imported(code: str) -> set[str]:
    """The top names, and those of interest below them, that a fresh Python has after running the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["", *(f".{name}" for name in providers.BUILT_IN)])
def test_an_adapter_imports_no_vendors_sdk(module):
    """Issue 3: import of `eai_mcp.providers` pulls in no vendor SDK."""
    assert imported(f"import eai_mcp.providers{module}").isdisjoint(SDKS)


def test_the_providers_package_itself_costs_no_http_client():
    assert imported("import eai_mcp.providers").isdisjoint(("httpx2", "mcp"))
