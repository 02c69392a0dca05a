import { text } from '../flags.ts'
import { usage, verb } from '../verb.ts'

export const agent = verb({
  name: 'agent',
  args: '',
  group: 'Platform',
  summary: 'Run the node agent alone, for a fleet',
  more: 'It dials the control plane; workloads keep running while it is stopped. Logs go to standard error.',
  flags: {
    control: text('--control <url>', 'the control plane (HOLDFAST_URL)'),
    tokenFile: text('--token-file <file>', 'file with the agent token (HOLDFAST_TOKEN_FILE)'),
    stateDir: text('--state-dir <dir>', 'what the agent keeps on this node'),
    listen: text('--listen <host:port>', 'where its own /metrics and /health listen (default 127.0.0.1:7071; port 0 = any)'),
    nodeName: text('--node-name <name>', 'id of this node (HOLDFAST_NODE_ID; default: derived from the machine)'),
    config: text('--config <file>', 'configuration (HOLDFAST_CONFIG; default: holdfast.config.toml in the state directory or here)'),
  },
  async run({ core, out, flags }) {
    const control = flags.control ?? flags.url ?? (core.env.HOLDFAST_URL || undefined)
    if (control === undefined) return usage('agent needs --control URL, or HOLDFAST_URL', '--control')
    if (flags.stateDir === undefined) return usage('agent needs --state-dir DIR', '--state-dir')
    const { runAgent } = await import('../run/agent.ts')
    return runAgent(core, out, { ...flags, control, stateDir: flags.stateDir })
  },
})
