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

export const Agentkernel = async ({ directory }) => {
  const start = realpathSync(directory)
  return {
    "tool.execute.before": async (input, output) => {
      if (input.tool !== "bash" || inSandbox()) return
      check(output.args.workdir, directory, start)
      output.args.command = quoted("{command}") + " run --die-with-client --shell -- " + quoted(output.args.command)
    },
  }
}
