# An agent that does what its prompts say: they are programs.
import json, os, sys, time

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

def terminal(command, *args, **params):
    got = ask("terminal/create", sessionId="s", command=command, args=list(args), **params)
    return got["result"]["terminalId"] if "result" in got else "error: " + got["error"]["message"]

def of(terminal, method):
    got = ask("terminal/" + method, sessionId="s", terminalId=terminal)
    return got["result"] if "result" in got else "error: " + got["error"]["message"]

def run(command, *args, **params):
    it = terminal(command, *args, **params)
    status = of(it, "wait_for_exit")["exitCode"]
    output = of(it, "output")["output"]
    of(it, "release")
    return [output, status]

# How many processes in the sandbox have such a word.
def running(word):
    found = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
            # One that nobody has waited for yet has none.
            found += word.encode() in words
        except OSError:
            pass
    return found

def until(is_it):
    while not is_it():
        time.sleep(0.02)

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
        result = meta = None
        exec(params["prompt"][0]["text"])
        reply(request, {"stopReason": "end_turn", "result": result} | ({"_meta": meta} if meta else {}))
