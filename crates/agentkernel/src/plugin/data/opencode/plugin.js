// Written by `agentkernel plugin install opencode`; `agentkernel plugin remove opencode` takes it away.
// Commands of the bash tool run in a sandbox, unless OpenCode runs in one itself.
const quoted = (text) => "'" + text.replaceAll("'", "'\\''") + "'"

export const Agentkernel = async () => ({
  "tool.execute.before": async (input, output) => {
    if (input.tool !== "bash" || process.env.AGENTKERNEL_SANDBOX) return
    output.args.command = quoted("{command}") + " run --die-with-client --shell -- " + quoted(output.args.command)
  },
})
