import { text } from '../flags.ts'
import { verb } from '../verb.ts'

export const server = verb({
  name: 'server',
  args: '',
  group: 'Platform',
  summary: 'Run the control plane alone, for a fleet',
  more: 'Uses the PostgreSQL that HOLDFAST_DATABASE_URL names, else the embedded one. Logs go to standard error.',
  flags: {
    listen: text('--listen <host:port>', 'where the API listens (HOLDFAST_LISTEN; default 127.0.0.1:7070; port 0 = any)'),
    config: text('--config <file>', 'configuration (HOLDFAST_CONFIG; default: holdfast.config.toml in the data directory or here)'),
  },
  async run({ core, out, flags }) {
    const { runServer } = await import('../run/server.ts')
    return runServer(core, out, flags)
  },
})
