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

// As OpenCode compares a text with a rule; `end` is where that ends.
const slashed = (text) => text.replaceAll("\\", "/")
const expressions = new Map()
const expression = (rule, end = "$") => {
  const key = rule + "\0" + end
  if (!expressions.has(key)) {
    const plain = slashed(rule).replace(/[.+^${}()|[\]]/g, "\\$&").replaceAll("*", ".*").replaceAll("?", ".")
    expressions.set(key, new RegExp("^" + plain.replace(/ \.\*$/, "( .*)?") + end, "s"))
  }
  return expressions.get(key)
}
const matches = (text, rule) => expression(rule).test(slashed(text))

// What of a script a rule may be about: from each place where one of its words could begin that is as the rule begins, to each where a
// command could end. In quotes, too: rather too often than too seldom.
const partsOf = function* (script, rule) {
  const begin = slashed(rule).split(/[*?]/)[0].trimEnd()
  const text = slashed(script)
  const ends = [...text.matchAll(/[\n;&|(){}`"'<>#]|\s(?=\d+[<>])|$/g)].map(({ index }) => index)
  let next = 0
  for (let at = text.indexOf(begin); at >= 0 && at < text.length; at = text.indexOf(begin, at + 1)) {
    const before = at > 0 ? text[at - 1] : "\n"
    if (begin === "" ? !/[\n;&|(){}`"'<>\s]/.test(before) : /[\w.-]/.test(before)) continue
    while (ends[next] <= at) next++
    if (!expression(rule, "").test(text.slice(at))) continue
    for (let one = next; one < ends.length; one++) yield text.slice(at, ends[one]).trim()
  }
}

// What the user has OpenCode deny, or ask about, it would not know in the new command. The rules are those of the agent at work, as
// OpenCode has put them together, and those of the session; the last that matches counts.
const judge = async (client, id, command, changed) => {
  const get = async (of, query) => (await of({ path: { id }, query, throwOnError: true })).data
  const agents = await get((how) => client.app.agents(how))
  const messages = await get((how) => client.session.messages(how), { limit: 20 })
  const session = await get((how) => client.session.get(how))
  const last = messages.findLast(({ info }) => info.role === "assistant")?.info ?? messages.at(-1)?.info ?? {}
  const agent = agents.find(({ name }) => name === (last.agent ?? last.mode))
  if (!Array.isArray(agent?.permission)) throw new Error("OpenCode does not say which agent this is for: its rules are not known")
  const rules = [...agent.permission, ...(session.permission ?? [])].filter((rule) => matches("bash", rule.permission))
  const say = (text) => rules.findLast((rule) => matches(text, rule.pattern)) ?? { pattern: "*", action: "ask" }
  const allows = say(changed).action === "allow"
  const end = Date.now() + 5000
  // A rule about everything is about the new command, too: whoever allows that by name allows all that runs in a sandbox.
  for (const rule of rules.filter(({ action, pattern }) => action !== "allow" && !/^[*? ]*$/.test(pattern))) {
    const { action, pattern } = rule
    if (action === "ask" && !allows) continue
    const verb = action === "deny" ? "denies this" : "asks about this, which OpenCode can't for what runs in a sandbox"
    for (const part of partsOf(command, pattern)) {
      if (expression(pattern).test(part) && say(part) === rule)
        throw new Error(`The rule "${pattern}" of your permissions ${verb}: ${part}`)
      if (Date.now() > end) throw new Error("This is too long to be compared with the rules of your permissions")
    }
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
