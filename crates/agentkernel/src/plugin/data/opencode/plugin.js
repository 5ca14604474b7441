// Written by `agentkernel plugin install opencode`; `agentkernel plugin remove opencode` takes it away.
// Commands of the bash tool run in a sandbox, unless OpenCode runs in one itself.
import { readFileSync } from "node:fs"

const quoted = (text) => "'" + text.replaceAll("'", "'\\''") + "'"

// The first program of a sandbox is called so. A variable could be set by a project.
const inSandbox = () => {
  try {
    return readFileSync("/proc/1/comm", "utf8") === "ak-init\n"
  } catch {
    return false
  }
}

export const Agentkernel = async () => ({
  "tool.execute.before": async (input, output) => {
    if (input.tool !== "bash" || inSandbox()) return
    output.args.command = quoted("{command}") + " run --die-with-client --shell -- " + quoted(output.args.command)
  },
})
