import { flag, text } from '../flags.ts'
import { verb } from '../verb.ts'
import { DEFAULT_ENV } from './deploy.ts'

export const up = verb({
  name: 'up',
  args: '[manifest]',
  group: 'Platform',
  summary: 'Run the whole platform on this machine; with a manifest, deploy it and watch',
  more: [
    'Prints "holdfast ready url=… data=…" once it serves. Ctrl-C or SIGTERM stops serving: workloads keep running and the next',
    '"up" on the same data directory takes them over. "holdfast down", or --stop-workloads, ends them.',
  ].join('\n'),
  flags: {
    listen: text('--listen <host:port>', 'where the API listens (HOLDFAST_LISTEN; default 127.0.0.1:7070; port 0 = any)'),
    nodeName: text('--node-name <name>', 'id of this node (HOLDFAST_NODE_ID; default: derived from the machine)'),
    env: text('--env <env>', `with a manifest: the env to deploy to (default ${DEFAULT_ENV})`),
    config: text('--config <file>', 'configuration (HOLDFAST_CONFIG; default: holdfast.config.toml in the data directory or here)'),
    stopWorkloads: flag('--stop-workloads', 'end the workloads too when it is stopped'),
    logStderr: flag('--log-stderr, --verbose', 'log to standard error as well'),
  },
  async run({ core, out, args: [manifest], flags }) {
    const { runUp } = await import('../run/up.ts')
    return runUp(core, out, { ...flags, manifest, env: flags.env ?? DEFAULT_ENV })
  },
})
