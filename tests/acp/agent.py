# An agent that does what its prompts say: they are programs.
import json, os, sys

heard = []

def line(text):
    data = text if isinstance(text, bytes) else text.encode()
    while data:
        data = data[os.write(1, data):]

def say(message):
    line(json.dumps(message) + "\n")

def hear():
    text = sys.stdin.readline()
    if not text:
        sys.exit(0)
    return json.loads(text)

def wait(is_it):
    for at, message in enumerate(heard):
        if is_it(message):
            return heard.pop(at)
    while True:
        message = hear()
        if is_it(message):
            return message
        heard.append(message)

last = 0

def send(method, **params):
    global last
    last += 1
    say({"jsonrpc": "2.0", "id": f"a{last}", "method": method, "params": params})
    return f"a{last}"

def answer(id):
    return wait(lambda message: message.get("id") == id and "method" not in message)

def ask(method, **params):
    return answer(send(method, **params))

def read(path, **params):
    got = ask("fs/read_text_file", sessionId="s", path=path, **params)
    return got["result"]["content"] if "result" in got else "error: " + got["error"]["message"]

def write(path, content):
    got = ask("fs/write_text_file", sessionId="s", path=path, content=content)
    return "written" if "result" in got else "error: " + got["error"]["message"]

def tell(method, **params):
    say({"jsonrpc": "2.0", "method": method, "params": params})

def reply(request, result):
    say({"jsonrpc": "2.0", "id": request["id"], "result": result})

while True:
    request = heard.pop(0) if heard else hear()
    method, params = request.get("method"), request.get("params", {})
    if method == "initialize":
        reply(request, {"protocolVersion": 1, "agentCapabilities": {"heard": params}, "arguments": sys.argv[1:]})
    elif method == "session/new":
        reply(request, {"sessionId": "s", "heard": params})
    elif method == "session/prompt":
        result = None
        exec(params["prompt"][0]["text"])
        reply(request, {"stopReason": "end_turn", "result": result})
