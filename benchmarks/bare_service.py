"""What a service is compared with: the same echo on bare FastAPI and uvicorn. `service_bench.py` runs this.

python benchmarks/bare_service.py PORT
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Call(BaseModel):
    args: list[Any] = []
    kwargs: dict[str, Any] = {}


@app.post("/async")
async def echo_async(call: Call) -> dict[str, Any]:
    return {"result": call.args[0]}


@app.post("/def")
def echo_def(call: Call) -> dict[str, Any]:
    return {"result": call.args[0]}


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)
