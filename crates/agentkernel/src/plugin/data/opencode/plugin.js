// Written by `agentkernel plugin install opencode`; `agentkernel plugin remove opencode` takes it away.
// Commands of the bash tool run in a sandbox, unless OpenCode runs in one itself.
import { existsSync, readFileSync, realpathSync } from "node:fs"
import { dirname, join, resolve, sep } from "node:path"

const quoted = (text) => "'" + text.replaceAll("'", "'\\''") + "'"

// The first program of a sandbox is called so. A variable could be set by a project.
const inSandbox = () => {
  try {
    return readFileSync("/proc/1/comm", "utf8") === "ak-init\n"
  } catch {
    return false
  }
}

// The project that a command would have for its workspace.
const projectOf = (dir) => {
  for (let above = dir; ; above = dirname(above)) {
    if ([".git", "agentkernel.toml"].some((name) => existsSync(join(above, name)))) return above
    if (above === dirname(above)) return dir
  }
}

// Where a command may be run: not where a link leads that a sandbox has laid, nor beside or above the directory where OpenCode was started
// in its project, for there it obeys files that such a command could change. What leads to that directory is its user's.
const check = (workdir, directory, start) => {
  const within = (path, dir) => (path + sep).startsWith(dir === sep ? dir : dir + sep)
  const place = resolve(directory, workdir ?? ".")
  const meant = within(place, directory) ? start + place.slice(directory.length) : place
  const real = realpathSync(meant)
  if (real !== meant || realpathSync(directory) !== start)
    throw new Error(`${place} is a link, to ${real}: name the directory itself, or ask who has laid it`)
  if (!within(real, start) && within(start, projectOf(real)))
    throw new Error(`OpenCode was started in ${start}: no command is run in ${real}, which could change what it obeys there`)
}

// As OpenCode compares a rule.
const matches = (text, rule) => {
  const plain = rule.replaceAll("\\", "/").replace(/[.+^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*").replaceAll("?", ".")
  return new RegExp("^" + plain.replace(/ \.\*$/, "( .*)?") + "$", "s").test(text.replaceAll("\\", "/"))
}

// The commands of a script, with what they are redirected to. What stands in quotes is none, but for what a shell runs there itself.
const commandsOf = (script) => {
  const found = []
  // Up to this letter, of a text in which only $( ) and ` ` are run.
  const inText = (at, end, text = script) => {
    for (; at < text.length && text[at] !== end; at++) {
      if (text[at] === "\\") at++
      else if (text.startsWith("$(", at)) at = commands(at + 2, ")", text)
      else if (text[at] === "`" && end !== "`") at = commands(at + 1, "`", text)
    }
    return at
  }
  const commands = (at, end, text = script) => {
    let begin = at
    const here = []
    const cut = (length) => {
      found.push(text.slice(begin, at).trim())
      begin = at + length
    }
    for (; at < text.length && text[at] !== end; at++) {
      const letter = text[at]
      const redirects = /[<>]$/.test(text.slice(begin, at)) || (letter === "&" && text[at + 1] === ">")
      const document = /^<<-?[ \t]*(['"\\]?)([\w.-]+)/.exec(text.slice(at, at + 200))
      if (letter === "\\") at++
      else if (letter === "'") at = (text.indexOf("'", at + 1) + text.length + 1) % (text.length + 1) || text.length
      else if (letter === '"') at = inText(at + 1, '"', text)
      else if (text.startsWith("$(", at) || text.startsWith("<(", at) || text.startsWith(">(", at)) at = commands(at + 2, ")", text)
      else if (letter === "`") at = commands(at + 1, "`", text)
      else if (letter === "(") at = commands(at + 1, ")", text)
      else if (letter === "#" && /(^|\s)$/.test(text.slice(begin, at))) {
        const line = text.indexOf("\n", at)
        cut(0)
        at = (line < 0 ? text.length : line) - 1
        begin = at + 1
      } else if (document && text[at + 2] !== "<" && text[at - 1] !== "<") here.push(document)
      else if (letter === "\n" || letter === ";" || letter === ")" || ((letter === "&" || letter === "|") && !redirects)) {
        cut(1)
        // What follows the line is a text up to a word.
        while (letter === "\n" && here.length > 0) {
          const [, quote, word] = here.shift()
          const last = text.slice(at + 1).split("\n").findIndex((line) => line.replace(/^\t+/, "") === word)
          const lines = text.slice(at + 1).split("\n").slice(0, last < 0 ? undefined : last + 1)
          if (quote === "") inText(0, undefined, lines.join("\n"))
          at = Math.min(at + lines.join("\n").length + 1, text.length)
          begin = at + 1
        }
      }
    }
    cut(1)
    return at
  }
  commands(0, undefined)
  return found
}

// The same without what stands before them in a script, each with whether a rule about everything is about it, too.
const partsOf = (script) => {
  const parts = new Map()
  const add = (part, wholly) => part !== "" && parts.set(part, wholly || parts.get(part) === true)
  for (const command of commandsOf(script)) {
    const body = command.replace(/^(function\s+[\w.-]+(\s*\(\s*\))?|[\w.-]+\s*\(\s*\))\s*/, "")
    const bare = body.replace(/^((if|then|elif|else|while|until|do|time|coproc|!|\{)(\s+|$))+/, "").trim()
    const other = /^([[(]|(cd|export|declare|local|readonly|typeset|unset|for|case|select|function|in|esac|fi|done|\})(\s|$)|[A-Za-z_]\w*\+?=\S*$)/
    add(bare, !other.test(bare))
    const named = bare.replace(/^([A-Za-z_]\w*\+?=("[^"]*"|'[^']*'|\S)*\s+)+/, "")
    add(named, false)
    add(named.replace(/^[^\s'"]*\//, ""), false)
  }
  return parts
}

// What the user has OpenCode deny, or ask about, it would not know in the new command. The rules are those of the agent at work, as
// OpenCode has put them together, and those of the session; the last that matches counts.
const judge = async (client, id, command, changed) => {
  const get = async (of, query) => (await of({ path: { id }, query, throwOnError: true })).data
  const agents = await get((how) => client.app.agents(how))
  const messages = await get((how) => client.session.messages(how), { limit: 20 })
  const session = await get((how) => client.session.get(how))
  const name = messages.findLast(({ info }) => info.role === "assistant")?.info ?? messages.at(-1)?.info ?? {}
  const agent = agents.find((agent) => agent.name === (name.agent ?? name.mode))
  if (!agent) throw new Error("OpenCode does not say which agent this is for: its rules are not known")
  const rules = [...agent.permission, ...(session.permission ?? [])].filter((rule) => matches("bash", rule.permission))
  const say = (text) => rules.findLast((rule) => matches(text, rule.pattern)) ?? { pattern: "*", action: "ask" }
  for (const [part, wholly] of partsOf(command)) {
    const { pattern, action } = say(part)
    if (!wholly && /^[*? ]*$/.test(pattern)) continue
    if (action === "deny") throw new Error(`The rule "${pattern}" of your permissions denies this: ${part}`)
    if (action === "ask" && say(changed).action === "allow")
      throw new Error(`The rule "${pattern}" of your permissions asks about this, which OpenCode can't for what runs in a sandbox: ${part}`)
  }
}

export const Agentkernel = async ({ client, directory }) => {
  const start = realpathSync(directory)
  return {
    "tool.execute.before": async (input, output) => {
      if (input.tool !== "bash" || inSandbox()) return
      check(output.args.workdir, directory, start)
      const { command } = output.args
      const changed = quoted("{command}") + " run --die-with-client --shell -- " + quoted(command)
      await judge(client, input.sessionID, command, changed)
      output.args.command = changed
    },
  }
}
