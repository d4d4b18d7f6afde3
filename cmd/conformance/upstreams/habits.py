"""An MCP server on stdio with the habits of servers in Python, without packages.

It prints a banner without a line end and debug output to stdout, logs to stderr, starts slowly, answers unknown
methods with "Invalid request parameters", writes null members and NaN, has a worker process, goes on after the end of
its input, and takes its time after SIGTERM, which it does not pass on. It writes what it notices to the file that
HABITS_FILE names.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time

logging.basicConfig(level=logging.DEBUG)  # to stderr
lock = threading.Lock()
cancelled = {}


def note(text):
    with lock, open(os.environ["HABITS_FILE"], "a") as file:
        file.write(text + "\n")


def on_sigterm(signum, frame):
    logging.warning("shutting down")
    time.sleep(1)
    note("sigterm")
    os._exit(0)


def send(message):
    with lock:
        # The separators have blanks, and characters outside ASCII are escaped.
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def text(value):
    return {"content": [{"type": "text", "text": value, "annotations": None}], "isError": False, "_meta": None}


def tool(name):
    return {
        "name": name,
        "title": None,
        "description": f"Does {name}.",
        "inputSchema": {"type": "object", "properties": {}, "title": f"{name}Arguments"},
        "outputSchema": None,
        "annotations": None,
        "_meta": {"_fastmcp": {"tags": []}},
    }


def call(request):
    name, arguments = request["params"]["name"], request["params"].get("arguments") or {}
    token = (request["params"].get("_meta") or {}).get("progressToken")
    reply = {"id": request["id"]}
    with lock:
        print(f"DEBUG: calling {name}({arguments})")  # to stdout, where only messages belong
    if name == "say":
        result = text(arguments["text"])
    elif name == "not_a_number":
        result = {**text("nan"), "structuredContent": {"value": float("nan")}}
    elif name == "fail":
        logging.error("Traceback (most recent call last):\n  File \"habits.py\", line 1\nValueError: no such thing")
        result = {"content": [{"type": "text", "text": "Error executing tool fail: no such thing"}], "isError": True}
    elif name == "wait":
        for step in range(1, 200):
            if token is not None:
                progress = {"progressToken": token, "progress": float(step), "total": None, "message": f"step {step}"}
                send({"method": "notifications/progress", "params": progress})
            if cancelled[request["id"]].wait(0.1):
                note("cancelled")
                # The answer comes although nothing waits for it.
                send({**reply, "error": {"code": 0, "message": "Request cancelled"}})
                return
        result = text("waited")
    else:
        send({**reply, "result": {"content": [{"type": "text", "text": f"Unknown tool: {name}"}], "isError": True}})
        return
    send({**reply, "result": result})


def receive(request):
    method = request.get("method")
    if method == "initialize":
        send({"id": request["id"], "result": {
            "protocolVersion": "2025-11-25",
            "capabilities": {"experimental": {}, "prompts": None, "tools": {"listChanged": False}},
            "serverInfo": {"name": "habits", "version": "1.2.3"},
            "instructions": None,
        }})
    elif method == "tools/list":
        tools = [tool(name) for name in ("say", "not_a_number", "fail", "wait")]
        send({"id": request["id"], "result": {"tools": tools, "nextCursor": None}})
        send({"method": "notifications/message", "params": {"level": "info", "data": "listed"}})
    elif method == "tools/call":
        cancelled[request["id"]] = threading.Event()
        threading.Thread(target=call, args=(request,), daemon=True).start()
    elif method == "notifications/cancelled":
        cancelled[request["params"]["requestId"]].set()
    elif "id" in request:
        error = {"code": -32602, "message": "Invalid request parameters", "data": ""}
        send({"id": request["id"], "error": error})


def main():
    signal.signal(signal.SIGTERM, on_sigterm)
    sys.stdout.write("Starting MCP server 'habits' with transport 'stdio' ... ")
    sys.stdout.flush()
    logging.info("loading the model")
    subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 600"])
    time.sleep(2)
    for line in sys.stdin:
        receive(json.loads(line))
    logging.info("end of input")
    while True:
        time.sleep(60)


main()
