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

// The rules about commands, the last that matches counts.
const rulesOf = (permission) => {
  if (typeof permission === "string") return [["*", permission]]
  const ofTool = Object.entries(permission ?? {}).filter(([tool]) => matches("bash", tool))
  return ofTool.flatMap(([, rules]) => (typeof rules === "string" ? [["*", rules]] : Object.entries(rules ?? {})))
}

// A command, and all that could be one in it.
const partsOf = (command) => {
  const parts = [command, ...command.split(/[\n;&|(){}`<>"']|\$\(/)].map((part) => part.trim().replace(/^([A-Za-z_]\w*=\S*\s+)+/, ""))
  const named = parts.map((part) => part.replace(/^\S*\//, ""))
  return [...new Set([...parts, ...named])].filter((part) => part !== "")
}

// What the user has OpenCode deny, or ask about, it would not know in the new command.
const judge = async (client, session, command, changed) => {
  const config = (await client.config.get({ throwOnError: true })).data
  const messages = (await client.session.messages({ path: { id: session }, throwOnError: true })).data
  const agent = messages.map(({ info }) => info.agent ?? info.mode).findLast((name) => typeof name === "string")
  const rules = [...rulesOf(config.permission), ...rulesOf(config.agent?.[agent]?.permission)]
  const say = (text) => rules.findLast(([rule]) => matches(text, rule))
  for (const part of partsOf(command)) {
    const [rule, action] = say(part) ?? []
    if (action === "deny") throw new Error(`The rule "${rule}" of your permissions denies this: ${part}`)
    if (action === "ask" && say(changed)?.[1] === "allow")
      throw new Error(`The rule "${rule}" of your permissions asks about this, which OpenCode can't for what runs in a sandbox: ${part}`)
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
