"""Drives a server by the Python SDK, as sdk.mjs does by the other."""

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager

from mcp import ClientSession, StdioServerParameters, types
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

server, root, calls = sys.argv[1:]


async def roots(context):
    return types.ListRootsResult(roots=[types.Root(uri=f"file://{root}")])


async def elicit(context, params):
    return types.ElicitResult(action="accept", content={"allow": True})


def show(value):
    print(json.dumps(value), flush=True)


@asynccontextmanager
async def connected():
    if server.startswith("http:"):
        headers = {"Authorization": "Bearer " + os.environ["TOKEN"]}
        async with create_mcp_http_client(headers=headers) as client:
            async with streamable_http_client(server, http_client=client) as streams:
                yield streams
    else:
        parameters = StdioServerParameters(command=server, args=["mcp"], env=dict(os.environ))
        async with stdio_client(parameters) as streams:
            yield streams


async def main():
    async with connected() as (reads, writes):
        async with ClientSession(reads, writes, elicitation_callback=elicit, list_roots_callback=roots) as client:
            await client.initialize()
            show([tool.name for tool in (await client.list_tools()).tools])
            last = ""
            for name, given in json.loads(calls):
                if given.get("id") == "":
                    given["id"] = last
                told = (await client.call_tool(name, given)).model_dump(mode="json", by_alias=True)
                last = (told["structuredContent"] or {}).get("id", last)
                show({"error": told["content"]} if told["isError"] else told["structuredContent"])
            show([resource.name for resource in (await client.list_resources()).resources])
            show((await client.read_resource("agentkernel://sandbox/box/policy")).contents[0].text)
            show([prompt.name for prompt in (await client.list_prompts()).prompts])


asyncio.run(main())
